"""Areas under the ROC and the precision-recall curve, and recall at a precision, weighted, with ties.

Sources: the ROC area with ties as the Mann-Whitney statistic (Hanley and McNeil, Radiology 1982); the
precision-recall area as average precision, the step-wise sum of `sklearn.metrics.average_precision_score`;
recall at a precision of 80 % as RP80 of ClinicalBERT (Huang et al. 2019).
"""

from typing import NamedTuple

import numpy as np

from zoo.metrics.average import Means, left_out, masked_mean, ratio
from zoo.metrics.checks import as_binary, as_finite, as_weight, same_shape

BLOCK_ITEMS = 2**18  # ranked items at a time: a block's running sums stay in the processor's cache
TRUE_TO_FALSE = 4  # a precision of 80 % is four true positives to a false one


class Steps(NamedTuple):
    """Weight of true and false positives where each step begins and ends, (resamples, steps), and of all positives and
    negatives, (resamples, rankings)."""

    true_before: np.ndarray
    true: np.ndarray
    false_before: np.ndarray
    false: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray


class Ranking:
    """Several rankings of as many items each, sorted once, whose curves follow for any weights of the items.

    Only the *steps* are kept: tie groups that hold a positive. The curve moves up at these alone, so all but
    one running sum run over the positives.

    Args:
        label: (rankings, items) bool.
        score: (rankings, items), higher ranks first.
        item: (items,) position of each item's weight; items are their own position when None.
    """

    def __init__(self, label: np.ndarray, score: np.ndarray, item: np.ndarray | None = None):
        self.rankings, self.items = label.shape
        order = np.argsort(-score, axis=1)
        ordered = np.take_along_axis(score, order, axis=1)
        last_of_tie = np.ones(label.shape, dtype=bool)
        np.not_equal(ordered[:, 1:], ordered[:, :-1], out=last_of_tie[:, :-1])
        positive = np.flatnonzero(np.take_along_axis(label, order, axis=1))
        self.negative_item = order.ravel() if item is None else item[order.ravel()]
        self.positive_item = self.negative_item[positive]
        self.negative_item[positive] = -1  # where a weight of 0 stands: sums of negatives alone are exact where none is
        self._place_steps(np.flatnonzero(last_of_tie) + 1, positive)

    def _place_steps(self, tie_end: np.ndarray, positive: np.ndarray) -> None:
        """Where each step begins and ends, among the ranked items and among the positives."""
        tie = np.searchsorted(tie_end, positive, side="right")
        first = np.flatnonzero(np.diff(tie, prepend=-1))
        self.positive_start, self.positive_end = first, np.append(first[1:], len(positive))[: len(first)]
        self.start = np.append(0, tie_end)[tie[first]]
        self.end = tie_end[tie[first]]
        self.ranking = self.start // self.items
        bounds = np.arange(self.rankings + 1) * self.items
        self.bounds, self.positive_bounds = bounds, np.searchsorted(positive, bounds)
        self.step_bounds = np.searchsorted(self.start, bounds)

    def steps(self, weight: np.ndarray) -> Steps:
        """The steps of all rankings, for `weight` (resamples, items)."""
        true = _running(weight.take(self.positive_item, axis=1))
        false = _running(np.pad(weight, ((0, 0), (0, 1))).take(self.negative_item, axis=1))
        true_bounds, false_bounds = true.take(self.positive_bounds, axis=1), false.take(self.bounds, axis=1)
        true_base, false_base = true_bounds.take(self.ranking, axis=1), false_bounds.take(self.ranking, axis=1)
        return Steps(
            true.take(self.positive_start, axis=1) - true_base,
            true.take(self.positive_end, axis=1) - true_base,
            false.take(self.start, axis=1) - false_base,
            false.take(self.end, axis=1) - false_base,
            np.diff(true_bounds),
            np.diff(false_bounds),
        )

    def areas(self, weight: np.ndarray) -> np.ndarray:
        """AUROC and AUPRC, (2, resamples, rankings), for `weight` (resamples, items); NaN where undefined."""
        steps = self.steps(weight)
        gain = steps.true - steps.true_before
        lost = self._sums(gain * (steps.false_before + steps.false) / 2)
        seen = steps.true + steps.false
        found = self._sums(gain * np.divide(steps.true, seen, out=np.zeros(gain.shape), where=seen > 0))
        return np.stack([1 - ratio(lost, steps.positives * steps.negatives), ratio(found, steps.positives)])

    def _sums(self, value: np.ndarray) -> np.ndarray:
        """Sums over the steps of each ranking."""
        return np.diff(_running(value).take(self.step_bounds, axis=1))


def _running(value: np.ndarray) -> np.ndarray:
    """Running sums of rows, each with a leading zero."""
    total = np.zeros((len(value), value.shape[1] + 1))
    np.cumsum(value, axis=1, out=total[:, 1:])
    return total


def _in_parts(function, weight: np.ndarray, items: int) -> list[np.ndarray]:
    """What `function` makes of as many rows of `weight` at a time as `items` of each allow."""
    step = max(1, BLOCK_ITEMS // items)
    return [function(weight[start : start + step]) for start in range(0, len(weight), step)]


class Areas:
    """AUROC and AUPRC of a label matrix under one averaging.

    Args:
        label: (n, L) bool.
        score: (n, L).
        average: "micro" pools all pairs of sample and label; "macro" is the mean over labels; "samples" the mean
            over samples. Labels (samples) in which an area is undefined are left out and counted in `reasons`.
        things: what a column is called in `reasons`.
    """

    names = ("auroc", "auprc")

    def __init__(self, label: np.ndarray, score: np.ndarray, average: str = "macro", things: str = "labels"):
        samples, labels = label.shape
        self.means = None
        if average == "micro":
            item = np.repeat(np.arange(samples), labels)
            self.blocks = [Ranking(label.reshape(1, -1), score.reshape(1, -1), item)]
            positives, size = label.sum(keepdims=True).ravel(), label.size
        elif average == "macro":
            self.blocks = list(_ranking_blocks(label.T, score.T))
            positives, size = label.sum(axis=0), samples
        elif average == "samples":
            self.means = Means(_areas_by_sample(label, score))
            positives, size, things = label.sum(axis=1), labels, "samples"
        else:
            raise ValueError(f"average must be micro, macro or samples, not {average!r}")
        self.reasons = {name: left_out(positives, size, things, name == "auroc") for name in self.names}

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        if self.means is not None:
            return self.means(weight)
        items = self.blocks[0].rankings * self.blocks[0].items
        value = np.concatenate(_in_parts(self._areas, weight, items), axis=1)
        return dict(zip(self.names, value, strict=True))

    def _areas(self, weight: np.ndarray) -> np.ndarray:
        return masked_mean(np.concatenate([block.areas(weight) for block in self.blocks], axis=2))


class RecallAtPrecision:
    """Recall at a precision of 80 %: the highest over thresholds whose precision is at least that, 0 without one.

    RP80 of Huang et al. (ClinicalBERT, arXiv:1904.05342). Their code takes the recall at the lowest threshold with a
    precision above 0.799999, which is the same, of one score an admission. `label` (n,) bool, `score` (n,).
    """

    def __init__(self, label: np.ndarray, score: np.ndarray):
        self.ranking = Ranking(label[None], score[None])
        self.reasons = {"recall_at_precision_80": left_out(label.sum(keepdims=True), len(label), "labels")}

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        return {"recall_at_precision_80": np.concatenate(_in_parts(self._recall, weight, self.ranking.items))}

    def _recall(self, weight: np.ndarray) -> np.ndarray:
        steps = self.ranking.steps(weight)
        precise = steps.true >= TRUE_TO_FALSE * steps.false
        return ratio(np.where(precise, steps.true, 0).max(axis=1, initial=0), steps.positives[:, 0])


def _ranking_blocks(label: np.ndarray, score: np.ndarray):
    """Rankings of the rows of `label` and `score`, a block of rows at a time."""
    step = max(1, BLOCK_ITEMS // label.shape[1])
    for start in range(0, len(label), step):
        rows = slice(start, start + step)
        yield Ranking(np.ascontiguousarray(label[rows]), np.ascontiguousarray(score[rows]))


def _areas_by_sample(label: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Areas over the labels of each sample; a sample's weight does not change them."""
    one = np.ones((1, label.shape[1]))
    areas = [block.areas(one)[:, 0] for block in _ranking_blocks(label, score)]
    return dict(zip(Areas.names, np.concatenate(areas, axis=1), strict=True))


def auroc(label, score, weight=None, average: str = "macro") -> float:
    """Area under the ROC curve; equals `sklearn.metrics.roc_auc_score`.

    NaN where a class is missing; labels (samples) with a missing class are left out of an average.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    >>> auroc([0, 0], [0.1, 0.4])
    nan

    Args:
        label: (n,) or (n, L) bool.
        score: as `label`, higher means more likely; finite.
        weight: (n,) not negative, or None.
        average: "micro", "macro" or "samples", for (n, L) labels.
    """
    return _area("auroc", label, score, weight, average)


def auprc(label, score, weight=None, average: str = "macro") -> float:
    """Area under the precision-recall curve; equals `sklearn.metrics.average_precision_score`.

    Parameters as in `auroc`. NaN without a positive, where scikit-learn warns and gives 0.

    >>> auprc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.8333333333333333
    """
    return _area("auprc", label, score, weight, average)


def recall_at_precision_80(label, score, weight=None) -> float:
    """Highest recall at a precision of at least 80 % (see `RecallAtPrecision`); NaN without a positive.

    >>> recall_at_precision_80([1, 1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5])
    0.6666666666666666

    Args:
        label: (n,) bool.
        score: (n,), higher means more likely; finite.
        weight: (n,) not negative, or None.
    """
    label, score = as_binary(label), as_finite(score)
    same_shape(label, score)
    if label.shape[1] != 1:
        raise ValueError(f"recall_at_precision_80 takes labels of shape (n,), not {label.shape}")
    found = RecallAtPrecision(label[:, 0], score[:, 0])(as_weight(weight, len(label)))
    return float(found["recall_at_precision_80"][0])


def _area(name: str, label, score, weight, average: str) -> float:
    label, score = as_binary(label), as_finite(score)
    same_shape(label, score)
    return float(Areas(label, score, average)(as_weight(weight, len(label)))[name][0])
