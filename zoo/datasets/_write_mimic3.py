"""Synthetic patients as the tables of MIMIC-III 1.4, with its upper-case names."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from zoo.datasets._arrow_columns import (
    Identifiers,
    as_text,
    birth_minutes,
    constant,
    first_visit,
    integers,
    long_charts,
    midnights,
    nulls,
    numbers,
    row_numbers,
    text,
    times,
)
from zoo.datasets._facts import codes, conditions, drugs, measurements
from zoo.datasets._generator import DAY, YEAR
from zoo.datasets._narrative import note_texts
from zoo.datasets._simulated import READMIT, Chunk

INTENSIVE = False
KEY = "SUBJECT_ID"
UNITS = ["MICU", "SICU", "CCU", "CSRU", "TSICU", "MICU"]
ETHNICITIES = ["WHITE", "BLACK/AFRICAN AMERICAN", "HISPANIC OR LATINO", "ASIAN", "UNKNOWN/NOT SPECIFIED"]
INSURANCES = ["Medicare", "Private", "Medicaid", "Government", "Self Pay"]
HOMES = ["HOME", "HOME HEALTH CARE", "SNF", "REHAB/DISTINCT PART HOSP"]
ADMISSIONS = ["EMERGENCY", "ELECTIVE", "URGENT"]
LOCATIONS = ["EMERGENCY ROOM ADMIT", "PHYS REFERRAL/NORMAL DELI", "TRANSFER FROM HOSP/EXTRAM"]
COMA_SCALE_PARTS = (
    (220739, "GCS - Eye Opening"),
    (223900, "GCS - Verbal Response"),
    (223901, "GCS - Motor Response"),
)


def identifiers(patients, visits) -> Identifiers:
    return Identifiers(patients, visits, subject_base=1, visit_base=2_000_000, stay_base=20_000_000)


def keys(chunk: Chunk, patients: int) -> np.ndarray:
    """Values of `KEY` of the first patients of a chunk."""
    return identifiers(chunk.patients, chunk.visits).subject[:patients]


def undotted(code: str) -> str:
    return code.replace(".", "")


def package_codes() -> list[str]:
    """Eleven digits for the two packages of each drug, in labeller 99999, which is nobody's."""
    return [f"99999{drug:04d}{pack + 1:02d}" for drug in range(len(drugs().name)) for pack in range(2)]


def write_dictionaries() -> Iterator[tuple[str, pa.Table]]:
    """The tables that hold no patient."""
    for name, kind in (("D_ICD_DIAGNOSES", "diagnosis"), ("D_ICD_PROCEDURES", "procedure")):
        known = codes(kind)
        rows = {undotted(code): (known.short_title[i], known.icd9_title[i]) for i, code in enumerate(known.icd9)}
        yield (
            name,
            pa.table(
                {
                    "ROW_ID": integers(np.arange(1, len(rows) + 1)),
                    "ICD9_CODE": list(rows),
                    "SHORT_TITLE": [short for short, _ in rows.values()],
                    "LONG_TITLE": [title for _, title in rows.values()],
                }
            ),
        )
    labs = measurements("labs")
    yield (
        "D_LABITEMS",
        pa.table(
            {
                "ROW_ID": integers(np.arange(1, len(labs.names) + 1)),
                "ITEMID": integers(labs.numbers("mimic_itemid")),
                "LABEL": labs.texts("mimic_label"),
                "FLUID": constant("Blood", len(labs.names)),
                "CATEGORY": labs.texts("category"),
                "LOINC_CODE": labs.texts("loinc"),
            }
        ),
    )
    items = chart_items()
    yield (
        "D_ITEMS",
        pa.table(
            {
                "ROW_ID": integers(np.arange(1, len(items) + 1)),
                "ITEMID": integers([item["itemid"] for item in items]),
                "LABEL": [item["label"] for item in items],
                "ABBREVIATION": pa.array([item["abbreviation"] for item in items], pa.string()),
                "DBSOURCE": [item["source"] for item in items],
                "LINKSTO": constant("chartevents", len(items)),
                "CATEGORY": pa.array([item["category"] for item in items], pa.string()),
                "UNITNAME": pa.array([item["unit"] for item in items], pa.string()),
                "PARAM_TYPE": pa.array([item["type"] for item in items], pa.string()),
                "CONCEPTID": nulls(len(items), pa.int64()),
            }
        ),
    )


def chart_items() -> list[dict]:
    """Items of both bedside systems; MetaVision charts the coma scale in three parts."""
    items = []
    for row in measurements("vitals").rows:
        items.append(
            {
                "itemid": int(row["carevue_itemid"]),
                "label": row["carevue_label"],
                "abbreviation": None,
                "source": "carevue",
                "category": None,
                "unit": None,
                "type": None,
            }
        )
        if row["metavision_itemid"]:
            items.append(
                {
                    "itemid": int(row["metavision_itemid"]),
                    "label": row["metavision_label"],
                    "abbreviation": row["abbreviation"],
                    "source": "metavision",
                    "category": row["category"],
                    "unit": row["metavision_unit"],
                    "type": "Numeric",
                }
            )
    for itemid, label in COMA_SCALE_PARTS:
        items.append(
            {
                "itemid": itemid,
                "label": label,
                "abbreviation": label.removeprefix("GCS - "),
                "source": "metavision",
                "category": "Neurological",
                "unit": None,
                "type": "Text",
            }
        )
    return items


def split_coma_scale(moment, item, value, unit):
    """Replace each coma scale without an item (NaN) by its three parts, which add up to it; their unit is -1."""
    split = np.isnan(item)
    whole = ~split
    total = value[split]
    eye, verbal = np.rint(1 + (total - 3) / 4), np.rint(1 + (total - 3) / 3)
    parts = [eye, verbal, total - eye - verbal]
    return (
        np.concatenate([moment[whole], *[moment[split]] * 3]),
        np.concatenate([item[whole], *(np.full(len(total), itemid) for itemid, _ in COMA_SCALE_PARTS)]),
        np.concatenate([value[whole], *parts]),
        np.concatenate([unit[whole], np.full(3 * len(total), -1)]),
    )


def write_chunk(chunk: Chunk) -> Iterator[tuple[str, pa.Table]]:
    """The tables of one chunk."""
    ids = identifiers(chunk.patients, chunk.visits)
    rng = chunk.stream("mimic3")
    yield "PATIENTS", _patients(chunk, ids)
    yield "ADMISSIONS", _admissions(chunk, ids, rng)
    carevue = rng.random(len(chunk.visits)) < 0.55
    yield "ICUSTAYS", _stays(chunk, ids, carevue)
    yield "DIAGNOSES_ICD", _coded(chunk, ids, "diagnosis", chunk.diagnoses)
    yield "PROCEDURES_ICD", _coded(chunk, ids, "procedure", chunk.procedures)
    yield "PRESCRIPTIONS", _prescriptions(chunk, ids)
    yield "LABEVENTS", _labs(chunk, ids)
    yield "CHARTEVENTS", _charts(chunk, ids, carevue)
    yield "NOTEEVENTS", _notes(chunk, ids)


def _patients(chunk: Chunk, ids: Identifiers) -> pa.Table:
    patients, visits = chunk.patients, chunk.visits
    n = len(patients)
    born = birth_minutes(patients, visits)
    shifted = patients.age >= 90 - 1 / 365
    born = np.where(shifted, visits.start[first_visit(visits)] - int(300 * YEAR), born)
    in_hospital = np.zeros(n, dtype=bool)
    in_hospital[visits.patient[visits.died]] = True
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, n)),
            "SUBJECT_ID": integers(ids.subject),
            "GENDER": text(["M", "F"], patients.female.astype(int)),
            "DOB": midnights(born, np.zeros(n, dtype=bool)),
            "DOD": midnights(patients.death),
            "DOD_HOSP": midnights(patients.death, ~in_hospital),
            "DOD_SSN": midnights(patients.death, in_hospital | (patients.death < 0)),
            "EXPIRE_FLAG": integers(patients.death >= 0),
        }
    )


def _admissions(chunk: Chunk, ids: Identifiers, rng) -> pa.Table:
    visits = chunk.visits
    n = len(visits)
    order = chunk.stream("order of admissions").permutation(n)
    emergency = visits.registration >= 0
    kind = np.where(emergency, 0, rng.integers(1, 3, n))
    main = visits.stages[:, : len(conditions().names)].argmax(axis=1)
    words = [word.upper() for word in conditions().words]
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, n)),
            "SUBJECT_ID": integers(ids.visit_subject),
            "HADM_ID": integers(ids.visit),
            "ADMITTIME": times(visits.start),
            "DISCHTIME": times(visits.end),
            "DEATHTIME": times(visits.end, ~visits.died),
            "ADMISSION_TYPE": text(ADMISSIONS, kind),
            "ADMISSION_LOCATION": text(LOCATIONS, kind),
            "DISCHARGE_LOCATION": text([*HOMES, "DEAD/EXPIRED"], np.where(visits.died, 4, rng.integers(4, size=n))),
            "INSURANCE": text(INSURANCES, rng.choice(5, n, p=[0.5, 0.32, 0.12, 0.04, 0.02])),
            "LANGUAGE": text(["ENGL", "SPAN", "RUSS"], rng.choice([0, 1, 2, -1], n, p=[0.6, 0.05, 0.05, 0.3])),
            "RELIGION": text(["CATHOLIC", "PROTESTANT QUAKER", "JEWISH", "NOT SPECIFIED"], rng.integers(4, size=n)),
            "MARITAL_STATUS": text(["MARRIED", "SINGLE", "WIDOWED"], rng.integers(-1, 3, n)),
            "ETHNICITY": text(ETHNICITIES, chunk.patients.ethnicity[visits.patient]),
            "EDREGTIME": times(visits.registration),
            "EDOUTTIME": times(visits.start, ~emergency),
            "DIAGNOSIS": text(words, main),
            "HOSPITAL_EXPIRE_FLAG": integers(visits.died),
            "HAS_CHARTEVENTS_DATA": integers(np.ones(n)),
        }
    ).take(pa.array(order))


def _stays(chunk: Chunk, ids: Identifiers, carevue: np.ndarray) -> pa.Table:
    """A move between units is one stay here, so only a return counts as a second."""
    stays = chunk.stays.take(chunk.stays.kind <= READMIT)
    n = len(stays)
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, n)),
            "SUBJECT_ID": integers(ids.visit_subject[stays.visit]),
            "HADM_ID": integers(ids.visit[stays.visit]),
            "ICUSTAY_ID": integers(ids.stays(stays)),
            "DBSOURCE": text(["metavision", "carevue"], carevue[stays.visit].astype(int)),
            "FIRST_CAREUNIT": text(UNITS, stays.unit),
            "LAST_CAREUNIT": text(UNITS, stays.unit),
            "FIRST_WARDID": integers(stays.unit + 50),
            "LAST_WARDID": integers(stays.unit + 50),
            "INTIME": times(stays.start),
            "OUTTIME": times(stays.end),
            "LOS": numbers(np.round((stays.end - stays.start) / DAY, 4)),
        }
    )


def _coded(chunk: Chunk, ids: Identifiers, kind: str, coded) -> pa.Table:
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, len(coded))),
            "SUBJECT_ID": integers(ids.visit_subject[coded.visit]),
            "HADM_ID": integers(ids.visit[coded.visit]),
            "SEQ_NUM": integers(coded.sequence),
            "ICD9_CODE": text([undotted(code) for code in codes(kind).icd9], coded.code),
        }
    )


def _prescriptions(chunk: Chunk, ids: Identifiers) -> pa.Table:
    orders, known = chunk.orders, drugs()
    n, drug = len(orders), orders.drug
    name = text(known.name, drug)
    dose = [f"{dose:g}" for dose in known.dose]
    strength = [
        f"{dose:g}{unit} {form.title()}" for dose, unit, form in zip(known.dose, known.unit, known.form, strict=True)
    ]
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, n)),
            "SUBJECT_ID": integers(ids.visit_subject[orders.visit]),
            "HADM_ID": integers(ids.visit[orders.visit]),
            "ICUSTAY_ID": nulls(n, pa.int64()),
            "STARTDATE": midnights(orders.start),
            "ENDDATE": midnights(orders.stop),
            "DRUG_TYPE": constant("MAIN", n),
            "DRUG": name,
            "DRUG_NAME_POE": name,
            "DRUG_NAME_GENERIC": name,
            "FORMULARY_DRUG_CD": text([drug[:4].upper() for drug in known.name], drug),
            "GSN": nulls(n),
            "NDC": text(package_codes(), drug * 2 + orders.pack, ~orders.coded),
            "PROD_STRENGTH": text(strength, drug),
            "DOSE_VAL_RX": text(dose, drug),
            "DOSE_UNIT_RX": text(known.unit, drug),
            "FORM_VAL_DISP": constant("1", n),
            "FORM_UNIT_DISP": text(known.form, drug),
            "ROUTE": text(known.route, drug),
        }
    )


def _labs(chunk: Chunk, ids: Identifiers) -> pa.Table:
    labs, known = chunk.labs, measurements("labs")
    n = len(labs)
    abnormal = (labs.value < known.numbers("low")[labs.item]) | (labs.value > known.numbers("high")[labs.item])
    value = numbers(labs.value)
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, n)),
            "SUBJECT_ID": integers(ids.visit_subject[labs.visit]),
            "HADM_ID": integers(ids.visit[labs.visit], absent=labs.place == 3),
            "ITEMID": integers(known.numbers("mimic_itemid")[labs.item]),
            "CHARTTIME": times(labs.time),
            "VALUE": as_text(value),
            "VALUENUM": value,
            "VALUEUOM": text([unit or None for unit in known.texts("unit")], labs.item),
            "FLAG": text(["abnormal"], np.where(abnormal, 0, -1)),
        }
    )


def _charts(chunk: Chunk, ids: Identifiers, carevue: np.ndarray) -> pa.Table:
    charts, known = chunk.charts, measurements("vitals")
    moment, vital, value = long_charts(charts)
    old = carevue[charts.visit[moment]]
    item = np.where(old, known.numbers("carevue_itemid")[vital], known.numbers("metavision_itemid")[vital])
    moment, item, value, unit = split_coma_scale(moment, item, value, vital + len(known.names) * ~old)
    order = chunk.stream("order of charts").permutation(len(moment))
    moment, item, unit, value = moment[order], item[order], unit[order], numbers(value[order])
    n, visit, stay = len(moment), charts.visit[moment], charts.stay[moment]
    units = [*known.texts("carevue_unit"), *known.texts("metavision_unit")]
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, n)),
            "SUBJECT_ID": integers(ids.visit_subject[visit]),
            "HADM_ID": integers(ids.visit[visit]),
            "ICUSTAY_ID": integers(ids.stays(chunk.stays)[stay], absent=stay < 0),
            "ITEMID": integers(item),
            "CHARTTIME": times(charts.time[moment]),
            "STORETIME": times(charts.saved[moment]),
            "CGID": integers(14_000 + visit % 997),
            "VALUE": as_text(value),
            "VALUENUM": value,
            "VALUEUOM": text([name or None for name in units], unit),
            "WARNING": nulls(n, pa.int64()),
            "ERROR": nulls(n, pa.int64()),
            "RESULTSTATUS": nulls(n),
            "STOPPED": text(["NotStopd"], np.where(carevue[visit], 0, -1)),
        }
    )


def _notes(chunk: Chunk, ids: Identifiers) -> pa.Table:
    notes = chunk.notes
    n, summary = len(notes), notes.kind == 2
    return pa.table(
        {
            "ROW_ID": integers(row_numbers(chunk, n)),
            "SUBJECT_ID": integers(ids.visit_subject[notes.visit]),
            "HADM_ID": integers(ids.visit[notes.visit]),
            "CHARTDATE": midnights(notes.time),
            "CHARTTIME": times(notes.time, summary),
            "STORETIME": times(notes.saved, summary),
            "CATEGORY": text(["Nursing/other", "Radiology", "Discharge summary"], notes.kind),
            "DESCRIPTION": text(["Report", "CHEST (PORTABLE AP)", "Report"], notes.kind),
            "CGID": integers(14_000 + notes.visit % 997, absent=summary),
            "ISERROR": nulls(n),
            "TEXT": note_texts(chunk),
        }
    )
