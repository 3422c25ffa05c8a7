"""Optimisers by name, and their state as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.models._model import Model

OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
FUSED = ("adamw", "adam")


def make_optimizer(trainer, model: Model) -> torch.optim.Optimizer:
    """The optimiser of a trainer for the weights that a model trains; a group for each rate that there is.

    Each group has its rate as ``full_lr`` too: ``lr`` goes with the schedule.

    Raises:
        ValueError: `Model.learning_rates` names a part that has no weights.
    """
    rates = model.learning_rates()
    groups: dict[float, list[Tensor]] = {trainer.lr: []}
    named = dict(model.named_parameters())
    for part in rates:
        if not any(name.startswith(f"{part}.") for name in named):
            raise ValueError(f"{type(model).__name__}.learning_rates names {part!r}, which has no weights")
    for name, weight in named.items():
        if weight.requires_grad:
            own = [rate for part, rate in rates.items() if name.startswith(f"{part}.")]
            groups.setdefault(own[0] if own else trainer.lr, []).append(weight)
    how = {"fused": True} if trainer.optimizer in FUSED else {}
    made = [{"params": weights, "lr": lr, "full_lr": lr} for lr, weights in groups.items() if weights]
    return OPTIMIZERS[trainer.optimizer](made, lr=trainer.lr, weight_decay=trainer.weight_decay, **how)


def set_share(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set the rate of each group to a share of its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * share


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
