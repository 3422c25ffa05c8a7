"""G-BERT, graph augmented Transformers (Shang et al., IJCAI 2019, arXiv:1906.00346).

With l = heads * 75 the width of codes and visits, D diagnoses and M drug classes:

1. o_c in R^l of each diagnosis and each drug, from the tree above it (`zoo.layers.OntologyEmbedding`).
2. v = Transformer({[CLS]} and {o_c : c in the visit})[0], in R^l, for the diagnoses and for the drugs of each visit
   apart, with one encoder for both. There is no encoding of place: a visit is a set.
3. Pre-training on single visits, with 15 % of the codes hidden: from a visit's vector of diagnoses all its diagnoses
   (self) and all its drugs (dual), and from that of its drugs the same the other way: four binary cross-entropies.
4. Fine-tuning: for a visit t,
   logits = W [mean of v_d over visits before t; mean of v_m over visits before t; v_d of t] + b, in R^M.

The paper predicts from the second visit on; here a first visit has zeros in place of the two means. It predicts drugs
alone; Liu et al. (MedM-PLM, Table III) have it tell readmission, too, from v_d and v_m of the visit: so it is here at
or after the end of a visit, without the concepts that are to be told.

Where published code and paper part (the paper is followed):

- The published head views the rows of diagnoses and drugs so that they mix: from three visits on, some targets see
  their own drugs. Here the two stay apart, and a visit's drugs reach later visits only.
- It masks ``[CLS]`` as a key, so that nothing attends to it. Here it is a key like any other.
- What is replaced at random is drawn from the other vocabulary there. Here a diagnosis is replaced by a diagnosis.
- Its Transformer normalises what goes into attention and feed-forward network, and has the GELU's approximation by a
  hyperbolic tangent; queries, keys and values have no biases. Here it normalises what comes out of them, and has a
  ReLU, as Vaswani et al. (2017) have it.
- Of each tree, one graph attention serves both ways, from children up and from ancestors down; nodes are l wide there,
  and what it gives has a bias and no activation. Here each way has its own, a node is 75 wide, and elu follows
  (`zoo.layers.OntologyEmbedding`).
- In fine-tuning, a vector that tells diagnoses from drugs is added to codes there. Here codes have none.
- A drug is recommended from a probability of 0.3 on there. Here from 0.5 on.
- The published heads have hidden layers. Here they are linear, as is the paper's for drugs.
- The published script takes turns, 16 times, with 5 epochs of pre-training and 5 of fine-tuning. Here `zoo.pretrain`
  comes first, and `zoo.train(..., init=run)` after it.
- It fine-tunes one patient a step, and pre-trains 64 visits a step, both with Adam at a rate of 0.0005. Here a step of
  the former has eight patients: each step embeds both trees, so that one patient a step takes three times as long.
- The published code has dropout 0.4 on hidden states and 0.1 on attention. Here it is one number, 0.1 by default.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.layers import CodeTokens, EncoderLayer, OntologyEmbedding, code_sets
from zoo.models import Dropout, Nodes, Size
from zoo.models._model import Model, Output
from zoo.models._seen_visits import SeenVisits
from zoo.registry import Choice, register_model

CONCEPTS = ("diagnosis", "drug")
HIDDEN, MASKED, REPLACED = 0.15, 0.8, 0.1
"""Shares: of codes that are hidden; and of these, of those that become [MASK], and another code."""


PART = {"weights": "codes.", "hyperparameters": ("dim", "tree_heads", "layers", "heads", "feedforward")}
"""What other models with this encoder of codes take over of a run of this one."""


@register_model(
    "gbert",
    family="ontology",
    paper="Shang et al., IJCAI 2019, arXiv:1906.00346",
    uses=set(CONCEPTS),
    needs=set(CONCEPTS),
    kinds={"binary", "multiclass", "multilabel", "regression"},
    causal=True,
    resources={"ontology"},
    levels={"drug": "atc3"},
    published={
        "model.dim": 75,
        "model.tree_heads": 4,
        "model.layers": 2,
        "model.heads": 4,
        "model.feedforward": 300,
        "model.dropout": 0.4,
        "trainer.optimizer": "adam",
        "trainer.lr": 5e-4,
        "trainer.batch_size": 1,
        "trainer.monitor": "auprc_samples",
    },
    search={"model.dropout": Choice(0.0, 0.1, 0.4)},
)
class GBERT(Model):
    """Codes embedded by their trees, a Transformer over each visit's codes, and means over earlier visits.

    Args:
        spec: what the data are like.
        dim: width of a node of a tree, and of a head of its attention.
        tree_heads: of the attention in the trees; the width of a visit is ``dim * tree_heads``.
        layers: of the encoder of visits.
        heads: of its attention.
        feedforward: width of the hidden layer of its feed-forward network.
        dropout: on attention weights (0.1 in the published code), and on what each sub-layer adds (0.4 there).
        backend: what sums over the trees: ``"native"``, or ``"dgl"``, with the extra of this name. Weights and results
            are the same, up to rounding.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Nodes = 75,
        tree_heads: Size = 4,
        layers: Size = 2,
        heads: Size = 4,
        feedforward: Size = 300,
        dropout: Dropout = 0.1,
        backend: str = "native",
    ):
        super().__init__(spec)
        self.codes = VisitCodes(spec, dim, tree_heads, layers, heads, feedforward, dropout, backend)
        self.seen = SeenVisits(spec, CONCEPTS)
        self.head = nn.Linear((len(self.seen.read) + len(self.seen.given)) * self.codes.width, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.embed(batch)))

    def embed(self, batch: Batch) -> Tensor:
        """What the head sees: means over earlier visits, and vectors of the visit, side by side."""
        visits = self.codes(batch)
        return self.seen(batch, [visits[c] for c in self.seen.read], visits)

    def pretrain(self, batch: Batch) -> Output:
        """The losses of recovering the codes of each sample's own visit."""
        losses = self.codes.losses(batch)
        return Output(batch.sample_time.new_zeros(0), losses)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published code but for the batch, and for what is kept: its best AUPRC over samples is there."""
        return {"optimizer": "adam", "lr": 5e-4, "batch_size": 8}

    @classmethod
    def pretraining_defaults(cls, spec: Spec) -> dict:
        """Those of the published code."""
        return {"optimizer": "adam", "lr": 5e-4, "batch_size": 64}


class VisitCodes(nn.Module):
    """Steps 1 to 3: a vector of each visit's diagnoses, and one of its drugs.

    Args:
        spec: of the model.
        dim, tree_heads, layers, heads, feedforward, dropout, backend: as of `GBERT`.

    Attributes:
        width: of a vector.
    """

    def __init__(
        self,
        spec: Spec,
        dim: int,
        tree_heads: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        backend: str = "native",
    ):
        super().__init__()
        self.width = width = dim * tree_heads
        self._sizes = {c: spec.size(c) for c in CONCEPTS}
        trees = spec.resources["ontology"]
        self.embed = nn.ModuleDict(
            {c: CodeTokens(OntologyEmbedding(trees[c], dim, tree_heads, backend), width) for c in CONCEPTS}
        )
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.recover = nn.ModuleDict(
            {f"{a}_to_{b}": nn.Linear(width, spec.size(b) - 2) for a in CONCEPTS for b in CONCEPTS}
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """By concept (visits, width)."""
        return {c: self.visits(c, *code_sets(batch[c])) for c in CONCEPTS}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The four of pre-training, on each sample's own visit."""
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        losses = {}
        for a in CONCEPTS:
            ids, there = code_sets(batch[a])
            visits = self.visits(a, hidden(ids[own], there[own], self._sizes[a]), there[own])
            for b in CONCEPTS:
                logits = self.recover[f"{a}_to_{b}"](visits)
                wanted = batch[b].multi_hot(self._sizes[b])[own, 2:]
                losses[f"{a}_to_{b}"] = F.binary_cross_entropy_with_logits(logits, wanted)
        return losses

    def visits(self, concept: str, ids: Tensor, there: Tensor) -> Tensor:
        """(visits, width) from the (visits, longest) codes of a concept and which places hold one."""
        rows, there = self.embed[concept](ids), F.pad(there, (1, 0), value=True)
        for layer in self.layers:
            rows = layer(rows, there)
        return rows[:, 0]


def hidden(ids: Tensor, there: Tensor, size: int) -> Tensor:
    """The same ids with some of them hidden: as ``[MASK]``, which is id ``size``, as another code, or as they were."""
    chance, fate = torch.rand(ids.shape, device=ids.device), torch.rand(ids.shape, device=ids.device)
    other = torch.randint(2, max(size, 3), ids.shape, device=ids.device).clamp(max=size - 1)
    put = torch.where(fate < MASKED, size, torch.where(fate < MASKED + REPLACED, other, ids))
    return torch.where(there & (chance < HIDDEN), put, ids)
