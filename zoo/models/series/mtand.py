"""mTAND, multi-time attention networks (Shukla and Marlin, ICLR 2021, arXiv:2101.10318).

1. Labs and vitals are triples (t_i, d_i, x_i): when, which of D variables, and what. Times are shares of ``hours``, the
   length of what is looked at, so that they end at 1: at the prediction.
2. ``points`` moments r_k = 0, ..., 1 at equal distances ask the measurements (`zoo.layers.TimeAttention`): of each
   variable a mean over its own measurements, weighed by learned embeddings of both times, in ``heads`` ways. A linear
   layer makes of them, and of which variables have a measurement, h_k in R^width.
3. A GRU over h_1, ..., h_K; logits = W_3 relu(W_2 relu(W_1 h + b_1) + b_2) + b_3 of its last state h.

This is the paper's encoder alone (mTAND-Enc); its variational autoencoder (mTAND-Full), in which the GRU goes in both
directions, is not here.

Sizes, rate and batches are those of the published command for PhysioNet; the one for MIMIC-III has widths of 256 and
batches of 256. It trains for 200 epochs; here for as many as the trainer is told, or until the loss has not fallen for
some.

Where published code and paper part: the published script says it keeps the best weights and keeps the last; the
trainer here keeps the best.
"""

from __future__ import annotations

from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.triples import TripleView
from zoo.layers import Moments, TimeAttention
from zoo.models import Dropout, MultipleOfHeads, Points, Positive, Size
from zoo.models._model import Model, Output
from zoo.registry import Choice, LogBetween, register_model


@register_model(
    "mtand",
    family="series",
    paper="Shukla and Marlin, ICLR 2021, arXiv:2101.10318",
    uses={"lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.width": 128,
        "model.dim": 128,
        "model.heads": 1,
        "model.points": 128,
        "model.hidden": 128,
        "model.head": 300,
        "model.dropout": 0.0,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-4,
        "trainer.batch_size": 128,
        "trainer.max_epochs": 200,
    },
    search={"trainer.lr": LogBetween(1e-4, 1e-2), "model.points": Choice(32, 64, 128), "model.width": Choice(64, 128)},
)
class MTAND(Model):
    """Labs and vitals asked at moments of equal distance, by attention over their times, and a GRU over the answers.

    Args:
        spec: what the data are like.
        width: of what is said of a moment.
        dim: of the embedding of times, a multiple of ``heads``.
        heads: of the attention.
        points: how many moments there are.
        hidden: width of the GRU.
        head: width of the two layers before the logits.
        dropout: before them; there is none in the published code.
        max_triples: the newest so many measurements are read.
        hours: how far back the moments go from the prediction; measurements that are older are read as well.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        width: Size = 128,
        dim: MultipleOfHeads = 128,
        heads: Size = 1,
        points: Points = 128,
        hidden: Size = 128,
        head: Size = 300,
        dropout: Dropout = 0.0,
        max_triples: Size = 1000,
        hours: Positive = 48.0,
        history: bool = False,
    ):
        super().__init__(spec)
        self.view, self.moments = TripleView.of(spec, max_triples=max_triples, history=history), Moments(points, hours)
        self.attend = TimeAttention(self.view.columns, width, dim, heads)
        self.recur = nn.GRU(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(
            nn.Linear(hidden, head), nn.ReLU(), nn.Linear(head, head), nn.ReLU(), nn.Linear(head, spec.outputs)
        )

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published command."""
        return {"optimizer": "adam", "lr": 1e-4, "batch_size": 128}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """The last state of the GRU."""
        seen = self.view.triples(batch)
        time = self.moments.share(seen.end[:, None] - seen.time)
        said = self.attend(self.moments.of(time), time, seen.variable, seen.value, seen.mask)
        return self.recur(said)[1][0]
