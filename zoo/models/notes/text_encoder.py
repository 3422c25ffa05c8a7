"""A BERT for notes, pre-trained on them by telling hidden tokens (Devlin et al., NAACL 2019, arXiv:1810.04805).

1. The notes of a visit are cut into chunks of tokens, each between [CLS] and [SEP]; a Transformer gives a vector h in
   R^dim for each token of a chunk.
2. Pre-training: of each chunk 15 % of the tokens are drawn; 80 % of these become [MASK], 10 % another token, 10 % stay.
   Each is told from its h by softmax(E norm(gelu(W h + c)) + b), E the embeddings of the tokens. Section 3.1, task 1.
   There is no next sentence to tell (task 2): Liu et al. (arXiv:1907.11692, section 4.2) found that it does not help.
3. A task: logits = V mean over the chunks of the h of [CLS] + v, of the newest visit with a note that a sample sees.

A run of this model, or of its pre-training, is an ``init`` of every model with a text encoder. Without ``encoder`` it
is a small one, with pieces of words learned from the training notes and random first weights; nothing is fetched.

The paper's task reads the row of [CLS] through a pooler, of one text of up to 512 tokens. Notes are longer: here it is
the mean over chunks, and there is no pooler, which the task left out would have trained. The published code fine-tunes
on batches of 32 texts; here a batch is 8 visits, which have as many chunks or more.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.layers import TextChunks
from zoo.models import Dropout, MultipleOfEncoderHeads, Size
from zoo.models._model import Output
from zoo.models._texts import FINE_TUNING, TextModel, TokenLoss, encoder_reading
from zoo.registry import Choice, register_model


@register_model(
    "text_encoder",
    family="notes",
    paper="Devlin et al., NAACL 2019, arXiv:1810.04805",
    uses={"note"},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
    causal=True,
    published={
        "model.encoder_dim": 768,
        "model.encoder_layers": 12,
        "model.encoder_heads": 12,
        "model.vocabulary_size": 30522,
        "model.chunk": 510,
        "model.dropout": 0.1,
        "trainer.lr": 2e-5,
        "trainer.schedule": "linear",
        "trainer.warmup": 0.1,
        "trainer.weight_decay": 0.01,
        "trainer.batch_size": 32,
        "trainer.max_epochs": 3,
    },
    search={"model.encoder_dim": Choice(64, 128, 256)},
)
class TextEncoderModel(TextModel):
    """A small BERT over the notes of a visit, pre-trained by telling hidden tokens.

    Args:
        spec: what the data are like.
        encoder: a published one to begin with, by its name on the Hugging Face hub or its folder; None for a small one.
        encoder_dim, encoder_layers, encoder_heads: of a small one; 768, 12 and 12 in the paper (base).
        vocabulary_size: how many pieces of words a small one has at most; 30,522 in the published uncased ones.
        chunk: how many tokens of text a chunk has at most; 510 in the paper.
        max_length: how many tokens of a visit's notes are read.
        dropout: in a small encoder and before the head.
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
    ):
        super().__init__(spec, encoder_dim, encoder_layers, encoder_heads, dropout)
        self.encoder.check_length(chunk=chunk)
        self.chunk = chunk
        self.hidden_tokens = TokenLoss(spec.tokens, self.encoder.width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.width, spec.outputs)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """Pieces of words, of every visit."""
        return encoder_reading(hyperparameters, hyperparameters["max_length"])

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """As published where the encoder is a published one; a small one, which learns from nothing, at 5e-4."""
        return dict(FINE_TUNING) if spec.resources.get("encoder") else {"lr": 5e-4, "batch_size": 16}

    @classmethod
    def pretraining_defaults(cls, spec: Spec) -> dict:
        """A published encoder goes on at 2e-5, as its authors advise and ClinicalBERT's do; a small one at 5e-4."""
        if not spec.resources.get("encoder"):
            return {"lr": 5e-4, "batch_size": 16}
        return {"lr": 2e-5, "batch_size": 8, "schedule": "linear", "weight_decay": 0.01}

    def pretrain(self, batch: Batch) -> Output:
        """The loss ``tokens``: cross-entropy of the hidden ones, a mean over all of them."""
        chunks = TextChunks(batch["note"], self.tokenizer, self.chunk)
        loss = self.hidden_tokens(self.encoder, chunks, self.tokenizer)
        return Output(loss.new_zeros(0), {"tokens": loss})

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> Tensor:
        """The mean of what the encoder has at the [CLS] of each chunk."""
        chunks = TextChunks(batch["note"], self.tokenizer, self.chunk)
        first = self.encoder(chunks)[:, 0]  # (chunks, width)
        place, mask = chunks.of_samples(batch)
        return (first[place] * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
