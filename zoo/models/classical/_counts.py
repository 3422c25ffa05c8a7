"""What the models that are no networks look at: how often each code occurs in the visits that a sample sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from zoo.data import Batch, Spec
from zoo.data._window import spans

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def code_counts(batch: Batch, spec: Spec) -> csr_array:
    """(samples, ids of all concepts) float32, sparse: counts over all visits up to the sample's own.

    Concepts stand side by side in the order of ``spec.concepts``.
    """
    from scipy import sparse

    visits = len(batch.visit_start)
    blocks = [sparse.csr_array((visits, 0), dtype=np.float32)]
    for concept in spec.concepts:
        visit, ids = _indices(batch[concept].visit), _indices(batch[concept].ids)
        ones = np.ones(len(ids), np.float32)
        blocks.append(sparse.coo_array((ones, (visit, ids)), (visits, spec.size(concept))).tocsr())
    return sparse.csr_array(_seen(batch) @ sparse.hstack(blocks).tocsr())


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


def _seen(batch: Batch) -> csr_array:
    """(samples, visits) sparse: 1 where a sample sees a visit."""
    from scipy import sparse

    first = _indices(batch.row_offsets[batch.sample_row])
    length = _indices(batch.sample_visit) + 1
    visit = spans(first, length).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    shape = (batch.samples, len(batch.visit_start))
    return sparse.csr_array((np.ones(len(visit), np.float32), visit, offsets), shape)


def _indices(numbers: Tensor) -> np.ndarray:
    """int32, for scikit-learn's trees take no sparse matrix with wider indices."""
    return numbers.cpu().numpy().astype(np.int32)
