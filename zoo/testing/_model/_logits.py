"""What a model says of a batch, and whether it says the same of another one."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import torch

from zoo.data import Batch
from zoo.models import Estimator, Model

ATOMS = frozenset({type(None), bool, int, float, str, bytes, type, torch.dtype, torch.device})
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
    shared = [model.spec, *(c for m in model.modules() if (c := getattr(m, "config", None)) is not None)]
    return _copied(model, {id(thing): thing for thing in shared})


def _copied(thing: object, known: dict[int, object]) -> object:
    """What `copy.deepcopy` gives, for a network in less time; tensors leave behind what they were made of."""
    kind = type(thing)
    if kind in ATOMS:
        return thing
    if id(thing) in known:
        return known[id(thing)]
    if isinstance(thing, torch.nn.Module):
        new = known[id(thing)] = object.__new__(kind)
        vars(new).update({name: _copied(value, known) for name, value in vars(thing).items()})
        return new
    if kind is torch.nn.Parameter:
        new = torch.nn.Parameter(thing.detach().clone(), thing.requires_grad)
    elif kind is torch.Tensor:
        new = thing.detach().clone()
    elif kind in (dict, OrderedDict):
        new = kind((key, _copied(value, known)) for key, value in thing.items()) if thing else kind()
    elif kind in (list, tuple, set):
        new = kind(_copied(value, known) for value in thing)
    else:
        new = copy.deepcopy(thing, known)
    known[id(thing)] = new
    return new


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
