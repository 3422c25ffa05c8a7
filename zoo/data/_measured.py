"""What the values of labs and vital signs count as: those of a code in one unit, and none that a body cannot have."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from zoo.data._store import Store
from zoo.knowledge import units
from zoo.knowledge.labs import labs
from zoo.knowledge.vitals import Limits, limits

BLOCK = 4_000_000
"""How many events are counted at a time."""


class Valued(Protocol):
    """Events with values: a `Store`, or `zoo.data._event_values.EventValues`.

    Attributes:
        codes: the code strings; one that has values in several units has a place for each.
        units: of each of the codes.
        code: (events,) places in the codes.
        value: (events,) as the source has them, NaN where there is none.
    """

    codes: list[str]
    units: list[str | None]
    code: np.ndarray
    value: np.ndarray


def usual_units(store: Store, counts: np.ndarray) -> dict[str, str | None]:
    """The unit that the values of each code are taken to.

    It is that of `zoo.knowledge.vitals.limits` and `zoo.knowledge.labs.labs` where they know the code, else the one
    that most of its events have, however spelled (of equals the first by name), and None where they have none.

    Args:
        store: with values.
        counts: (codes,) how many events count of each place in the store's codes.
    """
    found: dict[str, Counter] = defaultdict(Counter)
    spellings: dict[str, str] = {}
    for code, unit, count in zip(store.codes, store.units, counts.tolist(), strict=True):
        if alike := units.spelled(unit):
            found[code][alike] += count
            spellings[alike] = max(unit, spellings.get(alike, unit))
    usual = {code: spellings[min(of_code, key=lambda u: (-of_code[u], u))] for code, of_code in found.items()}
    return {code: known.unit if (known := _known(code)) else usual.get(code) for code in store.codes}


@dataclass(frozen=True)
class Measured:
    """What the values of events count as.

    Values in another unit than the wanted one are converted where that is known, and else are no values; nor are those
    outside of what a body can have. The events stay.

    Attributes:
        store: the events.
        wanted: (codes,) the unit that they are taken to; None leaves them as they are.
        factor: (codes,) float32, what a value is multiplied with; NaN where its unit cannot be converted.
        low, high: (codes,) float32, what a body can have.
    """

    store: Valued
    wanted: Sequence[str | None]
    factor: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, store: Valued, wanted: Sequence[str | None]) -> Measured:
        """How values become those in the wanted units.

        Args:
            store: the events that have them.
            wanted: the unit for each of its codes; None leaves values as they are.
        """
        known = [_known(code) for code in store.codes]
        known = [k if k and w is not None else None for k, w in zip(known, wanted, strict=True)]
        factors = [k.factor(h) if k else units.factor(h, w) for k, h, w in zip(known, store.units, wanted, strict=True)]
        low, high = [k.low if k else -np.inf for k in known], [k.high if k else np.inf for k in known]
        factor = [np.nan if f is None else f for f in factors]
        return cls(store, wanted, *(np.array(a, np.float32) for a in (factor, low, high)))

    def values(self, code: np.ndarray, value: np.ndarray) -> np.ndarray:
        """(events,) float32, NaN where there is no value that counts.

        Args:
            code: (events,) places in the store's codes.
            value: (events,) as the store has them.
        """
        found = value * self.factor[code]
        return np.where(self._possible(code, found), found, np.float32(np.nan))

    def _possible(self, code: np.ndarray, value: np.ndarray) -> np.ndarray:
        # a factor may leave 100 % at 100.00001 %
        low, high = self.low - 1e-6 * abs(self.low), self.high + 1e-6 * abs(self.high)
        return np.isfinite(value) & (value >= low[code]) & (value <= high[code])

    def told(self) -> list[tuple[str, str, int]]:
        """What became of values that are not taken as they are: code, words, and of how many; most first."""
        store, codes = self.store, len(self.factor)
        some, outside = np.zeros(codes, np.int64), np.zeros(codes, np.int64)
        for begin in range(0, len(store.code), BLOCK):
            code, value = store.code[begin : begin + BLOCK], store.value[begin : begin + BLOCK]
            there = np.isfinite(value)
            code, value = code[there], value[there] * self.factor[code[there]]
            some += np.bincount(code, minlength=codes)
            outside += np.bincount(code[np.isfinite(value) & ~self._possible(code, value)], minlength=codes)
        counts: Counter[tuple[str, str]] = Counter()
        for place, (code, unit, wanted) in enumerate(zip(store.codes, store.units, self.wanted, strict=True)):
            if np.isnan(self.factor[place]):
                counts[code, f"in {unit} and not {wanted}, left out"] += int(some[place])
            elif self.factor[place] != 1:
                counts[code, f"converted from {unit} to {wanted}"] += int(some[place])
            words = f"outside {self.low[place]:g} to {self.high[place]:g} {wanted}, left out"
            counts[code, words] += int(outside[place])
        found = [(code, words, n) for (code, words), n in counts.items() if n]
        return sorted(found, key=lambda line: (-line[2], line))


def _known(code: str) -> Limits | None:
    system, _, name = code.partition("//")
    return limits().get(name) if system == "VITAL" else labs().get(code)
