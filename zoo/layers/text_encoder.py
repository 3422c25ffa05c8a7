"""A BERT that reads notes: a small one of our own, or one that is published."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from zoo.layers.sample_text import newest_text
from zoo.registry import UserError

if TYPE_CHECKING:
    from zoo.data import Batch
    from zoo.data.batch import Ragged
    from zoo.data.text import Tokenizer

CACHE_BYTES = 2 << 30
"""How much of what frozen layers say is kept at most."""
POSITIONS = 512
"""How many places a small encoder knows, ``[CLS]`` and ``[SEP]`` included."""


class TextEncoder(nn.Module):
    """A Transformer over pieces of words (Devlin et al., NAACL 2019), without the layer that pools.

    Args:
        tokens: how many there are.
        dim, layers, heads, dropout: of a small one.
        published: the configuration of a published one, which is made as that says; the caller has looked at it.
        trained: how many of its last layers are trained once it has been `begun`; the others are not, nor are the
            embeddings, and they have no dropout. None for all, and so it is where there are no more layers.
        cache_frozen: whether what frozen layers say of a chunk is kept, on the CPU, up to `CACHE_BYTES`.

    Attributes:
        frozen: how many layers are not trained: 0 until the encoder is begun with the weights of another training.

    Raises:
        ValueError: the published one cannot be made so.
    """

    def __init__(
        self,
        tokens: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float = 0.1,
        published: Mapping[str, object] | None = None,
        trained: int | None = None,
        cache_frozen: bool = True,
    ):
        super().__init__()
        from transformers import AutoConfig, AutoModel

        small = {
            "model_type": "bert",
            "vocab_size": tokens,
            "hidden_size": dim,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": 4 * dim,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
            "max_position_embeddings": POSITIONS,
        }
        config = dict(published or small)
        self.bert = AutoModel.from_config(AutoConfig.for_model(config.pop("model_type"), **config))
        self.bert.pooler = None
        self.width = self.bert.config.hidden_size
        self.trained, self.frozen = trained, 0
        if trained is not None:
            self.register_buffer("is_begun", torch.tensor(0))  # saved, so that a run is read back as it was
        self.cache_frozen, self._kept, self._kept_bytes = cache_frozen, {}, 0
        self.register_load_state_dict_post_hook(lambda loaded, _: loaded._freeze())

    def begun(self) -> None:
        """Say that the weights are of another training: all layers but the last ``trained`` stay as they are."""
        if self.trained is not None:
            self.is_begun.fill_(1)
            self._freeze()

    def _freeze(self) -> None:
        """Freeze what is to be, by what the buffer says, and forget what other weights said."""
        self._forget()
        if self.trained is None:
            return
        self.frozen = max(len(self.bert.encoder.layer) - self.trained, 0) if bool(self.is_begun) else 0
        first = self._first()
        for part in self.bert.embeddings, *self.bert.encoder.layer:
            part.requires_grad_(part not in first)
        self.train(self.training)

    @property
    def embedding(self) -> Tensor:
        """(tokens, width) those of the tokens, which the first layer begins with."""
        return self.bert.get_input_embeddings().weight

    def check_length(self, **length: int) -> None:
        """Look whether there are places for chunks of so many tokens of text, with ``[CLS]`` and ``[SEP]`` beside them.

        Args:
            length: the hyperparameter by its name.

        Raises:
            UserError: it has not.
        """
        embeddings = self.bert.embeddings
        if getattr(embeddings, "position_embeddings", None) is None:  # places count from one another
            return
        before = getattr(embeddings, "padding_idx", -1) + 1  # RoBERTa begins to count behind its padding
        most = embeddings.position_embeddings.num_embeddings - before - 2
        for name, value in length.items():
            if value > most:
                raise UserError(f"{name}={value!r} must be at most {most}: the text encoder has no more places.")

    def forward(self, chunks: TextChunks) -> Tensor:
        """(chunks + 1, longest, width) what stands at each token of each chunk, ``[CLS]`` first."""
        longest = chunks.mask.shape[1]
        seen = chunks.mask[:, None, None].expand(-1, 1, longest, -1)  # whole, so that it is not looked into
        if not self.frozen:
            return self.bert(input_ids=chunks.tokens, attention_mask=seen).last_hidden_state
        kept = self.cache_frozen and chunks.tokens.device.type == "cpu"
        states = self._remembered(chunks) if kept else self._frozen(chunks.tokens, seen)
        for layer in self.bert.encoder.layer[self.frozen :]:
            states = _states(layer(states, seen))
        return states

    def train(self, mode: bool = True) -> TextEncoder:
        """As of any module; what is frozen stays as it is in prediction."""
        super().train(mode)
        for part in self._first():
            part.eval()
        return self

    def _first(self) -> list[nn.Module]:
        """The embeddings and the frozen layers, where there are any."""
        return [self.bert.embeddings, *self.bert.encoder.layer[: self.frozen]] if self.frozen else []

    @torch.no_grad()
    def _frozen(self, tokens: Tensor, seen: Tensor | None) -> Tensor:
        """(chunks, longest, width) after the frozen layers."""
        embeddings, *layers = self._first()
        states = embeddings(input_ids=tokens)
        for layer in layers:
            states = _states(layer(states, seen))
        return states

    def _remembered(self, chunks: TextChunks) -> Tensor:
        """The same, of each chunk alone, so that it does not hang on the chunks that it first came with."""
        found = []
        half = torch.is_autocast_enabled("cpu")
        for tokens, length in zip(chunks.tokens, chunks.mask.sum(dim=1).tolist(), strict=True):
            key = half, tokens[:length].numpy().tobytes()
            states = self._kept.get(key)
            if states is None:
                states = self._frozen(tokens[None, :length], None)[0]
                if self._kept_bytes < CACHE_BYTES:
                    self._kept[key] = states
                    self._kept_bytes += states.numel() * states.element_size()
            found.append(states)
        return nn.utils.rnn.pad_sequence(found, batch_first=True)

    def _forget(self) -> None:
        self._kept, self._kept_bytes = {}, 0

    def _apply(self, function, *rest, **more):
        self._forget()  # weights may go elsewhere, or become of another type
        return super()._apply(function, *rest, **more)


def _states(found: Tensor | tuple[Tensor, ...]) -> Tensor:
    """What a layer of a BERT says, in releases of transformers that say it alone or among other things."""
    return found[0] if isinstance(found, tuple) else found


class TextChunks:
    """The texts of the visits of a batch, in chunks of tokens between ``[CLS]`` and ``[SEP]``.

    A visit without a text has the last chunk, which is empty. Chunks are counted on the CPU, where the lengths of the
    texts are known, so that a GPU need not be waited for.

    Attributes:
        tokens: (chunks + 1, longest) int64.
        mask: (chunks + 1, longest) bool, which places are tokens, ``[CLS]`` and ``[SEP]`` among them.
        text: (chunks + 1, longest) bool, which places are tokens of a note.
        begin: (visits,) the first chunk of each visit.
        count: (visits,) how many chunks it has, at least 1.
        most: the largest count.
    """

    def __init__(self, note: Ragged, tokenizer: Tokenizer, size: int):
        lengths = note.text_lengths
        count = -(-lengths // size)
        visit = np.repeat(np.arange(len(lengths)), count)
        first = np.cumsum(count) - count
        since = (np.arange(len(visit)) - first[visit]) * size  # tokens of the visit before the chunk
        length = np.r_[np.minimum(lengths[visit] - since, size), 0]
        starts = np.r_[(np.cumsum(lengths) - lengths)[visit] + since, 0]
        self.most = max(int(count.max(initial=0)), 1)
        device = note.tokens.device
        begins = np.where(count > 0, first, len(visit))
        self.begin, self.count, length, starts = (
            torch.from_numpy(a).to(device, non_blocking=True) for a in (begins, np.maximum(count, 1), length, starts)
        )
        at = torch.arange(int(min(size, lengths.max(initial=0))) + 2, device=device) - 1
        self.mask = at <= length[:, None]
        inside = self.mask & (at >= 0) & (at < length[:, None])
        self._index, self._all = (starts[:, None] + at).masked_fill(~inside, 0), len(note.tokens)
        tokens = nn.functional.pad(note.tokens, (0, 1))[self._index].masked_fill(~inside, tokenizer.padding)
        tokens[:, 0] = tokenizer.special("[CLS]")
        self.tokens = torch.where(at == length[:, None], tokenizer.special("[SEP]"), tokens)
        self.text = inside

    def reading(self, tokens: Tensor) -> TextChunks:
        """The same chunks with other tokens, (chunks + 1, longest)."""
        other = copy(self)
        other.tokens = tokens
        return other

    def only(self, some: Tensor) -> TextChunks:
        """Those with these numbers, (some,), for an encoder to read; which visits they are of is left out."""
        other = copy(self)
        other.tokens, other.mask, other.text = self.tokens[some], self.mask[some], self.text[some]
        other._index = self._index[some]
        del other.begin, other.count, other.most
        return other

    def over_tokens(self, weights: Tensor, chunk: Tensor) -> Tensor:
        """(tokens,) of the batch, from the weights (some, longest) at the places of some chunks, added up."""
        inside = self.text[chunk]
        flat = weights.new_zeros(self._all + 1)  # one more, as there may be no token
        return flat.index_add(0, self._index[chunk].flatten(), weights.masked_fill(~inside, 0).flatten())[:-1]

    def of_samples(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(samples, most) the chunks of the newest visit with a text that each sample sees, and which are chunks.

        A sample that sees no text has the empty chunk.
        """
        visit, _ = newest_text(batch)
        at = torch.arange(self.most, device=self.begin.device)
        mask = at < self.count[visit][:, None]
        return (self.begin[visit][:, None] + at).masked_fill(~mask, 0), mask


class Hidden(NamedTuple):
    """Tokens of which some are hidden, to be told from the others.

    Attributes:
        tokens: (rows, longest) what is read in their stead.
        place: (rows, most) where the hidden ones are.
        target: (rows, most) what they were.
        counts: (rows, most) bool; rows with fewer than ``most`` to tell are filled up.
    """

    tokens: Tensor
    place: Tensor
    target: Tensor
    counts: Tensor


def hide(tokens: Tensor, mask: Tensor, mask_token: int, others: tuple[int, int], share: float = 0.15) -> Hidden:
    """Hide tokens as BERT does (Devlin et al., NAACL 2019, section 3.1).

    Of those chosen 80 % become a mask, 10 % another token, and 10 % stay as they are. Of each row a ``share`` is drawn
    at random, rounded, and one at least where there is any. All sizes are known beforehand, so that a GPU need not be
    waited for.

    Args:
        tokens: (rows, longest) int64.
        mask: (rows, longest) bool, those that may be hidden.
        mask_token: what stands for a hidden one.
        others: from which to which (without it) another token is drawn.
        share: of each row, how many.
    """
    length = mask.sum(dim=1, keepdim=True)
    most = max(round(share * tokens.shape[1]), 1)
    drawn, place = torch.rand(tokens.shape, device=tokens.device).masked_fill(~mask, -1).topk(most, dim=1)
    wanted = (length * share).round().clamp(min=1)
    counts = (torch.arange(most, device=tokens.device) < wanted) & (drawn >= 0)
    target = tokens.gather(1, place)
    fate = torch.rand(target.shape, device=tokens.device)
    other = torch.randint(*others, target.shape, device=tokens.device)
    read = torch.where(fate < 0.8, mask_token, torch.where(fate < 0.9, other, target))
    return Hidden(tokens.scatter(1, place, torch.where(counts, read, target)), place, target, counts)
