"""Recurrent networks over visits: Elman's, the gated recurrent unit, and the long short-term memory."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import Grid
from zoo.layers import log_days_since
from zoo.models import Dropout, Positive, Size
from zoo.models.visits._visits_and_grid import VisitsAndGrid
from zoo.registry import Choice, register_model

TAKES = {
    "uses": {"diagnosis", "procedure", "drug", "lab", "vital", "static"},
    "kinds": {"binary", "multiclass", "multilabel", "regression"},
    "search": {"model.layers": Choice(1, 2)},
}


class Recurrent(VisitsAndGrid):
    """A recurrent network over the visits of a patient.

    A visit is the sum over concepts of the mean embedding of its codes, followed by log(1 + days) since the start of
    the visit before: x_t, (dim + 1,). The state after the sample's own visit, (dim,), followed by log(1 + days) from
    that visit's start to the prediction, gives the logits. States run from the oldest visit on, so neither later visits
    nor the padding behind a row's last visit can reach one.

    With ``grid``, labs and vitals are no part of a visit's vector. A recurrence of their own reads them on a regular
    grid, steps of (3 * variables,): value, whether observed, log(1 + hours since observed). Its last state stands
    beside the one over visits; without other concepts it stands alone.

    Args:
        dim: width of embeddings and state.
        layers: recurrent layers, each on the states of the one below.
        dropout: on visit vectors, between layers, and on the last state.
        grid: read labs and vitals on a regular grid.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps are read, those of earlier visits among them.
        static: take the static facts of the sample's own visit, which stand beside the last states.
    """

    cell: ClassVar[type[nn.RNNBase]]

    def __init__(
        self,
        spec: Spec,
        dim: Size = 128,
        layers: Size = 1,
        dropout: Dropout = 0.2,
        grid: bool = False,
        step_hours: Positive = 1.0,
        max_steps: Size = 200,
        static: bool = False,
    ):
        super().__init__(spec, dim, grid, step_hours, max_steps, static)
        how = {"batch_first": True, "dropout": dropout if layers > 1 else 0.0}
        if self.visits is not None:
            self.recur = self.cell(dim + 1, dim, layers, **how)
        if self.view is not None:
            self.recur_grid = self.cell(self.view.width, dim, layers, **how)
        self.dropout = nn.Dropout(dropout)
        self.head = self.linear_head(dim)

    def of_visits(self, batch: Batch, visits: Tensor) -> Tensor:
        """The last layer's state after the sample's own visit."""
        inputs = torch.cat([self.dropout(visits), log_days_since(batch)[:, None]], dim=1)
        return self.dropout(batch.at_samples(self.recur(batch.rows(inputs))[0]))

    def of_grid(self, grid: Grid) -> Tensor:
        """The last layer's state after the step that ends at the prediction time."""
        return self.dropout(grid.at_last(self.recur_grid(grid.features().flatten(2))[0]))


@register_model(
    "rnn", family="visits", paper="Elman, Cognitive Science 14, 1990, doi:10.1207/s15516709cog1402_1", **TAKES
)
class RNN(Recurrent):
    """A simple recurrent network over the visits of a patient.

    h_t = tanh(W x_t + U h_(t-1) + b), (dim,). The paper's units are logistic; tanh is what is used since.
    """

    cell = nn.RNN


@register_model("gru", family="visits", paper="Cho et al., EMNLP 2014, arXiv:1406.1078", **TAKES)
class GRU(Recurrent):
    """A gated recurrent unit over the visits of a patient.

    All of (dim,), s the logistic function, * elementwise:

        r_t = s(W_r x_t + U_r h_(t-1) + b_r)
        z_t = s(W_z x_t + U_z h_(t-1) + b_z)
        n_t = tanh(W x_t + b + r_t * (U h_(t-1) + c))
        h_t = z_t * h_(t-1) + (1 - z_t) * n_t

    The paper resets the state before U, not after, and has no biases; torch, followed here, does as cuDNN does.
    """

    cell = nn.GRU


@register_model(
    "lstm", family="visits", paper="Hochreiter and Schmidhuber, Neural Computation 9, 1997; Gers et al., 2000", **TAKES
)
class LSTM(Recurrent):
    """A long short-term memory over the visits of a patient.

    All of (dim,), s the logistic function, * elementwise:

        i_t, f_t, o_t = s(W x_t + U h_(t-1) + b), each with weights of its own
        c_t = f_t * c_(t-1) + i_t * tanh(W_c x_t + U_c h_(t-1) + b_c)
        h_t = o_t * tanh(c_t)

    The forget gate f is of Gers et al., "Learning to Forget", Neural Computation 12, 2000; the first paper has none.
    """

    cell = nn.LSTM
