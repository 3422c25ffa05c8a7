"""What bad input gets: a clear error that says where, or rows left out, counted and reported; never half a result."""

import gzip
import traceback

import numpy as np
import pandas as pd
import pytest

import zoo
from zoo.registry import UserError

MARK = "Jonquil"
"""Stands in for what a record says: it may be in no message."""


def opened(folder, **parameters):
    return zoo.load_dataset("mimic3", root=folder.root, **parameters)


def kept(cache) -> list[str]:
    """What lies in the cache but for locks."""
    return sorted(p.name for p in cache.glob("*") if not p.name.endswith(".lock")) if cache.exists() else []


def everything(dataset, *names: str) -> dict[str, pd.DataFrame]:
    """The named relations and events (all by default), in an order that does not depend on how they were read."""
    names = names or ("subjects", "visits", "stays", *dataset.concepts)
    tables = {name: dataset.read(name) for name in names}
    return {n: t.sort_values([*t.columns], ignore_index=True) for n, t in tables.items()}


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, table in wanted.items():
        pd.testing.assert_frame_equal(found[name], table)


@pytest.fixture(scope="module")
def clean(intact_mimic3, tmp_path_factory):
    """The relations and events of the folder that nobody has spoilt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("clean")))
        return everything(opened(intact_mimic3))


# Damaged files


def zipped(path, content: bytes | None = None):
    """Turn a CSV file into CSV.gz."""
    target = path.with_name(f"{path.name}.gz")
    target.write_bytes(gzip.compress(path.read_bytes() if content is None else content, mtime=0))
    path.unlink()
    return target


def flip_middle(path):
    target = zipped(path)
    content = bytearray(target.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - b for b in content[middle : middle + 8])
    target.write_bytes(content)
    return target


def spoil_checksum(path):
    target = zipped(path)
    content = bytearray(target.read_bytes())
    content[-8] ^= 255
    target.write_bytes(content)
    return target


def cut_gzip(path):
    target = zipped(path)
    target.write_bytes(target.read_bytes()[:-200])
    return target


def no_gzip_at_all(path):
    return path.rename(path.with_name(f"{path.name}.gz"))


def edit_line(path, number: int, change):
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = change(lines[number - 1])
    path.write_bytes(b"\n".join(lines))
    return path


def one_field_more(path):
    return edit_line(path, 12, lambda line: line + b"," + MARK.encode())


def one_field_more_zipped(path):
    return zipped(one_field_more(path))


def open_quote(path):
    return edit_line(path, 12, lambda line: line[: line.rindex(b",") + 1] + b'"' + MARK.encode())


def no_utf8(path):
    return edit_line(path, 12, lambda line: line + b"\xff\xfe" + MARK.encode())


def cut_csv(path):
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\n", 0, -1) + 8])
    return path


def empty(path):
    path.write_bytes(b"")
    return path


def empty_gzip(path):
    return zipped(path, b"")


def column_twice(path):
    return edit_line(path, 1, lambda line: line + b",SUBJECT_ID")


DAMAGES = {
    flip_middle: ["line ", "damaged or cut short"],
    spoil_checksum: ["line ", "damaged or cut short"],
    cut_gzip: ["line ", "damaged or cut short"],
    no_gzip_at_all: ["line 0", "(Not a gzipped file);"],
    one_field_more: ["line 12", "fields where the header has"],
    one_field_more_zipped: ["line 12", "fields where the header has"],
    open_quote: ["line 12", "never closed"],
    no_utf8: ["line 12", "not UTF-8"],
    cut_csv: ["line ", "fields where the header has"],
    empty: ["empty"],
    empty_gzip: ["empty"],
    column_twice: ["line 1", "'subject_id'", "twice"],
}


BY_TABLE = [("labevents", d) for d in DAMAGES]
BY_TABLE += [("admissions", d) for d in (flip_middle, spoil_checksum, one_field_more, empty)]


@pytest.mark.parametrize(("name", "damage"), BY_TABLE, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_a_damaged_file_is_named_with_its_line_and_leaves_nothing(name, damage, mimic3, own_cache, clean):
    whole = mimic3.file(name).read_bytes()
    spoilt = damage(mimic3.file(name))
    dataset = opened(mimic3)
    before = set()
    if name == "labevents":
        dataset.folder()
        before = set(kept(own_cache))
    with pytest.raises(UserError) as caught:
        dataset.read("visits" if name == "admissions" else "lab")
    message = str(caught.value)
    assert str(spoilt) in message
    assert [w for w in DAMAGES[damage] if w not in message] == []
    told = "".join(traceback.format_exception(caught.value))
    assert MARK not in told
    assert "EMERGENCY" not in told
    assert set(kept(own_cache)) == before

    spoilt.unlink()
    mimic3.file(name).write_bytes(whole)
    mended = everything(opened(mimic3), "visits", "lab")
    assert_same(mended, {n: clean[n] for n in ("visits", "lab")})


def test_damaged_parquet(mimic3, own_cache):
    table = mimic3.table("labevents")
    mimic3.file("labevents").unlink()
    path = mimic3.root / "labevents.parquet"
    table.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"labevents\.parquet"):
        opened(mimic3).read("lab")
    assert [n for n in kept(own_cache) if "lab" in n] == []


# Missing things


def test_no_root():
    with pytest.raises(UserError, match="needs root="):
        zoo.load_dataset("mimic3")


def test_missing_root(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.* is no folder: give the folder"):
        zoo.load_dataset("mimic3", root=tmp_path / "nowhere")


def test_missing_table_says_where_it_looked_and_what_lies_there(mimic3):
    mimic3.file("patients").unlink()
    with pytest.raises(UserError) as caught:
        opened(mimic3)
    assert all(w in str(caught.value) for w in ("mimic3", "'patients'", str(mimic3.root), "ADMISSIONS.csv", "Set root"))


def test_missing_column_says_which_and_where(mimic3, own_cache):
    mimic3.put("labevents", mimic3.table("labevents").drop(columns="CHARTTIME"))
    with pytest.raises(UserError) as caught:
        opened(mimic3).read("lab")
    assert all(w in str(caught.value) for w in ("LABEVENTS.csv", "'charttime'", "'lab'", "it has subject_id, hadm_id"))


def test_a_table_without_header_is_not_quoted(mimic3, own_cache):
    mimic3.put_lines("admissions", [f"{MARK},7,2150-01-01,x,y,z,u,v,w,0", *mimic3.lines("admissions")[1:]])
    with pytest.raises(UserError, match=r"ADMISSIONS\.csv, line 1: .*header") as caught:
        opened(mimic3).read("visits")
    assert MARK.lower() not in str(caught.value).lower()


def test_an_absent_optional_table_is_fine(mimic3, own_cache):
    for name in ("icustays", "noteevents", "chartevents"):
        mimic3.file(name).unlink()
    dataset = opened(mimic3)
    assert dataset.concepts == ["diagnosis", "procedure", "drug", "lab"]
    assert len(dataset.read("stays")) == 0
    assert len(zoo.load("mimic3", task="readmission", root=mimic3.root).samples) > 50


def test_a_concept_that_was_asked_for_must_be_there(mimic3, own_cache):
    mimic3.file("noteevents").unlink()
    with pytest.raises(UserError, match="offers no 'note': that needs the table 'noteevents'"):
        zoo.load("mimic3", task="readmission", root=mimic3.root, concepts=["note"])


def test_stay_task_without_stays(mimic3, own_cache):
    mimic3.file("icustays").unlink()
    with pytest.raises(UserError, match="no stays"):
        zoo.load("mimic3", task="mortality", root=mimic3.root, unit="stay")


# Values that do not parse


def test_unparsable_values_become_null_and_are_reported_by_shape(mimic3, own_cache):
    mimic3.change("labevents", "VALUENUM", 3, "12.5 ca.")
    mimic3.change("labevents", "VALUENUM", 4, "")
    mimic3.change("labevents", "CHARTTIME", 5, "2150-13-45 Mon")
    mimic3.change("admissions", "EDREGTIME", 6, "yesterday")
    mimic3.change("admissions", "DISCHTIME", 9, "31/12/2150")
    mimic3.change("patients", "DOD", 0, "unknown")
    dataset = opened(mimic3)
    report = dataset.report(["lab"])
    assert report.counts["lab"]["unparsable valuenum"] == 1
    assert report.counts["lab"]["unparsable charttime"] == 1
    assert report.counts["lab"]["no time"] == 1
    assert report.counts["visits"]["unparsable edregtime"] == 1
    assert report.counts["visits"]["unparsable dischtime"] == 1
    assert report.counts["visits"]["no start or no end"] == 1
    assert report.counts["subjects"]["unparsable dod"] == 1
    assert report.examples["lab"]["unparsable valuenum"] == ["subject_id 10000, valuenum: 99.9 aa."]
    assert "visit_id" in report.examples["visits"]["unparsable edregtime"][0]
    assert "aaaaaaaaa" in report.examples["visits"]["unparsable edregtime"][0]
    assert "yesterday" not in str(report)
    lab = dataset.read("lab")
    assert len(lab) == len(mimic3.table("labevents")) - 1 - report.counts["lab"].get("visit left out or unknown", 0)
    assert lab.value.isna().sum() == 2


def test_numbers_that_are_not_finite_do_not_parse(mimic3, own_cache):
    for row, value in enumerate(["inf", "NaN", "1e999", "-Infinity"]):
        mimic3.change("labevents", "VALUENUM", row, value)
    dataset = opened(mimic3)
    assert dataset.report(["lab"]).counts["lab"]["unparsable valuenum"] == 4
    assert np.isfinite(dataset.read("lab").value.dropna()).all()


def test_a_vital_sign_without_a_number_is_no_event(mimic3, own_cache):
    mimic3.change("chartevents", "VALUENUM", 3, "high")
    dataset = opened(mimic3)
    assert dataset.report(["vital"]).counts["vital"]["unparsable valuenum"] == 1
    assert dataset.read("vital").value.notna().all()


def test_typed_parquet_with_numbers_out_of_range(mimic3, own_cache):
    table = mimic3.table("labevents").astype({"HADM_ID": float, "VALUENUM": float})
    table.loc[2, "HADM_ID"] = 1e30
    mimic3.file("labevents").unlink()
    table.to_parquet(mimic3.root / "labevents.parquet")
    dataset = opened(mimic3)
    assert dataset.report(["lab"]).counts["lab"] == {"unparsable hadm_id": 1}


# Keys that do not fit


def test_rows_that_do_not_fit_are_left_out_and_counted(mimic3, own_cache):
    whole = {n: len(mimic3.table(n)) for n in ("patients", "admissions", "icustays")}
    mimic3.add("patients", DOB="2001-01-01 00:00:00")
    mimic3.add("admissions", ADMISSION_TYPE="ELECTIVE")
    mimic3.add("icustays", FIRST_CAREUNIT="SICU")
    mimic3.add("admissions", HADM_ID="1", DISCHTIME="1999-01-01 00:00:00")
    mimic3.add("admissions", HADM_ID="2", SUBJECT_ID="5")
    mimic3.add("admissions", HADM_ID="", ADMITTIME="2150-01-01 00:00:00")
    mimic3.add("icustays", ICUSTAY_ID="3", HADM_ID="4")
    mimic3.add("icustays", ICUSTAY_ID="5", OUTTIME="1999-01-01 00:00:00")
    other = mimic3.table("admissions").SUBJECT_ID.iloc[1]
    mimic3.add("labevents", SUBJECT_ID=other)
    mimic3.add("labevents", HADM_ID="4")
    mimic3.add("labevents", ITEMID="")
    dataset = opened(mimic3)
    report = dataset.report(["lab"])
    assert report.counts == {
        "subjects": {"duplicate subject_id": 1},
        "visits": {
            "no visit_id": 1,
            "subject not in the table of subjects": 1,
            "duplicate visit_id": 1,
            "ends before it starts": 1,
        },
        "stays": {"visit left out or unknown": 1, "duplicate stay_id": 1, "ends before it starts": 1},
        "lab": {"visit of another subject": 1, "visit left out or unknown": 1, "no code": 1},
    }
    assert report.examples["visits"]["ends before it starts"] == ["visit_id 1"]
    sizes = {n: len(dataset.read(n)) for n in ("subjects", "visits", "stays")}
    assert [*sizes.values()] == [*whole.values()]


def test_which_of_two_duplicates_is_kept_does_not_depend_on_their_order(mimic3, own_cache):
    mimic3.add("admissions", ADMISSION_TYPE="ELECTIVE")
    mimic3.add("patients", DOB="2001-01-01 00:00:00", GENDER="X")
    first = everything(opened(mimic3))
    for name in ("admissions", "patients"):
        mimic3.put(name, mimic3.table(name).iloc[::-1])
    assert_same(everything(opened(mimic3)), first)


# Tasks with too little


def test_a_task_without_samples(mimic3, own_cache):
    with pytest.raises(UserError, match=r"has no sample on mimic3 .*younger than 200"):
        zoo.load("mimic3", task="readmission", root=mimic3.root, min_age=200)


def split_file(mimic3, path, **subjects):
    """A file that puts the n-th patients into splits; the others into training."""
    table = pd.DataFrame({"subject_id": mimic3.table("patients").SUBJECT_ID, "split": "train"})
    for split, places in subjects.items():
        table.loc[places, "split"] = split
    table.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("model", ["logistic_regression", "gru"])
def test_a_test_split_of_one_class(model, mimic3, own_cache, tmp_path):
    split = split_file(mimic3, tmp_path / "split.csv", test=[0, 1, 2], validation=[4, 5, 9])
    data = zoo.load("mimic3", task="mortality", root=mimic3.root, hours=24, split=split)
    result = zoo.train(model, data, out=tmp_path / "run", **({"max_epochs": 1} if model == "gru" else {}))
    assert result.metrics["auroc"]["value"] is None
    assert "no positive" in result.metrics["auroc"]["reason"]
    assert result.metrics["accuracy"]["value"] is not None
    assert any("test samples have the label False" in n for n in result.notes)


@pytest.mark.parametrize("model", ["logistic_regression", "gru"])
def test_training_on_one_class(model, mimic3, own_cache, tmp_path):
    fatal = [i for i in range(60) if i % 5 == 4]
    split = split_file(mimic3, tmp_path / "split.csv", test=[*fatal, 0, 1])
    data = zoo.load("mimic3", task="mortality", root=mimic3.root, hours=24, split=split)
    result = zoo.train(model, data, out=tmp_path / "run", max_epochs=1)
    assert any("train samples have the label False" in n for n in result.notes)
    assert any(n.startswith("no validation samples") for n in result.notes)
    assert 0 <= result.metrics["accuracy"]["value"] <= 1


def test_a_split_file_that_cannot_be_read(mimic3, own_cache, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for name in ("empty.csv", "broken.parquet"):
        with pytest.raises(UserError, match=rf"{name} cannot be read as a split file"):
            zoo.load("mimic3", task="readmission", root=mimic3.root, split=str(tmp_path / name))


def test_an_empty_test_split(mimic3, own_cache, tmp_path):
    data = zoo.load("mimic3", task="readmission", root=mimic3.root, split=(1, 0, 0))
    result = zoo.train("gru", data, out=tmp_path / "run", max_epochs=1)
    assert {m["value"] for m in result.metrics.values()} == {None}
    assert {m["reason"] for m in result.metrics.values()} == {"no sample falls into the test split"}


def test_an_empty_training_split(mimic3, own_cache, tmp_path):
    data = zoo.load("mimic3", task="readmission", root=mimic3.root, split=(0, 0, 1))
    with pytest.raises(UserError, match="falls into the training split"):
        zoo.train("gru", data, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_single_patient(mimic3, own_cache, tmp_path):
    mimic3.put("patients", mimic3.table("patients").iloc[3:4])
    data = zoo.load("mimic3", task="readmission", root=mimic3.root, split=(1, 0, 0))
    assert zoo.train("logistic_regression", data, out=tmp_path / "run").sizes["train"] == len(data.samples)


# The same tables in other files


def as_gzip(folder):
    for path in list(folder.root.glob("*.csv")):
        zipped(path)


def as_text_parquet(folder):
    for path in list(folder.root.glob("*.csv")):
        pd.read_csv(path, dtype=str).to_parquet(path.with_suffix(".parquet"))
        path.unlink()


def as_typed_parquet(folder):
    for path in list(folder.root.glob("*.csv")):
        table = pd.read_csv(path, dtype=dict.fromkeys(("ICD9_CODE", "NDC", "DRUG", "GENDER"), str))
        times = [c for c in table if c.endswith("TIME") or c in ("DOB", "DOD", "STARTDATE")]
        table[times] = table[times].apply(pd.to_datetime)
        if "CHARTDATE" in table:
            table["CHARTDATE"] = pd.to_datetime(table.CHARTDATE).dt.date
        table.to_parquet(path.with_suffix(".parquet"))
        path.unlink()


def as_parquet_parts(folder):
    for path in list(folder.root.glob("*.csv")):
        table = pd.read_csv(path, dtype=str)
        parts = path.with_name(path.stem.lower())
        parts.mkdir()
        table.iloc[:20].to_parquet(parts / "0.parquet")
        table.iloc[20:].to_parquet(parts / "1.parquet")
        path.unlink()


def in_lower_case_with_byte_order_mark(folder):
    for path in list(folder.root.glob("*.csv")):
        lines = path.read_text().split("\n")
        path.with_name(path.name.lower()).write_text("\ufeff" + "\n".join([lines[0].lower(), *lines[1:]]))
        path.unlink()


def with_more_columns(folder):
    for path in list(folder.root.glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table.insert(0, "Extra, quoted", "something")
        table.assign(LAST="1").to_csv(path)


def with_windows_line_ends(folder):
    for path in folder.root.glob("*.csv"):
        if path.stem != "NOTEEVENTS":  # its texts hold line ends that are part of the record
            path.write_bytes(path.read_bytes().rstrip(b"\n").replace(b"\n", b"\r\n"))


def quoted_in_a_folder_with_an_odd_name(folder):
    folder.root = folder.root.rename(folder.root.with_name("it's [v1.4] *new?"))
    for path in folder.root.glob("*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table.to_csv(path, index=False, quoting=1)


def in_gzip_members(folder):
    for path in list(folder.root.glob("*.csv")):
        content = path.read_bytes()
        half = len(content) // 2
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
        path.unlink()


FORMS = [
    as_gzip,
    as_text_parquet,
    as_typed_parquet,
    as_parquet_parts,
    in_lower_case_with_byte_order_mark,
    with_more_columns,
    with_windows_line_ends,
    quoted_in_a_folder_with_an_odd_name,
    in_gzip_members,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
def test_the_same_tables_in_another_form_give_the_same_relations(form, mimic3, own_cache, clean):
    form(mimic3)
    assert_same(everything(opened(mimic3)), clean)
