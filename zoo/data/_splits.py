"""Who is trained on, and who is kept apart: always whole subjects."""

from __future__ import annotations

import hashlib
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.data._split_files import read_split
from zoo.registry import UserError, nearest, shown, whole_number

NAMES = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def fraction(split_seed: object, key: object) -> float:
    """A number in [0, 1) that is fixed for ever for a seed and a subject (BLAKE2b).

    >>> round(fraction(0, 10006), 5)
    0.90088
    """
    hashed = hashlib.blake2b(f"{split_seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64


Given = str | Path | Sequence[float] | Mapping[str, float | str | Path] | pd.DataFrame | None
"""What a user may say of a split."""
TABLE = "table"
"""What stands for a DataFrame in a run's configuration: the run folder has it as a file."""


def checked_seed(seed: object, name: str = "seed") -> int:
    """A seed as a plain number.

    Raises:
        UserError: it is none.
    """
    return whole_number(name, seed, 0, 2**31 - 1)


def checked_split(split: object) -> Given:
    """A user's split in one of the forms that `split_subjects` takes: shares by name become three shares.

    Raises:
        UserError: it is of no form that a split can have.
    """
    if isinstance(split, Mapping) and split and all(_is_number(v) for v in split.values()):
        for name in split:
            if name not in NAMES:
                raise UserError(f"split={shown(dict(split))}: unknown split {shown(name)}: {nearest(name, NAMES)}.")
        split = tuple(float(split.get(n, 0)) for n in NAMES)
    if isinstance(split, Mapping) and not all(isinstance(v, (str, os.PathLike)) for v in split.values()):
        raise UserError(f"split={shown(dict(split))} must name three shares, or a file for each of {', '.join(NAMES)}.")
    if isinstance(split, pd.DataFrame):
        return read_split(split, NAMES)
    if split is None or isinstance(split, (str, os.PathLike, Mapping)):
        return split
    return tuple(_shares(split).tolist())


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


@dataclass(frozen=True)
class Split:
    """Who is in which split.

    Attributes:
        subject: (subjects,) of 0, 1 or 2, a place in `NAMES`; -1 for one in none.
        listed: ids of the only visits that are used in these splits; None for all.
        notes: what a reader must know of files that name splits.
        table: the DataFrame that the split was given as; None for other forms.
    """

    subject: np.ndarray
    listed: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    table: pd.DataFrame | None = None


def split_subjects(subjects: pd.DataFrame, visits: pd.DataFrame, split: Given, split_seed: int) -> Split:
    """The split of each subject.

    Args:
        subjects: the canonical relation.
        visits: the canonical relation, in order.
        split: None (shares 0.8, 0.1, 0.1 by a fixed hash of seed and subject), three shares, ``"temporal"`` (subjects
            of later calendar periods are tested on), ``"hospital"`` (whole hospitals, by a fixed hash), or a table or
            files: see `zoo.data._split_files.read_split`. Where they name visits, others are not used.
        split_seed: the seed of the hash.

    Raises:
        UserError: the split is none of these, the source lacks what it needs, or it has a subject in two splits.
    """
    ids = subjects.subject_id.to_numpy()
    if isinstance(split, pd.DataFrame):
        return replace(_from_files(ids, visits, split), table=split)
    if isinstance(split, Mapping):
        return _from_files(ids, visits, read_split(split, NAMES))
    if not isinstance(split, (str, Path)):
        return Split(_by_share([fraction(split_seed, i) for i in ids.tolist()], SHARES if split is None else split))
    if split == "temporal":
        return Split(_temporal(subjects, split_seed))
    if split == "hospital":
        return Split(_by_hospital(ids, visits, split_seed))
    if not Path(split).is_file():
        raise UserError(f"split={str(split)!r} is neither 'temporal' nor 'hospital' nor a file.")
    return _from_files(ids, visits, read_split(Path(split), NAMES))


def keep_share(split: np.ndarray, ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The same splits with a share of the training subjects; the others are in none (-1).

    A smaller share lies within a larger one of the same seed. Validation and test stay as they are.

    >>> keep_share(np.array([0, 0, 1, 0, 2, 0]), np.arange(6), 0.5, 0)
    array([-1,  0,  1,  0,  2, -1])
    """
    train = np.flatnonzero(split == 0)
    order = np.argsort([fraction(f"share {seed}", i) for i in ids[train].tolist()])
    dropped = train[order[int(np.ceil(share * len(train) - 1e-9)) :]]
    split = split.copy()
    split[dropped] = -1
    return split


def checked_share(train_share: object) -> float:
    """A share of the training subjects; a `UserError` where it is none."""
    number = isinstance(train_share, numbers.Real) and not isinstance(train_share, bool)
    if not number or not 0 < train_share <= 1:
        raise UserError(f"train_share={shown(train_share)} must be a number above 0 and at most 1.")
    return float(train_share)


def split_files(split: Given) -> list[Path]:
    """The files that a split is read from; none for shares or the name of a way to split."""
    if isinstance(split, Mapping):
        return [Path(p) for p in split.values() if Path(p).is_file()]
    named = isinstance(split, (str, Path)) and split not in ("temporal", "hospital") and Path(split).is_file()
    return [Path(split)] if named else []


def plain(split: Given) -> object:
    """A split as a run's configuration has it."""
    if isinstance(split, pd.DataFrame):
        rows = split.sort_values([*split.columns], kind="stable")
        return {TABLE: hashlib.blake2b(rows.to_csv(index=False).encode(), digest_size=10).hexdigest()}
    if isinstance(split, Mapping):
        return {n: str(p) for n, p in split.items()}
    return str(split) if isinstance(split, (str, Path)) else split


def _shares(given: object) -> np.ndarray:
    try:
        found = np.asarray(given, float)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if found.shape != (3,) or not (found >= 0).all() or not np.isclose(found.sum(), 1):
        raise UserError(
            f"split={shown(given)} must be three shares, train, validation and test, that add up to 1; 'temporal', "
            f"'hospital', a file, or a DataFrame with subject_id and split."
        )
    return found


def _by_share(position: Sequence[float], shares: Sequence[float]) -> np.ndarray:
    bounds = np.cumsum(_shares(shares))[:2]
    return np.searchsorted(bounds, np.asarray(position, float), side="right").astype(np.int8)


def _temporal(subjects: pd.DataFrame, split_seed: int) -> np.ndarray:
    if subjects.period.isna().any():
        raise UserError(
            "split='temporal' needs the calendar period of each subject, which this source does not tell (its dates "
            "are shifted by patient): use the default split."
        )
    ids = subjects.subject_id.tolist()
    order = np.lexsort(([fraction(split_seed, i) for i in ids], subjects.period.to_numpy()))
    position = np.empty(len(ids))
    position[order] = (np.arange(len(ids)) + 0.5) / max(len(ids), 1)
    return _by_share(position, SHARES)


def _by_hospital(ids: np.ndarray, visits: pd.DataFrame, split_seed: int) -> np.ndarray:
    first = visits.dropna(subset=["hospital"]).drop_duplicates("subject_id").set_index("subject_id").hospital
    if first.nunique() < 3:
        raise UserError("split='hospital' needs a source with at least three hospitals: use the default split.")
    position = {h: fraction(split_seed, h) for h in first.unique()}
    return _by_share([position.get(first.get(i), 0.0) for i in ids.tolist()], SHARES)


def _from_files(ids: np.ndarray, visits: pd.DataFrame, table: pd.DataFrame) -> Split:
    place = table.split.map({n: i for i, n in enumerate(NAMES)})
    key = table.columns[0]
    known = table[key].isin(ids if key == "subject_id" else visits.visit_id).to_numpy()
    noun = key[:-3]
    if not known.any():
        raise UserError(f"none of the {len(table)} {noun}s that the split names is in the data: give another split.")
    unknown = f"{(~known).sum()} of the {len(table)} {noun}s that the split names are not in the data"
    notes = () if known.all() else (unknown,)
    if key == "subject_id":
        subject = place.set_axis(table.subject_id)
        return Split(subject.reindex(ids).fillna(-1).to_numpy(np.int8), notes=notes)
    listed = table.visit_id.to_numpy()[known]
    of_visits = visits.set_index("visit_id").subject_id.reindex(listed)
    own = place[known].set_axis(of_visits.to_numpy())
    both = own.groupby(level=0).nunique()
    if (both > 1).any():
        raise UserError(
            f"subject_id {both.index[both > 1][0]} has visits in more than one split: give all visits of a subject "
            f"to one split, so that nobody is tested on who was trained on."
        )
    subject = own[~own.index.duplicated()]
    return Split(subject.reindex(ids).fillna(-1).to_numpy(np.int8), listed, notes)
