"""StageNet: stage-aware LSTM and stage-adaptive convolution (Gao et al., WWW 2020, arXiv:2001.10054)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import GridView
from zoo.models import Dropout, Model, Output, Positive, Size
from zoo.registry import Choice, MultipleOf, register_model


@register_model(
    "stagenet",
    family="series",
    paper="Gao et al., WWW 2020, arXiv:2001.10054",
    uses={"lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 384,
        "model.levels": 3,
        "model.window": 10,
        "model.dropconnect": 0.5,
        "model.dropout": 0.5,
        "model.residual_dropout": 0.3,
        "model.step_hours": 1.0,
        "model.max_steps": 400,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-3,
        "trainer.batch_size": 128,
        "trainer.max_epochs": 50,
    },
    search={"model.dim": Choice(192, 384, 768), "model.dropconnect": Choice(0.0, 0.3, 0.5)},
)
class StageNet(Model):
    """An LSTM whose gates tell stages of the disease apart, and a convolution over its states within a stage.

    The input x_t (3 features a variable: value, whether observed, log hours since) is the grid of labs and vitals at
    the steps in which something was observed; Δ_t is log(1 + hours since the step before). State and memory have
    ``dim`` numbers in ``levels`` (L) chunks; a master gate has one number a chunk. With z = W [x_t, Δ_t] +
    U [h_{t-1}, Δ_t] + b, each gate its own part of it:

        f̃ = cumsum(softmax(z_f̃)),  ĩ = cumsum from the right(softmax(z_ĩ))       (samples, L), repeated over chunks
        f, i, o = σ(z_f, z_i, z_o),  ĉ = tanh(z_c)                              (samples, dim)
        ω = f̃ · ĩ
        c_t = ω · (f · c_{t-1} + i · ĉ) + (f̃ - ω) · c_{t-1} + (ĩ - ω) · ĉ
        h_t = o · tanh(c_t),  s_t = 1 - mean(f̃)                                 s_t: how much the stage changes

    and for the last step T, whose window is the K = ``window`` steps up to it,

        s̄ = softmax(cumsum(s_{T-K+1}, ..., s_T))                                (samples, K)
        g_k = s̄_k h_{T-K+k},  u = mean over the window(g)                       (samples, dim)
        z̄ = σ(W₂ relu(W₁ u)) · conv(g)                                          (samples, dim)
        logits = W [z̄ + h_T, s]

    with s the static facts of the sample's own visit.

    Where published code and paper part: the authors' training script feeds a constant interval of 1, so that time has
    no effect; here it is the real one. Their window counts zeros before the first step as states in its softmax; here
    they are masked. They train on a label at every step, each step's pattern with its own state, and add the losses of
    a batch up; here there is one label, at the last step. Their input is every hour, up to 400 of them; here it is the
    hours in which something was observed. As in their code, dropconnect is dropout on the two parts of z. Their code
    reads no demographics; here s stands beside the state.

    Args:
        dim: width of state and memory; a multiple of ``levels``.
        levels: chunks that share a master gate.
        window: steps that the convolution sees.
        dropconnect: on the gates' inputs.
        dropout: before the last layer.
        residual_dropout: on the state that is added to the convolution.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps with an observation are read, which each cost time; the authors' code reads
            the first 400.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Annotated[Size, MultipleOf("levels")] = 384,
        levels: Size = 3,
        window: Size = 10,
        dropconnect: Dropout = 0.5,
        dropout: Dropout = 0.5,
        residual_dropout: Dropout = 0.3,
        step_hours: Positive = 1.0,
        max_steps: Size = 100,
        history: bool = True,
    ):
        super().__init__(spec)
        self.window = window
        self.view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=history, only_observed=True)
        self.cell = StageAwareCell(self.view.width, dim, levels, dropconnect)
        self.squeeze = nn.Linear(dim, max(dim // 6, 1))
        self.rescale = nn.Linear(max(dim // 6, 1), dim)
        self.convolve = nn.Linear(window * dim, dim)  # a convolution at one place
        self.dropout = nn.Dropout(dropout)
        self.residual_dropout = nn.Dropout(residual_dropout)
        self.head = nn.Linear(dim + len(spec.static), spec.outputs)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the authors' code."""
        return {"optimizer": "adam", "lr": 1e-3, "batch_size": 128}

    def forward(self, batch: Batch) -> Output:
        last, weight = self._last(batch)
        read = torch.cat([self.dropout(last), batch.own_static], dim=1)
        return Output(self.head(read), attention={"stage": weight})

    def embed(self, batch: Batch) -> Tensor:
        """The last state and the pattern of its stage, z̄ + h_T."""
        return self._last(batch)[0]

    def _last(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(samples, dim) z̄ + h_T, and (samples, window) s̄."""
        grid = self.view.grid(batch)
        states, change = self.cell(grid.features().flatten(2), torch.log1p(grid.interval))
        place = grid.lengths[:, None] + torch.arange(-self.window, 0, device=states.device)
        inside = place >= 0  # (samples, window)
        sample = torch.arange(len(states), device=states.device)[:, None]
        place = place.clamp(min=0)
        states, change = states[sample, place] * inside[:, :, None], change[sample, place] * inside
        weight = change.cumsum(1).masked_fill(~inside, -torch.inf).softmax(1)
        weighted = states * weight[:, :, None]
        theme = self.rescale(self.squeeze(weighted.mean(1)).relu()).sigmoid()
        pattern = theme * self.convolve(weighted.flatten(1))
        return pattern + self.residual_dropout(states[:, -1]), weight


class StageAwareCell(nn.Module):
    """The recurrence of `StageNet`.

    Args:
        inputs: features a step.
        dim: width of state and memory.
        levels: chunks that share a master gate.
        dropconnect: dropout on the gates' inputs.
    """

    def __init__(self, inputs: int, dim: int, levels: int, dropconnect: float):
        super().__init__()
        self.dim, self.levels = dim, levels
        self.input = nn.Linear(inputs + 1, 2 * levels + 4 * dim)  # f̃, ĩ, f, i, o, ĉ
        self.recurrent = nn.Linear(dim + 1, 2 * levels + 4 * dim, bias=False)
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.orthogonal_(self.recurrent.weight)
        nn.init.zeros_(self.input.bias)
        self.dropconnect = nn.Dropout(dropconnect)

    def forward(self, inputs: Tensor, interval: Tensor) -> tuple[Tensor, Tensor]:
        """The states after each step, (samples, steps, dim), and how much the stage changes, (samples, steps).

        Args:
            inputs: (samples, steps, features).
            interval: (samples, steps), time since the step before.
        """
        interval = interval.to(inputs.dtype).unsqueeze(-1)
        given = self.dropconnect(self.input(torch.cat([inputs, interval], dim=-1))).unbind(1)
        state = memory = inputs.new_zeros(len(inputs), self.dim)
        states, changes = [], []
        for step, time in zip(given, interval.unbind(1), strict=True):
            gates = step + self.dropconnect(self.recurrent(torch.cat([state, time], dim=1)))
            state, memory, change = self._step(gates, memory)
            states.append(state)
            changes.append(change)
        return torch.stack(states, dim=1), torch.stack(changes, dim=1)

    def _step(self, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels, dim = self.levels, self.dim
        master_forget = gates[:, :levels].softmax(1).cumsum(1)
        master_input = gates[:, levels : 2 * levels].flip(1).softmax(1).cumsum(1).flip(1)
        forget, add, out = gates[:, 2 * levels : 2 * levels + 3 * dim].sigmoid().chunk(3, dim=1)
        candidate = gates[:, 2 * levels + 3 * dim :].tanh()
        keep, take = (g.repeat_interleave(dim // levels, dim=1) for g in (master_forget, master_input))
        both = keep * take
        memory = both * (forget * memory + add * candidate) + (keep - both) * memory + (take - both) * candidate
        return out * memory.tanh(), memory, 1 - master_forget.mean(1)
