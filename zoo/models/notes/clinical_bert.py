"""ClinicalBERT (Huang et al., 2019, arXiv:1904.05342): a BERT for notes, and how it reads documents that are too long.

1. A document is cut into n chunks, each between [CLS] and [SEP]; h in R^dim is what the Transformer has at a [CLS].
2. P(y | h) = sigmoid(W h) for each chunk.
3. P(y | document) = (P_max + P_mean n / c) / (1 + n / c), with the largest and the mean P of its chunks; c = 2.
   Many chunks make a large P by chance, so that the mean has more weight.

In training each chunk has the label of its document. For several classes step 3 is done for each class, and the
probabilities are made to add up to 1; a number is the mean over the chunks. The document of a sample is what was
written about the newest visit with a note that it sees; where it sees none, one chunk without a word.

``init`` from a run of `zoo.models.notes.text_encoder`, or ``encoder`` with a published ClinicalBERT, is what makes this
ClinicalBERT. Public ones have read notes of MIMIC-III, those of test patients among them; a result says so.

Where published code and paper part (the paper is followed):

- [CLS] goes through BERT's pooler there: P = sigmoid(W tanh(W_p h + b_p) + b). Here h is what the Transformer has.
- Splits are by admission there, and a patient may be in two. Here they are by subject.
- It is trained and tested on as many admissions with readmission as without, and trained on as many chunks of each.
  Here all samples count; ``balance=True`` trains on as many samples of each label.
- Its batches are of 32 chunks. Here they are of documents, 8 with a published encoder.
- Its cleaning takes out numbers that a point follows, so that 12.5 becomes 5. Here they stay.
- Documents are cut by words, 318 a chunk, of which the first 510 tokens are read, and of the last one ten words or
  fewer vanish. Here chunks are of ``chunk`` tokens, none vanishes, and of a visit's notes ``max_length`` are read.

Its metric RP80, the recall at a precision of 80 %, is ``recall_at_precision_80``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.layers import TextChunks
from zoo.models import Dropout, MultipleOfEncoderHeads, Positive, Size
from zoo.models._model import Output
from zoo.models._texts import BEGINS_WITH, FINE_TUNING, TextModel, encoder_reading
from zoo.registry import Choice, register_model


@dataclass(frozen=True)
class ChunkOutput(Output):
    """What the model says of a batch, and of each chunk.

    Attributes:
        chunks: (samples, most, outputs), logits of the chunks of each sample.
        mask: (samples, most) bool, which are chunks.
    """

    chunks: Tensor | None = None
    mask: Tensor | None = None


@register_model(
    "clinical_bert",
    family="notes",
    paper="Huang et al., 2019, arXiv:1904.05342",
    uses={"note"},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
    begins_with=BEGINS_WITH,
    published={
        "model.encoder_dim": 768,
        "model.encoder_layers": 12,
        "model.encoder_heads": 12,
        "model.vocabulary_size": 30522,
        "model.chunk": 510,
        "model.dropout": 0.1,
        "model.c": 2.0,
        "trainer.lr": 2e-5,
        "trainer.schedule": "linear",
        "trainer.warmup": 0.1,
        "trainer.weight_decay": 0.01,
        "trainer.batch_size": 32,
        "trainer.max_epochs": 3,
    },
    search={"model.encoder_dim": Choice(64, 128, 256)},
)
class ClinicalBERT(TextModel):
    """A BERT over each chunk of a document, whose predictions are put together.

    Args:
        spec: what the data are like.
        encoder: a published one to begin with, by its name on the Hugging Face hub or its folder; None for a small one.
        encoder_dim, encoder_layers, encoder_heads: of a small one; 768, 12 and 12 in the paper.
        vocabulary_size: how many pieces of words a small one has at most; 30,522 in the paper.
        chunk: how many tokens of text a chunk has at most; 510 in the paper.
        max_length: how many tokens of a visit's notes are read; all in the paper, here five chunks by default.
        dropout: in a small encoder and before the head; 0.1 in the paper.
        c: how many chunks count as much as the largest one; 2 in the paper.
    """

    def __init__(
        self,
        spec: Spec,
        encoder: str | None = None,
        encoder_dim: MultipleOfEncoderHeads = 128,
        encoder_layers: Size = 2,
        encoder_heads: Size = 2,
        vocabulary_size: Size = 8000,
        chunk: Size = 510,
        max_length: Size = 2550,
        dropout: Dropout = 0.1,
        c: Positive = 2.0,
    ):
        super().__init__(spec, encoder_dim, encoder_layers, encoder_heads, dropout)
        self.encoder.check_length(chunk=chunk)
        self.chunk, self.c = chunk, c
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.width, spec.outputs)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """Pieces of words, of the newest visit with a note."""
        return encoder_reading(hyperparameters, hyperparameters["max_length"], newest=True)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """As published where the encoder is a published one; a small one, which learns from nothing, at 5e-4."""
        return dict(FINE_TUNING) if spec.resources.get("encoder") else {"lr": 5e-4, "batch_size": 16}

    def forward(self, batch: Batch) -> ChunkOutput:
        """Logits (samples, outputs) of documents, and those of their chunks."""
        chunks = TextChunks(batch["note"], self.tokenizer, self.chunk)
        of_chunks = self.head(self.dropout(self.encoder(chunks)[:, 0]))
        place, mask = chunks.of_samples(batch)
        logits = of_chunks[place]
        return ChunkOutput(self._together(logits, mask), chunks=logits, mask=mask)

    def _together(self, logits: Tensor, mask: Tensor) -> Tensor:
        """(samples, outputs) of documents, from (samples, most, outputs) of their chunks."""
        n, inside = mask.sum(dim=1, keepdim=True), mask[..., None]
        if not self.task_kind.probabilities:
            return (logits * inside).sum(dim=1) / n
        several = self.task_kind.exclusive
        p = (logits.softmax(dim=-1) if several else logits.sigmoid()) * inside
        weight = n / self.c
        p = (p.amax(dim=1) + p.sum(dim=1) / n * weight) / (1 + weight)
        tiny = torch.finfo(p.dtype).tiny
        if several:
            return p.clamp(min=tiny).log()
        p = p.clamp(tiny, 1 - torch.finfo(p.dtype).eps)
        return p.log() - (1 - p).log()

    def loss(self, output: ChunkOutput, batch: Batch) -> Tensor:
        """The mean over all chunks of the loss of the kind, each with the label of its document."""
        logits, label = output.chunks, batch.label
        if self.task_kind.exclusive:
            each = F.cross_entropy(logits.transpose(1, 2), label[:, None].expand(output.mask.shape), reduction="none")
        elif not self.task_kind.probabilities:
            each = (logits[..., 0] - label[:, None]) ** 2
        else:
            label = label.reshape(len(label), 1, -1).to(logits.dtype).expand_as(logits)
            each = F.binary_cross_entropy_with_logits(logits, label, reduction="none").mean(dim=-1)
        return (each * output.mask).sum() / output.mask.sum()
