"""Proportional hazards on code counts (Cox, JRSS B 34, 1972)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from zoo.data import Batch, Spec
from zoo.models import Output, Positive, Size
from zoo.models._fitted import array_in
from zoo.models.classical._counts import CountsAndFacts, beside, log_scaled
from zoo.registry import LogBetween, register_model


@register_model(
    "cox",
    family="classical",
    paper="Cox, JRSS B 34, 1972, doi:10.1111/j.2517-6161.1972.tb00899.x",
    uses={"diagnosis", "procedure", "drug", "lab", "vital", "static"},
    kinds={"survival"},
    search={"model.c": LogBetween(1e-3, 1e2)},
)
class Cox(CountsAndFacts):
    """Proportional hazards: the logarithm of a patient's hazard is linear in how often each code occurs in the history.

    Counts of each concept over all visits up to the sample's own enter as log(1 + count), divided by the training
    maximum of that, and static facts as they are. All of the training split is fitted together: with x_i the inputs of
    sample i, the weights w of the logit x_i w minimise

        -log L(w) + |w of codes|^2 / (2 c) + |w of static facts|^2 / 2

    where L is the partial likelihood with Efron's correction for ties (`zoo.kinds.survival`). The paper has no penalty;
    there are more codes than deaths, while static facts are few. The baseline hazard is Breslow's.

    Args:
        c: inverse strength of the L2 penalty on codes, which stands against the likelihood of all samples, not a mean.
            Histories have hundreds of codes: on the synthetic data 1 is far too weak.
        max_iter: iterations of L-BFGS at most.
        static: take the static facts of the sample's own visit.
    """

    def __init__(self, spec: Spec, c: Positive = 0.01, max_iter: Size = 1000, static: bool = True):
        super().__init__(spec, static)
        self.c, self.max_iter = c, max_iter

    def fit(self, batches: Iterable[Batch]) -> None:
        from scipy.optimize import minimize

        counts, facts, label, _ = self.training_data(batches)
        scale = np.maximum(counts.max(axis=0).toarray().ravel(), 1).astype(np.float64)
        inputs, events = beside(log_scaled(counts, scale), facts), max(label[:, 1].sum(), 1)
        known, strength = torch.from_numpy(label), np.repeat([1 / self.c, 1.0], [self.ids, self.facts])

        def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
            logit = torch.from_numpy(inputs @ weights)[:, None].requires_grad_()
            loss = self.task_kind.loss(logit, known) * events
            loss.backward()
            gradient = inputs.T @ logit.grad[:, 0].numpy() + strength * weights
            return float(loss.detach()) + (strength * weights) @ weights / 2, gradient

        start = np.zeros(inputs.shape[1])
        weights = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": self.max_iter}).x
        self.task_kind.finish(self, (inputs @ weights)[:, None], label)
        self.fitted = {"scale": scale, "weights": weights, "log_hazard": self.log_hazard.numpy()}

    def check_fitted(self) -> None:
        if (array_in(self.fitted, "scale", "f", (self.ids,)) < 1).any():
            raise ValueError("a largest count is below 1")
        array_in(self.fitted, "weights", "f", (self.ids + self.facts,))
        self.log_hazard.copy_(torch.from_numpy(array_in(self.fitted, "log_hazard", "f", self.log_hazard.shape)))

    def forward(self, batch: Batch) -> Output:
        """Logarithms of relative hazards, (samples, 1)."""
        counts, facts = self.told(batch)
        inputs = beside(log_scaled(counts, self.fitted["scale"]), facts)
        return Output(torch.from_numpy(inputs @ self.fitted["weights"])[:, None])
