"""ICD codes that a spreadsheet or a plain ``read_csv`` made numbers, and what they were before.

As a number ``0389`` (septicaemia) is 389, which reads as hearing loss. A table in which some code begins with a zero is
intact. In any other a code counts as the one listed code that its digits may stand for; where there are several it
is no event, for which of them it was cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from zoo.knowledge import icd

LONGEST = {"ICD9CM": 5, "ICD9PROC": 4}
STEM = {"ICD9CM": 3, "ICD9PROC": 2}
"""Digits before the dot."""
SHORTEST = 3
PCS_LENGTH = 7
MANY = 300
"""So many codes that are numbers, and none with a leading zero: of all that are billed, one in 25 has one."""
RESTORED = "its code had lost zeros (restored: one listed code has these digits)"
UNLISTED = "its code may have lost zeros (no listed code has these digits)"
SEVERAL = "code that lost its zeros and may be one of several"
NONE = "code that lost its zeros and is like none that is listed"
CHANGES = ["code", "spelt", "new_code", "remark", "flaw"]


def settled(codes: pd.DataFrame, with_dots: bool) -> pd.DataFrame:
    """What is to be made of a table's codes that may have lost zeros.

    Args:
        codes: the distinct canonical ``code``; ``spelt``, the text of the source where it has a dot or comes from a
            column of numbers, else null; ``n``, how many rows have them.
        with_dots: whether the source writes codes with their dots.

    Returns:
        Columns ``code``, ``spelt``, and ``new_code``, ``remark`` (on rows that stay), ``flaw`` (why rows are no
        events); only codes to which one of these applies.
    """
    if not len(codes):
        return pd.DataFrame(columns=CHANGES)
    system, _, rest = codes.code.str.partition("//").to_numpy().T
    frame = codes.assign(system=system, rest=rest).reset_index(drop=True)
    text = frame.spelt.fillna(frame.rest if with_dots else frame.rest.str.replace(".", "", regex=False))
    frame["text"] = text.str.strip()
    numbers = frame[frame.text.str.fullmatch(r"[0-9]+(\.[0-9]*)?") & frame.system.isin(LONGEST)]
    groups = [numbers] if with_dots else [group for _, group in numbers.groupby("system")]
    changes = [_of_numbers(group, with_dots) for group in groups if len(group)]
    changes.append(_of_pcs(frame[frame.system == "ICD10PCS"]))
    return pd.concat([c[CHANGES] for c in changes], ignore_index=True)


def _of_pcs(codes: pd.DataFrame) -> pd.DataFrame:
    """ICD-10-PCS: all codes have seven characters, so that digits alone tell how many zeros are lost."""
    short = codes[codes.text.str.fullmatch(r"[0-9]{1,6}(\.0*)?|[0-9]{7}\.0*")]
    whole = short.text.str.split(".").str[0].str.zfill(PCS_LENGTH)
    known = whole.isin(icd.listed("ICD10PCS")).tolist()
    new = [f"ICD10PCS//{code}" if k else None for code, k in zip(whole, known, strict=True)]
    return _changes(short, new, [RESTORED if k else None for k in known], [None if k else NONE for k in known])


def _of_numbers(codes: pd.DataFrame, with_dots: bool) -> pd.DataFrame:
    """Codes of ICD-9 that are numbers: nothing to change where the table is intact, or nothing speaks against it."""
    nothing = _changes(codes.head(0), [], [], [])
    parts = codes.text.str.split(".")
    stem, rest = parts.str[0], parts.str[1].astype(object)
    rest = rest.where(rest.notna(), None)
    whole = rest.fillna("").str.strip("0") == ""
    length = stem.str.len() + rest.fillna("").str.len()
    if (stem.str.startswith("0") & (length >= SHORTEST)).any():
        return nothing
    dotted = with_dots or not whole.all()
    longer = stem.str.len() > codes.system.map(STEM)
    floats = not dotted and bool((rest.notna() & longer).any())
    typed = codes.spelt.notna() & rest.isna()
    if dotted:  # two digits before the dot may be a procedure's
        short = (stem.str.len() < codes.system.map(STEM)) | ((stem.str.len() < STEM["ICD9CM"]) & rest.isna())
    else:
        short = stem.str.len() < SHORTEST
    certain = bool(floats or typed.any() or short.any() or (not with_dots and codes.n.sum() >= MANY))
    forms = {"dots": dotted or not floats, "no_dots": not dotted, "trailing": certain}
    found = [_readings(*row, with_dots, **forms) for row in zip(codes.system, stem, rest, strict=True)]
    if not certain and not any(len(f) == 1 and f[0] != c for f, c in zip(found, codes.code, strict=True)):
        return nothing
    new, remarks, flaws = [], [], []
    for readings, code, digits in zip(found, codes.code, length, strict=True):
        new.append(readings[0] if len(readings) == 1 and readings[0] != code else None)
        unlisted = not readings and digits >= SHORTEST
        remarks.append(RESTORED if new[-1] else UNLISTED if unlisted else None)
        flaws.append(SEVERAL if len(readings) > 1 else None if readings or unlisted else NONE)
    return _changes(codes, new, remarks, flaws)


def _readings(
    system: str, stem: str, rest: str | None, either: bool, dots: bool, no_dots: bool, trailing: bool
) -> list[str]:
    """The listed codes that a number may stand for.

    Args:
        system: that the code was taken for.
        stem, rest: its digits before and after the dot; ``rest`` is None where there is no dot.
        either: whether what was taken for a procedure may be a diagnosis.
        dots: whether a dot may be one of the code (``38.9`` is 038.9).
        no_dots: whether the code may be written without its dot (``389`` and ``389.0`` are 038.9).
        trailing: whether zeros after the dot may be lost (``250`` is 250.00).
    """
    found = set()
    if no_dots:
        found |= _listed(system, [stem.zfill(k) for k in range(len(stem), LONGEST[system] + 1)])
    if dots and (rest is not None or not no_dots):
        for kind in {system, "ICD9CM"} if either else {system}:
            places = LONGEST[kind] - STEM[kind]
            kept = (rest or "").rstrip("0")
            ends = {kept.ljust(k, "0") for k in range(len(kept), places + 1)} if trailing else {rest or ""}
            if len(stem) <= STEM[kind]:
                found |= _listed(kind, [stem.zfill(STEM[kind]) + end for end in ends])
    return sorted(found)


def _listed(system: str, bare: Iterable[str]) -> set[str]:
    return {f"{system}//{icd.dotted(code, system)}" for code in bare if code in icd.listed(system)}


def _changes(codes: pd.DataFrame, new_code, remark, flaw) -> pd.DataFrame:
    changes = codes[["code", "spelt"]].assign(new_code=new_code, remark=remark, flaw=flaw)
    return changes[changes[["new_code", "remark", "flaw"]].notna().any(axis=1)]
