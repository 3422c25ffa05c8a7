"""The visits that each sample sees, as padded rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from zoo.data.batch import Batch


class SampleHistory:
    """For each sample the visits of its row up to its own, and no later one.

    Rows may have visits after a sample's own, or more samples than one: a sample gets a row of its own here.

    Attributes:
        lengths: (samples,) how many visits a sample sees, at least 1.
        mask: (samples, longest) bool, which places are visits; those behind are padding.
        earlier: (samples, longest) bool, which places are visits before the own one.
        visit: (samples, longest) int64, the number of the visit within the batch, oldest first; 0 in padding.
    """

    def __init__(self, batch: Batch):
        place = torch.arange(batch.visit_mask.shape[1], device=batch.row_offsets.device)
        self.lengths = batch.sample_visit + 1
        self.mask = place < self.lengths[:, None]
        self.earlier = place < batch.sample_visit[:, None]
        self.visit = (batch.row_offsets[batch.sample_row][:, None] + place).masked_fill(~self.mask, 0)
        row = torch.arange(len(self.lengths), device=place.device)[:, None] * len(place)
        self._turned = row + (self.lengths[:, None] - 1 - place).clamp(min=0)

    def rows(self, per_visit: Tensor) -> Tensor:
        """Lay (visits, width) out as (samples, longest, width), oldest first, padded with 0."""
        return F.embedding(self.visit, per_visit).masked_fill(~self.mask[..., None], 0)

    def turned(self, rows: Tensor) -> Tensor:
        """(samples, longest, width) in the opposite order of time, each row within its own length, padded with 0."""
        return F.embedding(self._turned, rows.flatten(0, 1)).masked_fill(~self.mask[..., None], 0)

    def softmax(self, scores: Tensor, over: Tensor | None = None) -> Tensor:
        """(samples, longest) softmax over the visits of a sample, or those of them in ``over``; 0 elsewhere.

        A sample with no visit in ``over`` gets zeros.
        """
        over = self.mask if over is None else over
        # not infinity: a row without any visit would have gradients that are not numbers
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~over, lowest).softmax(dim=1).masked_fill(~over, 0)
