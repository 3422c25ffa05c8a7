"""MulT, the multimodal Transformer (Tsai et al., ACL 2019, arXiv:1906.00295).

With M modalities and K moments (`zoo.models._modalities`; the encoders are those of `zoo.models.fusemoe`):

1. X_m in R^(K x dim), with sines of the place of each moment added.
2. For each ordered pair of modalities (a, b), layers in which a asks b: Z <- Z + attention(norm(Z), norm(X_b)), with
   queries of Z and keys and values of X_b, and Z <- Z + feed-forward(norm(Z)); the first Z is X_a.
3. For each a the Z of all b side by side, in R^(K x (M - 1) dim), through a Transformer among the moments; the last
   moments of all a side by side are h, and logits = W_3 (h + W_2 relu(W_1 h + b_1) + b_2) + b_3.

With one modality alone there is no pair, and step 3 has X_a. A modality that a sample lacks has no say: nobody
asks it, and it is zeros in h.

Where published code and paper part (the paper is followed): a first feature that is exactly 0 counts as padding there.
Here masks say what is there.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.layers import EncoderLayer, sinusoids
from zoo.models import Dropout, MultipleOfEncoderHeads, MultipleOfHeads, Points, Positive, Size
from zoo.models._modalities import CODES, SIGNALS, FusingModel, Moments, Sizes
from zoo.models._model import Output
from zoo.registry import MultipleOf, register_model


@register_model(
    "mult",
    family="multimodal",
    paper="Tsai et al., ACL 2019, arXiv:1906.00295",
    uses={*SIGNALS, "note", *CODES},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
)
class MulT(FusingModel):
    """Each of signals, notes and codes asks each other one, by attention among their moments.

    Args:
        spec: what the data are like.
        encoder: a published text encoder to begin with, by its name on the Hugging Face hub or its folder; None for a
            small one.
        encoder_lr: learning rate of a published one; a small one has the trainer's.
        encoder_dim, encoder_layers, encoder_heads: of a small one.
        vocabulary_size: how many pieces of words a small one has at most.
        max_length: how many tokens of a note are read, its first ones.
        max_tokens: how many tokens of a visit's notes are read; of the newest notes, each cut to ``max_length`` before.
        dim: width of what a modality says of a moment; a multiple of ``heads``, and even.
        time_dim: of the embeddings of times; a multiple of ``heads``.
        points: K, how many moments.
        hours: from the first moment to the prediction.
        max_events: how many measurements, notes or codes of each concept are read, the newest ones.
        layers: of each pair, and of the Transformers after them.
        heads: of all attention.
        dropout: in encoders, on attention weights, on what each sub-layer adds, and before the last layer.
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
        dim: Annotated[MultipleOfHeads, MultipleOf(times=2)] = 32,
        time_dim: MultipleOfHeads = 32,
        points: Points = 24,
        hours: Positive = 48.0,
        max_events: Size = 500,
        layers: Size = 2,
        heads: Size = 4,
        dropout: Dropout = 0.1,
    ):
        small = encoder_dim, encoder_layers, encoder_heads
        sizes = Sizes(dim, time_dim, heads, dropout, max_events, max_length, encoder_lr, *small)
        super().__init__(spec, Moments(points, hours), sizes)
        self.pairs = [(a, b) for a in range(self.count) for b in range(self.count) if a != b]
        self.cross = nn.ModuleDict(
            {
                f"{a}_asks_{b}": nn.ModuleList(AskingLayer(dim, heads, dropout) for _ in range(layers))
                for a, b in self.pairs
            }
        )
        width = max(self.count - 1, 1) * dim
        self.within = nn.ModuleList(
            nn.ModuleList(EncoderLayer(width, heads, 4 * width, dropout) for _ in range(layers))
            for _ in range(self.count)
        )
        self.hidden = nn.Sequential(
            nn.Linear(self.count * width, self.count * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(self.count * width, self.count * width),
        )
        self.head = nn.Linear(self.count * width, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        said, there = self.said(batch)
        said = said + sinusoids(torch.arange(said.shape[2], device=said.device), said.shape[3])
        last = []
        for a in range(self.count):
            found = [
                self._asked(said[:, a], said[:, b], there[:, b], self.cross[f"{a}_asks_{b}"])
                for _, b in (pair for pair in self.pairs if pair[0] == a)
            ]
            rows = torch.cat(found, dim=-1) if found else said[:, a]
            seen = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
            for layer in self.within[a]:
                rows = layer(rows, seen)
            last.append(rows[:, -1] * there[:, a, None])
        h = torch.cat(last, dim=-1)
        return Output(self.head(h + self.hidden(h)))

    def _asked(self, own: Tensor, other: Tensor, there: Tensor, layers: nn.ModuleList) -> Tensor:
        for layer in layers:
            own = layer(own, other, there)
        return own


class AskingLayer(nn.Module):
    """One modality asks another, and a feed-forward network; each of what is normalised before, and added.

    Args:
        dim: width of both, a multiple of ``heads``.
        heads: of the attention.
        dropout: on attention weights, and on what each of the two adds.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.share = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.query, self.value, self.combine = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias of the keys has no effect
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, own: Tensor, other: Tensor, there: Tensor) -> Tensor:
        """(samples, points, dim) from the same.

        Args:
            own: that asks.
            other: that is asked.
            there: (samples,) bool, whether there is something to ask.
        """
        asking, asked = self.norms[0](own), self.norms[1](other)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(asking), self.key(asked), self.value(asked))
        )
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=self.share if self.training else 0.0)
        found = self.combine(found.transpose(1, 2).flatten(-2)) * there[:, None, None]
        own = own + self.dropout(found)
        return own + self.dropout(self.feed_forward(self.norms[2](own)))
