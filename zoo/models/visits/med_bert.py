"""Med-BERT, a BERT over the codes of a patient (Rasmy et al., npj Digital Medicine 2021, arXiv:2005.12833).

With d = dim, for each sample the codes of all visits that it sees, oldest visit first, N of them:

1. x_n = LayerNorm(e_code + e_place + e_visit) in R^d, with embeddings of the code, of its place among the codes of its
   visit (serialization), and of the number of its visit.
2. H = Transformer(X) in R^(N x d): ``layers`` layers of attention among all N codes, and of feed-forward networks.
3. s = tanh(W mean_n H_n + b) in R^d stands for the sequence: the paper has no [CLS], which visits of any number would
   have to share, and no [SEP].
4. Pre-training: one code of each sequence is hidden, 80 % as [MASK], 10 % as another code, 10 % as it is, and told from
   H at its place, softmax(E f(h) + b) with E the embeddings of codes and f a dense layer, GELU and LayerNorm; and from
   s is told whether the patient ever stayed for more than 7 days. The loss is the sum of the two cross-entropies.
5. Fine-tuning: logits = W s + b.

Every visit ends a sequence here, so that a patient of three visits is pre-trained with three. How long a visit was is
read from the prediction time, and of earlier ones from the time of their newest event: the codes that are billed at
discharge, where there are such.

The paper has diagnoses alone (load the data with ``concepts={"diagnosis"}``); Liu et al. (MedM-PLM, Table III) give it
drugs, too. In a visit the diagnoses come first, each code once and in the order in which it first comes: by time, and
at the same time by the source's rank (``SEQ_NUM`` in MIMIC, the priority in eICU; those without one last), then by
name. The published code orders the codes of a visit by whether they were present on admission, whether a third party
billed them, and their priority; the first two are not in these sources.

Where published code and paper part (the paper is followed):

- ``[MASK]`` has id 0 there, which is padding, too. Here it has an id of its own.
- The stay is told there from the first code, in another script from the sum of H, padding included. Here it is told
  from s.
- Places are counted there over the whole sequence. Here they are counted within a visit.
- Sequences that are too long for pre-training are left out there. Here the newest ``max_length`` codes are read, as
  there in fine-tuning.
- A task reads there BERT's pooled first code, or a GRU over H. Here it reads s.
- The rate rises there over the first 10,000 of 4,500,000 steps. Here it does over a tenth of fewer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.batch import Ragged
from zoo.layers import EncoderLayer, SampleHistory, hide
from zoo.models import Dropout, MultipleOfHeads, Size
from zoo.models._model import Model, Output
from zoo.registry import Choice, LogBetween, register_model

CODES = ("diagnosis", "drug")
LONG_STAY = 7 * 24
"""Hours."""
PART = {"weights": "sequence.", "hyperparameters": ("dim", "layers", "heads", "feedforward", "visits")}
"""What other models with this encoder of codes take over of a run of this one."""


@register_model(
    "med_bert",
    family="visits",
    paper="Rasmy et al., npj Digital Medicine 2021, arXiv:2005.12833",
    uses=set(CODES),
    kinds={"binary", "multiclass", "multilabel", "regression"},
    levels={"drug": "atc3"},
    waives={"code_order": "the place of a code in its visit is part of the input"},
    published={
        "model.dim": 192,
        "model.layers": 6,
        "model.heads": 6,
        "model.feedforward": 64,
        "model.max_length": 512,
        "model.visits": 1000,
        "model.dropout": 0.1,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-5,
        "trainer.batch_size": 100,
        "trainer.patience": 20,
    },
    search={"model.dim": Choice(96, 192, 384), "trainer.lr": LogBetween(1e-5, 2e-3)},
)
class MedBERT(Model):
    """A Transformer over the codes of all visits, with embeddings of their places and of their visits.

    Args:
        spec: what the data are like.
        dim: d, a multiple of ``heads``; 192 in the paper.
        layers, heads: of the Transformer; 6 and 6 in the paper.
        feedforward: width of the hidden layer of its feed-forward networks; 64 in the published configuration.
        max_length: how many codes are read, the newest ones; 512 in the published configuration.
        visits: how many visits have numbers of their own; later ones share the last; 1,000 in the published
            configuration.
        dropout: in the Transformer and before the head; 0.1 in the published configuration.
    """

    def __init__(
        self,
        spec: Spec,
        dim: MultipleOfHeads = 192,
        layers: Size = 6,
        heads: Size = 6,
        feedforward: Size = 64,
        max_length: Size = 512,
        visits: Size = 1000,
        dropout: Dropout = 0.1,
    ):
        super().__init__(spec)
        self.sequence = CodeSequence(spec, dim, layers, heads, feedforward, max_length, visits, dropout)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(dim, spec.outputs)

    @classmethod
    def pretraining_defaults(cls, spec: Spec) -> dict:
        """The published script's: 32 sequences a batch, and a rate of 5e-5 that rises first and falls to 0."""
        return {"lr": 5e-5, "batch_size": 32, "schedule": "linear", "warmup": 0.1, "weight_decay": 0.01}

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """A rate at which six layers learn from nothing, too.

        The published fine-tuning, of layers that have learned from 28 million patients, has Adam at 1e-5, a patience of
        20, and 100 patients a batch.
        """
        return {"lr": 2e-4, "batch_size": 32}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """What stands for the sequence, s."""
        return self.sequence(batch)

    def pretrain(self, batch: Batch) -> Output:
        """The losses ``code``, of the one hidden, and ``stay``."""
        losses = self.sequence.losses(batch)
        return Output(losses["code"].new_zeros(0), losses)


class Codes(NamedTuple):
    """The codes of samples, oldest first; padding is 0.

    Attributes:
        tokens: (samples, longest) int64, numbers over all concepts.
        place: (samples, longest) int64, which of its visit a code is.
        visit: (samples, longest) int64, the number of its visit.
    """

    tokens: Tensor
    place: Tensor
    visit: Tensor


class CodeSequence(nn.Module):
    """Steps 1 to 4: what stands for the sequence of a sample, and the two losses of pre-training.

    Args:
        spec: of the model.
        dim, layers, heads, feedforward, max_length, visits, dropout: as of `MedBERT`.
    """

    def __init__(
        self,
        spec: Spec,
        dim: int,
        layers: int,
        heads: int,
        feedforward: int,
        max_length: int,
        visits: int,
        dropout: float,
    ):
        super().__init__()
        self.max_length, self.begins, count = max_length, {}, 1
        for concept in (c for c in CODES if c in spec.concepts):
            self.begins[concept] = count - 1  # id 1, unknown, is the first number of a concept
            count += spec.size(concept) - 1
        self.mask_token = count
        self.code = nn.Embedding(count + 1, dim, padding_idx=0)
        self.place, self.visit = nn.Embedding(max_length, dim), nn.Embedding(visits, dim)
        for embedding in (self.code, self.place, self.visit):
            nn.init.normal_(embedding.weight, std=0.02)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, feedforward, dropout, nn.GELU) for _ in range(layers))
        self.pool = nn.Linear(dim, dim)
        self.transform = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.code_bias = nn.Parameter(torch.zeros(count + 1))
        self.stay = nn.Linear(dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """(samples, dim), s of each sample."""
        codes = self.codes(batch)
        return self._whole(self._states(codes), codes.tokens > 0)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``code``: the cross-entropy of the hidden one, a mean over samples; ``stay``: that of long stays."""
        codes = self.codes(batch)
        there = codes.tokens > 0
        hidden = hide(codes.tokens, there, self.mask_token, (1, max(self.mask_token, 2)), share=0.0)
        states = self._states(codes._replace(tokens=hidden.tokens))
        at = hidden.place[..., None].expand(-1, -1, states.shape[-1])
        told = self.transform(states.gather(1, at)[:, 0]) @ self.code.weight.T + self.code_bias
        each = F.cross_entropy(told.float(), hidden.target[:, 0], reduction="none")
        some = hidden.counts[:, 0]
        stay = self.stay(self._whole(states, there))[:, 0].float()
        return {
            "code": (each * some).sum() / some.sum().clamp(min=1),
            "stay": F.binary_cross_entropy_with_logits(stay, self.stayed_long(batch).to(stay.dtype)),
        }

    def codes(self, batch: Batch) -> Codes:
        """The newest codes of the visits that each sample sees."""
        history = SampleHistory(batch)
        parts = []
        for concept, begin in self.begins.items():
            ids, new = in_order(batch[concept])
            parts.append((ids + begin) * new)
        none = history.visit.new_zeros(len(batch.visit_start), 1)
        of_visit = torch.cat(parts or [none], dim=1)  # (visits, places)
        tokens = F.embedding(history.visit, of_visit) * history.mask[..., None]  # (samples, visits, places)
        there = tokens > 0
        place = (there.cumsum(dim=2) - 1).flatten(1)
        number = torch.arange(tokens.shape[1], device=tokens.device)[:, None].expand_as(tokens[0]).flatten()
        tokens, there = tokens.flatten(1), there.flatten(1)
        total = there.sum(dim=1, keepdim=True)
        longest = min(self.max_length, tokens.shape[1])
        if not tokens.is_cuda:  # a GPU would have to be waited for
            longest = min(longest, int(total.max()))
        longest = max(longest, 1)
        rank = there.cumsum(dim=1) - 1 - (total - longest).clamp(min=0)
        where = rank.masked_fill(~there | (rank < 0), longest)
        empty = tokens.new_zeros(len(tokens), longest + 1)
        return Codes(*(empty.scatter(1, where, part)[:, :-1] for part in (tokens, place, number.expand_as(tokens))))

    def stayed_long(self, batch: Batch) -> Tensor:
        """(samples,) bool, whether a visit that the sample sees was longer than 7 days, as far as can be told."""
        history = SampleHistory(batch)
        late = torch.zeros_like(batch.visit_start)
        for concept in self.begins:
            events = batch[concept]
            late = late.index_add(0, events.visit, (events.time > LONG_STAY).to(late.dtype))
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        elapsed = batch.sample_time - batch.visit_start[own]
        return ((late > 0)[history.visit] & history.mask).any(dim=1) | (elapsed > LONG_STAY)

    def _states(self, codes: Codes) -> Tensor:
        """(samples, longest, dim), H."""
        place = self.place(codes.place.clamp(0, self.place.num_embeddings - 1))
        visit = self.visit(codes.visit.clamp(max=self.visit.num_embeddings - 1))
        rows = self.dropout(self.norm(self.code(codes.tokens) + place + visit))
        seen = codes.tokens > 0
        seen = seen | (torch.arange(seen.shape[1], device=seen.device) == 0)  # a sample without codes sees its padding
        for layer in self.layers:
            rows = layer(rows, seen)
        return rows

    def _whole(self, states: Tensor, there: Tensor) -> Tensor:
        """(samples, dim), s."""
        mean = (states * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
        return self.pool(mean).tanh()


def in_order(events: Ragged) -> tuple[Tensor, Tensor]:
    """(visits, longest) the ids of each visit in the order of events, and where each comes for the first time.

    >>> in_order(Ragged(torch.tensor([5, 3, 5]), torch.tensor([0, 3, 3]), torch.zeros(3)))[1].tolist()
    [[True, True, False], [False, False, False]]
    """
    ids, there = events.padded()
    sorted_ids, order = ids.sort(dim=1, stable=True)
    new = torch.ones_like(there)
    new[:, 1:] = sorted_ids[:, 1:] != sorted_ids[:, :-1]
    return ids, torch.zeros_like(there).scatter(1, order, new) & there
