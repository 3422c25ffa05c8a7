"""The styles of pages and drawings, which lie beside this file."""

from __future__ import annotations

import re
from importlib import resources


def styles(*names: str) -> str:
    """Style sheets, one after the other."""
    return "".join(resources.files("zoo.reporting").joinpath(f"{n}.css").read_text("utf-8") for n in names)


def with_own_colours(drawing: str) -> str:
    """A drawing whose colours are those of light pages, as values: programs that are no browsers know no variables.

    >>> with_own_colours("stroke:var(--c0)")
    'stroke:#2f6db3'
    """
    light = styles("colours").partition("@media")[0]
    known = dict(re.findall(r"(--\w+): (#\w+)", light))
    return re.sub(r"var\((--\w+)\)", lambda found: known[found[1]], drawing)
