"""Cohorts and labels of every task, against what plain pandas makes of the raw tables, apart from the library."""

import csv
import gzip
import json
import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import zoo
from zoo.knowledge import drugs
from zoo.testing import check_dataset

SHARED = Path(__file__).parents[2] / "shared" / "data"
ROOTS = {
    "mimic3": SHARED / "mimic3-demo-1.4",
    "mimic4": SHARED / "mimic4-demo-2.2",
    "eicu": SHARED / "eicu-demo-2.0.1",
}
DAY = pd.Timedelta(days=1)
UNITS = ("visit", "stay")


# The raw tables, read apart from the library


@dataclass
class Raw:
    """``visits``: subject, visit, kind, start, end, age, died, death, planned, known; ``stays``: subject, visit, stay,
    start, end, died, kind; ``codes``: visit to its set of (system, code without dot); ``orders``: visit, drug, route,
    time, kind."""

    visits: pd.DataFrame
    stays: pd.DataFrame
    codes: dict
    orders: pd.DataFrame


def read(path: Path, *times: str, **types) -> pd.DataFrame:
    frame = pd.read_csv(path, dtype=types)
    frame.columns = frame.columns.str.lower()
    for column in times:
        frame[column] = pd.to_datetime(frame[column]).dt.as_unit("us")  # nanoseconds hold no 300 years
    return frame


def raw_mimic3(root: Path) -> Raw:
    admissions = read(root / "ADMISSIONS.csv.gz", "admittime", "dischtime", "deathtime")
    patients = read(root / "PATIENTS.csv.gz", "dob", "dod").set_index("subject_id")
    visits = mimic_visits(admissions, patients.dod)
    years = (visits.start - visits.subject.map(patients.dob)).dt.days / 365.25
    visits["age"] = np.where(years > 89, 90, years)
    stays = read(root / "ICUSTAYS.csv.gz", "intime", "outtime").rename(columns={"icustay_id": "stay"})
    codes = read(root / "DIAGNOSES_ICD.csv.gz", icd9_code=str).dropna(subset="icd9_code")
    pairs = zip(codes.hadm_id, codes.icd9_code, strict=True)
    orders = read(root / "PRESCRIPTIONS.csv.gz", "startdate").dropna(subset="startdate")
    orders = orders.assign(time=orders.startdate.dt.normalize() + DAY - pd.Timedelta(seconds=1))
    codes = code_sets((v, ("ICD9CM", c)) for v, c in pairs)
    return Raw(visits, mimic_stays(stays, admissions), codes, mimic_orders(orders))


def raw_mimic4(root: Path) -> Raw:
    admissions = read(root / "hosp" / "admissions.csv.gz", "admittime", "dischtime", "deathtime")
    patients = read(root / "hosp" / "patients.csv.gz", "dod").set_index("subject_id")
    visits = mimic_visits(admissions, patients.dod)
    age = visits.subject.map(patients.anchor_age) + visits.start.dt.year - visits.subject.map(patients.anchor_year)
    visits["age"] = np.where((age > 89) | (visits.subject.map(patients.anchor_age) > 89), 90, age)
    stays = read(root / "icu" / "icustays.csv.gz", "intime", "outtime").rename(columns={"stay_id": "stay"})
    codes = read(root / "hosp" / "diagnoses_icd.csv.gz", icd_code=str)
    pairs = zip(codes.hadm_id, codes.icd_version, codes.icd_code.str.strip(), strict=True)
    orders = read(root / "hosp" / "prescriptions.csv.gz", "starttime").dropna(subset="starttime")
    codes = code_sets((v, (f"ICD{n}CM", c)) for v, n, c in pairs)
    return Raw(visits, mimic_stays(stays, admissions), codes, mimic_orders(orders.assign(time=orders.starttime)))


def mimic_orders(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.rename(columns={"hadm_id": "visit", "drug_type": "kind"})[["visit", "drug", "route", "time", "kind"]]


def mimic_visits(admissions: pd.DataFrame, dod: pd.Series) -> pd.DataFrame:
    visits = admissions.rename(columns={"subject_id": "subject", "hadm_id": "visit"})
    visits = visits.rename(columns={"admittime": "start", "dischtime": "end"})
    in_hospital = visits.groupby("subject").deathtime.max()
    death = visits.subject.map(in_hospital).fillna(
        visits.subject.map(dod).dt.normalize() + DAY - pd.Timedelta(seconds=1)
    )
    planned = visits.admission_type.isin(["ELECTIVE", "SURGICAL SAME DAY ADMISSION"])
    observed = visits.admission_type.str.endswith(" OBSERVATION")  # "OBSERVATION ADMIT" is who was admitted
    visits = visits.assign(death=death, planned=planned, known=True, died=visits.hospital_expire_flag == 1)
    visits["kind"] = np.where(observed, "observation", "inpatient")
    visits = visits[visits.end >= visits.start].sort_values(["subject", "start", "visit"])
    fatal = visits[visits.died].drop_duplicates("subject").set_index("subject")
    over = visits.subject.map(fatal.deathtime.clip(upper=fatal.end).fillna(fatal.end))
    return visits[~(visits.start > over)].reset_index(drop=True)


def mimic_stays(stays: pd.DataFrame, admissions: pd.DataFrame) -> pd.DataFrame:
    stays = stays.rename(columns={"subject_id": "subject", "hadm_id": "visit", "intime": "start", "outtime": "end"})
    stays = stays.dropna(subset=["start", "end"]).sort_values(["subject", "start", "end", "stay"])
    deathtime = stays.visit.map(admissions.set_index("hadm_id").deathtime)
    flag = stays.visit.map(admissions.set_index("hadm_id").hospital_expire_flag) == 1
    died = flag & (stays.start <= deathtime) & (deathtime <= stays.end)
    kind = np.where(stays.groupby("visit").cumcount() == 0, "admit", "readmit")
    died = died.astype(object).mask(flag & deathtime.isna(), None)
    moved = stays.first_careunit != stays.last_careunit
    if "first_wardid" in stays:
        moved |= stays.first_wardid != stays.last_wardid
    return stays.assign(died=died, kind=kind, moved=moved).reset_index(drop=True)


def raw_eicu(root: Path) -> Raw:
    table = read(root / "patient.csv.gz").sort_values(["unitvisitnumber", "patientunitstayid"])
    status = {"Alive": False, "Expired": True}
    table["died"] = table.hospitaldischargestatus.map(status)
    table["minutes"] = table.hospitaldischargeoffset - table.hospitaladmitoffset
    firsts = table.drop_duplicates("patienthealthsystemstayid").copy()
    rows = []
    for uniquepid, group in firsts.groupby("uniquepid"):
        group = group.assign(fatal=group.died == True)  # noqa: E712
        group = group.sort_values(["hospitaldischargeyear", "fatal", "patienthealthsystemstayid"])
        moment = pd.Timestamp(int(group.hospitaldischargeyear.min()), 1, 1)
        known = group.hospitaldischargeyear.is_unique
        for row in group.itertuples():
            end = moment + pd.Timedelta(minutes=row.minutes)
            age = 90 if row.age == "> 89" else float(row.age) if isinstance(row.age, str) else np.nan
            subject = int("1" + uniquepid.replace("-", ""))
            rows.append((subject, row.patienthealthsystemstayid, moment, end, age, row.died, False, known))
            moment = max(moment, end)
    visits = pd.DataFrame(rows, columns=["subject", "visit", "start", "end", "age", "died", "planned", "known"])
    visits["kind"] = "inpatient"
    visits["death"] = visits.subject.map(visits[visits.died == True].groupby("subject").end.max())  # noqa: E712
    visits = visits[visits.end >= visits.start].sort_values(["subject", "start"], kind="stable").reset_index(drop=True)
    stays = eicu_stays(table, visits)
    return Raw(visits, stays, code_sets(eicu_codes(root, table)), eicu_orders(root, stays))


def eicu_orders(root: Path, stays: pd.DataFrame) -> pd.DataFrame:
    """Orders that were not cancelled; one without a name has that of most others with its number."""
    rows = read(root / "medication.csv.gz", drugname=str, routeadmin=str)
    rows = rows[rows.drugordercancelled != "Yes"].merge(stays, left_on="patientunitstayid", right_on="stay")
    named = rows[rows.drugname.notna() & (rows.drughiclseqno > 0)]
    plain = named.drugname.map({n: drugs.normalised(n) for n in named.drugname.unique()})
    counts = plain[plain != ""].groupby(named.drughiclseqno).value_counts().rename("n").reset_index()
    counts = counts.sort_values(["n", "drugname"], ascending=[False, True]).drop_duplicates("drughiclseqno")
    name = rows.drugname.fillna(rows.drughiclseqno.map(counts.set_index("drughiclseqno").drugname))
    time = rows.start + pd.to_timedelta(rows.drugstartoffset, unit="min")
    orders = {"visit": rows.visit, "drug": name, "route": rows.routeadmin, "time": time, "kind": None}
    return pd.DataFrame(orders).dropna(subset="time")


def eicu_codes(root: Path, table: pd.DataFrame):
    """Visit and code of each code in the lists of diagnoses, where both versions stand side by side."""
    rows = read(root / "diagnosis.csv.gz", icd9code=str).dropna(subset="icd9code")
    home = dict(zip(table.patientunitstayid, table.patienthealthsystemstayid, strict=True))
    for stay, codes in zip(rows.patientunitstayid, rows.icd9code, strict=True):
        for code in filter(None, (c.strip().upper() for c in codes.split(","))):
            ninth = "ICD9PROC" if re.match(r"\d\d\.\d{1,2}$", code) else "ICD9CM"
            old = re.match(r"\d|E\d{3}|V\d\d(\.?\d{1,2})?$", code)
            yield home[stay], (ninth if old else "ICD10CM", code.replace(".", ""))


def eicu_stays(table: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    begun = table.patienthealthsystemstayid.map(visits.set_index("visit").start)
    start = begun - pd.to_timedelta(table.hospitaladmitoffset, unit="min")
    stays = pd.DataFrame(
        {
            "subject": [int("1" + u.replace("-", "")) for u in table.uniquepid],
            "visit": table.patienthealthsystemstayid,
            "stay": table.patientunitstayid,
            "start": start,
            "end": start + pd.to_timedelta(table.unitdischargeoffset, unit="min"),
            "died": table.unitdischargestatus.map({"Alive": False, "Expired": True}),
            "kind": table.unitstaytype,
            "moved": False,
        }
    )
    return stays[begun.notna() & (stays.end >= stays.start)].sort_values(["subject", "start", "end", "stay"])


def code_sets(pairs) -> dict:
    found: dict = {}
    for visit, code in pairs:
        found.setdefault(visit, set()).add(code)
    return found


READERS = {"mimic3": raw_mimic3, "mimic4": raw_mimic4, "eicu": raw_eicu}


# What the tasks' definitions say, row by row


INPATIENT = ("inpatient",)


def of_classes(raw: Raw, visit_class) -> pd.DataFrame:
    return raw.visits if visit_class is None else raw.visits[raw.visits.kind.isin(visit_class)]


def rows_of(raw: Raw, unit: str, visit_class=None):
    """Visits or stays with those of their visit as ``hospital``."""
    hospital = {v.visit: v for v in of_classes(raw, visit_class).itertuples()}
    if unit == "visit":
        return [(v, v, None) for v in hospital.values()]
    return [(s, hospital[s.visit], s.stay) for s in raw.stays.itertuples() if s.visit in hospital]


def mortality(raw: Raw, hours=48, unit="visit", target="hospital", min_age=None, visit_class=INPATIENT):
    for row, visit, stay in rows_of(raw, unit, visit_class):
        moment = row.start + pd.Timedelta(hours=hours)
        died = row.died if target == "stay" else visit.died
        over = min(visit.end, row.end) if target == "stay" else visit.end
        if over <= moment or visit.death <= moment or pd.isna(died) or young(visit, min_age):
            continue
        yield visit.visit, stay, moment, bool(died)


def young(visit, min_age) -> bool:
    return min_age is not None and not visit.age >= min_age


def mortality_next_visit(raw: Raw, keep_unordered=False):
    for _, group in raw.visits.groupby("subject"):
        if not group.known.all() and not keep_unordered:
            continue
        rows = list(group.itertuples())
        for this, following in pairwise(rows):
            over = this.end >= following.end or this.end >= this.death
            if not pd.isna(following.died) and not over:
                yield this.visit, None, this.end, bool(following.died)


def readmission(raw: Raw, days=30, min_age=18, unplanned=False, min_gap_hours=0, unit="visit", visit_class=INPATIENT):
    if unit == "stay":
        yield from icu_readmission(raw, min_age, visit_class)
        return
    for _, group in of_classes(raw, visit_class).groupby("subject"):
        rows = list(group.itertuples())
        for place, row in enumerate(rows):
            if young(row, min_age) or pd.isna(row.died) or row.died or row.death <= row.end:
                continue
            gaps = [(o.start - row.end, o) for o in rows[place + 1 :]]
            gaps = [g for g, o in gaps if not (unplanned and o.planned)]
            gaps = [g for g in gaps if not min_gap_hours or g >= pd.Timedelta(hours=min_gap_hours)]
            if not gaps or gaps[0] > pd.Timedelta(0):  # who is back already cannot come back
                yield row.visit, None, row.end, bool(gaps) and gaps[0] <= days * DAY


def icu_readmission(raw: Raw, min_age, visit_class):
    hospital = {v.visit: v for v in of_classes(raw, visit_class).itertuples()}
    stays = raw.stays[raw.stays.visit.isin(hospital) & (raw.stays.kind != "stepdown/other")]
    for visit, group in stays.groupby("visit"):
        own, rows = hospital[visit], list(group.itertuples())
        for place, row in enumerate(rows):
            if young(own, min_age) or pd.isna(row.died) or row.died or own.death <= row.end or own.end <= row.end:
                continue
            back = [other.start for other in rows[place + 1 :] if other.kind == "readmit"]
            if not back or back[0] > row.end:
                yield visit, row.stay, row.end, bool(back)


def mortality_after_discharge(raw: Raw, days=30, min_age=None):
    for row in raw.visits.itertuples():
        if not pd.isna(row.died) and not row.died and not row.death <= row.end and not young(row, min_age):
            yield row.visit, None, row.end, bool(row.death <= row.end + days * DAY)


def time_to_death(raw: Raw, follow_up, hours=24, min_age=18, visit_class=INPATIENT):
    last = raw.visits.groupby("subject").end.max()
    in_hospital = raw.visits[raw.visits.died == True].groupby("subject").end.max()  # noqa: E712
    for row in of_classes(raw, visit_class).itertuples():
        moment, death = row.start + pd.Timedelta(hours=hours), in_hospital.get(row.subject, row.death)
        if row.end < moment or death <= moment or young(row, min_age) or (not follow_up and pd.isna(row.died)):
            continue
        until = last[row.subject] + follow_up * DAY if follow_up else row.end
        event = bool(death <= until) if follow_up else bool(row.died)
        over = death if event and follow_up else until
        if over > moment:
            yield row.visit, None, moment, ((over - moment) / DAY, float(event))


def los(raw: Raw, target="bins", hours=24, unit="visit", visit_class=INPATIENT):
    for row, visit, stay in rows_of(raw, unit, visit_class):
        moment = row.start + pd.Timedelta(hours=hours)
        if row.end < moment or visit.end < moment or visit.death <= moment:
            continue
        days = (row.end - row.start) / DAY
        whole = int(days)
        bins = whole if whole < 8 else 8 if days < 14 else 9
        yield visit.visit, stay, moment, bins if target == "bins" else days


def diagnosis(raw: Raw, level="ccs", keep_unordered=False):
    for _, group in raw.visits.groupby("subject"):
        if not group.known.all() and not keep_unordered:
            continue
        for row in list(group.itertuples())[1:]:
            raised = {AT_LEVEL[level](system, code) for system, code in raw.codes.get(row.visit, ())} - {None}
            if raised:
                yield row.visit, None, row.start, sorted(raised)


def medication(raw: Raw, level="atc3", hours=None, min_visits=2, drug_types=("base", "main"), by_day=False):
    orders = raw.orders[raw.orders.kind.isna() | raw.orders.kind.str.lower().isin(drug_types)]
    orders = orders.assign(drug=orders.drug.where(orders.drug.notna(), None), route=orders.route.astype(object))
    pairs = orders[["drug", "route"]].drop_duplicates()
    pairs = pairs.assign(atc=drugs.atc(pairs.drug.tolist(), pairs.route.tolist(), level))
    orders = orders.merge(pairs, on=["drug", "route"]).dropna(subset="atc")
    visits = raw.visits[raw.visits.groupby("subject").known.transform("all")]
    start = orders.visit.map(visits.set_index("visit").start)
    orders = orders[start.notna()].assign(since=orders.time - start)
    if hours is not None:
        first = orders.groupby("visit").time.transform("min")
        early = orders.time == first if by_day else orders.since <= pd.Timedelta(hours=hours)
        orders = orders[early]
    sets = orders.groupby("visit").atc.agg(lambda codes: sorted({f"ATC//{c}" for c in codes}))
    visits = visits[visits.visit.isin(sets.index)]
    for row in visits[visits.groupby("subject").visit.transform("size") >= min_visits].itertuples():
        yield row.visit, None, row.start, sets[row.visit]


PHENOTYPES = """2 49 50 53 55 98 99 100 101 105 106 108 109 122 127 130 131 133 134 151 153 157 158 238 249"""


def phenotyping(raw: Raw, min_age=18):
    conditions = {f"CCS//{n}" for n in PHENOTYPES.split()}
    for row, visit, stay in rows_of(raw, "stay"):
        alone = (raw.stays.visit == row.visit).sum() == 1
        known = {ccs(system, code) for system, code in raw.codes.get(row.visit, ())} - {None}
        if alone and not young(visit, min_age) and known and not row.moved and row.kind != "stepdown/other":
            yield row.visit, stay, row.end, sorted(known & conditions)


def dotted(system: str, code: str) -> str:
    stem = 2 if system == "ICD9PROC" else 4 if system == "ICD9CM" and code.startswith("E") else 3
    return f"{system}//{code[:stem]}.{code[stem:]}" if len(code) > stem else f"{system}//{code}"


def category(system: str, code: str) -> str:
    return dotted(system, code).split(".")[0]


@cache
def ccs(system: str, code: str) -> str | None:
    """The single-level CCS category by the tables of AHRQ, read as they are published.

    A code that is none of theirs has the category of its subdivisions, if they share one, else of what it subdivides.
    """
    table = CCS_TABLES[system]()
    if code in table:
        return table[code]
    below = {table[c] for c in table if c.startswith(code)}
    if len(below) == 1:
        return below.pop()
    return next((table[code[:n]] for n in range(len(code), 2, -1) if code[:n] in table), None)


def ahrq_icd9() -> dict:
    if "ICD9CM" not in _TABLES:
        with gzip.open(SHARED / "knowledge" / "ahrq-icd9" / "X.dxref.2015.csv.gz", "rt", encoding="latin-1") as file:
            rows = [[cell.strip(" '") for cell in row] for row in csv.reader(file)]
        _TABLES["ICD9CM"] = {row[0]: f"CCS//{row[1]}" for row in rows if len(row) > 1 and row[1].isdigit()}
    return _TABLES["ICD9CM"]


def hcup_icd10() -> dict:
    if "ICD10CM" not in _TABLES:
        path = SHARED / "knowledge" / "hcup-icd10" / "ccs_dx_icd10cm_2019_1.csv.gz"
        with gzip.open(path, "rt", encoding="latin-1") as file:
            rows = [[cell.strip(" '") for cell in row] for row in csv.reader(file)]
        _TABLES["ICD10CM"] = {row[0]: f"CCS//{row[1]}" for row in rows if len(row) > 1 and row[1].isdigit()}
    return _TABLES["ICD10CM"]


_TABLES: dict = {}
CCS_TABLES = {"ICD9CM": ahrq_icd9, "ICD10CM": hcup_icd10, "ICD9PROC": lambda: {"311": "CCSPROC//34"}}
AT_LEVEL = {"code": dotted, "icd3": category, "ccs": ccs}
DEFINITIONS = {
    "mortality": mortality,
    "mortality_next_visit": mortality_next_visit,
    "mortality_after_discharge": mortality_after_discharge,
    "readmission": readmission,
    "los": los,
    "diagnosis": diagnosis,
    "medication": medication,
    "phenotyping": phenotyping,
    "time_to_death": time_to_death,
}
VARIANTS = [
    ("mortality", {}),
    ("mortality", {"hours": 24}),
    ("mortality", {"hours": 0}),
    ("mortality", {"unit": "stay"}),
    ("mortality", {"unit": "stay", "target": "stay", "hours": 24}),
    ("mortality", {"min_age": 65}),
    ("mortality", {"visit_class": None}),
    ("mortality_next_visit", {}),
    ("mortality_after_discharge", {}),
    ("mortality_after_discharge", {"days": 365, "min_age": 50.5}),
    ("time_to_death", {}),
    ("time_to_death", {"hours": 0, "min_age": None, "visit_class": None}),
    ("readmission", {}),
    ("readmission", {"days": 365, "min_age": None}),
    ("readmission", {"days": 90, "unplanned": True, "min_gap_hours": 24}),
    ("readmission", {"min_age": 65, "days": 180.5}),
    ("readmission", {"visit_class": None}),
    ("readmission", {"visit_class": ["observation", "inpatient"], "days": 90}),
    ("readmission", {"unit": "stay"}),
    ("los", {}),
    ("los", {"visit_class": None}),
    ("los", {"hours": 0}),
    ("los", {"target": "days", "hours": 48}),
    ("los", {"unit": "stay"}),
    ("los", {"unit": "stay", "target": "days", "hours": 0}),
    ("diagnosis", {}),
    ("diagnosis", {"level": "icd3"}),
    ("diagnosis", {"level": "code"}),
    ("phenotyping", {}),
    ("phenotyping", {"min_age": None}),
    ("medication", {}),
    ("medication", {"level": "atc4", "min_visits": 1}),
    ("medication", {"hours": 24, "drug_types": ["main", "base", "additive"]}),
]


# On the open demos


@pytest.fixture(scope="module")
def opened():
    """Opens a demo and its raw tables, each once."""
    found: dict = {}

    def open_(name: str):
        if not ROOTS[name].is_dir():
            pytest.skip(f"the open demo {ROOTS[name].name} is not there")
        if name not in found:
            found[name] = zoo.load_dataset(name, root=ROOTS[name]), READERS[name](ROOTS[name])
        return found[name]

    return open_


def assert_same_samples(data, expected) -> None:
    found = {
        (row.visit_id, None if pd.isna(row.stay_id) else row.stay_id): (row.prediction_time, row.label)
        for row in data.samples.itertuples()
    }
    expected = {(visit, stay): (moment, label) for visit, stay, moment, label in expected}
    assert len(data.samples) == len(found)
    assert found.keys() == expected.keys()
    for key, (moment, label) in expected.items():
        assert found[key][0] == moment, key
        assert found[key][1] == (pytest.approx(label) if isinstance(label, (float, tuple)) else label), key
    assert data.attrition.remaining.iloc[-1] == len(expected)


def test_every_task_is_compared():
    elsewhere = {"icd_coding"}  # the demos of MIMIC have no notes: test_icd_coding compares it
    assert set(zoo.list_tasks()) - elsewhere <= {task for task, _ in VARIANTS} == set(DEFINITIONS)


@pytest.mark.parametrize(("task", "parameters"), VARIANTS, ids=str)
@pytest.mark.parametrize("name", ["mimic3", "mimic4"])
def test_samples_of_mimic_are_those_that_pandas_finds(opened, name, task, parameters):
    dataset, raw = opened(name)
    further = {"by_day": name == "mimic3"} if task == "medication" else {}
    further |= {"follow_up": {"mimic3": 90, "mimic4": 365}[name]} if task == "time_to_death" else {}
    expected = list(DEFINITIONS[task](raw, **parameters, **further))
    assert expected, "the demo has no sample to compare"
    assert_same_samples(zoo.load(dataset, task, **parameters), expected)


@pytest.mark.parametrize(
    ("task", "parameters"),
    [v for v in VARIANTS if v[0] != "mortality_after_discharge" and (v[0] != "readmission" or v[1].get("unit"))],
    ids=str,
)
def test_samples_of_eicu_are_those_that_pandas_finds(opened, task, parameters):
    dataset, raw = opened("eicu")
    further = {"follow_up": 0} if task == "time_to_death" else {}
    expected = list(DEFINITIONS[task](raw, **parameters, **further))
    if not expected:
        with pytest.raises(zoo.UserError, match="no sample"):
            zoo.load(dataset, task, **parameters)
        return
    assert_same_samples(zoo.load(dataset, task, **parameters), expected)


@pytest.mark.parametrize("task", ["mortality_next_visit", "diagnosis"])
def test_eicu_keeps_unordered_visits_on_demand(opened, task):
    dataset, raw = opened("eicu")
    expected = list(DEFINITIONS[task](raw, keep_unordered=True))
    assert len(expected) > len(list(DEFINITIONS[task](raw)))
    assert_same_samples(zoo.load(dataset, task, keep_unordered=True), expected)


def test_eicu_has_no_readmission_to_hospital(opened):
    dataset, _ = opened("eicu")
    with pytest.raises(zoo.UserError, match="unit='stay'"):
        zoo.load(dataset, "readmission")
    with pytest.raises(zoo.UserError, match="does not tell deaths after discharge"):
        zoo.load(dataset, "mortality_after_discharge")


SIMPLE = ("mortality_next_visit", "mortality_after_discharge", "diagnosis", "medication", "time_to_death")
EVERY = {
    **{f"{task} {unit}": (task, {"unit": unit}) for task in ("mortality", "readmission", "los") for unit in UNITS},
    "death in the unit": ("mortality", {"unit": "stay", "target": "stay", "hours": 6}),
    "los at once": ("los", {"unit": "stay", "hours": 0}),
    **{task: (task, {}) for task in SIMPLE},
}
NOT_THERE = {("eicu", "readmission visit"), ("eicu", "mortality_after_discharge")}
RETROSPECTIVE = {"phenotyping", "icd_coding"}


@pytest.mark.parametrize("name", ROOTS)
def test_no_task_predicts_for_the_dead_or_the_gone_or_what_has_come_about(opened, name):
    """Against the raw tables: every task, unit and demo."""
    dataset, raw = opened(name)
    visits, stays = raw.visits.set_index("visit"), raw.stays.set_index("stay")
    admitted = of_classes(raw, INPATIENT)
    starts = [(s, v, t) for s, v, t in zip(admitted.subject, admitted.visit, admitted.start, strict=True)]
    after = {visit: nxt[2] for (subject, visit, _), nxt in pairwise(starts) if nxt[0] == subject}
    assert {task for task, _ in EVERY.values()} | RETROSPECTIVE == set(zoo.list_tasks())
    for case in EVERY.keys() - {case for source, case in NOT_THERE if source == name}:
        task, parameters = EVERY[case]
        data = zoo.load(dataset, task, **parameters)
        samples, moment = data.samples, data.samples.prediction_time
        own = visits.reindex(samples.visit_id)
        assert not (own.death.to_numpy() <= moment).any(), case
        assert not (own.end.to_numpy() < moment).any(), case
        if samples.stay_id.notna().any() and case != "mortality stay":
            assert not (stays.reindex(samples.stay_id).end.to_numpy() < moment).any(), case
        if case == "readmission visit":
            back = samples.visit_id[samples.label.to_numpy()].map(after)
            assert (back > moment[samples.label.to_numpy()]).all()
        assert data.attrition.left_out.sum() + len(samples) == data.attrition.remaining.iloc[0], case


def test_observations_of_mimic4_are_no_admissions(opened):
    """As many samples as pandas finds, in figures: 42 of 275 visits are observations, and 3 of 45 after them die."""
    dataset, _ = opened("mimic4")
    counts = {"mortality": (215, 220), "los": (230, 245), "readmission": (218, 259)}
    for task, (inpatient, every) in counts.items():
        data = zoo.load(dataset, task)
        assert data.attrition.iloc[1].tolist() == ["visit is not inpatient", 42, 233]
        assert (len(data.samples), len(zoo.load(dataset, task, visit_class=None).samples)) == (inpatient, every)
    with pytest.raises(zoo.UserError, match="visit is not outpatient: 275 left out"):
        zoo.load(dataset, "los", visit_class="outpatient")


def test_tasks_that_assign_what_the_record_holds_keep_the_dead(opened):
    dataset, raw = opened("mimic3")
    died = raw.stays.visit.isin(raw.visits.visit[raw.visits.died])
    late = died & (raw.stays.end > raw.stays.visit.map(raw.visits.set_index("visit").death))
    assert (died.sum(), late.sum()) == (46, 27)
    samples = zoo.load(dataset, "phenotyping").samples
    assert samples.stay_id.isin(raw.stays.stay[died]).sum() == 31
    assert samples.stay_id.isin(raw.stays.stay[late]).sum() == 19
    dataset, raw = opened("eicu")
    samples = zoo.load(dataset, "icd_coding", notes=["comprehensive_progress", "brief_progress"]).samples
    dead = raw.visits.visit[raw.visits.died == True]  # noqa: E712
    assert samples.visit_id.isin(dead).sum() == 77


# On small tables with the edges in them


def source(folder: Path, admissions: list, *, born="2100-01-01", dod=None, stays=(), codes=(), places=None):
    """A MIMIC-III source: admissions are (subject, visit, start, end) and optionally a dict of further columns.

    ``places`` has further columns of stays.
    """
    facts = {"deathtime": None, "admission_type": "EMERGENCY", "discharge_location": "HOME", "hospital_expire_flag": 0}
    rows = []
    for subject, visit, start, end, *more in admissions:
        rows.append({"subject_id": subject, "hadm_id": visit, "admittime": start, "dischtime": end, **facts})
        rows[-1].update(*more)
    subjects = sorted({r["subject_id"] for r in rows})
    patients = [{"subject_id": s, "gender": "F", "dob": born, "dod": (dod or {}).get(s)} for s in subjects]
    pd.DataFrame(rows).to_csv(folder / "ADMISSIONS.csv", index=False)
    pd.DataFrame(patients).to_csv(folder / "PATIENTS.csv", index=False)
    columns = ["subject_id", "hadm_id", "icustay_id", "intime", "outtime"]
    pd.DataFrame(stays, columns=columns).assign(**(places or {})).to_csv(folder / "ICUSTAYS.csv", index=False)
    diagnoses = pd.DataFrame(codes, columns=["subject_id", "hadm_id", "icd9_code"])
    diagnoses.to_csv(folder / "DIAGNOSES_ICD.csv", index=False)
    return zoo.load_dataset("mimic3", root=folder)


ADMITTED, OBSERVED = "OBSERVATION ADMIT", "EU OBSERVATION"


def source_with_classes(folder: Path, admissions: list, stays=()):
    """A MIMIC-IV source: admissions are (subject, visit, start, end, type), each with a diagnosis; stays (subject,
    visit, stay, start, end)."""
    for name in ("hosp", "icu"):
        (folder / name).mkdir()
    columns = ["subject_id", "hadm_id", "admittime", "dischtime", "admission_type"]
    frame = pd.DataFrame(admissions, columns=columns).assign(deathtime=None, hospital_expire_flag=0)
    frame.to_csv(folder / "hosp" / "admissions.csv", index=False)
    patients = pd.DataFrame({"subject_id": sorted({a[0] for a in admissions}), "gender": "F", "anchor_age": 60})
    patients.assign(anchor_year=2150).to_csv(folder / "hosp" / "patients.csv", index=False)
    codes = frame[["subject_id", "hadm_id"]].assign(icd_code="I10", icd_version=10, seq_num=1)
    codes.to_csv(folder / "hosp" / "diagnoses_icd.csv", index=False)
    columns = ["subject_id", "hadm_id", "stay_id", "intime", "outtime"]
    pd.DataFrame(stays, columns=columns).to_csv(folder / "icu" / "icustays.csv", index=False)
    return zoo.load_dataset("mimic4", root=folder)


def labels(dataset, task, **parameters) -> dict:
    """Label by visit_id, or by stay_id where samples are stays."""
    samples = zoo.load(dataset, task, **parameters).samples
    return dict(zip(samples.stay_id.fillna(samples.visit_id).astype(int), samples.label, strict=True))


def left_out(dataset, task, **parameters) -> dict:
    table = zoo.load(dataset, task, **parameters).attrition
    return {step: n for step, n in zip(table.step, table.left_out, strict=True) if n}


DIED = {"hospital_expire_flag": 1}


def test_readmission_on_the_last_second_counts(tmp_path):
    dataset = source(
        tmp_path,
        [
            (1, 11, "2150-01-01 00:00:00", "2150-01-05 12:00:00"),
            (1, 12, "2150-02-04 12:00:00", "2150-02-10 00:00:00"),
            (2, 21, "2150-01-01 00:00:00", "2150-01-05 12:00:00"),
            (2, 22, "2150-02-04 12:00:01", "2150-02-10 00:00:00"),
        ],
    )
    assert labels(dataset, "readmission") == {11: True, 12: False, 21: False, 22: False}
    assert labels(dataset, "readmission", days=29.99) == {11: False, 12: False, 21: False, 22: False}
    assert labels(dataset, "readmission", days=31) == {11: True, 12: False, 21: True, 22: False}


def test_readmission_passes_over_what_does_not_count(tmp_path):
    elective, same_day = {"admission_type": "ELECTIVE"}, {"admission_type": "SURGICAL SAME DAY ADMISSION"}
    dataset = source(
        tmp_path,
        [
            (1, 11, "2150-01-01", "2150-01-02"),
            (1, 12, "2150-01-05", "2150-01-06", elective),
            (1, 13, "2150-01-09", "2150-01-10", same_day),
            (1, 14, "2150-01-20", "2150-01-21"),
            (2, 21, "2150-01-01", "2150-01-02 00:00:00"),
            (2, 22, "2150-01-02 06:00:00", "2150-01-10"),
            (3, 31, "2150-01-01", "2150-01-02"),
            (3, 32, "2150-01-05", "2150-01-06", elective),
        ],
    )
    assert labels(dataset, "readmission", days=10) == {
        11: True, 12: True, 13: True, 14: False, 21: True, 22: False, 31: True, 32: False
    }  # fmt: skip
    unplanned = labels(dataset, "readmission", days=10, unplanned=True)
    assert unplanned == {11: False, 12: False, 13: True, 14: False, 21: True, 22: False, 31: False, 32: False}
    assert labels(dataset, "readmission", min_gap_hours=6)[21]
    assert not labels(dataset, "readmission", min_gap_hours=6.01)[21]


def test_only_an_admission_of_the_classes_is_a_return(tmp_path):
    """Subject 2's observation has its times swapped, 3's begins in the admission before, 4's has no start."""
    admissions = [
        (1, 11, "2150-01-01", "2150-01-02", "URGENT"),
        (1, 12, "2150-01-05", "2150-01-06", OBSERVED),
        (1, 13, "2150-01-09", "2150-01-10", ADMITTED),
        (2, 21, "2150-01-01", "2150-01-02", "URGENT"),
        (2, 22, "2150-01-06", "2150-01-05", OBSERVED),
        (3, 31, "2150-01-01", "2150-01-04", "URGENT"),
        (3, 32, "2150-01-03", "2150-01-05", OBSERVED),
        (4, 41, "2150-01-01", "2150-01-02", "URGENT"),
        (4, 42, "", "2150-01-05", OBSERVED),
    ]
    dataset = source_with_classes(tmp_path, admissions)
    assert labels(dataset, "readmission") == {11: True, 13: False, 21: False, 31: False, 41: False}
    assert labels(dataset, "readmission", days=6) == {11: False, 13: False, 21: False, 31: False, 41: False}
    assert left_out(dataset, "readmission") == {"visit is not inpatient": 2}
    assert labels(dataset, "readmission", visit_class=None, days=6) == {
        11: True, 12: True, 13: False, 21: True, 32: False
    }  # fmt: skip
    assert left_out(dataset, "readmission", visit_class=None) == {
        "an admission without a start may be the return": 1,
        "outcome known before the prediction": 1,
    }
    assert labels(dataset, "readmission", visit_class="observation") == {12: False, 32: False}


CLASSED = ("mortality", "los", "readmission")


def test_every_task_that_asks_for_a_class_has_one_of_its_own():
    asking = {t for t in zoo.list_tasks() if "visit_class" in zoo.load_task(t).parameters()}
    assert asking == {*CLASSED, "time_to_death"}
    assert {zoo.load_task(t).visit_class for t in CLASSED} == {INPATIENT}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("task", CLASSED)
def test_a_class_that_is_not_known_is_an_error_only_where_it_is_asked_for(tmp_path, task, unit):
    day = ("2150-01-01 08:00:00", "2150-01-09 08:00:00")
    admissions = [(1, 11, *day, "TOUR"), (2, 21, *day, "URGENT"), (3, 31, *day, OBSERVED)]
    stays = [(a[0], a[1], 10 * a[1], day[0], "2150-01-05 08:00:00") for a in admissions]
    dataset = source_with_classes(tmp_path, admissions, stays)
    told = r"visit_class=\['inpatient'\].* 1 of 3 is not known .*visit_id 11.* set visit_class to None"
    with pytest.raises(zoo.UserError, match=told):
        zoo.load(dataset, task, unit=unit)
    assert len(labels(dataset, task, unit=unit, visit_class=None)) == 3


@pytest.mark.parametrize("task", CLASSED)
def test_stays_in_visits_of_other_classes_are_left_out(tmp_path, task):
    day = ("2150-01-01 08:00:00", "2150-01-09 08:00:00")
    admissions = [(1, 11, *day, ADMITTED), (2, 21, *day, OBSERVED)]
    stays = [(a[0], a[1], 10 * a[1], day[0], "2150-01-05 08:00:00") for a in admissions]
    dataset = source_with_classes(tmp_path, admissions, stays)
    assert set(labels(dataset, task, unit="stay")) == {110}
    assert set(labels(dataset, task, unit="stay", visit_class=["observation", "emergency"])) == {210}


@pytest.mark.parametrize("task", [*CLASSED, "time_to_death"])
def test_the_order_of_classes_does_not_matter(tmp_path, task):
    day = ("2150-01-01", "2150-01-09")
    dataset = source_with_classes(tmp_path, [(1, 11, *day, "URGENT"), (2, 21, *day, OBSERVED)])
    ways = [["observation", "inpatient"], ("inpatient", "observation"), ["observation", "inpatient", "observation"]]
    found = [zoo.load(dataset, task, visit_class=w, concepts=["diagnosis"]) for w in ways]
    assert {len(d.samples) for d in found} == {2}
    assert len({json.dumps(d.key, sort_keys=True, default=str) for d in found}) == 1
    alone = zoo.load(dataset, task, visit_class="inpatient", concepts=["diagnosis"])
    assert alone.key == zoo.load(dataset, task, concepts=["diagnosis"]).key != found[0].key


def test_visits_of_other_classes_remain_history(tmp_path):
    admissions = [(s, 10 * s, "2150-01-01", "2150-01-02", OBSERVED) for s in range(1, 31)]
    admissions += [(s, 10 * s + 1, "2150-03-01", "2150-03-09", "URGENT") for s in range(1, 31)]
    data = zoo.load(source_with_classes(tmp_path, admissions), "mortality", concepts=["diagnosis"])
    assert data.samples.visit_id.tolist() == [10 * s + 1 for s in range(1, 31)]
    batch = next(iter(data.batches("train", {"diagnosis"})))
    assert batch["diagnosis"].offsets.diff().reshape(len(batch.label), 2).tolist() == [[1, 0]] * len(batch.label)


def test_readmission_leaves_out_the_dead_the_young_and_the_unknown(tmp_path):
    dataset = source(
        tmp_path,
        [
            (1, 11, "2120-01-01", "2120-01-02", {"hospital_expire_flag": ""}),
            (1, 12, "2120-01-05", "2120-01-06", DIED),
            (2, 21, "2117-12-31", "2118-01-02"),
            (2, 22, "2118-01-02", "2118-01-02"),
        ],
    )
    assert labels(dataset, "readmission") == {22: False}
    assert left_out(dataset, "readmission") == {
        "younger than 18": 1,
        "death in hospital unknown": 1,
        "died in hospital": 1,
    }
    assert labels(dataset, "readmission", min_age=None) == {22: False}
    assert left_out(dataset, "readmission", min_age=None)["outcome known before the prediction"] == 1


def test_the_very_old_are_kept(tmp_path):
    dataset = source(
        tmp_path, [(1, 11, "2150-01-01", "2150-01-02"), (1, 12, "2150-01-12", "2150-01-14")], born="1850-01-01"
    )
    visits = dataset.read("visits")
    assert visits.age.tolist() == [90, 90]
    assert visits.age_capped.all()
    assert labels(dataset, "readmission", min_age=89) == {11: True, 12: False}


def test_readmission_where_visits_overlap(tmp_path):
    dataset = source(
        tmp_path,
        [(1, 11, "2150-01-01", "2150-01-20"), (1, 12, "2150-01-10", "2150-01-12"), (1, 13, "2150-06-01", "2150-06-02")],
    )
    assert labels(dataset, "readmission") == {12: False, 13: False}
    assert left_out(dataset, "readmission") == {"outcome known before the prediction": 1}
    assert labels(dataset, "readmission", min_gap_hours=1) == {11: False, 12: False, 13: False}


def test_return_to_the_icu(tmp_path):
    stays = [
        (1, 11, 111, "2150-01-01", "2150-01-02"),
        (1, 11, 112, "2150-01-04", "2150-01-05"),
        (1, 12, 121, "2150-02-01", "2150-02-02"),
        (2, 21, 211, "2150-01-01", "2150-01-03"),
        (2, 21, 212, "2150-01-05", "2150-01-06"),
    ]
    dead = {**DIED, "deathtime": "2150-01-05 18:00:00"}
    admissions = [(1, 11, "2150-01-01", "2150-01-09"), (1, 12, "2150-02-01", "2150-02-03")]
    dataset = source(tmp_path, [*admissions, (2, 21, "2150-01-01", "2150-01-06", dead)], stays=stays)
    assert labels(dataset, "readmission", unit="stay") == {111: True, 112: False, 121: False, 211: True}
    assert left_out(dataset, "readmission", unit="stay") == {"died in the unit": 1}


def test_who_leaves_the_hospital_with_the_stay_cannot_return_to_it(tmp_path):
    """The ICU's clock may be minutes ahead; a sample would see the codes that are billed at the visit's end."""
    ends = {1: "2150-01-09 08:00:00", 2: "2150-01-09 08:03:00", 3: "2150-01-09 07:59:59"}
    admissions = [(s, 10 * s, "2150-01-01", "2150-01-09 08:00:00") for s in ends]
    stays = [(s, 10 * s, 100 * s, "2150-01-02", end) for s, end in ends.items()]
    dataset = source(tmp_path, admissions, stays=stays, codes=[(s, 10 * s, "4019") for s in ends])
    assert labels(dataset, "readmission", unit="stay") == {300: False}
    assert left_out(dataset, "readmission", unit="stay") == {"left the hospital with the stay": 2}
    data = zoo.load(dataset, "readmission", unit="stay", concepts=["diagnosis"], split=(1, 0, 0))
    assert data.features.events_seen(data.feature("diagnosis")).tolist() == [0]


def test_no_length_of_a_stay_is_predicted_for_who_is_dead_or_gone(tmp_path):
    died = {**DIED, "deathtime": "2150-01-02 12:00:00"}
    out = "2150-01-03 18:00:00"
    dataset = source(
        tmp_path,
        [
            (1, 11, "2150-01-01", "2150-01-02 21:00:00", died),
            (2, 21, "2150-01-01", "2150-01-09"),
            (3, 31, "2150-01-01", "2150-01-02 21:00:00"),
            (4, 41, "2150-01-01", "2150-01-09"),
            (5, 51, "2150-01-01", "2150-01-09"),
        ],
        stays=[(s, 10 * s + 1, 100 * s, "2150-01-01 22:00:00", out) for s in range(1, 6)],
        dod={4: "2150-01-01", 5: "2150-01-02"},
    )
    assert labels(dataset, "los", unit="stay") == {200: 1, 500: 1}
    assert left_out(dataset, "los", unit="stay") == {"visit ended before hour 24": 2, "died before hour 24": 1}
    assert set(labels(dataset, "los", unit="stay", hours=0)) == {100, 200, 300, 400, 500}
    assert left_out(dataset, "los", hours=36) == {"died before hour 36": 2}


@pytest.mark.parametrize("deathtime", ["2150-10-30 04:40:00", ""])
def test_nothing_is_predicted_at_the_end_of_a_visit_after_a_death_in_another(tmp_path, deathtime):
    """A visit that lies within another ends in death; its time may be told or not."""
    outer, inner = ("2150-10-20 05:17:00", "2150-10-30 08:00:00"), ("2150-10-29 00:01:00", "2150-10-30 04:40:00")
    admissions = [(1, 11, *outer), (1, 12, *inner, {**DIED, "deathtime": deathtime})]
    further = [(2, 21, *outer), (2, 22, *inner), (3, 31, *inner), (3, 32, "2151-01-01", "2151-01-02")]
    dataset = source(tmp_path, [*admissions, *further], dod={1: "2150-10-30"})
    assert labels(dataset, "readmission") == {22: False, 31: False, 32: False}
    assert left_out(dataset, "readmission") == {
        "died in hospital": 1,
        "died before the prediction": 1,
        "outcome known before the prediction": 1,
    }
    assert labels(dataset, "mortality_next_visit") == {31: False}
    assert left_out(dataset, "mortality_next_visit") == {
        "no next visit": 3,
        "died before the prediction": 1,
        "outcome known before the prediction": 1,
    }


def test_every_task_has_a_least_age(tmp_path):
    born = "2130-01-01"  # the first of each three visits is before, the others are after the 18th birthday
    admissions = [(s, 10 * s + n, f"21{47 + n}-06-01", f"21{47 + n}-06-09") for s in (1, 2, 3, 9) for n in range(3)]
    stays = [(s, v, 10 * v, start, end) for s, v, start, end in admissions]
    dataset = source(tmp_path, admissions, stays=stays, codes=[(s, v, "5849") for s, v, *_ in admissions], born=born)
    patients = pd.read_csv(tmp_path / "PATIENTS.csv")
    patients.assign(dob=patients.dob.mask(patients.subject_id == 9)).to_csv(tmp_path / "PATIENTS.csv", index=False)
    orders = [{"subject_id": s, "hadm_id": v, "startdate": a, "drug": "furosemide"} for s, v, a, _ in admissions]
    pd.DataFrame(orders).to_csv(tmp_path / "PRESCRIPTIONS.csv", index=False)
    notes = {"chartdate": "2148-06-09", "charttime": "", "category": "Discharge summary", "text": "well"}
    notes = [{"subject_id": s, "hadm_id": v, **notes} for s, v, *_ in admissions]
    pd.DataFrame(notes).to_csv(tmp_path / "NOTEEVENTS.csv", index=False)
    pd.DataFrame({"subject_id": [1], "hadm_id": [10], "icd9_code": ["9671"]}).to_csv(
        tmp_path / "PROCEDURES_ICD.csv", index=False
    )
    dataset = zoo.load_dataset("mimic3", root=tmp_path)
    for task in zoo.list_tasks():
        everyone = zoo.load(dataset, task, min_age=None).samples
        data = zoo.load(dataset, task, min_age=18)
        steps = dict(zip(data.attrition.step, data.attrition.left_out, strict=True))
        grown = everyone[everyone.subject_id.ne(9) & everyone.prediction_time.dt.year.ge(2148)]
        assert data.samples.visit_id.tolist() == grown.visit_id.tolist() != [], task
        assert steps["age unknown"] == everyone.subject_id.eq(9).sum() > 0, task
        assert steps["younger than 18"] == len(everyone) - steps["age unknown"] - len(data.samples), task
        with pytest.raises(zoo.UserError, match="min_age"):
            zoo.load_task(task, min_age=-1)


def test_death_after_discharge(tmp_path):
    end = "2150-01-05 12:00:00"
    dataset = source(
        tmp_path,
        [
            *((s, 10 * s + 1, "2150-01-01", end) for s in range(1, 6)),
            (6, 61, "2150-01-01", end, DIED),
            (7, 71, "2150-01-01", end, {"hospital_expire_flag": ""}),
            (8, 81, "2150-01-01", end),
            (8, 82, "2150-01-20", "2150-01-21", DIED),
            (9, 91, "2150-01-01", end),
        ],
        dod={1: "2150-01-05", 2: "2150-02-03", 3: "2150-02-04", 4: "2151-01-04", 9: "2150-01-04"},
    )
    assert labels(dataset, "mortality_after_discharge") == {
        11: True, 21: True, 31: False, 41: False, 51: False, 81: True
    }  # fmt: skip
    assert left_out(dataset, "mortality_after_discharge") == {
        "death in hospital unknown": 1,
        "died in hospital": 2,
        "died before the prediction": 1,
    }
    assert labels(dataset, "mortality_after_discharge", days=30.5)[31]
    year = zoo.load(dataset, "mortality_after_discharge", days=365)
    assert year.samples.label.tolist() == [True, True, True, True, False, True]
    assert [n for n in year.notes if "later than 90 days" in n]
    assert not zoo.load(dataset, "mortality_after_discharge", days=90).notes
    with pytest.raises(zoo.UserError, match="set days to 1460 or less"):
        zoo.load(dataset, "mortality_after_discharge", days=1500)


def test_deaths_of_mimic4_are_known_for_a_year(opened):
    dataset, _ = opened("mimic4")
    assert not zoo.load(dataset, "mortality_after_discharge", days=365).notes
    with pytest.raises(zoo.UserError, match=r"until 365 days after a patient's last .*set days to 365 or less"):
        zoo.load(dataset, "mortality_after_discharge", days=366)


def test_what_cleaning_leaves_out_still_tells_that_the_patient_came_back(tmp_path):
    """Subject 1's next visit has its times swapped, 2's has no end, 3's no id, 4's no start (but ends later), 5's
    neither; 6 has one without a start that is over before."""
    first = [(n, 10 * n + 1, "2150-01-01 08:00:00", "2150-01-05 08:00:00") for n in range(1, 7)]
    back = [
        (1, 12, "2150-01-10 12:00:00", "2150-01-10 00:00:00"),
        (2, 22, "2150-01-10 12:00:00", ""),
        (3, "", "2150-01-10 12:00:00", "2150-01-11 00:00:00"),
        (4, 42, "", "2150-01-11 00:00:00"),
        (5, 52, "", ""),
        (6, 62, "", "2149-12-31 00:00:00"),
    ]
    later = [(n, 10 * n + 3, "2150-06-01 08:00:00", "2150-06-05 08:00:00") for n in range(1, 7)]
    stays = [
        (1, 11, 111, "2150-01-01 09:00:00", "2150-01-02 09:00:00"),
        (1, 11, 112, "2150-01-03 09:00:00", "2150-01-03 08:00:00"),
        (1, 13, 131, "2150-06-01 09:00:00", "2150-06-02 09:00:00"),
        (2, 21, 211, "2150-01-01 09:00:00", "2150-01-02 09:00:00"),
        (2, 21, 212, "", "2150-01-04 08:00:00"),
        (3, 31, 311, "2150-01-01 09:00:00", "2150-01-02 09:00:00"),
        (3, 31, "", "2150-01-03 09:00:00", "2150-01-04 08:00:00"),
    ]
    codes = [(n, 10 * n + k, "5849") for n in (1, 2, 3) for k in (1, 3)]
    dataset = source(tmp_path, [*first, *back, *later], stays=stays, codes=codes)
    assert sorted(dataset.read("visits").visit_id) == sorted(10 * n + k for n in range(1, 7) for k in (1, 3))
    found = labels(dataset, "readmission")
    assert {v: f for v, f in found.items() if v % 10 == 1} == {11: True, 21: True, 31: True, 61: False}
    assert left_out(dataset, "readmission") == {"an admission without a start may be the return": 3}
    assert set(labels(dataset, "mortality_next_visit")) == {61}
    assert left_out(dataset, "mortality_next_visit") == {
        "next visit left out when the tables were cleaned": 6,
        "no next visit": 5,
    }
    assert labels(dataset, "readmission", unit="stay") == {111: True, 131: False, 311: True}
    assert left_out(dataset, "readmission", unit="stay") == {"a stay without a start may be the return": 1}
    assert set(labels(dataset, "phenotyping")) == {131}


def test_phenotypes_of_stays_without_another_and_without_a_move(tmp_path):
    admissions = [(n, 10 * n + 1, "2150-01-01", "2150-01-09") for n in range(1, 8)]
    admissions[5] = (6, 61, "2101-01-01", "2101-01-09")
    stays = [(n, 10 * n + 1, 100 * n, "2150-01-02", "2150-01-04") for n in range(1, 8)]
    stays[5] = (6, 61, 600, "2101-01-02", "2101-01-04")
    stays.append((2, 21, 201, "2150-01-05", "2150-01-06"))
    places = {c: ["A"] * len(stays) for c in ("first_careunit", "last_careunit", "first_wardid", "last_wardid")}
    places["last_careunit"][2], places["last_wardid"][3] = "B", "C"
    codes = [(1, 11, "5849"), (1, 11, "4019"), (1, 11, "78079"), (2, 21, "5849"), (3, 31, "5849"), (4, 41, "5849")]
    codes += [(6, 61, "5849"), (7, 71, "78079")]
    dataset = source(tmp_path, admissions, stays=stays, codes=codes, places=places)
    assert labels(dataset, "phenotyping") == {100: ["CCS//157", "CCS//98"], 700: []}
    assert left_out(dataset, "phenotyping") == {
        "more than one ICU stay in the visit": 2,
        "moved between units within the stay": 2,
        "younger than 18": 1,
        "no diagnosis that CCS knows": 1,
    }
    assert set(labels(dataset, "phenotyping", min_age=None)) == {100, 600, 700}
    data = zoo.load(dataset, "phenotyping")
    assert len(data.labels) == 25
    assert data.label("train").shape[1] == 25
    assert data.samples.prediction_time.iloc[0] == pd.Timestamp("2150-01-04 23:59:59")


def test_stays_of_a_source_that_knows_no_wards_stay(tmp_path):
    stays = [(1, 11, 111, "2150-01-02", "2150-01-04")]
    dataset = source(tmp_path, [(1, 11, "2150-01-01", "2150-01-09")], stays=stays, codes=[(1, 11, "5849")])
    assert dataset.read("stays").transferred.isna().all()
    assert labels(dataset, "phenotyping") == {111: ["CCS//157"]}


def test_mortality_at_the_edge_of_its_hours(tmp_path):
    dataset = source(
        tmp_path,
        [
            (1, 11, "2150-01-01 10:00:00", "2150-01-03 10:00:00", DIED),
            (2, 21, "2150-01-01 10:00:00", "2150-01-03 09:59:59", DIED),
            (3, 31, "2150-01-01 10:00:00", "2150-01-09 10:00:00", {"hospital_expire_flag": ""}),
            (4, 41, "2150-01-01 10:00:00", "2150-01-09 10:00:00", {**DIED, "deathtime": "2150-01-03 09:00:00"}),
            (5, 51, "2150-01-01 10:00:00", "2150-01-09 10:00:00", {**DIED, "deathtime": "2150-01-03 10:00:00"}),
            (6, 61, "2150-01-01 10:00:00", "2150-01-09 10:00:00"),
            (7, 71, "2150-01-01 10:00:00", "2150-01-09 10:00:00"),
            (8, 81, "2150-01-01 10:00:00", "2150-01-03 10:00:00"),
            (9, 91, "2150-01-01 10:00:00", "2150-01-03 10:00:01", DIED),
        ],
        dod={6: "2150-01-02 00:00:00", 7: "2150-01-03 00:00:00"},
    )
    assert labels(dataset, "mortality") == {71: False, 91: True}
    assert left_out(dataset, "mortality") == {
        "death in hospital unknown": 1,
        "visit ended before hour 48": 1,
        "died before hour 48": 4,
        "outcome known before hour 48": 1,
    }
    assert set(labels(dataset, "mortality", hours=0)) == {11, 21, 41, 51, 61, 71, 81, 91}


def test_mortality_of_stays(tmp_path):
    stays = [
        (1, 11, 111, "2150-01-01", "2150-01-02"),
        (1, 11, 112, "2150-01-05", "2150-01-08"),
        (2, 21, 211, "2150-01-01", "2150-01-04"),
    ]
    dead = {**DIED, "deathtime": "2150-01-08"}
    dataset = source(
        tmp_path, [(1, 11, "2150-01-01", "2150-01-08", dead), (2, 21, "2150-01-01", "2150-01-04", DIED)], stays=stays
    )
    assert labels(dataset, "mortality", unit="stay") == {111: True, 112: True, 211: True}
    assert labels(dataset, "mortality", unit="stay", target="stay") == {112: True}
    assert left_out(dataset, "mortality", unit="stay", target="stay") == {
        "stay ended before hour 48": 1,
        "death in unit unknown": 1,
    }


def test_death_in_the_unit_needs_stays(tmp_path):
    with pytest.raises(zoo.UserError, match="unit='stay'"):
        zoo.load_task("mortality", target="stay")
    (dataset := source(tmp_path, [(1, 11, "2150-01-01", "2150-01-08")])).root.joinpath("ICUSTAYS.csv").unlink()
    with pytest.raises(zoo.UserError, match="no stays"):
        zoo.load(zoo.load_dataset("mimic3", root=tmp_path), "mortality", unit="stay")
    assert dataset.name == "mimic3"


def test_mortality_of_the_next_visit(tmp_path):
    dataset = source(
        tmp_path,
        [
            (1, 11, "2150-01-01", "2150-01-02"),
            (1, 12, "2150-03-01", "2150-03-02", {"hospital_expire_flag": ""}),
            (1, 13, "2150-04-01", "2150-04-02", DIED),
            (2, 21, "2150-01-01", "2150-01-02", DIED),
            (3, 31, "2150-01-01", "2150-01-02"),
            (3, 32, "2149-01-01", "2149-01-02"),
        ],
    )
    assert labels(dataset, "mortality_next_visit") == {12: True, 32: False}
    assert left_out(dataset, "mortality_next_visit") == {
        "no next visit": 3,
        "death in the next visit unknown": 1,
    }


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ("23:59:59", 0),
        ("1 day", 1),
        ("1 day 23:59:59", 1),
        ("2 days", 2),
        ("7 days 23:59:59", 7),
        ("8 days", 8),
        ("13 days 23:59:59", 8),
        ("14 days", 9),
        ("400 days", 9),
    ],
)
def test_classes_of_length_begin_at_whole_days(tmp_path, length, expected):
    end = pd.Timestamp("2150-01-01 08:30:00") + pd.Timedelta(length)
    dataset = source(tmp_path, [(1, 11, "2150-01-01 08:30:00", end)])
    assert labels(dataset, "los", hours=0) == {11: expected}
    assert labels(dataset, "los", hours=0, target="days")[11] == pytest.approx(pd.Timedelta(length) / DAY)
    assert len(zoo.load_task("los").labels) == 10


def test_los_leaves_out_what_is_over(tmp_path):
    dataset = source(
        tmp_path,
        [
            (1, 11, "2150-01-01", "2150-01-02"),
            (2, 21, "2150-01-01", "2150-01-01 23:59:59"),
            (3, 31, "2150-01-01", "2150-01-01"),
            (4, 41, "2150-01-01", "2150-01-09", {"hospital_expire_flag": ""}),
        ],
    )
    assert labels(dataset, "los") == {11: 1, 41: 8}
    assert left_out(dataset, "los") == {"visit ended before hour 24": 2}
    assert labels(dataset, "los", hours=0) == {11: 1, 21: 0, 31: 0, 41: 8}


def test_diagnosis_leaves_out_visits_without_a_code(tmp_path):
    codes = [
        (1, 11, "4280"),
        (1, 12, "4280"),
        (1, 12, "42820"),
        (1, 12, "4280"),
        (1, 12, "QQQ99"),
        (1, 13, "XYZ"),
        (2, 21, "4280"),
        (3, 32, "25000"),
    ]
    admissions = [(s, 10 * s + n, f"215{n}-01-01", f"215{n}-01-05") for s in (1, 2, 3) for n in (1, 2, 3)]
    dataset = source(tmp_path, admissions, codes=codes)
    data = zoo.load(dataset, "diagnosis")
    found = dict(zip(data.samples.visit_id, data.samples.label, strict=True))
    assert found == {12: ["CCS//108"], 32: ["CCS//49"]}
    assert data.samples.prediction_time.tolist() == [pd.Timestamp("2152-01-01")] * 2
    assert left_out(dataset, "diagnosis") == {"no earlier visit": 3, "no diagnosis code that level 'ccs' knows": 4}
    assert data.unknown_label_codes == 2
    exact = zoo.load(dataset, "diagnosis", level="code").samples
    assert exact.set_index("visit_id").label[12] == ["ICD9CM//428.0", "ICD9CM//428.20", "ICD9CM//QQQ.99"]


@pytest.mark.parametrize(
    ("task", "wrong"),
    [
        ("mortality", {"hours": -1}),
        ("mortality", {"hours": float("inf")}),
        ("mortality", {"unit": "ward"}),
        ("mortality", {"target": "home"}),
        ("readmission", {"days": "30"}),
        ("readmission", {"min_age": float("nan")}),
        ("los", {"target": "weeks"}),
        ("los", {"visit_class": []}),
        ("mortality", {"visit_class": ["inpatient", "home"]}),
        ("readmission", {"visit_class": 5}),
        ("diagnosis", {"level": "ccsr"}),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_named(task, wrong):
    with pytest.raises(zoo.UserError, match=next(iter(wrong))):
        zoo.load_task(task, **wrong)


def test_a_task_without_samples_says_what_was_left_out(tmp_path):
    dataset = source(tmp_path, [(1, 11, "2150-01-01", "2150-01-02")])
    with pytest.raises(zoo.UserError, match="no next visit: 1 left out") as error:
        zoo.load(dataset, "mortality_next_visit")
    assert "0 left out" not in str(error.value)
    assert "could not be read" not in str(error.value)


def test_a_task_without_samples_says_what_reading_lost(tmp_path):
    (tmp_path / "hosp").mkdir()
    row = "06/01/2150 05:00,06/09/2150 08:00,,,0,HOME"
    admissions = [f"{s},{10 * s},{row}" for s in (1, 2, 3)]
    header = "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,hospital_expire_flag,discharge_location"
    (tmp_path / "hosp" / "admissions.csv").write_text("\n".join([header, *admissions]) + "\n")
    patients = "subject_id,gender,anchor_age,anchor_year\n1,F,60,2150\n2,F,60,2150\n3,F,60,2150\n"
    (tmp_path / "hosp" / "patients.csv").write_text(patients)
    with pytest.raises(zoo.UserError) as error:
        zoo.load("mimic4", root=tmp_path, task="mortality")
    assert "all visits: 0" in str(error.value)
    assert "admittime: 3 of 3 values do not parse, shape 99/99/9999 99:99; mend the dates" in str(error.value)
    assert "visits: 3 of 3 left out, no start or no end" in str(error.value)
    fine, codes = ("2150-06-01", "2150-06-09"), [(1, 99, "4280"), (2, 98, "4280")]
    dataset = source(tmp_path, [(1, 10, *fine), (1, 11, "2151-06-01", "2151-06-09")], codes=codes)
    with pytest.raises(zoo.UserError, match="diagnosis: 2 of 2 left out, visit left out or unknown"):
        zoo.load(dataset, "diagnosis")


def test_what_most_visits_lack_is_said_beside_the_scores(tmp_path):
    unknown = {"hospital_expire_flag": ""}
    visits = [(s, 10 * s, "2150-01-01", "2150-01-09", unknown if s < 9 else {}) for s in range(10)]
    dataset = source(tmp_path, visits)
    told = "death in hospital unknown: 9 of 10 candidates were left out for it"
    assert zoo.load(dataset, "mortality").notes == [told]
    assert zoo.load(dataset, "los").notes == []
    report = check_dataset(dataset)
    assert "died is unknown for 9 of 10 visits" in report.details["coverage"]


def test_a_return_to_the_icu_counts_whose_row_lacks_a_subject_or_a_visit(tmp_path):
    admissions = [(s, 10 * s + 1, "2150-01-01", "2150-01-20") for s in (1, 2, 3)]
    first = [(s, 10 * s + 1, 100 * s, "2150-01-02 08:00:00", "2150-01-04 08:00:00") for s in (1, 2, 3)]
    again = ("2150-01-08 08:00:00", "2150-01-09 08:00:00")
    dataset = source(tmp_path, admissions, stays=[*first, ("", 11, 101, *again), (2, "", 201, *again)])
    assert labels(dataset, "readmission", unit="stay") == {100: True, 101: False, 200: True, 201: False, 300: False}
    assert dataset.report().counts["stays"] == {
        "kept, but names no visit (it is in that of its start)": 1,
        "kept, but has no subject_id (it has that of its visit)": 1,
    }


def test_a_death_in_a_visit_that_is_left_out_is_one(tmp_path):
    first = [(s, 10 * s + 1, "2150-01-01", "2150-01-05 08:00:00") for s in range(1, 6)]
    fatal = [
        (1, 12, "2150-01-20 08:00:00", "2150-01-19 08:00:00", DIED),
        (2, 22, "2150-01-20 08:00:00", "", DIED),
        (3, "", "2150-01-20 08:00:00", "2150-01-21 08:00:00", DIED),
        (4, 42, "2150-03-20 08:00:00", "", DIED),
    ]
    dataset = source(tmp_path, [*first, *fatal])
    assert labels(dataset, "mortality_after_discharge") == {11: True, 21: True, 31: True, 41: False, 51: False}
