"""Attention over times of observation (Shukla and Marlin, ICLR 2021, arXiv:2101.10318)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """phi(t) in R^dim: one number that is linear in t, and others that are sines of it, all learned.

    phi(t)_0 = w_0 t + a_0, and phi(t)_i = sin(w_i t + a_i).

    Args:
        dim: how many numbers.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.linear, self.periodic = nn.Linear(1, 1), nn.Linear(1, dim - 1)

    def forward(self, time: Tensor) -> Tensor:
        """(..., dim) from (...)."""
        time = time[..., None]
        return torch.cat([self.linear(time), self.periodic(time).sin()], dim=-1)


class _TimeScores(nn.Module):
    """How much moments look at times, (phi(r) W_h + b_h) V_h^T phi(t)^T / sqrt(dim / heads) for each head h.

    Args:
        dim: of the embedding of times, a multiple of ``heads``.
        heads: how many ways there are to look.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.embed = TimeEmbedding(dim)
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)

    def scores(self, moments: Tensor, time: Tensor) -> Tensor:
        """(samples, heads, moments, longest) float32, from (samples, moments) and (samples, longest)."""
        query = self.query(self.embed(moments)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key = self.key(self.embed(time)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).float()


class TimeAttention(_TimeScores):
    """What measurements say of some moments: of each variable a mean over its own measurements, weighed by time.

    For head h and variable d, xhat_hd(r) = sum over the measurements i of d of
    softmax_i((phi(r) W_h + b_h) V_h^T phi(t_i)^T / sqrt(dim / heads)) x_i, and m_d = 1 if there is one; else both are
    0. The xhat of all heads and variables and the m, (heads + 1) D numbers, go through a linear layer to R^width.

    Args:
        variables: D.
        width: of what is said of a moment.
        dim: of the embedding of times, a multiple of ``heads``.
        heads: how many ways there are to weigh.
    """

    def __init__(self, variables: int, width: int, dim: int, heads: int):
        super().__init__(dim, heads)
        self.variables = variables
        self.out = nn.Linear((heads + 1) * variables, width)

    def forward(self, moments: Tensor, time: Tensor, variable: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """(samples, moments, width).

        Args:
            moments: (samples, moments).
            time, variable, value, mask: (samples, longest), of the measurements.
        """
        mean, some = by_variable(self.scores(moments, time), variable, value.float(), mask, self.variables)
        mean = mean.permute(0, 2, 1, 3).flatten(2)  # (samples, moments, heads * variables)
        some = some[:, None].expand(-1, moments.shape[1], -1).to(mean.dtype)
        return self.out(torch.cat([mean, some], dim=-1))


class EventAttention(_TimeScores):
    """What events say of some moments: a mean of their vectors, weighed by time.

    For head h, E_h(r) = sum over events i of softmax_i((phi(r) W_h + b_h) V_h^T phi(t_i)^T / sqrt(dim / heads)) x_i;
    those of all heads side by side go through a linear layer to R^width. 0 where there is no event.

    Args:
        inputs: width of the vectors x_i.
        width: of what is said of a moment.
        dim: of the embedding of times, a multiple of ``heads``.
        heads: how many ways there are to weigh.
    """

    def __init__(self, inputs: int, width: int, dim: int, heads: int):
        super().__init__(dim, heads)
        self.out = nn.Linear(heads * inputs, width)

    def forward(self, moments: Tensor, time: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
        """(samples, moments, width).

        Args:
            moments: (samples, moments).
            time, mask: (samples, longest), of the events.
            vectors: (samples, longest, inputs).
        """
        scores = self.scores(moments, time).masked_fill(~mask[:, None, None], torch.finfo(torch.float32).min)
        weight = scores.softmax(dim=-1).masked_fill(~mask[:, None, None], 0).to(vectors.dtype)
        return self.out((weight @ vectors[:, None]).transpose(1, 2).flatten(2))


def by_variable(scores: Tensor, variable: Tensor, value: Tensor, mask: Tensor, variables: int) -> tuple[Tensor, Tensor]:
    """The mean value of each variable, weighed by the softmax of scores among its own measurements.

    Args:
        scores: (samples, heads, moments, longest).
        variable, value, mask: (samples, longest).
        variables: how many there are.

    Returns:
        (samples, heads, moments, variables), 0 where a variable has no measurement, and (samples, variables) bool
        which have one.

    >>> scores, value = torch.zeros(1, 1, 1, 3), torch.tensor([[1.0, 3.0, 7.0]])
    >>> by_variable(scores, torch.tensor([[0, 0, 2]]), value, torch.ones(1, 3, dtype=torch.bool), 3)[0].tolist()
    [[[[2.0, 0.0, 7.0]]]]
    """
    column = torch.where(mask, variable, variables)[:, None, None].expand_as(scores)  # padding has a column of its own
    shape = (*scores.shape[:3], variables + 1)
    highest = scores.new_full(shape, torch.finfo(scores.dtype).min).scatter_reduce(3, column, scores.detach(), "amax")
    weight = (scores - highest.gather(3, column)).exp()
    total = scores.new_zeros(shape).scatter_add(3, column, weight)
    mean = scores.new_zeros(shape).scatter_add(3, column, weight * value[:, None, None])
    counts = torch.zeros(len(mask), variables + 1, device=mask.device).scatter_add(1, column[:, 0, 0], mask.float())
    return (mean / total.clamp(min=torch.finfo(scores.dtype).tiny))[..., :-1], counts[:, :-1] > 0
