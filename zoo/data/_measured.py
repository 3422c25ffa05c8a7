"""What values count as: those of a code in one unit, and none that a body cannot have."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from zoo.knowledge import units
from zoo.knowledge.vitals import Limits, limits

VITAL = "VITAL//"


@dataclass
class Measured:
    """The values of a concept, as the store has them.

    A code has one unit: that of `zoo.knowledge.vitals.limits` where it is a vital sign, else the one that most of its
    values are in (of equals the first by name). Values in another unit are converted where `zoo.knowledge.units` knows
    how, and else are no values; nor are those outside the limits. The events stay, and what became of them is counted.

    Args:
        counts: how many values there are of each code and unit (or None).

    Attributes:
        usual: the unit of each code.
        told: what became of how many values, by code and words.
    """

    counts: Counter[tuple[str, str | None]]
    usual: dict[str, str | None] = field(init=False)
    told: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)

    def __post_init__(self):
        of_code = defaultdict(Counter)
        for (code, unit), count in self.counts.items():
            if unit is not None and unit.strip():
                of_code[code][unit] += count
        self.usual = {c: min(found, key=lambda u: (-found[u], u)) for c, found in of_code.items()}
        known = limits()
        self._limits: dict[str, Limits] = {}
        for code, _ in self.counts:
            if code.removeprefix(VITAL) in known and code.startswith(VITAL):
                self._limits[code] = known[code.removeprefix(VITAL)]
                self.usual[code] = self._limits[code].unit

    def values(self, pairs: Sequence[tuple[str, str | None]], pair: np.ndarray, value: np.ndarray) -> np.ndarray:
        """(events,) float64, NaN where there is no value that counts.

        Args:
            pairs: codes and units.
            pair: (events,) the place of each event in them.
            value: (events,) as the source has them, NaN where there is none.
        """
        factors = [units.factor(unit, self.usual.get(code)) for code, unit in pairs]
        ranges = [self._limits.get(code) for code, _ in pairs]
        by = np.array([np.nan if f is None else f for f in factors], float)
        low = np.array([-np.inf if r is None else r.low for r in ranges], float)
        high = np.array([np.inf if r is None else r.high for r in ranges], float)
        some, found = np.isfinite(value), np.asarray(value, float) * by[pair]
        # 40 % times 100 is no more than 40.00000001 %
        outside = (found < low[pair] - 1e-6 * abs(low[pair])) | (found > high[pair] + 1e-6 * abs(high[pair]))
        outside &= np.isfinite(found)
        self._count(pairs, pair[some & (by[pair] != 1) & np.isfinite(by[pair])], "converted from {unit} to {usual}")
        self._count(pairs, pair[some & np.isnan(by[pair])], "in {unit} and not {usual}, left out")
        self._count(pairs, pair[some & outside], "outside {low:g} to {high:g} {usual}, left out")
        return np.where(some & ~outside, found, np.nan)

    def _count(self, pairs, pair: np.ndarray, words: str) -> None:
        for place, count in zip(*np.unique(pair, return_counts=True), strict=True):
            code, unit = pairs[place]
            range_ = self._limits.get(code)
            facts = {"low": range_.low, "high": range_.high} if range_ else {}
            self.told[code, words.format(unit=unit, usual=self.usual.get(code), **facts)] += int(count)

    def lines(self) -> list[tuple[str, str, int]]:
        """Code, what became of its values, and of how many; most first."""
        return [(code, words, n) for (code, words), n in sorted(self.told.items(), key=lambda t: (-t[1], t[0]))]
