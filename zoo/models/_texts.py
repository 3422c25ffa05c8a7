"""What models of notes share: how they read, and where the first weights of a text encoder are from."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.data import Spec
from zoo.data.text import Published, Reading, WordPieces, Words
from zoo.layers import TextEncoder
from zoo.models._model import Model
from zoo.registry import UserError

SETTINGS = ("encoder", "encoder_dim", "encoder_layers", "encoder_heads", "vocabulary_size")
"""What hyperparameters of the encoder are called in every such model."""
BEGINS_WITH = {"text_encoder": {"weights": "encoder.", "hyperparameters": SETTINGS}}
"""What such a model registers as ``begins_with``: the runs whose encoder it may take over."""


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
        self._published = spec.resources.get("encoder")
        config = self._published and self._published["config"]
        try:
            self.encoder = TextEncoder(spec.tokens, dim, layers, heads, dropout, config, trained, cache_frozen)
        except ValueError as error:
            if config is None:
                raise
            raise UserError(f"encoder={self._published['name']!r} cannot be used: {error}.") from error

    def first_weights(self) -> None:
        """Those of the published encoder.

        Raises:
            UserError: they cannot be had.
        """
        if self._published is None:
            return
        name = self._published["name"]
        missing, _ = self.encoder.bert.load_state_dict(Published(name).weights(), strict=False)
        if missing:
            raise UserError(f"encoder={name!r} lacks weights ({', '.join(missing[:3])}): take another one.")


def encoder_reading(hyperparameters: Mapping[str, object], max_tokens: int, newest: bool = False) -> Reading:
    """How a `TextModel` reads: by the tokens of a published encoder, or by pieces of words of the training notes.

    Args:
        hyperparameters: of the model; ``encoder`` and ``vocabulary_size`` count.
        max_tokens, newest: as of `Reading`.
    """
    name = hyperparameters["encoder"]
    form = WordPieces(hyperparameters["vocabulary_size"]) if name is None else Published(name)
    return Reading(form, max_tokens, newest)


def word_reading(hyperparameters: Mapping[str, object]) -> Reading:
    """How a model of words reads: the newest visit with a note, by its ``min_notes`` and ``max_length``."""
    return Reading(Words(hyperparameters["min_notes"]), hyperparameters["max_length"], newest=True)
