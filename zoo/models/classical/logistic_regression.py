"""Logistic regression on code counts, with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from zoo.data import Batch, Spec
from zoo.models import Output, Positive, Size
from zoo.models._fitted import array_in
from zoo.models.classical._counts import CountsAndFacts, beside, log_scaled
from zoo.registry import LogBetween, register_model

PENALTIES = [10.0**power for power in range(-1, 7)]
"""From next to none to one that leaves the mean; inputs are between 0 and 1."""

FOLDS = 5

SURE = 30.0
"""The logit of what training always has; the negative of what it never has."""


@register_model(
    "logistic_regression",
    family="classical",
    paper="Cox, JRSS B 1958",
    uses={"diagnosis", "procedure", "drug", "lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    search={"model.c": LogBetween(1e-3, 1e2)},
)
class LogisticRegression(CountsAndFacts):
    """Logistic regression on how often each code occurs in the history; ridge regression where the label is a number.

    Counts of each concept over all visits up to the sample's own enter as log(1 + count), divided by the training
    maximum of that, and static facts, where they are taken, as they are. A multilabel task has one regression a label;
    a label that training has always or never gets its rate. The intercept is not penalised.

    Histories have more codes than small data have samples, and a ridge regression with too small a penalty is then
    worse than the mean. So where the label is a number, and no penalty is asked for, it is the one of `PENALTIES` with
    the least squared error in five-fold cross-validation within training, a subject being in one fold with all its
    samples (generalised cross-validation would take them for independent, and needs a dense matrix besides).

    Args:
        c: inverse strength of the L2 penalty; None: 1, or where the label is a number what cross-validation finds.
        max_iter: iterations of L-BFGS at most.
        static: take the static facts of the sample's own visit.
    """

    def __init__(self, spec: Spec, c: Positive | None = None, max_iter: Size = 1000, static: bool = False):
        super().__init__(spec, static)
        self.c, self.max_iter = c, max_iter

    def fit(self, batches: Iterable[Batch]) -> None:
        counts, facts, label, subject = self.training_data(batches)
        scale = np.maximum(counts.max(axis=0).toarray().ravel(), 1).astype(np.float64)
        inputs = beside(log_scaled(counts, scale), facts)
        if not self.task_kind.probabilities:
            found = self._ridge(inputs, label, subject)
            parts = [(found.coef_[None], [found.intercept_])]
        elif self.task_kind.exclusive:
            parts = [self._classes(inputs, label)]
        else:
            parts = [self._logistic(inputs, y) for y in (label.T if self.task_kind.sets else [label])]
        weights, intercept = zip(*parts, strict=True)
        self.fitted = {"scale": scale, "weights": np.concatenate(weights), "intercept": np.concatenate(intercept)}

    def check_fitted(self) -> None:
        if (array_in(self.fitted, "scale", "f", (self.ids,)) < 1).any():
            raise ValueError("a largest count is below 1")
        array_in(self.fitted, "weights", "f", (self.spec.outputs, self.ids + self.facts))
        array_in(self.fitted, "intercept", "f", (self.spec.outputs,))

    def forward(self, batch: Batch) -> Output:
        """Logits, values, or for several classes the logarithms of their probabilities, (samples, outputs)."""
        counts, facts = self.told(batch)
        inputs = beside(log_scaled(counts, self.fitted["scale"]), facts)
        scores = torch.from_numpy(inputs @ self.fitted["weights"].T + self.fitted["intercept"])
        return Output(scores.log_softmax(1) if self.task_kind.exclusive else scores)

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

    def _logistic(self, inputs, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights (rows, ids) and intercepts (rows,): one row for two classes, else one each."""
        from sklearn.linear_model import LogisticRegression as Logistic

        if len(np.unique(label)) < 2:
            return np.zeros((1, inputs.shape[1])), np.array([SURE if label[0] else -SURE])
        found = Logistic(C=1.0 if self.c is None else self.c, max_iter=self.max_iter).fit(inputs, label)
        return found.coef_, found.intercept_

    def _classes(self, inputs, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights (classes, ids) and intercepts (classes,) of all classes; those that training lacks get none."""
        seen, place = np.unique(label, return_inverse=True)
        weights, intercept = np.zeros((self.spec.outputs, inputs.shape[1])), np.full(self.spec.outputs, -SURE)
        own, shift = self._logistic(inputs, place) if len(seen) > 1 else (weights[:1], np.zeros(1))
        if len(seen) == 2:  # one row tells the second from the first
            own, shift = np.concatenate([0 * own, own]), np.concatenate([0 * shift, shift])
        weights[seen], intercept[seen] = own, shift
        return weights, intercept
