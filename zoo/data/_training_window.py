"""What training samples see of a concept: what vocabularies, bins, scales and tokenizers are fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from zoo.data._measured import Measured, usual_units
from zoo.data._store import Store, VisitIndex
from zoo.data._vocabulary import SAMPLE, Vocabulary, fit_codes, fit_values
from zoo.data._window import Cut, spans


@dataclass(frozen=True)
class TrainingWindow:
    """Which events some training sample sees; each counts once, however many samples see it.

    Attributes:
        visits: all of the source.
        own: (samples,) the number of each sample's own visit.
        first: (samples,) the number of the first visit that each sees.
        places: the places of the training samples in these.
    """

    visits: VisitIndex
    own: np.ndarray
    first: np.ndarray
    places: np.ndarray

    def events(self, store: Store, window: Cut) -> np.ndarray:
        """The events that are seen, visit by visit.

        Args:
            store: of the concept.
            window: what of it all samples see.
        """
        return spans(*self._spans(store, window))

    def fit(self, store: Store, window: Cut, level: str, source_codes: Sequence[str | None]) -> Vocabulary:
        """A vocabulary of the codes that are seen, with units, bins and scales of their values where there are any.

        Args:
            store, window: as of `events`.
            level: that codes are raised to.
            source_codes: the store's codes, as the vocabulary takes them.
        """
        begin, length = self._spans(store, window)
        counts = np.zeros(len(store.codes), np.int64)
        block = np.cumsum(length) // (4 * SAMPLE)
        for b in np.unique(block):  # so many events at a time that memory does not grow with the data
            some = block == b
            counts += np.bincount(store.code[spans(begin[some], length[some])], minlength=len(counts))
        vocabulary = fit_codes(source_codes, counts, level)
        if store.value is None:
            return vocabulary
        total = int(length.sum())
        some = np.arange(min(total, SAMPLE)) * total // max(min(total, SAMPLE), 1)
        ends = np.cumsum(length)
        visit = np.searchsorted(ends, some, side="right")
        index = begin[visit] + some - (ends[visit] - length[visit])
        usual = usual_units(store, counts)
        vocabulary = replace(vocabulary, units=[usual.get(code) for code in vocabulary.codes])
        place = vocabulary.table(store.codes)
        measured = Measured.of(store, vocabulary.wanted_units(place))
        code = store.code[index]
        return fit_values(vocabulary, place[code], measured.values(code, store.value[index]))

    def seen_visits(self) -> np.ndarray:
        """The numbers of the visits that some training sample looks at, each once."""
        return np.union1d(self._earlier, self.own[self.places])

    @cached_property
    def _earlier(self) -> np.ndarray:
        """The numbers of the visits that some training sample looks at and that are over: those before its own."""
        change = np.zeros(len(self.visits) + 1, np.int64)
        np.add.at(change, self.first[self.places], 1)
        np.subtract.at(change, self.own[self.places], 1)
        return np.flatnonzero(np.cumsum(change[:-1]) > 0)

    def _spans(self, store: Store, window: Cut) -> tuple[np.ndarray, np.ndarray]:
        """Of each visit, the first event and how many events some training sample sees."""
        end = store.offsets[:-1].copy()
        earlier = self._earlier
        end[earlier] = store.offsets[earlier + 1]
        visit, seen = self._cut_for_all(window)
        end[visit] = store.offsets[visit]
        np.maximum.at(end, visit, seen)
        np.maximum.at(end, self.own[self.places], window.own_end[self.places])
        return store.offsets[:-1], end - store.offsets[:-1]

    def _cut_for_all(self, window: Cut) -> tuple[np.ndarray, np.ndarray]:
        """Earlier visits that are cut for all samples that look at them: visit and end, once a sample."""
        within = window.pair_visit >= self.first[window.pair_sample]
        pairs = np.flatnonzero(np.isin(window.pair_sample, self.places) & within)
        visit, count = np.unique(window.pair_visit[pairs], return_counts=True)
        own, first = np.sort(self.own[self.places]), np.sort(self.first[self.places])
        behind = np.searchsorted(self.visits.subject_id, self.visits.subject_id[visit], side="right")
        after = [np.searchsorted(of, behind) - np.searchsorted(of, visit, side="right") for of in (own, first)]
        looking = after[0] - after[1]  # at a later visit, but for those that see none as early
        pairs = pairs[np.isin(window.pair_visit[pairs], visit[count == looking])]
        return window.pair_visit[pairs], window.pair_end[pairs]
