"""Between a table and a model: stores, vocabularies, splits, specifications and batches."""

from zoo.data.batch import Batch, Ragged
from zoo.data.spec import Spec

__all__ = ["Batch", "Ragged", "Spec"]
