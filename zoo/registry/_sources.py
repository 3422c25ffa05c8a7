"""What a module says of what it registers, read without importing it."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from zoo.registry._search import Between, By, Choice, LogBetween

_SEARCHED = {c.__name__: c for c in (Between, By, Choice, LogBetween)}
"""What is called in a decorator, by name: ranges of settings."""


def first_line(docstring: str | None) -> str:
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


class Unreadable(Exception):
    """An expression that cannot be told without running it."""


class Source:
    """A module's text, of which plain constants and what decorators say can be read without importing it.

    Args:
        path: of its file.
    """

    def __init__(self, path: Path):
        self._body = ast.parse(path.read_text(encoding="utf-8")).body

    @classmethod
    def of(cls, name: str) -> Source:
        """The module of a name, read once."""
        try:
            path = _file_of(name)
            if path not in _SOURCES:
                _SOURCES[path] = cls(path)
        except Exception as error:  # whatever is wrong with somebody's package is said when it is imported
            raise Unreadable from error
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
        return first_line(ast.get_docstring(self._registered(registered)[0]))

    def _registered(self, name: str) -> tuple[ast.ClassDef, ast.Call]:
        """The class that is registered under a name, and its decorator."""
        for node in self._body:
            for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
                first = decorator.args[0] if isinstance(decorator, ast.Call) and decorator.args else None
                if isinstance(first, ast.Constant) and first.value == name:
                    return node, decorator
        raise Unreadable

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
        raise Unreadable

    @staticmethod
    def _imported(module: str, name: str) -> object:
        try:
            return Source.of(module).constant(name)
        except Unreadable:
            return Source.of(f"{module}.{name}")

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
                if isinstance(owner, Source):
                    return owner.constant(node.attr)
            case ast.Call(func=ast.Name(id="set" | "frozenset" | "dict" as kind), keywords=keywords):
                given = [self._value(a) for a in node.args]
                named = {k.arg: self._value(k.value) for k in keywords}
                return {"set": set, "frozenset": frozenset, "dict": dict}[kind](*given, **named)
            case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in _SEARCHED:
                return _SEARCHED[name](*(self._value(a) for a in given))
            case ast.BinOp(op=ast.BitOr()):
                return self._value(node.left) | self._value(node.right)
        raise Unreadable

    def _elements(self, nodes: list[ast.expr]) -> list:
        found: list = []
        for node in nodes:
            found += list(self._value(node.value)) if isinstance(node, ast.Starred) else [self._value(node)]
        return found


_SOURCES: dict[Path, Source] = {}
