"""Where tables lie that were looked for elsewhere: a root one level too deep, or too high."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from zoo.datasets._source import find

DEPTH = 2
"""How many levels below a root are looked through."""


def beside(root: Path, tables: Iterable[str]) -> list[str]:
    """Those of some tables, such as ``"icu/chartevents"``, whose folder lies next to a root instead of in it."""
    with suppress(OSError):  # who may not look there is told nothing
        return [name for name in tables if _holds(root.parent, name, but=root)]
    return []


def elsewhere(root: Path, table: str) -> str:
    """What to say of a table that is not in a root; nothing where it lies neither below nor beside it."""
    folder = _below(root, table) or (root.parent if beside(root, [table]) else None)
    return "" if folder is None else f" It lies in {folder}: set root to that."


def _below(root: Path, table: str) -> Path | None:
    level = [root]
    for _ in range(DEPTH):
        with suppress(OSError):
            level = [p for folder in level for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."]
            found = next((folder for folder in level if _holds(folder, table)), None)
            if found is not None:
                return found
    return None


def _holds(folder: Path, table: str, but: Path | None = None) -> bool:
    """Whether a table lies in a folder, and if it has a folder of its own then in that."""
    part, _, name = table.rpartition("/")
    if not part:
        return but is None and find(folder, name) is not None
    own = (p for p in folder.iterdir() if p.name.lower() == part and p.is_dir() and p != but)
    return any(find(p, name) is not None for p in own)
