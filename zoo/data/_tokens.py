"""The tokens of all notes of a store: cut once, kept in the cache, memory-mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo import cache
from zoo.data._store import Store, map_file
from zoo.data.text import ENCODED_AT_ONCE, Published, Reading, Tokenizer

TOKENS_VERSION = 1
FITTED_ON = 20_000
"""How many training notes a tokenizer is fitted on at most, evenly spaced over the training split."""


class Tokens(NamedTuple):
    """The tokens of the events of a store.

    Attributes:
        tokens: int, those of all events, one after the other.
        offsets: (events + 1,) int64; event ``e`` has ``tokens[offsets[e]:offsets[e + 1]]``.
    """

    tokens: np.ndarray
    offsets: np.ndarray


class Notes:
    """Some texts of a store, through which one may go several times; no more than a few are held at once."""

    def __init__(self, store: Store, events: np.ndarray):
        self._store, self._events = store, events

    def __iter__(self) -> Iterator[str]:
        for low in range(0, len(self._events), ENCODED_AT_ONCE):
            yield from self._store.text.of(self._events[low : low + ENCODED_AT_ONCE])


def fitted(reading: Reading, store: Store, events: np.ndarray, key: dict | None) -> Tokenizer:
    """The tokenizer of a reading, fitted on the texts of some events.

    Args:
        reading: how notes are read.
        store: of the notes.
        events: those that training samples see.
        key: what these depend on; None to keep nothing in the cache. A published tokenizer is read each time: its files
            may be others by then.
    """
    most = min(len(events), FITTED_ON)
    notes = Notes(store, events[np.arange(most) * len(events) // max(most, 1)])
    if key is None or isinstance(reading.tokenizer, Published):
        return reading.tokenizer.fit(notes)

    def build(out: Path) -> None:
        (out / "tokenizer.json").write_text(reading.tokenizer.fit(notes).plain, encoding="utf-8")

    whole = {"tokens": TOKENS_VERSION, "reading": reading.key, "store": store.key, "data": key}
    return Tokenizer((cache.obtain("tokenizer", whole, build) / "tokenizer.json").read_text(encoding="utf-8"))


def tokens_of(store: Store, tokenizer: Tokenizer) -> Tokens:
    """The tokens of all texts of a store; in memory where nothing tells what these depend on."""
    if store.key is None:
        parts: list[np.ndarray] = []
        offsets = _cut(store, tokenizer, parts.append)
        return Tokens(np.concatenate([np.zeros(0, np.int32), *parts]), offsets)
    dtype = np.uint16 if tokenizer.size <= 1 << 16 else np.int32

    def build(out: Path) -> None:
        with open(out / "tokens.bin", "wb") as file:
            _cut(store, tokenizer, lambda some: some.astype(dtype).tofile(file)).tofile(out / "offsets.bin")

    key = {"tokens": TOKENS_VERSION, "store": store.key, "tokenizer": cache.digest(tokenizer.plain)}
    folder = cache.obtain("tokens", key, build)
    return Tokens(map_file(folder / "tokens.bin", dtype), map_file(folder / "offsets.bin", np.int64))


def _cut(store: Store, tokenizer: Tokenizer, write: Callable[[np.ndarray], None]) -> np.ndarray:
    """Write the tokens of all texts, a few at a time; their offsets, (events + 1,)."""
    lengths = [np.zeros(1, np.int64)]
    for low in range(0, len(store.code), ENCODED_AT_ONCE):
        tokens, some = tokenizer.encode(store.text.of(np.arange(low, min(low + ENCODED_AT_ONCE, len(store.code)))))
        write(tokens)
        lengths.append(some)
    return np.cumsum(np.concatenate(lengths))
