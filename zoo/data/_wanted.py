"""What is asked for where a method takes a model: a name, a class, an instance, or concepts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from zoo.data.text import Reading
from zoo.registry import STATIC, ModelFacts, UserError, models, parameters_of, shown


@dataclass(frozen=True)
class Wanted:
    """A model's inputs, or some concepts.

    Attributes:
        name: of the model; None for concepts alone.
        concepts: those that it gets, in the order of the data.
        reading: how texts are read; None where they are not.
        static: whether it gets static facts.
        facts: what was said of the model when it was registered; nothing of concepts.
    """

    name: str | None
    concepts: tuple[str, ...]
    reading: Reading | None
    static: bool
    facts: ModelFacts

    @classmethod
    def of(cls, model, there: Sequence[str], dataset, hyperparameters: Mapping[str, object] | None = None) -> Self:
        """What a model gets of data.

        Args:
            model: a model's name, class or instance, or concepts: the name of one, a set of them, or a mapping from
                each to how its texts are read (a `Reading`, or None).
            there: the concepts that the data have.
            dataset: which tells why another one is not there.
            hyperparameters: those that the model is to have, where they are not the defaults or those of the instance.

        Raises:
            UserError: nothing has the name; or the model needs a concept that there is not, or none of those it uses is
                there.
        """
        if isinstance(model, str) and not models.knows(model):
            if model not in (*dataset.concepts, STATIC):
                raise UserError(f"{models.unknown(model)[:-1]}; or a concept: {', '.join(there)}.")
            model = {model}
        if isinstance(model, Collection) and not isinstance(model, str):
            for concept in model:
                if concept not in (*there, STATIC):
                    dataset.require(concept)
                    raise UserError(f"concept {concept!r} was not asked for: load the data with concepts including it.")
            reading = model.get("note") if isinstance(model, Mapping) else None
            return cls(None, tuple(c for c in there if c in model), reading, STATIC in model, ModelFacts())
        entry = _entry(model)
        concepts = _concepts(model, entry, there, dataset)
        settings = _settings(model, entry.thing, hyperparameters)
        reading = entry.thing.reading(settings) if "note" in concepts else None
        made_for = getattr(model, "spec", None)  # one that is made has what it was made for
        static = takes_static(entry.facts, settings) if made_for is None else len(made_for.static) > 0
        return cls(entry.name, concepts, reading, static, entry.facts)


def _concepts(model, entry, there: Sequence[str], dataset) -> tuple[str, ...]:
    if not entry.described:  # nobody has said what it takes: all, or what it has
        spec = getattr(model, "spec", None)
        return tuple(there) if spec is None else tuple(c for c in spec.concepts if c in there)
    for concept in sorted(entry.facts.needs - {STATIC, *there}):
        dataset.require(concept)
        raise UserError(f"model {entry.name!r} needs {concept!r}: load the data with concepts including it.")
    found = tuple(c for c in there if c in entry.facts.concepts)
    if entry.facts.concepts and not found:
        raise UserError(
            f"model {entry.name!r} uses {', '.join(sorted(entry.facts.concepts))}, of which the data has none; "
            f"it has {', '.join(there) or 'no concepts'}."
        )
    return found


def _entry(model):
    if isinstance(model, str):
        return models.entry(model)
    if "registered_name" in getattr(model, "__dict__", ()) and not isinstance(model, type):  # it stands for another one
        return models.entry(model.registered_name)
    thing = model if isinstance(model, type) else type(model)
    if not callable(getattr(thing, "reading", None)):
        raise UserError(
            f"{shown(model)} is no model: give a name, a class or an instance of zoo.models.Model, or concepts."
        )
    return models.entry(thing)


def _settings(model, thing: type, hyperparameters: Mapping[str, object] | None) -> dict[str, object]:
    """All hyperparameters that a model is to have."""
    own = getattr(model, "configuration", {}) if hyperparameters is None else hyperparameters
    return {**{n: p.default for n, p in parameters_of(thing).items()}, **own}


def takes_static(facts: ModelFacts, settings: Mapping[str, object]) -> bool:
    """Whether a model takes static facts; one with a hyperparameter ``static`` does where that is not False."""
    return facts.static and settings.get(STATIC) is not False
