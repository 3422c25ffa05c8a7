"""Names to things: datasets, tasks and models, ours and everyone else's.

A thing is registered by decorator when its module is imported. Which module to import for a name is known from
the entry-point groups ``zoo.datasets``, ``zoo.tasks`` and ``zoo.models``, so that names can be listed without
importing anything heavy, and a package that is merely installed contributes its own.
"""

from __future__ import annotations

import ast
import difflib
import importlib.metadata
import importlib.util
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class UserError(ValueError):
    """A mistake that the person at the keyboard can mend: says what is wrong, where, and how to mend it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are near to a name that is not known.

    >>> nearest("readmision", ["los", "readmission"])
    "did you mean 'readmission'? Known: los, readmission"
    """
    known = sorted(known)
    by_lower = {k.lower(): k for k in known}
    wanted = str(name).lower()
    alike = {c: difflib.SequenceMatcher(None, c, wanted).ratio() for c in by_lower}
    best = max(alike.values(), default=0.0)
    close = [by_lower[c] for c in sorted(alike, key=alike.get, reverse=True) if alike[c] >= max(0.5, best - 0.1)][:3]
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}"


def parameters_of(thing: type) -> dict[str, inspect.Parameter]:
    """The parameters of a dataset, task, model or trainer that a user may set."""
    try:
        found = inspect.signature(thing.__init__, eval_str=True).parameters
    except NameError:  # annotations that are there for type checkers only
        found = inspect.signature(thing.__init__).parameters
    return {n: p for n, p in found.items() if n not in ("self", "root", "spec") and p.kind is not p.VAR_KEYWORD}


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


def check_parameters(what: str, thing: type, parameters: Mapping[str, object]) -> None:
    """Check values that a user set against a thing's parameters.

    Raises:
        UserError: there is no such parameter (the nearest is named), or a value is of another type than its annotation,
            or outside of its `Range`.
    """
    known = parameters_of(thing)
    for name, value in parameters.items():
        if name not in known:
            raise UserError(f"{what} has no parameter {name!r}: {nearest(name, known)}.")
        annotation = known[name].annotation
        if not _fits(value, annotation):
            raise UserError(
                f"{what}: {name}={value!r} must be of type {_name_of(annotation)}; "
                f"its default is {known[name].default!r}."
            )
        allowed = _outside(value, annotation)
        if allowed:
            raise UserError(f"{what}: {name}={value!r} must be {allowed}; its default is {known[name].default!r}.")


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
                raise UserError(f"{what}: {name}={values[name]!r}{beside} must be a multiple of {of}.")


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


@dataclass(frozen=True)
class Entry:
    """One registered thing: its class and what its decorator said of it (``paper``, ``uses``, ``kinds``, ...)."""

    name: str
    thing: type
    facts: dict = field(default_factory=dict)


class Registry:
    """The names of one noun.

    Args:
        noun: what the things are called in messages, such as ``"model"``.
        group: the entry-point group in which packages name their modules, such as ``"zoo.models"``.
    """

    def __init__(self, noun: str, group: str):
        self.noun, self.group = noun, group
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, **facts) -> Callable[[type], type]:
        """Decorate a class so that it is known by ``name``.

        Raises:
            UserError: another class is registered under that name, or an installed package has claimed it.
        """

        def decorate(thing: type) -> type:
            taken = self._entries.get(name)
            holder = f"{taken.thing.__module__}.{taken.thing.__qualname__}" if taken else self._claimed(name, thing)
            if holder:
                raise UserError(f"{self.noun} {name!r} is registered already, by {holder}: choose another name.")
            self._entries[name] = Entry(name, thing, facts)
            thing.registered_name = name
            return thing

        return decorate

    def names(self) -> list[str]:
        """All names, registered by decorator or by entry point, sorted; imports nothing."""
        return sorted({*self._entries, *self._modules()})

    def entry(self, name: str) -> Entry:
        """The entry of a name; imports the module that registers it if need be.

        Raises:
            UserError: nothing has that name (the nearest names are given), its module cannot be imported, or two
                installed packages claim the name.
        """
        if name not in self._entries:
            points = self._modules().get(name)
            if points is None:
                raise UserError(f"unknown {self.noun} {name!r}: {nearest(name, self.names())}.")
            if len(points) > 1:
                holders = " and ".join(f"{_distribution(p)} ({p.value})" for p in points)
                raise UserError(f"{self.noun} {name!r} is claimed by {holders}: uninstall one of them.")
            self._load(name, points[0])
        return self._entries[name]

    def get(self, name: str) -> type:
        """The class of a name; see `entry`."""
        return self.entry(name).thing

    def summary(self, name: str) -> str:
        """The first line of what a name's documentation says, without importing it where that can be avoided."""
        if name in self._entries:
            return _first_line(self._entries[name].thing.__doc__)
        return _registered_docstring(self._modules()[name][0].module, name)

    def _load(self, name: str, point: importlib.metadata.EntryPoint) -> None:
        try:
            point.load()
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{self.noun} {name!r} of {_distribution(point)} cannot be imported from {point.value}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if name not in self._entries:
            raise UserError(
                f"{_distribution(point)} names {point.value} for {self.noun} {name!r}, but that module registers no "
                f"such name: add @register_{self.noun}({name!r}) to its class."
            )

    def _modules(self) -> dict[str, list[importlib.metadata.EntryPoint]]:
        found: dict[str, list] = {}
        for point in importlib.metadata.entry_points(group=self.group):
            points = found.setdefault(point.name, [])
            if all(point.value != other.value for other in points):
                points.append(point)
        return found

    def _claimed(self, name: str, thing: type) -> str:
        others = [p for p in self._modules().get(name, ()) if p.module != thing.__module__]
        return " and ".join(f"{_distribution(p)} ({p.value})" for p in others)


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n")[0]


def _registered_docstring(module: str, name: str) -> str:
    """The first line of the class that a module registers under a name; empty where the module cannot be read."""
    try:
        body = ast.parse(Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")).body
    except Exception:  # whatever is wrong with somebody's package is said when it is used, and hides nobody else's
        return ""
    for node in body:
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                argument = decorator.args[0] if isinstance(decorator, ast.Call) and decorator.args else None
                if isinstance(argument, ast.Constant) and argument.value == name:
                    return _first_line(ast.get_docstring(node))
    return ""


datasets = Registry("dataset", "zoo.datasets")
tasks = Registry("task", "zoo.tasks")
models = Registry("model", "zoo.models")

register_dataset = datasets.register
register_task = tasks.register
register_model = models.register
