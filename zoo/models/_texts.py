"""What models of notes share: how they read, and where the first weights of a text encoder are from."""

from __future__ import annotations

from collections.abc import Mapping, Set

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data._encoder_config import check_encoder
from zoo.data.text import MASK, Published, Reading, Tokenizer, WordPieces, Words
from zoo.layers import TextChunks, TextEncoder, hide
from zoo.models._model import Model
from zoo.registry import UserError

SETTINGS = ("encoder", "encoder_dim", "encoder_layers", "encoder_heads", "vocabulary_size")
"""What hyperparameters of the encoder are called in every such model."""
BEGINS_WITH = {"text_encoder": {"weights": "encoder.", "hyperparameters": SETTINGS}}
"""What such a model registers as ``begins_with``: the runs whose encoder it may take over."""


FINE_TUNING = {
    "lr": 2e-5,
    "batch_size": 8,
    "schedule": "linear",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "max_epochs": 3,
}
"""How a published BERT is fine-tuned, as in the code of its authors (github.com/google-research/bert) and of
ClinicalBERT's (github.com/kexinhuang12345/clinicalBERT). Their batches of 32 texts are the chunks of 8 documents."""


class TextModel(Model):
    """A model with a text encoder: a small one, or the published one of the resource ``encoder``.

    Args:
        spec: what the data are like.
        dim, layers, heads, dropout: as of `TextEncoder`.
        trained, cache_frozen: as of `TextEncoder`.

    Raises:
        UserError: the published encoder is not built as BERT is.
    """

    def __init__(
        self,
        spec: Spec,
        dim: int,
        layers: int,
        heads: int,
        dropout: float,
        trained: int | None = None,
        cache_frozen: bool = True,
    ):
        super().__init__(spec)
        self.tokenizer = spec.vocabularies["note"].tokenizer
        self.encoder = made_encoder(spec, dim, layers, heads, dropout, trained, cache_frozen)

    def first_weights(self) -> None:
        """Those of the published encoder.

        Raises:
            UserError: they cannot be had.
        """
        give_published_weights(self.encoder, self.spec)

    def begun(self, names: Set[str]) -> None:
        """Of an encoder whose weights were taken over only the last ``trained`` layers are trained."""
        if any(name.startswith("encoder.") for name in names):
            self.encoder.begun()


def made_encoder(
    spec: Spec,
    dim: int,
    layers: int,
    heads: int,
    dropout: float,
    trained: int | None = None,
    cache_frozen: bool = True,
) -> TextEncoder:
    """A text encoder: a small one, or one made as the published one of the resource ``encoder``.

    Args:
        spec: of the model.
        dim, layers, heads, dropout, trained, cache_frozen: as of `TextEncoder`.

    Raises:
        UserError: the published encoder is not built as BERT is.
    """
    published = spec.resources.get("encoder")
    config = published and published["config"]
    try:
        if config is not None:
            check_encoder(config)
        return TextEncoder(spec.tokens, dim, layers, heads, dropout, config, trained, cache_frozen)
    except ValueError as error:
        if config is None:
            raise
        raise UserError(f"encoder={published['name']!r} cannot be used: {error}.") from error


def give_published_weights(encoder: TextEncoder, spec: Spec) -> None:
    """Give an encoder the weights of the published one of the resource ``encoder``, where there is one.

    Raises:
        UserError: they cannot be had.
    """
    published = spec.resources.get("encoder")
    if published is None:
        return
    name = published["name"]
    missing, _ = encoder.bert.load_state_dict(Published(name).weights(), strict=False)
    if missing:
        raise UserError(f"encoder={name!r} lacks weights ({', '.join(missing[:3])}): take another one.")
    encoder.begun()


class TokenLoss(nn.Module):
    """The loss of telling hidden tokens, as in Devlin et al. (NAACL 2019); its last weights are the embeddings.

    Args:
        tokens: how many there are.
        width: of the encoder.
    """

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(tokens))

    def forward(self, encoder: TextEncoder, chunks: TextChunks, tokenizer: Tokenizer) -> Tensor:
        """The cross-entropy of the hidden tokens of some chunks, a mean over all of them; a scalar."""
        hidden = hide(chunks.tokens, chunks.text, tokenizer.special(MASK), (0, tokenizer.size))
        states = encoder(chunks.reading(hidden.tokens))
        at = hidden.place[..., None].expand(-1, -1, states.shape[-1])
        told = self.transform(states.gather(1, at)) @ encoder.embedding.T + self.bias
        loss = F.cross_entropy(told.flatten(0, 1).float(), hidden.target.flatten(), reduction="none")
        counts = hidden.counts.flatten()
        return (loss * counts).sum() / counts.sum().clamp(min=1)


class TextBeside(TextModel):
    """A model that reads the notes of each visit as one chunk, beside its codes.

    Args:
        spec, dim, layers, heads, dropout: as of `TextModel`.
        max_length: how many tokens of a visit's notes are read.
    """

    def __init__(self, spec: Spec, dim: int, layers: int, heads: int, dropout: float, max_length: int):
        super().__init__(spec, dim, layers, heads, dropout)
        self.encoder.check_length(max_length=max_length)
        self.max_length = max_length
        self.hidden_tokens = TokenLoss(spec.tokens, self.encoder.width)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """For what learns from nothing: the codes, the head, and a small encoder."""
        return {"lr": 5e-4, "batch_size": 16}

    @classmethod
    def pretraining_defaults(cls, spec: Spec) -> dict:
        """All weights have one rate in pre-training: where the encoder is a published one, that of ClinicalBERT."""
        return {"lr": 2e-5 if spec.resources.get("encoder") else 5e-4, "batch_size": 16}

    def learning_rates(self) -> Mapping[str, float]:
        """That of ClinicalBERT for a published encoder; the rest has nothing to lose."""
        return {"encoder": FINE_TUNING["lr"]} if self.spec.resources.get("encoder") else {}

    def texts(self, batch: Batch) -> Tensor:
        """(visits, width) what the encoder has at ``[CLS]``."""
        chunks = TextChunks(batch["note"], self.tokenizer, self.max_length)
        return self.encoder(chunks)[chunks.begin, 0]

    def own_texts(self, batch: Batch) -> Tensor:
        """(samples, width) the same of each sample's own visit, without reading the others."""
        return self.encoder(self._own_chunks(batch))[:, 0]

    def token_loss(self, batch: Batch) -> Tensor:
        """The loss of telling hidden tokens, of each sample's own visit."""
        return self.hidden_tokens(self.encoder, self._own_chunks(batch), self.tokenizer)

    def _own_chunks(self, batch: Batch) -> TextChunks:
        chunks = TextChunks(batch["note"], self.tokenizer, self.max_length)
        return chunks.only(chunks.begin[batch.row_offsets[batch.sample_row] + batch.sample_visit])


def encoder_reading(
    hyperparameters: Mapping[str, object], max_tokens: int, newest: bool = False, max_length: int | None = None
) -> Reading:
    """How a `TextModel` reads: by the tokens of a published encoder, or by pieces of words of the training notes.

    Args:
        hyperparameters: of the model; ``encoder`` and ``vocabulary_size`` count.
        max_tokens, newest, max_length: as of `Reading`.
    """
    name = hyperparameters["encoder"]
    form = WordPieces(hyperparameters["vocabulary_size"]) if name is None else Published(name)
    return Reading(form, max_tokens, newest, max_length)


def word_reading(hyperparameters: Mapping[str, object]) -> Reading:
    """How a model of words reads: the newest visit with a note, by its ``min_notes`` and ``max_length``."""
    return Reading(Words(hyperparameters["min_notes"]), hyperparameters["max_length"], newest=True)
