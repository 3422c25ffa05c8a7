"""The dataset in the Medical Event Data Standard: one row an event, sorted by subject and time.

MEDS (https://github.com/Medical-Event-Data-Standard/meds) has ``subject_id``, ``time``, ``code``, ``numeric_value`` and
``text_value``; further columns are allowed, and ours keep ``visit_id``, ``stay_id`` and ``unit``. Events of one time
keep the order of the source's table where it numbers its rows.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cache.writing import make_folder, make_private
from zoo.data._splits import NAMES, split_subjects
from zoo.datasets import _duckdb
from zoo.datasets._source import reading
from zoo.registry import UserError

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset

RELATIONS = ("subjects", "visits", "stays")
ROWS = 16_384
"""Rows held at a time: some have whole notes."""
KINDS = (
    ("ICD9CM", "ICD10CM"),
    ("ICD9PROC", "ICD10PCS", "EICUTX"),
    ("NDC", "DRUG", "HICL"),
    ("LAB",),
    ("VITAL",),
    ("NOTE",),
)
"""Code systems by concept."""
MEDS_VERSION = "0.4.0"
MEDS_SPLITS = {"train": "train", "validation": "tuning", "test": "held_out"}


def write_meds(dataset: Dataset, out: str | Path, concepts: Collection[str] | None = None) -> Iterator[str]:
    """Write a dataset in MEDS, whole or not at all.

    The folder gets ``data/0.parquet``, ``metadata/dataset.json``, ``metadata/codes.parquet`` and
    ``metadata/subject_splits.parquet`` (the default split of this package).

    Args:
        dataset: an opened dataset.
        out: a folder that does not exist yet.
        concepts: those to write; all that it offers by default.

    Yields:
        A line about each part that was written.

    Raises:
        UserError: the folder exists, or a concept is not offered.
    """
    out = Path(out).expanduser()
    if out.exists():
        raise UserError(f"{out} exists: choose another folder.")
    if isinstance(concepts, str):
        raise UserError(f"concepts={concepts!r} must be a list of names, such as [{concepts!r}].")
    concepts = list(dict.fromkeys(dataset.concepts if concepts is None else concepts))
    files = [dataset.events_folder(c) / "events.parquet" for c in concepts]
    relations = dataset.folder()
    unfinished = out.with_name(f".{out.name}.unfinished-{os.getpid()}")
    try:
        make_folder(unfinished / "data", new=True)
        make_folder(unfinished / "metadata", new=True)
        with dataset.connected(unfinished) as connection, reading((), unfinished):
            tables = [_duckdb.read_parquet(connection, relations / f"{n}.parquet", n) for n in RELATIONS]
            codes = _write_events(connection, tables, files, unfinished / "data" / "0.parquet")
        _write_metadata(dataset, unfinished, codes)
        make_private(unfinished)
        unfinished.rename(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    total = sum(codes["count"].to_pylist())
    yield f"{total} events with {len(codes)} codes of {dataset.name} lie in {out} ({', '.join(concepts)})"


def _write_events(connection, tables: list, files: list[Path], target: Path):
    """Write all events in order; returns an Arrow table of their codes and how often each occurs."""
    import ibis

    milestones = target.with_name(".milestones.parquet")
    _duckdb.write_parquet(connection, ibis.union(*(_events(m) for m in _milestones(*tables))), milestones)
    # one scan of all files: DuckDB cannot spill a union that it sorts
    events = _duckdb.read_parquet(connection, [milestones, *files], "events")
    rows = _meds_columns(events.filter(events.rejected.isnull()))
    ties = ["kind", ibis.asc("place", nulls_first=True), "code", "visit_id", "numeric_value", "text_value"]
    order = ["subject_id", ibis.asc("time", nulls_first=True), *ties]
    plain = target.with_name(f".{target.name}")
    _duckdb.write_parquet(connection, rows.order_by(order), plain)
    written = _duckdb.read_parquet(connection, plain, "written")
    codes = written.group_by("code").agg(count=written.count()).order_by("code").to_pyarrow()
    _retype(plain, target)
    plain.unlink()
    milestones.unlink()
    return codes


def _retype(plain: Path, target: Path) -> None:
    """Write Parquet anew, some rows at a time, with the columns and Arrow types that MEDS wants (long texts)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pq.ParquetFile(plain, pre_buffer=False)  # else it keeps all that it has read
    place = source.schema_arrow.get_field_index("text_value")
    schema = source.schema_arrow.set(place, pa.field("text_value", pa.large_string()))
    schema = pa.schema([f for f in schema if f.name not in ("kind", "place")])
    with source, pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in source.iter_batches(ROWS, columns=schema.names):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def _milestones(subjects, visits, stays) -> list:
    """Births and deaths, and the starts and ends of visits and stays, as events.

    A visit starts with its type of admission, or where the patient came from if no type is told.
    """
    import ibis

    how = ibis.coalesce(visits.admission_type, visits.admission_source)
    found = [
        subjects.select("subject_id", time=subjects.birth, code=ibis.literal("MEDS_BIRTH")),
        subjects.select("subject_id", time=subjects.death, code=ibis.literal("MEDS_DEATH")),
        visits.select("subject_id", "visit_id", time=visits.start, code=_with("VISIT//start", how)),
        visits.select("subject_id", "visit_id", time=visits.end, code=_with("VISIT//end", visits.discharge_to)),
    ]
    for edge in ("start", "end"):
        code = _with(f"STAY//{edge}", stays.unit)
        found.append(stays.select("subject_id", "visit_id", "stay_id", time=stays[edge], code=code))
    return [t.filter(t.time.notnull()) for t in found]


def _with(code: str, detail):
    import ibis

    return ibis.coalesce(f"{code}//" + detail, code)


def _events(milestones):
    """Milestones with the columns of events, null where they have none."""
    import ibis

    types = {"time": "timestamp(6)", "code": "string", "value": "float64", "text": "string", "unit": "string"}
    types |= {"place": "int64"}
    types = {"subject_id": "int64", "visit_id": "int64", "stay_id": "int64", **types, "rejected": "string"}
    return milestones.select(
        **{n: milestones[n].cast(t) if n in milestones.columns else ibis.null(t) for n, t in types.items()}
    )


def _meds_columns(events):
    """The columns of MEDS, and what events of one time are ordered by first.

    That is ``kind`` (visits and stays, then the concepts in their order) and ``place`` in the source's table.
    """
    import ibis

    of = [reduce(or_, [events.code.startswith(f"{s}//") for s in systems]) for systems in KINDS]
    return events.select(
        subject_id=events.subject_id,
        time=events.time.cast("timestamp(6)"),
        code=events.code,
        numeric_value=events.value.cast("float32"),
        text_value=events.text,
        visit_id=events.visit_id,
        stay_id=events.stay_id,
        unit=events.unit,
        kind=ibis.cases(*[(mask, n) for n, mask in enumerate(of, 1)], else_=0).cast("int8"),
        place=events.place,
    )


def _write_metadata(dataset: Dataset, folder: Path, codes) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    subjects = dataset.read("subjects")
    split = split_subjects(subjects, dataset.read("visits"), None, 0).subject
    names = [MEDS_SPLITS[NAMES[s]] for s in split]
    splits = pa.table({"subject_id": subjects.subject_id.to_numpy(), "split": pa.array(names, pa.string())})
    pq.write_table(splits, folder / "metadata" / "subject_splits.parquet")
    described = pa.table(
        {
            "code": codes["code"],
            "description": pa.nulls(len(codes), pa.string()),
            "parent_codes": pa.nulls(len(codes), pa.list_(pa.string())),
            "count": codes["count"],
        }
    )
    pq.write_table(described, folder / "metadata" / "codes.parquet")
    facts = {"dataset_name": dataset.name, "meds_version": MEDS_VERSION, "etl_name": "ehr-zoo"}
    (folder / "metadata" / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n")
