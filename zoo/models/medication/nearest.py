"""The drugs of the visit before: what every recommendation must beat."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from zoo.data import Batch
from zoo.models import Estimator, Output
from zoo.registry import register_model

SURE = 10.0
"""The logit of a drug that is recommended; the negative of one that is not."""


@register_model(
    "nearest",
    family="medication",
    uses={"drug"},
    needs={"drug"},
    kinds={"multilabel"},
    predicts="drug",
    causal=True,
    waives={"overfits": "it repeats what was, and fits nothing"},
)
class Nearest(Estimator):
    """The drugs that the visit before had, and none at a first visit; the baseline of GAMENet's and SafeDrug's tables.

    All of the drugs that are recommended have one score, and so have all others: metrics of ranking tell little of it.
    """

    fitted: object = ()

    def fit(self, batches) -> None:
        """There is nothing to fit."""

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, drugs), +10 or -10."""
        hot = batch["drug"].multi_hot(self.spec.size("drug"))[:, 2:]
        visit = batch.row_offsets[batch.sample_row] + batch.sample_visit
        before = F.embedding((visit - 1).clamp(min=0), hot)
        known = (batch.sample_visit > 0)[:, None]
        return Output(torch.where(known & (before > 0), SURE, -SURE))
