"""Between a table and a model: stores, vocabularies, splits, specifications and batches."""

from zoo.data.batch import Batch, Ragged
from zoo.data.spec import Spec

__all__ = ["Batch", "Ragged", "Spec", "TaskData"]


def __getattr__(name: str):
    if name == "TaskData":  # it loads pandas, which a model does without
        from zoo.data._task_data import TaskData

        return TaskData
    raise AttributeError(f"module 'zoo.data' has no attribute {name!r}")
