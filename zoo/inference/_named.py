"""What codes are called, for a reader: by what we know, and by the source's own dictionaries."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from zoo.knowledge import atc, icd
from zoo.knowledge.labs import labs
from zoo.knowledge.names import name as name_of
from zoo.knowledge.names import names

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset

SHOWN = 2
"""How many members of a class without a name are named in its place."""


def named(codes: Iterable[str], concept: str, dataset: Dataset) -> dict[str, str]:
    """The name of each code; empty where nobody has one.

    Args:
        codes: canonical ones of a concept, or nodes above them.
        concept: which.
        dataset: whose dictionaries are asked where we have no name.
    """
    found = {code: known(code) for code in codes}
    unnamed = [code for code, name in found.items() if not name and "//" in code]
    own = dataset.code_names(concept) if unnamed else {}
    return found | {code: own[code] for code in unnamed if code in own}


@cache
def known(code: str) -> str:
    """What a canonical code, or a node above codes, is called; empty where its system has no names of ours.

    A class without a name is told by its first members.

    >>> known("LAB//50912"), known("LAB//ALT (SGPT)"), known("VITAL//heart_rate"), known("DRUG//aspirin")
    ('creatinine', 'ALT (SGPT)', 'heart rate', 'aspirin')
    >>> known("ATC//C03CA01"), known("ATC//C03C"), known("LAB//99999"), known("<unknown>")
    ('furosemide', 'C03C: furosemide; bumetanide and 8 more', '', '')
    """
    system, _, key = code.partition("//")
    if system == "LAB" and key.isdigit():
        return labs()[code].name.replace("_", " ") if code in labs() else ""
    if system in ("VITAL", "NOTE"):
        return key.replace("_", " ")
    if system in ("LAB", "DRUG"):
        return key
    return name_of(code) or (_members(code, system) if key and system in ("ATC", *icd.SYSTEMS) else "")


def _members(node: str, system: str) -> str:
    if system == "ATC" and node.partition("//")[2] not in atc.known_codes():
        return ""
    below = list(dict.fromkeys(n for c, n in names(system).items() if c.startswith(node) and "-" not in c))
    rest = f" and {len(below) - SHOWN} more" if len(below) > SHOWN else ""
    return f"{node.partition('//')[2]}: {'; '.join(below[:SHOWN])}{rest}" if below else ""
