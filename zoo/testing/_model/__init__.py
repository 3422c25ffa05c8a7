"""The checks of a model."""

from zoo.testing._model._check_model import check_model
from zoo.testing._model._registry import CHECKS

__all__ = ["CHECKS", "check_model"]
