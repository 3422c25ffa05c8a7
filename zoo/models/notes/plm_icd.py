"""PLM-ICD (Huang et al., ClinicalNLP 2022, arXiv:2207.05289): a pre-trained language model and label attention.

1. A document is cut into chunks of c tokens; a Transformer gives a vector for each token of each chunk, and these are
   put one after the other: H in R^(N x d).
2. A = softmax(U tanh(W H^T)) over the tokens, V = A H, y_l = sigmoid(w_l . V_l + b_l), after LAAT.

The document of a sample is what was written about the newest visit with a note that it sees: for ``icd_coding`` its
own. The paper begins with RoBERTa-PM: name it as ``encoder``, or give a run of `zoo.models.notes.text_encoder` as
``init``.

Where published code and paper part (the paper is followed, and where it is silent what is said here):

- [CLS] and [SEP] stand there once a document, before its first chunk and behind its last. Here each chunk has them, as
  what a BERT has been pre-trained on, and they are among the N: a chunk of 126 tokens has the 128 places of theirs.
- Padding has a share of the label attention there, and so have whole chunks of padding. Here they have none, and are
  not computed.
- Weights are updated there after every eighth document, the first one counted as the eighth. Here 8 are a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.layers import LabelAttention, TextChunks
from zoo.models import Dropout, MultipleOfEncoderHeads, Size
from zoo.models._model import Attended, Output
from zoo.models._texts import BEGINS_WITH, TextModel, encoder_reading
from zoo.registry import Choice, register_model


@register_model(
    "plm_icd",
    family="notes",
    paper="Huang et al., ClinicalNLP 2022, arXiv:2207.05289",
    uses={"note"},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    explains="attention to words",
    resources={"encoder"},
    begins_with=BEGINS_WITH,
    published={
        "model.encoder_dim": 768,
        "model.encoder_layers": 12,
        "model.encoder_heads": 12,
        "model.chunk": 128,
        "model.max_length": 3072,
        "trainer.optimizer": "adamw",
        "trainer.lr": 5e-5,
        "trainer.schedule": "linear",
        "trainer.warmup": 2000,
        "trainer.batch_size": 8,
        "trainer.max_epochs": 20,
    },
    search={"model.encoder_dim": Choice(64, 128, 256)},
)
class PLMICD(TextModel):
    """A BERT over the chunks of a document, and for each label an attention to all its tokens.

    Args:
        spec: what the data are like.
        encoder: a published one to begin with, by its name on the Hugging Face hub or its folder; None for a small one.
        encoder_dim, encoder_layers, encoder_heads: of a small one; 768, 12 and 12 in the paper.
        vocabulary_size: how many pieces of words a small one has at most.
        attention_dim: of W H; None for d, as in the authors' code.
        chunk: how many tokens of text a chunk has at most; 128 in the paper, here with [CLS] and [SEP].
        max_length: how many tokens of a visit's notes are read; 3,072 in the paper, here with the marks of 24 chunks.
        dropout: in a small encoder; on H the published code has none.
    """

    def __init__(
        self,
        spec: Spec,
        encoder: str | None = None,
        encoder_dim: MultipleOfEncoderHeads = 128,
        encoder_layers: Size = 2,
        encoder_heads: Size = 2,
        vocabulary_size: Size = 8000,
        attention_dim: Size | None = None,
        chunk: Size = 126,
        max_length: Size = 3024,
        dropout: Dropout = 0.1,
    ):
        super().__init__(spec, encoder_dim, encoder_layers, encoder_heads, dropout)
        self.encoder.check_length(chunk=chunk)
        self.chunk = chunk
        self.attention = LabelAttention(self.encoder.width, spec.outputs, attention_dim or self.encoder.width)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """Pieces of words, of the newest visit with a note."""
        return encoder_reading(hyperparameters, hyperparameters["max_length"], newest=True)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """As published where the encoder is a published one; a small one, which learns from nothing, at 5e-4."""
        published = {"lr": 5e-5, "schedule": "linear", "warmup": 2000, "max_epochs": 20}
        return {"batch_size": 8, **(published if spec.resources.get("encoder") else {"lr": 5e-4})}

    def attended(self, batch: Batch, output: int) -> Attended:
        """The attention of the output to the tokens; [CLS] and [SEP], which have a share too, are none."""
        chunks = TextChunks(batch["note"], self.tokenizer, self.chunk)
        place, _ = chunks.of_samples(batch)
        weights = self(batch).attention["tokens"][0, output].view(place.shape[1], -1)
        return Attended({"tokens": chunks.over_tokens(weights, place[0])})

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs), and the attention of each output to the tokens of all chunks."""
        chunks = TextChunks(batch["note"], self.tokenizer, self.chunk)
        states = self.encoder(chunks)
        place, mask = chunks.of_samples(batch)
        tokens = states[place].flatten(1, 2)  # (samples, most * longest, d)
        logits, attention = self.attention(tokens, (chunks.mask[place] & mask[..., None]).flatten(1))
        return Output(logits, attention={"tokens": attention})
