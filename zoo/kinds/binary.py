"""One yes or no a sample: ``True`` for yes, one logit, the probability of yes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo.kinds._kind import Kind, Labels, all_same, log_odds, one_column, threshold_of
from zoo.metrics.calibration import CalibrationError, squared_error
from zoo.metrics.checks import as_binary, as_probability, same_shape
from zoo.metrics.classification import Overlap, right
from zoo.metrics.metric import Metric, of_family
from zoo.metrics.ranking import Areas, RecallAtPrecision
from zoo.metrics.threshold import best_pooled
from zoo.registry import register_kind

if TYPE_CHECKING:
    from torch import Tensor, nn


@register_kind("binary")
class Binary(Kind):
    """One yes or no a sample.

    A label is a bool, a prediction the probability of yes, the main loss the binary cross-entropy.

    Options of metrics: ``threshold``, from which probability on a sample counts as positive (0.5).
    """

    dtype = bool
    balanced = True
    tunable = "f1", "accuracy"
    ranked_by = "auroc"
    options = frozenset({"threshold"})

    def facts(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, object]:
        """``positives``: how many."""
        return {"positives": int(labels[places].sum())}

    def groups(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        return {"no": ~labels[places], "yes": labels[places]}

    def is_constant(self, labels: Labels, places: np.ndarray) -> bool:
        return all_same(labels[places])

    def problems(self, column: pd.Series, names: Sequence[str] | None) -> Iterator[tuple[str, np.ndarray]]:
        if column.dtype.kind != "b":
            yield f"label of a binary task is {column.dtype}", np.ones(len(column), bool)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.binary_cross_entropy_with_logits(logits[:, 0], label.to(logits.dtype))

    def predict(self, logits: Tensor, model: nn.Module) -> Tensor:
        """(samples,) probabilities."""
        return logits[:, 0].sigmoid()

    def logits_of(self, prediction: np.ndarray) -> np.ndarray:
        return log_odds(prediction)

    def metrics(self, options: Mapping[str, object]) -> list[Metric]:
        return METRICS

    def checked(self, label, score, options: Mapping[str, object]) -> tuple[np.ndarray, np.ndarray, dict]:
        label, score = as_binary(label), as_probability(score)
        same_shape(label, score)
        return *one_column(label, score, "binary"), {"threshold": threshold_of(options)}

    def yes_or_no(self, label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return label, score

    def tuned_threshold(self, label: np.ndarray, score: np.ndarray, metric: str) -> float:
        return best_pooled(metric, label, score)

    def fabricated(self, signs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return signs.sum(axis=1) + noise[:, 0] > 0

    def another(self, label: Tensor) -> Tensor:
        return ~label

    def loss_of_a_constant(self, label: Tensor) -> float:
        from torch.nn import functional as F

        share = label.double().mean()
        return float(F.binary_cross_entropy(share, share))


METRICS = [
    *of_family(lambda y, p, _: Areas(y[:, None], p[:, None]), ("auroc", "auprc")),
    *of_family(lambda y, p, _: RecallAtPrecision(y, p), ["recall_at_precision_80"]),
    *of_family(lambda y, p, o: Overlap(y[:, None], p[:, None] >= o["threshold"], "micro"), ["f1"]),
    *of_family(lambda y, p, o: right(y, p >= o["threshold"]), ("accuracy", "sensitivity", "specificity")),
    *of_family(lambda y, p, _: squared_error(y, p), ["brier"], lower_is_better=True),
    *of_family(lambda y, p, _: CalibrationError(y, p), ["ece"], lower_is_better=True),
]
