"""Checks of a dataset: the canonical relations and events."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zoo.data._inputs import FEW_CODES, FEW_SAMPLES
from zoo.data._store import VisitIndex
from zoo.datasets import _canonical as canonical
from zoo.knowledge import icd
from zoo.knowledge.visit_classes import VISIT_CLASSES
from zoo.prepare import load_dataset
from zoo.testing._report import Findings, Report
from zoo.testing._snapshot import private_cache

CODE = re.compile(r"[A-Z][A-Z0-9_]*//\S(.*\S)?", re.DOTALL)
OLDEST, CAPPED = 89, 90.0
"""The age over which sources hide it, and what it is given as there."""
CHUNK = 262_144
FACTS = {
    "died": "tasks that ask who died, or left alive, have none of these",
    "age": "tasks with a min_age have none of these",
}
"""What is lost where a fact about visits is not known."""
KEPT = ("subject_id", "visit_id", "time", "code", "rank", "value", "rejected")
"""The columns of events whose order is fixed; what no feature is made of may differ between equal events."""
LAST = np.iinfo(np.int64).max
"""Where an event without a rank stands among those that have one."""


def check_dataset(dataset, root: str | Path | None = None, **parameters) -> Report:
    """Check that a dataset keeps the canonical schema and its rules.

    The checks: ``schema`` (columns and types), ``keys`` (ids are there, distinct, and lead to the right subject and
    visit), ``order`` (relations by subject and start; events by subject and time, and those of one time and visit by
    rank), ``times`` (nothing ends before it starts), ``ages`` (0 to 90; over 89 is 90 and flagged), ``classes`` (each
    visit's is one of `zoo.knowledge.visit_classes.VISIT_CLASSES`, or null), ``codes`` (``SYSTEM//CODE``), ``concepts``
    (known, and each that is offered can be read), ``coverage`` (there are visits and events; what little there is of is
    noted: facts that most visits lack, concepts of which few visits have events, codes that no level above them knows)
    and ``repeat`` (reading once more from the source gives the same).

    Args:
        dataset: a registered name, or what `zoo.load_dataset` made.
        root: the folder with its tables.
        **parameters: the dataset's own.

    Raises:
        UserError: the dataset cannot be opened.

    >>> check_dataset("synthetic", patients=50).passed
    True
    """
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, root, **parameters)
    findings = Findings(f"dataset {dataset.name!r}")
    folder = None
    with findings.check("schema"):
        folder = dataset.folder()
        _schema(findings, folder)
    if folder is None or findings.failed("schema"):
        findings.note("schema", "the other checks were not run")
        return findings.report()
    relations = Relations(*(pq.read_table(folder / f"{n}.parquet").to_pandas() for n in canonical.SCHEMAS))
    for name, run in {"keys": _keys, "order": _order, "times": _times, "ages": _ages, "classes": _classes}.items():
        with findings.check(name):
            run(findings, relations)
    found: dict[str, Found] = {}
    with findings.check("codes"), findings.check("concepts"):
        findings.expect("concepts", bool(dataset.concepts), "no concept is offered")
        for concept in dataset.concepts:
            found[concept] = _concept(findings, dataset, concept, VisitIndex.read(folder))
    with findings.check("coverage"):
        _coverage(findings, dataset, relations, found)
    if not findings.failed("concepts"):
        with findings.check("repeat"):
            _repeat(findings, dataset)
    return findings.report()


@dataclass(frozen=True)
class Relations:
    """The canonical relations as they were written."""

    subjects: pd.DataFrame
    visits: pd.DataFrame
    stays: pd.DataFrame


@dataclass
class Found:
    """What there is of a concept: how many events, in which visits, and how many of each code."""

    events: int
    visits: np.ndarray
    codes: Counter


def _schema(findings: Findings, folder: Path) -> None:
    for name, expected in canonical.SCHEMAS.items():
        _same_schema(findings, name, pq.read_schema(folder / f"{name}.parquet"), expected)


def _same_schema(findings: Findings, name: str, found: pa.Schema, expected: pa.Schema) -> None:
    for column in expected:
        if column.name not in found.names:
            findings.fail("schema", f"{name} has no column {column.name!r}")
        elif found.field(column.name).type != column.type:
            findings.fail("schema", f"{name}.{column.name} is {found.field(column.name).type}, not {column.type}")


def _keys(findings: Findings, relations: Relations) -> None:
    subjects, visits, stays = relations.subjects, relations.visits, relations.stays
    for frame, key in ((subjects, "subject_id"), (visits, "visit_id"), (stays, "stay_id")):
        findings.expect("keys", frame[key].notna(), f"{key} is null")
        findings.expect("keys", ~frame[key].duplicated(), f"{key} is not distinct")
    findings.expect("keys", visits.subject_id.isin(subjects.subject_id), "a visit's subject does not exist")
    subject = stays.visit_id.map(visits.drop_duplicates("visit_id").set_index("visit_id").subject_id)
    findings.expect("keys", subject.notna(), "a stay's visit does not exist")
    findings.expect("keys", subject.isna() | (subject == stays.subject_id), "a stay's visit is another subject's")


def _order(findings: Findings, relations: Relations) -> None:
    starts = ["subject_id", "start"]
    for name, by in {"subjects": ["subject_id"], "visits": starts, "stays": starts}.items():
        columns = [getattr(relations, name)[column].to_numpy() for column in by]
        findings.expect("order", _ascending(*columns), f"{name} are not ordered by {' and '.join(by)}")
    findings.expect("order", relations.visits.order_known.notna(), "order_known is null")


def _ascending(major: np.ndarray, minor: np.ndarray | None = None) -> np.ndarray:
    """(rows - 1,) whether each row comes not before the one above it."""
    if minor is None:
        return major[1:] >= major[:-1]
    return (major[1:] > major[:-1]) | ((major[1:] == major[:-1]) & (minor[1:] >= minor[:-1]))


def _times(findings: Findings, relations: Relations) -> None:
    for name in ("visits", "stays"):
        frame = getattr(relations, name)
        findings.expect("times", frame.start.notna() & frame.end.notna(), f"{name} without start or end")
        findings.expect("times", ~(frame.end < frame.start), f"{name} that end before they start")
    visits = relations.visits
    death = visits.subject_id.map(relations.subjects.drop_duplicates("subject_id").set_index("subject_id").death)
    died = canonical.known_true(visits.died)
    findings.expect("times", ~(died & (death < visits.start)), "visits that end in death start after it")


def _ages(findings: Findings, relations: Relations) -> None:
    age, capped = relations.visits.age, canonical.known_true(relations.visits.age_capped)
    findings.expect("ages", age.isna() | age.between(0, CAPPED), "age is not between 0 and 90")
    findings.expect("ages", (age == CAPPED) | ~capped, "age_capped, but the age is not 90")
    findings.expect("ages", capped | ~(age > OLDEST), "an age over 89 without age_capped")
    if age.isna().any():
        findings.note("ages", f"{age.isna().sum()} of {len(age)} ages are unknown")


def _classes(findings: Findings, relations: Relations) -> None:
    known = relations.visits["class"]
    allowed = known.isna() | known.isin(VISIT_CLASSES)
    findings.expect("classes", allowed, f"a visit's class is none of {', '.join(VISIT_CLASSES)}")
    if known.isna().any():
        told = f"class is unknown for {known.isna().sum()} of {len(known)} visits"
        findings.note("classes", f"{told}: tasks with a visit_class need visit_class=None")


def _coverage(findings: Findings, dataset, relations: Relations, found: dict[str, Found]) -> None:
    """Fail where there is nothing, and note where there is little."""
    visits = relations.visits
    findings.expect("coverage", len(visits) > 0, "there is no visit")
    nothing = bool(found) and not any(f.events for f in found.values())
    findings.expect("coverage", not nothing, "no concept has an event")
    for line in dataset.misplaced():
        findings.note("coverage", line)
    for column, tasks in FACTS.items():
        unknown = int(visits[column].isna().sum())
        if 2 * unknown > len(visits):
            findings.note("coverage", f"{column} is unknown for {unknown} of {len(visits)} visits: {tasks}")
    for concept, of in found.items():
        share = of.visits.sum() / max(len(visits), 1)
        if of.events and share < FEW_SAMPLES:
            findings.note("coverage", f"{share:.1%} of the visits have any {concept}")
        known = icd.ccs([*of.codes]) if concept in ("diagnosis", "procedure") else []
        some = sum(n for n, c in zip(of.codes.values(), known, strict=False) if c is not None)
        if len(known) and some / of.events < FEW_CODES:
            findings.note("coverage", f"level 'ccs' knows {some} of {of.events} {concept} codes")


def _concept(findings: Findings, dataset, concept: str, visits: VisitIndex) -> Found:
    found = Found(0, np.zeros(len(visits), bool), Counter())
    if concept not in canonical.CONCEPTS:
        findings.fail("concepts", f"{concept!r} is none of {', '.join(canonical.CONCEPTS)}")
        return found
    path = dataset.events_folder(concept) / "events.parquet"
    before = len(findings.report().failures)
    _same_schema(findings, concept, pq.read_schema(path), canonical.EVENTS)
    if len(findings.report().failures) > before:
        return found
    last = None
    for batch in _event_batches(path):
        found.events += len(batch)
        _events(findings, concept, batch, visits, last, found)
        last = batch.slice(len(batch) - 1)
    if not found.events:
        findings.note("concepts", f"{concept} has no events")
    return found


def _event_batches(path: Path) -> Iterator[pa.RecordBatch]:
    names = ["subject_id", "visit_id", "time", "code", "rank", "rejected"]
    for batch in pq.ParquetFile(path, read_dictionary=["code"]).iter_batches(CHUNK, columns=names):
        kept = batch.filter(pc.is_null(batch["rejected"]))
        if len(kept):
            yield kept


def _events(findings: Findings, concept: str, batch: pa.RecordBatch, visits: VisitIndex, last, found: Found) -> None:
    for column in ("subject_id", "time", "code"):
        if batch[column].null_count:
            findings.fail("keys", f"{concept}: {column} is null")
            return
    parts = (batch,) if last is None else (last, batch)
    subject, time = (np.concatenate([p[n].to_numpy() for p in parts]) for n in ("subject_id", "time"))
    visit, rank = (
        np.concatenate([_filled(p[n], null) for p in parts]) for n, null in (("visit_id", -1), ("rank", LAST))
    )
    findings.expect("order", _ascending(subject, time), f"{concept} is not ordered by subject_id and time")
    together = (subject[1:] == subject[:-1]) & (time[1:] == time[:-1]) & (visit[1:] == visit[:-1])
    findings.expect("order", ~together | _ascending(rank), f"{concept} of one time and visit is not ordered by rank")
    inside = batch.filter(pc.is_valid(batch["visit_id"]))
    number = visits.numbers(inside["visit_id"].to_numpy())
    findings.expect("keys", number >= 0, f"{concept}: an event's visit does not exist")
    own = visits.subject_id[number] == inside["subject_id"].to_numpy() if len(visits) else number >= 0
    findings.expect("keys", own | (number < 0), f"{concept}: an event's visit is another subject's")
    found.visits[number[number >= 0]] = True
    names = batch["code"].dictionary.to_pylist()
    counts = np.bincount(batch["code"].indices.to_numpy(), minlength=len(names))
    found.codes.update(dict(zip(names, counts.tolist(), strict=True)))
    for code in names:
        if not CODE.fullmatch(code):
            findings.fail("codes", f"{concept}: {code!r} is not SYSTEM//CODE")


def _filled(column: pa.Array, null: int) -> np.ndarray:
    return pc.fill_null(column, null).to_numpy()


def _repeat(findings: Findings, dataset) -> None:
    """Derive everything once more, into a cache of its own, and compare row by row."""
    before = _files(dataset)
    with tempfile.TemporaryDirectory() as folder, private_cache(Path(folder)):
        for name, path in _files(dataset).items():
            columns = None if name in canonical.SCHEMAS else [*KEPT, *(["text"] if name == "note" else [])]
            same = _same_rows(before[name], path, columns)
            findings.expect("repeat", same, f"{name} differs when it is read again")


def _files(dataset) -> dict[str, Path]:
    relations = {n: dataset.folder() / f"{n}.parquet" for n in canonical.SCHEMAS}
    return relations | {c: dataset.events_folder(c) / "events.parquet" for c in dataset.concepts}


def _same_rows(one: Path, other: Path, columns: list[str] | None) -> bool:
    files = pq.ParquetFile(one), pq.ParquetFile(other)
    if files[0].metadata.num_rows != files[1].metadata.num_rows:
        return False
    pairs = zip(*(f.iter_batches(CHUNK, columns=columns) for f in files), strict=True)
    return all(a.equals(b) for a, b in pairs)
