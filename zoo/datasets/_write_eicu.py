"""Synthetic patients as the tables of eICU-CRD 2.0: offsets in minutes from the admission to a unit."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from zoo.datasets._arrow_columns import (
    Identifiers,
    as_text,
    constant,
    first_visit,
    integers,
    join_text,
    nulls,
    numbers,
    row_numbers,
    text,
)
from zoo.datasets._facts import codes, conditions, drugs, measurements
from zoo.datasets._generator import DAY, YEAR
from zoo.datasets._narrative import note_texts
from zoo.datasets._simulated import Chunk

INTENSIVE = True
KEY = "patientunitstayid"
HOSPITALS = np.arange(56, 56 + 24)
LAST_YEAR = 2015
ETHNICITIES = ["Caucasian", "African American", "Hispanic", "Asian", "Other/Unknown"]
UNITS = ["Med-Surg ICU", "MICU", "SICU", "Cardiac ICU", "CCU-CTICU", "Neuro ICU"]
STAY_TYPES = ["admit", "readmit", "transfer", "stepdown/other"]
ADMIT_SOURCES = ["Emergency Department", "Floor", "Operating Room", "Direct Admit"]
HOMES = ["Home", "Skilled Nursing Facility", "Rehabilitation", "Other Hospital"]
FIRST_HICL = 20_000  # made up: one number a drug
NURSE_CHARTED = {
    "coma_scale": ("Scores", "Glasgow coma score", "GCS Total"),
    "temperature": ("Vital Signs", "Temperature", "Temperature (F)"),
    "respiratory_rate": ("Vital Signs", "Respiratory Rate", "Respiratory Rate"),
}


def identifiers(patients, visits) -> Identifiers:
    """The subject is the number after the dash in `uniquepid`; the visit is `patienthealthsystemstayid`."""
    return Identifiers(patients, visits, subject_base=1_000, visit_base=40_000_000, stay_base=100_000)


def keys(chunk: Chunk, patients: int) -> np.ndarray:
    """Values of `KEY` of the first patients of a chunk."""
    stays = chunk.stays
    return identifiers(chunk.patients, chunk.visits).stays(stays)[chunk.visits.patient[stays.visit] < patients]


class Places:
    """In which unit stay a fact of a visit is filed, and how many minutes after its start."""

    def __init__(self, chunk: Chunk, ids: Identifiers):
        stays, n = chunk.stays, len(chunk.visits)
        self.ids, self.start = ids.stays(stays), stays.start
        self.first, self.second = np.full(n, -1), np.full(n, -1)
        for number, rows in ((0, self.first), (1, self.second)):
            of_number = np.flatnonzero(stays.number == number)
            rows[stays.visit[of_number]] = of_number

    def stay(self, visit: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The second stay of the visit once it has begun, else the first."""
        second = self.second[visit]
        return np.where((second >= 0) & (self.start[second] <= time), second, self.first[visit])

    def columns(self, number: str, chunk: Chunk, stay: np.ndarray) -> dict[str, pa.Array]:
        return {number: integers(row_numbers(chunk, len(stay))), KEY: integers(self.ids[stay])}


def write_dictionaries() -> Iterator[tuple[str, pa.Table]]:
    """The tables that hold no patient."""
    n = len(HOSPITALS)
    yield (
        "hospital",
        pa.table(
            {
                "hospitalid": integers(HOSPITALS),
                "numbedscategory": text(["<100", "100 - 249", "250 - 499", ">= 500"], np.arange(n) % 4),
                "teachingstatus": text(["f", "t"], (np.arange(n) % 5 == 0).astype(int)),
                "region": text(["Midwest", "South", "West", "Northeast"], np.arange(n) // 2 % 4),
            }
        ),
    )


def write_chunk(chunk: Chunk) -> Iterator[tuple[str, pa.Table]]:
    """The tables of one chunk."""
    ids = identifiers(chunk.patients, chunk.visits)
    places = Places(chunk, ids)
    yield "patient", _patients(chunk, ids)
    yield "diagnosis", _diagnoses(chunk, places)
    yield "treatment", _treatments(chunk, places)
    yield "medication", _medications(chunk, places)
    yield "lab", _labs(chunk, places)
    yield from _vitals(chunk, places)
    yield "note", _notes(chunk, places)


def discharge_years(chunk: Chunk) -> np.ndarray:
    """A year for each visit, the last in 2015 and each earlier one a year before; rarely the last two share theirs."""
    visits = chunk.visits
    later = np.bincount(visits.patient, minlength=len(chunk.patients))[visits.patient] - 1 - visits.number
    shared = chunk.stream("eicu shared years").random(len(chunk.patients)) < 0.03
    return LAST_YEAR - np.maximum(later - shared[visits.patient], 0)


def clock(minutes: np.ndarray) -> pa.Array:
    """Time of day as `HH:MM:SS`."""
    day = [f"{minute // 60:02d}:{minute % 60:02d}:00" for minute in range(DAY)]
    return text(day, minutes % DAY)


def _patients(chunk: Chunk, ids: Identifiers) -> pa.Table:
    patients, visits, stays = chunk.patients, chunk.visits, chunk.stays
    n, visit = len(stays), stays.visit
    people, rng = chunk.stream("eicu patients"), chunk.stream("eicu stays")
    of_patient = people.integers(len(HOSPITALS), size=len(patients))
    height = np.round(people.normal(np.where(patients.female, 162, 176), 8), 1)
    weight = np.round(people.normal(82, 17, len(patients)).clip(38), 1)
    patient = visits.patient[visit]
    age = patients.age[patient] + (visits.start[visit] - visits.start[first_visit(visits)][patient]) / YEAR
    died, in_unit = visits.died[visit], stays.end == visits.end[visit]
    home, source = rng.integers(4, size=len(visits)), rng.integers(1, 4, len(visits))
    source = np.where(visits.registration >= 0, 0, source)
    main = visits.stages[:, : len(conditions().names)].argmax(axis=1)
    hospital = of_patient[patient]
    return pa.table(
        {
            "patientunitstayid": integers(ids.stays(stays)),
            "patienthealthsystemstayid": integers(ids.visit[visit]),
            "gender": text(["Male", "Female"], patients.female[patient].astype(int)),
            "age": text([*map(str, range(90)), "> 89"], np.minimum(age.astype(int), 90)),
            "ethnicity": text(ETHNICITIES, patients.ethnicity[patient]),
            "hospitalid": integers(HOSPITALS[hospital]),
            "wardid": integers(HOSPITALS[hospital] * 10 + stays.unit),
            "apacheadmissiondx": text([words.capitalize() for words in conditions().words], main[visit]),
            "admissionheight": numbers(height[patient]),
            "hospitaladmittime24": clock(visits.start[visit]),
            "hospitaladmitoffset": integers(visits.start[visit] - stays.start),
            "hospitaladmitsource": text(ADMIT_SOURCES, source[visit]),
            "hospitaldischargeyear": integers(discharge_years(chunk)[visit]),
            "hospitaldischargetime24": clock(visits.end[visit]),
            "hospitaldischargeoffset": integers(visits.end[visit] - stays.start),
            "hospitaldischargelocation": text([*HOMES, "Death"], np.where(died, 4, home[visit])),
            "hospitaldischargestatus": text(["Alive", "Expired"], died.astype(int)),
            "unittype": text(UNITS, stays.unit),
            "unitadmittime24": clock(stays.start),
            "unitadmitsource": text(ADMIT_SOURCES, np.where(stays.number == 0, source[visit], 1)),
            "unitvisitnumber": integers(stays.number + 1),
            "unitstaytype": text(STAY_TYPES, stays.kind),
            "admissionweight": numbers(weight[patient]),
            "dischargeweight": numbers(weight[patient]),
            "unitdischargetime24": clock(stays.end),
            "unitdischargeoffset": integers(stays.end - stays.start),
            "unitdischargelocation": text(["Floor", "Home", "Death"], in_unit * (1 + died)),
            "unitdischargestatus": text(["Alive", "Expired"], (in_unit & died).astype(int)),
            "uniquepid": join_text(
                text([f"{number:03d}-" for number in range(100)], hospital + 2),
                as_text(integers(ids.subject[patient])),
            ),
        }
    ).take(pa.array(rng.permutation(n)))


def _system_and_words(state: np.ndarray) -> tuple[list[str], list[str]]:
    """Organ system and words for the state of each code."""
    rows = [
        *conditions().rows,
        {"system": "general", "words": "other"},
        {"system": "general", "words": "functional status"},
    ]
    return [rows[s]["system"] for s in state], [rows[s]["words"] for s in state]


def _diagnoses(chunk: Chunk, places: Places) -> pa.Table:
    coded, known = chunk.diagnoses, codes("diagnosis")
    stay = places.stay(coded.visit, coded.time)
    systems, words = _system_and_words(known.state)
    titles = [title.lower().replace("|", " ") for title in known.icd9_title]
    paths = [f"{system}|{word}|{title}" for system, word, title in zip(systems, words, titles, strict=True)]
    pairs = [f"{old}, {new}" for old, new in zip(known.icd9, known.icd10, strict=True)]
    return pa.table(
        {
            **places.columns("diagnosisid", chunk, stay),
            "activeupondischarge": text(["False", "True"], coded.sequence % 2),
            "diagnosisoffset": integers(coded.time - places.start[stay]),
            "diagnosisstring": text(paths, coded.code),
            "icd9code": text(pairs, coded.code),
            "diagnosispriority": text(["Primary", "Major", "Other"], np.minimum(coded.sequence - 1, 5) // 2),
        }
    )


def _treatments(chunk: Chunk, places: Places) -> pa.Table:
    coded, known = chunk.procedures, codes("procedure")
    stay = places.stay(coded.visit, coded.time)
    systems, _ = _system_and_words(known.state)
    paths = [f"{system}|procedures|{title.lower()}" for system, title in zip(systems, known.icd9_title, strict=True)]
    return pa.table(
        {
            **places.columns("treatmentid", chunk, stay),
            "treatmentoffset": integers(coded.time - places.start[stay]),
            "treatmentstring": text(paths, coded.code),
            "activeupondischarge": text(["False", "True"], coded.sequence % 2),
        }
    )


def _medications(chunk: Chunk, places: Places) -> pa.Table:
    """Orders; where the other schemas lack the package code, the name is missing here, the HICL number is not."""
    orders, known = chunk.orders, drugs()
    stay, drug, n = places.stay(orders.visit, orders.start), orders.drug, len(orders)
    start = orders.start - places.start[stay]
    names = [
        f"{name.upper()} {dose:g} {unit.upper()} {form}"
        for name, dose, unit, form in zip(known.name, known.dose, known.unit, known.form, strict=True)
    ]
    doses = [f"{dose:g} {unit}" for dose, unit in zip(known.dose, known.unit, strict=True)]
    return pa.table(
        {
            **places.columns("medicationid", chunk, stay),
            "drugorderoffset": integers(start - 10),
            "drugstartoffset": integers(start),
            "drugivadmixture": text(["No", "Yes"], np.array([route == "IV DRIP" for route in known.route], int)[drug]),
            "drugordercancelled": text(["No", "Yes"], orders.cancelled.astype(int)),
            "drugname": text(names, drug, ~orders.coded),
            "drughiclseqno": integers(FIRST_HICL + drug),
            "dosage": text(doses, drug),
            "routeadmin": text(known.route, drug),
            "frequency": text(["Daily", "BID"], orders.pack),
            "loadingdose": nulls(n),
            "prn": constant("No", n),
            "drugstopoffset": integers(orders.stop - places.start[stay]),
            "gtc": integers(np.zeros(n)),
        }
    )


def _labs(chunk: Chunk, places: Places) -> pa.Table:
    """Draws up to discharge, those of the emergency department among them."""
    labs, known = chunk.labs.take(chunk.labs.place < 3), measurements("labs")
    stay = places.stay(labs.visit, labs.time)
    units = text([unit or None for unit in known.texts("eicu_unit")], labs.item)
    value = numbers(labs.value)
    return pa.table(
        {
            **places.columns("labid", chunk, stay),
            "labresultoffset": integers(labs.time - places.start[stay]),
            "labtypeid": integers(known.numbers("eicu_type")[labs.item]),
            "labname": text(known.texts("eicu_name"), labs.item),
            "labresult": value,
            "labresulttext": as_text(value),
            "labmeasurenamesystem": units,
            "labmeasurenameinterface": units,
            "labresultrevisedoffset": integers(labs.result - places.start[stay]),
        }
    )


def _vitals(chunk: Chunk, places: Places) -> Iterator[tuple[str, pa.Table]]:
    """The monitor's values, the cuff's, and those that a nurse charts."""
    charts, known = chunk.charts, measurements("vitals")
    value = dict(zip(known.names, charts.value.T, strict=True))
    offset = charts.time - charts_start(charts, places)
    n = len(charts)

    def absent(*names: str) -> dict[str, pa.Array]:
        return {name: nulls(n, pa.float64()) for name in names}

    yield (
        "vitalPeriodic",
        pa.table(
            {
                **places.columns("vitalperiodicid", chunk, charts.stay),
                "observationoffset": integers(offset),
                "temperature": numbers(np.round((value["temperature"] - 32) / 1.8, 1)),
                "sao2": numbers(value["oxygen_saturation"]),
                "heartrate": numbers(value["heart_rate"]),
                "respiration": numbers(value["respiratory_rate"]),
                **absent(
                    "cvp",
                    "etco2",
                    "systemicsystolic",
                    "systemicdiastolic",
                    "systemicmean",
                    "pasystolic",
                    "padiastolic",
                    "pamean",
                    "st1",
                    "st2",
                    "st3",
                    "icp",
                ),
            }
        ),
    )
    yield (
        "vitalAperiodic",
        pa.table(
            {
                **places.columns("vitalaperiodicid", chunk, charts.stay),
                "observationoffset": integers(offset),
                "noninvasivesystolic": numbers(value["systolic_pressure"]),
                "noninvasivediastolic": numbers(value["diastolic_pressure"]),
                "noninvasivemean": numbers(value["mean_pressure"]),
                **absent("paop", "cardiacoutput", "cardiacinput", "svr", "svri", "pvr", "pvri"),
            }
        ),
    )
    charted = np.column_stack([value[name] for name in NURSE_CHARTED])
    moment, which = np.nonzero(~np.isnan(charted))
    order = chunk.stream("order of charts").permutation(len(moment))
    moment, which = moment[order], which[order]
    kinds, labels, names = zip(*NURSE_CHARTED.values(), strict=True)
    saved = charts.saved - charts_start(charts, places)
    yield (
        "nurseCharting",
        pa.table(
            {
                **places.columns("nursingchartid", chunk, charts.stay[moment]),
                "nursingchartoffset": integers(offset[moment]),
                "nursingchartentryoffset": integers(saved[moment]),
                "nursingchartcelltypecat": text(kinds, which),
                "nursingchartcelltypevallabel": text(labels, which),
                "nursingchartcelltypevalname": text(names, which),
                "nursingchartvalue": as_text(numbers(charted[moment, which])),
            }
        ),
    )


def charts_start(charts, places: Places) -> np.ndarray:
    """Minute from which each moment's offset counts."""
    return places.start[charts.stay]


def _notes(chunk: Chunk, places: Places) -> pa.Table:
    """Notes during the visit; eICU has no discharge summaries."""
    during = np.flatnonzero(chunk.notes.kind < 2)
    notes = chunk.notes.take(during)
    stay = places.stay(notes.visit, notes.time)
    paths = ["notes/Progress Notes/Nursing", "notes/Progress Notes/Radiology"]
    return pa.table(
        {
            **places.columns("noteid", chunk, stay),
            "noteoffset": integers(notes.time - places.start[stay]),
            "noteenteredoffset": integers(notes.saved - places.start[stay]),
            "notetype": text(["Comprehensive Progress", "Brief Progress"], notes.kind),
            "notepath": text(paths, notes.kind),
            "notevalue": text(["Nursing", "Radiology"], notes.kind),
            "notetext": note_texts(chunk).take(pa.array(during)),
        }
    )
