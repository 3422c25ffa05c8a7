"""One loop for every network, which goes on where it was killed.

A step is an update of the weights. Its rows are drawn once and shared out among processes, and within a process among
the parts that gradients are accumulated over, each part weighted by its samples: 2 processes with batches of 32, or one
that accumulates 2 batches of 32, take the same steps as one with batches of 64.

Nothing on the way of a step waits for the device. A step leaves its loss in a vector there, which is read every
`LOOK` steps and before a checkpoint: a loss that is not finite is thus found a little later, but the step that it
came from is known, and no checkpoint is written behind it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data._task_data import TaskData
from zoo.metrics import evaluate
from zoo.models._model import Model
from zoo.registry import UserError
from zoo.result import write_json
from zoo.training._balance import training_places
from zoo.training._callbacks import Callbacks
from zoo.training._checkpoint import BEST, LAST, check_fit, read_tensors, remove_all, write_tensors
from zoo.training._optimizer import load_optimizer, make_optimizer, optimizer_tensors, set_share
from zoo.training._precision import bfloat16
from zoo.training._processes import Processes
from zoo.training._schedule import rate_share, warmup_steps
from zoo.training._scores import scores_of

LOOK = 50
"""Steps after which the losses are looked at."""
NON_FINITE = "non_finite.json"


class NotFinite(UserError):
    """A loss or a weight is not finite."""


@dataclass
class Place:
    """Where a training is, as it stands in a checkpoint.

    Attributes:
        epoch: epochs that are over.
        step: steps that are over of the next one.
        epochs: what was found in each epoch, as in the log.
        best_epoch: the best one, from 1; 0 before the first is over.
        best: what it scored on the monitored metric; None without validation samples.
        stopped: whether there is nothing more to do.
        processes: how many trained.
        seconds: of the epoch in progress.
    """

    epoch: int = 0
    step: int = 0
    epochs: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    best: float | None = None
    stopped: bool = False
    processes: int = 1
    seconds: float = 0.0


def parts(low: int, high: int, rank: int, count: int, accumulate: int) -> list[tuple[int, int]]:
    """Which of the rows of a step one of several processes has, part by part; empty parts are left out.

    >>> parts(10, 17, rank=1, count=2, accumulate=2)
    [(13, 15), (15, 17)]
    """
    shares = range(rank * accumulate, (rank + 1) * accumulate + 1)
    bounds = [low + (high - low) * share // (count * accumulate) for share in shares]
    return [(begin, end) for begin, end in pairwise(bounds) if begin < end]


class Loop:
    """The training of one model; `run` does it.

    Args:
        trainer: how.
        model: changed in place; must lie on the device.
        data, seed, report, folder, callbacks: as in `Trainer.fit`.
    """

    def __init__(
        self,
        trainer,
        model: Model,
        data: TaskData,
        seed: int,
        report: Callable[[int, str, float], None],
        folder: Path | None,
        callbacks: Callbacks,
    ):
        self.trainer, self.model, self.data, self.seed, self.report = trainer, model, data, seed, report
        self.device = trainer.resolved_device()
        self.processes = Processes(self.device)
        self.folder, self.callbacks = folder, callbacks
        self.own_folder = folder if self.processes.main else None  # where this process writes
        self.net: nn.Module = model
        self.step_rows = trainer.batch_size * trainer.accumulate * self.processes.count
        self.places = training_places(data, trainer.balance, seed)
        self.rows = data.rows("train", model, places=self.places)
        self.steps = -(-len(self.rows) // self.step_rows)
        self.optimizer = make_optimizer(trainer, model)
        total = trainer.max_epochs * self.steps
        self.warmup, self.total = warmup_steps(trainer.warmup, total), total
        self.losses = torch.zeros(self.steps, device=self.device)
        self.place = Place(processes=self.processes.count)
        self.told = ""
        self.best_weights: dict[str, Tensor] = {}
        self.began = self.written = time.perf_counter()

    def run(self) -> Place:
        """Train until the last epoch, or until the monitored metric has not become better for long enough."""
        torch.manual_seed(self.seed + self.processes.rank)
        self._resume()
        self.callbacks.start(self.place.epochs)
        self.net = self.processes.share(self.model)
        self.began = self.written = time.perf_counter()
        while self.place.epoch < self.trainer.max_epochs and not self.place.stopped:
            self._train()
            self._end_epoch()
        self.model.load_state_dict(self.best_weights)
        return self.place

    # One epoch

    def _train(self) -> None:
        self.model.train()
        self.model.start_epoch(self.place.epoch)
        seed = self.seed * 1_000_003 + self.place.epoch
        order = {"shuffle": True, "seed": seed, "places": self.places}
        self.rows = self.data.rows("train", self.model, self.step_rows, **order)
        for step in range(self.place.step, self.steps):
            self._step(step)
            self.place.step = step + 1
            self._report(f"step {step + 1} of {self.steps}{self.told}")
            look = (step + 1) % LOOK == 0
            if look:
                self._look()
            if step + 1 < self.steps and self._checkpoint_due(look):
                self._look()
                self._write_last()

    def _step(self, step: int) -> None:
        low, high = self._bounds(step)
        own = parts(low, high, self.processes.rank, self.processes.count, self.trainer.accumulate)
        samples = len(self.rows.samples(low, high))
        weights = [len(self.rows.samples(*part)) / samples for part in own]
        if not own:  # fewer rows than processes: the gradients are averaged with all the same
            own, weights = [(low, low + 1)], [0.0]
        self._set_rate(self.place.epoch * self.steps + step)
        self.optimizer.zero_grad(set_to_none=True)
        for part, weight in zip(own[:-1], weights, strict=False):
            with self.processes.unsynchronised(self.net):
                self._backward(part, weight, step)
        self._backward(own[-1], weights[-1], step)
        if self.trainer.clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.trainer.clip)
            self.losses[step].add_(norm, alpha=0)  # a gradient that is not finite shows, too
        self.optimizer.step()

    def _backward(self, part: tuple[int, int], weight: float, step: int) -> None:
        batch = self.rows.batch(*part).to(self.device)
        with bfloat16(self.device.type) if self.trainer.precision == "bf16" else nullcontext():
            output = self.net(batch)
        if self.trainer.precision != "fp32":
            output = dataclasses.replace(output, logits=output.logits.float())
        main = self.model.loss(output, batch)
        loss, shown = main, main.detach()
        for further in output.losses.values():
            loss = loss + further
            shown = shown + 0 * further.detach()
        if weight != 1:
            loss, shown = loss * (weight * self.processes.count), shown * weight
        self.processes.backward(loss)
        self.losses[step].add_(shown)

    def _set_rate(self, step: int) -> None:
        if self.trainer.schedule != "constant" or self.warmup:
            set_share(self.optimizer, rate_share(self.trainer.schedule, step, self.total, self.warmup))

    def _end_epoch(self) -> None:
        train_loss = self._look()
        place, trainer = self.place, self.trainer
        found = {"train_loss": train_loss, **self._validated()}
        value = found["validation_loss"] if trainer.monitor == "loss" else found.get(trainer.monitor)
        better = self._is_better(value)
        place.epoch, place.step = place.epoch + 1, 0
        if better:
            place.best_epoch, place.best = place.epoch, value
            self.best_weights = {n: w.detach().clone() for n, w in self.model.state_dict().items()}
        place.stopped = place.epoch >= trainer.max_epochs or place.epoch - place.best_epoch >= trainer.patience
        seconds = round(self._seconds(), 3)
        place.epochs.append(
            {"epoch": place.epoch, **found, "lr": self.optimizer.param_groups[0]["lr"], "seconds": seconds}
        )
        place.seconds, self.began = 0.0, time.perf_counter()
        self.losses.zero_()
        if better and self.own_folder:
            write_tensors(self.own_folder / BEST.format(place.epoch), self.best_weights)
        self._write_last()
        self._tell()

    def _validated(self) -> dict[str, float | None]:
        """Loss and metrics on the validation split; the loss is None where it has no samples."""
        if not self.data.size("validation"):
            return {"validation_loss": None}
        trainer, kind = self.trainer, self.data.task.kind
        scores, losses = scores_of(self.model, self.data, "validation", trainer.batch_size, self.device, self.processes)
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            rows = self.data.rows("validation", self.model)
            row = int(np.searchsorted(rows.offsets, bad[0], side="right")) - 1
            low = row // trainer.batch_size * trainer.batch_size
            places = rows.samples(low, min(low + trainer.batch_size, len(rows)))
            self._fail("validation loss", losses[bad[0]], None, places)
        found: dict[str, float | None] = {"validation_loss": float(losses.mean(dtype=np.float64))}
        if not self.data.outcomes.metrics:
            return found
        label, subject = self.data.label("validation"), self.data.subject("validation")
        options: dict[str, Any] = self.data.outcomes.options(self.data.places("validation"))
        metrics = evaluate(kind, label, scores, subject, resamples=0, **options)
        if trainer.monitor != "loss" and metrics[trainer.monitor].value is None and not self.place.best_epoch:
            raise UserError(
                f"trainer monitor={trainer.monitor!r} has no value on the validation split "
                f"({metrics[trainer.monitor].reason}): choose another one, such as 'loss'."
            )
        return {**found, **{n: m.value for n, m in metrics.items()}}

    def _is_better(self, value: float | None) -> bool:
        """Whether an epoch is the best so far; without validation samples the last one is."""
        if not self.place.best_epoch or not self.data.size("validation"):
            return True
        if value is None or self.place.best is None:
            return value is not None
        sign = -1 if self.trainer.monitor == "loss" else self.data.outcomes.metrics[self.trainer.monitor].sign
        return sign * value > sign * self.place.best

    # What is not finite

    def _look(self) -> float:
        """Look at the losses of the epoch so far, and return their mean over samples.

        Raises:
            UserError: one of them, or a weight, is not finite.
        """
        steps = self.place.step
        losses = self.processes.total(self.losses[:steps].clone()).double().cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            self._fail("training loss", losses[bad[0]], int(bad[0]), self._samples(int(bad[0])))
        bounds = np.minimum(np.arange(steps + 1) * self.step_rows, len(self.rows))
        mean = float(np.average(losses, weights=np.diff(self.rows.offsets[bounds])))
        self.told = f", loss {mean:.4f}"
        return mean

    def _report(self, line: str) -> None:
        """Tell of the epoch in progress, or of the one that is just over."""
        share = (self.place.epoch + self.place.step / self.steps) / self.trainer.max_epochs
        self.report(self.place.epoch + (self.place.step > 0), line, share)

    def _bounds(self, step: int) -> tuple[int, int]:
        """Between which rows those of a step lie."""
        return step * self.step_rows, min((step + 1) * self.step_rows, len(self.rows))

    def _samples(self, step: int) -> np.ndarray:
        """The places of the samples of a step."""
        return self.rows.samples(*self._bounds(step))

    def _fail(self, what: str, value: float, step: int | None, places: np.ndarray) -> None:
        visits = self.data.samples.visit_id.iloc[places].unique().tolist()
        where = f"epoch {self.place.epoch + 1}" + ("" if step is None else f", step {step + 1} of {self.steps}")
        facts = {"what": what, "epoch": self.place.epoch + 1, "step": step and step + 1, "visit_id": visits}
        if self.own_folder:
            write_json(self.own_folder / NON_FINITE, facts)
        shown = ", ".join(map(str, visits[:5])) + (f" and {len(visits) - 5} more" if len(visits) > 5 else "")
        raise NotFinite(
            f"the {what} is {value} in {where}, in the batch with the visits {shown}"
            f"{f' (all in {self.folder / NON_FINITE})' if self.folder else ''}: "
            f"lower lr or clip, or look for values in these visits that are not finite."
        )

    # Checkpoints

    def _checkpoint_due(self, look: bool) -> bool:
        """Whether enough steps or seconds have passed; several processes agree on the first one's clock."""
        if self.folder is None:
            return False
        steps, seconds = self.trainer.checkpoint_interval()
        if steps:
            return (self.place.epoch * self.steps + self.place.step) % steps == 0
        due = time.perf_counter() - self.written >= seconds
        if self.processes.count == 1:
            return due
        return look and bool(self.processes.total(torch.tensor(float(due and self.processes.main), device=self.device)))

    def _seconds(self) -> float:
        return self.place.seconds + time.perf_counter() - self.began

    def _write_last(self) -> None:
        """Write all that is needed to go on from here."""
        if self.folder is None:
            return
        losses, random = self.processes.total(self.losses.clone()), self._random()
        if self.processes.main:
            tensors = {f"model.{n}": w for n, w in self.model.state_dict().items()}
            if not all(bool(w.isfinite().all()) for w in tensors.values() if w.is_floating_point()):
                step = self.place.step or self.steps
                self._fail("weight", float("nan"), step - 1, self._samples(step - 1))
            tensors |= {f"optimizer.{n}": t for n, t in optimizer_tensors(self.optimizer).items()}
            tensors |= {f"random.{n}": t for n, t in random.items()} | {"losses": losses}
            facts = dataclasses.asdict(dataclasses.replace(self.place, seconds=self._seconds()))
            write_tensors(self.folder / LAST, tensors, facts)
            remove_all(self.folder, BEST.format("*"), but=BEST.format(self.place.best_epoch))
        self.written = time.perf_counter()

    def _random(self) -> dict[str, Tensor]:
        """(processes, bytes) the states of the generators that models draw from."""
        found = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self.device)
        return {n: self.processes.stacked(state.to(self.device)).cpu() for n, state in found.items()}

    def _resume(self) -> None:
        """Go on from the last checkpoint, if there is one; it is looked at whole before anything is changed."""
        if self.folder is None or not (self.folder / LAST).exists():
            return
        path = self.folder / LAST
        tensors, facts = read_tensors(path)
        groups = {g: _below(tensors, f"{g}.") for g in ("model", "optimizer", "random")}
        place = Place(**facts)
        if place.processes != self.processes.count:
            raise UserError(
                f"{self.folder} was trained by {place.processes} processes, and now there are {self.processes.count}: "
                f"start as many, or choose another folder."
            )
        groups["model"] = self.model.by_present_names(groups["model"])
        check_fit(path, groups["model"], self.model)
        best = self.folder / BEST.format(place.best_epoch)
        if place.best_epoch:
            weights = self.model.by_present_names(read_tensors(best)[0])
            check_fit(best, weights, self.model)
            self.best_weights = {n: w.to(self.device) for n, w in weights.items()}
        self.model.load_state_dict(groups["model"])
        load_optimizer(self.optimizer, groups["optimizer"])
        own = {n: state[self.processes.rank].clone() for n, state in groups["random"].items()}  # no view is taken
        torch.set_rng_state(own["cpu"])
        if "cuda" in own and self.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], self.device)
        if self.processes.main:
            self.losses.copy_(tensors["losses"])
        self.place = place

    def _tell(self) -> None:
        """Tell of the epoch that is over."""
        row = self.place.epochs[-1]
        shown = "" if row["validation_loss"] is None else f", validation {row['validation_loss']:.4f}"
        self.told = f", loss {row['train_loss']:.4f}{shown}"
        self._report(self.told.removeprefix(", "))
        self.callbacks.epoch(row)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
