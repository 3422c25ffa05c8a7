"""Our docstrings as reStructuredText: equations stay as they stand, and what is in single backticks is looked up.

- A block that is indented by four or more, under a paragraph, is shown as it is, but for backticks.
- Attributes that share a line are told one by one.
- A name in single backticks is a parameter of the thing documented, an attribute of its class, a name of its module, or
  a name with its module before it. One that these pages document becomes a link, any other is shown as code. A name
  that leads nowhere is a warning. Types in signatures become links likewise; that they exist is known to the linter.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache, reduce
from types import ModuleType

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")
LISTED = re.compile(r"([-*]|\d+\.) ")
QUOTED = re.compile(r"(?<![`:\w])`([^`]+)`(?![`_])")
NAME = re.compile(r"(?!.*\.(?:csv|gz|json|md)$)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
SHARED = re.compile(r"^    (\w+(?:, \w+)+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
NOTHING = object()


def rendered(docstring: str, thing: object, name: str) -> list[str]:
    """Lines of reStructuredText from what is said of a thing.

    Args:
        docstring: with its indentation removed.
        thing: a module, class, function, method or property.
        name: of the thing, from where it can be imported.
    """
    scope = Scope(thing, name)
    before, heading, attributes = docstring.partition("\nAttributes:\n")
    lines = (before + heading + SHARED.sub(_one_by_one, attributes)).split("\n")
    return [
        line.replace("``", "") if literal else QUOTED.sub(lambda found: scope.reference(found[1]), line)
        for line, literal in _with_literal_blocks(lines)
    ]


def _one_by_one(shared: re.Match) -> str:
    return "\n".join(f"    {name}: {shared[2]}" for name in shared[1].split(", "))


def _with_literal_blocks(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Lines, and whether each is shown as it is; the sign of a literal block stands before each such block.

    >>> [line for line, _ in _with_literal_blocks(["With s:", "", "    y = s(x)", "", "Args:", "    dim: width."])]
    ['With s:', '', '::', '', '    y = s(x)', '', 'Args:', '    dim: width.']
    """
    above, after_blank, literal, example = "", True, False, False
    for line in lines:
        if line.strip():
            indented = line.startswith("    ")
            example = line.startswith(">>>") or (example and not after_blank)
            if not indented:
                literal = False
            elif after_blank and above and not LISTED.match(above) and above not in SECTIONS and not literal:
                literal = True
                yield from (("::", True), ("", True))
            above = above if line.startswith(" ") else line
        after_blank = not line.strip()
        yield line, literal or example


class Scope:
    """Where the names in a docstring are looked up.

    Args:
        thing: what the docstring is of.
        name: its own, from where it can be imported.
    """

    def __init__(self, thing: object, name: str):
        held = imported(name.rpartition(".")[0])
        self.owner = thing if inspect.isclass(thing) else held if inspect.isclass(held) else None
        self.module = thing if inspect.ismodule(thing) else inspect.getmodule(self.owner or thing)
        self.parameters = {p for c in (thing, self.owner) if callable(c) for p in _parameters(c)}

    def reference(self, text: str) -> str:
        """What was in single backticks, as a reference, or as code where it can be none."""
        if not NAME.match(text) or text in self.parameters or hasattr(builtins, text):
            return f"``{text}``"
        if self.owner is not None and _follow(self.owner, text) is not NOTHING:
            return f":py:obj:`{text} <{_origin(self.owner)}.{text}>`"
        if self.module is not None and _follow(self.module, text) is not NOTHING:
            return f":py:obj:`{text} <{self.module.__name__}.{text}>`"
        return f":py:obj:`{text}`"


def _parameters(thing: object) -> Iterable[str]:
    try:
        return inspect.signature(thing).parameters
    except ValueError:  # a class of an extension module
        return ()


def imported(name: str) -> object:
    """The module or the thing of that dotted name, or `NOTHING`."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except (ImportError, ValueError):
            continue
        return _follow(module, ".".join(parts[end:]))
    return NOTHING


def _follow(thing: object, name: str) -> object:
    """What is reached from a thing by a dotted name, or `NOTHING`; None for an attribute that only instances have."""
    return reduce(_attribute, name.split(".") if name else (), thing)


def _attribute(thing: object, name: str) -> object:
    if thing is NOTHING or hasattr(thing, name):
        return getattr(thing, name, NOTHING)
    if not inspect.isclass(thing):
        return NOTHING
    annotated = any(name in inspect.get_annotations(c) for c in thing.__mro__)
    made = getattr(getattr(thing.__init__, "__code__", None), "co_names", ())
    return None if annotated or name in made else NOTHING


def _origin(thing: object) -> str:
    """The name of a thing where it is defined."""
    return thing.__name__ if isinstance(thing, ModuleType) else f"{thing.__module__}.{thing.__qualname__}"


def _origin_of(name: str) -> str | None:
    """The name, where it is defined, of what a dotted name leads to; None where that is nowhere."""
    thing = imported(name)
    if thing is NOTHING:
        return None
    if inspect.ismodule(thing) or hasattr(thing, "__qualname__"):
        return _origin(thing)
    holder, _, last = name.rpartition(".")
    return f"{_origin(imported(holder))}.{last}" if holder else name


@cache
def _documented(env: BuildEnvironment) -> dict[str, str]:
    """From the name of a thing where it is defined, or a class's own, to the name under which these pages have it."""
    objects = env.get_domain("py").objects
    classes = {name.rpartition(".")[2]: name for name, entry in objects.items() if entry.objtype == "class"}
    return classes | {origin: name for name in objects if (origin := _origin_of(name))}


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement) -> nodes.Node | None:
    """A link to where a name is documented, however it was written; its text alone where it is not but does exist."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    origin = _origin_of(target)
    name = _documented(env).get(origin or target)
    if name is None:
        return shown if origin or node["reftype"] == "class" else None
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, shown)


def prepare(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Turn a docstring that autodoc has read into reStructuredText, before its sections are."""
    lines[:] = rendered("\n".join(lines), thing, name)


def plain(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """A signature without what is no Python: defaults that only a program knows, and paths of types.

    >>> plain(None, "", "", None, None, "(a: ~pathlib.Path, b: dict = <factory>, c=<function F.<lambda>>)", None)
    ('(a: Path, b: dict = ..., c=...)', None)
    """
    if signature:
        signature = re.sub(r"~(?:\w+\.)+", "", re.sub(r"<(?:function \S+|[^<>]*)>", "...", signature))
    return signature, returned


def setup(app: Sphinx) -> dict:
    app.connect("autodoc-process-docstring", prepare, priority=400)
    app.connect("autodoc-process-signature", plain)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
