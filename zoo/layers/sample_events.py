"""The events of a concept that each sample sees, as padded rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from zoo.data.batch import Batch, Ragged


class SampleEvents:
    """Of each sample the newest events of a concept in the visits of its row up to its own, oldest first.

    How many the fullest sample has is asked for once; a GPU is waited for.

    Args:
        batch: which has the samples.
        events: of the concept.
        most: how many are kept of a sample.
        some: (events,) bool, which events count, as if there were no others; all by default.

    Attributes:
        event: (samples, longest) int64, the number of the event in the batch; 0 in padding.
        mask: (samples, longest) bool, which places are events; padding comes after them.
        ago: (samples, longest) float32, hours from the event to the prediction; 0 in padding.
    """

    def __init__(self, batch: Batch, events: Ragged, most: int, some: Tensor | None = None):
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        offsets = events.offsets if some is None else F.pad(some.cumsum(0), (1, 0))[events.offsets]
        end = offsets[own + 1]
        begin = torch.maximum(offsets[batch.row_offsets[batch.sample_row]], end - most)
        length = end - begin
        place = torch.arange(int(length.max()) if len(length) else 0, device=end.device)
        self.mask = place < length[:, None]
        self.event = (begin[:, None] + place).masked_fill(~self.mask, 0)
        if some is not None and len(some):
            those = (~some).byte().argsort(stable=True)  # the events that count, before the others
            self.event = those[self.event].masked_fill(~self.mask, 0)
        if not len(events.ids):
            self.ago = self.event.float()
            return
        since = batch.visit_start[events.visit] + events.time
        self.ago = (batch.sample_time[:, None] - since[self.event]).masked_fill(~self.mask, 0).float()
