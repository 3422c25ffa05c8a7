"""From the codes of a visit to one vector."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class VisitEmbedding(nn.Module):
    """A vector for each visit: of each concept the mean of its codes' embeddings, added over concepts.

    Args:
        sizes: how many ids each concept has; id 0 is padding.
        dim: the width.
    """

    def __init__(self, sizes: Mapping[str, int], dim: int):
        super().__init__()
        self.bags = nn.ModuleDict({c: nn.EmbeddingBag(n, dim, mode="mean", padding_idx=0) for c, n in sizes.items()})

    def forward(self, batch: Mapping) -> Tensor:
        """(visits, dim) for a `zoo.data.Batch`; a visit without codes of a concept gets zeros for it."""
        return sum(bag(batch[c].ids, batch[c].offsets[:-1]) for c, bag in self.bags.items())
