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

from zoo.datasets import _duckdb
from zoo.registry import UserError

if TYPE_CHECKING:
    import ibis.expr.types as ir

SUFFIXES = (".parquet", ".csv", ".csv.gz")
TYPES = {
    "integer": "int64",
    "flag": "int64",
    "number": "float64",
    "time": "timestamp",
    "moment": "timestamp",
    "text": "string",
}
LONGEST_HEADER = 1 << 20
END_OF_DAY = 86399
"""Seconds from midnight to the last second of a day: when a date without a clock is known."""
MOST = 10**18 - 1
"""The largest integer: sums of a few of them fit into 64 bits."""
EXACT = {"float64": 10**15, "float32": 2**24, "float16": 2**11}
"""Up to here a float tells every integer from its neighbours."""
LARGEST = 1e30
"""The largest number: in any unit it fits into the 32 bits that the store and MEDS have for it."""
GUARDS = {
    "integer": r"^-?[0-9]{1,18}$|^-?[0-9]{1,15}\.0*$"
    r"|^-?[0-9]([eE]\+?(0?[0-9]|1[0-4])|\.[0-9]{1,5}[eE]\+?(0[6-9]|1[0-4]))$",
    "number": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$",
    "time": r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([ T][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)?"
    r" ?(Z|UTC|[+-][01][0-9](:?[0-5][0-9])?)?$",
}
"""How a value is written. Tools also write 20000000 as ``20000000.0`` and as ``2e+07``."""
USUAL_TIME = "____-__-_____:__:__"
NOTHING = r"^$|^\s*(nan|NaN|NAN|-nan|NaT|null|Null|NULL|None|NA|<NA>|#N/A|\\N)\s*$"
"""An empty text, and the words that tools write where there is no value, in their spellings; people
write ``none``, ``NONE`` and ``N/A`` into records, and those are text."""


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
            columns: the type of each: ``integer``; ``flag``, an integer that may be written ``true``, ``yes``,
                ``false`` or ``no`` (some tools make these a type of their own);
                ``number``; ``text``; ``time``; or ``moment``, a time that is the last second of its day where the
                source has the date only. Dialects other than DuckDB read in a session whose time zone is UTC.

        A column gives the same whether its source has it as text or in a type of its own. What is blank is null but for
        text. An integer may be written, or typed, as a number without a fraction. A number is finite and at most
        `LARGEST`. A time is written year, month, day and perhaps a clock; one with an offset (``-05:00``, ``Z``) is
        turned into UTC, as a type with a time zone is, and one without stays as it is. Text is null where it is
        `NOTHING`.

        Returns:
            The columns, and ``unparsed``: null, or the name of a column whose value became null with the shape of
            that value (digits as 9, all else as a: what a record says is not repeated), or with the word that is
            `NOTHING`. A row with several such values names the first, words last.

        Raises:
            UserError: the table or a column is not there.
        """
        import ibis

        raw = self.raw(name)
        missing = [c for c in columns if c not in raw.columns and c not in optional]
        if missing:
            raise UserError(_missing_columns(self.where(name), missing, raw.columns))
        typed, traces, words = {}, [], []
        for column, kind in columns.items():
            if column not in raw.columns:
                typed[column] = ibis.null(TYPES[kind])
                continue
            typed[column], trace = self.parse(raw[column], kind, column)
            (words if kind == "text" else traces).append(trace)
        return raw.select(**typed, unparsed=ibis.coalesce(*traces, *words))

    def parse(self, column: ir.Column, kind: str, name: str) -> tuple[ir.Column, ir.StringColumn]:
        """A column typed as in `table`, and the trace that its values leave where they became null."""
        import ibis

        nothing, shown = ibis.null("string"), self._shown(column)
        if kind == "text":
            lost, told = shown.re_search(NOTHING), f"{name}: " + shown.strip()
            if column.type().is_floating():  # a number that was rounded is another one's code
                lost, told = lost | (column.abs() > self._exact(column)), _shape(shown, name)
            typed = ibis.ifelse(lost, nothing, shown)
        else:
            typed = self._typed(column, kind)
            lost, told = typed.isnull(), _shape(shown, name)
        return typed, ibis.ifelse(lost, ibis.ifelse(shown.strip() != "", told, nothing), nothing)

    def _shown(self, column: ir.Column) -> ir.StringColumn:
        """A column as text; whole numbers that were made floats to hold nulls are whole again."""
        import ibis

        if not column.type().is_floating():
            return column.cast("string")
        return ibis.coalesce(self._whole(column).cast("string"), column.cast("string"))

    def _typed(self, column: ir.Column, kind: str) -> ir.Column:
        """What a column has in one of the types that are no text; null where a value is no such thing."""
        if kind == "integer":
            return self._integer(column)
        if kind == "flag":
            return self._flag(column)
        if kind == "number":
            return self._number(column)
        return self._time(column, day_ends=kind == "moment")

    def _integer(self, column: ir.Column) -> ir.IntegerColumn:
        import ibis

        if column.type().is_integer():
            return ibis.ifelse(column.between(-MOST, MOST), column, ibis.null(column.type())).cast("int64")
        if column.type().is_floating():
            return self._whole(column)
        text = column.cast("string")
        written = _where(text.strip(), GUARDS["integer"])
        if self.dialect != "duckdb":
            return written.cast("decimal(38, 6)").cast("int64")
        quick = text.try_cast("int64")  # TRY_CAST is much faster than a regular expression, but takes 1.5 for 2
        sure = (quick.cast("string") == text) & quick.between(-MOST, MOST)
        return ibis.ifelse(sure, quick, written.try_cast("int64"))

    def _whole(self, number: ir.FloatingColumn) -> ir.IntegerColumn:
        """Floats as the integers that they are for certain, else null."""
        import ibis

        most = self._exact(number)
        whole = self._cast(ibis.ifelse(number.between(-most, most), number, ibis.null(number.type())), "int64")
        return ibis.ifelse(whole.cast("float64") == number, whole, ibis.null("int64"))

    def _exact(self, number: ir.FloatingColumn) -> int:
        return EXACT[str(number.type().copy(nullable=True))]

    def _flag(self, column: ir.Column) -> ir.IntegerColumn:
        import ibis

        if column.type().is_boolean():
            return column.cast("int64")
        integer = self._integer(column)
        if column.type().is_numeric():
            return integer
        word = column.cast("string").strip().lower()
        words = ibis.cases((word.isin(("true", "yes")), 1), (word.isin(("false", "no")), 0), else_=ibis.null("int64"))
        return ibis.coalesce(integer, words)

    def _number(self, column: ir.Column) -> ir.FloatingColumn:
        import ibis

        if column.type().is_integer() or column.type().is_float64():
            number = column.cast("float64")
        elif self.dialect == "duckdb":
            number = column.cast("string").try_cast("float64")
        else:
            number = _where(column.cast("string").strip(), GUARDS["number"]).cast("float64")
        return ibis.ifelse(number.between(-LARGEST, LARGEST), number, ibis.null("float64"))

    def _time(self, column: ir.Column, *, day_ends: bool) -> ir.TimestampColumn:
        import ibis

        if column.type().is_timestamp() or column.type().is_date():
            time = column.cast("timestamp")
            years = time.between(ibis.timestamp("0001-01-01 00:00:00"), ibis.timestamp("9999-12-31 23:59:59"))
            time = ibis.ifelse(years, time, ibis.null("timestamp"))
            return _end_of_day(time) if day_ends and column.type().is_date() else time
        text = column.cast("string")
        time = self._cast(self._cast(_where(text.strip(), GUARDS["time"]), "timestamp('UTC')"), "timestamp")
        if day_ends:
            time = ibis.ifelse(text.strip().length() <= len("2100-01-01"), _end_of_day(time), time)
        if self.dialect == "duckdb":  # the usual form first: all else is dear
            time = ibis.ifelse(text.like(USUAL_TIME), text.try_cast("timestamp"), time)
        return time

    def _cast(self, column: ir.Column, to: str) -> ir.Column:
        return column.try_cast(to) if self.dialect == "duckdb" else column.cast(to)


def _where(text: ir.StringColumn, guard: str) -> ir.StringColumn:
    """The text where it matches a regular expression, else null."""
    import ibis

    return ibis.ifelse(text.re_search(guard), text, ibis.null("string"))


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
        if path.is_dir() or path.suffix.lower() == ".parquet":
            for part in parts(path):
                _names(_parquet_columns(part), str(part))  # DuckDB would rename one of two that are the same
            table = _duckdb.read_parquet(self._connection, parts(path), view)
            return table.rename(dict(zip(_names(table.columns, str(path)), table.columns, strict=True)))
        columns, line_end = header(path)
        return _duckdb.read_csv(self._connection, path, view, columns, line_end)


def missing_table(root: Path, name: str) -> str:
    """What to say where a table is needed and not there."""
    lies = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))[:12]
    return (
        f"there is no table {name!r} (as {', '.join(SUFFIXES)}, in any case) in {root}, which holds "
        f"{', '.join(lies) or 'nothing'}. Set root to the folder that the database was unpacked to."
    )


def find(root: Path, name: str) -> Path | None:
    """The file of a table below a root, or None; see `Files` for what is looked for.

    Raises:
        UserError: two files have the name, in other cases.
    """
    above = name.lower().split("/")
    for folder, table in ((root.joinpath(*above[:-1]), above[-1]), (root, above[-1])):
        folder = _folder_in_any_case(root, folder)
        if folder is None:
            continue
        for suffix in SUFFIXES:
            lies = _in_any_case(folder, table + suffix)
            if lies is not None:
                return lies
        lies = _in_any_case(folder, table)
        if lies is not None and lies.is_dir() and parts(lies):
            return lies
    return None


def _folder_in_any_case(root: Path, folder: Path) -> Path | None:
    return folder if folder == root or folder.is_dir() else _in_any_case(root, folder.name)


def _in_any_case(folder: Path, name: str) -> Path | None:
    lies = sorted(p for p in folder.iterdir() if p.name.lower() == name)
    if len(lies) > 1:
        raise UserError(f"{folder} holds {' and '.join(p.name for p in lies)}: remove or rename all but one.")
    return lies[0] if lies else None


def parts(path: Path) -> list[Path]:
    """The files that hold a table: itself, or the Parquet files in a folder; those that a system hides are none."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix.lower() == ".parquet" and not p.name.startswith("."))


def header(path: Path) -> tuple[list[str], str | None]:
    """A CSV file's column names, in lower case, and what ends its lines where that is a lone carriage return.

    Raises:
        UserError: the file has no header, or one column twice (in any case), or is no text.
    """
    try:
        with (gzip.open if _duckdb.is_zipped(path) else open)(path, "rb") as file:
            line = file.readline(LONGEST_HEADER)
        first, *more = line.split(b"\r")
        lone = bool(more) and (len(more) > 1 or more[0] not in (b"", b"\n"))
        if lone and line.endswith(b"\n"):
            raise UserError(f"{path}, line 1: some lines end in a carriage return alone; make all ends of lines alike.")
        names = next(csv.reader([(first if lone else line).decode("utf-8-sig")]), [])
    except UnicodeDecodeError:
        raise UserError(f"{path}, line 1: the text is not UTF-8; convert the file.") from None
    except (OSError, EOFError, zlib.error) as error:
        damage = gzip_damage(path) if _duckdb.is_zipped(path) else None
        raise UserError(damage or f"{path} cannot be read: {error.strerror or type(error).__name__}.") from None
    if not names:
        raise UserError(f"{path} is empty: fetch the file anew.")
    return _names(names, f"{path}, line 1"), r"\r" if lone else None


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(path, "rb") as file:
            return pq.read_schema(file).names
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({type(error).__name__}): fetch it anew.") from error


def _names(columns: Iterable[str], where: str) -> list[str]:
    """A table's column names in lower case; a `UserError` where two are the same then."""
    names = [name.strip().lower() or f"unnamed_{place}" for place, name in enumerate(columns)]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise UserError(f"{where}: the column {twice!r} stands there twice; rename or remove one of them.")
    return names


def identity(paths: Iterable[Path]) -> list:
    """What tells whether files are still the ones that were read: their names, sizes and times of change."""
    files = [f for p in paths for f in parts(p)]
    return [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


@contextmanager
def reading(paths: Iterable[Path], out: Path):
    """Turn what goes wrong while DuckDB reads source files into one clear error with file and line.

    Args:
        paths: the files that are read.
        out: the folder that is written to; it is named where its disk is full.

    DuckDB does not compare the checksum of a gzip file; it is compared here, on another thread.
    """
    import duckdb

    zipped = [p for p in paths if _duckdb.is_zipped(p)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        checks: list[Future[str | None]] = [pool.submit(gzip_damage, p) for p in zipped]
        try:
            yield
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
            raise  # an expression of ours is wrong, not the tables
        except duckdb.Error as error:
            damage = next((d for c in checks if (d := c.result())), None)
            raise UserError(damage or _explain(str(error), out)) from (None if damage else _without_records(error))
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


def _explain(message: str, out: Path) -> str:
    line = re.search(r"CSV Error on Line: (\d+)", message)
    file = re.search(r"file = (.+)", message)
    if not line:
        if "No space left" in message or "Could not write" in message or "max_temp_directory_size" in message:
            where = f"the disk of {out.parent} is full: free some room there, or choose a folder on another disk"
            return f"{where} (for the cache: by ZOO_CACHE)."
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
