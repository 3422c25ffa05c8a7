"""Weighted means of per-sample values, and words for what was left out of them.

Every metric of this package is a function of *sample weights*. A point value has the weight 1 everywhere; a
resample of the bootstrap gives each sample a weight above 0. Functions that serve both take weights of shape
(resamples, samples) and return one value for each resample, NaN where the metric is undefined.
"""

from collections.abc import Mapping

import numpy as np


def ratio(numerator, denominator) -> np.ndarray:
    """Elementwise quotient, NaN where the denominator is not positive."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def masked_mean(value: np.ndarray) -> np.ndarray:
    """Mean over the last axis without its NaNs; NaN where nothing is left.

    >>> masked_mean(np.array([[0.5, np.nan, 1.0], [np.nan, np.nan, np.nan]]))
    array([0.75,  nan])
    """
    defined = ~np.isnan(value)
    return ratio(np.where(defined, value, 0.0).sum(axis=-1), defined.sum(axis=-1))


def weighted_mean(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean of `value` (n, k) over samples for each row of `weight` (resamples, n): (resamples, k).

    NaNs in `value` are left out, with their weight.
    """
    defined = ~np.isnan(value)
    return ratio(weight @ np.where(defined, value, 0.0), weight @ defined.astype(np.float64))


class Means:
    """Metrics that are plain means of per-sample values.

    Args:
        values: metric name to its value for each sample, (n,); NaN leaves a sample out.
        reasons: metric name to why it is undefined or what it leaves out, if anything.
    """

    def __init__(self, values: Mapping, reasons: Mapping | None = None):
        self.names = tuple(values)
        self.table = np.column_stack([np.asarray(v, dtype=np.float64) for v in values.values()])
        self.reasons = {name: (reasons or {}).get(name) for name in self.names}

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        return dict(zip(self.names, weighted_mean(self.table, weight).T, strict=True))


def left_out(positives: np.ndarray, size: int, things: str, both_classes: bool = False) -> str | None:
    """How many things have no positive (or, with `both_classes`, no negative) and are left out of a mean.

    `positives` (things,) counts the positives of each thing among its `size` labels.

    >>> left_out(np.array([0, 3, 7]), 7, "labels", both_classes=True)
    '1 of 3 labels without a positive and 1 of 3 without a negative left out'
    >>> left_out(np.array([0]), 7, "labels")
    'undefined: no positive among 7 labels'
    """
    total = len(positives)
    counts = {"positive": int((positives == 0).sum())}
    counts["negative"] = int((positives == size).sum()) if both_classes else 0
    gone = {what: count for what, count in counts.items() if count}
    if not gone:
        return None
    if total == 1:
        return f"undefined: no {next(iter(gone))} among {size} label{'s' if size > 1 else ''}"
    texts = [f"{count} of {total} {{}}without a {what}" for what, count in gone.items()]
    text = " and ".join([texts[0].format(things + " "), *(t.format("") for t in texts[1:])])
    return f"undefined: {text}" if sum(gone.values()) == total else f"{text} left out"
