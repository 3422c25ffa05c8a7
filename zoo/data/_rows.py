"""The samples of a split, in the rows and the order in which a model gets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zoo.data._window import spans
from zoo.data.batch import Batch

BUCKET = 50
"""How many batches' worth of shuffled rows are ordered by length among themselves when training."""


@dataclass(frozen=True)
class Rows:
    """Rows of a batch to be, each with one sample or more.

    Attributes:
        places: (samples,) the place of each sample in `TaskData.samples`, row by row.
        offsets: (rows + 1,) row ``r`` has the samples ``places[offsets[r]:offsets[r + 1]]``.
        make: from places and offsets to a batch.
    """

    places: np.ndarray
    offsets: np.ndarray
    make: Callable[[np.ndarray, np.ndarray], Batch]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def samples(self, low: int, high: int) -> np.ndarray:
        """The places of the samples of some rows."""
        return self.places[self.offsets[low] : self.offsets[high]]

    def batch(self, low: int, high: int) -> Batch:
        """The rows from ``low`` up to ``high``."""
        return self.make(self.samples(low, high), self.offsets[low : high + 1] - self.offsets[low])

    def shuffled(self, visits: np.ndarray, batch_size: int, seed: int) -> Rows:
        """The rows in an order drawn from the seed, those of like length together in batches of so many.

        Args:
            visits: (rows,) how long each row is.
            batch_size: rows a batch; the last one, which may have fewer, stays the last.
            seed: of the order.
        """
        random = np.random.default_rng([seed, 20_091])
        order = np.arange(len(self))
        random.shuffle(order)
        bucket = np.arange(len(order)) // (batch_size * BUCKET)
        order = order[np.lexsort((visits[order], bucket))]
        full = np.arange(len(order) // batch_size)
        random.shuffle(full)
        batches = order[: len(full) * batch_size].reshape(-1, batch_size)[full]
        return self.ordered(np.concatenate([batches.ravel(), order[len(full) * batch_size :]]))

    def ordered(self, order: np.ndarray) -> Rows:
        """The same rows in another order."""
        count = np.diff(self.offsets)[order]
        places = self.places[spans(self.offsets[order], count)]
        return Rows(places, np.r_[0, np.cumsum(count)], self.make)
