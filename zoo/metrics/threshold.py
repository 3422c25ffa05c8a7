"""The threshold that suits a metric best, chosen on validation data."""

import warnings

import numpy as np

from zoo.metrics.checks import as_binary, as_probability, same_shape
from zoo.metrics.suite import evaluate

POOLED = {
    "binary": {"f1": "f1", "accuracy": "accuracy"},
    "multilabel": {"f1": "f1", "f1_micro": "f1", "jaccard_micro": "jaccard", "accuracy_element": "accuracy"},
}
GRID = {"multilabel": ("f1_macro", "f1_samples", "jaccard_macro", "jaccard_samples")}
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
    if metric not in (*POOLED.get(kind, ()), *GRID.get(kind, ())):
        known = {k: [*POOLED[k], *GRID.get(k, ())] for k in POOLED}
        raise ValueError(f"no threshold to tune for kind {kind!r} and metric {metric!r}; there are {known}")
    label, score = as_binary(label), as_probability(score)
    same_shape(label, score)
    pooled = POOLED[kind].get(metric)
    if pooled != "accuracy" and not label.any():
        warnings.warn(f"without a positive no threshold is best for {metric}: it stays 0.5", stacklevel=2)
        return 0.5
    thresholds, values = _pooled(pooled, label, score) if pooled else _grid(metric, label, score)
    return float(thresholds[np.argmax(values)])


def _pooled(metric: str, label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds in falling order, from one above all scores, and the metric of the pooled cells at each."""
    order = np.argsort(-score, axis=None)
    ranked, positive = score.ravel()[order], label.ravel()[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    thresholds = np.append(np.nextafter(ranked[0], np.inf), ranked[last_of_tie])
    both = np.append(0, np.cumsum(positive)[last_of_tie])
    guess, truth = np.append(0, last_of_tie + 1), positive.sum()
    if metric == "accuracy":
        return thresholds, (len(ranked) - truth - guess + 2 * both) / len(ranked)
    return thresholds, 2 * both / (truth + guess) if metric == "f1" else both / (truth + guess - both)


def _grid(metric: str, label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds in falling order and the metric at each."""
    subject = np.arange(len(label))
    options = {"resamples": 0, "metrics": [metric]}
    thresholds = STEPS[::-1]
    found = [evaluate("multilabel", label, score, subject, threshold=t, **options) for t in thresholds]
    return thresholds, np.array([metrics[metric].value for metrics in found], dtype=np.float64)
