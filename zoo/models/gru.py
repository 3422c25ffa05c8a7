"""A gated recurrent unit over visits (Cho et al., EMNLP 2014, arXiv:1406.1078)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo.data import Batch, Spec
from zoo.layers import VisitEmbedding
from zoo.models import Model, Output
from zoo.registry import register_model


@register_model(
    "gru",
    paper="Cho et al., EMNLP 2014, arXiv:1406.1078",
    uses={"diagnosis", "procedure", "drug", "lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
)
class GRU(Model):
    """A gated recurrent unit over the visits of a patient.

    A visit is the sum over concepts of the mean embedding of its codes, followed by the logarithm of the days since
    the visit before and of the days until the prediction; the state after the sample's own visit gives the logits.

    Args:
        dim: width of embeddings and state.
        layers: recurrent layers.
        dropout: on visit vectors and on the last state.
    """

    def __init__(self, spec: Spec, dim: int = 128, layers: int = 1, dropout: float = 0.2):
        super().__init__(spec)
        self.embed = VisitEmbedding({c: spec.size(c) for c in spec.concepts}, dim)
        self.recur = nn.GRU(dim + 2, dim, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        visits = torch.cat([self.dropout(self.embed(batch)), _days(batch)], dim=1)
        rows = pack_padded_sequence(batch.rows(visits), batch.row_lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.recur(rows)[0], batch_first=True)
        return Output(self.head(self.dropout(batch.at_samples(states))))


def _days(batch: Batch) -> torch.Tensor:
    """(visits, 2): log(1 + days) since the visit before, and from a sample's own visit's start to its prediction."""
    start = batch.visit_start
    since = torch.diff(start, prepend=start[:1]).clamp(min=0)
    since[batch.row_offsets[:-1]] = 0
    until = torch.zeros_like(start)
    own = batch.row_offsets[batch.sample_row] + batch.sample_visit
    until[own] = (batch.sample_time - start[own]).clamp(min=0)
    return torch.log1p(torch.stack([since, until], dim=1) / 24).float()
