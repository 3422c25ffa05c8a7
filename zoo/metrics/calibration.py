"""How near predicted probabilities are to observed frequencies."""

import numpy as np

from zoo.metrics.average import Means, ratio
from zoo.metrics.checks import as_binary, as_probability, as_weight, same_shape

BINS = 10  # of equal width, as in Naeini et al. (AAAI 2015)


def squared_error(label: np.ndarray, score: np.ndarray) -> Means:
    """Brier score (Brier 1950) of `label` (n,) bool and `score` (n,)."""
    return Means({"brier": (score - label) ** 2})


class CalibrationError:
    """Expected calibration error (Naeini et al., AAAI 2015).

    The absolute difference of mean probability and observed frequency in `bins` bins of equal width, weighted
    by the samples in each. Bins are of the probability of the positive class and closed above, (0.1, 0.2], as
    in scikit-learn's `calibration_curve`. `label` (n,) bool, `score` (n,).
    """

    reasons = {"ece": None}

    def __init__(self, label: np.ndarray, score: np.ndarray, bins: int = BINS):
        where = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score)
        self.gap = np.zeros((len(label), bins))
        self.gap[np.arange(len(label)), where] = score - label

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        return {"ece": ratio(np.abs(weight @ self.gap).sum(axis=1), weight.sum(axis=1))}


def brier(label, score, weight=None) -> float:
    """Brier score: mean squared difference of probability and outcome; `label` (n,) bool, `score` (n,).

    >>> brier([1, 0], [0.5, 0.5])
    0.25
    """
    label, score = _checked(label, score)
    return float(squared_error(label, score)(as_weight(weight, len(label)))["brier"][0])


def ece(label, score, weight=None, bins: int = BINS) -> float:
    """Expected calibration error (see `CalibrationError`); `label` (n,) bool, `score` (n,).

    >>> ece([1, 0, 1, 1], [0.75, 0.75, 0.75, 0.75])
    0.0
    """
    label, score = _checked(label, score)
    return float(CalibrationError(label, score, bins)(as_weight(weight, len(label)))["ece"][0])


def _checked(label, score) -> tuple[np.ndarray, np.ndarray]:
    label, score = as_binary(label), as_probability(score)
    same_shape(label, score)
    if label.shape[1] != 1:
        raise ValueError(f"calibration takes labels of shape (n,), not {label.shape}")
    return label[:, 0], score[:, 0]
