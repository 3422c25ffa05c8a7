"""What a model says of a batch, and whether it says the same of another one."""

from __future__ import annotations

import copy

import numpy as np
import torch

from zoo.data import Batch
from zoo.models import Estimator, Model

TOLERANCE = 1e-5
"""How far logits may differ, relative to 1 or to the largest of them, and count as the same."""


def logits(model: Model, batch: Batch) -> np.ndarray:
    """(samples, outputs) float32 of a copy of the model in eval mode, so that a call leaves nothing behind."""
    return answer(copied(model), batch)


def answer(model: Model, batch: Batch) -> np.ndarray:
    """(samples, outputs) float32 of the model itself in eval mode."""
    seeded(0)
    with torch.no_grad():
        return model.eval()(batch).logits.float().numpy().copy()


def copied(model: Model) -> Model:
    """A copy that shares no tensor with the model; of a fitted model one that shares what was fitted."""
    if isinstance(model, Estimator):
        return copy.copy(model)
    try:
        return copy.deepcopy(model, {id(model.spec): model.spec})
    except RuntimeError:  # it keeps a tensor of its last call, and what that was made of
        return model


def seeded(seed: int) -> None:
    """Seed what is drawn on the CPU; `torch.manual_seed` seeds other devices too, which takes a millisecond."""
    torch.default_generator.manual_seed(seed)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether logits of equal shape agree."""
    if one.shape != other.shape:
        return False
    return bool(distance(one, other) <= TOLERANCE)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, relative to the largest logit where that is above 1; NaN where one is."""
    if not one.size:
        return 0.0
    return float(np.max(np.abs(one - other)) / max(1.0, np.max(np.abs(one)), np.max(np.abs(other))))
