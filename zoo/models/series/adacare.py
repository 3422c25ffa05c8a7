"""AdaCare: scale-adaptive feature extraction and recalibration (Ma et al., AAAI 2020, arXiv:1911.12205)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.grid import GridView
from zoo.models import Dropout, Model, Output, Positive, Size
from zoo.registry import Choice, UserError, register_model

DILATIONS = (1, 3, 5)


@register_model(
    "adacare",
    family="series",
    paper="Ma et al., AAAI 2020, arXiv:1911.12205",
    uses={"lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 384,
        "model.channels": 64,
        "model.kernel": 2,
        "model.ratio": 4,
        "model.activation": "sigmoid",
        "model.dropout": 0.5,
        "model.step_hours": 1.0,
        "model.max_steps": 400,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-3,
        "trainer.batch_size": 128,
        "trainer.max_epochs": 50,
    },
    search={"model.dim": Choice(128, 384), "model.activation": Choice("sigmoid", "sparsemax")},
)
class AdaCare(Model):
    """Causal convolutions at three time scales, features weighed anew at every step, and a GRU over both.

    The input x (samples, steps, F; F is 3 features a variable: value, whether observed, log hours since) is the regular
    grid of labs and vitals.

        c = relu(conv₁(x), conv₃(x), conv₅(x))         (samples, steps, 3 · channels); dilations 1, 3 and 5, causal
        r(y) = y · σ(W₂ relu(W₁ y))                    recalibration; W₁ compresses ``ratio`` times
        h = GRU(r(x), r(c))                            (samples, steps, dim)
        logits = W [h_T, s]                            at the last step, s the static facts of the sample's own visit

    The recalibration follows the authors' code, and widths, kernel, ratio and dropout are its defaults; they have not
    been held against the full text of the paper.

    Where published code and paper part: the authors' code makes an average pooling for the recalibration and never
    calls it; here, as there, each step is weighed by its own features alone, so no later step reaches an earlier one.
    The weights that it trains by default, with a state of 384, do not load in its test mode, which has one of 128; here
    there is one configuration. It trains on a label at every step, and adds the losses of a batch up; here on that of
    the sample, at the last one. It reads no demographics; here s stands beside the state.

    Args:
        dim: width of the GRU's state.
        channels: of each of the three convolutions.
        kernel: steps that a convolution combines.
        ratio: how many times the recalibration compresses.
        activation: what weighs the input's features, ``"sigmoid"`` or ``"sparsemax"``, which leaves few of them;
            convolved features always have the sigmoid.
        dropout: on the last state.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps are read, which each cost time; the authors' code reads the first 400.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 384,
        channels: Size = 64,
        kernel: Size = 2,
        ratio: Size = 4,
        activation: str = "sigmoid",
        dropout: Dropout = 0.5,
        step_hours: Positive = 1.0,
        max_steps: Size = 48,
        history: bool = True,
    ):
        super().__init__(spec)
        self.view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=history)
        inputs = self.view.width
        self.convolve = nn.ModuleList(nn.Conv1d(inputs, channels, kernel, dilation=d) for d in DILATIONS)
        self.weigh_inputs = Recalibration(inputs, ratio, activation)
        self.weigh_patterns = Recalibration(len(DILATIONS) * channels, ratio, "sigmoid")
        self.recur = nn.GRU(inputs + len(DILATIONS) * channels, dim, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim + len(spec.static), spec.outputs)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the authors' code."""
        return {"optimizer": "adam", "lr": 1e-3, "batch_size": 128}

    def forward(self, batch: Batch) -> Output:
        last, weight = self._last(batch)
        read = torch.cat([self.dropout(last), batch.own_static], dim=1)
        return Output(self.head(read), attention={"features": weight})

    def embed(self, batch: Batch) -> Tensor:
        """The last state, h_T."""
        return self._last(batch)[0]

    def _last(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(samples, dim) h_T, and the (samples, steps, F) weights of the input's features."""
        grid = self.view.grid(batch)
        features = grid.features().flatten(2)
        inputs, weight = self.weigh_inputs(features)
        patterns, _ = self.weigh_patterns(torch.cat([self._patterns(c, features) for c in self.convolve], dim=-1))
        steps = torch.cat([inputs, patterns], dim=-1)
        # padding comes last, where the recurrence cannot bring it back
        return grid.at_last(self.recur(steps)[0]), weight

    @staticmethod
    def _patterns(convolution: nn.Conv1d, features: Tensor) -> Tensor:
        """(samples, steps, channels): each step with those before it; before the first step there are zeros."""
        reach = (convolution.kernel_size[0] - 1) * convolution.dilation[0]
        return convolution(F.pad(features.transpose(1, 2), (reach, 0))).transpose(1, 2).relu()


class Recalibration(nn.Module):
    """Features weighed by what they all are at the same step.

    Args:
        size: how many features.
        ratio: how many times fewer numbers are in between.
        activation: ``"sigmoid"`` or ``"sparsemax"``.
    """

    def __init__(self, size: int, ratio: int, activation: str):
        super().__init__()
        if activation not in ("sigmoid", "sparsemax"):
            raise UserError(f"activation={activation!r} must be 'sigmoid' or 'sparsemax'.")
        self.squeeze = nn.Linear(size, max(size // ratio, 1))
        self.excite = nn.Linear(max(size // ratio, 1), size)
        self.activation = torch.sigmoid if activation == "sigmoid" else sparsemax

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(..., size) weighed features, and their weights."""
        weight = self.activation(self.excite(self.squeeze(features).relu()))
        return features * weight, weight


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex that is nearest to the scores on the last axis (Martins and Astudillo, ICML 2016).

    >>> sparsemax(torch.tensor([1.0, 0.75, -1.0])).tolist()
    [0.625, 0.375, 0.0]
    """
    ordered = scores.sort(dim=-1, descending=True).values
    rank = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    total = ordered.cumsum(-1)
    support = (1 + rank * ordered > total).sum(-1, keepdim=True)
    threshold = (total.gather(-1, support - 1) - 1) / support
    return (scores - threshold).clamp(min=0)
