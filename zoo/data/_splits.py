"""Who is trained on, and who is kept apart: always whole subjects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.registry import UserError

NAMES = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def fraction(split_seed: object, key: object) -> float:
    """A number in [0, 1) that is fixed for ever for a seed and a subject (BLAKE2b).

    >>> round(fraction(0, 10006), 5)
    0.90088
    """
    hashed = hashlib.blake2b(f"{split_seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64


def split_subjects(
    subjects: pd.DataFrame, visits: pd.DataFrame, split: str | Sequence[float] | Path | None, split_seed: int
) -> np.ndarray:
    """The split of each subject.

    Args:
        subjects: the canonical relation.
        visits: the canonical relation, in order.
        split: None (shares 0.8, 0.1, 0.1 by a fixed hash of seed and subject), three shares, ``"temporal"`` (subjects
            of later calendar periods are tested on), ``"hospital"`` (whole hospitals, by a fixed hash), or a
            CSV or Parquet file with the columns ``subject_id`` and ``split``.
        split_seed: the seed of the hash.

    Returns:
        (subjects,) of 0, 1 or 2, a place in `NAMES`; -1 where a file does not name the subject.

    Raises:
        UserError: the split is none of these, or the source lacks what it needs.
    """
    ids = subjects.subject_id.to_numpy()
    if not isinstance(split, (str, Path)):
        return _by_share([fraction(split_seed, i) for i in ids.tolist()], SHARES if split is None else split)
    if split == "temporal":
        return _temporal(subjects, split_seed)
    if split == "hospital":
        return _by_hospital(ids, visits, split_seed)
    return _from_file(ids, Path(split))


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


def split_is_file(split: object) -> bool:
    """Whether a split is a file that is there, not shares or the name of a way to split."""
    return isinstance(split, (str, Path)) and split not in ("temporal", "hospital") and Path(split).is_file()


def _by_share(position: Sequence[float], shares: Sequence[float]) -> np.ndarray:
    try:
        found = np.asarray(shares, float)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (3,) or not (found >= 0).all() or not np.isclose(found.sum(), 1):
        raise UserError(f"split={shares!r} must be three shares, train, validation and test, that add up to 1.")
    shares = found
    bounds = np.cumsum(shares)[:2]
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


def _from_file(ids: np.ndarray, path: Path) -> np.ndarray:
    if not path.is_file():
        raise UserError(f"split={str(path)!r} is neither 'temporal' nor 'hospital' nor a file.")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a split file: {error}") from error
    if not {"subject_id", "split"} <= set(table.columns):
        raise UserError(
            f"{path}: a split file has the columns subject_id and split; it has {', '.join(table.columns)}."
        )
    unknown = sorted(set(table.split.astype(str)) - set(NAMES))
    if unknown:
        raise UserError(f"{path}: unknown split {unknown[0]!r}; the splits are {', '.join(NAMES)}.")
    twice = table.subject_id[table.subject_id.duplicated()]
    if len(twice):
        raise UserError(f"{path}: subject_id {twice.iloc[0]} stands there more than once; name each subject once.")
    place = table.split.map({n: i for i, n in enumerate(NAMES)}).set_axis(table.subject_id)
    return place.reindex(ids).fillna(-1).to_numpy(np.int8)
