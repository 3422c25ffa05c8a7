"""What a metric is, and what is found for one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

Family = Callable[[np.ndarray, np.ndarray, Mapping], Callable[[np.ndarray], Mapping[str, np.ndarray]]]
"""From labels, scores and the options of `zoo.metrics.evaluate` to what gives values for weights (resamples, samples).

What it gives has ``reasons``: for each name why the value is undefined or what it leaves out, if anything."""


@dataclass(frozen=True)
class Metric:
    """A metric of a kind of task.

    Attributes:
        name: in results, lower snake case.
        family: what computes it; metrics of the same family are computed together.
        own: what the family calls it, where that is another name.
        low, high: its range.
        lower_is_better: whether it falls with quality.
        over_samples: whether it is a mean of a value that each sample has.
        needs: the options of `zoo.metrics.evaluate` without which there is no such metric.
    """

    name: str
    family: Family
    own: str | None = None
    low: float = 0.0
    high: float = 1.0
    lower_is_better: bool = False
    over_samples: bool = False
    needs: frozenset[str] = frozenset()

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value that it can have."""
        return self.low, self.high

    @property
    def sign(self) -> int:
        """1 where higher is better, and -1 where lower is."""
        return -1 if self.lower_is_better else 1


def of_family(family: Family, names: Iterable[str] | Mapping[str, str], **facts) -> list[Metric]:
    """Metrics that are computed together.

    Args:
        family: what computes them.
        names: those of the metrics; a mapping leads to the family's own.
        **facts: further attributes of all of them.
    """
    own = names if isinstance(names, Mapping) else dict.fromkeys(names)
    return [Metric(name, family, of, **facts) for name, of in own.items()]


@dataclass(frozen=True)
class Estimate:
    """A metric's value with its 95 % interval; None where there is none, and then `reason` says why.

    `reason` also tells what was left out of a value that is there.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict:
        """As it stands in `result.json`.

        >>> Estimate(0.5, 0.25, 0.75).to_dict()
        {'value': 0.5, 'low': 0.25, 'high': 0.75, 'reason': None}
        """
        return asdict(self)
