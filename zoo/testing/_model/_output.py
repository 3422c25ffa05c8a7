"""Checks of what comes out of a model: its shape, and that it is finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch

from zoo.models import Model, Output
from zoo.testing._model import _patients as patients
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._logits import copied
from zoo.testing._model._patients import FabricatedTask, Patient
from zoo.testing._model._short_training import is_pretrained, pretraining_loss
from zoo.training._precision import bfloat16


def output_shape(candidate: Candidate) -> Iterator[str]:
    task, model = candidate.task, copied(candidate.model)
    batch = task.batch([*candidate.rows(), task.row(patients.long_patient())])
    with torch.no_grad():
        output = model(batch)
        prediction = model.predict(output)
    if not isinstance(output, Output):
        yield f"forward gives a {type(output).__name__}, not an Output"
        return
    expected = (batch.samples, task.spec.outputs)
    if tuple(output.logits.shape) != expected:
        yield f"logits are {tuple(output.logits.shape)}, not {expected}"
    if not output.logits.is_floating_point() or not torch.isfinite(output.logits).all():
        yield "logits are not finite"
    if len(prediction) != batch.samples:
        yield f"predictions are of {len(prediction)} samples, not of {batch.samples}"
    yield from candidate.task_kind.misfits(prediction, task.spec)


def loss_finite(candidate: Candidate) -> Iterator[str]:
    yield from runs(candidate, candidate.task, candidate.rows())


def runs(
    candidate: Candidate, task: FabricatedTask, rows: list[Patient], model: Model | None = None, half: bool = False
) -> Iterator[str]:
    """Problems with logits and losses of rows, in eval mode and, for a network, in training.

    Args:
        candidate: whose model it is.
        task: that the rows are of.
        rows: of a batch.
        model: another model than the candidate's.
        half: compute in bfloat16 where autocast does.
    """
    model, batch = copied(model or candidate.model), task.batch(rows)
    (visits,) = task.batches_without_label(rows, size=len(rows)) if is_pretrained(model) else (None,)
    for training in (False,) if candidate.fitted else (False, True):
        model.train(training)
        where = " in training" if training else ""
        with torch.set_grad_enabled(training), bfloat16("cpu") if half else nullcontext():
            output = model(batch)
            main = model.loss(output, batch)
            before = None if visits is None else pretraining_loss(model, visits)
        if not torch.isfinite(output.logits).all():
            yield f"logits are not finite{where}"
        if main.shape != ():
            yield f"the loss is {tuple(main.shape)}, not one number{where}"
            return
        yield from _not_finite(model, main + sum(output.losses.values()), "loss", where)
        if before is not None:
            yield from _not_finite(model, before, "pre-training loss", where)


def _not_finite(model: Model, loss: torch.Tensor, name: str, where: str) -> Iterator[str]:
    if not torch.isfinite(loss):
        yield f"the {name} is not finite{where}"
    elif loss.requires_grad:
        model.zero_grad()
        loss.backward()
        if not all(torch.isfinite(w.grad).all() for w in model.parameters() if w.grad is not None):
            yield f"a gradient of the {name} is not finite"
