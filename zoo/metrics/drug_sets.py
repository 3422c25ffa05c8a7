"""Metrics of recommended drug sets: how many of their pairs interact, how many drugs they have, and which are new.

The rate is pooled: pairs of drugs of one visit that interact, over all pairs of drugs of one visit, counted over all
visits together (GAMENet, Shang et al., AAAI 2019; SafeDrug, Yang et al., IJCAI 2021).

Errors of addition and removal are those of MICRON (Yang et al., IJCAI 2021): how many drugs of a visit are wrongly
added or wrongly not added to those of the visit before, and how many are wrongly removed or wrongly kept.
"""

import numpy as np

from zoo.metrics.average import Means, ratio
from zoo.metrics.checks import as_binary


class InteractionRate:
    """DDI rates of predicted and of true drug sets.

    Args:
        label, prediction: (n, L) bool.
        interactions: (L, L) bool, symmetric with an empty diagonal.
    """

    names = ("ddi_rate", "ddi_rate_true")

    def __init__(self, label, prediction, interactions):
        self.counts = {
            name: np.stack(_pairs(sets, interactions), axis=1)
            for name, sets in zip(self.names, (prediction, label), strict=True)
        }
        none = "undefined: no sample with two drugs"
        self.reasons = {name: None if count[:, 1].any() else none for name, count in self.counts.items()}

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        return {name: ratio(*(weight @ count).T) for name, count in self.counts.items()}


def _pairs(sets: np.ndarray, interactions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many pairs of each set (n,) interact, and how many there are."""
    hot = sets.astype(np.float64)
    size = hot.sum(axis=1)
    return ((hot @ interactions.astype(np.float64)) * hot).sum(axis=1) / 2, size * (size - 1) / 2


def ddi_rate(prediction, interactions) -> float:
    """Share of interacting pairs among all pairs of drugs that are predicted together; NaN where there is no pair.

    `prediction` (n, L) bool, `interactions` (L, L) bool.

    >>> among = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    >>> ddi_rate([[1, 1, 1], [0, 1, 1]], among)
    0.25
    """
    prediction, interactions = as_binary(prediction), checked_interactions(interactions, np.shape(prediction)[1])
    found, all_pairs = _pairs(prediction, interactions)
    return float(ratio(found.sum(), all_pairs.sum()))


def drugs_per_sample(label: np.ndarray, prediction: np.ndarray) -> Means:
    """How many drugs are predicted, and how many there are, `label` and `prediction` (n, L) bool."""
    return Means({"drugs_per_visit": prediction.sum(axis=1), "drugs_per_visit_true": label.sum(axis=1)})


def errors_of_change(label: np.ndarray, prediction: np.ndarray, before) -> Means:
    """Numbers of wrong drugs of a visit, among those that the visit before did not have, and among those that it had.

    Args:
        label, prediction: (n, L) bool.
        before: (n, L), 1 where the visit before had the drug; NaN where there was no visit before, or None.
    """
    before = np.full(label.shape, np.nan) if before is None else np.asarray(before, np.float64)
    if before.shape != label.shape:
        raise ValueError(f"before has shape {before.shape}, expected {label.shape}")
    wrong, first = label != prediction, np.isnan(before).any(axis=1)
    counts = {
        "addition_error": (wrong & (before == 0)).sum(axis=1),
        "removal_error": (wrong & (before == 1)).sum(axis=1),
    }
    reason = None
    if first.any():
        left = f"{first.sum()} of {first.size} samples without a visit before"
        reason = f"undefined: {left}" if first.all() else f"{left} left out"
    return Means({n: np.where(first, np.nan, c) for n, c in counts.items()}, dict.fromkeys(counts, reason))


def checked_interactions(interactions, labels: int) -> np.ndarray:
    """Interactions as (labels, labels) bool; a ValueError where they are not symmetric or of another shape."""
    found = np.asarray(interactions, dtype=bool)
    if found.shape != (labels, labels):
        raise ValueError(f"interactions have shape {found.shape}, expected {(labels, labels)}")
    if (found != found.T).any() or found.diagonal().any():
        raise ValueError("interactions must be symmetric, and no drug interacts with itself")
    return found
