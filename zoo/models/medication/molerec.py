"""MoleRec, molecular representations aware of substructures (Yang et al., WWW 2023, arXiv:2303.05759).

With d = dim, M drug classes and S substructures of their molecules, BRICS fragments; H in {0, 1}^(M x S) says which
class has which:

1. h_d = GRU_d(W_d x_d), h_p = GRU_p(W_p x_p) over the visits up to t, of multi-hot diagnoses and procedures;
   q = NN_1([h_d; h_p]) in R^d, the patient's health. Earlier drugs are no input.
2. Relevance of each substructure for the patient: r = sigmoid(NN_2(q)) in R^S.
3. Two graph isomorphism networks, one for molecules and one for substructures. An atom starts from the embeddings of
   its fingerprint and of its chirality, added, and in each of L layers, with e those of a bond's kind and sides,
   y_i <- norm(MLP((1 + epsilon) y_i + sum over its neighbours j of ReLU(y_j + e_ij))), and a ReLU but after the last;
   the MLP has a hidden layer of 2 d.
   A graph is the mean of its atoms, a class the mean of its molecules: E_m in R^(M x d), E_f in R^(S x d).
4. E_s = SAB(E_f) in R^(S x d): self-attention among the substructures (Set Transformer, Lee et al., ICML 2019).
5. A = softmax((E_m W_q + b_q) (E_s W_k + b_k)^T / sqrt(d)) in R^(M x S), over the substructures that a class has.
   For a patient, class m is z_m = sum over s of A_ms r_s E_s in R^d, and its logit MLP(z_m), with a hidden layer of
   d / 2. The MLP is the same for all classes.

Loss of a visit, with o the probabilities and D in {0, 1}^(M x M) the interactions:

    L_multi = sum over i in, j out of the set of max(0, 1 - (o_i - o_j)) / M
    L_ddi   = sum over i, j of D_ij o_i o_j / M
    L       = beta (alpha L_bce + (1 - alpha) L_multi) + (1 - beta) L_ddi
    beta    = 1 where DDI <= target_ddi, else exp(tau (1 - DDI / target_ddi))
    DDI     = sum over i, j of D_ij o_i o_j / (sum over i other than j of o_i o_j)

As in SafeDrug here (see `zoo.models.medication.safedrug`), L_bce and L_ddi are divided by M, (1 - beta), which has no
gradient, is added to the loss, DDI is the share of interacting pairs to expect (the authors' is that of drugs with
o >= 0.5), and where the published target of 0.06 is far below what is prescribed, the default is the rate of the
training sets.

Where published code and paper part (the paper is followed):

- A class without a readable molecule divides by zero there. Here `zoo.knowledge.molecules` gives it a stand-in.
- A class without a substructure attends to those of all others there. Here it has one of its own, a vector that is
  learned, and the patient a relevance for it.
- Graph networks and attention see no patient, and run again for each visit there. Here they run once a step.
- The patient's states go into NN_1 twice there, as a recurrence's last output is its last state, and NN_1 begins with a
  ReLU. Here they go once, and it is linear.
- Its SAB adds the projected queries to what the heads find, and ends with a norm, a linear layer and a norm. Here it
  adds the input, and then a feed-forward network, as the Set Transformer's paper has it.
- With an option, it has a table of vectors instead of the network for substructures. Here there is the network alone.
- Its L_ddi is 0.0005 times the sum over pairs.
- It trains on one visit a step, 50 epochs, and keeps the epoch with the best Jaccard index on validation. Here that is
  the default measure too, the rate is its 0.0005 with Adam, and a step has 16 patients with all their visits: each
  step runs both graph networks, which takes longer than all the rest. As steps are fewer, NN_1 and NN_2 start from
  weights `SPREAD` times as large as usual.

Other than both:

- Of the published code's list of properties, atoms carry chirality and bonds their kinds and sides; fingerprints stand
  for the others. Chirality is R or S, which do not hang on the order in which atoms are written, as the marks there do.
- Layers are normalised each atom on its own, and not over all atoms, as the published code does within its MLP, too:
  with graphs that never change, running means only lag behind.
- Dropout is on the vectors of visits. The published code has it on the embeddings of their codes, and as much within
  the graph networks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.knowledge.molecules import BONDS, CHIRALITIES, SIDES, Graphs, Molecules
from zoo.layers import EncoderLayer, VisitRecurrences
from zoo.models import Dropout, MultipleOfHeads, Output, Positive, Probability, Share, Size
from zoo.models.medication._drug_sets import TargetModel
from zoo.models.medication._neighbourhoods import rounds
from zoo.registry import Choice, register_model

SPREAD = 4.0
"""How much larger than Glorot's the first weights of NN_1 and NN_2 are."""


@register_model(
    "molerec",
    family="medication",
    paper="Yang et al., WWW 2023, arXiv:2303.05759",
    uses={"diagnosis", "procedure"},
    needs={"diagnosis"},
    kinds={"multilabel"},
    predicts="drug",
    causal=True,
    resources={"cooccurrence", "interactions", "molecules"},
    waives={"overfits": "drugs that interact beyond target_ddi are kept apart, also where a patient has both"},
    published={
        "model.dim": 64,
        "model.layers": 4,
        "model.heads": 2,
        "model.dropout": 0.7,
        "model.target_ddi": 0.06,
        "model.tau": 2.5,
        "model.alpha": 0.95,
        "trainer.optimizer": "adam",
        "trainer.lr": 5e-4,
        "trainer.batch_size": 1,
        "trainer.max_epochs": 50,
        "trainer.monitor": "jaccard_samples",
    },
    search={"model.dropout": Choice(0.3, 0.5, 0.7), "model.tau": Choice(1.0, 2.5, 5.0)},
)
class MoleRec(TargetModel):
    """A drug is read from those of its substructures that matter to the patient; interactions are held at a target.

    Args:
        dim: width d of embeddings, states and atoms.
        layers: L, of message passing.
        heads: of the attention among substructures.
        dropout: on the vectors of visits; that of the published code.
        target_ddi: share of interacting pairs up to which interactions do not count in the loss; None for the published
            0.06, or the rate of the training sets where that is far above it.
        tau: how fast the weight of the prediction falls above the target.
        alpha: weight of L_bce; the rest is that of L_multi.

    Raises:
        UserError: ``target_ddi`` is not above 0, or ``dim`` no multiple of ``heads``.
    """

    def __init__(
        self,
        spec: Spec,
        dim: MultipleOfHeads = 64,
        layers: Size = 4,
        heads: Size = 2,
        dropout: Dropout = 0.7,
        target_ddi: Share | None = None,
        tau: Positive = 2.5,
        alpha: Probability = 0.95,
    ):
        super().__init__(spec, alpha)
        self.tau = tau
        self.aim(target_ddi)
        molecules = spec.resources["molecules"]
        seen = {c: spec.size(c) for c in ("diagnosis", "procedure") if c in spec.concepts}
        self.states = VisitRecurrences(seen, dim, dropout)
        self.patient = nn.Linear(self.states.width, dim)
        self.classes = ClassEncoder(molecules, dim, layers)
        self.substructures = SubstructureEncoder(molecules, dim, layers, heads)
        self.attend = MaskedAttention(self.substructures.mask, dim)
        self.relevance = nn.Linear(dim, self.substructures.mask.shape[1])
        for layer in (self.patient, self.relevance):
            nn.init.xavier_normal_(layer.weight, gain=SPREAD)
        self.score = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, 1))

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, drugs)."""
        patient = self.embed(batch)
        relevance = self.relevance(patient).sigmoid()
        substructures = self.substructures()
        weight = self.attend(self.classes(), substructures)
        return Output(self.score(pooled(relevance, weight, substructures))[..., 0])

    def embed(self, batch: Batch) -> Tensor:
        """The patient's health q."""
        return self.patient(batch.at_samples(self.states(batch)))

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published code but for the batch, and patience while the target is approached."""
        return {"optimizer": "adam", "lr": 5e-4, "batch_size": 16, "monitor": "jaccard_samples", "patience": 15}

    def safe_share(self, rate: Tensor) -> Tensor:
        """(samples,) beta, from the shares of interacting pairs."""
        return torch.exp(self.tau * (1 - rate / self.target_ddi).clamp(max=0))


def pooled(relevance: Tensor, weight: Tensor, substructures: Tensor) -> Tensor:
    """(samples, classes, dim) z: sum over s of A_ms r_s E_s.

    Args:
        relevance: (samples, substructures) r.
        weight: (classes, substructures) A.
        substructures: (substructures, dim) E_s.

    >>> pooled(torch.tensor([[1.0, 0.5]]), torch.tensor([[0.2, 0.8]]), torch.tensor([[10.0], [20.0]])).tolist()
    [[[10.0]]]
    """
    # one product, without a (samples, classes, substructures) between
    parts = weight.T[:, :, None] * substructures[:, None]
    return (relevance @ parts.flatten(1)).unflatten(1, parts.shape[1:])


class GraphIsomorphism(nn.Module):
    """Vectors of graphs by a graph isomorphism network (Xu et al., ICLR 2019) that sees bonds (Hu et al., ICLR 2020).

    Args:
        graphs: G of them.
        fingerprints: how many there are.
        dim: width of atoms.
        layers: how many bonds far messages go.
    """

    def __init__(self, graphs: Graphs, fingerprints: int, dim: int, layers: int):
        super().__init__()
        self.atoms = nn.Embedding(fingerprints, dim)
        self.chirality = nn.Embedding(len(CHIRALITIES), dim)
        self.kinds = nn.ModuleList(nn.Embedding(len(BONDS), dim) for _ in range(layers))
        self.sides = nn.ModuleList(nn.Embedding(len(SIDES), dim) for _ in range(layers))
        self.update = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim), nn.LayerNorm(dim))
            for _ in range(layers)
        )
        self.epsilon = nn.Parameter(torch.zeros(layers))
        first, start = np.unique(np.stack([graphs.atoms, graphs.chirality]), axis=1, return_inverse=True)
        bonds, bond = np.unique(np.stack([graphs.bond_kinds, graphs.sides]), axis=1, return_inverse=True)
        self.rounds, kind = rounds(start.ravel(), graphs.bonds, bond.ravel(), layers)
        for name, array in (("first", first), ("bonds", bonds), ("kind", kind), ("graph", graphs.graph)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.register_buffer("sizes", torch.from_numpy(graphs.offsets).diff(), persistent=False)

    def forward(self) -> Tensor:
        """(G, dim)."""
        atoms = self.atoms(self.first[0]) + self.chirality(self.first[1])
        for place, messages in enumerate(self.rounds):
            atoms = atoms.relu() if place else atoms
            edges = self.kinds[place](self.bonds[0]) + self.sides[place](self.bonds[1])
            sent = (F.embedding(messages.sender, atoms) + F.embedding(messages.bond, edges)).relu()
            atoms = self.update[place](messages((1 + self.epsilon[place]) * atoms, sent))
        total = atoms.new_zeros(len(self.sizes), atoms.shape[1])
        return total.index_add(0, self.graph, F.embedding(self.kind, atoms)) / self.sizes[:, None]


class ClassEncoder(nn.Module):
    """E_m, the vectors of classes from their molecules; arguments as for `GraphIsomorphism`."""

    def __init__(self, molecules: Molecules, dim: int, layers: int):
        super().__init__()
        self.encode = GraphIsomorphism(molecules.graphs, molecules.fingerprints, dim, layers)
        self.register_buffer("average", torch.from_numpy(molecules.average), persistent=False)

    def forward(self) -> Tensor:
        """(classes, dim)."""
        return self.average @ self.encode()


class SubstructureEncoder(nn.Module):
    """E_s, the vectors of substructures, each with a view of all others.

    A class that has none gets one of its own, behind those of ``molecules``.

    Args:
        molecules: of the classes.
        dim: width, a multiple of ``heads``.
        layers: of message passing.
        heads: of attention.

    Attributes:
        mask: (classes, S) bool, which class has which substructure; each has one at least.
    """

    mask: Tensor

    def __init__(self, molecules: Molecules, dim: int, layers: int, heads: int):
        super().__init__()
        mask = torch.from_numpy(molecules.mask)
        own = torch.eye(len(mask), dtype=torch.bool)[:, ~mask.any(1)]
        self.register_buffer("mask", torch.cat([mask, own], dim=1), persistent=False)
        self.encode = GraphIsomorphism(molecules.fragments, molecules.fingerprints, dim, layers)
        self.own = nn.Parameter(torch.randn(own.shape[1], dim))
        self.attend = EncoderLayer(dim, heads, dim, dropout=0.0)

    def forward(self) -> Tensor:
        """(S, dim)."""
        found = torch.cat([self.encode(), self.own])[None]
        return self.attend(found, found.new_ones(found.shape[:2], dtype=torch.bool))[0]


class MaskedAttention(nn.Module):
    """A = softmax((X W_q + b_q) (Y W_k + b_k)^T / sqrt(dim)), over the places of a mask.

    Args:
        mask: (rows, columns) bool, one True in each row at least.
        dim: width of X and Y.
    """

    def __init__(self, mask: Tensor, dim: int):
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(rows, columns) weights, from (rows, dim) X and (columns, dim) Y."""
        score = self.query(rows) @ self.key(columns).T * rows.shape[1] ** -0.5
        return score.masked_fill(~self.mask, -torch.inf).softmax(-1)
