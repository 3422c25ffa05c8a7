"""What a decorator may say of the thing that it registers: a dataclass per noun, whose fields are checked."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Self, TypedDict

from zoo.registry._printing import UserError, nearest, shown
from zoo.registry._search import Between, By, Choice

STATIC = "static"
"""What stands for static facts among the concepts that a model uses."""


class Part(TypedDict):
    """What a model takes over of a run of another one: weights by how their names begin, and what both must share."""

    weights: str
    hyperparameters: tuple[str, ...]


Text = Annotated[str | None, "a text"]
Names = Annotated[frozenset[str], "a set of names, such as {'diagnosis', 'drug'}"]
YesOrNo = Annotated[bool, "True or False"]
Levels = Annotated[Mapping[str, str], "a level for each concept, such as {'drug': 'atc3'}"]
Parts = Annotated[Mapping[str, Part], "for each model its 'weights' (how their names begin) and 'hyperparameters'"]
Reasons = Annotated[Mapping[str, str], "a reason for each check, such as {'code_order': 'order matters'}"]
Values = Annotated[Mapping[str, object], "a value for each setting, such as {'model.dim': 128}"]
Ranges = Annotated[
    Mapping[str, Choice | Between | By | None], "a range for each setting, such as {'model.dim': Choice(64, 128)}"
]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was said of a thing when it was registered.

    Raises:
        UserError: a value is of another type than its field.
    """

    def __post_init__(self):
        for name, (form, words) in _forms(type(self)).items():
            value = getattr(self, name)
            if not _fits(value, form):
                raise UserError(f"{name}={shown(value)}, which must be {words}")
            copied = _COPIED.get(typing.get_origin(form))
            if copied is not None:
                object.__setattr__(self, name, copied(value))

    @classmethod
    def read(cls, what: str, said: Mapping[str, object]) -> Self:
        """What a decorator said of a thing.

        Raises:
            UserError: there is no such field (the nearest is named), or a value is of another type.
        """
        known = [f.name for f in fields(cls)]
        for name in said:
            if name not in known:
                raise UserError(f"{what} is registered with an unknown fact {name!r}: {nearest(name, known)}.")
        try:
            return cls(**said)
        except UserError as error:
            raise UserError(f"{what} is registered with {error}.") from None

    def said(self) -> dict[str, object]:
        """The fields that say something, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name))}

    def derived(self) -> Self:
        """What is true of a class, too, that derives from the registered one."""
        return type(self)(**{n: v for n, v in vars(self).items() if n not in _OF_ITS_OWN})


_OF_ITS_OWN = frozenset({"paper", "published", "search", "waives", "causal"})
"""Facts that a class which derives from another does not take over: they speak of how that one computes."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Facts):
    """What ``@register_model(name, ...)`` may say; nothing else.

    Attributes:
        family: where ``zoo list models`` puts it, such as ``"visits"``.
        paper: its authors, where it appeared, and its arXiv number or DOI.
        uses: concepts that it can take, and ``"static"`` for static facts.
        needs: concepts that it cannot run without.
        kinds: of tasks that it serves, such as ``"binary"``.
        predicts: the concept whose codes its outputs are, where it is for such tasks alone.
        resources: what it is built from besides sizes and names, such as ``"ontology"``.
        levels: at which a concept's codes are where the user asks for none.
        causal: whether it reads of a row no more for a sample than the visits up to the sample's own.
        explains: by what it explains a prediction, such as ``"attention to visits"``.
        begins_with: other models of whose runs it takes over a part, and which.
        published: settings that paper or published code have, such as ``{"model.dim": 128, "trainer.lr": 1e-3}``.
        search: where settings are searched; None takes a usual one away.
        waives: checks that do not hold for it, and why.
    """

    family: Text = None
    paper: Text = None
    uses: Names = frozenset()
    needs: Names = frozenset()
    kinds: Names = frozenset()
    predicts: Text = None
    resources: Names = frozenset()
    levels: Levels = field(default_factory=dict)
    causal: YesOrNo = False
    explains: Text = None
    begins_with: Parts = field(default_factory=dict)
    published: Values = field(default_factory=dict)
    search: Ranges = field(default_factory=dict)
    waives: Reasons = field(default_factory=dict)

    @property
    def concepts(self) -> frozenset[str]:
        """The concepts whose events it can take."""
        return (self.uses | self.needs) - {STATIC}

    @property
    def static(self) -> bool:
        """Whether it can take static facts."""
        return STATIC in self.uses | self.needs


@dataclass(frozen=True, kw_only=True)
class TaskFacts(Facts):
    """What ``@register_task(name)`` may say besides the name: nothing, for its class says all."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts(Facts):
    """What ``@register_dataset(name)`` may say besides the name: nothing, for its class says all."""


@dataclass(frozen=True, kw_only=True)
class KindFacts(Facts):
    """What ``@register_kind(name)`` may say besides the name: nothing, for the kind says all."""


@cache
def _forms(facts: type[Facts]) -> dict[str, tuple[object, str]]:
    """Of each field what it may hold, and how to say that."""
    found = typing.get_type_hints(facts, include_extras=True)
    return {f.name: typing.get_args(found[f.name]) for f in fields(facts)}


_COPIED = {frozenset: frozenset, Mapping: dict}
"""What is not kept as it was given, but as a copy."""


def _fits(value: object, form: object) -> bool:
    inner, origin = typing.get_args(form), typing.get_origin(form)
    if typing.is_typeddict(form):
        parts = typing.get_type_hints(form)
        whole = isinstance(value, Mapping) and value.keys() == parts.keys()
        return whole and all(_fits(value[n], part) for n, part in parts.items())
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, i) for i in inner)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(n, inner[0]) and _fits(v, inner[1]) for n, v in value.items())
    if origin in (frozenset, tuple):
        return isinstance(value, (set, frozenset, list, tuple)) and all(isinstance(n, str) for n in value)
    return isinstance(value, form)
