"""Metrics of times to an event that not everybody is followed up to.

Sources: the concordance of Harrell et al. (JAMA 247, 1982) and that of Uno et al. (Stat. Med. 30, 2011), whose pairs
are weighted by the inverse probability of not being censored, so that it does not hang on how patients are censored;
the Brier score for censored data of Graf et al. (Stat. Med. 18, 1999), integrated over time. The curve of censoring is
that of Kaplan and Meier (JASA 53, 1958) for the end of follow-up, fitted on other samples than those measured, where
events come before censorings at the same time. Values equal scikit-survival's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zoo.metrics.average import Means, ratio
from zoo.metrics.checks import as_columns, as_probability, as_weight

BLOCK_PAIRS = 2**22  # pairs of samples that are looked at together
SAME = 1e-8
"""Risks that differ by less are equal."""


@dataclass(frozen=True)
class Curve:
    """A step function that falls from 1: from each of its times on it has another value.

    Attributes:
        times: (steps,) ascending.
        values: (steps,).
    """

    times: np.ndarray
    values: np.ndarray

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """Values at times of any shape."""
        return np.append(1.0, self.values)[np.searchsorted(self.times, time, side="right")]

    @classmethod
    def of_censoring(cls, time: np.ndarray, event: np.ndarray) -> Curve:
        """The probability of being followed up for longer than a time.

        >>> Curve.of_censoring(np.array([1.0, 2.0, 2.0, 3.0]), np.array([True, True, False, False])).values
        array([1. , 0.5, 0. ])
        """
        times, place = np.unique(time, return_inverse=True)
        events, censored = (np.bincount(place, which, len(times)) for which in (event, ~event))
        at_risk = np.cumsum((events + censored)[::-1])[::-1] - events
        left = np.divide(censored, at_risk, out=np.zeros(len(times)), where=censored > 0)
        return cls(times, np.cumprod(1 - left))


class Concordance:
    """The share of comparable pairs whose risks are in the order of their events; equal risks count half.

    A pair is comparable where the earlier of its times is an event; at equal times, where one is an event and the
    other is not.

    Args:
        time, event, risk: (n,).
        importance: (n,) what a pair weighs whose earlier sample this is; 1 for Harrell's.
        name: of the metric.
    """

    def __init__(self, time: np.ndarray, event: np.ndarray, risk: np.ndarray, importance: np.ndarray, name: str):
        self.name = name
        earlier = np.flatnonzero(event & (importance > 0))
        self.earlier, self.importance = earlier, importance[earlier]
        self.time, self.event, self.risk = time, event, risk
        some = any(self._comparable(part).any() for part in self._parts())
        self.reasons = {name: None if some else "undefined: no two samples of which it is known whose event came first"}

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        ordered, pairs = np.zeros(len(weight)), np.zeros(len(weight))
        for part in self._parts():
            comparable = self._comparable(part)
            difference = self.risk[self.earlier[part], None] - self.risk
            right = np.where(np.abs(difference) <= SAME, 0.5, difference > 0) * comparable
            own = weight[:, self.earlier[part]] * self.importance[part]
            ordered += (own * (weight @ right.T)).sum(axis=1)
            pairs += (own * (weight @ comparable.T)).sum(axis=1)
        return {self.name: ratio(ordered, pairs)}

    def _parts(self) -> list[slice]:
        step = max(1, BLOCK_PAIRS // len(self.time))
        return [slice(low, low + step) for low in range(0, len(self.earlier), step)]

    def _comparable(self, part: slice) -> np.ndarray:
        """(earlier, n) float64, 1 where a sample is comparable to one whose event came first."""
        time = self.time[self.earlier[part], None]
        return ((self.time > time) | ((self.time == time) & ~self.event)).astype(np.float64)


def integrated_brier(time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, censoring: Curve):
    """The mean over times (trapezoidal rule) of the Brier score of survival at each: `integrated_brier`.

    Args:
        time, event: (n,).
        survival: (n, T) predicted probabilities of no event by each time.
        times: (T,) ascending. Those at which nobody is followed up any more, by the curve of censoring, are left out.
        censoring: the probability of being followed up for longer than a time.
    """
    known = (censoring(times) > 0) & (times < time.max())
    name = "integrated_brier"
    if not known.any():
        return Means({name: np.full(len(time), np.nan)}, {name: "undefined: no time at which patients are followed up"})
    kept, predicted = times[known], survival[:, known]
    had, free = (time[:, None] <= kept) & event[:, None], time[:, None] > kept
    of_had = np.divide(1, censoring(time), out=np.zeros(len(time)), where=censoring(time) > 0)
    error = had * of_had[:, None] * predicted**2 + free * (1 - predicted) ** 2 / censoring(kept)
    width = kept[-1] - kept[0]
    values = np.trapezoid(error, kept, axis=1) / width if width else error[:, 0]
    left = len(times) - len(kept)
    reason = f"{left} of {len(times)} times left out, at which nobody is followed up" if left else None
    return Means({name: values}, {name: reason})


def c_index(time, event, risk, weight=None) -> float:
    """Harrell's concordance of `time` (n,), `event` (n,) bool and `risk` (n,); NaN where no pair is comparable.

    >>> c_index([1.0, 2.0, 3.0], [True, True, False], [0.9, 0.2, 0.4])
    0.6666666666666666
    """
    time, event, risk = _checked(time, event, risk)
    return float(
        Concordance(time, event, risk, np.ones(len(time)), "c_index")(as_weight(weight, len(time)))["c_index"][0]
    )


def uno(time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizon: float, censoring: Curve) -> Concordance:
    """Uno's concordance of events before a horizon: `c_index_uno`."""
    followed = censoring(time)
    importance = np.divide(1, followed**2, out=np.zeros(len(time)), where=followed > 0) * (time < horizon)
    return Concordance(time, event, risk, importance, "c_index_uno")


def _checked(time, event, risk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return *as_times(np.column_stack([time, event])), np.asarray(risk, np.float64)


def as_times(label) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n, 2) of times and events as (n,) float64 and (n,) bool.

    Raises:
        ValueError: a time is no finite number above 0, or an event neither 0 nor 1.
    """
    label = as_columns(label, "label").astype(np.float64)
    if label.shape[1] != 2:
        raise ValueError(f"label has shape {label.shape}, expected (n, 2) with a time and an event")
    time, event = label.T
    if not (np.isfinite(time).all() and (time > 0).all() and np.isin(event, (0, 1)).all()):
        raise ValueError("times must be finite and above 0, and events 0 or 1")
    return time, event == 1


def as_survival(score, times: np.ndarray) -> np.ndarray:
    """Predicted probabilities of no event by each time, (n, T) float64."""
    score = as_probability(score)
    if score.shape[1] != len(times):
        raise ValueError(f"score has {score.shape[1]} columns for {len(times)} times")
    return score
