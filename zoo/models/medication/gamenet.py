"""GAMENet, graph augmented memory networks (Shang et al., AAAI 2019, arXiv:1809.01852).

With d = dim, M drugs, and of visit t the multi-hot diagnoses x_d, procedures x_p and drugs c_m in {0, 1}^M:

1. h_d = GRU_d(W_d x_d), h_p = GRU_p(W_p x_p), over the visits up to t, each in R^d; q_t = f([h_d; h_p]) in R^d, with
   f a network with one hidden layer.
2. Memory bank: M_b = Z_e - beta Z_d in R^(M x d), a row for each drug, with Z = A' tanh(A' W_emb) W over the graph of
   drugs that occur together in the training split (Z_e), and over that of drugs that interact (Z_d);
   A' = D^(-1/2) (A + I) D^(-1/2), and D the row sums of A + I. Each graph has its W_emb in R^(M x d), W in R^(d x d).
3. Dynamic memory: a patient's earlier visits s < t, with keys q_s and values c_m^s.
4. o_b = M_b^T softmax(M_b q_t); a = sum over s < t of softmax_s(q_s^T q_t) c_m^s; o_d = M_b^T a; both in R^d.
   A first visit has no dynamic memory, and o_d = 0.
5. logits = W_o [q_t; o_b; o_d] + b, in R^M.

Loss of a visit, with y' the probabilities, s' the share of interacting pairs in the drugs with y' > 0.5, and s the
share that is wanted:

    L_p   = 0.9 L_bce + 0.1 L_multi,  L_multi = sum over i in, j out of the set of max(0, 1 - (y'_i - y'_j)) / M
    L_ddi = sum over i, j of A_d[i, j] y'_i y'_j / M
    L     = (1 - p) L_p + p L_ddi,    p = exp(-(s' - s) / Temp) where s' > s, else 0

Temp falls by ``decay`` an epoch, so that training ends with L_p nearly alone. Losses of different epochs are therefore
no measure of which is better: the trainer's default here is to watch the Jaccard index, as the authors do.

Where published code and paper part (the paper is followed):

- The published code divides the adjacency by row sums, and has ReLU and biases in the graph convolutions. Here it is
  symmetric, with tanh and without biases.
- It draws one of the two losses at random for each step, with probability p for L_ddi. Here both count by their
  probability, visit by visit: the expectation of the draw, without its noise.
- Its L_ddi is a mean over all pairs of drugs. The paper has sums for L_bce and L_ddi; here both are divided by M, so
  that their proportion is the paper's.
- It has ReLU on the hidden states, which are 2 d wide, and a hidden layer before the logits. Here f has the hidden
  layer, as the paper says, and all is d wide.
- It averages the embeddings of a visit's codes, and its dropout is on them. Here W x is their sum, as the paper writes
  it, and dropout is on that.
- Its weight of L_multi is 0.01, that of the port in SafeDrug's code 0.1. Here it is 0.1.
- Its beta, ``inter``, starts from a number between -0.1 and 0.1. Here from 1: interactions count from the start.
- A first visit has o_d = o_b there. Here 0, as it has no memory of its own.
- Without its option ``--ddi``, it has neither the graph of interactions nor L_ddi. Here both are always there.
- Its dropout of 0.3 within the graph convolutions is left out.
- PyHealth's graph is all zero, and its drug history has no effect. Here tests show that both change the logits.
- It trains on one visit a step, 40 epochs, with Adam at a rate of 0.0002. Here rate and optimiser are the same, and a
  step has one patient with all visits. Larger batches take fewer steps, too few at this rate: of 600 synthetic patients
  in 25 epochs, the Jaccard index is 0.42 with one patient a step and 0.34 with 16.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.layers import VisitRecurrences
from zoo.models import Dropout, Model, Output, Positive, Probability, Size, Weight
from zoo.models.medication._drug_sets import cross_entropy, expected_interactions, interaction_rate, margin
from zoo.registry import Choice, register_model

ASKING = ("diagnosis", "procedure")
"""The concepts that make the query."""


@register_model(
    "gamenet",
    family="medication",
    paper="Shang et al., AAAI 2019, arXiv:1809.01852",
    uses={"diagnosis", "procedure", "drug"},
    needs={"diagnosis", "drug"},
    kinds={"multilabel"},
    predicts="drug",
    causal=True,
    resources={"cooccurrence", "interactions"},
    waives={"overfits": "drugs that interact beyond target_ddi are kept apart, also where a patient has both"},
    published={
        "model.dim": 64,
        "model.dropout": 0.4,
        "model.target_ddi": 0.05,
        "model.temperature": 0.5,
        "model.decay": 0.85,
        "model.bce_weight": 0.9,
        "model.multi_weight": 0.01,
        "trainer.optimizer": "adam",
        "trainer.lr": 2e-4,
        "trainer.batch_size": 1,
        "trainer.max_epochs": 40,
        "trainer.monitor": "jaccard_samples",
    },
    search={"model.multi_weight": Choice(0.01, 0.1)},
)
class GAMENet(Model):
    """A query from diagnoses and procedures reads a memory of drugs and the patient's own earlier drugs.

    Args:
        dim: width d of embeddings, states, the query and the memory.
        dropout: on the vectors of visits.
        beta: what the weight of the interactions in the memory bank starts from; it is learned.
        target_ddi: s, the share of interacting pairs up to which L_ddi does not count. Far above it p is small, the
            more so the lower Temp is: a target far below what is prescribed does no harm.
        temperature: Temp at the start.
        decay: what Temp is multiplied with an epoch.
        bce_weight, multi_weight: of the two parts of L_p; the published code has 0.01 for the latter.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 64,
        dropout: Dropout = 0.4,
        beta: float = 1.0,
        target_ddi: Probability = 0.05,
        temperature: Positive = 0.5,
        decay: Positive = 0.85,
        bce_weight: Weight = 0.9,
        multi_weight: Weight = 0.1,
    ):
        super().__init__(spec)
        self.target_ddi, self.temperature, self.decay = target_ddi, temperature, decay
        self.bce_weight, self.multi_weight = bce_weight, multi_weight
        together, interacting = (np.asarray(spec.resources[n]) > 0 for n in ("cooccurrence", "interactions"))
        self.states = VisitRecurrences({c: spec.size(c) for c in ASKING if c in spec.concepts}, dim, dropout)
        width = self.states.width
        self.query = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
        self.together, self.interacting = GraphConvolution(together, dim), GraphConvolution(interacting, dim)
        self.beta = nn.Parameter(torch.tensor(float(beta)))
        self.head = nn.Linear(3 * dim, spec.outputs)
        self.register_buffer("interactions", torch.from_numpy(interacting).float(), persistent=False)
        self.register_buffer("current_temperature", torch.tensor(temperature))

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, drugs)."""
        query = self._queries(batch)
        memory = self.memory_bank()
        drugs = batch.rows(batch["drug"].multi_hot(self.spec.size("drug"))[:, 2:])
        from_bank = (query @ memory.T).softmax(-1) @ memory
        from_history = earlier_drugs(query, drugs) @ memory
        read = torch.cat([query, from_bank, from_history], dim=-1)
        return Output(self.head(batch.at_samples(read)))

    def embed(self, batch: Batch) -> Tensor:
        """The query q_t, which is the patient's health; neither memory of drugs has a part in it."""
        return batch.at_samples(self._queries(batch))

    def _queries(self, batch: Batch) -> Tensor:
        """(rows, visits, dim) q."""
        return self.query(self.states(batch))

    def memory_bank(self) -> Tensor:
        """(drugs, dim) M_b."""
        return self.together() - self.beta * self.interacting()

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The mean over samples of L."""
        logits = output.logits.float()
        probability = logits.sigmoid()
        prediction = self.bce_weight * cross_entropy(logits, batch.label)
        prediction = prediction + self.multi_weight * margin(probability, batch.label)
        unsafe = expected_interactions(probability, self.interactions) / self.spec.outputs
        p = self.unsafe_share(interaction_rate((logits > 0).to(logits.dtype), self.interactions))
        return ((1 - p) * prediction + p * unsafe).mean()

    def unsafe_share(self, rate: Tensor) -> Tensor:
        """(samples,) p, from the shares s' of interacting pairs."""
        beyond = rate - self.target_ddi
        return torch.where(beyond > 0, torch.exp(-beyond / self.current_temperature), 0)

    def start_epoch(self, epoch: int) -> None:
        """Lower the temperature."""
        self.current_temperature.fill_(self.temperature * self.decay**epoch)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published code, one patient a step, and patience until the temperature is low."""
        return {"optimizer": "adam", "lr": 2e-4, "batch_size": 1, "monitor": "jaccard_samples", "patience": 20}


class GraphConvolution(nn.Module):
    """Z = A' tanh(A' W_emb) W, of a graph given as (nodes, nodes) bool."""

    def __init__(self, adjacency: np.ndarray, dim: int):
        super().__init__()
        self.register_buffer("adjacency", torch.from_numpy(normalised(adjacency)), persistent=False)
        self.embedding = nn.Parameter(torch.empty(len(adjacency), dim))
        self.weight = nn.Parameter(torch.empty(dim, dim))
        for parameter in (self.embedding, self.weight):
            nn.init.xavier_uniform_(parameter)

    def forward(self) -> Tensor:
        """(nodes, dim)."""
        return self.adjacency @ torch.tanh(self.adjacency @ self.embedding) @ self.weight


def normalised(adjacency: np.ndarray) -> np.ndarray:
    """D^(-1/2) (A + I) D^(-1/2) float32, with D the row sums of A + I.

    >>> normalised(np.array([[0, 1], [1, 0]], bool)).round(3).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    looped = adjacency + np.eye(len(adjacency))
    scale = looped.sum(1) ** -0.5
    return (scale[:, None] * looped * scale).astype(np.float32)


def earlier_drugs(query: Tensor, drugs: Tensor) -> Tensor:
    """(rows, visits, drugs) the drugs of the visits before each, weighed by how alike their queries are.

    Args:
        query: (rows, visits, dim).
        drugs: (rows, visits, drugs), 1 where a visit has the drug.
    """
    place = torch.arange(query.shape[1], device=query.device)
    later = place >= place[:, None]
    scores = query @ query.transpose(1, 2)
    # not infinity: a first visit, which has none before it, would have gradients that are not numbers
    weight = scores.masked_fill(later, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(later, 0)
    return weight @ drugs.to(weight.dtype)
