"""A sparse mixture of experts (Shazeer et al., ICLR 2017, arXiv:1701.06538; Han et al., NeurIPS 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """How much each expert is for an input, by a key of each expert.

    With keys W_i in R^dim: h_i(x) = -||W_i - x|| (``laplace``), -||W_i - x||^2 (``gaussian``), W_i . x (``softmax``).
    In training noise of standard deviation 1 / experts is added (Riquelme et al., NeurIPS 2021), so that tokens come to
    every expert.

    Args:
        dim: width of inputs.
        experts: how many there are.
        form: one of ``Gate.FORMS``.
    """

    FORMS = ("laplace", "gaussian", "softmax")

    def __init__(self, dim: int, experts: int, form: str):
        super().__init__()
        self.form = form
        # such that for normalised inputs h differs among experts about as much as the noise
        self.keys = nn.Parameter(torch.randn(experts, dim) / (dim**0.5 if form == "laplace" else dim))

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, experts) h, from (tokens, dim)."""
        h = self._h(x)
        return h + torch.randn_like(h) / len(self.keys) if self.training else h

    def _h(self, x: Tensor) -> Tensor:
        if self.form == "softmax":
            return x @ self.keys.T
        squared = (x**2).sum(dim=1, keepdim=True) - 2 * x @ self.keys.T + (self.keys**2).sum(dim=1)
        if self.form == "gaussian":
            return -squared
        return -squared.clamp(min=1e-6).sqrt()  # the root has no gradient at 0


class Experts(nn.Module):
    """Feed-forward networks, of which each token goes through a few.

    y = sum over the ``top`` experts i of largest h_i of softmax_i(h) f_i(x), the softmax over those; f_i has a hidden
    layer with GELU. Experts compute for the tokens that are sent to them and for no others.

    Args:
        dim: width of inputs and outputs.
        hidden: width of the hidden layers.
        count: how many experts there are.
        top: to how many a token goes.
        dropout: behind the hidden layers.
    """

    def __init__(self, dim: int, hidden: int, count: int, top: int, dropout: float):
        super().__init__()
        self.top = top
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))
            for _ in range(count)
        )

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """(tokens, dim) y, and (tokens, experts) the share of each expert, 0 where a token does not go.

        How many tokens go to each expert is asked for once; a GPU is waited for.

        Args:
            x: (tokens, dim).
            h: (tokens, experts), of a `Gate`.
        """
        highest, chosen = h.float().topk(self.top, dim=1)
        weight = highest.softmax(dim=1)
        order = chosen.flatten().argsort(stable=True)  # by expert
        token = torch.div(order, self.top, rounding_mode="floor")
        counts = torch.zeros(h.shape[1], dtype=torch.int64, device=h.device)
        counts = counts.index_add(0, chosen.flatten(), torch.ones_like(order)).tolist()
        parts = [f(part) for f, part in zip(self.experts, x[token].split(counts), strict=True) if len(part)]
        found = torch.cat(parts) if parts else x[:0]
        found = found * weight.flatten()[order, None].to(found.dtype)
        y = torch.zeros_like(x).index_add(0, token, found.to(x.dtype))
        return y, torch.zeros_like(h, dtype=weight.dtype).scatter(1, chosen, weight)


def imbalance(share: Tensor) -> Tensor:
    """The squared coefficient of variation of how much each expert has to do, from (tokens, experts); a scalar.

    Shazeer et al., the loss of importance. 0 where all have the same.

    >>> float(imbalance(torch.tensor([[1.0, 0.0], [1.0, 0.0]])))
    1.0
    """
    importance = share.sum(dim=0)
    mean = importance.mean()
    return ((importance - mean) ** 2).mean() / (mean**2 + 1e-10)


def entropy(share: Tensor) -> Tensor:
    """-sum p log p over the last dimension, with 0 log 0 = 0."""
    return -(share * share.clamp(min=1e-12).log()).sum(dim=-1)
