"""Where the settings of a model are searched, as its decorator says under ``search``.

>>> search = {"trainer.lr": LogBetween(1e-4, 1e-2), "model.dim": Choice(64, 128)}
>>> search["model.dim"].at(0.7), round(search["trainer.lr"].at(0.5), 6)
(128, 0.001)

Each of them turns a number from 0 to 1, which a search draws, into a value, and tells whether a value is at its edge:
then a better one may lie beyond.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass

EDGE = 0.05
"""What share of a range, at each end, is its edge."""


@dataclass(frozen=True, init=False)
class Choice:
    """One of some values: ``Choice(64, 128, 256)``. Numbers are given in order."""

    options: tuple

    def __init__(self, *options):
        object.__setattr__(self, "options", options)
        if not options:
            raise ValueError("Choice() has nothing to choose from")

    def at(self, share: float) -> object:
        """The value at a share of the way, from 0 to below 1."""
        return self.options[min(int(share * len(self.options)), len(self.options) - 1)]

    def holds(self, value: object) -> bool:
        """Whether a value is one of them."""
        return value in self.options

    def at_edge(self, value: object) -> bool:
        """Whether a value is the first or the last of several numbers."""
        ordered = len(self.options) > 1 and all(_is_number(o) for o in self.options)
        return ordered and value in (self.options[0], self.options[-1])

    def __str__(self) -> str:
        return " or ".join(map(str, self.options))


@dataclass(frozen=True)
class Between:
    """A number from ``low`` to ``high``; a whole one where both are whole."""

    low: float
    high: float

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"{type(self).__name__}({self.low}, {self.high}): low must be below high")

    @property
    def whole(self) -> bool:
        """Whether the numbers are whole ones."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """The value at a share of the way, from 0 to 1."""
        if self.whole:
            return min(self.low + int(share * (self.high - self.low + 1)), self.high)
        return self.low + share * (self.high - self.low)

    def holds(self, value: object) -> bool:
        """Whether a value lies in the range."""
        return _is_number(value) and self.low <= value <= self.high

    def share(self, value: float) -> float:
        """How far on the way a value is."""
        return (value - self.low) / (self.high - self.low)

    def at_edge(self, value: float) -> bool:
        """Whether a value is in the first or the last twentieth of the way, or beyond."""
        return not EDGE < self.share(value) < 1 - EDGE

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogBetween(Between):
    """A number from ``low`` to ``high``, both above 0, whose logarithm is drawn; a whole one where both are whole."""

    def __post_init__(self):
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"LogBetween({self.low}, {self.high}): low must be above 0")

    def at(self, share: float) -> float:
        """The value at a share of the way, from 0 to 1, with four digits where it is no whole number."""
        value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        return round(value) if self.whole else float(f"{value:.4g}")

    def share(self, value: float) -> float:
        """How far on the way a value is."""
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class By:
    """A range that hangs on what another setting, named before, has: the rate on the optimiser.

    ``By("trainer.optimizer", {"adadelta": LogBetween(0.1, 2), "adamw": LogBetween(1e-4, 1e-2)})``.
    """

    setting: str
    ranges: Mapping[object, Choice | Between]

    def __str__(self) -> str:
        return "; ".join(f"{inner} with {self.setting}={value}" for value, inner in self.ranges.items())


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
