"""SafeDrug, dual molecular graph encoders (Yang et al., IJCAI 2021, arXiv:2105.02711).

With dim the width, M drug classes and S substructures of their molecules:

1. h_d = GRU_d(W_d x_d), h_p = GRU_p(W_p x_p) over the visits up to t, of multi-hot diagnoses and procedures;
   h = NN_1([h_d; h_p]) in R^dim. Earlier drugs are no input.
2. Global encoder. An atom starts from y_i in R^dim, the embedding of its fingerprint, and in each of L layers
   m_i = sum over its neighbours j of ReLU(W_l y_j + b_l), y_i <- norm(ReLU(W_l y_i + b_l) + m_i), of length 1.
   A molecule is the mean of its atoms, a class the mean of its molecules: E_g in R^(M x dim).
   m_r = sigmoid(E_g h), m_g = LayerNorm(m_r + NN_2(m_r)), in R^M.
3. Local encoder. m_f = sigmoid(NN_3(h)) in R^S, m_l = (W_4 * H) m_f + b_4 in R^M, with H in {0, 1}^(M x S) the
   substructures of each class, product by element.
4. logits = m_g * m_l.

Loss of a visit, with o the probabilities and D in {0, 1}^(M x M) the interactions:

    L_multi = sum over i in, j out of the set of max(0, 1 - (o_i - o_j)) / M
    L_ddi   = sum over i, j of D_ij o_i o_j / M
    L       = beta (alpha L_bce + (1 - alpha) L_multi) + (1 - beta) L_ddi
    beta    = 1 where DDI <= target_ddi, else max(0, 1 - (DDI - target_ddi) / kp)
    DDI     = sum over i, j of D_ij o_i o_j / (sum over i other than j of o_i o_j)

The paper has sums for L_bce and L_ddi; here both are divided by M, so that their proportion is the paper's. A visit
without the weight beta has L_ddi alone, which is smaller than what it would have of the rest; so that the loss of an
epoch tells whether it is better, (1 - beta) is added, which has no gradient.

The paper has for DDI the share of interacting pairs in the drugs with o > 0.5. Among few drugs it leaps: two that
interact have a share of 1, and then nothing but L_ddi counts. With batches, all patients leap together, and on 1,000
synthetic patients all still had the same one to six drugs after 50 epochs, whatever the target. The share to expect,
above, is the same where probabilities are 0 or 1, and moves with them; like the paper's it passes no gradient on.

The published target of 0.06 is for MIMIC-III. Where so many more of the pairs that are prescribed interact that beta
would leave the prediction less than a tenth, patients would get one drug or none: there the default is the rate of the
training sets, and the run says so. A target of the user is kept, and the run says what it does.

Where published code and paper part (the paper is followed):

- The published beta is ``min(0, 1 + (target_ddi - DDI) / kp)``: 0 right above the target, and from target_ddi + kp on
  negative, so that wrong predictions are rewarded. Here it falls from 1 to 0.
- It runs the molecule encoder once, in the constructor: it is not trained and not saved. Here it is part of each step.
- It loses molecules of salts, and atoms without a bond, so that atoms after them carry the neighbours of others
  (see `zoo.knowledge.molecules`). Here they stay.
- The norm of atoms is commented out there: their length grows from layer to layer. Here it is 1.
- Its L_ddi is 0.0005 times the sum over pairs.
- It sums atoms up. Here they are averaged, as the paper says.
- W_4 has no bias there: a class without a substructure would have a probability of 0.5 whatever the patient has. Here
  b_4 gives it a level that m_g raises and lowers.
- Its NN_1 begins with a ReLU. Here it is linear.
- Its dropout is on the embeddings of codes. Here it is on their sums.
- It trains on one visit a step, 50 epochs, and keeps the epoch with the best Jaccard index on validation. Here that is
  the default measure too, the rate is its 0.0005 with Adam, and a step has four patients with all their visits: each
  step runs the molecule encoder, which takes longer than the rest. As steps are fewer, NN_1 and NN_3 start from
  weights `SPREAD` times as large as usual: with the usual ones the sigmoids of all patients are nearly 0.5, and 600
  steps do not teach the model to tell patients apart.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.knowledge.molecules import Molecules
from zoo.layers import VisitRecurrences
from zoo.models import Dropout, Output, Positive, Probability, Size
from zoo.models.medication._drug_sets import TargetModel
from zoo.models.medication._neighbourhoods import rounds
from zoo.registry import Choice, register_model

SPREAD = 4.0
"""How much larger than Glorot's the first weights of NN_1 and NN_3 are."""


@register_model(
    "safedrug",
    family="medication",
    paper="Yang et al., IJCAI 2021, arXiv:2105.02711",
    uses={"diagnosis", "procedure"},
    needs={"diagnosis"},
    kinds={"multilabel"},
    predicts="drug",
    causal=True,
    resources={"cooccurrence", "interactions", "molecules"},
    waives={"overfits": "drugs that interact beyond target_ddi are kept apart, also where a patient has both"},
    published={
        "model.dim": 64,
        "model.layers": 2,
        "model.dropout": 0.5,
        "model.target_ddi": 0.06,
        "model.kp": 0.05,
        "model.alpha": 0.95,
        "trainer.optimizer": "adam",
        "trainer.lr": 5e-4,
        "trainer.batch_size": 1,
        "trainer.max_epochs": 50,
        "trainer.monitor": "jaccard_samples",
    },
    search={"model.kp": Choice(0.02, 0.05, 0.1)},
)
class SafeDrug(TargetModel):
    """A patient is matched with whole molecules and with their substructures; interactions are held at a target.

    Args:
        dim: width of embeddings, states and atoms.
        layers: L, of message passing.
        dropout: on the vectors of visits.
        target_ddi: share of interacting pairs up to which interactions do not count in the loss; None for the published
            0.06, or the rate of the training sets where that is far above it.
        kp: how far above the target nothing but interactions counts.
        alpha: weight of L_bce; the rest is that of L_multi.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 64,
        layers: Size = 2,
        dropout: Dropout = 0.5,
        target_ddi: Probability | None = None,
        kp: Positive = 0.05,
        alpha: Probability = 0.95,
    ):
        super().__init__(spec, alpha)
        self.kp = kp
        self.aim(target_ddi)
        molecules = spec.resources["molecules"]
        seen = {c: spec.size(c) for c in ("diagnosis", "procedure") if c in spec.concepts}
        self.states = VisitRecurrences(seen, dim, dropout)
        self.patient = nn.Linear(self.states.width, dim)
        self.molecules = MoleculeEncoder(molecules, dim, layers)
        self.mix = nn.Linear(spec.outputs, spec.outputs)
        self.norm = nn.LayerNorm(spec.outputs)
        self.functions = nn.Linear(dim, len(molecules.substructures))
        for layer in (self.patient, self.functions):
            nn.init.xavier_normal_(layer.weight, gain=SPREAD)
        self.bipartite = MaskedLinear(torch.from_numpy(molecules.mask))

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, drugs)."""
        patient = self.embed(batch)
        match = (patient @ self.molecules().T).sigmoid()
        whole = self.norm(match + self.mix(match))
        parts = self.bipartite(self.functions(patient).sigmoid())
        return Output(whole * parts)

    def embed(self, batch: Batch) -> Tensor:
        """The patient's health h, which is matched with molecules."""
        return self.patient(batch.at_samples(self.states(batch)))

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published code but for the batch, and patience while the target is approached."""
        return {"optimizer": "adam", "lr": 5e-4, "batch_size": 4, "monitor": "jaccard_samples", "patience": 15}

    def safe_share(self, rate: Tensor) -> Tensor:
        """(samples,) beta, from the shares of interacting pairs."""
        return (1 - (rate - self.target_ddi) / self.kp).clamp(0, 1)


class MoleculeEncoder(nn.Module):
    """Vectors of drug classes from the atoms of their molecules, by messages along bonds.

    Args:
        molecules: of the classes.
        dim: width of atoms.
        layers: how many bonds far messages go.
    """

    def __init__(self, molecules: Molecules, dim: int, layers: int):
        super().__init__()
        self.embed = nn.Embedding(molecules.fingerprints, dim)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        graphs = molecules.graphs
        self.rounds, kind = rounds(graphs.atoms, graphs.bonds, np.zeros_like(graphs.bonds[0]), layers)
        for name, array in (("kind", kind), ("graph", graphs.graph), ("average", molecules.average)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.register_buffer("sizes", torch.from_numpy(graphs.offsets).diff().float(), persistent=False)

    def forward(self) -> Tensor:
        """(classes, dim) E_g."""
        atoms = self.embed.weight
        for layer, messages in zip(self.layers, self.rounds, strict=True):
            hidden = layer(atoms).relu()
            atoms = F.normalize(messages(hidden, F.embedding(messages.sender, hidden)), dim=-1)
        total = atoms.new_zeros(len(self.sizes), atoms.shape[1])
        total = total.index_add(0, self.graph, F.embedding(self.kind, atoms))
        return self.average @ (total / self.sizes[:, None])


class MaskedLinear(nn.Module):
    """(W * mask) x + b, with a mask (outputs, inputs) bool, product by element."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        # as large as a linear layer of so many inputs has them
        bound = mask.sum(1, keepdim=True).clamp(min=1).rsqrt()
        self.weight = nn.Parameter((2 * torch.rand(mask.shape) - 1) * bound)
        self.bias = nn.Parameter((2 * torch.rand(len(mask)) - 1) * bound[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        """(samples, outputs) from (samples, inputs)."""
        return F.linear(x, self.weight * self.mask, self.bias)
