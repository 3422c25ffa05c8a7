"""A number a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo.kinds._kind import Kind, Labels, one_column
from zoo.metrics.checks import as_finite, same_shape
from zoo.metrics.metric import Metric, of_family
from zoo.metrics.regression import Determination, errors
from zoo.registry import register_kind

if TYPE_CHECKING:
    from torch import Tensor, nn


@register_kind("regression")
class Regression(Kind):
    """A number a sample.

    A label is a float, a prediction too, which is the logit; the main loss is the mean squared error.
    """

    dtype = np.float32
    probabilities = False
    ranked_by = "mae"

    def facts(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, object]:
        """``mean`` of the labels."""
        return {"mean": round(float(labels[places].mean(dtype=np.float64)), 4)}

    def problems(self, column: pd.Series, names: Sequence[str] | None) -> Iterator[tuple[str, np.ndarray]]:
        if column.dtype.kind != "f":
            yield f"label of a regression task is {column.dtype}", np.ones(len(column), bool)
        else:
            yield "label is not finite", ~np.isfinite(column.to_numpy())

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.mse_loss(logits[:, 0], label)

    def predict(self, logits: Tensor, model: nn.Module) -> Tensor:
        """(samples,) values."""
        return logits[:, 0]

    def logits_of(self, prediction: np.ndarray) -> np.ndarray:
        return prediction

    def metrics(self, options: Mapping[str, object]) -> list[Metric]:
        return METRICS

    def checked(self, label, score, options: Mapping[str, object]) -> tuple[np.ndarray, np.ndarray, dict]:
        label, score = as_finite(label, "label"), as_finite(score)
        same_shape(label, score)
        return *one_column(label, score, "regression"), dict(options)

    def fabricated(self, signs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return (1 + (signs.sum(axis=1) + noise[:, 0]) / 2).astype(np.float32)

    def another(self, label: Tensor) -> Tensor:
        return 1 - 2 * label

    def loss_of_a_constant(self, label: Tensor) -> float:
        return float(label.var(unbiased=False))


METRICS = [
    *of_family(lambda y, p, _: errors(y, p), ("mae", "mse", "mape"), high=np.inf, lower_is_better=True),
    *of_family(lambda y, p, _: Determination(y, p), ["r2"], low=-np.inf),
]
