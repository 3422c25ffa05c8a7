"""What the models that are no networks are fitted on: counts of codes, static facts, labels and subjects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from zoo.data import Batch, Spec
from zoo.data._counts import code_counts
from zoo.models import Estimator

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class CountsAndFacts(Estimator):
    """A model of how often each code occurs in the visits up to the sample's own, and of that visit's static facts.

    Args:
        spec: what the data are like.
        static: take static facts.
    """

    def __init__(self, spec: Spec, static: bool):
        super().__init__(spec)
        self.facts = len(spec.static) if static else 0

    @property
    def ids(self) -> int:
        """How many ids all concepts have."""
        return sum(map(self.spec.size, self.spec.concepts))

    def training_data(self, batches: Iterable[Batch]) -> tuple[csr_array, np.ndarray, np.ndarray, np.ndarray]:
        """The counts, the static facts (samples, facts), the labels and the subjects of all samples, batch by batch.

        Subjects are for drawing folds within training, never for a prediction.
        """
        from scipy import sparse

        parts = [(*self.told(b), b.label.cpu().numpy(), b.subject.cpu().numpy()) for b in batches]
        counts, *others = zip(*parts, strict=True)
        return sparse.vstack(counts).tocsr(), *map(np.concatenate, others)

    def told(self, batch: Batch) -> tuple[csr_array, np.ndarray]:
        """The counts (samples, ids), sparse, and the static facts (samples, facts)."""
        return code_counts(batch, self.spec), batch.own_static[:, : self.facts].cpu().numpy()


def log_scaled(counts: csr_array, scale: np.ndarray) -> csr_array:
    """Counts (samples, ids) as log(1 + count) over log(1 + scale), float64; scale (ids,) is at least 1."""
    scaled = counts.astype(np.float64).tocsr()
    scaled.data = np.log1p(scaled.data)
    return scaled.multiply(1 / np.log1p(scale)).tocsr()


def beside(counts: csr_array, facts: np.ndarray) -> csr_array:
    """Counts, or what was made of them, followed by static facts."""
    from scipy import sparse

    return sparse.hstack([counts, sparse.csr_array(facts, dtype=counts.dtype)], format="csr")
