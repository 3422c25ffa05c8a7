"""Checks of what there may be nothing of: events, a concept, other samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from zoo.models.multimodal._modalities import CODES, SIGNALS
from zoo.testing._model import _patients as patients
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._output import runs
from zoo.testing._model._patients import FabricatedTask
from zoo.testing._model._short_training import trained


def empty_history(candidate: Candidate) -> Iterator[str]:
    rows = [r.changed(patients.empty) for r in candidate.rows()]
    yield from runs(candidate, candidate.task, rows)
    yield from runs(candidate, candidate.task, [*rows[:4], *candidate.rows()[4:]])
    yield from runs(candidate, candidate.task, [r.with_facts(patients.unknown_facts) for r in rows])


def missing_concept(candidate: Candidate) -> Iterator[str]:
    needs = candidate.entry.facts.needs
    modalities = [tuple(c for c in candidate.concepts if c in modality) for modality in (SIGNALS, CODES)]
    for gone in [*((c,) for c in candidate.concepts), *(m for m in modalities if len(m) > 1)]:
        names = " and ".join(gone)
        rows = [r.changed(patients.without(*gone)) for r in candidate.rows(4)]
        yield from (f"no {names} in a batch: {problem}" for problem in runs(candidate, candidate.task, rows))
        rest = tuple(c for c in candidate.concepts if c not in gone)
        if rest and candidate.first and not needs.intersection(gone):
            yield from _data_without(names, candidate, candidate.task_with(rest))
    if candidate.static and candidate.first:
        yield from _data_without("static facts", candidate, replace(candidate.task, static=False))


def _data_without(names: str, candidate: Candidate, task: FabricatedTask) -> Iterator[str]:
    try:
        model, _ = trained(candidate.entry, task, candidate.hyperparameters, patients=16)
        problems = list(runs(candidate, task, task.rows(200, 206), model))
    except Exception as error:
        problems = [f"{type(error).__name__}: {error}"]
    yield from (f"data without {names}: {problem}" for problem in problems)


def single_sample(candidate: Candidate) -> Iterator[str]:
    for row in (candidate.rows()[0], candidate.task.row(patients.long_patient())):
        yield from runs(candidate, candidate.task, [row])
