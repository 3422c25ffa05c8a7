"""ATC codes: their levels, and which substance has which.

The Anatomical Therapeutic Chemical classification has five levels, told by the length of a code: ``C`` (anatomical
group), ``C03``, ``C03C`` (level 3, the label space of most medication models), ``C03CA`` and ``C03CA01`` (a substance).
A canonical code is ``ATC//C03CA01``; functions here take both and answer in the form they were given.

The codes are those that the European Medicines Agency listed in 2023 (`SOURCES.md`); a code that has since been moved
stays where it was then.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from zoo.knowledge._tables import read_rows
from zoo.registry import UserError, nearest

LEVELS = {"atc1": 1, "atc2": 3, "atc3": 4, "atc4": 5, "atc5": 7}
"""Level to the number of characters of its codes."""

_PREFIX = "ATC//"


def to_level(codes: Sequence[str | None], level: str) -> np.ndarray:
    """Cut ATC codes (n,) to a level of `LEVELS`: object array (n,), None where a code is no ATC code or too short.

    >>> to_level(["C03CA01", "ATC//B05BB02", "A11", None], "atc3").tolist()
    ['C03C', 'ATC//B05B', None, None]
    >>> to_level(["C03CA01"], "atc6")
    Traceback (most recent call last):
    zoo.registry.UserError: unknown ATC level 'atc6': did you mean ...
    """
    if level not in LEVELS:
        raise UserError(f"unknown ATC level {level!r}: {nearest(level, LEVELS)}")
    lifted = np.empty(len(codes), dtype=object)
    lifted[:] = [_cut(code, LEVELS[level]) for code in codes]
    return lifted


def bare(code: str | None) -> str:
    """An ATC code without ``ATC//``, in capitals; an empty string where it is none.

    >>> bare("ATC//c03ca01"), bare(" C03C "), bare("NDC//1"), bare("C3")
    ('C03CA01', 'C03C', '', '')
    """
    text = code.strip().removeprefix(_PREFIX).upper() if isinstance(code, str) else ""
    return text if _is_code(text) else ""


def known_codes() -> dict[str, str]:
    """Codes of all levels to the substance's name, which is empty above level 5.

    >>> known_codes()["C03CA01"], known_codes()["C03C"]
    ('furosemide', '')
    """
    return {row["code"]: row["name"] for row in _rows()}


def codes_of(substance: str) -> tuple[str, ...]:
    """Level-5 codes in force of a substance by its lower-case international name, sorted; empty where there are none.

    >>> codes_of("furosemide"), codes_of("mupirocin"), codes_of("rituximab")
    (('C03CA01',), ('D06AX09', 'R01AX06'), ('L01FA01',))
    """
    return _codes_by_substance().get(substance, ())


def _cut(code: str | None, length: int) -> str | None:
    text = bare(code)
    if len(text) < length:
        return None
    return (_PREFIX if code.strip().startswith(_PREFIX) else "") + text[:length]


def _is_code(text: str) -> bool:
    if len(text) not in LEVELS.values():
        return False
    letters = text[:1] + text[3:5]
    digits = text[1:3] + text[5:7]
    return text.isascii() and (letters.isalpha() and (digits.isdigit() or not digits))


@cache
def _rows() -> list[dict[str, str]]:
    return read_rows("atc_codes.csv.gz")


@cache
def _codes_by_substance() -> dict[str, tuple[str, ...]]:
    codes: dict[str, list[str]] = {}
    for row in _rows():
        if row["name"] and not row["successor"]:
            codes.setdefault(row["name"], []).append(row["code"])
    return {name: tuple(sorted(own)) for name, own in codes.items()}
