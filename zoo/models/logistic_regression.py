"""Logistic regression on code counts, with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from zoo.data import Batch, Spec
from zoo.models import Estimator, Output, Positive, Size
from zoo.models._counts import code_counts, fitting_data
from zoo.registry import register_model

PENALTIES = [10.0**power for power in range(-1, 7)]
"""From next to none to one that leaves the mean; inputs are between 0 and 1."""

FOLDS = 5


@register_model(
    "logistic_regression",
    family="classical",
    paper="Cox, JRSS B 1958",
    uses={"diagnosis", "procedure", "drug", "lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
)
class LogisticRegression(Estimator):
    """Logistic regression on how often each code occurs in the history; ridge regression where the label is a number.

    Counts of each concept over all visits up to the sample's own enter as log(1 + count), divided by the training
    maximum of that. A multilabel task has one regression a label; a label that training has always or never gets its
    rate. The intercept is not penalised.

    Histories have more codes than small data have samples, and a ridge regression with too small a penalty is then
    worse than the mean. So where the label is a number, and no penalty is asked for, it is the one of `PENALTIES` with
    the least squared error in five-fold cross-validation within training, a subject being in one fold with all its
    samples (generalised cross-validation would take them for independent, and needs a dense matrix besides).

    Args:
        c: inverse strength of the L2 penalty; None: 1, or where the label is a number what cross-validation finds.
        max_iter: iterations of L-BFGS at most.
    """

    def __init__(self, spec: Spec, c: Positive | None = None, max_iter: Size = 1000):
        super().__init__(spec)
        self.c, self.max_iter = c, max_iter

    def fit(self, batches: Iterable[Batch]) -> None:
        counts, label, subject = fitting_data(batches, self.spec)
        scale = np.maximum(counts.max(axis=0).toarray()[0], 1).astype(np.float64)
        inputs = _scaled(counts, scale)
        if self.spec.kind == "regression":
            estimators = [self._ridge(inputs, label, subject)]
        else:
            estimators = [self._logistic(inputs, y) for y in (label.T if self.spec.kind == "multilabel" else [label])]
        self.fitted = {"scale": scale, "estimators": estimators}

    def forward(self, batch: Batch) -> Output:
        inputs = _scaled(code_counts(batch, self.spec), self.fitted["scale"])
        scores = [self._score(e, inputs) for e in self.fitted["estimators"]]
        logits = scores[0] if self.spec.kind == "multiclass" else np.stack(scores, axis=1)
        return Output(torch.from_numpy(logits))

    def _ridge(self, inputs, label: np.ndarray, subject: np.ndarray):
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV, GroupKFold

        folds = min(FOLDS, len(np.unique(subject)))
        if self.c is not None or folds < 2:  # one subject says nothing of others: the strongest penalty
            return Ridge(max(PENALTIES) if self.c is None else 1 / self.c).fit(inputs, label)
        search = GridSearchCV(
            Ridge(), {"alpha": PENALTIES}, scoring="neg_mean_squared_error", cv=GroupKFold(folds), error_score="raise"
        )
        return search.fit(inputs, label, groups=subject).best_estimator_

    def _logistic(self, inputs, label: np.ndarray):
        from sklearn.linear_model import LogisticRegression as Logistic

        if len(np.unique(label)) < 2:
            return float(label[0])
        return Logistic(C=1.0 if self.c is None else self.c, max_iter=self.max_iter).fit(inputs, label)

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
