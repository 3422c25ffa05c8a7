"""HiTANet, hierarchical time-aware attention (Luo et al., KDD 2020, doi:10.1145/3394486.3403107).

For a sample that sees the visits 1, ..., n, with r codes in the vocabulary, width m, and width s of what comes of time;
d_i are the days from visit i to the prediction:

Local, a Transformer that knows the time:

1. v_i = W_v x_i + b_v, with x_i in {0, 1}^r (which codes visit i has), W_v in R^(m x r).
2. f_i = 1 - tanh((w_f d_i / 180 + b_f)^2), in R^s, square by element; u_i = v_i + W_u f_i + b_u + position(i).
3. A placeholder stands behind the last visit, as a visit * with one code of its own and d = 0.
   h_1, ..., h_n, h_* = Transformer(u_1, ..., u_n, u_*), in R^m.
4. alpha = softmax over i = 1, ..., n of w_alpha^T h_i.

Global, what the patient as a whole looks for in time:

5. k_i = ReLU(W_k (1 - tanh((w_o d_i / 180 + b_o)^2)) + b_k); q = ReLU(W_q h_* + b_q); both in R^s.
6. beta = softmax over i = 1, ..., n of q^T k_i / sqrt(s).

Both together:

7. z = softmax(W_z h_* + b_z), in R^2; gamma_i = z_1 beta_i + z_2 alpha_i.
8. logits = W sum_i gamma_i h_i + b.

A bias of the local score would cancel out of the softmax, and is left out; gamma adds up to 1 as it is.

Where published code and paper part (the authors' code is the source of the widths, of s, of the placeholder and of the
number 180):

- The authors' attention heads are cut by a view that slices the (visits, m) matrix along time instead of width, so that
  a head holds some of the visits, whole, and not all visits in part; and their masks are laid out for the heads in
  another order than the heads, so that a patient's padding mask meets another patient's visits, and logits depend on
  the batch. Here heads are cut along the width and each patient has its own mask.
- The authors divide products of heads by the square root of their width over the number of heads; here by that of their
  width (Vaswani et al., NeurIPS 2017).
- The authors count days to the last visit; here to the prediction, so that the time since the last visit is known too.
- The authors drop all but the newest 50 visits. Here positions are computed, and there is no longest history.
- The AUC of the authors' script is that of hard labels. Here it is that of probabilities, as everywhere.
- The authors train for 20 epochs, of which they keep the best; here for as many as the trainer is told. As there, Adam
  has a rate of 1e-4, batches of 50, and an L2 penalty of 1e-3 on all weights, which it puts into the gradient.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.layers import EncoderLayer, MultiHotEmbedding, SampleHistory, sinusoids
from zoo.models import Dropout, Model, MultipleOfHeads, Output, Size
from zoo.registry import Choice, LogBetween, MultipleOf, register_model

HALF_YEAR = 180
"""Days that the authors divide times by."""


class TimeFeature(nn.Module):
    """1 - tanh((w d / 180 + b)^2): large where the days d are near to those that an element looks for."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Linear(1, dim)

    def forward(self, days: Tensor) -> Tensor:
        """(..., dim) of (...) days."""
        return 1 - torch.tanh(self.weight(days[..., None] / HALF_YEAR) ** 2)


@register_model(
    "hitanet",
    family="visits",
    paper="Luo et al., KDD 2020, doi:10.1145/3394486.3403107",
    uses={"diagnosis", "procedure", "drug", "lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    explains="attention to visits",
    published={
        "model.dim": 256,
        "model.time_dim": 64,
        "model.heads": 4,
        "model.layers": 1,
        "model.dropout": 0.5,
        "model.encoder_dropout": 0.0,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-4,
        "trainer.batch_size": 50,
        "trainer.weight_decay": 1e-3,
        "trainer.max_epochs": 20,
    },
    search={"trainer.lr": LogBetween(1e-4, 1e-2), "trainer.weight_decay": Choice(0.0, 1e-4, 1e-3)},
)
class HiTANet(Model):
    """A Transformer over visits and their times; local and global attention weigh the visits.

    Args:
        dim: width m of visits.
        time_dim: width s of time features, keys and query.
        heads: attention heads of the Transformer.
        layers: layers of the Transformer.
        dropout: on the patient's vector before the logits.
        encoder_dropout: within the Transformer; the authors have none.

    Raises:
        UserError: ``dim`` is odd, or no multiple of ``heads``.
    """

    renamed: ClassVar = {"embed.": "visits."}

    def __init__(
        self,
        spec: Spec,
        dim: Annotated[MultipleOfHeads, MultipleOf(times=2)] = 256,
        time_dim: Size = 64,
        heads: Size = 4,
        layers: Size = 1,
        dropout: Dropout = 0.5,
        encoder_dropout: Dropout = 0.0,
    ):
        super().__init__(spec)
        self.visits = MultiHotEmbedding({c: spec.size(c) for c in spec.concepts}, dim)
        self.embed_bias = nn.Parameter(torch.empty(dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.placeholder = nn.Parameter(torch.empty(dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.local_time, self.global_time = TimeFeature(time_dim), TimeFeature(time_dim)
        self.embed_time = nn.Linear(time_dim, dim)
        self.encoder = nn.ModuleList([EncoderLayer(dim, heads, 4 * dim, encoder_dropout) for _ in range(layers)])
        self.local_score = nn.Linear(dim, 1, bias=False)
        self.key, self.query = nn.Linear(time_dim, time_dim), nn.Linear(dim, time_dim)
        self.fusion = nn.Linear(dim, 2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        """Logits, with attention ``alpha`` (local), ``beta`` (global) and ``gamma`` (samples, visits), oldest first."""
        patient, attention = self._patient(batch)
        return Output(self.head(self.dropout(patient)), attention=attention)

    def embed(self, batch: Batch) -> Tensor:
        """The patient's vector, sum_i gamma_i h_i."""
        return self._patient(batch)[0]

    def _patient(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(samples, dim) sum_i gamma_i h_i, and the attention."""
        history = SampleHistory(batch)
        days = _days_to_prediction(history, batch)
        states, whole = self._encoded(history, batch, days)
        alpha = history.softmax(self.local_score(states)[..., 0])
        beta = history.softmax(self._time_scores(whole, days))
        share = self.fusion(whole).softmax(-1)
        gamma = share[:, :1] * beta + share[:, 1:] * alpha
        attention = {"alpha": alpha.detach(), "beta": beta.detach(), "gamma": gamma.detach()}
        return (gamma[:, None] @ states)[:, 0], attention

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the authors' code, whose penalty is in the gradient: Adam's weight decay, not AdamW's."""
        return {"optimizer": "adam", "lr": 1e-4, "batch_size": 50, "weight_decay": 1e-3}

    def _encoded(self, history: SampleHistory, batch: Batch, days: Tensor) -> tuple[Tensor, Tensor]:
        """h_1, ..., h_n as (samples, longest, dim), oldest first, and h_* as (samples, dim)."""
        visits = history.rows(self.visits(batch))
        # the placeholder is laid in front, where it is for every length; its position is still the one behind the last
        inputs = torch.cat([self.placeholder.expand(len(visits), 1, -1).to(visits.dtype), visits], dim=1)
        place = torch.arange(visits.shape[1], device=visits.device).expand(len(visits), -1)
        place = torch.cat([history.lengths[:, None], place], dim=1)
        inputs = inputs + self.embed_bias + sinusoids(place, inputs.shape[-1]).to(inputs.dtype)
        inputs = inputs + self.embed_time(self.local_time(F.pad(days, (1, 0))))
        mask = F.pad(history.mask, (1, 0), value=True)
        for layer in self.encoder:
            inputs = layer(inputs, mask)
        return inputs[:, 1:], inputs[:, 0]

    def _time_scores(self, whole: Tensor, days: Tensor) -> Tensor:
        """(samples, longest) q^T k_i / sqrt(s)."""
        key, query = torch.relu(self.key(self.global_time(days))), torch.relu(self.query(whole))
        return (key @ query[..., None])[..., 0] / math.sqrt(query.shape[-1])


def _days_to_prediction(history: SampleHistory, batch: Batch) -> Tensor:
    """(samples, longest) float32 days from the start of each visit to the sample's prediction; 0 in padding."""
    hours = batch.sample_time[:, None] - batch.visit_start[history.visit]
    return (hours.clamp(min=0) / 24).masked_fill(~history.mask, 0).float()
