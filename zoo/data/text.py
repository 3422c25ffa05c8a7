"""Notes as tokens: how they are cut, and how a model reads them.

Text is cleaned as for ClinicalBERT (Huang et al., arXiv:1904.05342): lower case, and without line breaks, accents,
control characters, rules of a form and de-identified passages in brackets. Their removal of numbers that a point
follows is left out, since it turns 12.5 into 5. The cleaning is part of a tokenizer, and a tokenizer is part of the
vocabulary of ``note``, so that a run reads other texts as it read those it was trained on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from zoo.data._encoder_config import check_encoder, known_part
from zoo.registry import UserError

PADDING, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = {
    PADDING: (PADDING, "<pad>"),
    UNKNOWN: (UNKNOWN, "<unk>"),
    BEGIN: (BEGIN, "<s>"),
    END: (END, "</s>"),
    MASK: (MASK, "<mask>"),
}
"""What a token that stands for no text is called in published vocabularies."""
ENCODED_AT_ONCE = 512
CHARACTERS = 500
"""How many different characters a vocabulary of word pieces has at most, those that training notes have most."""


BRACKETS = r"\[[^\[\]]{0,200}\]|[_=-]{2,}"
"""A bracket is closed soon or stands for itself: what is not bounded takes quadratic time on a row of brackets."""
APART, NUMBERS = r"[\W_]+", r"(?<!\w)\d+(?!\w)"
PATTERNS = {BRACKETS, APART, NUMBERS, " {2,}"}
"""Regular expressions of tokenizers that are read from files: ours, and one of published XLM-RoBERTas. Others may run
on and on over a text. A form of one's own that has further ones adds them."""


def check_patterns(plain: str) -> None:
    """Raise a `ValueError` where a tokenizer, as JSON, has a regular expression that is not in `PATTERNS`."""
    pending = [json.loads(plain)]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if isinstance(part.get("Regex"), str) and part["Regex"] not in PATTERNS:
                raise ValueError("the tokenizer has a regular expression that is not known here")
            pending += part.values()
        elif isinstance(part, list):
            pending += part


class Tokenizer:
    """Cuts texts into tokens, numbers from 0 up to ``size``.

    Args:
        plain: a tokenizer of the package ``tokenizers``, as JSON.

    Raises:
        ValueError: it is none, or has no token for padding or for what is unknown.
    """

    def __init__(self, plain: str):
        from tokenizers import Tokenizer as Rust

        self.plain = plain
        try:
            self._cut = Rust.from_str(plain)
        except Exception as error:  # the package raises nothing more special
            raise ValueError(f"no tokenizer: {error}") from None
        self._cut.no_padding()
        self._cut.no_truncation()
        self.padding, self.unknown = self.special(PADDING), self.special(UNKNOWN)

    @cached_property
    def size(self) -> int:
        """How many tokens there are, those that stand for no text included."""
        return 1 + max(self._cut.get_vocab(with_added_tokens=True).values())

    def special(self, name: str) -> int:
        """The number of ``[PAD]``, ``[UNK]``, ``[CLS]``, ``[SEP]`` or ``[MASK]``, whatever its vocabulary calls it."""
        numbers = [n for called in SPECIAL[name] if (n := self._cut.token_to_id(called)) is not None]
        if not numbers:
            raise ValueError(f"the tokenizer has no {name}")
        return numbers[0]

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of texts, one after the other, int32, and (texts,) int64 how many each has.

        >>> tokenizer = Words(min_notes=1).fit(["No fever.", "Fever, 39.2 [**Name**]"])
        >>> tokenizer.words(tokenizer.encode(["Fever? No cough"])[0])
        ['fever', 'no', '[UNK]']
        """
        found = self._cut.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [np.fromiter(f.ids, np.int32) for f in found]
        return np.concatenate([np.zeros(0, np.int32), *ids]), np.array([len(i) for i in ids], np.int64)

    def words(self, tokens: Iterable[int]) -> list[str]:
        """What tokens stand for; a piece that goes on within a word begins with ``##``."""
        return [self._cut.id_to_token(int(t)) or UNKNOWN for t in tokens]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and other.plain == self.plain

    def __hash__(self) -> int:
        return hash(self.plain)


class TokenizerForm(Protocol):
    """How a tokenizer comes about; a frozen dataclass, so that equal forms have equal tokenizers."""

    def fit(self, notes: Iterable[str]) -> Tokenizer:
        """A tokenizer for the notes of the training split, through which it may go several times."""
        ...


@dataclass(frozen=True)
class Words:
    """Lower-case words without punctuation and without numbers, as in Mullenbach et al. (NAACL 2018).

    Attributes:
        min_notes: a word that fewer training notes have is unknown; 3 in the paper.
    """

    min_notes: int = 3

    def fit(self, notes: Iterable[str]) -> Tokenizer:
        from tokenizers import trainers

        every = self._tokenizer({PADDING: 0, UNKNOWN: 1})
        trainer = trainers.WordLevelTrainer(
            vocab_size=1 << 30, min_frequency=self.min_notes, special_tokens=[PADDING, UNKNOWN], show_progress=False
        )
        every.train_from_iterator(iter(notes), trainer)
        names = every.get_vocab()
        counted = Tokenizer(self._tokenizer(names).to_str())
        notes_with = np.zeros(len(names), np.int64)
        for some in batched(notes, ENCODED_AT_ONCE):
            tokens, lengths = counted.encode(some)
            note = np.repeat(np.arange(len(lengths)), lengths)
            notes_with += np.bincount(np.unique(note * len(names) + tokens) % len(names), minlength=len(names))
        kept = sorted(n for n, i in names.items() if i > 1 and notes_with[i] >= self.min_notes)
        return Tokenizer(self._tokenizer({n: i for i, n in enumerate([PADDING, UNKNOWN, *kept])}).to_str())

    def _tokenizer(self, vocabulary: dict[str, int]):
        from tokenizers import Regex, normalizers, pre_tokenizers
        from tokenizers import Tokenizer as Rust
        from tokenizers.models import WordLevel

        made = Rust(WordLevel(vocabulary, unk_token=UNKNOWN))
        replaced = [normalizers.Replace(Regex(pattern), " ") for pattern in (APART, NUMBERS)]
        made.normalizer = normalizers.Sequence([*_cleaned(), *replaced])
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return made


@dataclass(frozen=True)
class WordPieces:
    """Words and parts of words, as BERT has them (WordPiece), learned from the training notes.

    Attributes:
        size: how many there are at most.
    """

    size: int = 8000

    def fit(self, notes: Iterable[str]) -> Tokenizer:
        from tokenizers import trainers

        special = list(SPECIAL)
        characters = self._characters(notes)
        # numbered beforehand, characters within words too: else ties are broken differently each time
        first = [*special, *characters, *(f"##{c}" for c in characters)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=max(self.size, len(first)),
            special_tokens=first,
            initial_alphabet=characters,
            limit_alphabet=len(characters),
            show_progress=False,
        )
        made = self._tokenizer({n: i for i, n in enumerate(special)})
        made.train_from_iterator(iter(notes), trainer)
        return Tokenizer(self._tokenizer(made.get_vocab()).to_str())  # anew: none is special to text

    def _characters(self, notes: Iterable[str]) -> list[str]:
        counts: Counter[str] = Counter()
        for note in notes:
            counts.update(note)
        clean, apart = self._tokenizer({UNKNOWN: 0}).normalizer.normalize_str, Counter()
        for character, count in counts.items():
            apart.update({c: count for c in clean(character) if not c.isspace()})
        return sorted(sorted(apart, key=lambda c: (-apart[c], c))[:CHARACTERS])

    def _tokenizer(self, vocabulary: dict[str, int]):
        from tokenizers import Tokenizer as Rust
        from tokenizers import normalizers, pre_tokenizers
        from tokenizers.models import WordPiece

        made = Rust(WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
        made.normalizer = normalizers.Sequence(_cleaned())
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return made


@dataclass(frozen=True)
class Published:
    """The tokens of a published encoder, and with them how it is made and its weights.

    Attributes:
        name: of the encoder on the Hugging Face hub, or the folder that holds its ``config.json``, tokenizer and
            ``model.safetensors``.
    """

    name: str

    def fit(self, notes: Iterable[str]) -> Tokenizer:
        """Its tokenizer; the notes are not looked at.

        Raises:
            UserError: it cannot be had, or has a regular expression that is not in `PATTERNS`.
        """
        from transformers import AutoTokenizer

        found = self._had(AutoTokenizer)
        if not getattr(found, "is_fast", False):
            raise UserError(f"encoder={self.name!r} has no tokenizer of the package tokenizers: take another one.")
        plain = found.backend_tokenizer.to_str()
        try:
            check_patterns(plain)
        except ValueError as error:
            raise UserError(f"encoder={self.name!r} cannot be used: {error}.") from None
        return Tokenizer(plain)

    def facts(self) -> dict:
        """Its ``name``, and of its ``config`` what is needed to make it.

        Raises:
            UserError: it cannot be had, or is not built as BERT is.
        """
        from transformers import AutoConfig

        config = known_part(self._had(AutoConfig).to_dict())
        try:
            check_encoder(config)
        except ValueError as error:
            raise UserError(f"encoder={self.name!r} cannot be used: {error}.") from None
        return {"name": self.name, "config": config}

    def weights(self) -> dict:
        """Its weights by name, from safetensors.

        Raises:
            UserError: they cannot be had.
        """
        from transformers import AutoModel

        return self._had(AutoModel, use_safetensors=True).state_dict()

    def _had(self, kind: type, **options):
        try:
            return kind.from_pretrained(self.name, trust_remote_code=False, **options)
        except Exception as error:  # files are missing or of another form, there is no network, and so on
            why = str(error).strip().split("\n")[0]
            raise UserError(
                f"encoder={self.name!r} cannot be had ({why}): give a folder that holds its config.json, "
                "tokenizer.json and model.safetensors, or leave it out, and a small encoder learns from your notes."
            ) from None


def _cleaned() -> list:
    from tokenizers import Regex, normalizers

    return [normalizers.BertNormalizer(), normalizers.Replace(Regex(BRACKETS), " ")]


def batched(things: Iterable, size: int) -> Iterable[list]:
    """Lists of so many things; the last may have fewer."""
    some = []
    for thing in things:
        some.append(thing)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


@dataclass(frozen=True)
class Reading:
    """How a model reads notes; what its hook `Model.reading` returns.

    Attributes:
        tokenizer: how its tokenizer comes about: `Words`, `WordPieces` or a form of one's own.
        max_tokens: how many tokens of a visit's notes it reads at most. Where there are more, the newest notes are
            read, each from its beginning; they stand in the order of time.
        newest: whether of a row it reads the newest visit with a note only.
        max_length: how many tokens of each note it reads at most, its first ones; what is behind them does not count
            among ``max_tokens``. None for as many as there are.
    """

    tokenizer: TokenizerForm
    max_tokens: int
    newest: bool = False
    max_length: int | None = None

    def __post_init__(self):
        _check_tokens(self.max_tokens, "a visit")
        if self.max_length is not None:
            _check_tokens(self.max_length, "a note")

    @property
    def key(self) -> dict:
        """What its tokenizer hangs on besides the notes."""
        form = type(self.tokenizer)
        return {"form": f"{form.__module__}.{form.__qualname__}", **asdict(self.tokenizer)}

    def kept_lengths(self, lengths: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """How many tokens of each note are read: each note is cut first, and then the visit, its newest notes first.

        Args:
            lengths: (notes,) how many tokens each has.
            offsets: (visits + 1,) of the notes of each visit, in the order of time.

        >>> lengths, offsets = np.array([5, 4, 3, 9]), np.array([0, 3, 4])
        >>> Reading(Words(), max_tokens=8).kept_lengths(lengths, offsets).tolist()
        [1, 4, 3, 8]
        >>> Reading(Words(), max_tokens=8, max_length=3).kept_lengths(lengths, offsets).tolist()
        [2, 3, 3, 3]
        """
        lengths = lengths if self.max_length is None else np.minimum(lengths, self.max_length)
        total = np.r_[0, np.cumsum(lengths)]
        visit = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        newer = total[offsets[1:]][visit] - total[1:]
        return np.clip(self.max_tokens - newer, 0, lengths)


def _check_tokens(most: object, what: str) -> None:
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise UserError(f"a model reads {most!r} tokens of {what}: give a whole number of at least 1.")
