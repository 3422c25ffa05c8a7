"""The file of a concept's events: in order, settled, without what is said twice, and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.datasets import _canonical as canonical
from zoo.datasets import _duckdb
from zoo.datasets._attached import both

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import numpy as np
    import pandas as pd

RANKED = ("diagnosis", "procedure")
"""The concepts whose events may have a ``rank``, which goes before their code."""
TIES = {
    "drug": ("text", "route", "order_type", "ingredient"),
    "lab": ("value",),
    "vital": ("value",),
    "note": ("text",),
}
"""What else events are ordered by, so that reading a source twice gives a model the same."""
ROWS = 16_384
"""Notes held at a time where they are gone through in Python."""


def ordered(events: ir.Table, concept: str) -> ir.Table:
    """Events by subject, time, visit, rank (those without one last) and code, and by what else tells them apart."""
    import ibis

    rank = [ibis.asc("rank", nulls_first=False)] if concept in RANKED else []
    return events.order_by(["subject_id", "time", "visit_id", *rank, "code", *TIES.get(concept, ())])


def gathered(parts: list[ir.Table], connection, folder: Path) -> ir.Table:
    """The events of several tables as one, which lies in the folder: DuckDB cannot spill a union that it sorts."""
    if len(parts) == 1:
        return parts[0]
    folder.mkdir()
    written = [folder / f"{number}.parquet" for number in range(len(parts))]
    for part, path in zip(parts, written, strict=True):
        _duckdb.write_parquet(connection, part, path)
    return _duckdb.read_parquet(connection, written, "parts")


def settle(path: Path, connection, concept: str, settled: Callable[[str, pd.DataFrame], pd.DataFrame | None]) -> None:
    """Do what `Dataset.settled` says of the codes in a file, which is written anew only where something changes."""
    import ibis

    events = _duckdb.read_parquet(connection, path, "gathered")
    if "spelt" not in events.columns:
        return
    kept = events.filter(events.rejected.isnull())
    changes = settled(concept, kept.group_by("code", "spelt").agg(n=kept.count()).to_pandas())
    if changes is None or not len(changes):
        return
    changes = changes.rename(columns={"code": "old_code", "spelt": "old_spelt"}).astype("string")
    listed = path.with_name("changes.parquet")
    changes.to_parquet(listed, index=False)
    changes = _duckdb.read_parquet(connection, listed, "changes")
    same = [events.code == changes.old_code, events.spelt.fill_null("") == changes.old_spelt.fill_null("")]
    joined = events.left_join(changes, same)
    changed = joined.select(
        **{n: joined[n] for n in events.columns if n not in ("code", "rejected", "remarks")},
        code=ibis.coalesce(joined.new_code, joined.code),
        rejected=ibis.coalesce(joined.rejected, joined.flaw),
        remarks=both(joined.remarks, joined.remark),
    ).select(events.columns)
    unsettled = path.with_name("unsettled.parquet")
    path.rename(unsettled)
    _duckdb.read_parquet(connection, unsettled, "gathered")
    _duckdb.write_parquet(connection, ordered(changed, concept), path)
    unsettled.unlink()
    listed.unlink()


def mark_twins(path: Path) -> None:
    """Reject notes that say what the one before them says: of one subject, visit, time and kind, word by word.

    The rows are in order, so that equal ones follow each other. The file is written anew only where there are some.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    keys, twins, before, row = ("subject_id", "time", "visit_id", "code"), [], None, 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(ROWS, columns=[*keys, "text", "rejected"]):
            table = pa.Table.from_batches([batch]).append_column("row", pa.array(np.arange(row, row + len(batch))))
            row += len(batch)
            table = table.filter(pc.is_null(table["rejected"]))
            table = table if before is None else pa.concat_tables([before, table])
            same = np.ones(max(len(table) - 1, 0), bool)
            for key in keys:
                column = table[key].cast(pa.int64()) if key == "time" else table[key]
                column = pc.fill_null(column, "" if key == "code" else -1)
                same &= pc.equal(column[1:], column[:-1]).to_numpy()
            again = np.flatnonzero(same)
            said = pc.equal(table["text"].take(again + 1), table["text"].take(again)).to_numpy()
            twins.append(table["row"].to_numpy()[again[said] + 1])
            before = table[-1:] if len(table) else before
    twins = np.concatenate([*twins, np.empty(0, np.int64)])
    if len(twins):
        _reject(path, twins, "says again what another note says")


def _reject(path: Path, rows: np.ndarray, reason: str) -> None:
    """Write a file of events anew with some rows, given by their place in it, rejected for a reason."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    whole = path.with_name("unmarked.parquet")
    path.rename(whole)
    with pq.ParquetFile(whole, pre_buffer=False) as file:
        place = file.schema_arrow.get_field_index("rejected")
        schema = file.schema_arrow.set(place, pa.field("rejected", pa.string()))
        with pq.ParquetWriter(path, schema) as writer:
            row = 0
            for batch in file.iter_batches(ROWS):
                marked = pa.array(np.isin(np.arange(row, row + len(batch)), rows))
                row += len(batch)
                table = pa.Table.from_batches([batch]).cast(schema)
                reasons = pc.if_else(marked, reason, table["rejected"])
                writer.write_table(table.set_column(place, "rejected", reasons))
    whole.unlink()


def count_events(events: ir.Table, concept: str) -> canonical.Cleaning:
    cleaning = canonical.Cleaning(rows={concept: int(events.count().execute())})
    marked = events.filter(events.rejected.notnull() | events.unparsed.notnull() | events.remarks.notnull())
    counted = marked.group_by(["rejected", "unparsed", "remarks"])
    counted = counted.agg(n=marked.count(), subject=marked.subject_id.min())
    for row in counted.order_by(counted.n.desc(), *counted.columns[:3]).to_pyarrow().to_pylist():
        subject = f"subject_id {row['subject']}"
        if row["rejected"]:
            cleaning.add(concept, row["rejected"], row["n"], [subject])
        elif row["remarks"]:
            for remark in row["remarks"].split("; "):
                cleaning.add(concept, f"kept, but {remark}", row["n"], [subject])
        if row["unparsed"]:
            column = row["unparsed"].split(":")[0]
            cleaning.add(concept, f"{canonical.UNPARSABLE}{column}", row["n"], [f"{subject}, {row['unparsed']}"])
    homeless = events.filter(events.rejected.isnull() & events.visit_id.isnull()).count().execute()
    cleaning.add(concept, "kept, but within no visit", homeless)
    return cleaning


def is_event():
    import pyarrow.compute as pc

    return pc.field("rejected").is_null()
