"""The window: which events a sample may see. The framework cuts it, not the task.

A sample sees its subject's visits up to its own, and of these the events with ``time <= prediction_time``; of its own
visit also the concepts that are ``given``, whole, and never the concepts of its label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zoo.data._store import SECOND, Store, VisitIndex


@dataclass(frozen=True)
class Cut:
    """Where a concept's events end for each sample.

    Attributes:
        own_end: (samples,) the place in the store after the last event of the sample's own visit that it may see.
        early: (samples,) bool; whether some earlier visit is cut too, as it reaches beyond the prediction time.
        pair_sample, pair_visit, pair_end: (pairs,) the cut of such earlier visits, ordered by sample.
    """

    own_end: np.ndarray
    early: np.ndarray
    pair_sample: np.ndarray
    pair_visit: np.ndarray
    pair_end: np.ndarray


def cut(
    store: Store, visits: VisitIndex, own: np.ndarray, prediction_time: np.ndarray, *, given: bool, withheld: bool
) -> Cut:
    """Cut a concept for all samples at once.

    Args:
        store: the concept's events.
        visits: the visits they belong to.
        own: (samples,) the number of each sample's own visit.
        prediction_time: (samples,) datetime64[us].
        given: the own visit's events are seen whole.
        withheld: the own visit's events are not seen at all; has precedence.
    """
    if withheld:
        own_end = store.offsets[own]
    elif given:
        own_end = store.offsets[own + 1]
    else:
        own_end = _seen_until(store, visits, own, prediction_time)
    first = visits.first[own]
    latest = _latest_before(store, visits, own)
    early = latest > prediction_time
    where = np.flatnonzero(early)
    lengths = own[where] - first[where]
    sample = np.repeat(where, lengths)
    visit = spans(first[where], lengths)
    end = _seen_until(store, visits, visit, prediction_time[sample])
    cut_short = end < store.offsets[visit + 1]
    return Cut(own_end, early, sample[cut_short], visit[cut_short], end[cut_short])


def spans(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The places ``start[i], ..., start[i] + length[i] - 1`` of all spans, one after the other.

    >>> spans(np.array([3, 10]), np.array([2, 3])).tolist()
    [3, 4, 10, 11, 12]
    """
    total = int(length.sum())
    shift = start - np.cumsum(length) + length
    return np.repeat(shift, length) + np.arange(total)


def _seen_until(store: Store, visits: VisitIndex, visit: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """For pairs of visit and moment, the place after the visit's last event not later than the moment."""
    seconds = (moment - visits.start[visit]) // SECOND
    low, high = store.offsets[visit].copy(), store.offsets[visit + 1].copy()
    while True:  # bisection of all pairs at once: some twenty rounds
        open_ = np.flatnonzero(low < high)
        if not len(open_):
            return low
        middle = (low[open_] + high[open_]) // 2
        seen = store.time[middle] <= seconds[open_]
        low[open_[seen]] = middle[seen] + 1
        high[open_[~seen]] = middle[~seen]


def _latest_before(store: Store, visits: VisitIndex, own: np.ndarray) -> np.ndarray:
    """For each sample the latest event among the earlier visits that it looks at; long ago where there is none."""
    never = np.datetime64("0001-01-01", "us")
    last = np.full(len(visits), never)
    filled = np.flatnonzero(store.offsets[1:] > store.offsets[:-1])
    if len(filled):
        seconds = store.time[store.offsets[filled + 1] - 1].astype("int64")
        last[filled] = visits.start[filled] + seconds * SECOND
    running = _running_max(last.astype("int64"), visits.first)
    before = np.where(own > visits.first[own], own - 1, -1)
    return np.where(before >= 0, running[before].astype("datetime64[us]"), never)


def _running_max(value: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The largest value so far within each run of equal groups."""
    if not len(value):
        return value
    rank = np.argsort(np.argsort(value, kind="stable"), kind="stable")
    new = np.cumsum(np.r_[True, group[1:] != group[:-1]]) - 1
    lifted = np.maximum.accumulate(rank + new * len(value))
    return np.sort(value)[lifted - new * len(value)]
