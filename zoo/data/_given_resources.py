"""What data give a model that asks for more than sizes and names (`zoo.data._resources`)."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.data._feature import Feature
from zoo.data._features import Features
from zoo.data._outcomes import Outcomes
from zoo.data._resources import cooccurrence
from zoo.data.text import Published
from zoo.knowledge.molecules import molecules
from zoo.knowledge.names import name as name_of
from zoo.knowledge.ontology import Ontology
from zoo.registry import UserError

TREES = frozenset({"diagnosis", "procedure", "drug"})
"""Concepts whose codes lie in trees."""


def resource(name: str, outcomes: Outcomes, source: Features, features: Mapping[str, Feature]) -> object:
    """A resource of a model.

    Args:
        name: of the resource.
        outcomes: the labels.
        source: where drugs of training are looked up.
        features: the concepts that the model gets.

    Raises:
        UserError: it is one of drugs, and the labels are none.
    """
    if name == "ontology":
        return {c: Ontology.for_codes(f.vocabulary.codes) for c, f in features.items() if c in TREES}
    if name == "names":
        return tuple(name_of(code) for code in outcomes.names)
    if name == "encoder":
        reading = features["note"].reading if "note" in features else None
        return reading.tokenizer.facts() if reading and isinstance(reading.tokenizer, Published) else None
    if outcomes.interactions is None:
        raise UserError(f"the labels of task {outcomes.task.name!r} are no drugs: they have no {name}.")
    if name == "cooccurrence":
        return cooccurrence(outcomes.of("train"))
    if name == "interactions":
        return outcomes.interactions
    return molecules(outcomes.names, used=source.drugs_of_training())
