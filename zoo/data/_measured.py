"""What values of vital signs count as: in the unit of our table of limits, and none that a body cannot have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from zoo.knowledge import units
from zoo.knowledge.vitals import Limits, limits


@dataclass
class Measured:
    """The values of vital signs, as the store has them.

    A vital sign has the unit of `zoo.knowledge.vitals.limits`. Values in another unit are converted where
    `zoo.knowledge.units` knows how, and else are no values; nor are those outside the limits. The events stay, and what
    became of them is counted. A code that the table does not know is left as it is.

    Attributes:
        told: what became of how many values, by code and words.
    """

    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    _limits: dict[str, Limits] = field(
        default_factory=lambda: {f"VITAL//{variable}": found for variable, found in limits().items()}, repr=False
    )

    def values(self, pairs: Sequence[tuple[str, str | None]], pair: np.ndarray, value: np.ndarray) -> np.ndarray:
        """(events,) float64, NaN where there is no value that counts.

        Args:
            pairs: codes and units.
            pair: (events,) the place of each event in them.
            value: (events,) as the source has them, NaN where there is none.
        """
        ranges = [self._limits.get(code) for code, _ in pairs]
        factors = [1.0 if r is None else units.factor(u, r.unit) for r, (_, u) in zip(ranges, pairs, strict=True)]
        by = np.array([np.nan if f is None else f for f in factors], float)
        low = np.array([-np.inf if r is None else r.low for r in ranges], float)
        high = np.array([np.inf if r is None else r.high for r in ranges], float)
        some, found = np.isfinite(value), np.asarray(value, float) * by[pair]
        # a factor may leave 100 % at 100.00000001 %
        outside = (found < low[pair] - 1e-6 * abs(low[pair])) | (found > high[pair] + 1e-6 * abs(high[pair]))
        outside &= np.isfinite(found)
        self._count(pairs, pair[some & (by[pair] != 1) & np.isfinite(by[pair])], "converted from {unit} to {wanted}")
        self._count(pairs, pair[some & np.isnan(by[pair])], "in {unit} and not {wanted}, left out")
        self._count(pairs, pair[some & outside], "outside {low:g} to {high:g} {wanted}, left out")
        return np.where(some & ~outside, found, np.nan)

    def _count(self, pairs, pair: np.ndarray, words: str) -> None:
        for place, count in zip(*np.unique(pair, return_counts=True), strict=True):
            code, unit = pairs[place]
            range_ = self._limits[code]
            said = words.format(unit=unit, wanted=range_.unit, low=range_.low, high=range_.high)
            self.told[code, said] += int(count)

    def lines(self) -> list[tuple[str, str, int]]:
        """Code, what became of its values, and of how many; most first."""
        return [(code, words, n) for (code, words), n in sorted(self.told.items(), key=lambda t: (-t[1], t[0]))]
