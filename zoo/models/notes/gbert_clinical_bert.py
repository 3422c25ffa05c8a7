"""G-BERT and ClinicalBERT side by side, as Liu et al. compare MedM-PLM with (IEEE JBHI 2023, arXiv:2201.10113).

1. Codes: a vector of each visit's diagnoses and one of its drugs, as in G-BERT (`zoo.models.ontology.gbert`).
2. Text: the vector at [CLS] of a BERT over the visit's notes, as in ClinicalBERT (Huang et al., 2019,
   arXiv:1904.05342), of one chunk.
3. A task: logits = W [vectors of codes, vector of text] + b. Readmission: those of the visit. ICD coding: those of its
   drugs and of its text. Medication: the means over earlier visits, and the given diagnoses of the visit.

Neither side sees the other before W: no attention across, which is what MedM-PLM adds. `zoo.pretrain` pre-trains each
side as its paper does: codes recovered from a visit's vectors, and hidden tokens told. ``encoder`` may be a published
ClinicalBERT, as in the comparison; ``init`` may be a run of ``gbert`` or ``text_encoder``.

What the comparison leaves open is decided as for MedM-PLM here: which visits a task reads. What ``published`` has of
the side of codes is that of G-BERT's code.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.models import Dropout, MultipleOfEncoderHeads, Nodes, Size
from zoo.models._model import Output
from zoo.models._seen_visits import SeenVisits
from zoo.models._texts import BEGINS_WITH, TextBeside, encoder_reading
from zoo.models.ontology import gbert
from zoo.registry import register_model


@register_model(
    "gbert_clinical_bert",
    family="notes",
    paper="Liu et al., IEEE JBHI 2023, arXiv:2201.10113",
    uses={"note", *gbert.CONCEPTS},
    needs={"note", *gbert.CONCEPTS},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder", "ontology"},
    causal=True,
    begins_with={**BEGINS_WITH, "gbert": gbert.PART},
    levels={"drug": "atc3"},
    published={
        "model.dim": 75,
        "model.tree_heads": 4,
        "model.layers": 2,
        "model.heads": 4,
        "model.feedforward": 300,
    },
)
class GBERTClinicalBERT(TextBeside):
    """Visits by G-BERT from their codes and by a BERT from their notes, concatenated.

    Args:
        spec: what the data are like.
        encoder: a published one to begin with, by its name on the Hugging Face hub or its folder; None for a small one.
        encoder_dim, encoder_layers, encoder_heads: of a small one.
        vocabulary_size: how many pieces of words a small one has at most.
        max_length: how many tokens of a visit's notes are read.
        dim, tree_heads, layers, heads, feedforward: of the side of codes, as of `zoo.models.ontology.gbert.GBERT`.
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
        dim: Nodes = 75,
        tree_heads: Size = 4,
        layers: Size = 2,
        heads: Size = 4,
        feedforward: Size = 300,
        dropout: Dropout = 0.1,
    ):
        super().__init__(spec, encoder_dim, encoder_layers, encoder_heads, dropout, max_length)
        self.codes = gbert.VisitCodes(spec, dim, tree_heads, layers, heads, feedforward, dropout)
        self.seen = SeenVisits(spec, gbert.CONCEPTS)
        width = (len(self.seen.read) + len(self.seen.given)) * self.codes.width + self.encoder.width
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(width, spec.outputs)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """Pieces of words, of every visit."""
        return encoder_reading(hyperparameters, hyperparameters["max_length"])

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """What the head sees of codes and notes, side by side."""
        visits = self.codes(batch)
        return self.seen(batch, [*(visits[c] for c in self.seen.read), self.texts(batch)], visits)

    def pretrain(self, batch: Batch) -> Output:
        """The losses of G-BERT and ``tokens``."""
        tokens = self.token_loss(batch)
        return Output(tokens.new_zeros(0), {**self.codes.losses(batch), "tokens": tokens})
