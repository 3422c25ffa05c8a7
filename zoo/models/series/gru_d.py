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

In training what the cell gets, xhat, m and the state h that goes into z, r and c, loses some of its numbers, the same
at every step of a sample (Gal and Ghahramani, NeurIPS 2016).

Where published code and paper part (the paper is followed):

- The first author's own later code (Keras) has a sigmoid where c has tanh, 1 - m_t where the gates and c have m_t, and
  mixes c with h_(t-1), not with what has faded of it. Its decays begin at 0.
- Its dropout on xhat and m, on h (drawn for z, r and c apart), and before the last layer, is 0.3 each, its width 64; it
  reads the first 200 steps of 48 hours, and trains with Adam in batches of 32 for 100 epochs at most, 10 of them
  without a better loss. So it is here, but for the epochs, of which the trainer says how many, for the steps, which are
  the newest, and for h, of which one draw is for all three.
- Ports have as many states as variables, take the mean over padding and what was not observed, and have no dropout but
  the last. Here the width is free, and the mean that of observed values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import Grid, GridView
from zoo.models import Dropout, Positive, Size
from zoo.models._model import Model, Output
from zoo.registry import Choice, register_model


@register_model(
    "gru_d",
    family="series",
    paper="Che et al., Scientific Reports 2018, arXiv:1606.01865",
    uses={"lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 64,
        "model.dropout": 0.3,
        "model.input_dropout": 0.3,
        "model.state_dropout": 0.3,
        "model.max_steps": 200,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-3,
        "trainer.batch_size": 32,
        "trainer.max_epochs": 100,
        "trainer.patience": 10,
    },
    search={"model.input_dropout": Choice(0.0, 0.3), "model.state_dropout": Choice(0.0, 0.3)},
)
class GRUD(Model):
    """A GRU in which values that are not observed go back to their mean, and states fade, with time.

    Args:
        spec: what the data are like.
        dim: width of the state.
        dropout: before the last layer.
        input_dropout: of variables, on values and masks.
        state_dropout: on the state that the gates and the candidate get.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps with an observation are read.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 64,
        dropout: Dropout = 0.3,
        input_dropout: Dropout = 0.3,
        state_dropout: Dropout = 0.3,
        step_hours: Positive = 1.0,
        max_steps: Size = 200,
        history: bool = False,
    ):
        super().__init__(spec)
        self.view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=history, only_observed=True)
        self.cell = DecayingCell(self.view.columns, dim, input_dropout, state_dropout)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(dim, spec.outputs)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the first author's code."""
        return {"optimizer": "adam", "lr": 1e-3, "batch_size": 32, "patience": 10}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """The state after the last step."""
        grid = self.view.grid(batch)
        states = self.cell(grid.value, grid.observed.to(grid.value.dtype), elapsed(grid), last_before(grid))
        return grid.at_last(states)


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
        input_dropout: on values and masks.
        state_dropout: on the state that the gates and the candidate get.
    """

    def __init__(self, variables: int, dim: int, input_dropout: float, state_dropout: float):
        super().__init__()
        self.dim = dim
        self.input_dropout, self.state_dropout = nn.Dropout(input_dropout), nn.Dropout(state_dropout)
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
        inputs = torch.cat([value, observed], dim=-1)
        given = self.given(inputs * self.input_dropout(torch.ones_like(inputs[:, :1])))  # the same at every step
        state, states = value.new_zeros(len(value), self.dim), []
        kept = self.state_dropout(torch.ones_like(state))
        for of_step, keep in zip(given.unbind(1), decay.unbind(1), strict=True):
            state = keep * state
            of_gates, of_candidate = of_step.split([2 * self.dim, self.dim], dim=1)
            seen = kept * state
            update, reset = (of_gates + self.gates(seen)).sigmoid().chunk(2, dim=1)
            candidate = (of_candidate + self.candidate(reset * seen)).tanh()
            state = (1 - update) * state + update * candidate
            states.append(state)
        return torch.stack(states, dim=1)
