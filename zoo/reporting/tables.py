"""What stands in the README and the docs about datasets, tasks and models, made from the code.

``python -m zoo.reporting.tables README.md docs/*.md`` writes it anew between ``<!-- generated: PART -->`` and
``<!-- end -->``. A part is ``datasets``, ``tasks`` or ``models``, a table of names; ``findings``, what the models say
of published code; or ``waivers``, the checks that they waive.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from zoo import registry
from zoo.reporting import _findings

NOUNS = {"datasets": registry.datasets, "tasks": registry.tasks, "models": registry.models}
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def own_names(noun: str) -> list[str]:
    """The names of a noun that come with this package, whatever other packages are installed beside it.

    >>> own_names("tasks")[:2]
    ['diagnosis', 'icd_coding']
    """
    return sorted(p.name for p in entry_points(group=NOUNS[noun].group) if p.module.partition(".")[0] == "zoo")


def table(noun: str) -> str:
    """A Markdown table of this package's names of a noun with the first line of what is said of them."""
    rows = [f"| `{name}` | {NOUNS[noun].summary(name)} |" for name in own_names(noun)]
    return "\n".join([f"| {noun[:-1]} | |", "| --- | --- |", *rows, ""])


def findings() -> str:
    """What this package's models say of published code, in Markdown."""
    return _findings.findings(own_names("models"))


def waivers() -> str:
    """A Markdown table of the checks that this package's models waive."""
    return _findings.waivers(own_names("models"))


PARTS = {"findings": findings, "waivers": waivers, **{noun: partial(table, noun) for noun in NOUNS}}


def renewed(text: str) -> str:
    """A text with its generated parts as they are now."""
    return BLOCK.sub(lambda found: found[1] + PARTS[found[2]]() + found[3], text)


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
