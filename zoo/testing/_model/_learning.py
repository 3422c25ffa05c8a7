"""Checks of how a model learns."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.models import Model
from zoo.testing._model import _patients as patients
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._output import runs
from zoo.testing._model._short_training import Training, made, main_loss

ATTEMPTS = ((1e-2, 24), (3e-3, 150), (1e-3, 200), (1e-2, 150), (1e-1, 150))
"""Learning rates, and how many steps at most, with which eight samples are tried to be fitted."""
LOOK = 4
"""After how many steps it is looked whether they are."""


def overfits(candidate: Candidate) -> Iterator[str]:
    rows = candidate.task.rows(100, 108)
    batch = candidate.task.batch(rows)
    plain = type(candidate.model).loss is Model.loss
    constant, fits = candidate.task_kind.loss_of_a_constant(batch.label), candidate.task_kind.fits
    lowest = float("inf")
    for rate, steps in ATTEMPTS if not candidate.fitted else ((0, 0),):
        model = made(candidate.entry, candidate.task.spec, candidate.hyperparameters)
        if candidate.fitted:
            model.fit(candidate.task.batches(rows * 32, size=64))
        start = constant if plain else main_loss(model, batch)
        lowest = min(lowest, main_loss(model, batch) / start)
        training = None if candidate.fitted else Training(model, rate)
        for step in range(1, steps + 1):
            training.step(batch)
            if step % LOOK == 0:
                lowest = min(lowest, main_loss(model, batch) / start)
            if lowest < fits:
                return
    if not lowest < fits:
        yield f"the main loss on eight samples falls to {lowest:.2f} of a constant's, not below {fits}"


def gradients(candidate: Candidate) -> Iterator[str]:
    if candidate.training.unreached:
        yield f"no gradient reaches {', '.join(candidate.training.unreached)}"


def bf16(candidate: Candidate) -> Iterator[str]:
    rows = [*candidate.rows(), candidate.task.row(patients.long_patient())]
    yield from runs(candidate, candidate.task, rows, half=True)
