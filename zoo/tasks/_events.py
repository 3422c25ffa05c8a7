"""Events as a task sees them: who, when, what, and the value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandas.api.indexers import BaseIndexer

from zoo.registry import UserError, called, nearest, shown

SECOND = 1_000_000
OVER_A_WINDOW = ("min", "max", "mean", "count")
NEVER = np.datetime64("NaT", "us")


@dataclass(frozen=True, repr=False)
class Events:
    """Events of a concept as arrays, ordered by subject, visit and time; of a subject those without a visit come first.

    Attributes:
        subject: (events,) int64, the ``subject_id``.
        visit: (events,) int64, the number of the visit, its place in the visits of the relations; -1 for an event that
            lies in none, such as a laboratory test between two visits.
        stay: (events,) int64, the number of the ICU stay, its place in the stays of the relations; -1 where the source
            names none of them (it does not for the laboratory tests of MIMIC).
        time: (events,) datetime64[us], when the event became known.
        code: (events,) int32, places in ``names``.
        value: (events,) float64, NaN where there is none.
        names: (codes,) the code strings, each once, in order.
        gaps_known: whether the source tells the time between two visits; else visits of a subject are strangers.
        unit: what all values are in; None where they are as the source has them, each in a unit of its own.
        notes: what a reader of labels made from them must know: values that were converted, or left out, and why.
    """

    subject: np.ndarray
    visit: np.ndarray
    stay: np.ndarray
    time: np.ndarray
    code: np.ndarray
    value: np.ndarray
    names: np.ndarray
    gaps_known: bool = True
    unit: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    def __repr__(self) -> str:
        return called(type(self), events=len(self), codes=len(self.names), unit=self.unit)

    def only(self, mask: np.ndarray) -> Events:
        """Those of the events for which the mask holds."""
        columns = ("subject", "visit", "stay", "time", "code", "value")
        return replace(self, **{name: getattr(self, name)[mask] for name in columns})

    def past(self, hours: float, what: str = "min") -> np.ndarray:
        """(events,) the least value, say, that the same subject had in the hours up to each event.

        The event itself counts, and so does one that is exactly so many hours older, of whatever visit, or of none (of
        the same visit only, where the time between two is not known); nothing that is later does. Events of several
        codes count together: choose those of one with `only`.

        Args:
            hours: how far to look back.
            what: ``min``, ``max``, ``mean`` or ``count``, of the values that there are.

        Raises:
            UserError: ``what`` is none of these.

        >>> day = np.timedelta64(1, "D")
        >>> none, time = np.zeros(3, int), np.datetime64("2100-01-01", "us") + np.array([0, 1, 4]) * day
        >>> two = Events(none + 7, none, none - 1, time, none, np.array([0.8, 1.0, 1.4]), np.array(["LAB//50912"]))
        >>> two.past(hours=48).tolist(), two.past(hours=96, what="max").tolist()
        ([0.8, 0.8, 1.4], [0.8, 1.0, 1.4])
        """
        if what not in OVER_A_WINDOW:
            raise UserError(f"what={shown(what)} is nothing that a window has: {nearest(what, OVER_A_WINDOW)}.")
        new = np.ones(len(self), bool)
        new[1:] = self.subject[1:] != self.subject[:-1]
        if not self.gaps_known:
            new[1:] |= self.visit[1:] != self.visit[:-1]
        history = np.cumsum(new)
        order = np.lexsort((self.time, history))
        time = self.time[order]
        window = np.timedelta64(round(hours * 3600) * SECOND, "us")
        own, begin = _comparable((history, time), (history, time - window))
        spans = _Spans(begin=np.searchsorted(own, begin), end=np.searchsorted(own, own, side="right"))
        rolling = pd.Series(self.value[order]).rolling(spans, min_periods=0 if what == "count" else 1)
        found = np.empty(len(self))
        found[order] = getattr(rolling, what)().to_numpy()
        return found

    def next(self, visit: np.ndarray, after: np.ndarray | None = None) -> np.ndarray:
        """(pairs,) datetime64[us], when the first event of each visit is that is later than a moment; null for none.

        Args:
            visit: (pairs,) numbers of visits.
            after: (pairs,) moments; None for the first event of the visit at all.

        >>> time = np.array(["2100-01-01T08", "2100-01-01T20"], "datetime64[us]")
        >>> none = np.zeros(2, int)
        >>> events = Events(none + 7, none, none - 1, time, none, np.ones(2), np.array(["LAB//50912"]))
        >>> events.next([0, 0, 1], after=time[[0, 1, 0]]).astype(str).tolist()
        ['2100-01-01T20:00:00.000000', 'NaT', 'NaT']
        """
        visit = np.asarray(visit, np.int64)
        there = np.flatnonzero(self.visit >= 0)
        of, time = self.visit[there], self.time[there]
        if after is None:
            place = np.searchsorted(of, visit)
        else:
            own, wanted = _comparable((of, time), (visit, np.asarray(after, "datetime64[us]")))
            place = np.searchsorted(own, wanted, side="right")
        same = np.append(of, -1)[place] == np.where(visit < 0, -2, visit)
        return np.where(same, np.append(time, NEVER)[place], NEVER)


class _Spans(BaseIndexer):
    """Windows between given places."""

    def get_window_bounds(self, num_values=0, min_periods=None, center=None, closed=None, step=None):
        return self.begin, self.end


def _comparable(*pairs: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Numbers that are ordered among each other as pairs of a small number and a time are."""
    moments = np.unique(np.concatenate([time for _, time in pairs]))
    return [number * len(moments) + np.searchsorted(moments, time) for number, time in pairs]
