"""What the models' docstrings say of published code, as Markdown, and the checks that models waive.

A docstring says it in a paragraph that begins with "Where published code and paper part", and in the list after it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable

from zoo import registry
from zoo.registry import Entry

PASSAGE = re.compile(
    r"^Where published code and (?:the )?paper part(?:\s*\((?P<aside>.*?)\))?:"
    r"(?P<gap>\s+)(?P<rest>.+?)(?=\n\n(?![- ])|\Z)",
    re.DOTALL | re.MULTILINE,
)
SOURCE = re.compile(r"\b(?:(arXiv):(\d{4}\.\d{4,5})|(doi):(10\.\S+[^\s.,;)]))")
ADDRESS = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


def findings(names: Iterable[str]) -> str:
    """A section for each passage, with the models that it speaks of and their papers."""
    told: dict[str, list[Entry]] = {}
    for entry in map(registry.models.entry, names):
        for docstring in docstrings(entry.thing):
            told.setdefault(passage(docstring), []).append(entry)
    told.pop("", None)
    return "\n".join(f"## {_names(entries)}\n\n{_links(entries)}\n\n{text}\n" for text, entries in told.items())


def waivers(names: Iterable[str]) -> str:
    """A table of the checks that models waive, with their reasons."""
    rows = [
        f"| `{entry.name}` | `{check}` | {reason} |"
        for entry in map(registry.models.entry, names)
        for check, reason in entry.facts.waives.items()
    ]
    return "\n".join(["| model | check | reason |", "| --- | --- | --- |", *rows, ""])


def docstrings(model: type) -> list[str]:
    """Those of a model's module, of the model, and of classes in the same module that it derives from."""
    module = sys.modules[model.__module__]
    things = [module, *(c for c in model.__mro__ if c.__module__ == module.__name__)]
    return [inspect.cleandoc(t.__doc__) for t in things if t.__doc__]


def passage(docstring: str) -> str:
    """What a docstring says of published code; empty where it says nothing.

    >>> passage("A model.\\n\\nWhere published code and paper part (the first is followed): it pads.\\n\\nArgs:")
    'The first is followed. It pads.'
    """
    found = PASSAGE.search(docstring)
    if found is None:
        return ""
    aside = found["aside"] and f"{' '.join(found['aside'].split())}."
    gap = "\n\n" if "\n\n" in found["gap"] else " "
    return gap.join(s[0].upper() + s[1:] for s in (aside, found["rest"]) if s)


def linked(paper: str) -> str:
    """A paper with a link to where it lies.

    >>> linked("Vaswani et al., NeurIPS 2017, arXiv:1706.03762")
    'Vaswani et al., NeurIPS 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)'
    """
    return SOURCE.sub(lambda found: f"[{found[0]}]({ADDRESS[found[1] or found[3]]}{found[2] or found[4]})", paper)


def _names(entries: Iterable[Entry]) -> str:
    return ", ".join(f"`{entry.name}`" for entry in entries)


def _links(entries: Iterable[Entry]) -> str:
    papers = dict.fromkeys(linked(entry.facts.paper or "") for entry in entries)
    return " · ".join([*papers, *(f"[`{entry.name}` in full](models.md#model-{entry.name})" for entry in entries)])
