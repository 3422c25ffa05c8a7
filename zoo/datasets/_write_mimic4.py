"""Synthetic patients as the tables of MIMIC-IV 2.2 (`hosp`, `icu`) and MIMIC-IV-Note 2.2 (`note`)."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from zoo.datasets._arrow_columns import (
    Identifiers,
    as_text,
    constant,
    dates,
    first_visit,
    integers,
    join_text,
    long_charts,
    midnights,
    nulls,
    numbers,
    row_numbers,
    text,
    times,
)
from zoo.datasets._facts import codes, drugs, measurements
from zoo.datasets._generator import DAY, HOUR
from zoo.datasets._narrative import note_texts
from zoo.datasets._simulated import READMIT, Chunk
from zoo.datasets._write_mimic3 import chart_items, package_codes, split_coma_scale, undotted

INTENSIVE = False
KEY = "subject_id"
UNITS = [
    "Medical Intensive Care Unit (MICU)",
    "Surgical Intensive Care Unit (SICU)",
    "Coronary Care Unit (CCU)",
    "Cardiac Vascular Intensive Care Unit (CVICU)",
    "Trauma SICU (TSICU)",
    "Medical/Surgical Intensive Care Unit (MICU/SICU)",
]
RACES = ["WHITE", "BLACK/AFRICAN AMERICAN", "HISPANIC/LATINO - PUERTO RICAN", "ASIAN", "UNKNOWN"]
ADMISSIONS = ["EW EMER.", "ELECTIVE", "URGENT"]
LOCATIONS = ["EMERGENCY ROOM", "PHYSICIAN REFERRAL", "TRANSFER FROM HOSPITAL"]
HOMES = ["HOME", "HOME HEALTH CARE", "SKILLED NURSING FACILITY", "REHAB"]
YEAR_GROUPS = ["2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019"]
FIRST_YEAR_OF_ICD10 = 2016  # US hospitals changed on 1 October 2015


def identifiers(patients, visits) -> Identifiers:
    return Identifiers(patients, visits, subject_base=10_000_000, visit_base=20_000_000, stay_base=40_000_000)


def keys(chunk: Chunk, patients: int) -> np.ndarray:
    """Values of `KEY` of the first patients of a chunk."""
    return identifiers(chunk.patients, chunk.visits).subject[:patients]


def years(minutes: np.ndarray) -> np.ndarray:
    return minutes.astype("datetime64[m]").astype("datetime64[Y]").astype(np.int64) + 1970


def year_groups(chunk: Chunk) -> np.ndarray:
    """Position in `YEAR_GROUPS` for each patient."""
    return chunk.stream("year groups").integers(len(YEAR_GROUPS), size=len(chunk.patients))


def icd10(chunk: Chunk) -> np.ndarray:
    """Whether a visit is billed in ICD-10: by its true year, as far as anchor year and group tell."""
    visits = chunk.visits
    shift = 2009 + 3 * year_groups(chunk) - years(visits.start[first_visit(visits)])
    return years(visits.end) + shift[visits.patient] >= FIRST_YEAR_OF_ICD10


def write_dictionaries() -> Iterator[tuple[str, pa.Table]]:
    """The tables that hold no patient."""
    for name, kind in (("diagnoses", "diagnosis"), ("procedures", "procedure")):
        known = codes(kind)
        titles = {(undotted(code), 9): title for code, title in zip(known.icd9, known.icd9_title, strict=True)}
        titles |= {(undotted(code), 10): title for code, title in zip(known.icd10, known.icd10_title, strict=True)}
        yield (
            f"hosp/d_icd_{name}",
            pa.table(
                {
                    "icd_code": [code for code, _ in titles],
                    "icd_version": integers([version for _, version in titles]),
                    "long_title": list(titles.values()),
                }
            ),
        )
    labs = measurements("labs")
    yield (
        "hosp/d_labitems",
        pa.table(
            {
                "itemid": integers(labs.numbers("mimic_itemid")),
                "label": labs.texts("mimic_label"),
                "fluid": constant("Blood", len(labs.names)),
                "category": labs.texts("category"),
            }
        ),
    )
    items = [item for item in chart_items() if item["source"] == "metavision"]
    yield (
        "icu/d_items",
        pa.table(
            {
                "itemid": integers([item["itemid"] for item in items]),
                "label": [item["label"] for item in items],
                "abbreviation": [item["abbreviation"] for item in items],
                "linksto": constant("chartevents", len(items)),
                "category": [item["category"] for item in items],
                "unitname": pa.array([item["unit"] for item in items], pa.string()),
                "param_type": [item["type"] for item in items],
                "lownormalvalue": nulls(len(items), pa.float64()),
                "highnormalvalue": nulls(len(items), pa.float64()),
            }
        ),
    )


def write_chunk(chunk: Chunk) -> Iterator[tuple[str, pa.Table]]:
    """The tables of one chunk."""
    ids = identifiers(chunk.patients, chunk.visits)
    newer = icd10(chunk)
    yield "hosp/patients", _patients(chunk, ids)
    yield "hosp/admissions", _admissions(chunk, ids)
    yield "hosp/diagnoses_icd", _diagnoses(chunk, ids, newer)
    yield "hosp/procedures_icd", _procedures(chunk, ids, newer)
    yield "hosp/prescriptions", _prescriptions(chunk, ids)
    yield "hosp/labevents", _labs(chunk, ids)
    yield "icu/icustays", _stays(chunk, ids)
    yield "icu/chartevents", _charts(chunk, ids)
    texts = note_texts(chunk)
    yield "note/discharge", _notes(chunk, ids, texts, kind=2, abbreviation="DS")
    yield "note/radiology", _notes(chunk, ids, texts, kind=1, abbreviation="RR")


def _patients(chunk: Chunk, ids: Identifiers) -> pa.Table:
    patients, visits = chunk.patients, chunk.visits
    return pa.table(
        {
            "subject_id": integers(ids.subject),
            "gender": text(["M", "F"], patients.female.astype(int)),
            "anchor_age": integers(np.where(patients.age >= 90, 91, np.floor(patients.age))),
            "anchor_year": integers(years(visits.start[first_visit(visits)])),
            "anchor_year_group": text(YEAR_GROUPS, year_groups(chunk)),
            "dod": dates(patients.death),
        }
    )


def _admissions(chunk: Chunk, ids: Identifiers) -> pa.Table:
    visits, rng = chunk.visits, chunk.stream("mimic4 admissions")
    n = len(visits)
    emergency = visits.registration >= 0
    kind = np.where(emergency, 0, rng.integers(1, 3, n))
    return pa.table(
        {
            "subject_id": integers(ids.visit_subject),
            "hadm_id": integers(ids.visit),
            "admittime": times(visits.start),
            "dischtime": times(visits.end),
            "deathtime": times(visits.end, ~visits.died),
            "admission_type": text(ADMISSIONS, kind),
            "admit_provider_id": nulls(n),
            "admission_location": text(LOCATIONS, kind),
            "discharge_location": text([*HOMES, "DIED"], np.where(visits.died, 4, rng.integers(4, size=n))),
            "insurance": text(["Other", "Medicare", "Medicaid"], rng.integers(3, size=n)),
            "language": text(["ENGLISH", "?"], (rng.random(n) < 0.1).astype(int)),
            "marital_status": text(["MARRIED", "SINGLE", "WIDOWED"], rng.integers(-1, 3, n)),
            "race": text(RACES, chunk.patients.ethnicity[visits.patient]),
            "edregtime": times(visits.registration),
            "edouttime": times(visits.start, ~emergency),
            "hospital_expire_flag": integers(visits.died),
        }
    ).take(pa.array(rng.permutation(n)))


def _code_texts(kind: str, code: np.ndarray, newer: np.ndarray) -> pa.Array:
    """Codes of ICD-9, or of ICD-10 where `newer`."""
    known = codes(kind)
    choices = [undotted(name) for name in [*known.icd9, *known.icd10]]
    return text(choices, code + len(known.icd9) * newer)


def _diagnoses(chunk: Chunk, ids: Identifiers, newer: np.ndarray) -> pa.Table:
    coded = chunk.diagnoses
    return pa.table(
        {
            "subject_id": integers(ids.visit_subject[coded.visit]),
            "hadm_id": integers(ids.visit[coded.visit]),
            "seq_num": integers(coded.sequence),
            "icd_code": _code_texts("diagnosis", coded.code, newer[coded.visit]),
            "icd_version": integers(np.where(newer[coded.visit], 10, 9)),
        }
    )


def _procedures(chunk: Chunk, ids: Identifiers, newer: np.ndarray) -> pa.Table:
    coded = chunk.procedures
    return pa.table(
        {
            "subject_id": integers(ids.visit_subject[coded.visit]),
            "hadm_id": integers(ids.visit[coded.visit]),
            "seq_num": integers(coded.sequence),
            "chartdate": dates(coded.time),
            "icd_code": _code_texts("procedure", coded.code, newer[coded.visit]),
            "icd_version": integers(np.where(newer[coded.visit], 10, 9)),
        }
    )


def _prescriptions(chunk: Chunk, ids: Identifiers) -> pa.Table:
    orders, known = chunk.orders, drugs()
    n, drug = len(orders), orders.drug
    strength = [
        f"{dose:g}{unit} {form.title()}" for dose, unit, form in zip(known.dose, known.unit, known.form, strict=True)
    ]
    start = -(-orders.start // HOUR) * HOUR
    number = row_numbers(chunk, n)
    return pa.table(
        {
            "subject_id": integers(ids.visit_subject[orders.visit]),
            "hadm_id": integers(ids.visit[orders.visit]),
            "pharmacy_id": integers(number),
            "poe_id": nulls(n),
            "poe_seq": nulls(n, pa.int64()),
            "order_provider_id": nulls(n),
            "starttime": times(start),
            "stoptime": times(np.maximum(start, orders.stop // HOUR * HOUR)),
            "drug_type": constant("MAIN", n),
            "drug": text(known.name, drug),
            "formulary_drug_cd": text([name[:4].upper() for name in known.name], drug),
            "gsn": nulls(n),
            "ndc": text(package_codes(), drug * 2 + orders.pack, ~orders.coded),
            "prod_strength": text(strength, drug),
            "form_rx": nulls(n),
            "dose_val_rx": text([f"{dose:g}" for dose in known.dose], drug),
            "dose_unit_rx": text(known.unit, drug),
            "form_val_disp": constant("1", n),
            "form_unit_disp": text(known.form, drug),
            "doses_per_24_hrs": integers(np.ones(n)),
            "route": text(known.route, drug),
        }
    )


def _labs(chunk: Chunk, ids: Identifiers) -> pa.Table:
    labs, known = chunk.labs, measurements("labs")
    n = len(labs)
    low, high = known.numbers("low")[labs.item], known.numbers("high")[labs.item]
    value = numbers(labs.value)
    return pa.table(
        {
            "labevent_id": integers(row_numbers(chunk, n)),
            "subject_id": integers(ids.visit_subject[labs.visit]),
            "hadm_id": integers(ids.visit[labs.visit], absent=labs.place > 0),
            "specimen_id": integers(chunk.index * 1_000_000 + labs.draw),
            "itemid": integers(known.numbers("mimic_itemid")[labs.item]),
            "order_provider_id": nulls(n),
            "charttime": times(labs.time),
            "storetime": times(labs.result),
            "value": as_text(value),
            "valuenum": value,
            "valueuom": text([unit or None for unit in known.texts("unit")], labs.item),
            "ref_range_lower": numbers(low),
            "ref_range_upper": numbers(high),
            "flag": text(["abnormal"], np.where((labs.value < low) | (labs.value > high), 0, -1)),
            "priority": text(["ROUTINE", "STAT"], (labs.place == 2).astype(int)),
            "comments": nulls(n),
        }
    )


def _stays(chunk: Chunk, ids: Identifiers) -> pa.Table:
    """A move between units is one stay here, so only a return counts as a second."""
    stays = chunk.stays.take(chunk.stays.kind <= READMIT)
    return pa.table(
        {
            "subject_id": integers(ids.visit_subject[stays.visit]),
            "hadm_id": integers(ids.visit[stays.visit]),
            "stay_id": integers(ids.stays(stays)),
            "first_careunit": text(UNITS, stays.unit),
            "last_careunit": text(UNITS, stays.unit),
            "intime": times(stays.start),
            "outtime": times(stays.end),
            "los": numbers((stays.end - stays.start) / DAY),
        }
    )


def _charts(chunk: Chunk, ids: Identifiers) -> pa.Table:
    """Intensive care only: MIMIC-IV has no chart of the ward."""
    charts, known = chunk.charts, measurements("vitals")
    moment, vital, value = long_charts(charts.take(charts.stay >= 0))
    charts = charts.take(charts.stay >= 0)
    item = known.numbers("metavision_itemid")[vital]
    moment, item, value, unit = split_coma_scale(moment, item, value, vital)
    order = chunk.stream("order of charts").permutation(len(moment))
    moment, item, unit, value = moment[order], item[order], unit[order], numbers(value[order])
    visit = charts.visit[moment]
    return pa.table(
        {
            "subject_id": integers(ids.visit_subject[visit]),
            "hadm_id": integers(ids.visit[visit]),
            "stay_id": integers(ids.stays(chunk.stays)[charts.stay[moment]]),
            "caregiver_id": integers(14_000 + visit % 997),
            "charttime": times(charts.time[moment]),
            "storetime": times(charts.saved[moment]),
            "itemid": integers(item),
            "value": as_text(value),
            "valuenum": value,
            "valueuom": text([unit or None for unit in known.texts("metavision_unit")], unit),
            "warning": integers(np.zeros(len(moment))),
        }
    )


def _notes(chunk: Chunk, ids: Identifiers, texts: pa.Array, kind: int, abbreviation: str) -> pa.Table:
    """Notes of one kind, at most one a visit; a discharge summary has the day of discharge as chart time."""
    of_kind = np.flatnonzero(chunk.notes.kind == kind)
    notes = chunk.notes.take(of_kind)
    subject = integers(ids.visit_subject[notes.visit])
    sequence = integers(chunk.visits.number[notes.visit] + 1)
    return pa.table(
        {
            "note_id": join_text(as_text(subject), f"-{abbreviation}-", as_text(sequence)),
            "subject_id": subject,
            "hadm_id": integers(ids.visit[notes.visit]),
            "note_type": constant(abbreviation, len(notes)),
            "note_seq": sequence,
            "charttime": midnights(notes.time) if kind == 2 else times(notes.time),
            "storetime": times(notes.saved),
            "text": texts.take(pa.array(of_kind)),
        }
    )
