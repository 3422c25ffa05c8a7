"""The parts of these pages that are made from the code when they are built; `zoo.reporting.tables` makes the others.

A page has them between ``<!-- built: PART WHAT -->`` and ``<!-- end -->``, where PART is a function named in `PARTS`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from sphinx.application import Sphinx

import zoo
from zoo.registry import Entry
from zoo.reporting._findings import linked
from zoo.reporting.tables import NOUNS, own_names

BUILT = re.compile(r"<!-- built: (\w+) ?(\S*) -->\n.*?<!-- end -->", re.DOTALL)
LAST_LINE = re.compile(r"(^```python\n(?:(?!```).*\n)*?)\n(?=```$)", re.MULTILINE)
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def filled(text: str) -> str:
    """A page with its parts as they are now, and examples without the empty line that ends a doctest."""
    return BUILT.sub(lambda found: "\n".join(PARTS[found[1]](*filter(None, [found[2]]))), LAST_LINE.sub(r"\1", text))


# Datasets, tasks, models


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
        "paper": linked(facts.paper or ""),
        "concepts": _code(sorted(facts.uses)),
        "cannot run without": _code(sorted(facts.needs)),
        "kinds of task": _code(sorted(facts.kinds)),
        "explains a prediction by": facts.explains,
        "embeds": "the patient at each sample" if entry.thing.has_vectors() else "",
        "published": ", ".join(f"`{n}={v!r}`" for n, v in facts.published.items()),
        "searched": ", ".join(f"`{n}`: {r}" for n, r in facts.search.items() if r is not None),
        "waived checks": "; ".join(f"`{check}`: {reason}" for check, reason in facts.waives.items()),
    }


FACTS = {"datasets": _of_dataset, "tasks": _of_task, "models": _of_model}


# Rooms


def room(name: str) -> Iterator[str]:
    """All that a package offers under its own name and `zoo` does not."""
    package = importlib.import_module(name)
    for offered in package.__all__:
        thing = getattr(package, offered)
        if package is zoo or getattr(zoo, offered, None) is not thing:
            yield from _offered(thing, f"{name}.{offered}")


def thing(name: str) -> Iterator[str]:
    """One thing, by the name from which it can be imported."""
    module, _, own = name.rpartition(".")
    yield from _offered(getattr(importlib.import_module(module), own), name)


def modules(name: str) -> Iterator[str]:
    """A section for each public module of a package, with the functions and classes that are defined in it."""
    package = importlib.import_module(name)
    for path in sorted(Path(package.__file__).parent.glob("[!_]*.py")):
        yield from ("", f"## `{name}.{path.stem}`")
        yield from _rst(f".. automodule:: {name}.{path.stem}", "   :members:")


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
        yield from ("", f"### {folder}", "")
        yield from (f'<a href="{folder}/leaderboard.html">Tables to sort, curves and intervals</a>', "")
        yield from ("```{include} " + f"../benchmarks/results/{folder}/leaderboard.md", ":start-line: 1")
        yield from (":heading-offset: 2", "```")


# Markdown


def _rst(*lines: str) -> Iterable[str]:
    return ("", "```{eval-rst}", *lines, "```", "")


def _name(thing: object) -> str:
    return thing.__name__ if inspect.ismodule(thing) else f"{thing.__module__}.{thing.__qualname__}"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


PARTS = {part.__name__: part for part in (entries, room, thing, modules, commands, leaderboards)}


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """Make the parts of a page that Sphinx has read."""
    source[0] = filled(source[0])


def setup(app: Sphinx) -> dict:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
