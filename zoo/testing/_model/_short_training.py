"""A model made for a fabricated task, and trained for a few steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.models import Estimator, Model
from zoo.registry import Entry
from zoo.testing._model._logits import seeded
from zoo.testing._model._patients import FabricatedTask

STEPS = (3, 6)
"""How many batches a short training has, at least and at most: it ends when each parameter has had a gradient."""


def made(entry: Entry, spec: Spec, hyperparameters: dict, seed: int = 0) -> Model:
    """A new model, its first weights drawn by the seed."""
    seeded(seed)
    model = entry.thing(spec, **hyperparameters)
    if isinstance(model, Estimator):
        model.seed = seed
    return model


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

    @property
    def unreached(self) -> list[str]:
        """The names of the parameters that have had no gradient."""
        return [n for n, w in self.model.named_parameters() if w.requires_grad and n not in self.reached]

    def step(self, batch: Batch) -> None:
        """Train on a batch."""
        self.model.train()
        output = self.model(batch)
        self._descend(self.model.loss(output, batch) + sum(output.losses.values()))

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
        grads = {n: w.grad for n, w in self.model.named_parameters() if n not in self.reached and w.grad is not None}
        self.reached |= {n for n, grad in grads.items() if bool(grad.any())}
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()


def trained(entry: Entry, task: FabricatedTask, hyperparameters: dict, seed: int = 0, patients: int = 96):
    """A model after a short training or a fit, and the `Training` (None for a model that is fitted)."""
    model = made(entry, task.spec, hyperparameters, seed)
    seeded(seed)
    batches = task.batches(task.rows(0, patients))
    if isinstance(model, Estimator):
        model.fit(batches)
        return model, None
    training = Training(model)
    least, most = STEPS
    for step, batch in enumerate(batches[:most], start=1):
        training.pretrain(batch)
        training.step(batch)
        if step >= least and not training.unreached:
            break
    return model.eval(), training


def main_loss(model: Model, batch: Batch) -> float:
    """The main loss in eval mode."""
    with torch.no_grad():
        return float(model.loss(model.eval()(batch), batch))


def loss_of_a_constant(kind: str, label: torch.Tensor) -> float:
    """The main loss of a kind that is the least for logits which are the same for all samples."""
    if kind == "regression":
        return float(label.var(unbiased=False))
    if kind == "multiclass":
        share = torch.bincount(label).double() / len(label)
        return float(torch.special.entr(share).sum())
    share = label.double().mean(dim=0)
    return float(F.binary_cross_entropy(share, share))
