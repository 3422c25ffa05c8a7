"""COGNet, a conditional generation net (Wu et al., WWW 2022, arXiv:2202.06588).

With d = dim and M drugs, the drugs of visit t are written one a step; each is copied from an earlier visit or new.

1. Codes. The diagnoses D_t, procedures P_t and drugs of a visit are embedded, and go through an encoder each, which is
   that of a Transformer without places: D'_t with a row in R^d for each, P'_t, and M'_j of the visits j < t.
2. Drugs. Z = Z_e - lambda Z_d in R^(M x d), of the graph of drugs that occur together in the training split (Z_e) and
   that of drugs that interact (Z_d): A' ReLU(A' W) W_2 with A' = D^(-1/2) (A + I) D^(-1/2). The two share W in
   R^(M x d), and have W_2 in R^(d x d) of their own; lambda is learned.
3. Decoder. x_k = the embedding of the drug before step k, plus its row of Z. From X of (k, d):
   H = norm(X + attention(X)), no step looking at a later one; H' = norm(H + attention(H, D'_t) + attention(H, P'_t));
   H'' = norm(H' + W_b ReLU(W_a H')); h_k in R^d is its last row.
4. A new drug: P_g = softmax(W_g h_k) over the drugs and the end.
5. A copied one. Of visits, v^D_j = D'_j^T softmax(w^T tanh(W D'_j)), v^P_j alike, and
   c_j = softmax over j < t of (v^D_t . v^D_j + v^P_t . v^P_j) / sqrt(d).
   Of their drugs m_jn, a_jn ~ c_j exp(h_k^T W_c m'_jn / sqrt(d)), which add up to 1 over all n and all j < t;
   P_c(m) = sum of the a_jn with m_jn = m.
6. P = w P_g + (1 - w) P_c, w = sigmoid(w_f^T h_k); w = 1 where no earlier visit has a drug.

Training: -log P(Y | x) of the label's drugs in a fixed order, rare ones first, and ``ddi_weight`` times the pairs of
interacting drugs to expect, sum over i, j of A_ij p_i p_j with p_i the sum over steps of the probabilities of drug i.
`zoo.models.medication._drug_sequences` has how a set is written, and what the score of a drug is. The authors keep 4
sequences in their search (``beams=4``); here it is 1 by default, which takes a quarter of the time.

Where published code and paper part (the paper is followed):

- The published loss of interactions is commented out, so that none is trained there. Here it has the weight that it
  had there; its p_i would have been the mean over steps, and its sum over all visits of a batch.
- Its other loss is the mean over all drugs of a batch, so that long sets weigh more. Here it is one over visits.
- The weight lambda of the graph of interactions starts from memory that was never written. Here it starts from 1.
- Weights of copying are clamped from below, so that padding and later visits have a share; and the softmax over drugs
  takes in those of later visits. Here it is over the drugs of earlier visits alone.
- Visits are shifted by one with zeros in front, so that each visit attends to one that never was. Here a visit attends
  to those before it.
- Drugs are padded with the number of the first drug, to which padding is copied. Here padding has a number of its own.
- The average number of drugs counts the ends that were written. Here an end is no drug.
- Frequencies for the order of drugs are those of all patients, tested ones included. Here they are of training, and a
  drug's is how often it occurs beside others.
- Its adjacency is divided by row sums, and its graph convolutions have biases and dropout. Here it is symmetric, and
  they have neither.
- Only its search with beams leaves out drugs that were written before, and so its validation, without beams, does not.
  Here they have no part in later steps, in training too.
- The hidden layers of its encoders are 2048 wide, those of its decoder 2 d, and that of its pooling of visits 32. Here
  the former are 2 d, and the last d.
- Its dropout is 0.3 on embeddings and within the graph convolutions, and 0.2 in encoders and decoder. Here it is one
  number, 0.2 by default, and none is within the graph convolutions.
- It trains on 16 patients a step, 200 epochs, with Adam at a rate of 0.001. So it is here, but for the epochs.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.batch import Ragged
from zoo.layers import EncoderLayer, SampleHistory, code_sets
from zoo.models import Dropout, MultipleOfHeads, Size, Weight
from zoo.models.medication._drug_sequences import SequenceModel, Sequences, State, Step
from zoo.models.medication._drug_sets import expected_interactions
from zoo.models.medication.gamenet import normalised
from zoo.registry import Choice, register_model

ASKING = ("diagnosis", "procedure")
"""The concepts of a visit that its drugs are written for."""


@register_model(
    "cognet",
    family="medication",
    paper="Wu et al., WWW 2022, arXiv:2202.06588",
    uses={"diagnosis", "procedure", "drug"},
    needs={"diagnosis", "drug"},
    kinds={"multilabel"},
    predicts="drug",
    causal=True,
    resources={"cooccurrence", "interactions"},
    published={
        "model.dim": 64,
        "model.heads": 2,
        "model.dropout": 0.2,
        "model.max_drugs": 45,
        "model.beams": 4,
        "model.ddi_weight": 0.0,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-3,
        "trainer.batch_size": 16,
        "trainer.max_epochs": 200,
        "trainer.monitor": "jaccard_samples",
    },
    search={"model.dropout": Choice(0.1, 0.2, 0.3, 0.5)},
)
class COGNet(SequenceModel):
    """Drugs are written one by one: new ones, or copies from earlier visits with like diagnoses and procedures.

    Args:
        dim: width d, a multiple of ``heads``.
        heads: of attention.
        dropout: on embeddings (0.3 in the published code), attention weights, and what each sub-layer adds (0.2 there).
        max_drugs: how many drugs are written at most.
        beams: how many sequences are kept in search of the likeliest one; the authors keep 4, in four times the time.
        ddi_weight: of the interacting pairs to expect; 0 in the published code, where the loss is commented out.
    """

    renamed: ClassVar = {"embed.": "codes."}

    def __init__(
        self,
        spec: Spec,
        dim: MultipleOfHeads = 64,
        heads: Size = 2,
        dropout: Dropout = 0.2,
        max_drugs: Size = 45,
        beams: Size = 1,
        ddi_weight: Weight = 0.0005,
    ):
        super().__init__(spec, max_drugs, beams)
        self.ddi_weight = ddi_weight
        self.asking = [c for c in ASKING if c in spec.concepts]
        self.codes = nn.ModuleDict({c: nn.Embedding(spec.size(c), dim, padding_idx=0) for c in self.asking})
        self.drugs = nn.Embedding(spec.size("drug") + 1, dim, padding_idx=0)  # and, as the last one, the start
        self.encode = nn.ModuleDict({c: EncoderLayer(dim, heads, 2 * dim, dropout) for c in (*self.asking, "drug")})
        self.pool = nn.ModuleDict({c: Pool(dim) for c in self.asking})
        together, interacting = (np.asarray(spec.resources[n]) > 0 for n in ("cooccurrence", "interactions"))
        self.graphs = DrugGraphs(together, interacting, dim)
        self.decoder = Decoder(self.asking, dim, heads, dropout)
        self.new = nn.Linear(dim, spec.outputs + 1)
        self.copy = nn.Linear(dim, dim)
        self.switch = nn.Linear(dim, 1)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("interactions", torch.from_numpy(interacting).float(), persistent=False)

    def known(self, batch: Batch) -> State:
        """What is known of each sample.

        Returns:
            Of each concept that asks the (samples, places, 2 d) keys and values of its codes in the sample's visit, and
            (samples, places) where there is one; of all drugs of earlier visits (samples, places, d) m', (samples,
            places) their numbers and log c, the latter the lowest number where there is none.
        """
        history = SampleHistory(batch)
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        asked, pooled = [], []
        for concept in self.asking:
            codes, there = self.asking_codes(batch, concept)
            pooled.append(self.pool[concept](codes, there))
            asked += [self.decoder.across[concept].key_value(codes)[own], there[own]]
        ids, there = code_places(batch["drug"], self.spec.size("drug"))
        drugs = self.encoded("drug", self.drugs(ids), there)
        log_c = visit_log_weights(torch.cat(pooled, -1), own, history, drugs.shape[-1])
        can = (there & (ids > 1))[history.visit] & history.earlier[..., None]
        weight = log_c[..., None].masked_fill(~can, torch.finfo(log_c.dtype).min)
        return *asked, *(x.flatten(1, 2) for x in (drugs[history.visit], (ids - 2).clamp(min=0)[history.visit], weight))

    def embed(self, batch: Batch) -> Tensor:
        """The pooled diagnoses and procedures of the visit, [v^D_t; v^P_t], by which visits are found alike."""
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        return torch.cat([self.pool[c](*self.asking_codes(batch, c)) for c in self.asking], dim=-1)[own]

    def asking_codes(self, batch: Batch, concept: str) -> tuple[Tensor, Tensor]:
        """(visits, places, d) the codes of visits, and (visits, places) where there is one."""
        ids, there = code_places(batch[concept], self.spec.size(concept))
        return self.encoded(concept, self.codes[concept](ids), there), there

    def encoded(self, concept: str, vectors: Tensor, there: Tensor) -> Tensor:
        """(visits, places, d) the codes of visits from their embeddings; of no meaning where there is none."""
        return self.encode[concept](self.dropout(vectors), there | ~there.any(1, keepdim=True))

    def inputs(self) -> Tensor:
        """(M + 2, d): of each drug, of the end, which nothing follows, and of the start, what the decoder reads."""
        drugs, start = self.drugs.weight[2:-1], self.drugs.weight[-1:]
        return torch.cat([drugs + self.graphs(), torch.zeros_like(start), start])

    def taught(self, known: State, tokens: Tensor) -> Tensor:
        """All steps at once."""
        before = F.pad(tokens, (1, -1), value=self.spec.outputs + 1)
        vectors = self.dropout(F.embedding(before, self.inputs()))
        place = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.decoder(vectors, self.decoder.own.key_value(vectors), place <= place[:, None], known)
        return self.scores(hidden, known)

    def writer(self, known: State) -> tuple[State, Step]:
        """The state is the keys and values of the steps before, and what is known."""
        table = self.inputs()
        cache = table.new_zeros(len(known[0]), self.steps, 2 * table.shape[1])

        def step(state: State, token: Tensor, place: int) -> tuple[State, Tensor]:
            cache, known = state[0], state[1:]
            vectors = F.embedding(token, table)[:, None]
            cache[:, place] = self.decoder.own.key_value(vectors)[:, 0]
            seen = torch.ones(1, place + 1, dtype=torch.bool, device=token.device)
            hidden = self.decoder(vectors, cache[:, : place + 1], seen, known)
            return state, self.scores(hidden, known)[:, 0]

        return (cache, *known), step

    def scores(self, hidden: Tensor, known: State) -> Tensor:
        """(n, steps, M + 1) log P, from (n, steps, d) h."""
        drugs, number, weight = known[-3:]
        new = self.new(hidden).float().log_softmax(-1)
        copied = copy_probabilities(self.copy(hidden), drugs, number, weight, new.shape[-1])
        switch = self.switch(hidden).float()
        both = torch.logaddexp(
            F.logsigmoid(switch) + new, F.logsigmoid(-switch) + copied.clamp(min=torch.finfo(copied.dtype).tiny).log()
        )
        return torch.where(any_to_copy(weight)[:, None, None], both, new)

    def further(self, log_p: Tensor, sequences: Sequences) -> dict[str, Tensor]:
        """The loss of interactions."""
        expected = log_p[..., :-1].exp().masked_fill(~sequences.there[..., None], 0).sum(1)
        return {"interactions": self.ddi_weight * expected_interactions(expected, self.interactions).mean()}

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published code, which watches the sets themselves."""
        return {"optimizer": "adam", "lr": 1e-3, "batch_size": 16, "monitor": "jaccard_samples", "patience": 10}


class DrugGraphs(nn.Module):
    """Z = Z_e - lambda Z_d, of two (drugs, drugs) bool graphs."""

    def __init__(self, together: np.ndarray, interacting: np.ndarray, dim: int):
        super().__init__()
        both = np.stack([normalised(together), normalised(interacting)])
        self.register_buffer("adjacency", torch.from_numpy(both), persistent=False)
        self.embedding = nn.Parameter(torch.empty(len(together), dim))
        self.weight = nn.Parameter(torch.empty(2, dim, dim))
        self.interacting_weight = nn.Parameter(torch.tensor(1.0))
        for parameter in (self.embedding, *self.weight):
            nn.init.xavier_uniform_(parameter)

    def forward(self) -> Tensor:
        """(drugs, d)."""
        together, interacting = self.adjacency @ (self.adjacency @ self.embedding).relu() @ self.weight
        return together - self.interacting_weight * interacting


class Pool(nn.Module):
    """v = sum over i of a_i x_i, a = softmax of w^T tanh(W x_i)."""

    def __init__(self, dim: int):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1, bias=False))

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """(visits, d) from (visits, places, d) and (visits, places) where there is a code; zeros where none is."""
        score = self.score(vectors)[..., 0]
        weight = score.masked_fill(~there, torch.finfo(score.dtype).min).softmax(-1).masked_fill(~there, 0)
        return (weight[..., None] * vectors).sum(1)


class Attention(nn.Module):
    """Scaled dot-product attention to keys and values that are at hand.

    Args:
        dim: width, a multiple of ``heads``.
        heads: how many.
        dropout: on attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key_value, self.combine = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, rows: Tensor, key_value: Tensor, seen: Tensor) -> Tensor:
        """(n, steps, d) from the same; zeros where nothing is seen.

        Args:
            rows: (n, steps, d), what asks.
            key_value: (n, places, 2 d), what `key_value` made of what is asked.
            seen: (n or 1, steps or 1, places) bool.
        """
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.query(rows), *key_value.chunk(2, -1))
        )
        some = seen.any(-1, keepdim=True)
        mask = (seen | ~some).expand(len(rows), rows.shape[1], -1)[:, None]
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout)
        return self.combine(found.transpose(1, 2).flatten(-2)).masked_fill(~some, 0)


class Decoder(nn.Module):
    """A layer that looks at the steps up to its own, and at the codes of each of some concepts."""

    def __init__(self, concepts: list[str], dim: int, heads: int, dropout: float):
        super().__init__()
        self.own = Attention(dim, heads, dropout)
        self.across = nn.ModuleDict({c: Attention(dim, heads, dropout) for c in concepts})
        self.feed_forward = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, key_value: Tensor, seen: Tensor, known: State) -> Tensor:
        """(n, steps, d) H'' from X.

        Args:
            rows: (n, steps, d) X.
            key_value: (n, places, 2 d) the keys and values of all steps there are.
            seen: (steps, places) bool, which of them each step may look at.
            known: keys and values of the codes of each concept, and where there are some, one after the other.
        """
        rows = self.norms[0](rows + self.dropout(self.own(rows, key_value, seen[None])))
        codes = zip(self.across.values(), known[::2], known[1::2], strict=False)
        found = sum(self.dropout(attend(rows, made, there[:, None])) for attend, made, there in codes)
        rows = self.norms[1](rows + found)
        return self.norms[2](rows + self.dropout(self.feed_forward(rows)))


def code_places(events: Ragged, size: int) -> tuple[Tensor, Tensor]:
    """(visits, places) the ids of each visit, each once and ascending, and where there is one; one place at least.

    >>> code_places(Ragged(torch.tensor([5, 5, 3, 5, 5]), torch.tensor([0, 4, 4, 5]), torch.zeros(5)), 4)[0].tolist()
    [[3, 5, 0], [0, 0, 0], [5, 0, 0]]
    """
    ids, there = code_sets(events)
    ids, there = (F.pad(x, (0, 1 if ids.shape[1] == 0 else 0)) for x in (ids, there))
    first = (~there).byte().argsort(dim=1, stable=True)[:, : max(size - 1, 1)]
    there = there.gather(1, first)
    return ids.gather(1, first).masked_fill(~there, 0), there


def visit_log_weights(visits: Tensor, own: Tensor, history: SampleHistory, dim: int) -> Tensor:
    """(samples, longest) float32 log c of the visits before a sample's own, from (visits, ...) v of all concepts."""
    score = (visits[history.visit] @ visits[own][..., None])[..., 0].float() / dim**0.5
    return score.masked_fill(~history.earlier, torch.finfo(score.dtype).min).log_softmax(-1)


def copy_probabilities(query: Tensor, drugs: Tensor, number: Tensor, weight: Tensor, size: int) -> Tensor:
    """(n, steps, size) float32 P_c; of no meaning where there is nothing to copy.

    Args:
        query: (n, steps, d) W_c h.
        drugs: (n, places, d) m' of all drugs of earlier visits.
        number: (n, places) which drug it is.
        weight: (n, places) log c of its visit, the lowest number where there is no drug.
        size: M + 1.
    """
    score = (query @ drugs.transpose(1, 2)).float() / query.shape[-1] ** 0.5
    nothing = (weight == torch.finfo(weight.dtype).min)[:, None]
    share = (score + weight[:, None]).masked_fill(nothing, torch.finfo(score.dtype).min).softmax(-1)
    into = number[:, None].expand_as(share)
    return share.new_zeros(*share.shape[:2], size).scatter_add(2, into, share)


def any_to_copy(weight: Tensor) -> Tensor:
    """(n,) bool: where an earlier visit has a drug."""
    return (weight > torch.finfo(weight.dtype).min).any(1)
