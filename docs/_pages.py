"""The parts of these pages that are made from the code when they are built.

A page has them between ``<!-- built: PART WHAT -->`` and ``<!-- end -->``, where PART is a function named in `PARTS`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from _docstrings import rendered
from sphinx.application import Sphinx

from zoo.registry import Entry
from zoo.reporting.tables import NOUNS, own_names

BUILT = re.compile(r"<!-- built: (\w+) ?(\S*) -->\n.*?<!-- end -->", re.DOTALL)
PARTED = re.compile(
    r"^Where published code and (?:the )?paper part(?:\s*\((?P<aside>.*?)\))?:", re.DOTALL | re.MULTILINE
)
SECTION = re.compile(r"^(?:Args|Attributes|Raises|Returns|Yields):$", re.MULTILINE)
SOURCE = re.compile(r"\b(?:(arXiv):(\d{4}\.\d{4,5})|(doi):(10\.\S+[^\s.,;)]))")
ADDRESS = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def filled(text: str) -> str:
    """A page with its parts as they are now."""
    return BUILT.sub(lambda found: "\n".join(PARTS[found[1]](*filter(None, [found[2]]))), text)


# Datasets, tasks, models


def table(noun: str) -> Iterator[str]:
    """The names of a noun, each with the first line of what is said of it."""
    yield from ("", f"| {noun[:-1]} | |", "| --- | --- |")
    for name in own_names(noun):
        yield f"| {_link(noun, name)} | {NOUNS[noun].summary(name)} |"


def entries(noun: str) -> Iterator[str]:
    """A section for each name of a noun: what its module and its decorator say of it, and its parameters."""
    told: set[object] = set()
    for name in own_names(noun):
        entry = NOUNS[noun].entry(name)
        module = sys.modules[entry.thing.__module__]
        relatives = [c for c in entry.thing.__mro__[1:] if c.__module__ == module.__name__]
        yield from ("", f"({noun[:-1]}-{name})=", "", f"## `{name}`")
        if module not in told:
            yield from _rst(f".. automodule:: {module.__name__}")
        yield from ("", "| | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in FACTS[noun](entry).items() if v))
        for thing in (entry.thing, *(c for c in relatives if c not in told)):
            yield from _rst(f".. autoclass:: {_name(thing)}", *(["   :show-inheritance:"] if relatives else []))
        told.update((module, *relatives))


def _of_dataset(entry: Entry) -> dict[str, str]:
    return {"concepts": _code(getattr(entry.thing, "concepts_from", ()))}


def _of_task(entry: Entry) -> dict[str, str]:
    task = entry.thing()
    return {
        "kind": _code([task.kind]),
        "needs": _code(sorted(task.needs)),
        "seen whole in the target visit": _code(sorted(task.given)),
        "withheld in the target visit": _code(sorted(task.label_concepts)),
    }


def _of_model(entry: Entry) -> dict[str, str]:
    facts = entry.facts
    return {
        "paper": _linked(facts.get("paper", "")),
        "concepts": _code(sorted(facts["uses"])),
        "cannot run without": _code(sorted(facts.get("needs", ()))),
        "kinds of task": _code(sorted(facts["kinds"])),
        "waived checks": "; ".join(f"`{check}`: {reason}" for check, reason in facts.get("waives", {}).items()),
    }


FACTS = {"datasets": _of_dataset, "tasks": _of_task, "models": _of_model}


# What was found in published code


def findings() -> Iterator[str]:
    """A section for each docstring of a model, its module or a class it is made of that speaks of published code."""
    for (thing, passage), names in _passages().items():
        papers = dict.fromkeys(NOUNS["models"].entry(name).facts.get("paper", "") for name in names)
        yield from ("", "## " + ", ".join(f"`{name}`" for name in names), "")
        yield " · ".join([*(_link("models", name) for name in names), *map(_linked, papers)])
        yield from _rst(*rendered(passage, thing, _name(thing)))


def _passages() -> Mapping[tuple[object, str], list[str]]:
    """What is said of published code and by which thing's docstring, with the names of the models it is said of."""
    found: dict[tuple[object, str], list[str]] = {}
    for name in own_names("models"):
        model = NOUNS["models"].entry(name).thing
        module = sys.modules[model.__module__]
        for thing in (module, *(c for c in model.__mro__ if c.__module__ == module.__name__)):
            passage = passage_of(inspect.cleandoc(thing.__doc__ or ""))
            if passage:
                found.setdefault((thing, passage), []).append(name)
    return found


def passage_of(docstring: str) -> str:
    """What a docstring says of published code, up to its next section; empty where it says nothing.

    >>> passage_of("A model.\\n\\nWhere published code and paper part (the first is followed): it pads.\\n\\nArgs:")
    'The first is followed. It pads.'
    """
    start = PARTED.search(docstring)
    if start is None:
        return ""
    rest = SECTION.split(docstring[start.end() :])[0]
    sentences = [start["aside"] and f"{start['aside']}.", rest.strip()]
    parting = "\n\n" if rest.startswith("\n\n") else " "
    return parting.join(s[0].upper() + s[1:] for s in sentences if s)


def waivers() -> Iterator[str]:
    """The checks that models waive, with their reasons."""
    yield from ("", "| model | check | reason |", "| --- | --- | --- |")
    for name in own_names("models"):
        for check, reason in NOUNS["models"].entry(name).facts.get("waives", {}).items():
            yield f"| {_link('models', name)} | `{check}` | {reason} |"


# Rooms


def room(name: str) -> Iterator[str]:
    """All that a package offers under its own name."""
    package = importlib.import_module(name)
    for offered in package.__all__:
        yield from _offered(getattr(package, offered), f"{name}.{offered}")


def modules(name: str) -> Iterator[str]:
    """A section for each public module of a package, with the functions and classes that are defined in it."""
    package = importlib.import_module(name)
    for path in sorted(Path(package.__file__).parent.glob("[!_]*.py")):
        yield from ("", f"## `{name}.{path.stem}`")
        yield from module(f"{name}.{path.stem}")


def module(name: str) -> Iterator[str]:
    """The functions and classes that are defined in a module."""
    yield from _rst(f".. automodule:: {name}", "   :members:")


def _offered(thing: object, name: str) -> Iterator[str]:
    if inspect.ismodule(thing):
        for member, held in vars(thing).items():
            if inspect.isfunction(held) and held.__module__ == thing.__name__ and not member.startswith("_"):
                yield from _offered(held, f"{name}.{member}")
    elif inspect.isclass(thing):
        yield from _rst(f".. autoclass:: {name}", "   :members:")
    else:
        yield from _rst(f".. autofunction:: {name}")


# The command, and leaderboards


def commands() -> Iterator[str]:
    """What ``zoo COMMAND --help`` says of each command."""
    told = subprocess.run(
        [sys.executable, "-m", "typer", "zoo.cli", "utils", "docs", "--name", "zoo"],
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    ).stdout
    yield told[told.index("## `zoo ") :]


def leaderboards() -> Iterator[str]:
    """The tables of each leaderboard that lies in ``benchmarks/results``, with a link to its page."""
    for board in sorted(RESULTS.glob("*/leaderboard.md")):
        folder = board.parent.name
        yield from ("", f'<a href="{folder}/leaderboard.html">Tables to sort, curves and intervals: {folder}</a>', "")
        yield from ("```{include} " + f"../benchmarks/results/{folder}/leaderboard.md", ":heading-offset: 1", "```")


# Markdown


def _rst(*lines: str) -> Iterable[str]:
    return ("", "```{eval-rst}", *lines, "```", "")


def _link(noun: str, name: str) -> str:
    return f"[`{name}`](#{noun[:-1]}-{name})"


def _name(thing: object) -> str:
    return thing.__name__ if inspect.ismodule(thing) else f"{thing.__module__}.{thing.__qualname__}"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _linked(paper: str) -> str:
    """A paper with a link to where it lies.

    >>> _linked("Vaswani et al., NeurIPS 2017, arXiv:1706.03762")
    'Vaswani et al., NeurIPS 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)'
    """
    return SOURCE.sub(lambda found: f"[{found[0]}]({ADDRESS[found[1] or found[3]]}{found[2] or found[4]})", paper)


PARTS = {
    part.__name__: part for part in (table, entries, findings, waivers, room, modules, module, commands, leaderboards)
}


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """Make the parts of a page that Sphinx has read."""
    source[0] = filled(source[0])


def setup(app: Sphinx) -> dict:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
