"""Logistic regression on code counts, with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from zoo.data import Batch, Spec
from zoo.models import Estimator, Output
from zoo.models._counts import code_counts, fitting_data
from zoo.registry import register_model


@register_model(
    "logistic_regression",
    paper="Cox, JRSS B 1958",
    uses={"diagnosis", "procedure", "drug", "lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
)
class LogisticRegression(Estimator):
    """Logistic regression on how often each code occurs in the history; ridge regression where the label is a number.

    Counts of each concept over all visits up to the sample's own enter as log(1 + count), divided by their training
    maximum. A multilabel task has one regression a label; a label that training has always or never gets its rate.

    Args:
        c: inverse strength of the L2 penalty.
        max_iter: iterations of L-BFGS at most.
    """

    def __init__(self, spec: Spec, c: float = 1.0, max_iter: int = 1000):
        super().__init__(spec)
        self.c, self.max_iter = c, max_iter

    def fit(self, batches: Iterable[Batch]) -> None:
        counts, label = fitting_data(batches, self.spec)
        scale = np.maximum(counts.max(axis=0).toarray()[0], 1).astype(np.float64)
        columns = label.T if self.spec.kind == "multilabel" else [label]
        inputs = _scaled(counts, scale)
        self.fitted = {"scale": scale, "estimators": [self._estimator(inputs, y) for y in columns]}

    def forward(self, batch: Batch) -> Output:
        inputs = _scaled(code_counts(batch, self.spec), self.fitted["scale"])
        scores = [self._score(e, inputs) for e in self.fitted["estimators"]]
        logits = scores[0] if self.spec.kind == "multiclass" else np.stack(scores, axis=1)
        return Output(torch.from_numpy(logits))

    def _estimator(self, inputs, label: np.ndarray):
        from sklearn.linear_model import LogisticRegression as Logistic
        from sklearn.linear_model import Ridge

        if self.spec.kind == "regression":
            return Ridge(alpha=1 / self.c).fit(inputs, label)
        if len(np.unique(label)) < 2:
            return float(label[0])
        return Logistic(C=self.c, max_iter=self.max_iter).fit(inputs, label)

    def _score(self, estimator, inputs) -> np.ndarray:
        """(samples,) logits or values, or (samples, classes) log-probabilities."""
        samples = inputs.shape[0]
        if self.spec.kind == "regression":
            return estimator.predict(inputs)
        if self.spec.kind == "multiclass":
            logits = np.full((samples, self.spec.outputs), -30.0)
            if isinstance(estimator, float):
                logits[:, int(estimator)] = 0
            else:
                logits[:, estimator.classes_] = estimator.predict_log_proba(inputs)
            return logits
        if isinstance(estimator, float):
            return np.full(samples, 30.0 if estimator else -30.0)
        return estimator.decision_function(inputs)


def _scaled(counts, scale: np.ndarray):
    scaled = counts.astype(np.float64).tocsr()
    scaled.data = np.log1p(scaled.data)
    return scaled.multiply(1 / np.log1p(scale)).tocsr()
