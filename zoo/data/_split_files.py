"""Splits that a user hands over as files: of subjects, or of the visits that others published results on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.registry import UserError

SUBJECT, VISITS = "subject_id", ("visit_id", "hadm_id", "patienthealthsystemstayid")
"""What a column of ids may be called."""


def read_split(split: Path | pd.DataFrame | Mapping[str, str | Path], names: tuple[str, ...]) -> pd.DataFrame:
    """What split files say: ``subject_id`` or ``visit_id``, and ``split``; each id once.

    Args:
        split: a table (a DataFrame, or a CSV or Parquet file) with the columns ``subject_id`` (or ``visit_id``) and
            ``split``; or for each split a text file with the ids of its visits, one a line, with or without a heading.
        names: the splits.

    Raises:
        UserError: a file cannot be read, or says something else, or names an id more than once.
    """
    if isinstance(split, Mapping):
        parts = [_listed(Path(path)).assign(split=name) for name, path in _for_each(split, names).items()]
        where, table = ", ".join(str(p) for p in split.values()), pd.concat(parts, ignore_index=True)
    elif isinstance(split, pd.DataFrame):
        where, table = (
            "the table of the split",
            _checked(split.reset_index(drop=True), "the table of the split", 1, names),
        )
    else:
        where, table = str(split), _table(split, names)
    key = table.columns[0]
    twice = table[key][table[key].duplicated()]
    if len(twice):
        raise UserError(f"{where}: {key} {twice.iloc[0]} stands there more than once; name each {key[:-3]} once.")
    return table


def _for_each(split: Mapping, names: tuple[str, ...]) -> Mapping:
    if set(split) != set(names):
        raise UserError(f"split={dict(split)!r} must name a file of visits for each of {', '.join(names)}.")
    return split


def _table(path: Path, names: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a split file: {error}") from error
    return _checked(table, path, 2, names)


def _checked(table: pd.DataFrame, path: Path | str, first: int, names: tuple[str, ...]) -> pd.DataFrame:
    """The two columns of a table that names splits, whose rows are counted from ``first``."""
    key = next((n for n in (SUBJECT, *VISITS) if n in table.columns), None)
    if key is None or "split" not in table.columns:
        raise UserError(
            f"{path}: a split has the columns subject_id (or visit_id) and split; this one has "
            f"{', '.join(map(str, table.columns)) or 'none'}."
        )
    unknown = sorted(set(table.split.astype(str)) - set(names))
    if unknown:
        raise UserError(f"{path}: unknown split {unknown[0]!r}; the splits are {', '.join(names)}.")
    return pd.DataFrame({_known(key): _ids(table[key].astype(str), path, first), "split": table.split.astype(str)})


def _listed(path: Path) -> pd.DataFrame:
    try:
        lines = pd.Series(path.read_text(encoding="utf-8-sig").split("\n"), dtype=str).str.strip()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a list of visits: {error}") from error
    headed = lines.iloc[0].lower() in VISITS
    lines = lines.iloc[1:] if headed else lines
    return pd.DataFrame({"visit_id": _ids(lines[lines != ""], path, 1)})


def _known(key: str) -> str:
    return SUBJECT if key == SUBJECT else "visit_id"


def _ids(texts: pd.Series, path: Path | str, first: int) -> np.ndarray:
    """Whole numbers, from texts whose index counts lines after the ``first``."""
    wrong = texts[~texts.str.fullmatch(r"-?\d{1,18}(\.0)?")]
    if len(wrong):
        raise UserError(f"{path}, line {wrong.index[0] + first}: an id must be a whole number.")
    return texts.str.removesuffix(".0").astype("int64").to_numpy()
