"""What rows mean that were spoilt on their way or contradict themselves: restored, left out or kept, and counted."""

import fabricated
import ibis
import pandas as pd
import pytest

from zoo.datasets import _expressions as ex
from zoo.datasets import _lost_zeros
from zoo.knowledge import icd
from zoo.prepare import load_dataset


def opened(source: str, root, tables: dict | None = None, form: str = "csv", typed: bool = False):
    tables = fabricated.frames(source) | (tables or {})
    return load_dataset(source, fabricated.write(tables, root, form=form, typed=typed))


def rows(*records: dict, like: dict | None = None) -> pd.DataFrame:
    """Records as a table of text; ``like`` has what they share."""
    frame = pd.DataFrame([{**(like or {}), **r} for r in records], dtype=object)
    return frame.where(frame.notna() & (frame != ""), None)


# Codes that became numbers


def settled(system: str, spelt: list[str], n: int = 1, with_dots: bool = False) -> dict:
    """What becomes of codes as a source spells them: another code, why they are no events, or None: they stay."""
    bare = [f"{system}//{icd.dotted(s, system)}" for s in spelt]
    codes = pd.DataFrame({"code": bare, "spelt": [s if "." in s else None for s in spelt], "n": n})
    changes = _lost_zeros.settled(codes, with_dots).set_index("code")
    changes = changes.new_code.fillna(changes.flaw).fillna("unlisted")
    told = {code: change.partition("//")[2] or change for code, change in changes.items()}
    return {s: told.get(code) for s, code in zip(spelt, bare, strict=True)}


SEVERAL = _lost_zeros.SEVERAL


@pytest.mark.parametrize(
    ("system", "codes"),
    [
        ("ICD9CM", {"389": "038.9", "42": SEVERAL, "845": SEVERAL, "340": SEVERAL, "4019": None, "V4581": None}),
        ("ICD9CM", {"389.0": "038.9", "4019.0": "401.9", "25000.0": "250.00", "412.0": SEVERAL}),
        ("ICD9CM", {"38.9": "038.9", "428.0": None, "250": "250.00", "8.45": "008.45"}),
        ("ICD9CM", {"0389": None, "389": None, "340": None}),  # intact: a zero is there
        ("ICD9CM", {"4019": None, "340": None, "412": None}),  # nothing speaks against them
        ("ICD9CM", {"038.9": None, "38.9": None}),
        ("ICD9PROC", {"117": "01.17", "66": SEVERAL, "3605": "unlisted", "3893": None}),
        ("ICD10PCS", {"16070": "0016070", "210093": "0210093", "02703DZ": None, "99": _lost_zeros.NONE}),
    ],
)
def test_the_one_listed_code_that_digits_may_stand_for(system, codes):
    assert settled(system, list(codes)) == codes


def test_three_hundred_numbers_without_a_zero_are_not_believed():
    assert settled("ICD9CM", ["4019", "340"], n=140) == {"4019": None, "340": None}
    assert settled("ICD9CM", ["4019", "340"], n=150) == {"4019": None, "340": SEVERAL}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_codes_without_their_zeros_are_restored_or_left_out_and_counted(form, tmp_path):
    ids = {"subject_id": "1", "hadm_id": "11", "icd_version": "9"}
    diagnoses = rows(*({"icd_code": c} for c in ("389", "42", "845", "4019")), like=ids)
    procedures = rows({"icd_code": "117"}, {"icd_code": "16070", "icd_version": "10"}, like=ids)
    tables = {"hosp/diagnoses_icd": diagnoses, "hosp/procedures_icd": procedures}
    dataset = opened("mimic4", tmp_path, tables, form, typed=True)
    assert dataset.read("diagnosis").code.tolist() == ["ICD9CM//038.9", "ICD9CM//401.9"]
    assert dataset.read("procedure").code.tolist() == ["ICD10PCS//0016070", "ICD9PROC//01.17"]
    restored = f"kept, but {_lost_zeros.RESTORED}"
    assert dataset.report(["diagnosis", "procedure"]).counts == {
        "diagnosis": {SEVERAL: 2, restored: 1},
        "procedure": {restored: 2},
    }


def test_a_column_of_numbers_is_not_believed_where_text_would_be(tmp_path):
    table = rows({"icd9_code": "340"}, {"icd9_code": "4019"}, like={"subject_id": "1", "hadm_id": "11"})
    for form, found in (("csv", ["ICD9CM//340", "ICD9CM//401.9"]), ("parquet", ["ICD9CM//401.9"])):
        dataset = opened("mimic3", tmp_path / form, {"diagnoses_icd": table}, form, typed=True)
        assert dataset.read("diagnosis").code.tolist() == found


def test_codes_of_eicu_without_their_zeros(tmp_path):
    codes = ("8.45", "38.9", "42", "250", "31.1", "401.9", "V45.81")
    like = {"patientunitstayid": "1000", "diagnosisoffset": "10"}
    table = rows(*({"diagnosisid": str(n), "icd9code": c} for n, c in enumerate(codes)), like=like)
    dataset = opened("eicu", tmp_path / "lost", {"diagnosis": table})
    assert sorted(dataset.read("diagnosis").code) == [
        "ICD9CM//008.45",
        "ICD9CM//038.9",
        "ICD9CM//250.00",
        "ICD9CM//401.9",
        "ICD9CM//V45.81",
    ]
    restored = f"kept, but {_lost_zeros.RESTORED}"
    assert dataset.report(["diagnosis"]).counts["diagnosis"] == {restored: 3, SEVERAL: 2}


NDC = {
    "00904516561": "00904516561",
    "904516561": "00904516561",
    "904516561.0": "00904516561",
    " 904516561 ": "00904516561",
    "9.04516561e+08": "00904516561",
    "9.04516561E8": "00904516561",
    "9.04517E+08": None,
    "0904-5165-61": "00904516561",
    "55390-026-10": "55390002610",
    "00904-5165-1": "00904516501",
    "00904-5165-61": "00904516561",
    "904-5165-61": None,
    "123456": None,
    "000000123456": None,
    "009045165610": None,
    "PLACEBO": None,
    "0": None,
    "0.0": None,
    "00000000000": None,
    "": None,
}


def test_package_codes_as_other_people_write_them():
    column = ibis.memtable({"ndc": list(NDC)}).mutate
    frame = column(code=ex.package_code(ibis._.ndc), remark=ex.no_package_code(ibis._.ndc)).to_pandas()
    assert {n: c if isinstance(c, str) else None for n, c in zip(frame.ndc, frame.code, strict=True)} == NDC
    told = set(frame.ndc[frame.remark.notna()])
    assert told == {n for n, code in NDC.items() if code is None and n.strip("0.")}


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_what_is_no_package_code_is_counted_and_the_name_used(source, tmp_path):
    orders = [("Senna", "904516561.0"), ("Zinc", "0.0"), ("Iron", "9.04517E+08"), ("Gauze", "n/a")]
    like = {"subject_id": "1", "hadm_id": "11", "starttime": "2150-03-02 10:00:00", "startdate": "2150-03-02"}
    table = rows(*({"drug": d, "ndc": n} for d, n in orders), like=like)
    dataset = opened(source, tmp_path, {"hosp/prescriptions" if source == "mimic4" else "prescriptions": table})
    assert sorted(dataset.read("drug").code) == ["DRUG//gauze", "DRUG//iron", "DRUG//zinc", "NDC//00904516561"]
    assert dataset.report(["drug"]).counts["drug"] == {"kept, but its ndc is no package code (its name is used)": 2}


# Notes


def mimic_notes(source: str, notes: list[dict]) -> dict[str, pd.DataFrame]:
    """Notes with ``kind`` (DS, AD, RR), ``day``, ``time``, ``text`` and perhaps ``hadm_id`` in a source's tables."""
    if source == "mimic3":
        names = {"DS": ("Discharge summary", "Report"), "AD": ("Discharge summary", "Addendum"), "RR": ("Nursing", "")}
        told = [
            {"hadm_id": "", "chartdate": n["day"], "charttime": n.get("time", ""), "storetime": "", "iserror": ""}
            | dict(zip(("category", "description"), names[n["kind"]], strict=True))
            | n
            for n in notes
        ]
        return {"noteevents": rows(*told, like={"subject_id": "1"})}
    told = [{"hadm_id": "", "charttime": n.get("time", n["day"]), "note_type": n["kind"]} | n for n in notes]
    letters = [n for n in told if n["kind"] != "RR"]
    images = [n for n in told if n["kind"] == "RR"]
    like = {"subject_id": "1", "storetime": ""}
    return {"note/discharge": rows(*letters, like=like), "note/radiology": rows(*images, like=like)}


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_notes_that_name_no_visit_say_nothing_or_say_it_twice(source, tmp_path):
    """The visit of subject 1 is from 2150-03-01 10:00 (registered at 06:00) to 2150-03-05 12:00."""
    end = pd.Timestamp("2150-03-05 12:00:00")
    notes = [
        {"kind": "DS", "day": "2150-03-03", "time": "2150-03-03 08:00:00", "text": "within"},
        {"kind": "DS", "day": "2150-03-05", "text": "on the day it ended"},
        {"kind": "AD", "day": "2150-03-05", "text": "added that day"},
        {"kind": "DS", "day": "2150-08-08", "text": "in no visit"},
        {"kind": "DS", "day": "2150-03-03", "hadm_id": "11", "text": "named"},
        {"kind": "DS", "day": "2150-03-03", "hadm_id": "11", "text": ""},
        {"kind": "RR", "day": "2150-03-02", "time": "2150-03-02 08:00:00", "text": " \t \n"},
        {"kind": "RR", "day": "2150-03-02", "time": "2150-03-02 08:00:00", "text": "again"},
        {"kind": "RR", "day": "2150-03-02", "time": "2150-03-02 08:00:00", "text": "again", "hadm_id": "11"},
        {"kind": "RR", "day": "2150-03-02", "time": "2150-03-02 09:00:00", "text": "again"},
        {"kind": "RR", "day": "2150-03-05", "text": "on the last day, without a clock"},
    ]
    dataset = opened(source, tmp_path, mimic_notes(source, notes))
    found = dataset.read("note")
    assert set(found.text) == {n["text"] for n in notes if n["text"].strip()}
    by_text = found.drop_duplicates("text").set_index("text")
    assert by_text.visit_id.drop("in no visit").eq(11).all()
    assert pd.isna(by_text.visit_id["in no visit"])
    assert (by_text.time[["within", "on the day it ended", "named"]] == end).all()
    assert by_text.time["added that day"] == pd.Timestamp("2150-03-05 23:59:59")
    assert by_text.time["in no visit"] == pd.Timestamp("2150-08-08 23:59:59")
    assert found.text.tolist().count("again") == 2
    assert dataset.report(["note"]).counts["note"] == {
        "no text": 2,
        "says again what another note says": 1,
        "kept, but within no visit": 1,
    }


def test_notes_of_eicu_that_say_nothing_or_say_it_twice(tmp_path):
    texts = ["fever", "fever", "", "  ", "chills"]
    like = {"patientunitstayid": "1000", "noteoffset": "30", "noteenteredoffset": "", "notetype": "Admission"}
    dataset = opened("eicu", tmp_path, {"note": rows(*({"notetext": t} for t in texts), like=like)})
    assert dataset.read("note").text.tolist() == ["chills", "fever"]
    assert dataset.report(["note"]).counts["note"] == {"no text": 2, "says again what another note says": 1}


# Times and columns that contradict each other


ADMISSION = {
    "admission_type": "EW EMER.",
    "discharge_location": "HOME",
    "race": "WHITE",
    "hospital_expire_flag": "0",
    "admittime": "2150-03-01 10:00:00",
    "dischtime": "2150-03-05 12:00:00",
}


def test_what_columns_say_against_each_other_is_counted_and_the_rows_stay(tmp_path):
    died = {"hospital_expire_flag": "1", "discharge_location": "DIED", "deathtime": "2150-03-05 11:00:00"}
    odd = [
        died | {"deathtime": ""},
        {"deathtime": "2150-03-05 11:00:00"},
        died | {"deathtime": "2150-03-01 09:00:00"},
        died | {"deathtime": "2150-03-05 12:30:00"},
        died | {"discharge_location": "HOME"},
        {"discharge_location": "DIED"},
        {"edregtime": "2150-03-01 11:00:00"},
        {"edregtime": "2149-03-01 11:00:00"},
        {},  # dead by the register before the start
        {},  # and within the visit
        {"admittime": "2080-03-01 10:00:00"},  # before the birth
        {"dischtime": "2150-03-05", "admittime": "2150-03-05 22:00:00"},
        died,
    ]
    admissions = [{"subject_id": str(n), "hadm_id": str(100 + n), **ADMISSION, **o} for n, o in enumerate(odd)]
    people = {"gender": "F", "anchor_age": "40", "anchor_year": "2150", "anchor_year_group": "2011 - 2013"}
    dod = {8: "2149-01-01", 9: "2150-03-03"}
    patients = rows(*({"subject_id": str(n), "dod": dod.get(n)} for n in range(len(odd))), like=people)
    stay = {"first_careunit": "CCU", "last_careunit": "CCU", "subject_id": "12", "hadm_id": "112"}
    stays = [("2150-02-01 10:00:00", "2150-02-02 10:00:00"), ("2150-03-02 10:00:00", "2150-03-08 10:00:00")]
    stays = rows(*({"stay_id": str(n), "intime": a, "outtime": b} for n, (a, b) in enumerate(stays)), like=stay)
    labs = ("2149-03-02 06:00:00", "2151-03-02 06:00:00", "2150-03-02 06:00:00", "2150-03-02")
    lab = {"subject_id": "12", "hadm_id": "112", "itemid": "50912", "valueuom": "mg/dL"}
    labs = rows(*({"charttime": t, "valuenum": str(n)} for n, t in enumerate(labs)), like=lab)
    tables = {
        "hosp/admissions": rows(*admissions, like={"deathtime": "", "edregtime": ""}),
        "hosp/patients": patients,
        "icu/icustays": stays,
        "hosp/labevents": labs,
    }
    dataset = opened("mimic4", tmp_path, tables)
    counts = dataset.report(["lab"]).counts
    assert counts["visits"] == {
        "kept, but died in hospital by its flag, without a time of death": 1,
        "kept, but has a time of death, but no flag of death in hospital": 1,
        "kept, but its time of death comes before its start": 1,
        "kept, but its time of death comes after its end": 1,
        "kept, but died in hospital by its flag, but was discharged elsewhere": 1,
        "kept, but was discharged as dead, but has no flag of death in hospital": 1,
        "kept, but its registration comes after its start": 1,
        "kept, but its registration is more than 7 days before its start (now null)": 1,
        "kept, but starts after its subject's death": 2,
        "kept, but ends after its subject's death elsewhere": 2,
        "kept, but its age is below 0 (now null)": 1,
    }
    assert counts["stays"] == {
        "kept, but lies outside its visit": 1,
        "kept, but reaches more than a day beyond its visit": 1,
    }
    assert counts["lab"] == {
        "kept, but more than 30 days before the visit that it names": 1,
        "kept, but more than 30 days after the visit that it names": 1,
    }
    visits = dataset.read("visits").set_index("visit_id")
    assert len(visits) == len(odd)
    assert visits.end[111] == pd.Timestamp("2150-03-05 23:59:59")  # a date without a clock lasts till its end
    assert pd.isna(visits.age[110])
    assert visits.arrival.dropna().index.tolist() == [106]
    times = dataset.read("lab").time.tolist()[1:]
    assert times == [pd.Timestamp(t) for t in ("2150-03-02 06:00:00", "2150-03-02 23:59:59", "2151-03-02 06:00:00")]


def test_a_death_in_a_visit_with_swapped_times_is_one(tmp_path):
    tables = fabricated.frames("mimic3")
    admissions = tables["admissions"]
    at = admissions.hadm_id == "21"
    admissions.loc[at, ["admittime", "dischtime"]] = admissions.loc[at, ["dischtime", "admittime"]].to_numpy()
    dataset = opened("mimic3", tmp_path, {"admissions": admissions})
    counts = dataset.report().counts["visits"]
    assert counts == {"ends before it starts": 2, "starts after the subject's death in hospital": 1}
    assert dataset.read("left_out").visit_id.tolist() == [21, 31]


def test_words_of_eicu_that_contradict_each_other_and_numbers_that_became_floats(tmp_path):
    patient = fabricated.frames("eicu")["patient"]
    patient["hospitalid"] = patient.hospitalid + ".0"
    patient.loc[1, "hospitaldischargelocation"] = "Death"
    patient.loc[2, "hospitaldischargelocation"] = "Home"
    patient.loc[4, "unitdischargestatus"] = "Expired"
    dataset = opened("eicu", tmp_path, {"patient": patient})
    assert set(dataset.read("visits").hospital) == {"59", "60"}
    counts = dataset.report().counts
    assert counts["visits"] == {
        "kept, but died in hospital by its status, but was discharged elsewhere": 1,
        "kept, but was discharged as dead, but left alive by its status": 1,
    } | {k: v for k, v in counts["visits"].items() if not k.startswith("kept")}
    assert counts["stays"]["kept, but died in the unit by its status, but its visit ended alive"] == 1


def test_wards_that_became_floats_are_the_same_wards(tmp_path):
    stays = fabricated.frames("mimic3")["icustays"]
    before = opened("mimic3", tmp_path / "before").read("stays")
    stays["last_wardid"] = stays.last_wardid + ".0"
    pd.testing.assert_frame_equal(opened("mimic3", tmp_path / "after", {"icustays": stays}).read("stays"), before)


def test_the_first_release_of_mimic4_calls_it_ethnicity(tmp_path):
    tables = fabricated.frames("mimic4")
    admissions = tables["hosp/admissions"].rename(columns={"race": "ethnicity"})
    dataset = opened("mimic4", tmp_path, {"hosp/admissions": admissions})
    assert dataset.read("subjects").ethnicity.tolist() == ["WHITE", "ASIAN", "BLACK"]


def test_numbers_that_were_rounded_are_no_codes(tmp_path):
    ids = {"subject_id": "1", "hadm_id": "11"}
    codes = rows({"icd_code": "4.28E+03"}, {"icd_code": "V4581"}, like={**ids, "icd_version": "9"})
    dataset = opened("mimic4", tmp_path, {"hosp/diagnoses_icd": codes})
    assert dataset.read("diagnosis").code.tolist() == ["ICD9CM//V45.81"]
    assert dataset.report(["diagnosis"]).counts["diagnosis"] == {"no code": 1}
    orders = {"hadm_id": 11, "starttime": "2150-06-02 10:00:00", "route": "IV", "drug_type": "MAIN"}
    orders = pd.DataFrame(
        [{"subject_id": 1, **orders, "drug": d, "ndc": n} for d, n in (("Zinc", 904516563), ("A", 1))]
    )
    orders.astype({"ndc": "float32"}).to_parquet(tmp_path / "hosp" / "prescriptions.parquet")
    dataset = load_dataset("mimic4", tmp_path)
    assert dataset.read("drug").code.tolist() == ["DRUG//a", "DRUG//zinc"]
    assert dataset.report(["drug"]).counts["drug"]["unparsable ndc"] == 1


def test_endings_of_files_in_any_case(tmp_path):
    for form in ("csv.gz", "parquet"):
        root = fabricated.write(fabricated.frames("mimic4"), tmp_path / form, form=form)
        before = load_dataset("mimic4", root).read("visits")
        for path in [p for p in root.rglob("*") if p.is_file()]:
            path.rename(path.with_name(path.name.upper()))
        pd.testing.assert_frame_equal(load_dataset("mimic4", root).read("visits"), before)


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000 \n", "\ufeff", "\u200b"])
def test_a_text_without_ink_is_none(blank):
    found = ex.no_text(ibis.memtable({"text": [blank, f"a{blank}"]}).text).as_table().execute()
    assert found.iloc[:, 0].fillna("a text").tolist() == ["no text", "a text"]
