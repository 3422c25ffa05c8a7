"""Optimisers by name, and their state as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
FUSED = ("adamw", "adam")


def make_optimizer(trainer, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a trainer for the weights that a model trains."""
    weights = [w for w in model.parameters() if w.requires_grad]
    how = {"fused": True} if trainer.optimizer in FUSED else {}
    return OPTIMIZERS[trainer.optimizer](weights, lr=trainer.lr, weight_decay=trainer.weight_decay, **how)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of each weight, as ``place.name``."""
    state = optimizer.state_dict()["state"]
    return {f"{place}.{name}": torch.as_tensor(t) for place, held in state.items() for name, t in held.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the state to what `optimizer_tensors` gave of an optimiser made alike."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, name = key.split(".", 1)
        state.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
