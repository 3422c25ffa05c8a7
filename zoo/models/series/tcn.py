"""TCN, a temporal convolutional network (Bai et al., 2018, arXiv:1803.01271).

The input is the grid of labs and vitals. Blocks l = 0, 1, ..., each of two causal convolutions with dilation 2^l and
kernel k, weight normalisation, ReLU and dropout, and a way past them (through a convolution of width 1 where the width
changes): out = relu(x + F(x)). Step t of a convolution sees the steps t, t - 2^l, ..., t - (k - 1) 2^l, with zeros
before the first one. logits = W h_T + b of the last step T.

The paper has no data of patients, and other sizes for each of its tasks. For pixels in a row, where one answer is given
at the end, as here, the published script has 8 blocks of width 25 with kernel 7 and dropout 0.05, which Adam trains at
0.002 on batches of 64 for 20 epochs. Here rate and batches are those, and the sizes are for 200 steps, not 784.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from zoo.data import Batch, Spec
from zoo.data.grid import GridView
from zoo.models import Dropout, Positive, Size
from zoo.models._model import Model, Output
from zoo.registry import Choice, register_model


@register_model(
    "tcn",
    family="series",
    paper="Bai et al., 2018, arXiv:1803.01271",
    uses={"lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 25,
        "model.layers": 8,
        "model.kernel_size": 7,
        "model.dropout": 0.05,
        "trainer.optimizer": "adam",
        "trainer.lr": 2e-3,
        "trainer.batch_size": 64,
        "trainer.max_epochs": 20,
    },
    search={"model.layers": Choice(3, 5, 7), "model.kernel_size": Choice(3, 5, 7)},
)
class TCN(Model):
    """Causal convolutions over the grid of labs and vitals, whose reach doubles from block to block.

    Args:
        spec: what the data are like.
        dim: width of the blocks; 25 for pixels in a row, up to 600 elsewhere.
        layers: how many blocks; with kernel k the last step sees 1 + 2 (k - 1) (2^layers - 1) steps. 8 for pixels, of
            which there are more than steps here.
        kernel_size: k, how many steps a convolution sees at once; 7 for pixels.
        dropout: after each convolution; 0.05 for pixels, up to 0.45 elsewhere; that of the published module is 0.2.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps are read.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 64,
        layers: Size = 5,
        kernel_size: Size = 3,
        dropout: Dropout = 0.2,
        step_hours: Positive = 1.0,
        max_steps: Size = 200,
        history: bool = False,
    ):
        super().__init__(spec)
        self.view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=history)
        widths = [self.view.width, *[dim] * layers]
        self.blocks = nn.Sequential(
            *(Block(widths[n], dim, kernel_size, 2**n, dropout) for n in range(layers)),
        )
        self.head = nn.Linear(dim, spec.outputs)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published script for pixels."""
        return {"optimizer": "adam", "lr": 2e-3, "batch_size": 64}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.embed(batch)))

    def embed(self, batch: Batch) -> Tensor:
        """What the last block has at the last step."""
        grid = self.view.grid(batch)
        states = self.blocks(grid.features().flatten(2).transpose(1, 2)).transpose(1, 2)
        return grid.at_last(states)


class Block(nn.Module):
    """Two causal convolutions, and a way past them.

    Args:
        inputs, dim: widths before and after.
        kernel_size, dilation: of both convolutions.
        dropout: after each.
    """

    def __init__(self, inputs: int, dim: int, kernel_size: int, dilation: int, dropout: float):
        super().__init__()
        self.before = (kernel_size - 1) * dilation
        self.convolutions = nn.ModuleList(
            weight_norm(nn.Conv1d(width, dim, kernel_size, dilation=dilation)) for width in (inputs, dim)
        )
        self.past = nn.Conv1d(inputs, dim, 1) if inputs != dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """(samples, dim, steps) from (samples, inputs, steps)."""
        found = rows
        for convolution in self.convolutions:
            found = self.dropout(convolution(F.pad(found, (self.before, 0))).relu())
        return (found + self.past(rows)).relu()
