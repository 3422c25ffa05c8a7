"""Names to things: datasets, kinds of task, tasks and models, ours and everyone else's.

A thing is registered by decorator when its module is imported. Which module to import for a name is known from
the entry-point groups ``zoo.datasets``, ``zoo.kinds``, ``zoo.tasks`` and ``zoo.models``, so that names can be listed
without importing anything heavy, and a package that is merely installed contributes its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

from zoo.registry._facts import STATIC, DatasetFacts, Facts, KindFacts, ModelFacts, Part, TaskFacts
from zoo.registry._parameters import (
    MultipleOf,
    Range,
    check_multiples,
    check_parameters,
    explained,
    is_at_limit,
    names_of,
    parameters_of,
    path_of,
    whole_number,
)
from zoo.registry._printing import UserError, as_setting, called, counted, html_table, nearest, printable, shown
from zoo.registry._search import Between, By, Choice, LogBetween
from zoo.registry._sources import Source, Unreadable, first_line

if TYPE_CHECKING:
    from zoo.kinds import Kind

__all__ = [
    "STATIC",
    "Between",
    "By",
    "Choice",
    "DatasetFacts",
    "Entry",
    "Facts",
    "KindFacts",
    "LogBetween",
    "ModelFacts",
    "MultipleOf",
    "Part",
    "Range",
    "Registry",
    "TaskFacts",
    "UserError",
    "as_setting",
    "called",
    "check_multiples",
    "check_parameters",
    "counted",
    "datasets",
    "explained",
    "html_table",
    "is_at_limit",
    "kind_of",
    "kinds",
    "models",
    "models_that_serve",
    "names_of",
    "nearest",
    "parameters_of",
    "path_of",
    "printable",
    "register_dataset",
    "register_kind",
    "register_model",
    "register_task",
    "shown",
    "summary",
    "tasks",
    "whole_number",
]


F = TypeVar("F", bound=Facts)


@dataclass(frozen=True)
class Entry(Generic[F]):
    """One thing: its class, and what its decorator said of it.

    A class that nobody registered has the facts of the registered one that it derives from, if any.

    Attributes:
        registered: whether the class itself is registered.
        described: whether it is, or one that it derives from: else nobody has said anything of it.
    """

    name: str
    thing: type
    facts: F
    registered: bool = True
    described: bool = True


class Registry(Generic[F]):
    """The names of one noun.

    Args:
        noun: what the things are called in messages, such as ``"model"``.
        group: the entry-point group in which packages name their modules, such as ``"zoo.models"``.
        facts: what a decorator may say of a thing.
    """

    def __init__(self, noun: str, group: str, facts: type[F]):
        self.noun, self.group = noun, group
        self._sayable = facts
        self._entries: dict[str, Entry[F]] = {}
        self._unregistered: dict[str, Entry[F]] = {}
        EVERY.append(self)

    def __repr__(self) -> str:
        return f"Registry({self.noun!r}, {self.group!r})"

    def register(self, name: str, **facts) -> Callable[[type], type]:
        """Decorate a class so that it is known by ``name``.

        Args:
            name: what nothing else of the noun is called.
            **facts: what is said of it: of a model the fields of `zoo.registry.ModelFacts`, of all others
                nothing. Nobody can add a field.

        Raises:
            UserError: there is no such field, or a value is of another type; another class is registered under that
                name, or an installed package has claimed it.
        """
        if not isinstance(name, str) or not name:
            raise UserError(f"a {self.noun} is registered under a name: @register_{self.noun}('my_{self.noun}', ...).")
        said = self._said(name, facts)

        def decorate(thing: type) -> type:
            if not isinstance(thing, type):
                raise UserError(f"{self.noun} {name!r}: {shown(thing)} is registered, but only a class can be.")
            taken = self._entries.get(name)
            if taken and _is_rewritten(taken.thing, thing):
                taken = None
            holder = f"{taken.thing.__module__}.{taken.thing.__qualname__}" if taken else self._claimed(name, thing)
            if holder:
                raise UserError(f"{self.noun} {name!r} is registered already, by {holder}: choose another name.")
            self._entries[name] = Entry(name, thing, said)
            thing.registered_name = name
            return thing

        return decorate

    def names(self) -> list[str]:
        """All names, registered by decorator or by entry point, sorted; imports nothing."""
        return sorted({*self._entries, *self._modules()})

    def entry(self, name: str | type) -> Entry[F]:
        """The entry of a name; imports the module that registers it if need be.

        Args:
            name: one that is registered; or a class, registered or not. One that is not gets a name of its own, under
                which it is known as long as this process runs, and is not listed.

        Raises:
            UserError: nothing has that name (the nearest names are given), its module cannot be imported, or two
                installed packages claim the name.
        """
        if isinstance(name, type):
            return self._entry_of(name)
        if name in self._unregistered:
            return self._unregistered[name]
        if name not in self._entries:
            points = self._modules().get(name) if isinstance(name, str) else None
            if points is None:
                raise UserError(self.unknown(name))
            if len(points) > 1:
                holders = " and ".join(f"{_distribution(p)} ({p.value})" for p in points)
                raise UserError(f"{self.noun} {name!r} is claimed by {holders}: uninstall one of them.")
            self._load(name, points[0])
        return self._entries[name]

    def knows(self, name: str) -> bool:
        """Whether a name is registered, or that of a class that was met in this process."""
        return name in self._entries or name in self._unregistered or name in self._modules()

    def unknown(self, name: object) -> str:
        """What is said of a name that nothing has."""
        others = [r for r in EVERY if r is not self and isinstance(name, str) and name in r.names()]
        which = (
            f"{shown(name)} is a {others[0].noun}, no {self.noun}" if others else f"unknown {self.noun} {shown(name)}"
        )
        return f"{which}: {nearest(name, self.names())}."

    def _entry_of(self, thing: type) -> Entry[F]:
        own = vars(thing).get("registered_name")
        held = {**self._entries, **self._unregistered}.get(own)
        if held is not None and held.thing is thing:
            return held
        ancestors = [e for c in thing.__mro__[1:] for e in self._entries.values() if e.thing is c]
        facts = ancestors[0].facts.derived() if ancestors else self._sayable()
        name = thing.__name__
        taken = self._unregistered.get(name)
        if name in self.names() or (taken and not _is_same_place(taken.thing, thing)):
            name = f"{thing.__module__}.{thing.__qualname__}"
        self._unregistered[name] = found = Entry(name, thing, facts, registered=False, described=bool(ancestors))
        thing.registered_name = name
        return found

    def get(self, name: str | type) -> type:
        """The class of a name; see `entry`."""
        return self.entry(name).thing

    def code(self, thing: type, registered: bool = False) -> dict[str, str]:
        """What tells a class that nobody registered from others of its name: a digest of what it does.

        Whoever writes one in a notebook writes it again and again under one name, and neither a cache nor a run folder
        may take one for another. Of a registered class there is nothing to tell, but where that is asked for and it
        does not come with zoo.
        """
        if self.entry(thing).registered and (not registered or thing.__module__.split(".")[0] == "zoo"):
            return {}
        text = "\n".join(_code_of(c) for c in thing.__mro__ if c.__module__ == thing.__module__)
        return {f"{self.noun}_code": hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}

    def facts(self, name: str) -> F:
        """What was said of a name when it was registered, read without importing it where that can be avoided.

        Raises:
            UserError: as `entry`, where its module must be imported.
        """
        if name in self._entries:
            return self._entries[name].facts
        points = self._modules().get(name, ())
        try:
            return self._said(name, Source.of(points[0].module).facts(name))
        except (Unreadable, UserError):  # what is wrong is said with the package's name when it is imported
            return self.entry(name).facts

    def _said(self, name: str, facts: dict[str, object]) -> F:
        return self._sayable.read(f"{self.noun} {name!r}", facts)

    def summary(self, name: str) -> str:
        """The first line of what a name's documentation says, without importing it where that can be avoided."""
        if name in self._entries:
            return first_line(self._entries[name].thing.__doc__)
        try:
            return Source.of(self._modules()[name][0].module).summary(name)
        except Unreadable:
            return ""

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
        return _points(self.group, tuple((folder, _changed(folder)) for folder in sys.path))

    def _claimed(self, name: str, thing: type) -> str:
        others = [p for p in self._modules().get(name, ()) if p.module != thing.__module__]
        return " and ".join(f"{_distribution(p)} ({p.value})" for p in others)


def _code_of(thing: type) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # typed in where nobody keeps it
        return "\n".join(_told_of(name, value) for name, value in vars(thing).items() if name != "registered_name")


def _told_of(name: str, value: object) -> str:
    function = getattr(value, "fget", None) or getattr(value, "__func__", value)
    code = getattr(function, "__code__", value)
    if not isinstance(code, types.CodeType):
        return f"{name} {shown(value)}"
    constants = "\n".join(_told_of(name, constant) for constant in code.co_consts)
    return f"{name} {code.co_code.hex()} {code.co_names}\n{constants}"


def _is_same_place(old: type, new: type) -> bool:
    return (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)


def _is_rewritten(old: type, new: type) -> bool:
    """Whether a class stands in the place of an older one: somebody ran a cell of a notebook again."""
    in_notebook = new.__module__ == "__main__" and not hasattr(sys.modules.get("__main__"), "__file__")
    return in_notebook and _is_same_place(old, new)


@lru_cache(maxsize=8)
def _points(group: str, folders: tuple[tuple[str, int], ...]) -> dict[str, list[importlib.metadata.EntryPoint]]:
    """The entry points of a group by name, read anew where packages were installed, or folders with some were added."""
    found: dict[str, list] = {}
    for point in importlib.metadata.entry_points(group=group):
        points = found.setdefault(point.name, [])
        if all(point.value != other.value for other in points):
            points.append(point)
    return found


def _changed(folder: str) -> int:
    """When something was last installed into a folder of ``sys.path``; 0 for none that there is."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


def summary(thing: type) -> str:
    """The first line of what is said of a class."""
    return first_line(thing.__doc__)


EVERY: list[Registry] = []
"""All registries."""

datasets = Registry("dataset", "zoo.datasets", DatasetFacts)
kinds = Registry("kind", "zoo.kinds", KindFacts)
tasks = Registry("task", "zoo.tasks", TaskFacts)
models = Registry("model", "zoo.models", ModelFacts)

register_dataset = datasets.register
register_kind = kinds.register
register_task = tasks.register
register_model = models.register


def kind_of(kind: str | type[Kind]) -> Kind:
    """The kind of a task, by its name or class.

    >>> kind_of("multilabel").sets
    True

    Raises:
        UserError: nothing has that name.
    """
    return _made(kinds.get(kind))


@cache
def _made(kind: type[Kind]) -> Kind:
    return kind()


def models_that_serve(
    task: str | None = None, uses: str | Iterable[str] = (), kind: str | None = None, family: str | None = None
) -> list[str]:
    """The names of models that serve a purpose; see `zoo.list_models`."""
    found = models.names()
    uses = set(names_of("uses", uses))
    if task is None and not uses and kind is None and family is None:
        return found
    facts = {n: models.facts(n) for n in found}
    known = {
        "concept": {c for f in facts.values() for c in f.concepts},
        "kind": {k for f in facts.values() for k in f.kinds},
        "family": {f.family for f in facts.values()} - {None},
    }
    for what, given in (("concept", uses), ("kind", {kind} - {None}), ("family", {family} - {None})):
        for value in given - known[what]:
            raise UserError(f"no model has the {what} {shown(value)}: {nearest(str(value), known[what])}.")
    if task is not None:
        made = tasks.get(task)()
        found = [n for n in found if made.kind in facts[n].kinds]
        found = [n for n in found if facts[n].predicts in (None, made.predicts)]
    found = [n for n in found if uses <= facts[n].concepts]
    found = [n for n in found if kind is None or kind in facts[n].kinds]
    return [n for n in found if family is None or facts[n].family == family]
