"""A concept as the samples of a task see it, and the part of it that a batch has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from zoo.data._measured import Measured
from zoo.data._store import Store
from zoo.data._tokens import Tokens, tokens_of
from zoo.data._vocabulary import Vocabulary
from zoo.data._window import Cut, spans
from zoo.data.batch import Ragged
from zoo.data.text import Reading


@dataclass(frozen=True)
class Feature:
    """A concept as the samples of a task see it."""

    store: Store
    cut: Cut
    vocabulary: Vocabulary
    place: np.ndarray
    reading: Reading | None = None

    def ragged(self, visit: np.ndarray, own: np.ndarray, sample: np.ndarray) -> Ragged:
        """The events of a batch: those of the visits, the ``own`` of them cut for their sample."""
        index, offsets = self._events(visit, own, sample)
        place = self.place[self.store.code[index]]
        time = self.store.time[index].astype(np.float32) / np.float32(3600)
        if self.store.value is None:
            found = Ragged(tensor(place.astype(np.int64)), tensor(offsets), tensor(time))
            return found if self.reading is None else replace(found, **self._read(index, offsets, own))
        value = self.measured.values(self.store.code[index], self.store.value[index])
        return Ragged(
            tensor(self.vocabulary.ids(place, value).astype(np.int64)),
            tensor(offsets),
            tensor(time),
            tensor(place.astype(np.int64)),
            tensor(self.vocabulary.standardised(place, value).astype(np.float32)),
        )

    def values(self, visit: np.ndarray, own: np.ndarray, sample: np.ndarray) -> np.ndarray:
        """(events,) what the events of `ragged` have been measured to be, in the units of the vocabulary, or NaN."""
        index, _ = self._events(visit, own, sample)
        return self.measured.values(self.store.code[index], self.store.value[index])

    def _events(self, visit: np.ndarray, own: np.ndarray, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places of events in the store, and (visits + 1,) between which of them those of each visit lie."""
        begin, end = self.store.offsets[visit], self.store.offsets[visit + 1]
        end[own] = self.cut.own_end[sample]
        if self.cut.early[sample].any():
            self._cut_early(end, visit, own, sample)
        length = end - begin
        offsets = np.zeros(len(visit) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        return spans(begin, length), offsets

    @cached_property
    def measured(self) -> Measured:
        """What values count as, for a concept with them."""
        return Measured.of(self.store, self.vocabulary.wanted_units(self.place))

    @cached_property
    def _tokens(self) -> Tokens:
        return tokens_of(self.store, self.vocabulary.tokenizer)

    def _read(self, index: np.ndarray, offsets: np.ndarray, own: np.ndarray) -> dict[str, torch.Tensor]:
        """The tokens that are read of events, which lie visit by visit; ``own`` has the last visit of each row."""
        begin = self._tokens.offsets[index]
        lengths = self.reading.kept_lengths(self._tokens.offsets[index + 1] - begin, offsets)
        if self.reading.newest:
            event_visit = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
            row = np.searchsorted(own, event_visit)
            newest = np.full(len(own), -1)
            np.maximum.at(newest, row[lengths > 0], event_visit[lengths > 0])
            lengths = np.where(event_visit == newest[row], lengths, 0)
        tokens = self._tokens.tokens[spans(begin, lengths)].astype(np.int64)
        return {"tokens": tensor(tokens), "token_offsets": tensor(np.r_[0, np.cumsum(lengths)])}

    def _cut_early(self, end: np.ndarray, visit: np.ndarray, own: np.ndarray, sample: np.ndarray) -> None:
        for position in np.flatnonzero(self.cut.early[sample]):  # rare: visits that reach into a later one
            low, high = np.searchsorted(self.cut.pair_sample, [sample[position], sample[position] + 1])
            since = own[position - 1] + 1 if position else 0
            places = own[position] - (visit[own[position]] - self.cut.pair_visit[low:high])
            seen = places >= since
            end[places[seen]] = self.cut.pair_end[low:high][seen]


def tensor(array: np.ndarray) -> torch.Tensor:
    """The same numbers, shared."""
    return torch.from_numpy(array)
