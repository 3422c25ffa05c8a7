"""MIMIC-III, MIMIC-IV and eICU as the library reads them, against what plain pandas derives from the raw tables."""

from pathlib import Path

import fabricated
import numpy as np
import pandas as pd
import pytest
from raw_tables import BY_SOURCE

from zoo.datasets import eicu
from zoo.prepare import load_dataset
from zoo.registry import UserError
from zoo.testing import check_dataset

RELATIONS = ("subjects", "visits", "stays")
DEMOS = {"mimic3": "mimic3-demo-1.4", "mimic4": "mimic4-demo-2.2", "eicu": "eicu-demo-2.0.1"}
ELSEWHERE = {
    "mimic4": {"icu/chartevents.csv.gz": "icu_derived/chartevents_from_meds.csv.gz"},
    "eicu": {"lab.csv.gz": "subset_169_stays/lab.csv.gz"},
}
"""Tables that the open demos have under another name."""
DEMO_COUNTS = {
    "mimic3": {"subjects": 100, "visits": 129, "stays": 136, "diagnosis": 1761, "procedure": 506, "lab": 76_074},
    "mimic4": {"subjects": 100, "visits": 275, "stays": 140, "diagnosis": 4506, "procedure": 722, "lab": 107_727},
    "eicu": {"subjects": 1841, "visits": 2174, "stays": 2520, "drug": 71_322, "procedure": 38_290, "lab": 29_961},
}


def reader(root: Path):
    """The raw tables in a folder as text, None where there is none."""
    tables: dict[str, pd.DataFrame | None] = {}

    def read(name: str) -> pd.DataFrame | None:
        if name not in tables:
            tables[name] = _read(root, name)
        return tables[name]

    return read


def _read(root: Path, name: str) -> pd.DataFrame | None:
    folder, _, table = name.rpartition("/")
    paths = [p for p in (root / folder).iterdir() if p.name.lower().split(".")[0] == table]
    if not paths:
        return None
    frame = pd.read_csv(paths[0], dtype=str, keep_default_na=False, na_values=[""]).rename(columns=str.lower)
    return frame.astype(object).where(frame.notna(), None)


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in an order of their own, with one kind of missing and of number."""
    plain = {}
    for name, column in frame.items():
        if name.endswith("_id") or name == "period":
            plain[name] = column.astype("Float64").fillna(-1).astype("int64")
        elif name in ("value", "age", "rank"):
            plain[name] = column.astype("Float64").astype(float).round(6)
        elif pd.api.types.is_datetime64_any_dtype(column):
            plain[name] = column.astype("datetime64[us]")
        else:
            plain[name] = column.astype(object).where(column.notna(), "none").astype(str)
    plain = pd.DataFrame(plain)
    return plain.sort_values(list(plain.columns)).reset_index(drop=True)


def assert_same_rows(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    columns = [c for c in found.columns if c in expected]
    assert set(expected.columns) - {"unit_start"} <= set(columns)
    empty = [c for c in found.columns if c not in expected]
    assert found[[c for c in empty if c not in ("order_known", "age_capped")]].isna().all(axis=None)
    pd.testing.assert_frame_equal(comparable(found[columns]), comparable(expected[columns]), check_dtype=False)


def assert_as_derived(dataset, derived, delay: float = 0) -> None:
    for relation in RELATIONS:
        assert_same_rows(dataset.read(relation), getattr(derived, relation)())
    for concept in dataset.concepts:
        keywords = {"delay": delay} if concept == "lab" else {}
        assert_same_rows(dataset.read(concept), getattr(derived, concept)(**keywords))


# Fabricated tables, in all the forms that people keep them in


@pytest.mark.parametrize("source", list(fabricated.SOURCES))
@pytest.mark.parametrize(
    ("form", "case", "typed"),
    [("csv.gz", str.upper, False), ("parquet", str, True)],
    ids=["csv.gz upper", "parquet typed"],
)
def test_every_relation_and_concept_is_what_pandas_derives(source, form, case, typed, tmp_path):
    tables = fabricated.frames(source)
    root = fabricated.write(tables, tmp_path, form=form, case=case, typed=typed)
    lower = {name.lower(): frame for name, frame in tables.items()}
    dataset = load_dataset(source, root, lab_delay=2.5)
    assert dataset.concepts == ["diagnosis", "procedure", "drug", "lab", "vital", "note"]
    assert_as_derived(dataset, BY_SOURCE[source](lower.get), delay=2.5)


@pytest.mark.parametrize("source", list(fabricated.SOURCES))
def test_only_the_main_tables_are_needed(source, tmp_path):
    tables = fabricated.frames(source)
    needed = {"mimic3": ["patients", "admissions"], "mimic4": ["hosp/patients", "hosp/admissions"], "eicu": ["patient"]}
    dataset = load_dataset(source, fabricated.write({n: tables[n] for n in needed[source]}, tmp_path))
    assert dataset.concepts == []
    assert len(dataset.read("visits")) == len(load_visits(source, tmp_path))
    assert len(dataset.read("stays")) == (5 + 1 if source == "eicu" else 0)
    with pytest.raises(UserError, match=r"'lab'.*needs the table"):
        dataset.require("lab")


def load_visits(source: str, root: Path) -> pd.DataFrame:
    return BY_SOURCE[source](reader(root)).visits()


@pytest.fixture
def tiny(tmp_path):
    """Open a source on its fabricated tables, some of which may be replaced."""

    def opened(source: str, **parameters):
        return load_dataset(source, fabricated.write(fabricated.frames(source), tmp_path), **parameters)

    return opened


def by_visit(frame: pd.DataFrame, column: str) -> dict:
    return frame.set_index("visit_id")[column].to_dict()


def test_mimic3_hides_ages_over_89_and_keeps_births_that_were_not_moved(tiny):
    dataset = tiny("mimic3")
    ages, capped = by_visit(dataset.read("visits"), "age"), by_visit(dataset.read("visits"), "age_capped")
    assert ages[21] == ages[42] == 90
    assert 88 < ages[41] < 89
    assert capped == {11: False, 12: False, 21: True, 32: False, 41: False, 42: True}
    birth = dataset.read("subjects").set_index("subject_id").birth
    assert birth.isna().to_dict() == {1: False, 2: True, 3: False, 4: False}


def test_mimic4_ages_move_with_the_anchor_year_and_an_anchor_over_89_caps_all_visits(tiny):
    visits = tiny("mimic4").read("visits")
    assert by_visit(visits, "age") == {11: 50, 12: 52, 21: 90, 22: 90, 31: 89, 32: 90}
    assert by_visit(visits, "age_capped") == {11: False, 12: False, 21: True, 22: True, 31: False, 32: True}
    assert tiny("mimic4").read("subjects").period.tolist() == [2011, 2008, 2020]


def test_visits_have_a_class_where_the_source_tells_one(tiny, tmp_path):
    assert set(tiny("mimic3").read("visits")["class"]) == {"inpatient"}
    assert set(tiny("eicu").read("visits")["class"]) == {"inpatient"}
    kinds = {11: "OBSERVATION ADMIT", 12: " direct observation", 21: "URGENT", 22: "AMBULATORY OBSERVATION", 31: "TOUR"}
    tables = fabricated.frames("mimic4")
    admissions = tables["hosp/admissions"]
    told = admissions.assign(admission_type=admissions.hadm_id.astype(int).map(kinds))
    dataset = load_dataset("mimic4", fabricated.write({**tables, "hosp/admissions": told}, tmp_path / "told"))
    visits = dataset.read("visits")
    found = visits["class"].astype(object).where(visits["class"].notna(), None)
    assert dict(zip(visits.visit_id, found, strict=True)) == {
        11: "inpatient", 12: "observation", 21: "inpatient", 22: "observation", 31: None, 32: None
    }  # fmt: skip


def test_visits_that_cannot_be_are_dropped_and_counted(tiny):
    dataset = tiny("mimic3")
    counts = dataset.report(["diagnosis"]).counts
    assert counts["visits"] == {"ends before it starts": 1, "starts after the subject's death in hospital": 1}
    assert counts["stays"] == {"visit left out or unknown": 1}
    assert counts["diagnosis"] == {"visit left out or unknown": 1, "no code": 1}


def test_mimic3_labs_without_a_visit_join_the_one_that_contains_them_from_ed_registration_on(tiny):
    dataset = tiny("mimic3")
    labs = dataset.read("lab")
    visit = labs[labs.subject_id == 1].set_index("value").visit_id
    assert visit[[1.1, 1.2, 1.3]].tolist() == [11, 11, 11]
    assert visit[[1.4, 1.5]].isna().all()
    assert dataset.report(["lab"]).counts["lab"] == {
        "visit left out or unknown": 1,
        "visit of another subject": 1,
        "no time": 1,
        "unparsable valuenum": 1,
        "kept, but within no visit": 2,
    }


def test_mimic4_labs_are_known_and_placed_by_their_result(tiny):
    labs = tiny("mimic4").read("lab").set_index("value")
    assert labs.time[1.1] == pd.Timestamp("2150-03-02 07:10:00")
    assert labs.time[1.4] == pd.Timestamp("2150-03-05 11:50:00")
    assert labs.visit_id[[1.2, 1.4]].tolist() == [11, 11]
    assert labs.visit_id[[1.3, 1.5]].isna().all()


def test_dates_without_a_clock_are_known_at_the_end_of_their_day(tiny):
    drugs = tiny("mimic4").read("drug")
    assert drugs.time.dt.strftime("%m-%d %H:%M:%S").tolist() == ["03-01 22:00:00", "03-02 23:59:59", "03-02 00:00:00"]
    assert drugs.code.tolist() == ["NDC//00006494300", "DRUG//sodium chloride 0.9%", "DRUG//aspirin"]
    death = tiny("mimic4").read("subjects").death
    assert death.tolist()[:2] == [pd.Timestamp("2152-03-05 11:00:00"), pd.Timestamp("2151-02-03 23:59:59")]


def test_drug_codes_that_lost_their_zeros_are_completed(tmp_path):
    tables = fabricated.frames("mimic3")
    tables["prescriptions"]["ndc"] = [6494300.0, 0.0, 6494300.0, None, None]
    dataset = load_dataset("mimic3", fabricated.write(tables, tmp_path, form="parquet"))
    assert dataset.read("drug").code.tolist()[0] == "NDC//00006494300"


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_addenda_to_discharge_summaries_are_told_apart_and_known_after_the_visit(source, tiny):
    notes = tiny(source).read("note").set_index("code")
    end = pd.Timestamp("2150-03-05 12:00:00")
    assert notes.time["NOTE//discharge_summary"] == end < notes.time["NOTE//discharge_addendum"]
    assert notes.text["NOTE//discharge_summary"] == 'Came in, went "home".\nSecond line.'


def test_eicu_lays_visits_end_to_end_in_order_of_discharge_year(tiny):
    visits = tiny("eicu").read("visits").set_index("visit_id")
    assert visits.start[10] == pd.Timestamp("2014-01-01")
    assert visits.start[20] == visits.end[10] == pd.Timestamp("2014-01-03 02:00:00")
    assert visits.start[30] == visits.end[31]  # of one year: the one that ended in death comes last
    assert visits.order_known.to_dict() == {10: True, 20: True, 30: False, 31: False, 40: True}
    assert visits.died.dropna().to_dict() == {10: False, 20: True, 30: True, 31: False}


def test_eicu_unit_stays_begin_where_their_visit_says(tiny):
    dataset = tiny("eicu")
    stays = dataset.read("stays").set_index("stay_id")
    assert stays.start[1000] == pd.Timestamp("2014-01-01 01:00")
    assert stays.start[1001] == pd.Timestamp("2014-01-02 01:00")
    assert stays.start[3100] < dataset.read("visits").set_index("visit_id").start[31]
    assert stays.type.to_dict()[1001] == "readmit"
    assert stays.died.to_dict()[4000] is None


def test_eicu_ages_and_odd_rows(tiny):
    dataset = tiny("eicu")
    ages = by_visit(dataset.read("visits"), "age")
    assert ages[30] == ages[31] == 90
    assert np.isnan(ages[40])
    assert sorted(dataset.read("subjects").sex.dropna()) == ["F", "M"]
    counts = dataset.report(["diagnosis", "drug", "vital"]).counts
    assert counts["subjects"]["no subject_id"] == 1
    assert counts["diagnosis"] == {"no code": 1, "no subject_id": 1}
    assert counts["drug"] == {"no code": 1}
    assert counts["vital"]["unparsable sao2"] == counts["vital"]["unparsable nursingchartvalue"] == 1


def test_eicu_icd_fields_hold_codes_of_both_versions(tiny):
    assert sorted(tiny("eicu").read("diagnosis").code) == [
        "ICD10CM//E11.9",
        "ICD10CM//J96.00",
        "ICD10CM//V43.52XA",
        "ICD9CM//518.81",
        "ICD9CM//E980.2",
        "ICD9CM//V45.81",
        "ICD9PROC//31.1",
    ]


FORMS = [("csv", False), ("parquet", True)]


@pytest.mark.parametrize(("form", "typed"), FORMS, ids=["csv", "parquet"])
@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_billed_codes_stand_by_their_rank(source, form, typed, tmp_path):
    tables = fabricated.frames(source)
    name, column = {"mimic3": ("diagnoses_icd", "icd9_code"), "mimic4": ("hosp/diagnoses_icd", "icd_code")}[source]
    like = tables[name].iloc[0]
    seqs = {"4019": "3", "25000": "", "V4581": "2", "0389": "10", "4280": "1", "5849": ""}
    more = pd.DataFrame([{**like, column: code, "seq_num": seq} for code, seq in [*seqs.items(), ("4019", "4")]])
    tables[name] = more[tables[name].columns]
    dataset = load_dataset(source, fabricated.write(tables, tmp_path, form=form, typed=typed))
    found = dataset.read("diagnosis")
    codes = [c.split("//")[1] for c in found.code]
    assert codes == ["428.0", "V45.81", "401.9", "401.9", "038.9", "250.00", "584.9"]
    assert found["rank"].fillna(0).tolist() == [1, 2, 3, 4, 10, 0, 0]
    assert "order" not in check_dataset(dataset).failures


def test_diagnoses_of_eicu_stand_by_their_priority(tmp_path):
    tables = fabricated.frames("eicu")
    rows = [("401.9", "Other"), ("250.00", ""), ("428.0", "Primary"), ("584.9", " major "), ("038.9", "Other")]
    like = {"patientunitstayid": "1000", "diagnosisoffset": "10", "diagnosisstring": "x"}
    tables["diagnosis"] = pd.DataFrame(
        [{"diagnosisid": str(n), **like, "icd9code": c, "diagnosispriority": p} for n, (c, p) in enumerate(rows)]
    )
    found = load_dataset("eicu", fabricated.write(tables, tmp_path)).read("diagnosis")
    assert [c.split("//")[1] for c in found.code] == ["428.0", "584.9", "038.9", "401.9", "250.00"]
    assert found["rank"].fillna(0).tolist() == [1, 2, 3, 3, 0]


def test_eicu_ids_can_be_turned_back(tiny):
    for text in ("002-1039", "035-19889", "002-0103", "002-103", "999-99999999999999"):
        assert eicu.uniquepid(eicu.subject_id(text)) == text
    assert {eicu.uniquepid(i) for i in tiny("eicu").read("subjects").subject_id} == {"002-0103", "002-103", "035-19889"}
    for odd in ("2-1039", "002-", "002-1039x"):
        with pytest.raises(UserError, match="uniquepid"):
            eicu.subject_id(odd)
    with pytest.raises(UserError, match="uniquepid"):
        eicu.uniquepid(7)


@pytest.mark.parametrize("source", list(fabricated.SOURCES))
def test_a_patient_told_twice_doubles_no_visit_and_no_event(source, tmp_path):
    tables = fabricated.frames(source)
    main = {"mimic3": "patients", "mimic4": "hosp/patients", "eicu": "patient"}[source]
    once = load_dataset(source, fabricated.write(tables, tmp_path / "once"))
    tables[main] = pd.concat([tables[main], tables[main].head(1)], ignore_index=True)
    twice = load_dataset(source, fabricated.write(tables, tmp_path / "twice"))
    for name in (*RELATIONS, "diagnosis", "vital"):
        pd.testing.assert_frame_equal(once.read(name), twice.read(name))
    assert "visits" not in twice.report().counts or twice.report().counts["visits"] == once.report().counts["visits"]


# The open demos


@pytest.fixture(scope="session", params=list(DEMOS))
def demo(request, open_data, tmp_path_factory):
    """The name and the root of a demo; what it has under another name is linked to where it belongs."""
    source, root = open_data / DEMOS[request.param], tmp_path_factory.mktemp(request.param)
    if not source.is_dir():
        pytest.skip(f"the demo {DEMOS[request.param]} is not with the open data")
    for path in source.rglob("*.csv.gz"):
        link(root / path.relative_to(source), path)
    for place, path in ELSEWHERE.get(request.param, {}).items():
        link(root / place, source / path)
    return request.param, root


def link(place: Path, path: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(path)


def test_demos_are_what_pandas_derives(demo):
    source, root = demo
    dataset = load_dataset(source, root)
    assert_as_derived(dataset, BY_SOURCE[source](reader(root)))
    assert {name: len(dataset.read(name)) for name in DEMO_COUNTS[source]} == DEMO_COUNTS[source]


def test_demo_ages_over_89_are_capped_and_flagged(demo):
    visits = load_dataset(*demo).read("visits")
    assert visits.age_capped.any()
    assert (visits.age[visits.age_capped] == 90).all()
    assert visits.age[~visits.age_capped].max() <= 89
