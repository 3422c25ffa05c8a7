"""Late fusion: each modality predicts by itself, and the predictions are put together.

With M modalities and K moments (`zoo.models.multimodal._modalities`; the encoders are those of
`zoo.models.multimodal.fusemoe`):

1. For each modality m a GRU over X_m1, ..., X_mK, and logits_m = W_m h_mK of its last state.
2. logits = b + the mean of logits_m over the modalities of which the sample has something.

The baseline of multimodal studies. Baltrusaitis et al. (IEEE TPAMI 2019) survey them and give no network and no
settings: the GRU is ours, and the rate of a published text encoder is that of FuseMoE's paper.
"""

from __future__ import annotations

import torch
from torch import nn

from zoo.data import Batch, Spec
from zoo.layers import Moments
from zoo.models import Dropout, MultipleOfEncoderHeads, MultipleOfHeads, Points, Positive, Size
from zoo.models._model import Output
from zoo.models.multimodal._modalities import CODES, SIGNALS, FusingModel, Sizes
from zoo.registry import Choice, register_model


@register_model(
    "late_fusion",
    family="multimodal",
    paper="Baltrusaitis et al., IEEE TPAMI 2019, arXiv:1705.09406",
    uses={*SIGNALS, "note", *CODES},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
    search={"model.hidden": Choice(32, 64, 128)},
)
class LateFusion(FusingModel):
    """A GRU and a prediction for each of signals, notes and codes, and the mean of the predictions.

    Args:
        spec: what the data are like.
        encoder: a published text encoder to begin with, by its name on the Hugging Face hub or its folder; None for a
            small one.
        encoder_lr: learning rate of a published one; a small one has the trainer's.
        encoder_dim, encoder_layers, encoder_heads: of a small one.
        vocabulary_size: how many pieces of words a small one has at most.
        max_length: how many tokens of a note are read, its first ones.
        max_tokens: how many tokens of a visit's notes are read; of the newest notes, each cut to ``max_length`` before.
        dim: width of what a modality says of a moment; a multiple of ``heads``.
        time_dim: of the embeddings of times; a multiple of ``heads``.
        points: K, how many moments.
        hours: from the first moment to the prediction.
        max_events: how many measurements, notes or codes of each concept are read, the newest ones.
        heads: of the attention to times.
        hidden: width of each GRU.
        dropout: in encoders and before the last layers.
    """

    def __init__(
        self,
        spec: Spec,
        encoder: str | None = None,
        encoder_lr: Positive = 2e-5,
        encoder_dim: MultipleOfEncoderHeads = 64,
        encoder_layers: Size = 2,
        encoder_heads: Size = 2,
        vocabulary_size: Size = 8000,
        max_length: Size = 126,
        max_tokens: Size = 1260,
        dim: MultipleOfHeads = 64,
        time_dim: MultipleOfHeads = 32,
        points: Points = 24,
        hours: Positive = 48.0,
        max_events: Size = 500,
        heads: Size = 4,
        hidden: Size = 64,
        dropout: Dropout = 0.1,
    ):
        small = encoder_dim, encoder_layers, encoder_heads
        sizes = Sizes(dim, time_dim, heads, dropout, max_events, max_length, encoder_lr, *small)
        super().__init__(spec, Moments(points, hours), sizes)
        self.recur = nn.ModuleList(nn.GRU(dim, hidden, batch_first=True) for _ in self.encode)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(hidden, spec.outputs, bias=False) for _ in self.encode)
        self.bias = nn.Parameter(torch.zeros(spec.outputs))

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        said, there = self.said(batch)
        total = said.new_zeros(batch.samples, len(self.bias))
        for m, (recur, head) in enumerate(zip(self.recur, self.heads, strict=True)):
            total = total + head(self.dropout(recur(said[:, m])[1][0])) * there[:, m, None]
        return Output(self.bias + total / there.sum(dim=1, keepdim=True).clamp(min=1))
