"""A model made for a fabricated task, and trained for a few steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from zoo.data import Batch, Spec
from zoo.models import Estimator, Model
from zoo.registry import Entry
from zoo.testing._model._logits import seeded
from zoo.testing._model._patients import FabricatedTask
from zoo.testing._model._patients import patients as all_patients

STEPS = (3, 12)
"""How many batches a short training has, at least and at most: it ends when each parameter has had a gradient."""


RATE = 1e-2
"""Of Adam."""


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
    rate: float = RATE
    reached: set[str] = field(default_factory=set)

    def __post_init__(self):
        weights = [w for w in self.model.parameters() if w.requires_grad]
        self._optimiser = torch.optim.Adam(weights, self.rate) if weights else None

    @property
    def unreached(self) -> list[str]:
        """The names of the parameters that have had no gradient."""
        return [n for n, w in self.model.named_parameters() if w.requires_grad and n not in self.reached]

    def step(self, batch: Batch) -> torch.Tensor:
        """Train on a batch, and give its loss."""
        self.model.train()
        output = self.model(batch)
        return self._descend(self.model.loss(output, batch) + sum(output.losses.values()))

    def pretrain(self, batch: Batch) -> torch.Tensor:
        """Pre-train on a batch, and give its loss."""
        self.model.train()
        return self._descend(pretraining_loss(self.model, batch))

    def _descend(self, loss: torch.Tensor) -> torch.Tensor:
        if self._optimiser is None or not loss.requires_grad:
            return loss.detach()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        grads = {n: w.grad for n, w in self.model.named_parameters() if n not in self.reached and w.grad is not None}
        self.reached |= {n for n, grad in grads.items() if bool(grad.any())}
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()
        return loss.detach()


def is_pretrained(model: Model) -> bool:
    """Whether a model learns from batches without labels too."""
    return type(model).pretrain is not Model.pretrain


def pretraining_loss(model: Model, batch: Batch) -> torch.Tensor:
    """The sum of what `Model.pretrain` gives, a scalar.

    Raises:
        ValueError: it gives no loss, or one that is more than one number.
    """
    losses = model.pretrain(batch).losses
    if not losses:
        raise ValueError("pretrain gives no losses")
    for name, loss in losses.items():
        if loss.shape != ():
            raise ValueError(f"the pre-training loss {name!r} is {tuple(loss.shape)}, not one number")
    return sum(losses.values())


def trained(entry: Entry, task: FabricatedTask, hyperparameters: dict, seed: int = 0, patients: int = 96):
    """A model after a short training or a fit, and the `Training` (None for a model that is fitted).

    Before each step, a model that is pre-trained is so on the same patients.

    Raises:
        ValueError: a loss is not finite.
    """
    model = made(entry, task.spec, hyperparameters, seed)
    seeded(seed)
    batches = task.batches(task.rows(0, patients), size=8)
    if isinstance(model, Estimator):
        model.fit(batches)
        return model, None
    # ten times the model's own rate, for there are few steps; a deep one does not stand 1e-2
    own = type(model).trainer_defaults(task.spec).get("lr", RATE)
    training = Training(model, min(RATE, 10 * own))
    least, most = STEPS
    whole = (
        task.batches_without_label(all_patients()[:patients], size=8) if is_pretrained(model) else [None] * len(batches)
    )
    for step, (batch, visits) in enumerate(zip(batches[:most], whole[:most], strict=True), start=1):
        if visits is not None and not torch.isfinite(training.pretrain(visits)):
            raise ValueError("the pre-training loss is not finite")
        if not torch.isfinite(training.step(batch)):
            raise ValueError("the loss is not finite in training")
        if step >= least and not training.unreached:
            break
    return model.eval(), training


def main_loss(model: Model, batch: Batch) -> float:
    """The main loss in eval mode."""
    with torch.no_grad():
        return float(model.loss(model.eval()(batch), batch))
