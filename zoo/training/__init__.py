"""The trainer, and what is run with it."""

import importlib

_LATER = {
    "Callback": "_callbacks",
    "Trainer": "_trainer",
    "create_model": "_create",
    "pretrain": "_pretraining",
    "train": "_run",
    "tune": "_tuning",
}

__all__ = ["Callback", "Trainer", "create_model", "pretrain", "train", "tune"]


def __getattr__(name: str):
    if name in _LATER:
        return getattr(importlib.import_module(f"zoo.training.{_LATER[name]}"), name)
    raise AttributeError(f"module 'zoo.training' has no attribute {name!r}")
