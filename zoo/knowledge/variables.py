"""Variables: what is measured, under which codes a source may have it, and the unit that it is taken to.

They are the laboratory tests of `labs.csv` and the vital signs of `limits.csv`.
"""

from __future__ import annotations

from dataclasses import dataclass

from zoo.knowledge.labs import labs
from zoo.knowledge.vitals import limits
from zoo.registry import UserError, nearest, shown


@dataclass(frozen=True)
class Variable:
    """What is measured.

    Attributes:
        name: such as ``creatinine``.
        concept: ``lab`` or ``vital``.
        codes: all that it may have, of whatever source.
        unit: that its values are taken to.
    """

    name: str
    concept: str
    codes: tuple[str, ...]
    unit: str


def variable(name: str, concept: str | None = None) -> Variable:
    """The variable of a name.

    Args:
        name: of `labs.csv` or `limits.csv`.
        concept: ``lab`` or ``vital``; need not be told where only one of them has the name.

    Raises:
        UserError: neither has the name, or both have it and the concept is not told.

    >>> variable("creatinine")
    Variable(name='creatinine', concept='lab', codes=('LAB//50912', 'LAB//creatinine'), unit='mg/dL')
    >>> variable("heart_rate").codes
    ('VITAL//heart_rate',)
    >>> variable("creatinin")
    Traceback (most recent call last):
    zoo.registry.UserError: unknown variable 'creatinin': did you mean 'creatinine'?...
    >>> variable("glucose")
    Traceback (most recent call last):
    zoo.registry.UserError: 'glucose' is a lab and a vital: name one of them, such as concept='lab'.
    """
    known = {c: names for c, names in _names().items() if concept in (None, c)}
    if not known:
        raise UserError(f"concept={shown(concept)} has no variables: {nearest(concept, _names())}.")
    found = [c for c, names in known.items() if isinstance(name, str) and name in names]
    if not found:
        raise UserError(f"unknown variable {shown(name)}: {nearest(name, sorted(set().union(*known.values())))}.")
    if len(found) > 1:
        raise UserError(f"{name!r} is a lab and a vital: name one of them, such as concept='lab'.")
    if found == ["vital"]:
        return Variable(name, "vital", (f"VITAL//{name}",), limits()[name].unit)
    codes = tuple(code for code, lab in labs().items() if lab.name == name)
    return Variable(name, "lab", codes, labs()[codes[0]].unit)


def _names() -> dict[str, set[str]]:
    return {"lab": {lab.name for lab in labs().values()}, "vital": set(limits())}
