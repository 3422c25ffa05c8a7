"""Every registered model with the smallest sizes that it can have, and a batch that it reads."""

from functools import lru_cache

from zoo.data import Batch
from zoo.models import Model
from zoo.registry import MultipleOf, Range, models, parameters_of
from zoo.testing._model._candidate import Candidate

OF_TEXTS = {"chunk", "max_length", "max_tokens", "min_notes", "vocabulary_size"}
"""Sizes that decide how notes are read."""


def sizes(name: str) -> dict[str, int]:
    """The smallest of each size that a model can be made with."""
    found = {}
    for parameter, said in parameters_of(models.get(name)).items():
        limits = getattr(said.annotation, "__metadata__", ())
        if type(said.default) is int and parameter not in OF_TEXTS:
            least = max([1, *(int(n.at_least or 0) for n in limits if isinstance(n, Range))])
            found[parameter] = max([least, *(n.times for n in limits if isinstance(n, MultipleOf))])
    return found


@lru_cache
def smallest(name: str) -> tuple[Model, Batch]:
    """The model, in eval mode, and a batch of one sample of a patient with several visits."""
    entry = models.entry(name)
    task = Candidate(entry, max(entry.facts.kinds), {}).task
    row = max(task.rows(0, 30), key=lambda r: len(r.visits))
    return entry.thing(task.spec, **sizes(name)).eval(), task.batch([row])
