"""What the models that are no networks are fitted on: counts of codes, labels and subjects of all samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from zoo.data import Batch, Spec
from zoo.data._counts import code_counts

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def fitting_data(batches: Iterable[Batch], spec: Spec) -> tuple[csr_array, np.ndarray, np.ndarray]:
    """The counts, the labels and the subjects of all samples, in the order of the batches.

    Subjects are for drawing folds within training, never for a prediction.
    """
    from scipy import sparse

    parts = [(code_counts(b, spec), b.label.cpu().numpy(), b.subject.cpu().numpy()) for b in batches]
    counts, label, subject = zip(*parts, strict=True)
    return sparse.vstack(counts).tocsr(), np.concatenate(label), np.concatenate(subject)


def log_scaled(counts: csr_array, scale: np.ndarray) -> csr_array:
    """Counts (samples, ids) as log(1 + count) over log(1 + scale), float64; scale (ids,) is at least 1."""
    scaled = counts.astype(np.float64).tocsr()
    scaled.data = np.log1p(scaled.data)
    return scaled.multiply(1 / np.log1p(scale)).tocsr()
