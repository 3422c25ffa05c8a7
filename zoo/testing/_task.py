"""Checks of a task on a dataset."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.datasets import _canonical as canonical
from zoo.prepare import load_dataset, load_task, relations, share_out
from zoo.registry import kind_of
from zoo.tasks._selection import with_something_to_predict
from zoo.tasks._task import Attrition, Cohort, Relations, Task
from zoo.testing._relations import known_until, noted
from zoo.testing._report import Findings, Report
from zoo.testing._snapshot import read_tables
from zoo.testing._window import check_window, one_of_each

ABOUT = ("stay", "visit")
COLUMNS = {
    "subject_id": "int64",
    "visit_id": "int64",
    "stay_id": "Int64",
    "prediction_time": "datetime64[us]",
}


def check_task(
    task: str | Task,
    dataset,
    root: str | Path | None = None,
    concepts: Collection[str] | None = None,
    subjects: int | None = 50,
    rounds: int = 3,
    **parameters,
) -> Report:
    """Check a task on a dataset: its cohort, its labels, its attrition, and that no feature knows the future.

    The checks: ``declaration`` (kind, no concept that the label is made from is given, and each that is read for it is
    declared), ``cohort`` (columns, types, nulls), ``label`` (its type by kind), ``keys`` (visits and stays exist and
    are the subject's own, samples are distinct), ``attrition`` (it adds up), ``prediction_time`` (not before the
    arrival), ``forecast`` (unless it is retrospective, it predicts nobody who is gone or dead, and nothing that has
    come about), ``outcome`` (of a task that reads event values: no outcome time hangs on an event later than itself),
    ``repeat`` (the same cohort twice, and the relations unchanged), ``window`` (with the cohort and the vocabularies
    held fixed, everything later than the prediction time except what is given is scrambled, and no feature changes) and
    ``past`` (each sample sees all events up to then, and its features change when one is gone).

    Args:
        task: a registered name, or what `zoo.load_task` made.
        dataset: a registered name, or what `zoo.load_dataset` made.
        root: the folder with the dataset's tables.
        concepts: the concepts of which features are made; all that the dataset offers by default.
        subjects: how many subjects' windows are tested; None for all.
        rounds: how often each of these is scrambled, each time for another of its samples while there are some.
        **parameters: the task's, and the dataset's.

    Raises:
        UserError: the task or the dataset cannot be opened, or does not have what the task needs.
    """
    dataset_own, task_own = share_out(dataset, task, parameters)
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, root, **dataset_own)
    if isinstance(task, str):
        task = load_task(task, **task_own)
    concepts = list(dataset.concepts if concepts is None else concepts)
    for concept in {*concepts, *task.needs}:
        dataset.require(concept)
    findings = Findings(f"task {task.name!r} on {dataset.name!r}")
    seen, read = noted(relations(dataset))
    with findings.check("declaration"):
        _declaration(findings, task)
    cohort = None
    with findings.check("cohort"):
        found = task.cohort(seen)
        _cohort(findings, found)
        if not findings.failed("cohort"):
            cohort = with_something_to_predict(task, found, seen)
    for concept in sorted({*read.sets, *read.values} - {*task.needs, *task.label_concepts, *task.given}):
        findings.fail("declaration", f"its cohort is made from {concept!r}, which it does not name in needs")
    if cohort is None or findings.failed("cohort"):
        findings.note("cohort", "the other checks were not run")
        return findings.report()
    with findings.check("label"):
        _label(findings, task, found.samples.label)
    with findings.check("keys"):
        _keys(findings, found.samples, seen)
    with findings.check("attrition"):
        _attrition(findings, cohort)
    with findings.check("prediction_time"):
        _prediction_time(findings, found.samples, seen)
    with findings.check("forecast"):
        _forecast(findings, task, found, cohort, seen)
    if read.values:
        with findings.check("outcome"):
            _outcome(findings, task, cohort, seen)
    with findings.check("repeat"):
        _repeat(findings, task, dataset, found, seen)
    if not findings.failed("keys"):
        _windows(findings, task, dataset, cohort.samples, concepts, subjects, rounds)
    return findings.report()


def _declaration(findings: Findings, task: Task) -> None:
    with findings.check("declaration"):
        kind_of(task.kind)
    declared = {*task.given, *task.label_concepts, *task.needs}
    for concept in sorted(declared - set(canonical.CONCEPTS)):
        findings.fail("declaration", f"unknown concept {concept!r}")
    for concept in sorted(set(task.given) & {*task.label_concepts, *task.needs}):
        findings.fail("declaration", f"{concept!r} is given, but the label is made from it")
    findings.expect("declaration", task.about in ABOUT, f"about {task.about!r} is none of {', '.join(ABOUT)}")
    if task.retrospective and not {*task.label_concepts, *task.needs}:
        findings.fail("declaration", "retrospective, but its labels are made from no concept of the record")


def _cohort(findings: Findings, cohort: Cohort) -> None:
    samples = cohort.samples
    expected = [*COLUMNS, "label"]
    if list(samples.columns) != expected:
        findings.fail("cohort", f"columns {', '.join(samples.columns)} instead of {', '.join(expected)}")
        return
    for column, dtype in COLUMNS.items():
        findings.expect("cohort", samples[column].dtype == dtype, f"{column} is {samples[column].dtype}, not {dtype}")
        if column != "stay_id":
            findings.expect("cohort", samples[column].notna(), f"{column} is null")
    findings.expect("cohort", samples.label.notna(), "label is null")
    findings.expect("cohort", isinstance(cohort.attrition, Attrition), "attrition is no Attrition")
    if not len(samples):
        findings.note("cohort", "no samples")


def _label(findings: Findings, task: Task, label: pd.Series) -> None:
    kind = kind_of(task.kind)
    for problem, where in kind.problems(label, task.labels):
        findings.expect("label", ~where, problem)
    if not findings.failed("label") and kind.is_constant(label.to_numpy(), np.arange(len(label))):
        findings.note("label", f"all {len(label)} samples have the label {label.iloc[0]}")


def _keys(findings: Findings, samples: pd.DataFrame, seen: Relations) -> None:
    subject = seen.visits.set_index("visit_id").subject_id.reindex(samples.visit_id).to_numpy()
    findings.expect("keys", pd.notna(subject), "visit_id is no visit")
    findings.expect("keys", pd.isna(subject) | (subject == samples.subject_id), "visit_id is another subject's visit")
    stays = samples[samples.stay_id.notna()]
    visit = seen.stays.set_index("stay_id").visit_id.reindex(stays.stay_id.astype("int64")).to_numpy()
    findings.expect("keys", visit == stays.visit_id.to_numpy(), "stay_id is no stay of the visit")
    twice = samples.duplicated(["visit_id", "stay_id", "prediction_time"])
    findings.expect("keys", ~twice, "the same sample twice")


def _attrition(findings: Findings, cohort: Cohort) -> None:
    table = cohort.attrition.table()
    if not len(table):
        findings.fail("attrition", "the table is empty")
        return
    expected = table.remaining.shift(1) - table.left_out
    repeated = np.array([bool(step.get("repeated")) for step in cohort.attrition.steps])
    findings.expect("attrition", (table.left_out >= 0).to_numpy(), "left_out is negative")
    findings.expect(
        "attrition",
        (repeated & (table.remaining >= expected) | (table.remaining == expected))[1:].to_numpy(),
        "remaining is not the remaining of the step before less left_out",
    )
    last = int(table.remaining.iloc[-1])
    findings.expect(
        "attrition", last == len(cohort.samples), f"ends with {last}, but samples are {len(cohort.samples)}"
    )
    findings.expect("attrition", table.step.astype(bool).to_numpy() & ~table.step.duplicated(), "a step without a name")


def _prediction_time(findings: Findings, samples: pd.DataFrame, seen: Relations) -> None:
    visits = seen.visits.set_index("visit_id").reindex(samples.visit_id)
    since = visits[["start", "arrival"]].min(axis=1).to_numpy("datetime64[us]")
    admitted = seen.stays.set_index("stay_id").start.reindex(samples.stay_id.astype("Int64"))
    since = np.fmin(since, admitted.to_numpy("datetime64[us]"))
    good = samples.prediction_time.to_numpy("datetime64[us]") >= since
    findings.expect("prediction_time", good, "prediction_time is before the arrival")


def _forecast(findings: Findings, task: Task, given: Cohort, cohort: Cohort, seen: Relations) -> None:
    """That the framework left out all that is no forecast, told from the relations alone."""
    if task.retrospective:
        findings.expect("forecast", given.outcome_time is None, "retrospective, but it has outcome times")
        return
    count = len(given.samples) - len(cohort.samples)
    if len(given.samples) and not len(cohort.samples):
        findings.fail(
            "forecast", f"none of its {count} samples was left: all are too young, gone, dead or known by then"
        )
    elif count:
        findings.note("forecast", f"{count} of its {len(given.samples)} samples were left out by the framework")
    if given.outcome_time is None and not kind_of(task.kind).sets:
        findings.note("forecast", "the task says no outcome_time: that nothing has come about by then is not checked")
    samples = cohort.samples
    moment = samples.prediction_time
    visits = samples[["visit_id"]].merge(seen.visits, on="visit_id", how="left")
    findings.expect("forecast", ~(visits.end < moment), "samples are predicted after the end of their visit")
    if task.about == "stay":
        stays = samples[["stay_id"]].merge(seen.stays, on="stay_id", how="left")
        findings.expect("forecast", ~(stays.end < moment), "samples are predicted after the end of their stay")
    subjects = samples[["subject_id"]].merge(seen.subjects, on="subject_id", how="left")
    findings.expect("forecast", ~(subjects.death <= moment), "samples are predicted at or after the death")
    fatal = seen.visits[seen.visits.died.astype("boolean").fillna(False).astype(bool)]
    left = fatal.groupby("subject_id").end.max().reindex(samples.subject_id).to_numpy("datetime64[us]")
    findings.expect("forecast", ~(left <= moment), "samples are predicted after a visit that ended in death")
    if cohort.outcome_time is not None:
        known = pd.Series(cohort.outcome_time) <= moment
        findings.expect("forecast", ~known, "samples are predicted at or after their outcome")


def _outcome(findings: Findings, task: Task, cohort: Cohort, seen: Relations) -> None:
    """That outcomes are the same where nobody has an event that is later than the outcome of one of his samples."""
    if cohort.outcome_time is None or task.retrospective:
        return
    outcome = pd.Series(cohort.outcome_time, cohort.samples.index)
    chosen = cohort.samples.assign(outcome=outcome)[outcome.notna()]
    if not len(chosen):
        findings.note("outcome", "nobody has an outcome")
        return
    (chosen,) = one_of_each(chosen, 1, np.random.default_rng(0))
    again = task.cohort(known_until(seen, chosen.set_index("subject_id").outcome))
    after = again.samples.assign(again=again.outcome_time)
    both = chosen.merge(after, on=[*COLUMNS], how="left", validate="one_to_one")
    same = (both.again == both.outcome).to_numpy()
    findings.expect("outcome", same, "outcome times change, or samples are gone, without the events after the outcome")


def _repeat(findings: Findings, task: Task, dataset, cohort: Cohort, seen: Relations) -> None:
    again = task.cohort(seen)
    findings.expect("repeat", cohort.samples.equals(again.samples), "two calls give two cohorts")
    for name in ("subjects", "visits", "stays"):
        same = getattr(seen, name).equals(dataset.read(name))
        findings.expect("repeat", same, f"the task changes the relation {name} that it was given")


def _windows(findings: Findings, task, dataset, samples: pd.DataFrame, concepts, subjects, rounds: int) -> None:
    """Test the windows of so many subjects, drawn by chance."""
    ids = np.sort(samples.subject_id.unique())
    if not len(ids):
        return
    if subjects is not None and len(ids) > subjects:
        ids = np.sort(np.random.default_rng(0).choice(ids, subjects, replace=False))
    with findings.check("window"):
        tables = read_tables(dataset, concepts, ids)
        check_window(findings, task, tables, samples[samples.subject_id.isin(ids)], dataset, rounds)
