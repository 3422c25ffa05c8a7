"""Early fusion: what modalities say stands side by side at each moment, before anything is learned of their sequence.

With M modalities and K moments (`zoo.models.multimodal._modalities`; the encoders are those of
`zoo.models.multimodal.fusemoe`):

1. x_k = [X_1k, ..., X_Mk] in R^(M dim) for each moment k; zeros where a sample has nothing of a modality.
2. A GRU over x_1, ..., x_K; logits = W h_K + b of its last state.

The baseline of multimodal studies. Baltrusaitis et al. (IEEE TPAMI 2019) survey them and give no network and no
settings: the GRU is ours, and the rate of a published text encoder is that of FuseMoE's paper.
"""

from __future__ import annotations

from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.layers import Moments
from zoo.models import Dropout, MultipleOfEncoderHeads, MultipleOfHeads, Points, Positive, Size
from zoo.models._model import Output
from zoo.models.multimodal._modalities import CODES, SIGNALS, FusingModel, Sizes
from zoo.registry import Choice, register_model


@register_model(
    "early_fusion",
    family="multimodal",
    paper="Baltrusaitis et al., IEEE TPAMI 2019, arXiv:1705.09406",
    uses={*SIGNALS, "note", *CODES},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
    search={"model.hidden": Choice(32, 64, 128)},
)
class EarlyFusion(FusingModel):
    """Signals, notes and codes side by side at each moment, and a GRU over the moments.

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
        hidden: width of the GRU.
        dropout: in encoders and before the last layer.
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
        self.recur = nn.GRU(self.count * dim, hidden, batch_first=True)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(hidden, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """The last state, h_K."""
        said, _ = self.said(batch)
        return self.recur(said.transpose(1, 2).flatten(2))[1][0]
