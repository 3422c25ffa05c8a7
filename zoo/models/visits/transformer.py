"""A Transformer encoder over visits (Vaswani et al., NeurIPS 2017)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import Grid
from zoo.layers import EncoderLayer, sinusoids
from zoo.models import Dropout, Positive, Size
from zoo.models.visits._visits_and_grid import VisitsAndGrid
from zoo.registry import Choice, MultipleOf, register_model


@register_model(
    "transformer",
    family="visits",
    paper="Vaswani et al., NeurIPS 2017, arXiv:1706.03762",
    uses={"diagnosis", "procedure", "drug", "lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 512,
        "model.layers": 6,
        "model.heads": 8,
        "model.feedforward": 2048,
        "model.dropout": 0.1,
        "trainer.optimizer": "adam",
        "trainer.warmup": 4000,
    },
    search={"model.layers": Choice(1, 2, 4)},
)
class Transformer(VisitsAndGrid):
    """A Transformer encoder over the visits of a patient.

    A visit's vector is the sum over concepts of the mean embedding of its codes, plus the paper's sines and cosines
    twice: of its place in the history, and of the days since the first visit, so that the network can tell gaps of
    days from gaps of years. Embeddings have unit variance and are not scaled by sqrt(dim). Then come layers of the
    paper's encoder, X of (visits, dim):

        A = X + attention(X)
        X' = norm(A);  X'' = norm(X' + W_2 relu(W_1 X' + b_1) + b_2)

    A visit attends to itself and to earlier ones, so that neither later visits nor padding reach it. The vector of the
    sample's own visit, followed by log(1 + days) from its start to the prediction, gives the logits.

    With ``grid``, labs and vitals are no part of a visit's vector. An encoder of their own reads them on a regular
    grid: a step's (3 * variables,) numbers (value, whether observed, log(1 + hours since observed)) go through a linear
    map to (dim,), the encodings are of its place and of the hours since the first step, and its last vector stands
    beside the one over visits; without other concepts it stands alone.

    The paper's base model has 6 layers of 512, a feed-forward network of 2048, 8 heads, and trains with Adam at a rate
    that warms up over 4000 steps, for millions of sentence pairs. Heads, dropout, Adam and the fourfold feed-forward
    network are kept.

    Args:
        dim: width of visit vectors, a multiple of ``2 * heads``; 512 in the paper.
        layers: of the encoder; 6 in the paper.
        heads: of attention.
        feedforward: width of the hidden layer of the feed-forward network; None: four times ``dim``, as in the
            paper, where it is 2048.
        dropout: on the sum of embedding and encodings, on attention weights, and on what each sub-layer adds.
        grid: read labs and vitals on a regular grid.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps are read, those of earlier visits among them.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Annotated[Size, MultipleOf("heads", times=2)] = 128,
        layers: Size = 2,
        heads: Size = 8,
        feedforward: Size | None = None,
        dropout: Dropout = 0.1,
        grid: bool = False,
        step_hours: Positive = 1.0,
        max_steps: Size = 200,
    ):
        super().__init__(spec, dim, grid, step_hours, max_steps)
        feedforward = feedforward or 4 * dim
        if self.visits is not None:
            self.encode = _Encoder(dim, layers, heads, feedforward, dropout)
        if self.view is not None:
            self.embed_grid = nn.Linear(self.view.width, dim)
            self.encode_grid = _Encoder(dim, layers, heads, feedforward, dropout)
        self.head = self.linear_head(dim)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """The paper's optimiser."""
        return {"optimizer": "adam"}

    def of_visits(self, batch: Batch, visits: Tensor) -> Tensor:
        """The sample's own visit, encoded."""
        return batch.at_samples(self.encode(batch.rows(visits), batch.rows(batch.visit_start) / 24))

    def of_grid(self, grid: Grid) -> Tensor:
        """The step that ends at the prediction time, encoded."""
        steps = self.embed_grid(grid.features().flatten(2))
        return grid.at_last(self.encode_grid(steps, grid.until[:, :1] - grid.until))


class _Encoder(nn.Module):
    """Encodings of place and time, and layers of self-attention."""

    def __init__(self, dim: int, layers: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, feedforward, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, time: Tensor) -> Tensor:
        """(rows, longest, dim) from the same, and the (rows, longest) time of each place since the first."""
        place = torch.arange(rows.shape[1], device=rows.device)
        rows = self.dropout(rows + sinusoids(place, rows.shape[2]) + sinusoids(time, rows.shape[2]))
        for layer in self.layers:
            rows = layer(rows)
        return rows
