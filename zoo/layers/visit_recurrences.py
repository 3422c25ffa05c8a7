"""A recurrence for each concept of visits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.layers.multi_hot_embedding import MultiHotEmbedding

if TYPE_CHECKING:
    from zoo.data.batch import Batch


class VisitRecurrences(nn.Module):
    """A gated recurrent unit for each concept, over the sums of the embeddings of a visit's codes.

    Args:
        sizes: how many ids each concept has; id 0 is padding.
        dim: width of embeddings and states.
        dropout: on the vectors of visits.
    """

    def __init__(self, sizes: Mapping[str, int], dim: int, dropout: float):
        super().__init__()
        self.embed = nn.ModuleDict({c: MultiHotEmbedding({c: n}, dim) for c, n in sizes.items()})
        self.recur = nn.ModuleDict({c: nn.GRU(dim, dim, batch_first=True) for c in sizes})
        self.dropout = nn.Dropout(dropout)
        self.width = dim * len(self.embed)

    def forward(self, batch: Batch) -> Tensor:
        """(rows, longest, width) the states of all concepts side by side after each visit."""
        visits = {c: batch.rows(self.dropout(embed(batch))) for c, embed in self.embed.items()}
        return torch.cat([recur(visits[c])[0] for c, recur in self.recur.items()], dim=-1)
