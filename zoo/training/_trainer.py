"""One loop for every network: seeded, with early stopping on the validation split."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from zoo.data._task_data import TaskData
from zoo.models._model import Model
from zoo.registry import UserError


@dataclass(frozen=True)
class Fit:
    """How a training went: the loss of each epoch on train and validation, the best epoch, and seconds."""

    train_loss: list[float]
    validation_loss: list[float]
    best_epoch: int
    seconds: float


@dataclass(frozen=True)
class Trainer:
    """How a network is trained.

    Args:
        max_epochs: passes over the training split at most.
        patience: epochs without a better validation loss after which to stop.
        batch_size: rows a batch.
        lr: the rate of Adam.
        weight_decay: its decoupled weight decay.
        clip: the largest norm of the gradient; None does not clip.
        device: ``"auto"`` takes a GPU where there is one, else ``"cpu"`` or a name that torch knows.
    """

    max_epochs: int = 50
    patience: int = 5
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0
    clip: float | None = 1.0
    device: str = "auto"

    def __post_init__(self):
        for name in ("max_epochs", "patience", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"trainer {name}={value!r} must be a whole number of at least 1.")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not (name == "clip" and value is None) and not 0 < value < float("inf"):
                raise UserError(f"trainer {name}={value!r} must be a number above 0.")
        if not 0 <= self.weight_decay < float("inf"):
            raise UserError(f"trainer weight_decay={self.weight_decay!r} must be a number of at least 0.")
        self.resolved_device()

    def resolved_device(self) -> torch.device:
        """The device that is trained on.

        Raises:
            UserError: torch does not know it, or it is not there.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            why = str(error).splitlines()[0]
            raise UserError(f"trainer device={self.device!r} cannot be used ({why}): try 'auto' or 'cpu'.") from error
        return device

    def fit(self, model: Model, data: TaskData, seed: int, report: Callable[[int, str], None] = lambda *_: None) -> Fit:
        """Train a network and leave it with the weights of its best epoch.

        Args:
            model: changed in place.
            data: its ``train`` split is trained on; ``validation`` decides when to stop. Without validation samples all
                epochs are trained and the last weights stay.
            seed: of the order of batches and of dropout.
            report: is told the epoch and a line about it.

        Raises:
            UserError: the loss is not finite; the epoch is named.
        """
        torch.manual_seed(seed)
        device = self.resolved_device()
        model.to(device)
        optimiser = torch.optim.AdamW(model.parameters(), self.lr, weight_decay=self.weight_decay)
        began = time.perf_counter()
        losses: list[float] = []
        checks: list[float] = []
        best, best_weights = 0, None
        for epoch in range(self.max_epochs):
            losses.append(self._epoch(model, data, optimiser, device, seed, epoch))
            checks.append(self._validation_loss(model, data, device))
            report(epoch + 1, f"loss {losses[-1]:.4f}, validation {checks[-1]:.4f}")
            if np.isnan(checks[-1]) or checks[-1] < checks[best] or epoch == 0:
                best = epoch
                best_weights = {n: w.detach().clone() for n, w in model.state_dict().items()}
            elif epoch - best >= self.patience:
                break
        model.load_state_dict(best_weights)
        return Fit(losses, checks, best + 1, time.perf_counter() - began)

    def scores(self, model: Model, data: TaskData, split: str) -> np.ndarray:
        """What the model predicts for a split, in the order of its samples."""
        device = self.resolved_device()
        model.eval()
        with torch.no_grad():
            found = [
                model.predict(model(b.to(device))).float().cpu().numpy()
                for b in data.batches(split, model, self.batch_size)
            ]
        return np.concatenate(found)

    def _epoch(self, model, data, optimiser, device, seed: int, epoch: int) -> float:
        model.train()
        total, samples = torch.zeros((), device=device), 0
        order = seed * 1_000_003 + epoch
        for batch in data.batches("train", model, self.batch_size, shuffle=True, seed=order):
            batch = batch.to(device)
            output = model(batch)
            main = model.loss(output, batch)
            optimiser.zero_grad(set_to_none=True)
            (main + sum(output.losses.values())).backward()
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip)
            optimiser.step()
            total += main.detach() * batch.samples
            samples += batch.samples
        loss = float(total) / samples
        if not np.isfinite(loss):
            raise UserError(f"the training loss is {loss} in epoch {epoch + 1}: lower lr, or look for values that are.")
        return loss

    def _validation_loss(self, model, data, device) -> float:
        model.eval()
        total, samples = torch.zeros((), device=device), 0
        with torch.no_grad():
            for batch in data.batches("validation", model, self.batch_size):
                batch = batch.to(device)
                total += model.loss(model(batch), batch) * batch.samples
                samples += batch.samples
        return float(total) / samples if samples else float("nan")
