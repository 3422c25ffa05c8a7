"""MulT, the multimodal Transformer (Tsai et al., ACL 2019, arXiv:1906.00295).

With M modalities and K moments (`zoo.models.multimodal._modalities`; the encoders are those of
`zoo.models.multimodal.fusemoe`):

1. X_m in R^(K x dim), and a convolution over ``kernel`` moments of it, for each modality one.
2. For each ordered pair of modalities (a, b), a Transformer in which a asks b: Z = sqrt(dim) X_a and Y = sqrt(dim) X_b,
   with sines of the place of each moment added; in each layer Z <- Z + attention(norm(Z), norm(Y)), with queries of Z
   and keys and values of Y, and Z <- Z + feed-forward(norm'(Z)); at the end norm''(Z).
3. For each a the Z of all b side by side, in R^(K x (M - 1) dim), through such a Transformer that asks itself; the last
   moments of all a side by side are h, and logits = W_3 (h + W_2 relu(W_1 h + b_1) + b_2) + b_3.

With one modality alone there is no pair, and step 3 has X_a. A modality that a sample lacks has no say: nobody
asks it, and it is zeros in h.

sqrt(dim), the norms at the ends and one norm for queries and keys are those of the published code.

Where published code and paper part (the paper is followed; where it says nothing, what is here is said):

- A convolution there looks at one moment. Here it looks at three.
- A first feature that is exactly 0 counts as padding there. Here masks say what is there.
- No moment looks at later ones there by default. Here each looks at all, since none is after the prediction.
- The Transformers of step 3 have 3 layers at least there. Here they have as many as those of step 2.
- Sines there are of places counted from 1, all sines before all cosines. Here they are those of Vaswani et al. (2017).

Defaults are the paper's settings for CMU-MOSEI, with one ``dropout``, that of its crossmodal blocks; it has 0.3 on
embeddings of words and 0.1 in the last layers, too. It trains 20 epochs; here training ends as that of any model.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.layers import Moments, sinusoids
from zoo.models import Dropout, MultipleOfEncoderHeads, MultipleOfHeads, Points, Positive, Size
from zoo.models._model import Output
from zoo.models.multimodal._modalities import CODES, SIGNALS, FusingModel, ResidualHead, Sizes
from zoo.registry import Choice, MultipleOf, UserError, register_model


@register_model(
    "mult",
    family="multimodal",
    paper="Tsai et al., ACL 2019, arXiv:1906.00295",
    uses={*SIGNALS, "note", *CODES},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
    published={
        "model.dim": 40,
        "model.kernel": 3,
        "model.layers": 4,
        "model.heads": 8,
        "model.dropout": 0.1,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-3,
        "trainer.batch_size": 16,
        "trainer.clip": 1.0,
        "trainer.max_epochs": 20,
    },
    search={"model.dim": Choice(24, 40, 80), "model.dropout": Choice(0.0, 0.1, 0.2, 0.25)},
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
        kernel: how many moments the convolution looks at, an odd number.
        layers: of each Transformer.
        heads: of all attention.
        dropout: in encoders, on what Transformers begin with, on attention weights, on what each sub-layer adds, in
            feed-forward networks and in the last layers.

    Raises:
        UserError: ``kernel`` is even.
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
        dim: Annotated[MultipleOfHeads, MultipleOf(times=2)] = 40,
        time_dim: MultipleOfHeads = 32,
        points: Points = 24,
        hours: Positive = 48.0,
        max_events: Size = 500,
        kernel: Size = 3,
        layers: Size = 4,
        heads: Size = 8,
        dropout: Dropout = 0.1,
    ):
        small = encoder_dim, encoder_layers, encoder_heads
        sizes = Sizes(dim, time_dim, heads, dropout, max_events, max_length, encoder_lr, *small)
        super().__init__(spec, Moments(points, hours), sizes)
        if kernel % 2 == 0:
            raise UserError(f"mult: kernel={kernel} must be odd, so that it has a moment in its middle.")
        self.around = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel, padding=kernel // 2, bias=False) for _ in range(self.count)
        )
        self.pairs = [(a, b) for a in range(self.count) for b in range(self.count) if a != b]
        self.cross = nn.ModuleDict(
            {f"{a}_asks_{b}": Asking(dim, points, layers, heads, dropout) for a, b in self.pairs}
        )
        width = max(self.count - 1, 1) * dim
        self.within = nn.ModuleList(Asking(width, points, layers, heads, dropout) for _ in range(self.count))
        self.head = ResidualHead(self.count * width, spec.outputs, dropout)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """As in the paper for CMU-MOSEI."""
        return {"optimizer": "adam", "lr": 1e-3, "batch_size": 16}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.embed(batch)))

    def embed(self, batch: Batch) -> Tensor:
        """The last moments of all modalities side by side, h."""
        said, there = self.said(batch)
        near = [conv(x.transpose(1, 2)).transpose(1, 2) for conv, x in zip(self.around, said.unbind(1), strict=True)]
        last = []
        for a, own in enumerate(near):
            found = [self.cross[f"{a}_asks_{b}"](own, near[b], there[:, b]) for of, b in self.pairs if of == a]
            rows = torch.cat(found, dim=-1) if found else own
            last.append(self.within[a](rows)[:, -1] * there[:, a, None])
        return torch.cat(last, dim=-1)


class Asking(nn.Module):
    """A Transformer in which a sequence asks another one, or itself.

    Args:
        dim: width of both, even and a multiple of ``heads``.
        points: how long both are.
        layers, heads: how many.
        dropout: on both sequences, and in the layers.
    """

    def __init__(self, dim: int, points: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.register_buffer("places", sinusoids(torch.arange(points), dim), persistent=False)
        self.layers = nn.ModuleList(AskingLayer(dim, heads, dropout) for _ in range(layers))
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, own: Tensor, other: Tensor | None = None, there: Tensor | None = None) -> Tensor:
        """(samples, points, dim) from the same; as of `AskingLayer`, and without another one it asks itself."""
        own = self._placed(own)
        asked = None if other is None else self._placed(other)
        for layer in self.layers:
            own = layer(own, own if asked is None else asked, there)
        return self.norm(own)

    def _placed(self, x: Tensor) -> Tensor:
        return self.dropout(x * x.shape[2] ** 0.5 + self.places.to(x.dtype))


class AskingLayer(nn.Module):
    """One sequence asks another, and a feed-forward network; each of what is normalised before, and added.

    Args:
        dim: width of both, a multiple of ``heads``.
        heads: of the attention.
        dropout: on attention weights, on what each of the two adds, and in the feed-forward network.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.share = heads, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.query, self.value, self.combine = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias of the keys has no effect
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, own: Tensor, other: Tensor, there: Tensor | None = None) -> Tensor:
        """(samples, points, dim) from the same.

        Args:
            own: that asks.
            other: that is asked.
            there: (samples,) bool, whether there is something to ask; None for all.
        """
        asking, asked = self.norms[0](own), self.norms[0](other)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(asking), self.key(asked), self.value(asked))
        )
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=self.share if self.training else 0.0)
        found = self.combine(found.transpose(1, 2).flatten(-2))
        found = found if there is None else found * there[:, None, None]
        own = own + self.dropout(found)
        return own + self.dropout(self.feed_forward(self.norms[1](own)))
