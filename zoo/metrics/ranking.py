"""Areas under the ROC and the precision-recall curve, weighted, with ties.

Sources: the ROC area with ties as the Mann-Whitney statistic (Hanley and McNeil, Radiology 1982); the
precision-recall area as average precision, the step-wise sum of `sklearn.metrics.average_precision_score`.
"""

import numpy as np

from zoo.metrics.average import Means, left_out, masked_mean, ratio
from zoo.metrics.checks import as_binary, as_finite, as_weight, same_shape

BLOCK_ITEMS = 2**18  # ranked items at a time: a block's running sums stay in the processor's cache


class Ranking:
    """Several rankings of as many items each, sorted once, whose areas follow for any weights of the items.

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
        self.item = order.ravel() if item is None else item[order.ravel()]
        self.positive_item = self.item[positive]
        self._steps(np.flatnonzero(last_of_tie) + 1, positive)

    def _steps(self, tie_end: np.ndarray, positive: np.ndarray) -> None:
        """Where each step begins and ends, among the ranked items and among the positives."""
        tie = np.searchsorted(tie_end, positive, side="right")
        first = np.flatnonzero(np.diff(tie, prepend=-1))
        self.positive_start, self.positive_end = first, np.append(first[1:], len(positive))[: len(first)]
        self.start = np.append(0, tie_end)[tie[first]]
        self.end = tie_end[tie[first]]
        self.ranking = self.start // self.items
        bounds = np.arange(self.rankings + 1) * self.items
        self.bounds, self.positive_bounds = bounds, np.searchsorted(positive, bounds)

    def areas(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """AUROC and AUPRC of each ranking, both (rankings,), for one weight an item; NaN where undefined."""
        ranked, hits = _running(weight[self.item]), _running(weight[self.positive_item])
        before, hits_before = ranked[self.bounds], hits[self.positive_bounds]
        positives, total = np.diff(hits_before), np.diff(before)
        negatives = total - positives
        base, hits_base = before[self.ranking], hits_before[self.ranking]
        hit_start, hit_end = hits[self.positive_start] - hits_base, hits[self.positive_end] - hits_base
        seen_start, seen_end = ranked[self.start] - base, ranked[self.end] - base
        gain = hit_end - hit_start
        false_before = (seen_start - hit_start + seen_end - hit_end) / 2
        lost = np.bincount(self.ranking, gain * false_before, self.rankings)
        precision = np.divide(hit_end, seen_end, out=np.zeros(len(gain)), where=seen_end > 0)
        found = np.bincount(self.ranking, gain * precision, self.rankings)
        return 1 - ratio(lost, positives * negatives), ratio(found, positives)


def _running(value: np.ndarray) -> np.ndarray:
    """Running sum with a leading zero."""
    total = np.zeros(len(value) + 1)
    np.cumsum(value, out=total[1:])
    return total


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
        value = np.array([[masked_mean(area) for area in self._areas(row)] for row in weight])
        return dict(zip(self.names, value.T, strict=True))

    def _areas(self, weight: np.ndarray) -> np.ndarray:
        return np.concatenate([block.areas(weight) for block in self.blocks], axis=1)


def _ranking_blocks(label: np.ndarray, score: np.ndarray):
    """Rankings of the rows of `label` and `score`, a block of rows at a time."""
    step = max(1, BLOCK_ITEMS // label.shape[1])
    for start in range(0, len(label), step):
        rows = slice(start, start + step)
        yield Ranking(np.ascontiguousarray(label[rows]), np.ascontiguousarray(score[rows]))


def _areas_by_sample(label: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Areas over the labels of each sample; a sample's weight does not change them."""
    one = np.ones(label.shape[1])
    areas = [block.areas(one) for block in _ranking_blocks(label, score)]
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


def _area(name: str, label, score, weight, average: str) -> float:
    label, score = as_binary(label), as_finite(score)
    same_shape(label, score)
    return float(Areas(label, score, average)(as_weight(weight, len(label)))[name][0])
