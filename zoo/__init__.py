"""Predictive modelling on electronic health records: pick a dataset, a task and a model.

>>> import zoo
>>> data = zoo.load("synthetic", task="readmission", patients=200)
>>> "gru" in zoo.list_models()
True
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from zoo import registry
from zoo.registry import UserError, register_dataset, register_kind, register_model, register_task

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
    "tune": "zoo.training",
    "run": "zoo.experiment",
    "samples": "zoo.experiment",
    "events": "zoo.experiment",
    "synth": "zoo.experiment",
    "check": "zoo.experiment",
    "info": "zoo.experiment",
    "leaderboard": "zoo.leaderboard",
    "curve": "zoo.curve",
    "evaluate": "zoo.inference",
    "predict": "zoo.inference",
    "embed": "zoo.inference",
    "explain": "zoo.inference",
    "labels": "zoo.tasks._labels",
    "load_run": "zoo.inference",
    "table_one": "zoo.data._table_one",
    "Trainer": "zoo.training",
    "Result": "zoo.result",
}
"""Where each name is, so that heavy libraries load when it is first used."""

__all__ = [
    *sorted(_LATER),
    "UserError",
    "list_datasets",
    "list_kinds",
    "list_models",
    "list_tasks",
    "register_dataset",
    "register_kind",
    "register_model",
    "register_task",
]


def list_datasets() -> list[str]:
    """The names of all datasets."""
    return registry.datasets.names()


def list_kinds() -> list[str]:
    """The names of all kinds of task.

    >>> list_kinds()
    ['binary', 'multiclass', 'multilabel', 'regression', 'survival']
    """
    return registry.kinds.names()


def list_tasks() -> list[str]:
    """The names of all tasks."""
    return registry.tasks.names()


def list_models(
    task: str | None = None,
    uses: str | Iterable[str] = (),
    kind: str | None = None,
    family: str | None = None,
) -> list[str]:
    """The names of all models, or of those that serve a purpose.

    Args:
        task: only models that serve the kind of this task (as it is by default), and whose outputs are its labels.
        uses: only models that can take this concept, or all of these, such as ``"lab"``.
        kind: only models that serve tasks of this kind, such as ``"multilabel"``.
        family: only models of this family: ``visits``, ``medication``, ``notes``, ``series``, ``multimodal``,
            ``ontology`` or ``classical``.

    Raises:
        UserError: there is no such task, concept, kind or family.

    >>> "gamenet" in list_models(task="medication"), list_models(uses={"lab", "note"})[0]
    (True, 'early_fusion')
    """
    return registry.models_that_serve(task, uses, kind, family)


def _later(name: str):
    return getattr(importlib.import_module(_LATER[name]), name)


def __getattr__(name: str):
    if name in _LATER:
        return _later(name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


def _function(name: str) -> property:
    return property(lambda package: _later(name), lambda package, module: None)


class _Package(types.ModuleType):
    """This package, in which `leaderboard` and `curve` are the functions, whoever has imported their modules."""

    leaderboard, curve = _function("leaderboard"), _function("curve")


sys.modules[__name__].__class__ = _Package
