"""The tables of datasets, tasks and models that stand in the README and the docs.

``python -m zoo.reporting.tables README.md`` writes them anew between ``<!-- generated: NOUN -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

from zoo import registry

NOUNS = {"datasets": registry.datasets, "tasks": registry.tasks, "models": registry.models}
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def own_names(noun: str) -> list[str]:
    """The names of a noun that come with this package, whatever other packages are installed beside it.

    >>> own_names("tasks")[:2]
    ['diagnosis', 'los']
    """
    return sorted(p.name for p in entry_points(group=NOUNS[noun].group) if p.module.partition(".")[0] == "zoo")


def table(noun: str) -> str:
    """A Markdown table of this package's names of a noun with the first line of what is said of them."""
    rows = [f"| `{name}` | {NOUNS[noun].summary(name)} |" for name in own_names(noun)]
    return "\n".join([f"| {noun[:-1]} | |", "| --- | --- |", *rows, ""])


def renewed(text: str) -> str:
    """A text with its generated tables as they are now."""
    return BLOCK.sub(lambda found: found[1] + table(found[2]) + found[3], text)


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
