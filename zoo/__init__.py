"""Predictive modelling on electronic health records: pick a dataset, a task and a model.

>>> import zoo
>>> data = zoo.load("synthetic", task="readmission", patients=200)
>>> "gru" in zoo.list_models()
True
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

from zoo import registry
from zoo.registry import UserError, register_dataset, register_model, register_task

try:
    __version__ = version("ehr-zoo")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+unknown"

_LATER = {
    "load": "zoo.prepare",
    "load_dataset": "zoo.prepare",
    "load_task": "zoo.prepare",
    "create_model": "zoo.training",
    "pretrain": "zoo.training",
    "train": "zoo.training",
    "run": "zoo.experiment",
    "evaluate": "zoo.inference",
    "predict": "zoo.inference",
    "explain": "zoo.inference",
    "load_run": "zoo.inference",
    "Trainer": "zoo.training",
    "Result": "zoo.result",
}
"""Where each name is, so that heavy libraries load when it is first used."""

__all__ = [
    *sorted(_LATER),
    "UserError",
    "list_datasets",
    "list_models",
    "list_tasks",
    "register_dataset",
    "register_model",
    "register_task",
]


def list_datasets() -> list[str]:
    """The names of all datasets."""
    return registry.datasets.names()


def list_tasks() -> list[str]:
    """The names of all tasks."""
    return registry.tasks.names()


def list_models() -> list[str]:
    """The names of all models."""
    return registry.models.names()


def __getattr__(name: str):
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
