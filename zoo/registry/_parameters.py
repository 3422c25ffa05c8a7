"""Values that a user set, against what the parameters of a thing may be."""

from __future__ import annotations

import inspect
import math
import numbers
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.registry._printing import UserError, nearest, shown


def parameters_of(thing: type) -> dict[str, inspect.Parameter]:
    """The parameters of a dataset, task, model or trainer that a user may set."""
    try:
        found = inspect.signature(thing.__init__, eval_str=True).parameters
    except NameError:  # annotations that are there for type checkers only
        found = inspect.signature(thing.__init__).parameters
    own = list(found.items())[1:]  # the first is the instance, whatever it is called
    return {n: p for n, p in own if n not in ("root", "spec") and p.kind not in _MANY}


@dataclass(frozen=True)
class Range:
    """What a number may be; a constructor's parameter says so by its type: ``Annotated[int, Range(at_least=1)]``.

    No number is infinite, or NaN.

    >>> str(Range(at_least=0, below=1)), 0 in Range(at_least=0, below=1), 1 in Range(at_least=0, below=1)
    ('at least 0 and below 1', True, False)
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (isinstance(value, numbers.Integral) or math.isfinite(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        ends = ((n.replace("_", " "), getattr(self, n)) for n in ("at_least", "above", "at_most", "below"))
        return " and ".join(f"{words} {end:g}" for words, end in ends if end is not None) or "finite"


@dataclass(frozen=True)
class MultipleOf:
    """What a parameter is a multiple of: ``MultipleOf("heads")``, ``MultipleOf(times=2)``.

    Attributes:
        parameter: another one, or none.
        times: what that is multiplied with.
        beside: a further one, with which the parameter itself is multiplied before.
    """

    parameter: str = ""
    times: int = 1
    beside: str = ""


_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def explained(thing: type | Callable) -> dict[str, str]:
    """What the section ``Args`` of a thing's documentation, and of the classes it derives from, says of each parameter.

    >>> from zoo.registry import Registry
    >>> explained(Registry)["noun"]
    'what the things are called in messages, such as ``"model"``.'
    """
    found: dict[str, str] = {}
    for holder in reversed(getattr(thing, "__mro__", (thing,))):
        documentation = inspect.cleandoc(
            vars(holder).get("__doc__") or "" if isinstance(holder, type) else holder.__doc__ or ""
        )
        _, _, section = documentation.partition("\nArgs:\n")
        section = re.split(r"\n(?=\S)", section)[0]
        for names, text in re.findall(r"^    (\*{0,2}\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", section, re.MULTILINE):
            found |= dict.fromkeys(names.lstrip("*").split(", "), " ".join(text.split()))
    return found


def check_parameters(what: str, thing: type, parameters: Mapping[str, object]) -> dict[str, object]:
    """Check values that a user set against a thing's parameters.

    Returns:
        The parameters, with plain numbers for those of NumPy and texts for paths where texts are wanted, so that they
        read back from a file as they are.

    Raises:
        UserError: there is no such parameter (the nearest is named), or a value is of another type than its annotation,
            or outside of its `Range`.
    """
    known, found = parameters_of(thing), {}
    for name, value in parameters.items():
        if name not in known:
            raise UserError(f"{what} has no parameter {name!r}: {nearest(name, known)}.")
        if isinstance(value, numbers.Real) and not abs(value) <= LARGEST:
            raise UserError(
                f"{what}: {name}={shown(value)} must be a number from -2^53 to 2^53; its default is "
                f"{known[name].default!r}."
            )
        annotation = known[name].annotation
        found[name] = value = _plain(value, annotation)
        if not _fits(value, annotation):
            raise UserError(
                f"{what}: {name}={shown(value)} must be of type {_name_of(annotation)}; "
                f"its default is {known[name].default!r}."
            )
        allowed = _outside(value, annotation)
        if allowed:
            raise UserError(f"{what}: {name}={shown(value)} must be {allowed}; its default is {known[name].default!r}.")
    return found


def check_multiples(what: str, thing: type, parameters: Mapping[str, object]) -> None:
    """Check values that `check_parameters` found right, with the defaults of all others, for `MultipleOf`.

    Raises:
        UserError: one is not the multiple that it has to be.
    """
    known = parameters_of(thing)
    values = {n: p.default for n, p in known.items()} | dict(parameters)
    for name, parameter in known.items():
        for said in _said_of(parameter.annotation, MultipleOf):
            step = said.times * (values[said.parameter] if said.parameter else 1)
            if values[name] * (values[said.beside] if said.beside else 1) % step:
                factor = said.parameter if said.times == 1 else f"{said.times} * {said.parameter}"
                of = f"{factor}={step}" if said.parameter else str(step)
                beside = f", times {said.beside}={values[said.beside]!r}," if said.beside else ""
                raise UserError(f"{what}: {name}={shown(values[name])}{beside} must be a multiple of {of}.")


def is_at_limit(thing: type, name: str, value: object) -> bool:
    """Whether a value is the least or the largest that a thing's parameter can have, by its `Range`."""
    said = _said_of(parameters_of(thing)[name].annotation, Range)
    return any(value in (limits.at_least, limits.at_most) for limits in said)


def _plain(value: object, annotation: object) -> object:
    if isinstance(value, numbers.Number) and type(value).__module__ == "numpy":
        return value.item()
    if isinstance(value, os.PathLike) and not _fits(value, annotation):
        return os.fspath(value)
    return value


def whole_number(name: str, value: object, low: int, high: int = 2**31 - 1) -> int:
    """A user's whole number as a plain one.

    Raises:
        UserError: it is none, or out of range.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        between = f"from {low} to {high}" if whole and value > high else f"of at least {low}"
        raise UserError(f"{name}={shown(value)} must be a whole number {between}.")
    return int(value)


def path_of(name: str, value: object) -> Path:
    """A user's path.

    Raises:
        UserError: it is none.
    """
    if not isinstance(value, (str, os.PathLike)) or not str(value) or "\0" in str(value):
        raise UserError(f"{name}={shown(value)} must be a path.")
    return Path(value).expanduser()


def names_of(what: str, value: object) -> list[str]:
    """A user's names: one alone, or several.

    Raises:
        UserError: they are none.
    """
    names = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if not all(isinstance(n, str) for n in names):
        raise UserError(f"{what}={shown(value)} must be a name, or a list of names.")
    return names


LARGEST = 2**53
"""The largest number that a parameter may be: beyond it they are no longer exact."""
NUMBERS = {int: numbers.Integral, float: numbers.Real}


def _fits(value: object, annotation: object) -> bool:
    """Whether a value is of a plain annotated type; other annotations are left to the thing itself."""
    if _is_union(annotation):
        return any(_fits(value, a) for a in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Annotated:
        return _fits(value, typing.get_args(annotation)[0])
    if annotation in NUMBERS:
        return isinstance(value, NUMBERS[annotation]) and not isinstance(value, bool)
    if annotation in (bool, str):
        return isinstance(value, annotation)
    return value is None if annotation is type(None) else True


def _outside(value: object, annotation: object) -> str:
    """What a value of the annotated type can be, where it is outside of that; else nothing."""
    if _is_union(annotation):
        options = typing.get_args(annotation)
        found = [_outside(value, o) for o in options if _fits(value, o)]
        return " or ".join(found) + (", or None" if type(None) in options else "") if all(found) else ""
    return " and ".join(str(r) for r in _said_of(annotation, Range) if value not in r)


def _is_union(annotation: object) -> bool:
    return isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union


def _said_of(annotation: object, kind: type) -> list:
    """What of a kind an annotation says of a value besides its type."""
    return [said for said in getattr(annotation, "__metadata__", ()) if isinstance(said, kind)]


def _name_of(annotation: object) -> str:
    if _is_union(annotation):
        return " | ".join(_name_of(a) for a in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Annotated:
        return _name_of(typing.get_args(annotation)[0])
    return "None" if annotation is type(None) else getattr(annotation, "__name__", None) or str(annotation)
