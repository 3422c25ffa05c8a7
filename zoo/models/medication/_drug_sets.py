"""What the losses of drug sets are made of, sample by sample, and models that hold interactions at a target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.models import Model, Output

PUBLISHED_TARGET = 0.06
"""The target of SafeDrug and MoleRec, for MIMIC-III."""
FAR = 0.1
"""A target is far below what is prescribed where sets as they are prescribed would leave the prediction this weight."""


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


def prescribed_rate(spec: Spec) -> float:
    """Share of interacting pairs among all pairs of drugs of the training sets together; 0 where there is no pair.

    Args:
        spec: with the resources ``cooccurrence`` and ``interactions``.
    """
    together, among = spec.resources["cooccurrence"], spec.resources["interactions"]
    pairs = together.sum()
    return float(together[among].sum() / pairs) if pairs else 0.0


class TargetModel(Model):
    """A model of drug sets whose loss holds interactions at a target; a subclass gives `safe_share`, and calls `aim`.

    With o the probabilities of a visit, y its drugs, M drugs and D in {0, 1}^(M x M) the interactions:

        L_multi = sum over i in y, j out of y of max(0, 1 - (o_i - o_j)) / M
        L_ddi   = sum over i, j of D_ij o_i o_j / M
        DDI     = sum over i, j of D_ij o_i o_j / (sum over i other than j of o_i o_j)
        L       = beta (alpha L_bce + (1 - alpha) L_multi) + (1 - beta) L_ddi,  beta = safe_share(DDI)

    Args:
        spec: with the resources ``cooccurrence`` and ``interactions``.
        alpha: weight of L_bce; the rest is that of L_multi.

    Attributes:
        target_ddi: the share of interacting pairs up to which beta is 1.
    """

    target_ddi: float

    def __init__(self, spec: Spec, alpha: float):
        super().__init__(spec)
        self.alpha = alpha
        interactions = torch.from_numpy(spec.resources["interactions"]).float()
        self.register_buffer("interactions", interactions, persistent=False)
        self._remarks: list[str] = []

    def aim(self, target: float | None) -> None:
        """Set the target: None for the published one, or the training sets' own rate where that is far above it."""
        self.target_ddi = PUBLISHED_TARGET if target is None else target
        rate = prescribed_rate(self.spec)
        if self.safe_share(torch.tensor(rate)) >= FAR:
            return
        why = f"{rate:.1%} of the pairs of drugs in training sets interact, far above the "
        if target is None:
            self.target_ddi = rate
            found = f"published target_ddi={PUBLISHED_TARGET}: the target is their own rate, {rate:.4f}"
        else:
            found = f"target_ddi={target:g}: next to nothing but interactions counts in the loss: few drugs are left"
        self._remarks = [why + found]

    def remarks(self) -> list[str]:
        """Whether the target is far below what is prescribed."""
        return self._remarks

    def safe_share(self, rate: Tensor) -> Tensor:
        """(samples,) beta, from the shares of interacting pairs."""
        raise NotImplementedError

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The mean over samples of L and of 1 - beta, which has no gradient."""
        logits = output.logits.float()
        probability = logits.sigmoid()
        prediction = self.alpha * cross_entropy(logits, batch.label)
        prediction = prediction + (1 - self.alpha) * margin(probability, batch.label)
        unsafe = expected_interactions(probability, self.interactions) / self.spec.outputs
        beta = self.safe_share(interaction_rate(probability.detach(), self.interactions))
        return (beta * prediction + (1 - beta) * (1 + unsafe)).mean()
