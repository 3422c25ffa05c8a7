"""The time-aware LSTM (Baytas et al., KDD 2017, doi:10.1145/3097983.3097997)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import GridView
from zoo.models import Dropout, Model, Output, Positive, Size
from zoo.registry import register_model


@register_model(
    "tlstm",
    family="series",
    paper="Baytas et al., KDD 2017, doi:10.1145/3097983.3097997",
    uses={"lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 128,
        "model.dropout": 0.0,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-3,
        "trainer.max_epochs": 50,
    },
)
class TLSTM(Model):
    """A long short-term memory that forgets the short-term part of its memory the more, the longer nothing was seen.

    The input x_t (3 features a variable: value, whether observed, log hours since; then the static facts of the
    sample's own visit, the same at every step) is the grid of labs and vitals at the steps in which something was
    observed, so that the time Δ_t between steps is irregular, as in the paper, whose steps are visits. The state after
    the last step gives the logits through one linear layer. With C_{t-1} and h_{t-1} of ``dim`` numbers:

        Cˢ = tanh(W_d C_{t-1} + b_d)                    short-term memory
        C* = (C_{t-1} - Cˢ) + Cˢ · g(Δ_t)               what is left of the memory after the time Δ_t
        f, i, o = σ(W x_t + U h_{t-1} + b), each its own
        C̃ = tanh(W_c x_t + U_c h_{t-1} + b_c)
        C_t = f · C* + i · C̃,   h_t = o · tanh(C_t)

    with g(Δ) = 1 / log(e + Δ), which the paper prefers for long intervals; Δ is in hours.

    Where published code and paper part: the authors' autoencoder takes a sigmoid in place of tanh for the short-term
    memory; their classifier has tanh, starts all biases at 1, and puts one more layer with relu, of width 64 in their
    example, before the output, with dropout on it, which is 0 there. Here it is tanh, biases start as those of
    `torch.nn.LSTM`, and there is no further layer. The autoencoder for subtyping is not here. In their example Adam
    trains for 50 epochs, on batches of all patients with as many visits; here batches are the trainer's.

    Args:
        dim: width of state and memory; 128 in the authors' example.
        dropout: on the last state.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps with an observation are read.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 128,
        dropout: Dropout = 0.0,
        step_hours: Positive = 1.0,
        max_steps: Size = 100,
        history: bool = True,
    ):
        super().__init__(spec)
        self.view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=history, only_observed=True)
        self.cell = TimeAwareCell(self.view.width + len(spec.static), dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, spec.outputs)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the authors' example."""
        return {"optimizer": "adam", "lr": 1e-3}

    def forward(self, batch: Batch) -> Output:
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """The state after the last step, h_T."""
        grid = self.view.grid(batch)
        features = grid.features().flatten(2)
        facts = batch.own_static[:, None].expand(-1, features.shape[1], -1)
        states = self.cell(torch.cat([features, facts], dim=-1), grid.interval)
        return grid.at_last(states)


class TimeAwareCell(nn.Module):
    """The recurrence of `TLSTM`.

    Args:
        inputs: features a step.
        dim: width of state and memory.
    """

    def __init__(self, inputs: int, dim: int):
        super().__init__()
        self.dim = dim
        self.input = nn.Linear(inputs, 4 * dim)  # f, i, o, candidate
        self.recurrent = nn.Linear(dim, 4 * dim, bias=False)
        self.decompose = nn.Linear(dim, dim)
        for weight in self.parameters():
            nn.init.uniform_(weight, -(dim**-0.5), dim**-0.5)

    def forward(self, inputs: Tensor, interval: Tensor) -> Tensor:
        """The states after each step, (samples, steps, dim).

        Args:
            inputs: (samples, steps, features).
            interval: (samples, steps), time since the step before.
        """
        given = self.input(inputs).unbind(1)
        kept = (1 / torch.log(torch.e + interval)).to(inputs.dtype).unsqueeze(-1).unbind(1)  # g(Δ)
        state = memory = inputs.new_zeros(len(inputs), self.dim)
        states = []
        for step, g in zip(given, kept, strict=True):
            short = self.decompose(memory).tanh()
            memory = memory - short + short * g
            gates = step + self.recurrent(state)
            forget, add, out = gates[:, : 3 * self.dim].sigmoid().chunk(3, dim=1)
            memory = forget * memory + add * gates[:, 3 * self.dim :].tanh()
            state = out * memory.tanh()
            states.append(state)
        return torch.stack(states, dim=1)
