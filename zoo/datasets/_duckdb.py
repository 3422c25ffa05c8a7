"""DuckDB as everything here uses it: which settings, and paths that mean one file whatever a folder is called.

DuckDB takes the paths that it reads as patterns (``r[1]`` is also ``r1``, ``st*r`` many folders), and a folder called
``year=2150`` as a column. Every path that reaches it goes through this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.registry import UserError

if TYPE_CHECKING:
    import ibis.expr.types as ir

ROW_GROUP = "32MB"
"""How much DuckDB gathers before it writes; it would count rows, and those with notes do not fit into memory."""
DISABLED = ("build_side_probe_side", "join_order", "type_pushdown")
"""Optimisers that do harm. DuckDB cannot tell how long a CSV file is: left to itself it may hash the events, not the
visits, to join. `type_pushdown` (from 2.0 on) lets the reader of a CSV file do a `TRY_CAST`, and then it raises."""


@contextmanager
def connected(spill: Path, memory_limit: str) -> Iterator:
    """A connection that spills into a folder while the block runs, and tells all times in UTC."""
    import ibis

    connection = ibis.duckdb.connect(memory_limit=memory_limit, temp_directory=str(spill))
    try:
        known = {name for (name,) in connection.raw_sql("SELECT name FROM duckdb_optimizers()").fetchall()}
        connection.raw_sql(f"SET disabled_optimizers = {literal(','.join(o for o in DISABLED if o in known))}")
        connection.raw_sql("SET preserve_insertion_order = false")
        connection.raw_sql("SET enable_progress_bar = false")
        connection.raw_sql("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.disconnect()


def read_parquet(connection, paths: Path | Sequence[Path], view: str) -> ir.Table:
    """The rows of one Parquet file or of several with the same columns, in any order of the columns."""
    paths = [paths] if isinstance(paths, Path) else paths
    several = {"union_by_name": True} if len(paths) > 1 else {}
    return connection.read_parquet([pattern(p) for p in paths], table_name=view, hive_partitioning=False, **several)


def read_csv(connection, path: Path, view: str, columns: Sequence[str], line_end: str | None = None) -> ir.Table:
    """The rows below the header of a CSV file, all columns text.

    Args:
        line_end: what ends a line, where DuckDB would not find out.
    """
    return connection.read_csv(
        pattern(path),
        table_name=view,
        columns=dict.fromkeys(columns, "VARCHAR"),
        header=True,
        auto_detect=False,
        delim=",",
        quote='"',
        escape='"',
        hive_partitioning=False,
        compression="gzip" if is_zipped(path) else "none",
        **({} if line_end is None else {"new_line": line_end}),
    )


def is_zipped(path: Path) -> bool:
    """Whether a file is one of gzip, by its name in any case."""
    return path.suffix.lower() == ".gz"


def write_parquet(connection, rows: ir.Table, path: Path) -> None:
    """Write rows as one Parquet file."""
    query = connection.compile(rows)
    connection.raw_sql(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, ROW_GROUP_SIZE_BYTES '{ROW_GROUP}')")


def literal(text: str) -> str:
    """A text as SQL.

    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def pattern(path: Path) -> str:
    """The pattern that means this path and no other.

    >>> pattern(Path("/data/r[1]/st*r.csv"))
    '/data/r[[]1]/st[*]r.csv'

    Raises:
        UserError: the path has both a backslash and a character of patterns, which DuckDB cannot read.
    """
    text = str(path)
    if not re.search(r"[\[*?]", text):
        return text
    if "\\" in text:
        raise UserError(f"{text!r} has a backslash and one of *, ? and [ in its name: rename one of its folders.")
    return re.sub(r"([\[*?])", r"[\1]", text)
