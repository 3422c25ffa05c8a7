"""ICD codes and the levels above them.

A canonical code is ``SYSTEM//CODE``, dotted where the system has dots: ``ICD9CM//428.0``, ``ICD10CM//I50.9``,
``ICD9PROC//36.05``, ``ICD10PCS//02703DZ``. `dotted` writes the code, `to_level` lifts arrays of codes:

- ``ccs``, the single-level Clinical Classifications Software of AHRQ: ``CCS//108`` for diagnoses,
  ``CCSPROC//47`` for procedures. ICD-9 and ICD-10 share its categories, so this is the level on which the two
  versions meet.
- ``icd3``, the category of the code's own version: ``ICD9CM//428``, ``ICD10CM//I50``.
- ``code``, the code itself.

The tables hold prefixes, and the longest that fits wins. A code that they do not list (newer than the
release, or cut short) has the category of its deepest known ancestor: its own where it is a listed code, else
the one that all listed codes below it share, and none where these differ. `SOURCES.md` says where the tables
come from.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import numpy as np

from zoo.knowledge._tables import read_rows
from zoo.registry import UserError, nearest

SYSTEMS = ("ICD9CM", "ICD10CM", "ICD9PROC", "ICD10PCS")

_CCS_TABLES = {
    "ICD9CM": ("CCS", "ccs_icd9cm.csv"),
    "ICD10CM": ("CCS", "ccs_icd10cm.csv"),
    "ICD9PROC": ("CCSPROC", "ccs_icd9proc.csv"),
    "ICD10PCS": ("CCSPROC", "ccs_icd10pcs.csv.gz"),
}


def dotted(code: str | None, system: str) -> str:
    """Write a code of `system` (one of `SYSTEMS`) in capitals with its dot, however the source wrote it.

    Blank and None give an empty string. An unknown system is a `UserError`.

    >>> dotted("4280", "ICD9CM"), dotted("e8781", "ICD9CM"), dotted("V45.81", "ICD9CM")
    ('428.0', 'E878.1', 'V45.81')
    >>> dotted("I509 ", "ICD10CM"), dotted("3605", "ICD9PROC"), dotted("02703dz", "ICD10PCS")
    ('I50.9', '36.05', '02703DZ')
    """
    if system not in SYSTEMS:
        raise UserError(_unknown("code system", system, SYSTEMS))
    bare = _bare(code or "")
    cut = len(bare) if system == "ICD10PCS" else _category_length(system, bare)
    return f"{bare[:cut]}.{bare[cut:]}" if len(bare) > cut else bare


@cache
def listed(system: str) -> frozenset[str]:
    """Bare codes of a system that are, or once were, listed as codes to bill with; `SOURCES.md` says where.

    >>> "25000" in listed("ICD9CM"), "250" in listed("ICD9CM")
    (True, False)
    """
    rows = read_rows(f"icd_codes_{system.lower()}.csv.gz")
    return frozenset(row["start"] + end for row in rows for end in row["ends"].split(" "))


def ccs(codes: Sequence[str | None]) -> np.ndarray:
    """CCS categories of canonical codes (n,): strings in an object array (n,), None where nothing is known.

    Sources: AHRQ CCS for ICD-9-CM, January 1980 to September 2015 (diagnoses) and 2014 (procedures), and CCS
    for ICD-10-CM and ICD-10-PCS, version 2019.1. Give it the unique codes: each is looked up.

    >>> ccs(["ICD9CM//428.0", "ICD10CM//I50.9", "ICD9PROC//38.93", "ICD10PCS//02HV33Z", "NDC//1"]).tolist()
    ['CCS//108', 'CCS//108', 'CCSPROC//54', 'CCSPROC//54', None]

    I48.11 is newer than the release, in which its parent I48.1 was a code (cardiac dysrhythmias):

    >>> ccs(["ICD10CM//I48.11"])[0]
    'CCS//106'
    """
    return _each(codes, _ccs_category)


def icd3(codes: Sequence[str | None]) -> np.ndarray:
    """Categories of canonical codes (n,) in their own version: object array (n,), None where no ICD code.

    Three characters; four for the E codes of ICD-9-CM, two for ICD-9 procedures. In ICD-10-PCS the three are
    section, body system and operation.

    >>> icd3(["ICD9CM//428.0", "ICD9CM//E878.1", "ICD9CM//V45.81", "ICD9PROC//36.05"]).tolist()
    ['ICD9CM//428', 'ICD9CM//E878', 'ICD9CM//V45', 'ICD9PROC//36']
    >>> icd3(["ICD10CM//I50.9", "ICD10PCS//02703DZ"]).tolist()
    ['ICD10CM//I50', 'ICD10PCS//027']
    """
    return _each(codes, _category)


def as_coded(codes: Sequence[str | None]) -> np.ndarray:
    """The codes themselves, object array (n,).

    >>> as_coded(["ICD9CM//428.0", None]).tolist()
    ['ICD9CM//428.0', None]
    """
    return _each(codes, lambda code: code)


LEVELS: dict[str, Callable[[Sequence[str | None]], np.ndarray]] = {"ccs": ccs, "icd3": icd3, "code": as_coded}


def to_level(codes: Sequence[str | None], level: str) -> np.ndarray:
    """Lift canonical codes (n,) to a level of `LEVELS`: object array (n,), None where it knows nothing.

    An unknown level is a `UserError` that names the known ones.

    >>> to_level(["ICD9CM//428.0", "ICD10CM//I50.9"], "icd3").tolist()
    ['ICD9CM//428', 'ICD10CM//I50']
    >>> to_level(["ICD9CM//428.0"], "cs")
    Traceback (most recent call last):
    zoo.registry.UserError: unknown level 'cs': did you mean 'ccs'? Known: ccs, code, icd3
    """
    if level not in LEVELS:
        raise UserError(_unknown("level", level, LEVELS))
    return LEVELS[level](codes)


def _each(codes: Sequence[str | None], lift: Callable[[str | None], str | None]) -> np.ndarray:
    lifted = np.empty(len(codes), dtype=object)
    lifted[:] = [lift(code) for code in codes]
    return lifted


def _ccs_category(code: str | None) -> str | None:
    system, bare = _split(code)
    if system is None:
        return None
    table = _ccs_table(system)
    while bare and bare not in table:
        bare = bare[:-1]
    return table.get(bare)


def _category(code: str | None) -> str | None:
    system, bare = _split(code)
    return f"{system}//{bare[: _category_length(system, bare)]}" if bare else None


def _split(code: str | None) -> tuple[str | None, str]:
    """System and bare code of a canonical code; (None, "") for what is no ICD code."""
    system, _, rest = code.partition("//") if isinstance(code, str) else ("", "", "")
    return (system, _bare(rest)) if system in _CCS_TABLES else (None, "")


def _bare(code: str) -> str:
    return code.strip().replace(".", "").upper()


def _category_length(system: str, bare: str) -> int:
    if system == "ICD9PROC":
        return 2
    return 4 if system == "ICD9CM" and bare.startswith("E") else 3


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"unknown {kind} {name!r}: {nearest(name, known)}"


@cache
def _ccs_table(system: str) -> dict[str, str]:
    kind, name = _CCS_TABLES[system]
    rows = read_rows(name)
    return {prefix: f"{kind}//{row['category']}" for row in rows for prefix in row["prefixes"].split()}
