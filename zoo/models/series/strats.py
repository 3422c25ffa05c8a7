"""STraTS, a Transformer over triples of measurements (Tipirneni and Reddy, ACM TKDD 2022, arXiv:2107.14293).

Labs and vitals are triples (t_i, f_i, v_i): when, which of D variables, and what. With d = dim:

1. e_i = E_(f_i) + CVE_v(v_i) + CVE_t(t_i) in R^d, with E an embedding of variables, and continuous value embeddings
   CVE(x) = U tanh(W x + b), W and b in R^sqrt(d) and U in R^(d x sqrt(d)).
2. C = Transformer(e_1, ..., e_N) in R^(N x d), a set: times are in its vectors, and there is no place.
3. alpha = softmax over the triples of u^T tanh(W_a c_i + b_a), and e_T = sum_i alpha_i c_i in R^d; 0 without a triple.
4. e_d = W_2 tanh(W_1 s + b_1) + b_2 in R^d, W_1 in R^(2d x S), of the S static facts of the sample's own visit; nothing
   where data have none. z = W_f [e_T, e_d] + b_f in R^D, a forecast of each variable, and logits = W_o z + b_o.
5. Pre-training by forecasting: in a visit a moment is drawn between its first and last measurement; from what was
   measured in the ``hours`` before it, z tells the mean value of each variable in the ``forecast_hours`` after it, by
   squared error over the variables that have one there, a mean over all of them.

The authors' code that is there now (PyTorch) is a second version, and says so. What a model learned in forecasting
goes into its logits there as in 4; without pre-training they come from [e_T, e_d], which here is
``through_forecast=False``. It fine-tunes at a tenth of the rate, so give ``lr=5e-5`` with ``init``. Its batches are of
16, gradients are cut at 0.3, and it keeps what has the best AUROC and AUPRC together, of 50 epochs or until that has
not risen for 10. Here rate and batches are the paper's, what is kept has the best loss, and the rest is as there.

Where published code and paper part (the paper is followed):

- The scores of its attention are not scaled, layers are not normalised but halved with what they are added to, and have
  GELU for ReLU. Here they are as in Vaswani et al. (arXiv:1706.03762), which the paper names.
- In training it leaves out the measurements of some variables, and drops numbers of e_i. Here dropout is within the
  Transformer only.
- Its forecast is of the first value of a variable after the moment, which lies 12 hours after the start or later. Here
  it is of the mean, and the moment is any.
- Samples with the outcome weigh more in its loss. Here all weigh the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.triples import TripleView
from zoo.layers import EncoderLayer
from zoo.models import Dropout, MultipleOfHeads, Positive, Size
from zoo.models._model import Model, Output
from zoo.registry import Choice, register_model


@register_model(
    "strats",
    family="series",
    paper="Tipirneni and Reddy, ACM TKDD 2022, arXiv:2107.14293",
    uses={"lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 50,
        "model.layers": 2,
        "model.heads": 4,
        "model.dropout": 0.2,
        "model.forecast_hours": 2.0,
        "model.max_triples": 880,
        "trainer.optimizer": "adam",
        "trainer.lr": 5e-4,
        "trainer.batch_size": 32,
        "trainer.clip": 0.3,
        "trainer.max_epochs": 50,
        "trainer.patience": 10,
    },
    search={"model.dim": Choice(32, 48, 64), "model.layers": Choice(1, 2)},
)
class STraTS(Model):
    """Labs and vitals as a set of triples, a Transformer over it, and attention that puts it together.

    Args:
        spec: what the data are like.
        dim: d, a multiple of ``heads``; 50 in the paper, which four heads cannot share; 64 in the second version.
        layers: of the Transformer.
        heads: of its attention; 16 in the second version.
        dropout: in the Transformer.
        through_forecast: logits from the forecast z, not from e_T; those of more labels than D hang on one another.
        max_triples: the newest so many measurements are read, as time and memory grow with their square; 880 in the
            second version.
        hours: what counts as 1 in time; and how far back forecasting looks.
        forecast_hours: how far forecasting looks ahead; 2 in the paper.
        history: read earlier visits too, not only the sample's own.

    Raises:
        UserError: a size does not fit.
    """

    def __init__(
        self,
        spec: Spec,
        dim: MultipleOfHeads = 48,
        layers: Size = 2,
        heads: Size = 4,
        dropout: Dropout = 0.2,
        through_forecast: bool = True,
        max_triples: Size = 500,
        hours: Positive = 24.0,
        forecast_hours: Positive = 2.0,
        history: bool = False,
    ):
        super().__init__(spec)
        self.view = TripleView.of(spec, max_triples=max_triples, history=history)
        self.hours, self.forecast_hours = hours, forecast_hours
        inner = max(int(dim**0.5), 1)
        self.variable = nn.Embedding(self.view.columns, dim)
        self.value, self.time = (
            nn.Sequential(nn.Linear(1, inner), nn.Tanh(), nn.Linear(inner, dim, bias=False)) for _ in range(2)
        )
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, 2 * dim, dropout) for _ in range(layers))
        self.weigh = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1, bias=False))
        self.through_forecast = through_forecast
        self.demographics, both = None, dim
        if len(spec.static):
            self.demographics = nn.Sequential(nn.Linear(len(spec.static), 2 * dim), nn.Tanh(), nn.Linear(2 * dim, dim))
            both = 2 * dim
        self.forecast = nn.Linear(both, self.view.columns)
        self.head = nn.Linear(self.view.columns if through_forecast else both, spec.outputs)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """The paper's rate and batch, and what the authors' second version has beside them."""
        return {"optimizer": "adam", "lr": 5e-4, "batch_size": 32, "clip": 0.3, "patience": 10}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs), and the attention of each sample to its triples."""
        whole, weights = self._seen(batch)
        whole = self._with_demographics(whole, batch)
        logits = self.head(self.forecast(whole) if self.through_forecast else whole)
        return Output(logits, attention={"triples": weights})

    def embed(self, batch: Batch) -> Tensor:
        """What stands for all triples, e_T."""
        return self._seen(batch)[0]

    def pretrain(self, batch: Batch) -> Output:
        """The loss ``forecast`` of each sample's measurements after a moment, from those before it."""
        seen = self.view.triples(batch)
        first = seen.time.masked_fill(~seen.mask, torch.inf).amin(dim=1) if seen.mask.shape[1] else seen.end
        last = seen.time.masked_fill(~seen.mask, -torch.inf).amax(dim=1) if seen.mask.shape[1] else seen.end
        some = first <= last
        drawn = torch.rand(len(first), device=first.device)
        moment = torch.where(some, first + drawn * (last - first), 0.0)[:, None]
        ago = moment - seen.time
        before = seen.mask & (ago >= 0) & (ago <= self.hours)
        after = seen.mask & (ago < 0) & (ago >= -self.forecast_hours)
        whole, _ = self._whole(ago, seen.variable, seen.value, before)
        told = self.forecast(self._with_demographics(whole, batch)).float()
        counts = torch.zeros_like(told).scatter_add(1, seen.variable, after.to(told.dtype))
        wanted = torch.zeros_like(told).scatter_add(1, seen.variable, seen.value.float() * after)
        error = (told - wanted / counts.clamp(min=1)) ** 2 * (counts > 0)
        return Output(told.new_zeros(0), {"forecast": error.sum() / (counts > 0).sum().clamp(min=1)})

    def _with_demographics(self, whole: Tensor, batch: Batch) -> Tensor:
        """(samples, 2 dim) [e_T, e_d]; or (samples, dim) e_T, where data have no static facts."""
        if self.demographics is None:
            return whole
        return torch.cat([whole, self.demographics(batch.own_static)], dim=1)

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """`_whole` of all triples up to the prediction."""
        seen = self.view.triples(batch)
        return self._whole(seen.end[:, None] - seen.time, seen.variable, seen.value, seen.mask)

    def _whole(self, ago: Tensor, variable: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(samples, dim) e_T, and (samples, longest) the weight of each triple; each of (samples, longest)."""
        if not mask.shape[1]:
            return self.forecast.weight.new_zeros(len(mask), self.variable.embedding_dim), ago
        time = 1 - ago / self.hours
        rows = self.variable(variable) + self.value(value[..., None]) + self.time(time[..., None])
        # a sample without a triple sees its padding, and weighs none of it
        looked_at = mask | (~mask.any(dim=1, keepdim=True))
        for layer in self.layers:
            rows = layer(rows, looked_at)
        scores = self.weigh(rows)[..., 0]
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=1).masked_fill(~mask, 0)
        return (weights[:, None] @ rows)[:, 0], weights
