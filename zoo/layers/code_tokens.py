"""The codes of visits as tokens of a Transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CodeTokens(nn.Module):
    """Vectors of ids: padding, unknown and the codes, and after them ``[MASK]``; ``[CLS]`` goes before a visit.

    Args:
        codes: gives (codes, width), in the order of the vocabulary.
        width: of a vector.
    """

    def __init__(self, codes: nn.Module, width: int):
        super().__init__()
        self.tree = codes
        self.unknown, self.mask, self.cls = (nn.Parameter(torch.randn(1, width) * 0.02) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        """(visits, 1 + longest, width) from (visits, longest)."""
        table = torch.cat([torch.zeros_like(self.unknown), self.unknown, self.tree(), self.mask])
        return torch.cat([self.cls.expand(len(ids), 1, -1), F.embedding(ids, table)], dim=1)


def mean_before(rows: Tensor) -> Tensor:
    """(rows, visits, width) the mean over the visits before each, zeros at the first.

    >>> mean_before(torch.tensor([[[2.0], [4.0], [9.0]]])).flatten().tolist()
    [0.0, 2.0, 3.0]
    """
    count = torch.arange(rows.shape[1], device=rows.device).clamp(min=1)
    return F.pad(rows, (0, 0, 1, 0))[:, :-1].cumsum(1) / count[:, None]  # nothing of a visit's own, not even rounding
