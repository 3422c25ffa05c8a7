"""How often each code occurs in the visits that a sample sees: what models that are no networks look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from zoo.data._window import spans
from zoo.data.batch import Batch
from zoo.data.spec import Spec

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


def seen_visits(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(samples,) int32: the first visit that each sample sees, and how many; they follow one another."""
    return _indices(batch.row_offsets[batch.sample_row]), _indices(batch.sample_visit) + 1


def _seen(batch: Batch) -> csr_array:
    """(samples, visits) sparse: 1 where a sample sees a visit."""
    from scipy import sparse

    first, length = seen_visits(batch)
    visit = spans(first, length).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    shape = (batch.samples, len(batch.visit_start))
    return sparse.csr_array((np.ones(len(visit), np.float32), visit, offsets), shape)


def _indices(numbers: Tensor) -> np.ndarray:
    """int32, for scikit-learn's trees take no sparse matrix with wider indices."""
    return numbers.cpu().numpy().astype(np.int32)
