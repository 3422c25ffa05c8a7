"""GRU-D, a recurrent network whose inputs and states decay (Che et al., Scientific Reports 2018, arXiv:1606.01865).

The input is the grid of labs and vitals at the steps in which something was observed. With D variables, for each step
t: x_t in R^D the values, m_t in {0, 1}^D which were observed, x' in R^D the last values before it, and delta_t in R^D
the hours from those to the end of step t (of a variable never observed, from the start of what is looked at):

1. gamma^x_t = exp(-max(0, w_x * delta_t + b_x)) in R^D, element by element, and
   gamma^h_t = exp(-max(0, W_h delta_t + b_h)) in R^dim.
2. xhat_t = m_t * x_t + (1 - m_t) * (gamma^x_t * x' + (1 - gamma^x_t) * mean), where the mean over observed training
   values is 0, as values are standardised.
3. h = gamma^h_t * h_(t-1), and of a GRU that gets the mask, too:
   z = sigmoid(W_z xhat_t + U_z h + V_z m_t + b_z), r likewise,
   c = tanh(W xhat_t + U (r * h) + V m_t + b), h_t = (1 - z) * h + z * c.
4. logits = W_o h_T + b_o, of the last step T.

Where published code and paper part (the paper is followed): ports of it have as many states as variables, and take the
mean over padding and what was not observed. Here the width is free, and the mean that of observed values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import Grid, GridView
from zoo.models import Dropout, Positive, Size
from zoo.models._model import Model, Output
from zoo.registry import register_model


@register_model(
    "gru_d",
    family="series",
    paper="Che et al., Scientific Reports 2018, arXiv:1606.01865",
    uses={"lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
)
class GRUD(Model):
    """A GRU in which values that are not observed go back to their mean, and states fade, with time.

    Args:
        spec: what the data are like.
        dim: width of the state; about 50 to 100 in the paper, by the size of the data.
        dropout: before the last layer; 0.5 in the paper.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps with an observation are read.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 64,
        dropout: Dropout = 0.5,
        step_hours: Positive = 1.0,
        max_steps: Size = 200,
        history: bool = False,
    ):
        super().__init__(spec)
        self.view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=history, only_observed=True)
        self.cell = DecayingCell(self.view.columns, dim)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(dim, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        grid = self.view.grid(batch)
        states = self.cell(grid.value, grid.observed.to(grid.value.dtype), elapsed(grid), last_before(grid))
        return Output(self.head(self.dropout(grid.at_last(states))))


def elapsed(grid: Grid) -> Tensor:
    """(samples, steps, variables) delta: hours from the last value before a step to the step's end."""
    before = torch.cat([torch.zeros_like(grid.since[:, :1]), grid.since[:, :-1]], dim=1)
    delta = grid.interval[:, :, None] + before
    first = torch.where(grid.observed[:, :1], 0.0, grid.since[:, :1])
    return torch.cat([first, delta[:, 1:]], dim=1) * grid.mask[:, :, None]


def last_before(grid: Grid) -> Tensor:
    """(samples, steps, variables) x': the last value before a step; at the first step what was known until then."""
    first = torch.where(grid.observed[:, :1], 0.0, grid.value[:, :1])
    return torch.cat([first, grid.value[:, :-1]], dim=1)


class DecayingCell(nn.Module):
    """Steps 1 to 3.

    Args:
        variables: D.
        dim: width of the state.
    """

    def __init__(self, variables: int, dim: int):
        super().__init__()
        self.dim = dim
        self.input_decay = nn.Parameter(torch.empty(variables).uniform_(0, 0.1))
        self.input_decay_bias = nn.Parameter(torch.zeros(variables))
        self.state_decay = nn.Linear(variables, dim)
        nn.init.uniform_(self.state_decay.weight, 0, 0.1 / variables)  # not 0 everywhere, so that decays are learned
        nn.init.zeros_(self.state_decay.bias)
        self.given = nn.Linear(2 * variables, 3 * dim)  # of z, r and c, from the values and the mask
        self.gates = nn.Linear(dim, 2 * dim, bias=False)
        self.candidate = nn.Linear(dim, dim, bias=False)
        for matrix in (self.gates, self.candidate):
            nn.init.orthogonal_(matrix.weight)

    def forward(self, value: Tensor, observed: Tensor, delta: Tensor, last: Tensor) -> Tensor:
        """The state after each step, (samples, steps, dim); all of (samples, steps, variables)."""
        fade = torch.exp(-(self.input_decay * delta + self.input_decay_bias).relu())
        value = observed * value + (1 - observed) * fade * last
        decay = torch.exp(-self.state_decay(delta).relu())
        given = self.given(torch.cat([value, observed], dim=-1))
        state, states = value.new_zeros(len(value), self.dim), []
        for of_step, keep in zip(given.unbind(1), decay.unbind(1), strict=True):
            state = keep * state
            of_gates, of_candidate = of_step.split([2 * self.dim, self.dim], dim=1)
            update, reset = (of_gates + self.gates(state)).sigmoid().chunk(2, dim=1)
            candidate = (of_candidate + self.candidate(reset * state)).tanh()
            state = (1 - update) * state + update * candidate
            states.append(state)
        return torch.stack(states, dim=1)
