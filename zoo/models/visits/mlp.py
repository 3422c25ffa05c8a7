"""A multi-layer perceptron on the mean visit (Rumelhart et al., Nature 1986)."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.layers import VisitEmbedding
from zoo.models import Dropout, Model, Output, Size
from zoo.registry import Choice, register_model


@register_model(
    "mlp",
    family="visits",
    paper="Rumelhart et al., Nature 323, 1986, doi:10.1038/323533a0",
    uses={"diagnosis", "procedure", "drug", "lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    search={"model.layers": Choice(1, 2, 3)},
)
class MLP(Model):
    """A multi-layer perceptron on the mean of a patient's visit vectors, which tells neither order nor time.

    A visit's vector is the sum over concepts of the mean embedding of its codes. With v_1, ..., v_t the vectors of the
    visits up to the sample's own, (dim,) each, and L layers:

        h_0 = (v_1 + ... + v_t) / t         (dim,); with ``static`` followed by the static facts of the own visit
        h_l = relu(W_l h_(l-1) + b_l)       (dim,), l = 1, ..., L
        logits = W h_L + b                  (outputs,)

    Rectifiers stand for the paper's logistic units.

    Args:
        dim: width of embeddings and hidden layers.
        layers: hidden layers.
        dropout: on the mean visit and on each hidden layer.
        static: take static facts.
    """

    renamed: ClassVar = {"embed.": "visits."}

    def __init__(self, spec: Spec, dim: Size = 128, layers: Size = 2, dropout: Dropout = 0.2, static: bool = False):
        super().__init__(spec)
        self.visits = VisitEmbedding({c: spec.size(c) for c in spec.concepts}, dim)
        self.dropout = nn.Dropout(dropout)
        self.facts = len(spec.static) if static else 0
        widths = [dim + self.facts, *[dim] * layers]
        hidden = ((nn.Linear(w, dim), nn.ReLU(), nn.Dropout(dropout)) for w in widths[:layers])
        self.head = nn.Sequential(*itertools.chain.from_iterable(hidden), nn.Linear(dim, spec.outputs))

    def forward(self, batch: Batch) -> Output:
        return Output(self.head[-1](self.embed(batch)))

    def embed(self, batch: Batch) -> Tensor:
        """The last hidden layer, h_L."""
        means = batch.at_samples(_means_so_far(batch.rows(self.visits(batch))))
        means = self.dropout(means)
        return self.head[:-1](torch.cat([means, batch.own_static], dim=1) if self.facts else means)


def _means_so_far(visits: Tensor) -> Tensor:
    """(rows, longest, dim): at each visit the mean of those up to it; padding is behind all visits of its row."""
    count = torch.arange(1, visits.shape[1] + 1, device=visits.device)
    return visits.cumsum(1) / count[:, None]
