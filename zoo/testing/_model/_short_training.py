"""A model made for a fabricated task, and trained for a few steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.models import Estimator, Model
from zoo.registry import Entry
from zoo.testing._model._patients import FabricatedTask

STEPS = 6
"""How many batches a short training has."""


def made(entry: Entry, spec: Spec, hyperparameters: dict, seed: int = 0) -> Model:
    """A new model, its first weights drawn by the seed."""
    torch.manual_seed(seed)
    model = entry.thing(spec, **hyperparameters)
    if isinstance(model, Estimator):
        model.seed = seed
    return model


def whole_loss(model: Model, batch: Batch) -> torch.Tensor:
    """The main loss and all further ones."""
    output = model(batch)
    return model.loss(output, batch) + sum(output.losses.values())


@dataclass
class Training:
    """A network with its optimiser.

    Attributes:
        model: trained in place.
        rate: of Adam.
        reached: the names of the parameters that have had a gradient other than zero.
    """

    model: Model
    rate: float = 1e-2
    reached: set[str] = field(default_factory=set)

    def __post_init__(self):
        weights = [w for w in self.model.parameters() if w.requires_grad]
        self._optimiser = torch.optim.Adam(weights, self.rate) if weights else None

    def step(self, batch: Batch) -> float:
        """Train on a batch, and give its loss."""
        self.model.train()
        loss = whole_loss(self.model, batch)
        self._descend(loss)
        return float(loss.detach())

    def pretrain(self, batch: Batch) -> None:
        """Train on a batch without labels, where the model knows how."""
        hook = getattr(self.model, "pretrain", None)
        if hook is None:
            return
        self.model.train()
        found = hook(batch)
        found = getattr(found, "losses", found)
        found = sum(found.values()) if hasattr(found, "values") and not torch.is_tensor(found) else found
        if torch.is_tensor(found):
            self._descend(found)

    def _descend(self, loss: torch.Tensor) -> None:
        if self._optimiser is None or not loss.requires_grad:
            return
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.reached |= {n for n, w in self.model.named_parameters() if w.grad is not None and bool(w.grad.any())}
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()


def trained(entry: Entry, task: FabricatedTask, hyperparameters: dict, seed: int = 0, patients: int = 96):
    """A model after a short training or a fit, and the `Training` (None for a model that is fitted)."""
    model = made(entry, task.spec, hyperparameters, seed)
    torch.manual_seed(seed)
    batches = task.batches(task.rows(0, patients))
    if isinstance(model, Estimator):
        model.fit(batches)
        return model, None
    training = Training(model)
    for batch in batches[:STEPS]:
        training.pretrain(batch)
        training.step(batch)
    return model.eval(), training


def main_loss(model: Model, batches: Iterable[Batch]) -> float:
    """The mean main loss of batches of equal size, in eval mode."""
    with torch.no_grad():
        return float(np.mean([float(model.loss(model.eval()(b), b)) for b in batches]))


def loss_of_a_constant(kind: str, label: torch.Tensor) -> float:
    """The main loss of a kind that is the least for logits which are the same for all samples."""
    if kind == "regression":
        return float(label.var(unbiased=False))
    if kind == "multiclass":
        share = torch.bincount(label).double() / len(label)
        return float(torch.special.entr(share).sum())
    share = label.double().mean(dim=0)
    return float(F.binary_cross_entropy(share, share))
