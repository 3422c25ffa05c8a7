"""Logistic regression on code counts, with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from zoo.data import Batch, Spec
from zoo.models import Estimator, Output
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
        from scipy import sparse

        pairs = [(self._counts(b), b.label.cpu().numpy()) for b in batches]
        counts = sparse.vstack([c for c, _ in pairs]).tocsr()
        label = np.concatenate([y for _, y in pairs])
        scale = np.maximum(counts.max(axis=0).toarray()[0], 1).astype(np.float64)
        columns = label.T if self.spec.kind == "multilabel" else [label]
        inputs = _scaled(counts, scale)
        self.fitted = {"scale": scale, "estimators": [self._estimator(inputs, y) for y in columns]}

    def forward(self, batch: Batch) -> Output:
        inputs = _scaled(self._counts(batch), self.fitted["scale"])
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

    def _counts(self, batch: Batch):
        """(samples, ids of all concepts) sparse counts over the visits that each sample sees."""
        from scipy import sparse

        rows = len(batch.row_lengths)
        row = np.repeat(np.arange(rows), batch.row_lengths.cpu().numpy())
        place = np.arange(len(row)) - batch.row_offsets.cpu().numpy()[row]
        blocks = []
        for concept in self.spec.concepts:
            events = batch[concept]
            visit = events.visit.cpu().numpy()
            seen = place[visit] <= batch.sample_visit.cpu().numpy()[row[visit]]
            ids = events.ids.cpu().numpy()[seen]
            ones = np.ones(len(ids), np.float32)
            shape = (rows, self.spec.size(concept))
            blocks.append(sparse.coo_array((ones, (row[visit][seen], ids)), shape).tocsr())
        return sparse.hstack(blocks).tocsr()


def _scaled(counts, scale: np.ndarray):
    scaled = counts.astype(np.float64).tocsr()
    scaled.data = np.log1p(scaled.data)
    return scaled.multiply(1 / np.log1p(scale)).tocsr()
