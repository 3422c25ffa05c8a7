"""Random CSV tables in the shape of MIMIC-III 1.4: its columns, row counts, distinct values and skew, rows shuffled.

They are to be read fast or slowly, not to be learned from: values have no meaning.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from zoo.knowledge.vitals import vital_items

PATIENTS = 46_520
ROWS = {
    "ADMISSIONS": 58_976,
    "ICUSTAYS": 61_532,
    "DIAGNOSES_ICD": 651_047,
    "PROCEDURES_ICD": 240_095,
    "PRESCRIPTIONS": 4_156_450,
}
"""Rows of MIMIC-III 1.4; a smaller number of patients gets as many in proportion."""
DISTINCT = {"diagnosis": 6_984, "procedure": 2_009, "drug": 4_525, "ndc": 4_204, "formulary": 3_267}
CHUNK = 500_000
DAY = 86_400
EPOCH = np.datetime64("2100-01-01", "s").astype(np.int64)


def write_tables(folder: Path, patients: int, chart_events: int = 0, vital_share: float = 0.15, seed: int = 0) -> int:
    """Write the six tables as CSV, and CHARTEVENTS where it is asked for, so many of its rows vital signs.

    Returns:
        How many diagnoses, procedures and prescriptions there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows = {n: max(round(c * patients / PATIENTS), patients) for n, c in ROWS.items()}
    visits = _visits(random, patients, rows["ADMISSIONS"])
    for name, table in (
        ("PATIENTS", _patients(random, visits)),
        ("ADMISSIONS", _admissions(random, visits)),
        ("ICUSTAYS", _stays(random, visits, rows["ICUSTAYS"])),
        ("DIAGNOSES_ICD", _billed(random, visits, rows["DIAGNOSES_ICD"], _icd9("diagnosis", 3))),
        ("PROCEDURES_ICD", _billed(random, visits, rows["PROCEDURES_ICD"], _icd9("procedure", 2))),
    ):
        shuffled = table.take(random.permutation(table.num_rows))
        pa.csv.write_csv(shuffled, folder / f"{name}.csv")
    drugs = _drugs()
    weight = random.lognormal(0, 1, len(visits["id"])) * (random.random(len(visits["id"])) < 0.85)
    _write_chunks(
        folder / "PRESCRIPTIONS.csv",
        rows["PRESCRIPTIONS"],
        lambda low, n: _prescriptions(random, visits, weight / weight.sum(), drugs, low, n),
    )
    if chart_events:
        _write_chunks(
            folder / "CHARTEVENTS.csv",
            chart_events,
            lambda low, n: _chart_events(random, visits, vital_share, low, n),
        )
    return sum(rows[n] for n in ("DIAGNOSES_ICD", "PROCEDURES_ICD", "PRESCRIPTIONS"))


def _write_chunks(path: Path, total: int, make) -> None:
    writer = None
    for low in range(0, total, CHUNK):
        table = make(low, min(CHUNK, total - low))
        writer = writer or pa.csv.CSVWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def _visits(random: np.random.Generator, patients: int, count: int) -> dict[str, np.ndarray]:
    """Visits ordered by subject and time: one a patient, and the others among few patients."""
    frailty = random.lognormal(0, 1.5, patients)
    more = random.choice(patients, count - patients, p=frailty / frailty.sum())
    patient = np.sort(np.r_[np.arange(patients), more])
    length = (random.lognormal(1.8, 0.9, count).clip(0.1, 200) * DAY).astype(np.int64)
    gap = (random.exponential(300, count) * DAY).astype(np.int64) + DAY
    begin = np.cumsum(length + gap) - length
    new = np.r_[True, patient[1:] != patient[:-1]]
    birth = EPOCH + random.integers(0, 80 * 365, patients) * DAY
    start = begin - begin[new][patient] + (birth + random.integers(18, 85, patients) * 365 * DAY)[patient]
    last = np.r_[new[1:], True]
    died = last & (random.random(count) < 0.1 / last.mean())
    return {
        "patient": patient,
        "subject": patient * 2 + 3,
        "id": 100_000 + random.permutation(count),
        "start": start + random.integers(0, DAY, count),
        "length": length,
        "end": start + length + DAY,
        "died": died,
        "last": last,
        "birth": birth,
    }


def _patients(random: np.random.Generator, visits: dict[str, np.ndarray]) -> pa.Table:
    last = visits["last"]
    n = int(last.sum())
    died = visits["died"][last]
    death = pa.array(visits["end"][last] // DAY * DAY, mask=~died).cast(pa.timestamp("s"))
    return pa.table(
        {
            "ROW_ID": np.arange(n) + 1,
            "SUBJECT_ID": visits["subject"][last],
            "GENDER": _pick(random, ["M", "F"], n),
            "DOB": _times(visits["birth"]),
            "DOD": death,
            "DOD_HOSP": death,
            "DOD_SSN": pa.nulls(n, pa.timestamp("s")),
            "EXPIRE_FLAG": died.astype(int),
        }
    )


def _admissions(random: np.random.Generator, visits: dict[str, np.ndarray]) -> pa.Table:
    n = len(visits["id"])
    start, end, emergency = visits["start"], visits["end"], random.random(n) < 0.6
    return pa.table(
        {
            "ROW_ID": np.arange(n) + 1,
            "SUBJECT_ID": visits["subject"],
            "HADM_ID": visits["id"],
            "ADMITTIME": _times(start),
            "DISCHTIME": _times(end),
            "DEATHTIME": pa.array(end, mask=~visits["died"]).cast(pa.timestamp("s")),
            "ADMISSION_TYPE": _pick(random, ["EMERGENCY", "ELECTIVE", "NEWBORN", "URGENT"], n),
            "ADMISSION_LOCATION": _pick(random, ["EMERGENCY ROOM ADMIT", "PHYS REFERRAL/NORMAL DELI"], n),
            "DISCHARGE_LOCATION": _pick(random, ["HOME", "SNF", "HOME HEALTH CARE", "REHAB/DISTINCT PART HOSP"], n),
            "INSURANCE": _pick(random, ["Medicare", "Private", "Medicaid", "Government", "Self Pay"], n),
            "LANGUAGE": _pick(random, ["ENGL", "SPAN", "RUSS"], n),
            "RELIGION": _pick(random, ["CATHOLIC", "NOT SPECIFIED", "JEWISH"], n),
            "MARITAL_STATUS": _pick(random, ["MARRIED", "SINGLE", "WIDOWED"], n),
            "ETHNICITY": _pick(random, ["WHITE", "BLACK/AFRICAN AMERICAN", "HISPANIC OR LATINO", "ASIAN"], n),
            "EDREGTIME": pa.array(start - 4 * 3600, mask=~emergency).cast(pa.timestamp("s")),
            "EDOUTTIME": pa.array(start + 3600, mask=~emergency).cast(pa.timestamp("s")),
            "DIAGNOSIS": _pick(random, ["PNEUMONIA", "SEPSIS", "CHEST PAIN;CATH, LEFT", "S/P FALL"], n),
            "HOSPITAL_EXPIRE_FLAG": visits["died"].astype(int),
            "HAS_CHARTEVENTS_DATA": np.ones(n, int),
        }
    )


def _stays(random: np.random.Generator, visits: dict[str, np.ndarray], n: int) -> pa.Table:
    count = len(visits["id"])
    visit = np.r_[np.arange(count), random.integers(0, count, max(n - count, 0))][:n]
    into = visits["start"][visit] + (visits["length"][visit] * random.random(n) * 0.4).astype(np.int64)
    out = into + (visits["length"][visit] * 0.5).astype(np.int64)
    unit = _pick(random, ["MICU", "SICU", "CSRU", "CCU", "TSICU", "NICU"], n)
    return pa.table(
        {
            "ROW_ID": np.arange(n) + 1,
            "SUBJECT_ID": visits["subject"][visit],
            "HADM_ID": visits["id"][visit],
            "ICUSTAY_ID": 200_000 + np.arange(n),
            "DBSOURCE": _pick(random, ["carevue", "metavision"], n),
            "FIRST_CAREUNIT": unit,
            "LAST_CAREUNIT": unit,
            "FIRST_WARDID": random.integers(7, 58, n),
            "LAST_WARDID": random.integers(7, 58, n),
            "INTIME": _times(into),
            "OUTTIME": _times(out),
            "LOS": np.round((out - into) / DAY, 4),
        }
    )


def _billed(random: np.random.Generator, visits: dict[str, np.ndarray], n: int, codes: pa.Array) -> pa.Table:
    visit = np.sort(random.integers(0, len(visits["id"]), n))
    head = np.flatnonzero(np.r_[True, visit[1:] != visit[:-1]])
    return pa.table(
        {
            "ROW_ID": np.arange(n) + 1,
            "SUBJECT_ID": visits["subject"][visit],
            "HADM_ID": visits["id"][visit],
            "SEQ_NUM": np.arange(n) - np.repeat(head, np.diff(np.r_[head, n])) + 1,
            "ICD9_CODE": codes.take(pa.array(_skewed(random, len(codes), n))),
        }
    )


def _prescriptions(random, visits, share: np.ndarray, drugs: pa.Table, low: int, n: int) -> pa.Table:
    visit = random.choice(len(share), n, p=share)
    since = visits["start"][visit] // DAY * DAY + (visits["length"][visit] * random.random(n)) // DAY * DAY
    drug = drugs.take(pa.array(_skewed(random, drugs.num_rows, n)))
    dose = random.choice([1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 250.0, 500.0, 1000.0], n)
    no_ndc, in_unit = random.random(n) < 0.11, random.random(n) < 0.65
    ndc = pa.compute.if_else(pa.array(no_ndc), pa.scalar("0"), drug["NDC"])
    named = pa.compute.if_else(pa.array(random.random(n) < 0.4), pa.scalar(None, pa.string()), drug["DRUG"])
    return pa.table(
        {
            "ROW_ID": np.arange(low, low + n) + 1,
            "SUBJECT_ID": visits["subject"][visit],
            "HADM_ID": visits["id"][visit],
            "ICUSTAY_ID": pa.array(200_000 + visit, mask=~in_unit),
            "STARTDATE": _times(since.astype(np.int64)),
            "ENDDATE": _times(since.astype(np.int64) + random.integers(0, 6, n) * DAY),
            "DRUG_TYPE": _pick(random, ["MAIN", "MAIN", "MAIN", "BASE", "ADDITIVE"], n),
            "DRUG": drug["DRUG"],
            "DRUG_NAME_POE": named,
            "DRUG_NAME_GENERIC": named,
            "FORMULARY_DRUG_CD": drug["FORMULARY_DRUG_CD"],
            "GSN": drug["GSN"],
            "NDC": ndc,
            "PROD_STRENGTH": drug["PROD_STRENGTH"],
            "DOSE_VAL_RX": pa.array(dose).cast(pa.string()),
            "DOSE_UNIT_RX": drug["DOSE_UNIT_RX"],
            "FORM_VAL_DISP": pa.array(random.choice([1.0, 0.5, 2.0], n)).cast(pa.string()),
            "FORM_UNIT_DISP": drug["FORM_UNIT_DISP"],
            "ROUTE": drug["ROUTE"],
        }
    )


def _drugs() -> pa.Table:
    """Drugs with all that is written of them, the same in every run."""
    random = np.random.default_rng(7)
    n = DISTINCT["drug"]
    parts = ["met", "pro", "sul", "cef", "ami", "lor", "hydro", "chlor", "fen", "tan", "azo", "ven", "olol", "ine"]
    forms = ["", " (Immediate Release)", " Sodium", ", Human", " HCl", " 5% Dextrose", " Oral Suspension"]
    names = [
        "".join(random.choice(parts, 3)).capitalize() + f"{i % 97 or ''}" + forms[i % len(forms)] for i in range(n)
    ]
    ndc = [f"{i:011d}" for i in random.choice(10**10, DISTINCT["ndc"], replace=False)]
    return pa.table(
        {
            "DRUG": names,
            "NDC": [ndc[i % len(ndc)] for i in range(n)],
            "FORMULARY_DRUG_CD": [f"FORM{i % DISTINCT['formulary']}" for i in range(n)],
            "GSN": [f"{i * 7:06d}" for i in range(n)],
            "PROD_STRENGTH": [f"{random.integers(1, 500)}mg Tablet" for _ in range(n)],
            "DOSE_UNIT_RX": random.choice(["mg", "mL", "UNIT", "mEq", "gm"], n),
            "FORM_UNIT_DISP": random.choice(["TAB", "VIAL", "mL", "CAP", "BAG"], n),
            "ROUTE": random.choice(["PO", "IV", "SC", "PO/NG", "IH"], n),
        }
    )


def _chart_events(random, visits: dict[str, np.ndarray], vital_share: float, low: int, n: int) -> pa.Table:
    vitals = np.array([int(i.key) for i in vital_items("mimic3")])
    others = np.setdiff1d(np.arange(1, 6_500), vitals)
    visit = random.integers(0, len(visits["id"]), n)
    item = np.where(random.random(n) < vital_share, random.choice(vitals, n), random.choice(others, n))
    time = visits["start"][visit] + (visits["length"][visit] * random.random(n)).astype(np.int64) // 60 * 60
    value = np.round(random.normal(80, 20, n), 1)
    numeric = random.random(n) < 0.8
    return pa.table(
        {
            "ROW_ID": np.arange(low, low + n) + 1,
            "SUBJECT_ID": visits["subject"][visit],
            "HADM_ID": visits["id"][visit],
            "ICUSTAY_ID": 200_000 + visit,
            "ITEMID": item,
            "CHARTTIME": _times(time),
            "STORETIME": _times(time + random.integers(0, 3_600, n)),
            "CGID": random.integers(14_000, 22_000, n),
            "VALUE": pa.compute.if_else(pa.array(numeric), pa.array(value).cast(pa.string()), pa.scalar("Normal")),
            "VALUENUM": pa.array(value, mask=~numeric),
            "VALUEUOM": _pick(random, ["mmHg", "bpm", "%", "Deg. F"], n),
            "WARNING": pa.array(np.zeros(n, int), mask=random.random(n) < 0.5),
            "ERROR": pa.array(np.zeros(n, int), mask=random.random(n) < 0.5),
            "RESULTSTATUS": pa.nulls(n, pa.string()),
            "STOPPED": _pick(random, ["NotStopd", "D/C'd"], n),
        }
    )


def _icd9(kind: str, digits: int) -> pa.Array:
    """Distinct codes as MIMIC-III writes them, without a dot."""
    random = np.random.default_rng(len(kind))
    numbers = random.choice(10 ** (digits + 2), DISTINCT[kind], replace=False)
    return pa.array([f"{i:0{digits + 2}d}"[: digits + 2 - (i % 3 == 0)] for i in numbers.tolist()])


def _skewed(random: np.random.Generator, distinct: int, n: int) -> np.ndarray:
    """Places of values of which few are frequent, as of codes and drugs: about Zipf's law."""
    share = 1 / (np.arange(distinct) + 10.0)
    return random.choice(distinct, n, p=share / share.sum())


def _pick(random: np.random.Generator, values: list[str], n: int) -> pa.Array:
    return pa.array(values).take(pa.array(random.integers(0, len(values), n)))


def _times(seconds: np.ndarray) -> pa.Array:
    return pa.array(seconds).cast(pa.timestamp("s"))
