"""The threshold that suits a metric best, chosen on validation data."""

import warnings
from collections.abc import Callable

import numpy as np

from zoo.metrics.checks import as_binary, as_probability, same_shape
from zoo.registry import kind_of, kinds

STEPS = np.arange(1, 100) / 100


def tune_threshold(kind: str, label, score, metric: str = "f1") -> float:
    """The threshold t at which predicting `score >= t` gives the best `metric`; use it on validation data.

    Among equally good thresholds the highest. Without a positive no threshold finds any: it warns and returns 0.5,
    unless the metric is an accuracy.

    >>> tune_threshold("binary", [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])
    0.3

    Args:
        kind: "binary", with `label` (n,) bool and `score` (n,), or "multilabel", with both (n, L).
        metric: binary "f1" or "accuracy"; multilabel "f1_micro" (also called "f1"), "jaccard_micro",
            "accuracy_element", exact over all thresholds, or "f1_macro", "f1_samples", "jaccard_macro",
            "jaccard_samples", over 0.01, 0.02, …, 0.99.

    Raises:
        ValueError: the kind or the metric has no threshold.
    """
    of = kind_of(kind)
    if metric not in of.tunable:
        known = {k: list(kind_of(k).tunable) for k in kinds.names() if kind_of(k).tunable}
        raise ValueError(f"no threshold to tune for kind {kind!r} and metric {metric!r}; there are {known}")
    label, score = as_binary(label), as_probability(score)
    same_shape(label, score)
    if not metric.startswith("accuracy") and not label.any():
        warnings.warn(f"without a positive no threshold is best for {metric}: it stays 0.5", stacklevel=2)
        return 0.5
    return of.tuned_threshold(label, score, metric)


def best_pooled(metric: str, label: np.ndarray, score: np.ndarray) -> float:
    """The best of all thresholds for the "f1", "jaccard" or "accuracy" of all cells of labels and scores (n, L)."""
    order = np.argsort(-score, axis=None)
    ranked, positive = score.ravel()[order], label.ravel()[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    thresholds = np.append(np.nextafter(ranked[0], np.inf), ranked[last_of_tie])
    both = np.append(0, np.cumsum(positive)[last_of_tie])
    guess, truth = np.append(0, last_of_tie + 1), positive.sum()
    if metric == "accuracy":
        values = (len(ranked) - truth - guess + 2 * both) / len(ranked)
    else:
        values = 2 * both / (truth + guess) if metric == "f1" else both / (truth + guess - both)
    return float(thresholds[np.argmax(values)])


def best_on_grid(value: Callable[[float], float]) -> float:
    """The best of the thresholds 0.01, 0.02, …, 0.99, given a metric's value at each; among equals the highest."""
    thresholds = STEPS[::-1]
    return float(thresholds[np.argmax([value(t) for t in thresholds])])
