"""Med-BERT and ClinicalBERT side by side, as Liu et al. compare MedM-PLM with (IEEE JBHI 2023, arXiv:2201.10113).

1. Codes: s in R^dim of all codes that a sample sees, as in Med-BERT (`zoo.models.visits.med_bert`).
2. Text: the vector at [CLS] of a BERT over the visit's notes, as in ClinicalBERT (Huang et al., 2019,
   arXiv:1904.05342), of one chunk. Where the codes of the visit are to be told before it is over (medication), the
   mean of those of earlier visits.
3. A task: logits = W [s, vector of text] + b.

Neither side sees the other before W. `zoo.pretrain` pre-trains each side as its paper does: a hidden code and long
stays told, and hidden tokens. ``encoder`` may be a published ClinicalBERT, as in the comparison; ``init`` may be a run
of ``med_bert`` or ``text_encoder``.

The comparison names the two models and no settings. Widths and depths are those of each model's own paper, but for a
text encoder that is small where none is named; a published one is trained at ClinicalBERT's 2e-5, all else at 5e-4.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.models import Dropout, MultipleOfEncoderHeads, MultipleOfHeads, Size
from zoo.models._model import Output
from zoo.models._seen_visits import SeenVisits
from zoo.models._texts import BEGINS_WITH, TextBeside, encoder_reading
from zoo.models.visits import med_bert
from zoo.registry import Choice, register_model


@register_model(
    "med_bert_clinical_bert",
    family="notes",
    paper="Liu et al., IEEE JBHI 2023, arXiv:2201.10113",
    uses={"note", *med_bert.CODES},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
    begins_with={**BEGINS_WITH, "med_bert": med_bert.PART},
    levels={"drug": "atc3"},
    waives={"code_order": "the place of a code in its visit is part of the input"},
    published={
        "model.encoder_dim": 768,
        "model.encoder_layers": 12,
        "model.encoder_heads": 12,
        "model.vocabulary_size": 30522,
        "model.max_length": 510,
        "model.dim": 192,
        "model.layers": 6,
        "model.heads": 6,
        "model.feedforward": 64,
        "model.max_codes": 512,
        "model.visits": 1000,
        "model.dropout": 0.1,
    },
    search={"model.dim": Choice(96, 192, 384)},
)
class MedBERTClinicalBERT(TextBeside):
    """The codes of a patient by Med-BERT and the notes of visits by a BERT, concatenated.

    Args:
        spec: what the data are like.
        encoder: a published one to begin with, by its name on the Hugging Face hub or its folder; None for a small one.
        encoder_dim, encoder_layers, encoder_heads: of a small one; 768, 12 and 12 in ClinicalBERT.
        vocabulary_size: how many pieces of words a small one has at most; 30,522 in ClinicalBERT.
        max_length: how many tokens of a visit's notes are read.
        dim, layers, heads, feedforward, max_codes, visits: of the side of codes, as of
            `zoo.models.visits.med_bert.MedBERT`.
        dropout: on both sides and before the head.
    """

    def __init__(
        self,
        spec: Spec,
        encoder: str | None = None,
        encoder_dim: MultipleOfEncoderHeads = 128,
        encoder_layers: Size = 2,
        encoder_heads: Size = 2,
        vocabulary_size: Size = 8000,
        max_length: Size = 510,
        dim: MultipleOfHeads = 192,
        layers: Size = 6,
        heads: Size = 6,
        feedforward: Size = 64,
        max_codes: Size = 512,
        visits: Size = 1000,
        dropout: Dropout = 0.1,
    ):
        super().__init__(spec, encoder_dim, encoder_layers, encoder_heads, dropout, max_length)
        self.sequence = med_bert.CodeSequence(spec, dim, layers, heads, feedforward, max_codes, visits, dropout)
        self.seen = SeenVisits(spec, ())
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(dim + self.encoder.width, spec.outputs)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """Pieces of words, of every visit."""
        return encoder_reading(hyperparameters, hyperparameters["max_length"])

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """What stands for the sequence of codes, and what for the notes, side by side."""
        text = self.seen(batch, [self.texts(batch)], {}) if self.seen.to_come else self.own_texts(batch)
        return torch.cat([self.sequence(batch), text], dim=-1)

    def pretrain(self, batch: Batch) -> Output:
        """The losses of Med-BERT and ``tokens``."""
        tokens = self.token_loss(batch)
        return Output(tokens.new_zeros(0), {**self.sequence.losses(batch), "tokens": tokens})
