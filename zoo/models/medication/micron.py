"""MICRON, medication change by recurrent residual networks (Yang et al., IJCAI 2021, arXiv:2105.01876).

With d = dim, M drugs, and of visit t the multi-hot diagnoses d_t and procedures p_t:

1. h_t = W_h [E_d d_t; E_p p_t] + b in R^d.
2. m_t = NN(h_t) in R^M, the drugs that visit t suggests on its own; NN has one hidden layer of 4 d.
3. u_t = NN(h_t - h_(t-1)) in R^M, with the same NN: the update of the visit before.
4. The medication vector goes on by updates: v_1 = m_1, v_t = v_(t-1) + u_t.
5. A drug is added where sigmoid(v_t) >= upper, removed where it is < lower, and between stays as it was.

What it was: S_1 are the drugs that the first visit really had, and S_t the set that is predicted for visit t. With
``observed=True`` a visit starts from the drugs that the visit before really had, which a hospital knows.

Loss of visit t, with o = sigmoid(m), A the interactions and y the drugs it has:

    L_bce   = 0.75 bce(m_t, y_t) + 0.25 bce(m_(t-1), y_(t-1))
    L_multi = 0.05 (0.75 margin(o_t, y_t) + 0.25 margin(o_(t-1), y_(t-1)))
    L_ddi   = sum over i, j of A_ij o_i o_j / M
    L_rec   = sum of (sigmoid(m_t) - sigmoid(m_(t-1) + u_t))^2 / M
    L       = w_1 L_bce + w_2 L_multi + w_3 [DDI of visit t > target_ddi] L_ddi + w_4 L_rec

The weights start from 1/4 and follow the losses, step by step: w <- 0.75 softmax((L - mean) / mean) + 0.25 w, with the
mean of each loss over the steps before. A loss that lags behind its own past thus weighs more. Losses of different
epochs have other weights: the trainer's default here is to watch the Jaccard index.

The paper predicts from the second visit on. Here a first visit is predicted from v_1 alone, as nothing was before it:
its drugs are those with a probability of 0.5, and the parts of the loss that look at a visit before are left out.

The logit is v_t less that of the threshold which applies to the drug, lower for one that was there and upper for
another: so it is positive where the drug is in the predicted set, and of two drugs the one that was there ranks higher.
Thresholds are what the authors' evaluation has by default; tuning the threshold on validation moves both together.

Where published code and paper part (the paper is followed):

- The published evaluation appends one array for all visits, so that each is scored on the patient's last set. Here each
  is scored on its own.
- A counter is never raised there, so that the weights of the losses stay 1/4. Here they adapt.
- It trains on each visit from the second on, adds up their losses, and leaves out patients with one visit. Here first
  visits are trained as well, by what of the loss looks at no visit before, and the loss is a mean over visits.
- A visit's vectors get other dropout as the current one than as the one before there. Here it is drawn once.
- It looks at each drug's ROC curve on validation and takes the means of two cut-offs as thresholds for all drugs. Here
  they are hyperparameters.
- It takes a step for each patient, 40 epochs, with RMSprop at a rate of 0.0002 and a weight decay of 0.00001. So it is
  here. With few patients these are few steps: of 600 synthetic ones, it still improves in the 44th epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.layers import MultiHotEmbedding
from zoo.models import Dropout, Model, Output, Probability, Size
from zoo.models.medication._drug_sets import cross_entropy, expected_interactions, interaction_rate, margin
from zoo.registry import Choice, UserError, register_model

CURRENT, MARGIN, NEW = 0.75, 0.05, 0.75
"""Weights of the visit against the one before, of the margin loss, and of new weights of the losses against old."""


@dataclass(frozen=True, kw_only=True)
class Change(Output):
    """Of each sample (samples, drugs) m_t, m_(t-1), u_t and y_(t-1), and (samples,) whether a visit is before it."""

    own: Tensor
    last: Tensor
    update: Tensor
    before: Tensor
    follows: Tensor


@register_model(
    "micron",
    family="medication",
    paper="Yang et al., IJCAI 2021, arXiv:2105.01876",
    uses={"diagnosis", "procedure", "drug"},
    needs={"diagnosis", "drug"},
    kinds={"multilabel"},
    predicts="drug",
    causal=True,
    resources={"interactions"},
    published={
        "model.dim": 64,
        "model.dropout": 0.5,
        "model.upper": 0.8,
        "model.lower": 0.2,
        "model.target_ddi": 0.08,
        "trainer.optimizer": "rmsprop",
        "trainer.lr": 2e-4,
        "trainer.weight_decay": 1e-5,
        "trainer.batch_size": 1,
        "trainer.max_epochs": 40,
        "trainer.monitor": "jaccard_samples",
    },
    search={"model.upper": Choice(0.5, 0.65, 0.8), "model.lower": Choice(0.2, 0.35, 0.5)},
)
class MICRON(Model):
    """What changed since the visit before updates a vector of drugs; drugs between two thresholds stay as they were.

    Args:
        dim: width d of embeddings and of a patient's state.
        dropout: on the vectors of visits.
        upper, lower: probabilities at which a drug is added, and under which it is removed.
        target_ddi: share of interacting pairs up to which L_ddi does not count.
        observed: a visit starts from the drugs that the visit before really had, not from those predicted for it.

    Raises:
        UserError: thresholds that are no probabilities, or in the wrong order.
    """

    renamed: ClassVar = {"embed.": "visits."}

    def __init__(
        self,
        spec: Spec,
        dim: Size = 64,
        dropout: Dropout = 0.5,
        upper: Probability = 0.8,
        lower: Probability = 0.2,
        target_ddi: Probability = 0.08,
        observed: bool = False,
    ):
        super().__init__(spec)
        if not 0 < lower <= upper < 1:
            raise UserError(f"lower={lower} and upper={upper} must be probabilities, lower no more than upper.")
        self.upper, self.lower = (log(p / (1 - p)) for p in (upper, lower))
        self.target_ddi, self.observed = target_ddi, observed
        sizes = {c: spec.size(c) for c in ("diagnosis", "procedure") if c in spec.concepts}
        self.visits = nn.ModuleDict({c: MultiHotEmbedding({c: n}, dim) for c, n in sizes.items()})
        self.dropout = nn.Dropout(dropout)
        self.health = nn.Linear(len(sizes) * dim, dim)
        self.prescribe = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, spec.outputs))
        interactions = torch.from_numpy(spec.resources["interactions"]).float()
        self.register_buffer("interactions", interactions, persistent=False)
        self.register_buffer("weights", torch.full((4,), 0.25))
        self.register_buffer("means", torch.zeros(4))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, drugs), and what the loss is made of."""
        health = self._health(batch)
        own, update = self.prescribe(health), self.prescribe(health - _before(health))
        drugs = batch.rows(batch["drug"].multi_hot(self.spec.size("drug"))[:, 2:])
        vector = torch.cat([own[:, :1], own[:, :1] + update[:, 1:].cumsum(1)], dim=1)
        logits = self.beyond_thresholds(vector, drugs > 0)
        parts = {"own": own, "last": _before(own), "update": update, "before": _before(drugs)}
        parts = {n: batch.at_samples(x) for n, x in parts.items()}
        return Change(batch.at_samples(logits), **parts, follows=batch.sample_visit > 0)

    def embed(self, batch: Batch) -> Tensor:
        """The patient's health h_t."""
        return batch.at_samples(self._health(batch))

    def _health(self, batch: Batch) -> Tensor:
        """(rows, visits, dim) h."""
        visits = torch.cat([self.dropout(of(batch)) for of in self.visits.values()], dim=-1)
        return batch.rows(self.health(visits))

    def beyond_thresholds(self, vector: Tensor, drugs: Tensor) -> Tensor:
        """(rows, visits, drugs) how far the medication vector is above the threshold of each drug.

        Args:
            vector: (rows, visits, drugs) v_t.
            drugs: the same shape, bool: which drugs visits really had; of each, later ones alone see it.
        """
        found = [vector[:, 0]]
        had = drugs[:, 0]
        for t in range(1, vector.shape[1]):
            found.append(vector[:, t] - torch.where(had, self.lower, self.upper))
            had = drugs[:, t] if self.observed else found[-1] >= 0
        return torch.stack(found, dim=1)

    def loss(self, output: Change, batch: Batch) -> Tensor:
        """The mean over samples of L; in training, the weights adapt."""
        losses, unsafe = self.parts(output, batch)
        if self.training:
            self.adapt(losses.detach())
        return (self.weights * torch.cat([losses[:2], unsafe[None], losses[3:]])).sum()

    def parts(self, output: Change, batch: Batch) -> tuple[Tensor, Tensor]:
        """(4,) L_bce, L_multi, L_ddi and L_rec, and the L_ddi of visits above the target; means over samples."""
        own, last, before = output.own.float(), output.last.float(), output.before > 0
        chance, follows = own.sigmoid(), output.follows.float()
        bce, multi = (
            CURRENT * of(own, chance, batch.label) + (1 - CURRENT) * follows * of(last, last.sigmoid(), before)
            for of in (lambda x, p, y: cross_entropy(x, y), lambda x, p, y: margin(p, y))
        )
        unsafe = expected_interactions(chance, self.interactions) / self.spec.outputs
        above = interaction_rate((own > 0).float(), self.interactions) > self.target_ddi
        apart = chance - (last + output.update.float()).sigmoid()
        rebuilt = follows * apart.square().mean(1)
        return torch.stack([x.mean() for x in (bce, MARGIN * multi, unsafe, rebuilt)]), (above * unsafe).mean()

    @torch.no_grad()
    def adapt(self, losses: Tensor) -> None:
        """Weights by how far each loss is from its mean over the steps before."""
        ratio = (losses - self.means) / self.means.clamp(min=torch.finfo(losses.dtype).tiny)
        new = NEW * ratio.softmax(0) + (1 - NEW) * self.weights
        self.weights.copy_(torch.where(self.steps > 0, new, self.weights))
        self.steps += 1
        self.means += (losses - self.means) / self.steps

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published code, and patience: the weights of the losses change what is learned."""
        return {
            "optimizer": "rmsprop",
            "lr": 2e-4,
            "weight_decay": 1e-5,
            "batch_size": 1,
            "monitor": "jaccard_samples",
            "patience": 15,
        }


def _before(rows: Tensor) -> Tensor:
    """(rows, visits, ...) what the visit before has, zeros at the first."""
    return F.pad(rows, (0, 0, 1, 0))[:, :-1]
