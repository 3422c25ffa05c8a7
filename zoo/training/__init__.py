"""The trainer, and what is run with it."""

from zoo.training._run import create_model, run, train
from zoo.training._trainer import Trainer

__all__ = ["Trainer", "create_model", "run", "train"]
