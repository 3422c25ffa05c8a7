"""Relations and events derived from raw tables by plain pandas, apart from the library: what adapters are held against.

`read` is a function from a table's name to its text columns (lower-case names, missing is None).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

FACTS = Path(__file__).parents[1] / "zoo" / "knowledge" / "vitals.csv"
EVENT = ["subject_id", "visit_id", "stay_id", "time", "code", "value", "unit", "text"]
ICD = {"9": ("ICD9CM", "ICD9PROC"), "10": ("ICD10CM", "ICD10PCS")}


def number(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype("Float64")


def whole(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").round().astype("Int64")


def time(column: pd.Series) -> pd.Series:
    """Times in microseconds: in nanoseconds, which older pandas reads, 300 years between two of them overflow."""
    return pd.to_datetime(column, errors="coerce", format="ISO8601").dt.as_unit("us")


def day_end(column: pd.Series) -> pd.Series:
    return column.dt.normalize() + pd.Timedelta(hours=23, minutes=59, seconds=59)


def minutes(column: pd.Series) -> pd.Series:
    return pd.to_timedelta(column.astype("Float64"), unit="min")


def later(*columns: pd.Series) -> pd.Series:
    return pd.concat(columns, axis=1).max(axis=1)


def dot(code: str, system: str) -> str:
    at = {"ICD10PCS": 99, "ICD9PROC": 2, "ICD10CM": 3, "ICD9CM": 4 if code[0] == "E" else 3}[system]
    return f"{system}//{code[:at]}" + (f".{code[at:]}" if code[at:] else "")


def billed(rows: pd.DataFrame, visits: pd.DataFrame, procedures: bool, column: str) -> pd.DataFrame:
    versions = rows["icd_version"] if "icd_version" in rows else pd.Series("9", rows.index)
    rows = rows[rows[column].notna() & versions.notna()]
    pairs = zip(rows[column], versions[rows.index], strict=True)
    codes = [dot(code.strip().upper(), ICD[version][procedures]) for code, version in pairs]
    visit = whole(rows.hadm_id)
    time = visit.map(visits.set_index("visit_id").end)
    return pd.DataFrame({"visit_id": visit, "time": time, "code": codes, "rank": whole(rows.seq_num)})


def orders(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """What there is to tell of prescriptions; columns that a table lacks are left out."""
    told = {"text": rows.drug, "code": drug_codes(rows)}
    if "route" in rows:
        told["route"] = rows.route
    if "drug_type" in rows:
        told["order_type"] = rows.drug_type.str.strip().str.lower()
    return told


def drug_codes(rows: pd.DataFrame) -> pd.Series:
    names = "DRUG//" + rows.drug.str.strip().str.lower()
    return ("NDC//" + rows.ndc).where(rows.ndc.notna() & (rows.ndc != "0"), names)


def written(notes: pd.DataFrame) -> pd.DataFrame:
    """Notes that say something, each once."""
    return notes[notes.text.fillna("").str.strip() != ""].drop_duplicates(
        ["subject_id", "visit_id", "time", "text", "code"]
    )


def in_visits(events: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """Events with their visit and subject: as told, else by time; without those of visits that were left out."""
    events = events.reset_index(drop=True)
    owner = visits.set_index("visit_id").subject_id
    stated = events.visit_id.notna()
    events = events[~stated | (events.visit_id.map(owner) == events.subject_id)]
    lost = events[events.visit_id.isna()]
    held = lost.reset_index().merge(visits, on="subject_id", suffixes=("", "_of"))
    since = held[["start", "arrival"]].min(axis=1)
    held = held[(held.time >= since) & (held.time <= held.end)].sort_values("start").groupby("index").last()
    return events.assign(visit_id=events.visit_id.fillna(held.visit_id_of.reindex(events.index)))


def trusted(visits: pd.DataFrame, death: pd.Series) -> pd.DataFrame:
    """Without visits that end before they start or start after their subject's death in hospital."""
    visits = visits[visits.end >= visits.start]
    fatal = visits[visits.died.eq(True).fillna(False)].sort_values("start").drop_duplicates("subject_id")
    died = fatal.subject_id.map(death)
    died = died.where((died >= fatal.start) & (died < fatal.end), fatal.end)
    died.index = fatal.subject_id
    return visits[~(visits.start > visits.subject_id.map(died))]


def vital_facts(source: str) -> pd.DataFrame:
    with open(FACTS, newline="") as file:
        facts = pd.DataFrame([r for r in csv.DictReader(file) if r["source"] == source])
    return facts.assign(scale=facts["scale"].astype(float), shift=facts["shift"].astype(float))


def vital_signs(rows: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Rows with `key` and `value` as events."""
    rows = rows.merge(facts, on="key").dropna(subset="value")
    return rows.assign(code="VITAL//" + rows.variable, value=rows.value * rows["scale"] + rows["shift"])


class Mimic:
    """What the two MIMIC share."""

    source: str
    background: str
    stay: str
    classes: dict

    def __init__(self, read):
        self.read = read
        admissions = read(self.name("admissions"))
        self.admissions = pd.DataFrame(
            {
                "subject_id": whole(admissions.subject_id),
                "visit_id": whole(admissions.hadm_id),
                "start": time(admissions.admittime),
                "end": time(admissions.dischtime),
                "arrival": time(admissions.edregtime),
                "deathtime": time(admissions.deathtime),
                "died": admissions.hospital_expire_flag == "1",
                "class": admissions.admission_type.map(self.classes),
                "admission_type": admissions.admission_type,
                "admission_source": admissions.admission_location,
                "insurance": admissions.insurance,
                "discharge_to": admissions.discharge_location,
                "background": admissions[self.background],
            }
        )
        patients = read(self.name("patients"))
        self.patients = patients.assign(subject_id=whole(patients.subject_id))
        in_hospital = self.admissions.groupby("subject_id").deathtime.max()
        death = self.patients.subject_id.map(in_hospital).fillna(day_end(time(self.patients.dod)))
        self.death = pd.Series(death.to_numpy(), self.patients.subject_id)
        self.kept = trusted(self.admissions, self.death)

    def name(self, table: str) -> str:
        return table

    def subjects(self) -> pd.DataFrame:
        told = self.admissions.dropna(subset="background").sort_values(["start", "visit_id"])
        told = told.drop_duplicates("subject_id").set_index("subject_id").background
        return pd.DataFrame(
            {
                "subject_id": self.patients.subject_id,
                "sex": self.patients.gender,
                "death": self.death.to_numpy(),
                "ethnicity": self.patients.subject_id.map(told),
            }
        )

    def visits(self) -> pd.DataFrame:
        age = self.ages()
        visits = self.kept.assign(age=np.where(age > 89, 90.0, age), age_capped=age > 89)
        return visits.drop(columns=["deathtime", "background"])

    def stays(self) -> pd.DataFrame:
        rows = self.read(self.name("icustays"))
        stays = pd.DataFrame(
            {
                "subject_id": whole(rows.subject_id),
                "visit_id": whole(rows.hadm_id),
                "stay_id": whole(rows[self.stay]),
                "start": time(rows.intime),
                "end": time(rows.outtime),
                "unit": rows.first_careunit,
            }
        )
        stays = stays[stays.visit_id.isin(self.kept.visit_id)].sort_values(["visit_id", "start"])
        death = stays.visit_id.map(self.kept[self.kept.died].set_index("visit_id").deathtime)
        first = ~stays.visit_id.duplicated()
        moved = np.logical_or.reduce([rows[f"first_{c}"] != rows[f"last_{c}"] for c in self.places])
        return stays.assign(
            transferred=pd.Series(moved, rows.index, "boolean")[stays.index],
            type=np.where(first, "admit", "readmit"),
            died=(death >= stays.start) & (death <= stays.end),
        )

    def events(self, rows: pd.DataFrame, **columns) -> pd.DataFrame:
        told = {"subject_id": whole(rows.subject_id), "visit_id": whole(rows.hadm_id)}
        events = pd.DataFrame(told | columns, index=rows.index).dropna(subset=["code", "time", "subject_id"])
        return in_visits(events, self.kept)

    def diagnosis(self) -> pd.DataFrame:
        return self._billed("diagnoses_icd", False)

    def procedure(self) -> pd.DataFrame:
        return self._billed("procedures_icd", True)

    def _billed(self, table: str, procedures: bool) -> pd.DataFrame:
        rows = self.read(self.name(table))
        column = "icd9_code" if "icd9_code" in rows else "icd_code"
        found = billed(rows, self.kept, procedures, column)
        return self.events(rows.loc[found.index], code=found.code, rank=found["rank"], time=found.time)

    def vital(self) -> pd.DataFrame:
        rows = self.read(self.vitals_table)
        facts = vital_facts(self.source)
        rows = rows[rows.itemid.isin(facts.key)]
        if "error" in rows:
            rows = rows[rows.error != "1"]
        rows = vital_signs(rows.assign(key=rows.itemid, value=number(rows.valuenum)), facts)
        stored = time(rows.storetime)
        return self.events(
            rows,
            stay_id=whole(rows[self.stay]),
            time=later(time(rows.charttime), stored),
            code=rows.code,
            value=rows.value,
            unit=rows.unit,
        )


class Mimic3(Mimic):
    source, background, stay, vitals_table = "mimic3", "ethnicity", "icustay_id", "chartevents"
    places = ("careunit", "wardid")
    classes = dict.fromkeys(["EMERGENCY", "ELECTIVE", "URGENT", "NEWBORN"], "inpatient")

    def subjects(self) -> pd.DataFrame:
        first = self.patients.subject_id.map(self.admissions.groupby("subject_id").start.min())
        birth = time(self.patients.dob)
        return super().subjects().assign(birth=birth.where((first - birth).dt.days < 200 * 365))

    def ages(self) -> pd.Series:
        birth = self.kept.subject_id.map(self.patients.set_index("subject_id").dob)
        return (self.kept.start - time(birth)).dt.total_seconds() / (365.25 * 24 * 3600)

    def drug(self) -> pd.DataFrame:
        rows = self.read("prescriptions")
        return self.events(rows, time=day_end(time(rows.startdate)), **orders(rows))

    def lab(self, delay: float = 0) -> pd.DataFrame:
        rows = self.read("labevents")
        known = time(rows.charttime) + pd.Timedelta(hours=delay)
        return self.events(
            rows, time=known, code="LAB//" + rows.itemid, value=number(rows.valuenum), unit=rows.valueuom
        )

    def note(self) -> pd.DataFrame:
        rows = self.read("noteevents")
        rows = rows[rows.iserror != "1"]
        end = whole(rows.hadm_id).map(self.kept.set_index("visit_id").end)
        charted = later(time(rows.charttime).fillna(day_end(time(rows.chartdate))), time(rows.storetime))
        summary = rows.category == "Discharge summary"
        addendum = summary & (rows.description == "Addendum")
        known = charted.mask(summary, end).mask(addendum, later(end, charted))
        kind = rows.category.str.strip().str.lower().str.replace("[^a-z0-9]+", "_", regex=True)
        code = "NOTE//" + kind.mask(addendum, "discharge_addendum")
        return written(self.events(rows, time=known, code=code, text=rows.text))


class Mimic4(Mimic):
    source, background, stay, vitals_table = "mimic4", "race", "stay_id", "icu/chartevents"
    places = ("careunit",)
    classes = {
        "EW EMER.": "inpatient",
        "DIRECT EMER.": "inpatient",
        "URGENT": "inpatient",
        "ELECTIVE": "inpatient",
        "SURGICAL SAME DAY ADMISSION": "inpatient",
        "OBSERVATION ADMIT": "inpatient",
        "EU OBSERVATION": "observation",
        "AMBULATORY OBSERVATION": "observation",
        "DIRECT OBSERVATION": "observation",
    }

    def name(self, table: str) -> str:
        return ("icu/" if table == "icustays" else "hosp/") + table

    def subjects(self) -> pd.DataFrame:
        return super().subjects().assign(period=whole(self.patients.anchor_year_group.str[:4]))

    def ages(self) -> pd.Series:
        anchor = self.patients.set_index("subject_id")
        age = self.kept.subject_id.map(whole(anchor.anchor_age))
        year = self.kept.subject_id.map(whole(anchor.anchor_year))
        return age.where(age > 89, age + self.kept.start.dt.year - year).astype(float)

    def drug(self) -> pd.DataFrame:
        rows = self.read("hosp/prescriptions")
        start = time(rows.starttime)
        known = start.mask(rows.starttime.str.len() == 10, day_end(start))
        return self.events(rows, time=known, **orders(rows))

    def lab(self, delay: float = 0) -> pd.DataFrame:
        rows = self.read("hosp/labevents")
        drawn, stored = time(rows.charttime), time(rows.storetime)
        known = later(drawn, stored).mask(stored.isna(), drawn + pd.Timedelta(hours=delay))
        return self.events(
            rows, time=known, code="LAB//" + rows.itemid, value=number(rows.valuenum), unit=rows.valueuom
        )

    def note(self) -> pd.DataFrame:
        letters, images = self.read("note/discharge"), self.read("note/radiology")
        end = whole(letters.hadm_id).map(self.kept.set_index("visit_id").end)
        added = letters.note_type == "AD"
        stored = later(end, time(letters.charttime), time(letters.storetime))
        code = pd.Series("NOTE//discharge_summary", letters.index).mask(added, "NOTE//discharge_addendum")
        seen = later(time(images.charttime), time(images.storetime))
        found = pd.concat(
            [
                self.events(letters, time=end.mask(added, stored), code=code, text=letters.text),
                self.events(images, time=seen, code=pd.Series("NOTE//radiology", images.index), text=images.text),
            ]
        )
        return written(found)


class Eicu:
    source = "eicu"

    def __init__(self, read):
        self.read = read
        rows = read("patient")
        self.rows = rows.assign(
            subject_id=whole(("1" + rows.uniquepid.str.replace("-", "")).where(rows.uniquepid.str.contains("-"))),
            visit_id=whole(rows.patienthealthsystemstayid),
            stay_id=whole(rows.patientunitstayid),
            admitted=whole(rows.hospitaladmitoffset),
            length=whole(rows.hospitaldischargeoffset) - whole(rows.hospitaladmitoffset),
            year=whole(rows.hospitaldischargeyear),
            died=self.expired(rows.hospitaldischargestatus),
        )
        first = self.rows.sort_values("unitvisitnumber", key=whole).drop_duplicates("visit_id")
        first = first.dropna(subset="subject_id")
        first = first.assign(fatal=first.died.fillna(False)).sort_values(["subject_id", "year", "fatal", "visit_id"])
        subject = first.groupby("subject_id")
        before = subject.length.cumsum() - first.length
        base = pd.to_datetime(subject.year.transform("min").astype(str) + "-01-01")
        twice = first.duplicated(["subject_id", "year"], keep=False).groupby(first.subject_id).transform("any")
        start = base + minutes(before)
        self.first = first.assign(start=start, end=start + minutes(first.length), order_known=~twice)

    @staticmethod
    def expired(status: pd.Series) -> pd.Series:
        return status.map({"Expired": True, "Alive": False}).astype("boolean")

    def subjects(self) -> pd.DataFrame:
        first = self.first.drop_duplicates("subject_id")
        fatal = self.first[self.first.fatal].groupby("subject_id").end.max()
        return pd.DataFrame(
            {
                "subject_id": first.subject_id,
                "sex": first.gender.map({"Female": "F", "Male": "M"}),
                "death": first.subject_id.map(fatal),
                "ethnicity": first.ethnicity,
                "period": first.year,
            }
        )

    def visits(self) -> pd.DataFrame:
        over = self.first.age == "> 89"
        return pd.DataFrame(
            {
                **{c: self.first[c] for c in ("subject_id", "visit_id", "start", "end", "died", "order_known")},
                "age": number(self.first.age).mask(over, 90.0).astype(float),
                "age_capped": over,
                "class": "inpatient",
                "admission_source": self.first.hospitaladmitsource,
                "discharge_to": self.first.hospitaldischargelocation,
                "hospital": self.first.hospitalid,
            }
        )

    def units(self) -> pd.DataFrame:
        """Unit stays of known subjects with the time of unit admission."""
        stays = self.rows.merge(self.first[["visit_id", "start"]], on="visit_id")
        return stays.assign(unit_start=stays.start - minutes(stays.admitted))

    def stays(self) -> pd.DataFrame:
        units = self.units()
        return pd.DataFrame(
            {
                **{c: units[c] for c in ("subject_id", "visit_id", "stay_id")},
                "start": units.unit_start,
                "end": units.unit_start + minutes(whole(units.unitdischargeoffset)),
                "unit": units.unittype,
                "type": units.unitstaytype,
                "transferred": False,
                "died": self.expired(units.unitdischargestatus),
            }
        )

    def events(self, rows: pd.DataFrame, **columns) -> pd.DataFrame:
        units = self.units()[["subject_id", "visit_id", "stay_id", "unit_start"]]
        events = pd.DataFrame({"stay_id": whole(rows.patientunitstayid)} | columns).dropna(subset=["code", "time"])
        events = events.merge(units, on="stay_id")
        events = events.assign(time=events.unit_start + minutes(events.time))
        return events

    def diagnosis(self) -> pd.DataFrame:
        rows = self.read("diagnosis")
        rows = rows.assign(code=rows.icd9code.str.split(",")).explode("code").reset_index(drop=True)
        code = rows.code.str.strip().str.upper()
        ninth = code.str.match(r"\d|E\d{3}|V\d\d(\.\d{1,2})?$", na=False)
        system = pd.Series("ICD10CM//", rows.index).mask(ninth, "ICD9CM//")
        system = system.mask(code.str.match(r"\d\d\.\d{1,2}$", na=False), "ICD9PROC//")
        rank = rows.diagnosispriority.map({"Primary": 1, "Major": 2, "Other": 3})
        return self.events(rows, time=whole(rows.diagnosisoffset), code=system + code, rank=rank)

    def procedure(self) -> pd.DataFrame:
        rows = self.read("treatment")
        return self.events(rows, time=whole(rows.treatmentoffset), code="EICUTX//" + rows.treatmentstring)

    def drug(self) -> pd.DataFrame:
        rows = self.read("medication")
        rows = rows[rows.drugordercancelled != "Yes"]
        told = {"route": rows.routeadmin, "ingredient": "HICL//" + rows.drughiclseqno}
        code = ("DRUG//" + rows.drugname.str.strip().str.lower()).fillna("HICL//" + rows.drughiclseqno)
        return self.events(rows, time=whole(rows.drugstartoffset), code=code, text=rows.drugname, **told)

    def lab(self, delay: float = 0) -> pd.DataFrame:
        rows = self.read("lab")
        drawn, entered = whole(rows.labresultoffset), whole(rows.labresultrevisedoffset)
        known = later(drawn, entered).mask(entered.isna(), drawn + int(60 * delay))
        unit = rows.labmeasurenamesystem.fillna(rows.labmeasurenameinterface)
        code = "LAB//" + rows.labname.str.strip()
        return self.events(rows, time=known, code=code, value=number(rows.labresult), unit=unit)

    def vital(self) -> pd.DataFrame:
        wide = [("vitalperiodic", "observationoffset"), ("vitalaperiodic", "observationoffset"), ("patient", None)]
        found = [self._wide(t, offset) for t, offset in wide if self.read(t) is not None]
        rows = self.read("nursecharting")
        if rows is not None:
            name = rows.nursingchartcelltypevalname
            name = name.where(name != "Value", rows.nursingchartcelltypevallabel)
            chart = (rows.nursingchartoffset, rows.nursingchartentryoffset)
            found.append(self._long("nursecharting", rows, name, rows.nursingchartvalue, chart))
        rows = self.read("respiratorycharting")
        if rows is not None:
            chart = (rows.respchartoffset, rows.respchartentryoffset)
            found.append(self._long("respiratorycharting", rows, rows.respchartvaluelabel, rows.respchartvalue, chart))
        rows = self.read("intakeoutput")
        if rows is not None:
            chart = (rows.intakeoutputoffset, rows.intakeoutputentryoffset)
            found.append(self._long("intakeoutput", rows, rows.celllabel, rows.cellvaluenumeric, chart))
        rows = vital_signs(pd.concat(found), vital_facts("eicu")).reset_index(drop=True)
        return self.events(rows, time=rows.offset, code=rows.code, value=rows.value, unit=rows.unit)

    def _wide(self, table: str, offset: str | None) -> pd.DataFrame:
        rows = self.read(table)
        columns = [c for c in rows.columns if f"{table}.{c}" in set(vital_facts("eicu").key)]
        at = whole(rows[offset]) if offset else 0
        long = rows.assign(offset=at).melt(["patientunitstayid", "offset"], columns, "key")
        return long.assign(key=f"{table}." + long.key, value=number(long.value))

    def _long(self, table: str, rows: pd.DataFrame, key: pd.Series, value: pd.Series, chart) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "patientunitstayid": rows.patientunitstayid,
                "offset": later(*map(whole, chart)),
                "key": f"{table}." + key.str.strip(),
                "value": number(value.str.replace("%", "")),
            }
        )

    def note(self) -> pd.DataFrame:
        rows = self.read("note")
        kind = rows.notetype.str.lower().str.replace("[^a-z0-9]+", "_", regex=True)
        known = later(whole(rows.noteoffset), whole(rows.noteenteredoffset))
        return written(self.events(rows, time=known, code="NOTE//" + kind, text=rows.notetext))


BY_SOURCE = {"mimic3": Mimic3, "mimic4": Mimic4, "eicu": Eicu}
