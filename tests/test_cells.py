"""What a cell of a source's table counts as: the same in every form of the table, and counted where it is lost."""

from __future__ import annotations

import duckdb
import fabricated
import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from zoo.datasets import _canonical as canonical
from zoo.datasets import _duckdb
from zoo.datasets import _source as source
from zoo.datasets._relation_frame import RELATIONS
from zoo.meds import write_meds
from zoo.prepare import load_dataset
from zoo.registry import UserError

SPOILT = {
    "integer": "x1",
    "flag": "t",
    "number": "> 89",
    "time": "06/01/2150",
    "moment": "06/01/2150",
    "text": "NULL",
}
RELATED = ("patients", "admissions", "icustays")
AT_ADMISSION = {"admissionweight", "admissionheight"}
"""Columns of eICU's table of unit stays that become vital signs."""


@pytest.fixture(autouse=True)
def apart(own_cache):
    """No test sees what another derived."""


class Asked(source.Declared):
    """Declared tables that note which columns were asked for, and as what."""

    def __init__(self, columns):
        super().__init__("postgres", columns)
        self.kinds: dict[tuple[str, str], str] = {}

    def table(self, name, *, optional=(), **columns):
        self.kinds |= {(name, c): kind for c, kind in columns.items() if c in self._columns[name]}
        return super().table(name, optional=optional, **columns)


@pytest.fixture(scope="module", params=list(fabricated.SOURCES))
def read(request, tmp_path_factory) -> tuple[object, dict[tuple[str, str], str]]:
    """A source, and what each column that its adapter reads is read as, by table and column."""
    folder = tmp_path_factory.mktemp("whole")
    dataset = load_dataset(request.param, fabricated.write(fabricated.frames(request.param), folder))
    asked = Asked(fabricated.columns_of(dataset.name))
    visits = ibis.table(ibis.Schema.from_pyarrow(canonical.SCHEMAS["visits"]), name="visits")
    for relation in RELATIONS:
        getattr(dataset, relation)(asked)
    for concept in dataset.concepts:
        dataset.expression(concept, asked, visits)
    return dataset, asked.kinds


# One bad cell


def spoilt(tables: dict[str, pd.DataFrame], kinds: dict) -> dict[str, pd.DataFrame]:
    """Of each table the first row, and it again for each column that is read, but for that one cell."""
    found = {}
    for name, frame in tables.items():
        rows = [frame.iloc[[0]]]
        for number, column in enumerate(c for t, c in kinds if t == name.lower()):
            row = frame.iloc[[0]].copy()
            if name == "patient":  # a unit stay that is there twice counts once
                row["patientunitstayid"] = str(9000 + number)
                row["patienthealthsystemstayid"] = str(900 + number)
            row[column] = SPOILT[kinds[name.lower(), column]]
            rows.append(row)
        found[name] = pd.concat(rows, ignore_index=True)
    return found


def lost(report, relation: str) -> dict[str, int]:
    """How many cells of each column a report says a relation lost."""
    counts = report.counts.get(relation, {})
    return {r.removeprefix("unparsable "): n for r, n in counts.items() if r.startswith("unparsable ")}


@pytest.mark.parametrize("optional", [True, False], ids=["all tables", "main tables"])
def test_a_bad_cell_in_any_column_of_any_table_is_null_and_counted_once(read, optional, tmp_path):
    whole, kinds = read
    name, tables = whole.name, fabricated.frames(whole.name)
    if not optional:
        tables = {t: f for t, f in tables.items() if t in whole.needs}
    dataset = load_dataset(name, fabricated.write(spoilt(tables, kinds), tmp_path / "spoilt"))
    report = dataset.report(dataset.concepts)
    main = {c for t, c in kinds if t in (*whole.needs, *whole.optional) and (optional or t in whole.needs)}
    assert {c for relation in RELATIONS for c in lost(report, relation)} == main - AT_ADMISSION
    if name != "eicu":
        found = [c for relation in RELATIONS for c, n in lost(report, relation).items() for _ in range(n)]
        assert sorted(found) == sorted(
            c for t, c in kinds if t.rpartition("/")[2] in RELATED and (optional or t in whole.needs)
        )
    for concept in dataset.concepts:
        columns = [c for t, c in kinds if t in dataset.concepts_from[concept]]
        columns += [c for c in AT_ADMISSION if concept == "vital" and name == "eicu"]
        found = lost(report, concept)
        if concept == "vital" and name == "eicu":  # an id of the table of unit stays is lost in this concept too
            found["patientunitstayid"] -= 1
        assert sorted(c for c, n in found.items() for _ in range(n)) == sorted(columns), concept
        assert report.rows[concept] > 0
    texts = [dataset.read(n).select_dtypes(["object", "string"]) for n in (*RELATIONS, *dataset.concepts)]
    assert not any(t.apply(lambda c: c.astype(str).str.contains("NULL")).any(axis=None) for t in texts)


# One rule for text and types

ODD_NUMBERS = ["nan", "inf", "-inf", "1.79e+308", "-1.79e+308", "0.1"]
TYPED = [
    {"integer": pa.int64(), "flag": pa.int64(), "number": pa.float64(), "time": pa.timestamp("us")},
    {"integer": pa.float64(), "flag": pa.bool_(), "number": pa.float64(), "time": pa.timestamp("ns", "UTC")},
    {"integer": pa.decimal128(20, 0), "flag": pa.uint64(), "number": pa.float64(), "time": pa.string()},
    {"integer": pa.uint64(), "flag": pa.int8(), "number": pa.float64(), "time": pa.timestamp("ms")},
]


def with_odd_numbers(tables: dict[str, pd.DataFrame], kinds: dict) -> dict[str, pd.DataFrame]:
    """The tables, in each column of numbers no words but numbers that are not finite or nearly so."""
    found = {}
    for name, frame in tables.items():
        numbers = [c for c in frame if kinds.get((name.lower(), c)) == "number"]
        if numbers:
            frame = pd.concat([frame, *[frame.iloc[[0]]] * len(ODD_NUMBERS)], ignore_index=True)
            for column in numbers:
                frame[column] = frame[column].where(pd.to_numeric(frame[column], errors="coerce").notna(), None)
                frame.loc[len(frame) - len(ODD_NUMBERS) :, column] = ODD_NUMBERS
        found[name] = frame
    return found


def column_of(values: list, kind: str | None, types: dict) -> pa.Array:
    """Values in the type of their kind, dates as dates; as text where some are no such thing."""
    text, known = pa.array(values, pa.string()), [v for v in values if v is not None]
    to = types.get("time" if kind == "moment" else kind)
    if to is None or pa.types.is_string(to):
        return text
    if kind in ("time", "moment"):
        if {len(v) for v in known} == {10}:
            return text.cast(pa.date32())
        return text.cast(pa.timestamp("us")).cast(to) if {len(v) for v in known} == {19} else text
    if kind == "number":
        return pa.array([None if v is None else float(v) for v in values], to)
    try:
        whole = pa.array([None if v is None else int(v) for v in values], pa.int64())
    except ValueError:
        return text
    return whole if pa.types.is_unsigned_integer(to) and pc.min(whole).as_py() < 0 else whole.cast(to)


def test_a_table_is_the_same_in_text_and_in_any_types(read, tmp_path):
    whole, kinds = read
    name, tables = whole.name, with_odd_numbers(fabricated.frames(whole.name), kinds)
    written = fabricated.write(tables, tmp_path / "csv")
    for number, (table, frame) in enumerate(tables.items()):
        path = tmp_path / "typed" / f"{table}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:  # in the types that DuckDB guesses
            csv = written / f"{table.lower()}.csv"
            # what a guess cannot keep: leading zeros of codes, dates without a clock among times
            kept = {c: "VARCHAR" for c in ("icd9_code", "icd_code", "starttime") if c in frame}
            rows = f"SELECT * FROM read_csv({_duckdb.literal(str(csv))}, types = {kept})"
            duckdb.execute(f"COPY ({rows}) TO {_duckdb.literal(str(path))} (FORMAT parquet)")
            continue
        columns = {}
        for place, column in enumerate(frame):
            types = TYPED[(number // 2 + place) % len(TYPED)]
            columns[column] = column_of(list(frame[column]), kinds.get((table.lower(), column)), types)
        pq.write_table(pa.table(columns), path)
    found = []
    for root in (written, tmp_path / "typed"):
        dataset = load_dataset(name, root)
        report = dataset.report(dataset.concepts)
        rows = [dataset.read(n) for n in (*RELATIONS, *dataset.concepts)]
        found.append((report, rows))
    (told, text), (told_of_typed, typed) = found
    assert told.counts["lab"][f"unparsable {'labresult' if name == 'eicu' else 'valuenum'}"] == len(ODD_NUMBERS) - 1
    assert all(np.isfinite(r.value.dropna()).all() for r in text[3:] if "value" in r)
    for one, two in zip(text, typed, strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert told_of_typed == told


def opened(folder, columns: dict[str, list], form: str = "csv", **kinds: str) -> pd.DataFrame:
    """A table of one file as an adapter sees it."""
    if form == "csv":
        pd.DataFrame(columns).to_csv(folder / "t.csv", index=False)
    else:
        pq.write_table(pa.table(columns), folder / "t.parquet")
    with _duckdb.connected(folder / "spill", "500MB") as connection:
        table = source.Files(folder, connection).table("t", **kinds).to_pyarrow()
    return table.to_pandas(integer_object_nulls=True)


def test_how_values_are_written(tmp_path):
    integers = {
        "12": 12,
        " 12 ": 12,
        "007": 7,
        "12.0": 12,
        "2e+07": 20_000_000,
        "1.2e+07": 12_000_000,
        "-3": -3,
        "999999999999999999": 999_999_999_999_999_999,
        **dict.fromkeys(["12.5", "1.25e1", "0x1F", "1_000", "1234567890123456789", "9" * 5000, "t", "NaN"]),
    }
    found = opened(tmp_path, {"n": list(integers)}, n="integer")
    assert found.n.tolist() == list(integers.values())
    assert found.unparsed.notna().tolist() == [v is None for v in integers.values()]
    times = {
        "2150-07-01 02:30:00": "2150-07-01 02:30:00",
        "2150-07-01T02:30": "2150-07-01 02:30:00",
        " 2150-07-01 ": "2150-07-01 00:00:00",
        "2150-7-1 5:00": "2150-07-01 05:00:00",
        "2150-07-01T02:30:00-05:00": "2150-07-01 07:30:00",
        "2150-7-1 5:00+05:00": "2150-07-01 00:00:00",
        "2150-07-01T07:30:00Z": "2150-07-01 07:30:00",
        "2150-07-01 07:30:00 UTC": "2150-07-01 07:30:00",
        "2150-07-01 07:30:00.5+0530": "2150-07-01 02:00:00.5",
        **dict.fromkeys(["06/01/2150", "infinity", "epoch", "20500601", "2150-02-30", "2150-07-01 07:30:00 PM", "NaT"]),
    }
    found = opened(tmp_path, {"t": list(times)}, t="time")
    wanted = pd.Series(list(times.values()), dtype="datetime64[us]")
    pd.testing.assert_series_equal(found.t.astype("datetime64[us]"), wanted, check_names=False)
    assert found.unparsed.notna().tolist() == [v is None for v in times.values()]
    assert found.unparsed.iloc[9] == "t: 99/99/9999"
    flags = {"1": 1, "0.0": 0, "True": 1, "false": 0, "Yes": 1, "NO": 0, "t": None}
    found = opened(tmp_path, {"f": list(flags)}, f="flag")
    assert found.f.tolist() == list(flags.values())


def test_words_for_nothing_are_no_text_but_what_people_write_is(tmp_path):
    words = ["nan", "NaN", "NULL", "null", "None", " NaT ", "<NA>", "NA", "\\N"]
    texts = ["none", "NONE", "N/A", "Na", "Nan", "Nullipara", "None known"]
    found = opened(tmp_path, {"d": [*words, *texts, " ", ""], "e": "x"}, d="text", e="text")
    assert found.d.isna().tolist() == [True] * len(words) + [False] * (len(texts) - 1) + [False, False, True]
    assert found.unparsed.dropna().tolist() == [f"d: {w.strip()}" for w in words]


def test_ids_in_types_that_lose_digits_are_not_guessed(tmp_path):
    large = [2.0**53 + 2, 12.0, 12.5, float("nan"), None]
    found = opened(tmp_path, {"a": pa.array(large, pa.float64())}, "parquet", a="integer")
    assert found.a.tolist() == [None, 12, None, None, None]
    assert found.unparsed.notna().tolist() == [True, False, True, True, False]
    odd = [
        pa.array([b"7"]),
        pa.array([[7]]),
        pa.array([{"a": 7}]),
        pa.array([7], pa.time64("us")),
        pa.array([2**64 - 1], pa.uint64()),
    ]
    for column, wanted in zip(odd, [7, None, None, None, None], strict=True):
        found = opened(tmp_path, {"a": column}, "parquet", a="integer")
        assert found.a[0] == wanted
        assert found.unparsed.isna()[0] == (wanted is not None)


# Names of folders

NAMES = [
    "r[1]",
    "st*r",
    "**",
    "a?c",
    "it's",
    'qu"ote',
    "tab\there",
    "back\\slash",
    "new\nline",
    "{a,b}",
    "year=2150",
    "#%41~",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_no_pattern(name, tmp_path):
    for decoy in ("r1", "star", "abc", "a", "x"):
        (tmp_path / decoy).mkdir()
        (tmp_path / decoy / "t.csv").write_text("n\n1\n")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "t.csv").write_text("n\n7\n")
    with _duckdb.connected(folder / "spill", "500MB") as connection:
        assert connection.raw_sql("SELECT current_setting('temp_directory')").fetchone()[0] == str(folder / "spill")
        rows = _duckdb.read_csv(connection, folder / "t.csv", "rows", ["n"])
        for part in ("1", "2"):
            _duckdb.write_parquet(connection, rows, folder / f"{part}.parquet")
        again = _duckdb.read_parquet(connection, [folder / "1.parquet", folder / "2.parquet"], "again")
        assert again.to_pyarrow().to_pydict() == {"n": ["7", "7"]}


def test_a_backslash_beside_a_pattern_is_refused(tmp_path):
    with pytest.raises(UserError, match="rename one of its folders"):
        _duckdb.pattern(tmp_path / "back\\slash[1]")


def test_a_source_a_cache_and_an_export_in_folders_with_odd_names(tmp_path, monkeypatch):
    tables = fabricated.frames("mimic4")
    tables = {n: tables[n] for n in ("hosp/patients", "hosp/admissions", "hosp/labevents")}
    odd = tmp_path / 'it\'s "r[1]" st*r? year=2150'
    decoy = tmp_path / 'it\'s "r1" starr year=2150'
    found = []
    for base in (tmp_path / "plain", odd):
        for root in (base / "root[1]", *([decoy / "root1"] if base == odd else [])):
            fabricated.write(tables, root, form="parquet" if base == odd else "csv")
        monkeypatch.setenv("ZOO_CACHE", str(base / "ca[c]he*"))
        dataset = load_dataset("mimic4", base / "root[1]")
        list(write_meds(dataset, base / "o[u]t'"))
        found.append(
            [dataset.read("visits"), dataset.read("lab"), pq.read_table(base / "o[u]t'/data/0.parquet").to_pandas()]
        )
    for one, two in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, two)


# Files that users have


def test_lines_that_end_in_a_carriage_return(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"A,b\r1,x\r2,y\r")
    with _duckdb.connected(tmp_path / "spill", "500MB") as connection:
        found = source.Files(tmp_path, connection).table("t", a="integer", b="text").to_pandas()
    assert found.a.tolist() == [1, 2]
    (tmp_path / "t.csv").write_bytes(b"A,b\r1,x\n2,y\n")
    with pytest.raises(UserError, match=r"t\.csv, line 1: some lines end in a carriage return alone"):
        source.header(tmp_path / "t.csv")


@pytest.mark.parametrize(("name", "form"), [("mimic4", "parquet"), ("eicu", "csv")])
def test_tables_with_a_header_only_are_empty(name, form, tmp_path):
    tables = {n: t.iloc[:0] for n, t in fabricated.frames(name).items()}
    dataset = load_dataset(name, fabricated.write(tables, tmp_path, form=form))
    assert [len(dataset.read(n)) for n in (*RELATIONS, *dataset.concepts)] == [0] * (3 + len(dataset.concepts))


def test_names_that_differ_in_case_only(tmp_path):
    pq.write_table(pa.table({"a": [1], "A": [2]}), tmp_path / "t.parquet")
    with _duckdb.connected(tmp_path / "spill", "500MB") as connection, pytest.raises(UserError) as caught:
        source.Files(tmp_path, connection).raw("t")
    assert "t.parquet: the column 'a' stands there twice" in str(caught.value)
    (tmp_path / "T.parquet").write_bytes((tmp_path / "t.parquet").read_bytes())
    with pytest.raises(UserError, match=r"holds T\.parquet and t\.parquet: remove or rename"):
        source.find(tmp_path, "t")


def test_a_full_disk_is_named():
    import pathlib

    message = "IO Error: Could not write file: No space left on device"
    with (
        pytest.raises(UserError, match="the disk of /big/cache is full"),
        source.reading((), pathlib.Path("/big/cache/x")),
    ):
        raise duckdb.IOException(message)
