"""The same answer for everyone: what a model must beat."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from zoo.data import Batch
from zoo.models import Estimator, Output
from zoo.models._fitted import array_in
from zoo.registry import register_model


@register_model(
    "majority",
    family="classical",
    uses=set(),
    kinds={"binary", "multiclass", "multilabel", "regression"},
    waives={"overfits": "it looks at no patient, so that it cannot tell eight of them apart"},
)
class Majority(Estimator):
    """The frequency of each class or label in training, or the mean of a number, whoever the patient is.

    It looks at no concept. Frequencies below 1e-6 and above 1 - 1e-6 are taken as that.
    """

    def fit(self, batches: Iterable[Batch]) -> None:
        label = np.concatenate([b.label.cpu().numpy() for b in batches])
        self.fitted = {"prior": self.task_kind.prior(label, self.spec.outputs)}

    def check_fitted(self) -> None:
        array_in(self.fitted, "prior", "f", (self.spec.outputs,))

    def forward(self, batch: Batch) -> Output:
        logits = self.task_kind.logits_of(self.fitted["prior"])
        return Output(torch.from_numpy(np.tile(logits, (batch.samples, 1))))
