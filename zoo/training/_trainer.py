"""How a network is trained, and how its scores are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from zoo.data._task_data import TaskData
from zoo.models._model import Model
from zoo.registry import UserError, check_parameters, nearest, shown, whole_number
from zoo.training._callbacks import NONE, Callbacks
from zoo.training._loop import Loop
from zoo.training._optimizer import OPTIMIZERS
from zoo.training._processes import Processes, launched
from zoo.training._schedule import SCHEDULES
from zoo.training._scores import scores_of
from zoo.training.trackers import LOGS, check_log

PRECISIONS = ("fp32", "bf16")
LACK = re.compile("out of memory|not enough memory|can't allocate memory")
"""What torch says when memory does not suffice; on a CPU it has no exception of its own for it."""


def _first_sentence(text: str) -> str:
    """What an error says first, on one line."""
    return re.split(r"[.:]?\s*\n|\. ", text)[0][:200]


class OutOfMemory(UserError):
    """Memory does not suffice for a model and its batches."""


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        train_loss, validation_loss: of each epoch; NaN where there are no validation samples.
        best_epoch: the epoch, from 1, whose weights the model was left with.
        epochs: what the log says of each epoch: losses, validation metrics, learning rate and seconds.
    """

    train_loss: list[float]
    validation_loss: list[float]
    best_epoch: int
    epochs: list[dict]


@dataclass(frozen=True)
class Trainer:
    """How a network is trained.

    Args:
        max_epochs: passes over the training split at most.
        patience: epochs without a better `monitor` after which to stop.
        monitor: what is watched on the validation split, and decides which epoch is the best: ``"loss"``, or a metric
            of the task's kind such as ``"auroc"``.
        batch_size: rows a batch, in each process.
        accumulate: batches a step; 2 batches of 32 make the same step as one of 64, in less memory.
        optimizer: ``"adamw"``, ``"adam"``, ``"adadelta"``, ``"adagrad"``, ``"rmsprop"`` or ``"sgd"``.
        lr: the learning rate.
        weight_decay: as the optimiser has it (decoupled in AdamW).
        schedule: of the learning rate after warm-up: ``"constant"``, or to 0 at the end of the last possible epoch,
            ``"linear"`` or ``"cosine"``.
        warmup: steps over which the learning rate rises, or below 1 their share of all.
        clip: the largest norm of the gradient; None does not clip.
        precision: ``"fp32"``, or ``"bf16"`` for the forward pass in training (weights, losses and scores stay fp32).
        device: ``"auto"`` takes a GPU where there is one, else ``"cpu"`` or a name that torch knows.
        balance: of a binary task, train on all samples of the rarer label and on as many of the other, which are drawn
            once by the seed; nothing else changes, validation and test samples least of all.
        checkpoint_every: steps, or seconds such as ``"300s"``, after which what is needed to go on is written within an
            epoch; at the end of an epoch it always is.
        log: the tracker: ``"csv"`` writes ``log.csv``, as every other one does, too; ``"tensorboard"``, ``"wandb"``
            (Weights & Biases) or ``"mlflow"``. The trials of a tuning are not tracked.
    """

    max_epochs: int = 50
    patience: int = 5
    monitor: str = "loss"
    batch_size: int = 64
    accumulate: int = 1
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: float = 0
    clip: float | None = 1.0
    precision: str = "fp32"
    device: str | torch.device = "auto"
    balance: bool = False
    checkpoint_every: int | str = "300s"
    log: str = "csv"

    def __post_init__(self):
        plain = check_parameters("the trainer", Trainer, {f.name: getattr(self, f.name) for f in fields(self)})
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "device", str(self.device))
        for name in ("max_epochs", "patience", "batch_size", "accumulate"):
            value = getattr(self, name)
            object.__setattr__(self, name, whole_number(f"trainer {name}", value, 1))
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not (name == "clip" and value is None) and not 0 < value < float("inf"):
                raise UserError(f"trainer {name}={shown(value)} must be a number above 0.")
        for name in ("weight_decay", "warmup"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"trainer {name}={getattr(self, name)!r} must be a number of at least 0.")
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("log", LOGS),
        ):
            if getattr(self, name) not in known:
                raise UserError(
                    f"trainer {name}={getattr(self, name)!r} is unknown: {nearest(getattr(self, name), known)}."
                )
        self.checkpoint_interval()
        self.resolved_device()

    def checkpoint_interval(self) -> tuple[int | None, float]:
        """Steps between checkpoints, or None and seconds.

        Raises:
            UserError: ``checkpoint_every`` is neither.
        """
        every = self.checkpoint_every
        if isinstance(every, int) and not isinstance(every, bool) and every > 0:
            return every, 0.0
        if isinstance(every, str) and re.fullmatch(r"\d+(\.\d+)?s", every):
            return None, float(every[:-1])
        raise UserError(f"trainer checkpoint_every={every!r} must be a number of steps, or seconds such as '300s'.")

    def check(self, data: TaskData) -> None:
        """Look whether data can be trained on, before anything is written.

        Raises:
            UserError: their task has no such metric to monitor or cannot be balanced, or the package of a log is
                missing.
        """
        known = ("loss", *data.outcomes.metrics)
        if self.monitor not in known:
            of = data.kind.name
            raise UserError(f"trainer monitor={self.monitor!r} is no metric of {of}: {nearest(self.monitor, known)}.")
        if self.balance and not data.kind.balanced:
            raise UserError(f"trainer balance=True is for tasks of yes or no, not for {data.kind.name}: leave it out.")
        check_log(self.log)

    def resolved_device(self) -> torch.device:
        """The device that is trained on.

        Raises:
            UserError: torch does not know it, or it is not there.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.zeros(1, dtype=torch.float64, device=device).cpu()  # times in a batch are of double precision
        except Exception as error:  # what a device that is not there raises hangs on the device
            text = str(error).strip()
            why = "torch knows no such device" if text.startswith("Expected one of") else _first_sentence(text)
            raise UserError(f"trainer device={self.device!r} cannot be used ({why}): try 'auto' or 'cpu'.") from error
        return device

    def fit(
        self,
        model: Model,
        data: TaskData,
        seed: int,
        report: Callable[[int, str, float], None] = lambda *_: None,
        folder: Path | None = None,
        callbacks: Callbacks = NONE,
    ) -> Fit:
        """Train a network and leave it with the weights of its best epoch.

        Args:
            model: changed in place.
            data: its ``train`` split is trained on; ``validation`` decides when to stop. Without validation samples all
                epochs are trained and the last weights stay.
            seed: of the order of batches and of dropout.
            report: is told the epoch, a line about it, and what share of the steps of all epochs is over.
            folder: where checkpoints go; training goes on from the last one in it. All processes must see it. None
                writes nothing.
            callbacks: are told of the start and of each epoch.

        Raises:
            UserError: a loss is not finite (epoch, step and visits are named; the last good checkpoint stays), memory
                does not suffice, or the checkpoint is damaged, or of another version, model or number of processes.
        """
        self.check(data)
        device = self.resolved_device()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self._enough_memory():
            model.to(device)
            place = Loop(self, model, data, seed, report, folder, callbacks).run()
        losses = {n: [row[n] for row in place.epochs] for n in ("train_loss", "validation_loss")}
        validation = [float("nan") if v is None else v for v in losses["validation_loss"]]
        return Fit(losses["train_loss"], validation, place.best_epoch, place.epochs)

    def scores(self, model: Model, data: TaskData, split: str, logits: bool = False) -> np.ndarray:
        """What the model predicts for a split, in the order of its samples; or its logits, (samples, outputs)."""
        device = self.resolved_device()
        processes = Processes(device) if launched() else None
        with self._enough_memory():
            return scores_of(model, data, split, self.batch_size, device, processes, logits)[0]

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) and not LACK.search(str(error)):
                raise
            half = max(self.batch_size // 2, 1)
            raise OutOfMemory(
                f"out of memory with batch_size={self.batch_size}: try batch_size={half} "
                f"(with accumulate={2 * self.accumulate} the steps stay the same), or a smaller model."
            ) from error
