"""Checks of what a sample's output may hang on: its own history, whatever lies beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from zoo.testing._model import _patients as patients
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._logits import distance, logits, same
from zoo.testing._model._patients import Patient


def batch_independence(candidate: Candidate) -> Iterator[str]:
    rows, task, model = candidate.rows(), candidate.task, candidate.model
    alone = np.concatenate([logits(model, task.batch([row])) for row in rows])
    long, bare = task.row(patients.long_patient()), [r.changed(patients.empty, since=1) for r in rows[4:]]
    batches = {  # rows, and of those at their beginning the places among all
        "in a batch": (rows, range(len(rows))),
        "in another order": (rows[::-1], range(len(rows) - 1, -1, -1)),
        "in a batch of three": (rows[:3], range(3)),
        "next to a longer row": ([*rows[:4], long], range(4)),
        "next to rows with little in them": ([*rows[:4], *bare], range(4)),
    }
    for where, (members, places) in batches.items():
        found, expected = logits(model, task.batch(members))[: len(places)], alone[list(places)]
        if not same(found, expected):
            yield f"a sample's logits differ by {distance(found, expected):.1e} {where} from what they are alone"
    if candidate.causal and not task.withheld:
        rows = _rows_of_three(candidate)
        expected = logits(model, task.batch(rows, [[0, 1]] * len(rows)))
        own = [list(range(len(r.visits))) for r in rows]
        early = np.array([place < 2 for places in own for place in places])
        found = logits(model, task.batch(rows, own))[early]
        if not same(found, expected):
            yield f"a sample's logits differ by {distance(found, expected):.1e} with later samples of the same row"


def code_order(candidate: Candidate) -> Iterator[str]:
    rows = candidate.rows()
    expected = candidate.logits(rows)
    for seed in range(2):
        found = candidate.logits([r.changed(patients.shuffled(np.random.default_rng(seed))) for r in rows])
        if not same(found, expected):
            yield f"another order of codes changes logits by {distance(found, expected):.1e}"
            return


def uses_inputs(candidate: Candidate) -> Iterator[str]:
    rows = candidate.rows(12)
    expected = candidate.logits(rows)
    wanted = 1 if candidate.fitted else len(rows) // 2
    others = {c: [r.changed(patients.other(c)) for r in rows] for c in candidate.concepts}
    if candidate.static:
        others["static"] = [r.with_facts(patients.other_facts) for r in rows]
    for concept, changed in others.items():
        differs = np.abs(candidate.logits(changed) - expected).max(axis=1) > 1e-7
        if differs.sum() < wanted:
            yield f"{concept} with other codes and values changes the logits of {differs.sum()} of {len(rows)} samples"


def label(candidate: Candidate) -> Iterator[str]:
    batch = candidate.task.batch(candidate.rows())
    expected = logits(candidate.model, batch)
    for what, changed in {
        "label": replace(batch, label=candidate.task_kind.another(batch.label)),
        "subject's number": replace(batch, subject=batch.subject.flip(0) + 7),
    }.items():
        found = logits(candidate.model, changed)
        if not same(found, expected):
            yield f"another {what} changes logits by {distance(found, expected):.1e}"


def future(candidate: Candidate) -> Iterator[str]:
    task = candidate.task
    long = task.row(patients.long_patient())
    rows = [r for r in candidate.rows(16) if len(r.visits) < 4]
    own = [[len(r.visits) - 1] for r in rows] + [[len(long.visits) - 1]]
    expected = logits(candidate.model, task.batch([*rows, long], own))[:-1]
    for change in (lambda _, events: events, patients.other()):
        longer = [_with_later_visits(r, change) for r in rows]
        found = logits(candidate.model, task.batch([*longer, long], own))[:-1]
        if not same(found, expected):
            yield f"later visits in its row change a sample's logits by {distance(found, expected):.1e}"
            return
    if not task.withheld:  # else an earlier sample sees less of its own visit than the row holds
        yield from _earlier_samples(candidate)


def causal(candidate: Candidate) -> Iterator[str]:
    """Rows with a sample of each of their visits, and of every other one."""
    task, rows = candidate.task, _rows_of_three(candidate)
    for step in (1, 2):
        own = [range(0, len(r.visits), step) for r in rows]
        alone = [task.seen(row, place) for row, places in zip(rows, own, strict=True) for place in places]
        expected, found = logits(candidate.model, task.batch(alone)), logits(candidate.model, task.batch(rows, own))
        if not same(found, expected):
            yield f"a sample's logits differ by {distance(found, expected):.1e} in a row with others"
            return


def _with_later_visits(row: Patient, change: Callable) -> Patient:
    later = [v.changed(change) for v in patients.long_patient().visits[:2]]
    end = row.visits[-1].start + row.visits[-1].length
    moved = [replace(v, start=end + 50.0 + v.start) for v in later]
    return replace(row, visits=(*row.visits, *moved))


def _earlier_samples(candidate: Candidate) -> Iterator[str]:
    """Rows with samples of their first two visits, of which the later ones are changed."""
    rows = _rows_of_three(candidate)
    changed = [r.changed(patients.other(), since=2).with_facts(patients.other_facts, since=2) for r in rows]
    found = [logits(candidate.model, candidate.task.batch(some, [[0, 1]] * len(rows))) for some in (rows, changed)]
    if not same(*found):
        yield f"later visits change logits of earlier samples of their row by {distance(*found):.1e}"


def _rows_of_three(candidate: Candidate) -> list[Patient]:
    """Patients with three visits at least."""
    return [r for r in candidate.rows(24) if len(r.visits) > 2]
