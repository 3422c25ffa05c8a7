"""What the losses of drug sets are made of, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """(samples,) the mean of the binary cross-entropies of all drugs, from (samples, drugs) logits and bool labels."""
    return F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype), reduction="none").mean(1)


def margin(probability: Tensor, label: Tensor) -> Tensor:
    """(samples,) sum over drugs i in the set and j out of it of max(0, 1 - (p_i - p_j)), over the number of drugs.

    As probabilities lie between 0 and 1, no term is negative, so the sum over pairs is one of sums over drugs. It is
    what `torch.nn.functional.multilabel_margin_loss` gives.

    >>> margin(torch.tensor([[0.9, 0.5, 0.2]]), torch.tensor([[True, False, False]])).item()  # (0.6 + 0.3) / 3
    0.3...
    """
    inside = label.to(probability.dtype)
    outside = 1 - inside
    within, without = inside.sum(1), outside.sum(1)
    pairs = within * without - without * (inside * probability).sum(1) + within * (outside * probability).sum(1)
    return pairs / label.shape[1]


def expected_interactions(probability: Tensor, interactions: Tensor) -> Tensor:
    """(samples,) sum over i and j of A_ij p_i p_j: twice the interacting pairs to expect of drugs drawn on their own.

    >>> expected_interactions(torch.tensor([[0.5, 0.5, 1.0]]), torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0.0]])).item()
    0.5
    """
    return ((probability @ interactions) * probability).sum(1)


def interaction_rate(chosen: Tensor, interactions: Tensor) -> Tensor:
    """(samples,) share of interacting pairs among the pairs of drugs of each set; 0 where there is no pair.

    Of probabilities instead of sets: the pairs to expect that interact, over all that are to be expected.

    Args:
        chosen: (samples, drugs), 1 where a drug is in the set and 0 where it is not, or how likely it is.
        interactions: (drugs, drugs), 1 where two drugs interact.

    >>> among = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0.0]])
    >>> interaction_rate(torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 0, 1], [0.5, 0.5, 0.5]]), among).tolist()
    [0.333..., 0.0, 0.0, 0.333...]
    """
    pairs = chosen.sum(1).square() - chosen.square().sum(1)
    smallest = torch.finfo(pairs.dtype).tiny  # where no pair is to be expected, none that interacts is
    return expected_interactions(chosen, interactions) / pairs.clamp(min=smallest)
