"""From the set of codes of a visit to one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from zoo.data.batch import Ragged


class MultiHotEmbedding(nn.Module):
    """W x for each visit, where x is 1 for every code that the visit has, however often it has it.

    The multi-hot vectors of all concepts stand below one another in x, and each concept's block of W is a table of
    code embeddings; x itself, as wide as the vocabulary, is never made.

    Args:
        sizes: how many ids each concept has; id 0 is padding.
        dim: the width m of the result.
    """

    def __init__(self, sizes: Mapping[str, int], dim: int):
        super().__init__()
        self.bags = nn.ModuleDict({c: nn.EmbeddingBag(n, dim, mode="sum", padding_idx=0) for c, n in sizes.items()})
        for bag in self.bags.values():  # a sum of n codes then has length sqrt(n / 3), whatever the width
            nn.init.uniform_(bag.weight, -(dim**-0.5), dim**-0.5)
            with torch.no_grad():
                bag.weight[0] = 0

    def forward(self, batch: Mapping[str, Ragged]) -> Tensor:
        """(visits, dim) for a `zoo.data.Batch`; a visit without codes gets zeros."""
        return sum(self._concept(bag, batch[concept]) for concept, bag in self.bags.items())

    def _concept(self, bag: nn.EmbeddingBag, events: Ragged) -> Tensor:
        order, first = by_visit_and_id(events, bag.num_embeddings)
        return bag(events.ids[order], events.offsets[:-1], first.to(bag.weight.dtype))


def by_visit_and_id(events: Ragged, size: int) -> tuple[Tensor, Tensor]:
    """(events,) the order that sorts events by visit, then id; and, in that order, which are the first of their id.

    The events of a visit stay together, so its offsets hold in the new order too. Nothing here has a size that depends
    on the values, so that a GPU need not be waited for.
    """
    key, order = (events.visit * size + events.ids).sort(stable=True)
    first = torch.ones_like(key, dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    return order, first


def share_of_code(events: Ragged, size: int) -> Tensor:
    """(events,) one over how often the event's id occurs in its visit.

    >>> from zoo.data.batch import Ragged
    >>> share_of_code(Ragged(torch.tensor([5, 6, 5, 5]), torch.tensor([0, 3, 4]), torch.zeros(4)), 9).tolist()
    [0.5, 1.0, 0.5, 1.0]
    """
    order, first = by_visit_and_id(events, size)
    run = first.cumsum(0) - 1
    often = torch.zeros(len(run), device=run.device).index_add_(0, run, torch.ones(len(run), device=run.device))
    return torch.empty_like(often).index_copy_(0, order, 1 / often[run])
