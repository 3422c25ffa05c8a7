"""Batches of samples: which share a row, and what stands in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from zoo.data._feature import Feature, tensor
from zoo.data._outcomes import Outcomes
from zoo.data._rows import Rows
from zoo.data._samples import Samples
from zoo.data._window import spans
from zoo.data.batch import Batch
from zoo.data.static import Static

HOUR = 3_600_000_000
"""In microseconds."""


class Batches:
    """Samples with their features and labels.

    Args:
        samples, outcomes: who, and with what label.
        features: the concepts that stand in a batch.
        withheld: those of the target visit of which samples see nothing.
        static: the static facts that stand in a batch; None for none.
    """

    def __init__(
        self,
        samples: Samples,
        outcomes: Outcomes,
        features: Mapping[str, Feature],
        withheld: Collection[str],
        static: Static | None = None,
    ):
        self.samples, self.outcomes, self.features, self.withheld = samples, outcomes, features, withheld
        self.static = static

    def rows(self, places: np.ndarray, causal: bool) -> Rows:
        """The rows of samples at these places, ascending; of a causal model those of a subject share rows."""
        begins = self._begins_row(places) if causal else np.ones(len(places), bool)
        return Rows(places, np.r_[np.flatnonzero(begins), len(places)], self.batch)

    def lengths(self, rows: Rows) -> np.ndarray:
        """(rows,) how many visits each has besides its first."""
        last, first = rows.places[rows.offsets[1:] - 1], rows.places[rows.offsets[:-1]]
        return self.samples.own[last] - self.samples.first(first)

    def _begins_row(self, places: np.ndarray) -> np.ndarray:
        """(samples,) whether a sample cannot share the row of the one before."""
        own, subject = self.samples.own[places], self.samples.subject[places]
        shared = np.zeros(len(places), bool)
        shared[1:] = (subject[1:] == subject[:-1]) & (own[1:] > own[:-1])
        shared[1:] &= self.samples.first(places[1:]) == self.samples.first(places[:-1])
        for concept, feature in self.features.items():
            early = feature.cut.early[places]
            shared[1:] &= ~early[1:] & ~early[:-1]
            if concept not in self.withheld:  # what is seen of a visit is all that later samples see of it
                whole = feature.cut.own_end[places] == feature.store.offsets[own + 1]
                shared[1:] &= whole[:-1]
        return ~shared

    def batch(self, places: np.ndarray, bounds: np.ndarray) -> Batch:
        """The samples at these places, row by row; row ``r`` has those from ``bounds[r]`` up to ``bounds[r + 1]``."""
        samples, start = self.samples, self.samples.visits.start.astype("int64")
        last = places[bounds[1:] - 1]
        first = samples.first(places[bounds[:-1]])
        lengths = samples.own[last] - first + 1
        visit = spans(first, lengths)
        row_offsets = np.zeros(len(first) + 1, np.int64)
        np.cumsum(lengths, out=row_offsets[1:])
        base = start[first]
        row = np.repeat(np.arange(len(first)), np.diff(bounds))
        return Batch(
            {c: f.ragged(visit, row_offsets[1:] - 1, last) for c, f in self.features.items()},
            tensor(row_offsets),
            tensor((start[visit] - np.repeat(base, lengths)) / HOUR),
            tensor(row),
            tensor(samples.own[places] - first[row]),
            tensor((samples.moment[places].astype("int64") - base[row]) / HOUR),
            tensor(self.outcomes[places]),
            tensor(samples.subject[places]),
            None if self.static is None else tensor(self.static.of(visit)),
        )

    def values(self, place: int) -> dict[str, np.ndarray]:
        """(events,) of each concept with values what was measured in one sample, as in a batch of it alone.

        They are in the units of the vocabulary; NaN where there is none that counts.
        """
        sample = np.array([place])
        visit = np.arange(self.samples.first(sample)[0], self.samples.own[place] + 1)
        own = np.array([len(visit) - 1])
        return {c: f.values(visit, own, sample) for c, f in self.features.items() if f.store.value is not None}
