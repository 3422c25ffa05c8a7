"""Raw tables as lazy Ibis tables, wherever they lie.

Every CSV column is read as text and cast by us, so that one stray value cannot change how a table is read; a value
that does not parse becomes null and leaves a trace in the column ``unparsed``, counted in the pass that writes.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.registry import UserError

if TYPE_CHECKING:
    import ibis.expr.types as ir

SUFFIXES = (".parquet", ".csv", ".csv.gz")
TYPES = {"integer": "int64", "number": "float64", "time": "timestamp", "moment": "timestamp", "text": "string"}
LONGEST_HEADER = 1 << 20
END_OF_DAY = 86399
"""Seconds from midnight to the last second of a day: when a date without a clock is known."""
GUARDS = {
    "integer": r"^-?[0-9]{1,18}(\.0+)?$",
    "number": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$",
    "time": r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([ T][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?)?$",
}
GUARDS["moment"] = GUARDS["time"]


class Tables:
    """What an adapter reads: `table` gives typed, lazy tables. `Files` and `Declared` say where they lie."""

    dialect: str

    def has(self, name: str) -> bool:
        raise NotImplementedError

    def raw(self, name: str) -> ir.Table:
        """The table with lower-case column names, untyped where its source has no types."""
        raise NotImplementedError

    def where(self, name: str) -> str:
        """Where the table lies, for messages."""
        return name

    def table(self, name: str, *, optional: Iterable[str] = (), **columns: str) -> ir.Table:
        """A table's named columns, typed.

        Args:
            name: the table, such as ``"hosp/admissions"``.
            optional: those of the columns that may be absent; they are null then.
            columns: the type of each: ``integer``, ``number``, ``text``, ``time``, or ``moment``: a time that is the
                last second of its day where the source has the date only. Blank text is null but for ``text``.

        Returns:
            The columns, and ``unparsed``: null, or the name of a column whose value did not parse with the shape of
            that value (digits as 9, all else as a: what a record says is not repeated). A row with several such
            values names the first.

        Raises:
            UserError: the table or a column is not there.
        """
        import ibis

        raw = self.raw(name)
        missing = [c for c in columns if c not in raw.columns and c not in optional]
        if missing:
            raise UserError(_missing_columns(self.where(name), missing, raw.columns))
        typed, traces = {}, []
        for column, kind in columns.items():
            if column not in raw.columns:
                typed[column] = ibis.null(TYPES[kind])
                continue
            typed[column], trace = self.parse(raw[column], kind, column)
            if trace is not None:
                traces.append(trace)
        unparsed = ibis.coalesce(*traces) if traces else ibis.null("string")
        return raw.select(**typed, unparsed=unparsed)

    def parse(self, column: ir.Column, kind: str, name: str) -> tuple[ir.Column, ir.StringColumn | None]:
        """A column typed as in `table`, and the trace that its values leave where they do not parse, if they can."""
        import ibis

        typed = self._typed(column, kind)
        if kind == "text" or typed.type() == column.type():
            return typed, None
        nothing, shown = ibis.null("string"), column.cast("string")
        trace = ibis.ifelse(shown.strip() != "", _shape(shown, name), nothing)
        return typed, ibis.ifelse(typed.isnull(), trace, nothing)

    def _typed(self, column: ir.Column, kind: str) -> ir.Column:
        import ibis

        if not column.type().is_string():
            return self._retyped(column, kind)
        if kind == "text":
            return column
        if self.dialect == "duckdb":  # TRY_CAST there never raises, and is much faster than a regular expression
            value = column.try_cast(TYPES[kind])
        else:
            value = ibis.ifelse(column.re_search(GUARDS[kind]), column, ibis.null("string")).cast(TYPES[kind])
        if kind == "number":
            value = ibis.ifelse(value.isinf() | value.isnan(), ibis.null("float64"), value)
        if kind == "moment":
            value = ibis.ifelse(column.strip().length() <= len("2100-01-01"), _end_of_day(value), value)
        return value

    def _retyped(self, column: ir.Column, kind: str) -> ir.Column:
        """A column that its source has typed, as another type; null where a value does not fit into that."""
        import ibis

        value = self._cast(column, TYPES[kind])
        if kind == "moment" and column.type().is_date():
            return _end_of_day(value)
        if kind == "text" and column.type().is_floating():  # whole numbers that were made floats to hold nulls
            return ibis.ifelse(column == column.floor(), self._cast(column, "int64").cast("string"), value)
        return value

    def _cast(self, column: ir.Column, to: str) -> ir.Column:
        return column.try_cast(to) if self.dialect == "duckdb" else column.cast(to)


def _missing_columns(where: str, missing: list[str], columns: Iterable[str]) -> str:
    """What to say where columns are needed and not there; a first line that is a record is not repeated."""
    needed = f"the column {' or '.join(map(repr, missing))}, which is needed"
    if any(c[:1].isdigit() for c in columns):
        return f"{where}, line 1: a header with {needed}, is expected, but it looks like a record."
    return f"{where} has not {needed}; it has {', '.join(columns)}."


def _end_of_day(time: ir.TimestampColumn) -> ir.TimestampColumn:
    import ibis

    return time + ibis.interval(seconds=END_OF_DAY)


def _shape(column: ir.StringColumn, name: str) -> ir.StringColumn:
    shape = column.substr(0, 20).re_replace("[0-9]", "9").re_replace("[^0-9.,:/+ -]", "a")
    return f"{name}: " + shape


class Declared(Tables):
    """Tables that are only declared, all columns text: to compile an adapter's expressions for another dialect."""

    def __init__(self, dialect: str, columns: dict[str, Iterable[str]]):
        self.dialect, self._columns = dialect, columns

    def has(self, name: str) -> bool:
        return name in self._columns

    def raw(self, name: str) -> ir.Table:
        import ibis

        return ibis.table(dict.fromkeys(self._columns[name], "string"), name=name.replace("/", "_"))


class Files(Tables):
    """Tables in a folder as CSV, CSV.gz or Parquet, in any case of name and header, read by DuckDB.

    A table ``hosp/admissions`` is looked for as ``hosp/admissions.*`` and ``admissions.*`` below ``root``; where it
    lies in several formats, Parquet is taken before CSV, and CSV before CSV.gz. A folder of Parquet parts with the
    table's name is a table too.
    """

    dialect = "duckdb"

    def __init__(self, root: Path, connection):
        self.root, self._connection = Path(root), connection
        self._views: dict[str, ir.Table] = {}

    def has(self, name: str) -> bool:
        return find(self.root, name) is not None

    def where(self, name: str) -> str:
        return str(find(self.root, name) or self.root / name)

    def raw(self, name: str) -> ir.Table:
        if name not in self._views:
            path = find(self.root, name)
            if path is None:
                raise UserError(missing_table(self.root, name))
            self._views[name] = self._read(path, "source_" + re.sub("[^a-z0-9]", "_", name))
        return self._views[name]

    def _read(self, path: Path, view: str) -> ir.Table:
        if path.is_dir() or path.suffix == ".parquet":
            table = self._connection.read_parquet(str(path / "*.parquet" if path.is_dir() else path), table_name=view)
            return table.rename({c.lower(): c for c in table.columns})
        return self._connection.read_csv(
            str(path),
            table_name=view,
            columns=dict.fromkeys(header(path), "VARCHAR"),
            header=True,
            auto_detect=False,
            delim=",",
            quote='"',
            escape='"',
        )


def missing_table(root: Path, name: str) -> str:
    """What to say where a table is needed and not there."""
    lies = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))[:12]
    return (
        f"there is no table {name!r} (as {', '.join(SUFFIXES)}, in any case) in {root}, which holds "
        f"{', '.join(lies) or 'nothing'}. Set root to the folder that the database was unpacked to."
    )


def find(root: Path, name: str) -> Path | None:
    """The file of a table below a root, or None; see `Files` for what is looked for."""
    parts = name.lower().split("/")
    for folder, table in ((root.joinpath(*parts[:-1]), parts[-1]), (root, parts[-1])):
        folder = _folder_in_any_case(root, folder)
        if folder is None:
            continue
        lies = {p.name.lower(): p for p in folder.iterdir()}
        for suffix in SUFFIXES:
            if table + suffix in lies:
                return lies[table + suffix]
        parts_folder = lies.get(table)
        if parts_folder is not None and parts_folder.is_dir() and any(parts_folder.glob("*.parquet")):
            return parts_folder
    return None


def _folder_in_any_case(root: Path, folder: Path) -> Path | None:
    if folder == root or folder.is_dir():
        return folder
    return next((p for p in root.iterdir() if p.is_dir() and p.name.lower() == folder.name), None)


def header(path: Path) -> list[str]:
    """A CSV file's column names, in lower case.

    Raises:
        UserError: the file has no header, or one column twice (in any case), or is no text.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            line = file.readline(LONGEST_HEADER)
        names = [name.strip().lower() for name in next(csv.reader([line.decode("utf-8-sig")]), [])]
    except UnicodeDecodeError:
        raise UserError(f"{path}, line 1: the text is not UTF-8; convert the file.") from None
    except (OSError, EOFError, zlib.error) as error:
        damage = gzip_damage(path) if path.suffix == ".gz" else None
        raise UserError(damage or f"{path} cannot be read: {error.strerror or type(error).__name__}.") from None
    if not names:
        raise UserError(f"{path} is empty: fetch the file anew.")
    names = [name or f"unnamed_{place}" for place, name in enumerate(names)]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise UserError(f"{path}, line 1: the column {twice!r} stands there twice; rename or remove one of them.")
    return names


def identity(paths: Iterable[Path]) -> list:
    """What tells whether files are still the ones that were read: their names, sizes and times of change."""
    files = [f for p in paths for f in (sorted(p.glob("*.parquet")) if p.is_dir() else [p])]
    return [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


@contextmanager
def reading(paths: Iterable[Path]):
    """Turn what goes wrong while DuckDB reads source files into one clear error with file and line.

    DuckDB does not compare the checksum of a gzip file; it is compared here, on another thread.
    """
    import duckdb

    zipped = [p for p in paths if p.suffix == ".gz"]
    with ThreadPoolExecutor(max_workers=1) as pool:
        checks: list[Future[str | None]] = [pool.submit(gzip_damage, p) for p in zipped]
        try:
            yield
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
            raise  # an expression of ours is wrong, not the tables
        except duckdb.Error as error:
            damage = next((d for c in checks if (d := c.result())), None)
            raise UserError(damage or _explain(str(error))) from (None if damage else _without_records(error))
        except BaseException:
            for check in checks:
                check.cancel()
            raise
        damage = next((d for c in checks if (d := c.result())), None)
    if damage:
        raise UserError(damage)


def gzip_damage(path: Path) -> str | None:
    """What is wrong with a gzip file and after which line, or None where it is whole."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        why = str(error).split(" (b")[0]  # the first bytes of what is no gzip file are not repeated
        return f"{path}, after line {_whole_lines(path)}: the gzip file is damaged or cut short ({why}); fetch it anew."
    return None


def _whole_lines(path: Path) -> int:
    """How many lines of a damaged gzip file can be read."""
    lines = 0
    with gzip.open(path) as file, suppress(OSError, EOFError, zlib.error):
        while block := file.read1(1024):
            lines += block.count(b"\n")
    return lines


def _explain(message: str) -> str:
    line = re.search(r"CSV Error on Line: (\d+)", message)
    file = re.search(r"file = (.+)", message)
    if not line:
        if "No space left" in message or "Could not write" in message or "max_temp_directory_size" in message:
            return "the disk of the cache is full: free some room there, or set ZOO_CACHE to a folder on another disk."
        if "Out of Memory" in message:
            return "the tables do not fit into memory_limit, not even by spilling to disk: raise memory_limit."
        return f"the tables cannot be read: {message.splitlines()[0]}"
    where = f"{file[1].strip() if file else 'a source file'}, line {line[1]}"
    fields = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if fields:
        return f"{where}: {fields[2]} fields where the header has {fields[1]}; mend the row or fetch the file anew."
    if "unterminated quote" in message:
        return f"{where}: a quote is opened and never closed; mend the row or fetch the file anew."
    if "not utf-8" in message.lower() or "unicode" in message.lower():
        return f"{where}: the text is not UTF-8; convert the file."
    return f"{where}: the row cannot be read as CSV; mend it or fetch the file anew."


def _without_records(error: Exception) -> Exception | None:
    """The cause to show under ``--debug``; none where DuckDB's message repeats a row of the file."""
    return None if "Original Line" in str(error) else error
