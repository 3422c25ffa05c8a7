"""Names to things: datasets, tasks and models, ours and everyone else's.

A thing is registered by decorator when its module is imported. Which module to import for a name is known from
the entry-point groups ``zoo.datasets``, ``zoo.tasks`` and ``zoo.models``, so that names can be listed without
importing anything heavy, and a package that is merely installed contributes its own.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import html
import importlib.metadata
import importlib.util
import inspect
import math
import numbers
import os
import re
import sys
import types
import typing
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


def printable(text: object) -> str:
    r"""A text as a terminal may show it, on one line: what steers a terminal, or turns the text around, is escaped.

    Names of columns, drugs and files are others' texts: they could clear the screen, or hide what stands before them.

    >>> printable("\x1b[2Jaspirin\n81 mg")
    '\\x1b[2Jaspirin\\n81 mg'
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in STEERING else _escaped(c) for c in text)


STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control, format (writing from right to left, no width), half of a character, separators."""


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class UserError(ValueError):
    """A mistake that the person at the keyboard can mend: says what is wrong, where, and how to mend it."""

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in super().__str__().split("\n"))


LONGEST = 120
"""Of a value that is repeated in a message."""
PLAIN = (str, bytes, bool, numbers.Number, type(None), type, os.PathLike)


def shown(value: object) -> str:
    """A value as a message repeats it: like `repr`, but short, and never what a table or another object holds.

    >>> shown("gru"), shown([1, None]), shown(object()), len(shown("x" * 10_000)) < 200
    ("'gru'", '[1, None]', 'a value of type object', True)
    """
    try:
        text = repr(value) if _is_plain(value) else f"a value of type {type(value).__name__}"
    except Exception:  # integers of 5,000 digits, lists within lists within lists, and others' classes
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(part) for pair in list(value.items())[:LONGEST] for part in pair)
    if type(value) in (list, tuple, set, frozenset):
        return all(_is_plain(part) for part in list(value)[:LONGEST])
    return isinstance(value, PLAIN)


def called(thing: type, **parameters: object) -> str:
    """A thing as it would be called, such as ``Readmission(days=30)``.

    >>> called(Registry, noun="model")
    "Registry(noun='model')"
    """
    return printable(f"{thing.__name__}({', '.join(f'{n}={shown(v)}' for n, v in parameters.items())})")


def html_table(title: str, rows: Mapping[str, object], below: Iterable[str] = ()) -> str:
    """What a notebook shows of a thing: a title, a small table of names and values, and lines below."""
    left = "style='text-align:left'"
    cells = "".join(
        f"<tr><th {left}>{_html(name)}</th><td {left}>{_html(value)}</td></tr>" for name, value in rows.items()
    )
    lines = "<br>".join(_html(line) for line in below)
    return f"<div><strong>{_html(title)}</strong><table>{cells}</table><small>{lines}</small></div>"


def _html(text: object) -> str:
    return html.escape(printable(text))


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "sample"), counted(2_000, "sample")
    ('1 sample', '2000 samples')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
    return {n: p for n, p in found.items() if n not in ("self", "root", "spec") and p.kind not in _MANY}


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
    if not isinstance(value, (str, os.PathLike)) or not str(value):
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


@dataclass(frozen=True)
class Entry:
    """One thing: its class and what its decorator said of it (``paper``, ``uses``, ``kinds``, ``family``, ...).

    A class that nobody registered has the facts of the registered one that it derives from, if any.
    """

    name: str
    thing: type
    facts: dict = field(default_factory=dict)
    registered: bool = True


class Registry:
    """The names of one noun.

    Args:
        noun: what the things are called in messages, such as ``"model"``.
        group: the entry-point group in which packages name their modules, such as ``"zoo.models"``.
    """

    def __init__(self, noun: str, group: str):
        self.noun, self.group = noun, group
        self._entries: dict[str, Entry] = {}
        self._unregistered: dict[str, Entry] = {}
        EVERY.append(self)

    def __repr__(self) -> str:
        return f"Registry({self.noun!r}, {self.group!r})"

    def register(self, name: str, **facts) -> Callable[[type], type]:
        """Decorate a class so that it is known by ``name``.

        Raises:
            UserError: another class is registered under that name, or an installed package has claimed it.
        """
        if not isinstance(name, str) or not name:
            raise UserError(f"a {self.noun} is registered under a name: @register_{self.noun}('my_{self.noun}', ...).")

        def decorate(thing: type) -> type:
            if not isinstance(thing, type):
                raise UserError(f"{self.noun} {name!r}: {shown(thing)} is registered, but only a class can be.")
            taken = self._entries.get(name)
            if taken and _is_rewritten(taken.thing, thing):
                taken = None
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

    def entry(self, name: str | type) -> Entry:
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

    def _entry_of(self, thing: type) -> Entry:
        own = vars(thing).get("registered_name")
        held = {**self._entries, **self._unregistered}.get(own)
        if held is not None and held.thing is thing:
            return held
        ancestors = [e for c in thing.__mro__[1:] for e in self._entries.values() if e.thing is c]
        facts = {n: v for n, v in ancestors[0].facts.items() if n not in _OF_ITS_OWN} if ancestors else {}
        name = thing.__name__
        taken = self._unregistered.get(name)
        if name in self.names() or (taken and not _is_same_place(taken.thing, thing)):
            name = f"{thing.__module__}.{thing.__qualname__}"
        self._unregistered[name] = found = Entry(name, thing, facts, registered=False)
        thing.registered_name = name
        return found

    def get(self, name: str | type) -> type:
        """The class of a name; see `entry`."""
        return self.entry(name).thing

    def code(self, thing: type) -> dict[str, str]:
        """What tells a class that nobody registered from others of its name: a digest of what it does.

        Whoever writes one in a notebook writes it again and again under one name, and neither a cache nor a run folder
        may take one for another. Of a registered class there is nothing to tell.
        """
        if self.entry(thing).registered:
            return {}
        text = "\n".join(_code_of(c) for c in thing.__mro__ if c.__module__ == thing.__module__)
        return {f"{self.noun}_code": hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}

    def facts(self, name: str) -> dict:
        """What was said of a name when it was registered, read without importing it where that can be avoided.

        Raises:
            UserError: as `entry`, where its module must be imported.
        """
        if name in self._entries:
            return self._entries[name].facts
        points = self._modules().get(name, ())
        try:
            return _Source.of(points[0].module).facts(name)
        except _Unreadable:
            return self.entry(name).facts

    def summary(self, name: str) -> str:
        """The first line of what a name's documentation says, without importing it where that can be avoided."""
        if name in self._entries:
            return _first_line(self._entries[name].thing.__doc__)
        try:
            return _Source.of(self._modules()[name][0].module).summary(name)
        except _Unreadable:
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
        found: dict[str, list] = {}
        for point in importlib.metadata.entry_points(group=self.group):
            points = found.setdefault(point.name, [])
            if all(point.value != other.value for other in points):
                points.append(point)
        return found

    def _claimed(self, name: str, thing: type) -> str:
        others = [p for p in self._modules().get(name, ()) if p.module != thing.__module__]
        return " and ".join(f"{_distribution(p)} ({p.value})" for p in others)


_OF_ITS_OWN = frozenset({"paper", "waives", "causal"})
"""Facts that a class which derives from another does not take over: they speak of how that one computes."""


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


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


def summary(thing: type) -> str:
    """The first line of what is said of a class."""
    return _first_line(thing.__doc__)


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n")[0]


def _file_of(module: str) -> Path:
    """The file of a module, found without importing the packages that it lies in."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    for folder in spec.submodule_search_locations or () if inner else ():
        place = Path(folder, *inner)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return Path((spec if not inner else importlib.util.find_spec(module)).origin)


class _Unreadable(Exception):
    """An expression that cannot be told without running it."""


class _Source:
    """A module's text, of which plain constants and what decorators say can be read without importing it.

    Args:
        path: of its file.
    """

    def __init__(self, path: Path):
        self._body = ast.parse(path.read_text(encoding="utf-8")).body

    @classmethod
    def of(cls, name: str) -> _Source:
        """The module of a name, read once."""
        try:
            path = _file_of(name)
            if path not in _SOURCES:
                _SOURCES[path] = cls(path)
        except Exception as error:  # whatever is wrong with somebody's package is said when it is imported
            raise _Unreadable from error
        return _SOURCES[path]

    def facts(self, registered: str) -> dict:
        """What the decorator says with which the module registers a name."""
        found: dict = {}
        for keyword in self._registered(registered)[1].keywords:
            value = self._value(keyword.value)
            found |= value if keyword.arg is None else {keyword.arg: value}
        return found

    def summary(self, registered: str) -> str:
        """The first line of what is said of the class that the module registers under a name."""
        return _first_line(ast.get_docstring(self._registered(registered)[0]))

    def _registered(self, name: str) -> tuple[ast.ClassDef, ast.Call]:
        """The class that is registered under a name, and its decorator."""
        for node in self._body:
            for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
                first = decorator.args[0] if isinstance(decorator, ast.Call) and decorator.args else None
                if isinstance(first, ast.Constant) and first.value == name:
                    return node, decorator
        raise _Unreadable

    def constant(self, name: str) -> object:
        """What a name of the module stands for."""
        for node in self._body:
            if isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return self._imported(node.module, alias.name)
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                return self._value(node.value)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                return self._value(node.value)
        raise _Unreadable

    @staticmethod
    def _imported(module: str, name: str) -> object:
        try:
            return _Source.of(module).constant(name)
        except _Unreadable:
            return _Source.of(f"{module}.{name}")

    def _value(self, node: ast.expr | None) -> object:
        match node:
            case ast.Constant():
                return node.value
            case ast.Set() | ast.Tuple() | ast.List():
                return {ast.Set: set, ast.Tuple: tuple, ast.List: list}[type(node)](self._elements(node.elts))
            case ast.Dict():
                found: dict = {}
                for key, value in zip(node.keys, node.values, strict=True):
                    found |= self._value(value) if key is None else {self._value(key): self._value(value)}
                return found
            case ast.Name():
                return self.constant(node.id)
            case ast.Attribute():
                owner = self._value(node.value)
                if isinstance(owner, _Source):
                    return owner.constant(node.attr)
            case ast.Call(func=ast.Name(id="set" | "frozenset" | "dict" as kind), keywords=keywords):
                given = [self._value(a) for a in node.args]
                named = {k.arg: self._value(k.value) for k in keywords}
                return {"set": set, "frozenset": frozenset, "dict": dict}[kind](*given, **named)
            case ast.BinOp(op=ast.BitOr()):
                return self._value(node.left) | self._value(node.right)
        raise _Unreadable

    def _elements(self, nodes: list[ast.expr]) -> list:
        found: list = []
        for node in nodes:
            found += list(self._value(node.value)) if isinstance(node, ast.Starred) else [self._value(node)]
        return found


_SOURCES: dict[Path, _Source] = {}

EVERY: list[Registry] = []
"""All registries."""

datasets = Registry("dataset", "zoo.datasets")
tasks = Registry("task", "zoo.tasks")
models = Registry("model", "zoo.models")

register_dataset = datasets.register
register_task = tasks.register
register_model = models.register


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
        "concept": {c for f in facts.values() for c in concepts_of(f)},
        "kind": {k for f in facts.values() for k in f.get("kinds", ())},
        "family": {f["family"] for f in facts.values() if "family" in f},
    }
    for what, given in (("concept", uses), ("kind", {kind} - {None}), ("family", {family} - {None})):
        for value in given - known[what]:
            raise UserError(f"no model has the {what} {shown(value)}: {nearest(str(value), known[what])}.")
    if task is not None:
        made = tasks.get(task)()
        found = [n for n in found if made.kind in facts[n].get("kinds", ())]
        found = [n for n in found if facts[n].get("predicts") in (None, made.predicts)]
    found = [n for n in found if uses <= concepts_of(facts[n])]
    found = [n for n in found if kind is None or kind in facts[n].get("kinds", ())]
    return [n for n in found if family is None or facts[n].get("family") == family]


def concepts_of(facts: Mapping) -> set[str]:
    """The concepts that a model can take, from what was said when it was registered."""
    return {*facts.get("uses", ()), *facts.get("needs", ())}
