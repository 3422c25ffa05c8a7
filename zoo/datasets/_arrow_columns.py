"""Arrow columns of the synthetic source tables: texts by position, times from minutes, ids from numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zoo.datasets._generator import MAX_VISITS

MINUTE = 60


def text(choices, position, absent=None) -> pa.Array:
    """`choices[position]` as text; null where `position` is negative or `absent` is true.

    >>> text(["a", "b"], np.array([1, 0, -1])).to_pylist()
    ['b', 'a', None]
    """
    position = np.asarray(position)
    gone = position < 0 if absent is None else (position < 0) | absent
    return pa.array(choices, pa.string()).take(pa.array(np.where(gone, 0, position), mask=gone))


def constant(value: str, length: int) -> pa.Array:
    """The same text in every row."""
    return pa.repeat(pa.scalar(value, pa.string()), length)


def nulls(length: int, kind: pa.DataType | None = None) -> pa.Array:
    return pa.nulls(length, kind or pa.string())


def integers(values, absent=None) -> pa.Array:
    return pa.array(np.asarray(values, dtype=np.int64), mask=absent)


def numbers(values) -> pa.Array:
    """Floats; NaN becomes null."""
    values = np.asarray(values, dtype=np.float64)
    return pa.array(values, mask=np.isnan(values))


def times(minutes, absent=None, seconds=0) -> pa.Array:
    """Timestamps from minutes since 1970; negative minutes are null unless `absent` says which are."""
    minutes = np.asarray(minutes)
    gone = minutes < 0 if absent is None else absent
    return pa.array((minutes * MINUTE + seconds).astype("datetime64[s]"), mask=gone)


def midnights(minutes, absent=None) -> pa.Array:
    """The days of minutes since 1970, as timestamps at 00:00:00."""
    minutes = np.asarray(minutes)
    gone = minutes < 0 if absent is None else absent
    return pa.array(minutes.astype("datetime64[m]").astype("datetime64[D]").astype("datetime64[s]"), mask=gone)


def dates(minutes, absent=None) -> pa.Array:
    """The days of minutes since 1970, as dates."""
    minutes = np.asarray(minutes)
    gone = minutes < 0 if absent is None else absent
    return pa.array(minutes.astype("datetime64[m]").astype("datetime64[D]"), mask=gone)


def as_text(values: pa.Array) -> pa.Array:
    return values.cast(pa.string())


def scrambled(number, bits: int, base: int) -> np.ndarray:
    """Distinct identifiers in no telling order: a bijection of `range(2**bits)`, plus `base`.

    >>> len(set(scrambled(np.arange(1 << 10), 10, 0).tolist()))
    1024
    """
    number = np.asarray(number, dtype=np.int64)
    if number.size and number.max() >= 1 << bits:
        raise ValueError(f"identifiers of {bits} bits cannot hold number {number.max()}")
    mask = (1 << bits) - 1
    mixed = (number * 0x2545F491 + 0x9E3779B) & mask
    mixed ^= mixed >> (bits // 2)
    return ((mixed * 0x1B873593) & mask) + base


class Identifiers:
    """Identifiers of a chunk's patients, visits and stays; their order tells nothing about time."""

    def __init__(self, patients, visits, subject_base: int, visit_base: int, stay_base: int):
        self.subject = scrambled(patients.number, 20, subject_base)
        self.visit_number = patients.number[visits.patient] * MAX_VISITS + visits.number
        self.visit = scrambled(self.visit_number, 24, visit_base)
        self.visit_subject = self.subject[visits.patient]
        self.stay_base = stay_base

    def stays(self, stays) -> np.ndarray:
        return scrambled(self.visit_number[stays.visit] * 2 + stays.number, 25, self.stay_base)


def first_visit(visits) -> np.ndarray:
    """Row of each patient's first visit."""
    return np.flatnonzero(visits.number == 0)


def birth_minutes(patients, visits) -> np.ndarray:
    """Minute of birth of each patient."""
    return visits.start[first_visit(visits)] - (patients.age * 365.25 * 1440).astype(np.int64)


def row_numbers(chunk, length: int) -> np.ndarray:
    """Row ids that are unique over chunks and do not depend on how many patients are written."""
    return chunk.index * 1_000_000 + 1 + np.arange(length)


def long_charts(charts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moment, vital and value of each measurement in a (moments, vitals) matrix."""
    moment, vital = np.nonzero(~np.isnan(charts.value))
    return moment, vital, charts.value[moment, vital]


def join_text(*parts) -> pa.Array:
    """Texts joined row by row, without a separator."""
    return pc.binary_join_element_wise(*parts, "")
