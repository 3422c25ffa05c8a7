"""Metrics of predicted classes and label sets.

F1 (van Rijsbergen 1979) is twice the overlap of truth and prediction over the sum of their sizes, Jaccard
(1901) the overlap over their union. Both are 0 where there are predictions but no positive, and undefined where
there is neither: a macro average leaves such labels out (scikit-learn's `f1_score(zero_division=nan)`). In the mean
over samples, a sample whose truth and prediction are both empty counts 0, as in scikit-learn with
`zero_division=0`.
"""

import numpy as np

from zoo.metrics.average import Means, left_out, masked_mean, ratio
from zoo.metrics.checks import as_binary, as_class, as_finite, as_weight, same_shape

BLOCK_CELLS = 2**22  # cells of the label matrix that are turned into floats at a time


class Overlap:
    """F1 and Jaccard of predicted label sets under one averaging.

    With the macro average there is `f1_of_means` too: the F1 of mean precision and mean recall over all labels, where a
    label without a prediction has precision 0 and one without a positive recall 0, as in CAML's published code
    (Mullenbach et al., NAACL 2018). It differs from the mean of F1s (Opitz and Burst 2019, arXiv:1911.03347).

    Args:
        label, prediction: (n, L) bool.
        average: "micro", "macro", "weighted" (by each label's positives) or "samples".
        things: what a column is called in `reasons`.
    """

    names = ("f1", "jaccard")

    def __init__(self, label, prediction, average: str = "macro", things: str = "labels"):
        if average not in ("micro", "macro", "weighted", "samples"):
            raise ValueError(f"average must be micro, macro, weighted or samples, not {average!r}")
        self.label, self.prediction, self.average = label, prediction, average
        self.means = Means(_overlap_by_sample(label, prediction)) if average == "samples" else None
        reason = _nothing_to_find(label, prediction)
        own = {"macro": _labels_without(label, prediction, things), "samples": _empty_samples(label)}
        self.reasons = dict.fromkeys(self.names, reason or own.get(average))
        self.reasons["f1_of_means"] = reason or _labels_of_zero(label, prediction, things)

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        if self.means is not None:
            return self.means(weight)
        both, truth, guess = self._counts(weight)
        if self.average == "micro":
            both, truth, guess = (count.sum(axis=1, keepdims=True) for count in (both, truth, guess))
        values = _overlap(both, truth, guess)
        if self.average == "weighted":
            share = np.where(truth.any(axis=1, keepdims=True), truth, guess)  # without a positive all values are 0
            return {n: ratio(np.nansum(value * share, axis=1), share.sum(axis=1)) for n, value in values.items()}
        means = {name: masked_mean(value) for name, value in values.items()}
        return means | ({"f1_of_means": _f1_of_means(both, truth, guess)} if self.average == "macro" else {})

    def _counts(self, weight: np.ndarray) -> list[np.ndarray]:
        """Weight of true positives, positives and predicted positives of each label, each (resamples, L)."""
        step = max(1, BLOCK_CELLS // len(self.label))
        blocks = []
        for start in range(0, self.label.shape[1], step):
            label, prediction = (x[:, start : start + step] for x in (self.label, self.prediction))
            blocks.append([weight @ x.astype(np.float64) for x in (label & prediction, label, prediction)])
        return [np.concatenate(count, axis=1) for count in zip(*blocks, strict=True)]


def _overlap(both, truth, guess) -> dict[str, np.ndarray]:
    """F1 and Jaccard from counts; NaN where there is neither a positive nor a prediction."""
    return {"f1": ratio(2 * both, truth + guess), "jaccard": ratio(both, truth + guess - both)}


def _f1_of_means(both, truth, guess) -> np.ndarray:
    """F1 of mean precision and mean recall over labels (last axis), from counts; NaN where all are empty."""
    precision, recall = (np.nan_to_num(ratio(both, count)).mean(axis=-1) for count in (guess, truth))
    value = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where((truth + guess).any(axis=-1), value, np.nan)


def _overlap_by_sample(label: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    values = _overlap((label & prediction).sum(axis=1), label.sum(axis=1), prediction.sum(axis=1))
    empty = 0.0 if label.any() or prediction.any() else np.nan
    return {name: np.nan_to_num(value, nan=empty) for name, value in values.items()}


def _nothing_to_find(label: np.ndarray, prediction: np.ndarray) -> str | None:
    """What there is to say of labels without a single positive."""
    if label.any():
        return None
    none = f"among {label.size} label{'s' if label.size > 1 else ''}"
    if prediction.any():
        return f"0 because there is no positive {none}"
    return f"undefined: neither a positive nor a prediction {none}"


def _labels_without(label: np.ndarray, prediction: np.ndarray, things: str) -> str | None:
    """How many things a macro average leaves out, and how many count 0 for false alarms alone."""
    absent, predicted = ~label.any(axis=0), prediction.any(axis=0)
    empty, false = int((absent & ~predicted).sum()), int((absent & predicted).sum())
    texts = [f"{empty} of {absent.size} {things} without a positive or a prediction left out"] if empty else []
    texts += [f"{false} of {absent.size} {things} without a positive but with predictions count as 0"] if false else []
    return "; ".join(texts) or None


def _labels_of_zero(label: np.ndarray, prediction: np.ndarray, things: str) -> str | None:
    """How many things have a precision or a recall of 0 for want of predictions or positives."""
    counts = {"a prediction have precision": prediction, "a positive have recall": label}
    gone = {what: int((~sets.any(axis=0)).sum()) for what, sets in counts.items()}
    texts = [f"{count} of {label.shape[1]} {things} without {what} 0" for what, count in gone.items() if count]
    return "; ".join(texts) or None


def _empty_samples(label: np.ndarray) -> str | None:
    empty = int((~label.any(axis=1)).sum())
    return f"{empty} of {len(label)} samples without a positive count as 0" if empty else None


def right(label: np.ndarray, prediction: np.ndarray) -> Means:
    """Accuracy, sensitivity and specificity of `label` and `prediction`, both (n,) bool."""
    same = (label == prediction).astype(np.float64)
    values = {
        "accuracy": same,
        "sensitivity": np.where(label, same, np.nan),
        "specificity": np.where(label, np.nan, same),
    }
    count = int(label.sum())
    none = f"among {len(label)} label{'s' if len(label) > 1 else ''}"
    reasons = {
        "sensitivity": None if count else f"undefined: no positive {none}",
        "specificity": None if count < len(label) else f"undefined: no negative {none}",
    }
    return Means(values, reasons)


def top_k(label: np.ndarray, score: np.ndarray, k: int) -> Means:
    """Precision and recall of each sample's `k` best-scored labels: `precision_at_k`, `recall_at_k`.

    `label` (n, L) bool, `score` (n, L). Among equal scores the first label comes first. Precision divides by k also
    where there are fewer than k labels (the published code of CAML, Mullenbach et al. 2018, by their number); samples
    without a positive have precision 0 and no recall (there 0).
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    best = np.argsort(-score, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(label, best, axis=1).sum(axis=1)
    positives = label.sum(axis=1)
    names = f"precision_at_{k}", f"recall_at_{k}"
    none = left_out(label.sum(keepdims=True).ravel(), label.size, "labels")
    reasons = none or _empty_samples(label), left_out(positives, label.shape[1], "samples")
    values = hits / k if label.any() else np.full(len(label), np.nan), ratio(hits, positives)
    values, reasons = (dict(zip(names, x, strict=True)) for x in (values, reasons))
    return Means(values, reasons)


def one_hot(label: np.ndarray, classes: int) -> np.ndarray:
    """Class numbers (n,) as (n, classes) bool."""
    return label[:, None] == np.arange(classes)


class Kappa:
    """Cohen's kappa with linear weights (Cohen 1968): 1 - observed over expected distance of classes.

    `label` and `prediction` are (n,) class numbers; distances are those of the numbers, so classes that do
    not occur keep their place (scikit-learn's `cohen_kappa_score(labels=range(classes))`). Undefined where
    all labels and predictions are of one class.
    """

    def __init__(self, label: np.ndarray, prediction: np.ndarray, classes: int):
        self.classes = np.arange(classes)
        self.label, self.prediction = (one_hot(x, classes).astype(np.float64) for x in (label, prediction))
        self.distance = np.abs(label - prediction).astype(np.float64)
        single = np.ptp(np.concatenate([label, prediction])) == 0
        reason = "undefined: all labels and predictions are one class" if single else None
        self.reasons = {"kappa_linear": reason}

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        apart = np.abs(self.classes[:, None] - self.classes)
        pairs = ((weight @ self.label) @ apart * (weight @ self.prediction)).sum(axis=1)
        expected = ratio(pairs, weight.sum(axis=1))
        return {"kappa_linear": 1 - ratio(weight @ self.distance, expected)}


def f1(label, prediction, weight=None, average: str = "macro") -> float:
    """F1 score; equals `sklearn.metrics.f1_score` with `zero_division=nan` (with "samples": 0).

    NaN without a positive and without a prediction; such labels are left out of a macro average. With "samples", a
    sample without a positive counts 0.

    >>> f1([1, 1, 0, 0], [1, 0, 1, 0])
    0.5
    >>> f1([[1, 0, 0], [1, 0, 0]], [[1, 1, 0], [1, 0, 0]])
    0.5

    Args:
        label, prediction: (n,) or (n, L) bool.
        weight: (n,) not negative, or None.
        average: "micro", "macro", "weighted" or "samples", for (n, L) labels.
    """
    return _overlap_value("f1", label, prediction, weight, average)


def jaccard(label, prediction, weight=None, average: str = "macro") -> float:
    """Jaccard index of true and predicted positives, `sklearn.metrics.jaccard_score`. Parameters as in `f1`.

    >>> jaccard([[1, 1, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0]], average="samples")
    0.75
    """
    return _overlap_value("jaccard", label, prediction, weight, average)


def _overlap_value(name: str, label, prediction, weight, average: str) -> float:
    label, prediction = as_binary(label), as_binary(prediction, "prediction")
    same_shape(label, prediction, "prediction")
    return float(Overlap(label, prediction, average)(as_weight(weight, len(label)))[name][0])


def accuracy(label, prediction, weight=None) -> float:
    """Share of equal classes, for (n,) classes; of equal cells, for (n, L) label sets.

    >>> accuracy([0, 2, 1], [0, 2, 2], weight=[1, 1, 2])
    0.5
    """
    label, prediction = as_finite(label), as_finite(prediction, "prediction")
    same_shape(label, prediction, "prediction")
    same = Means({"accuracy": (label == prediction).mean(axis=1)})
    return float(same(as_weight(weight, len(label)))["accuracy"][0])


def sensitivity(label, prediction, weight=None) -> float:
    """Share of positives that are predicted (recall), of (n,) bool. NaN without a positive.

    >>> sensitivity([1, 1, 0], [1, 0, 0])
    0.5
    """
    return _right_value("sensitivity", label, prediction, weight)


def specificity(label, prediction, weight=None) -> float:
    """Share of negatives that are not predicted, of (n,) bool. NaN without a negative.

    >>> specificity([1, 0, 0, 0], [1, 0, 0, 1], weight=[1, 1, 2, 1])
    0.75
    """
    return _right_value("specificity", label, prediction, weight)


def _right_value(name: str, label, prediction, weight) -> float:
    label, prediction = as_binary(label), as_binary(prediction, "prediction")
    same_shape(label, prediction, "prediction")
    if label.shape[1] != 1:
        raise ValueError(f"{name} takes labels of shape (n,), not {label.shape}")
    return float(right(label[:, 0], prediction[:, 0])(as_weight(weight, len(label)))[name][0])


def kappa_linear(label, prediction, classes: int, weight=None) -> float:
    """Linear-weighted kappa of class numbers (n,) below `classes`; NaN where all are one class (see `Kappa`).

    >>> kappa_linear([0, 1, 2, 2], [0, 1, 2, 1], classes=3)
    0.7142857142857143
    """
    label, prediction = as_class(label, classes), as_class(prediction, classes, "prediction")
    same_shape(label, prediction, "prediction")
    value = Kappa(label, prediction, classes)(as_weight(weight, len(label)))
    return float(value["kappa_linear"][0])


def precision_at_k(label, score, k: int, weight=None) -> float:
    """Mean share of true labels among the `k` best-scored of each sample; `label` and `score` (n, L).

    >>> precision_at_k([[1, 0, 0, 1]], [[0.9, 0.8, 0.1, 0.2]], k=2)
    0.5
    """
    return _top_k_value("precision", label, score, k, weight)


def recall_at_k(label, score, k: int, weight=None) -> float:
    """Mean share of each sample's true labels that are among its `k` best-scored; `label` and `score` (n, L).

    Samples without a positive are left out; NaN where all are.

    >>> recall_at_k([[1, 0, 0, 1], [0, 0, 0, 0]], [[0.9, 0.8, 0.1, 0.2]] * 2, k=3)
    1.0
    """
    return _top_k_value("recall", label, score, k, weight)


def _top_k_value(name: str, label, score, k: int, weight) -> float:
    label, score = as_binary(label), as_finite(score)
    same_shape(label, score)
    return float(top_k(label, score, k)(as_weight(weight, len(label)))[f"{name}_at_{k}"][0])
