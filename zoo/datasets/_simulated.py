"""Simulated patients and what happened to them, as arrays: what the generator makes and the writers translate.

Times are minutes since 1970-01-01, with -1 where there is none. `visit`, `patient` and `stay` are row numbers in the
chunk's own relations.
"""

import zlib
from dataclasses import dataclass, fields

import numpy as np

ADMIT, READMIT, TRANSFER, STEP_DOWN = range(4)


def stream(seed: int, chunk: int, purpose: str) -> np.random.Generator:
    """The random stream of one purpose in one chunk."""
    key = np.random.SeedSequence([seed, chunk, zlib.crc32(purpose.encode())])
    return np.random.Generator(np.random.Philox(key))


class Relation:
    """Arrays of equal length, one entry a row."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: np.ndarray):
        """The same relation with these rows (positions or a mask)."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass
class Patients(Relation):
    """Patients of a chunk. Times are minutes since 1970-01-01; -1 where there is none."""

    number: np.ndarray  # global, from 0
    female: np.ndarray
    age: np.ndarray  # years at the first admission
    ethnicity: np.ndarray  # 0 … 4
    death: np.ndarray  # minute of death, in hospital or after the last visit


@dataclass
class Visits(Relation):
    """Hospital visits, by patient and number. Probabilities are NaN where the question does not arise."""

    patient: np.ndarray  # row of Patients
    number: np.ndarray  # 0 for the first
    start: np.ndarray
    end: np.ndarray
    registration: np.ndarray  # arrival at the emergency department, or -1
    severity: np.ndarray
    level: np.ndarray  # functional status, 0 … 3
    stages: np.ndarray  # (visits, states): 0 is absent
    died: np.ndarray
    intensive: np.ndarray  # has at least one stay in intensive care
    mortality: np.ndarray  # P(death in this visit)
    readmission: np.ndarray  # P(next visit within 30 days), NaN after death
    mortality_next_visit: np.ndarray  # P(death in the next visit, given that there is one)


@dataclass
class Stays(Relation):
    """Stays in intensive care, at most two a visit."""

    visit: np.ndarray
    number: np.ndarray
    start: np.ndarray
    end: np.ndarray
    unit: np.ndarray  # 0 … 5
    kind: np.ndarray  # ADMIT, or of a second stay READMIT, TRANSFER or STEP_DOWN


@dataclass
class Coded(Relation):
    """Billed diagnoses or procedures: `code` is a row of `codes(kind)`."""

    visit: np.ndarray
    sequence: np.ndarray  # from 1
    code: np.ndarray
    time: np.ndarray


@dataclass
class Orders(Relation):
    """Drug orders: `drug` is a row of `drugs()`; a drug may be ordered several times in a visit."""

    visit: np.ndarray
    drug: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    pack: np.ndarray  # 0 or 1: two packages of each drug
    coded: np.ndarray  # whether the order carries the package's code
    cancelled: np.ndarray


@dataclass
class Labs(Relation):
    """Results: `item` is a row of `measurements("labs")`."""

    visit: np.ndarray
    draw: np.ndarray  # specimen within the chunk
    time: np.ndarray
    result: np.ndarray  # minute of the result
    item: np.ndarray
    value: np.ndarray
    place: np.ndarray  # 0 in the visit, 1 in it without the visit's id, 2 emergency department, 3 after discharge


@dataclass
class Charts(Relation):
    """Moments at which vital signs are charted; `value` is (moments, vitals), NaN where not measured."""

    visit: np.ndarray
    stay: np.ndarray  # row of Stays, or -1 on the ward
    time: np.ndarray
    saved: np.ndarray
    value: np.ndarray


@dataclass
class Notes(Relation):
    """Notes; `kind` is 0 nursing, 1 radiology, 2 discharge summary."""

    visit: np.ndarray
    kind: np.ndarray
    time: np.ndarray
    saved: np.ndarray
    focus: np.ndarray  # uniform number: picks wording


@dataclass
class Chunk:
    """The patients of a chunk with all that happened to them. Rows of events are in random order."""

    seed: int
    index: int
    patients: Patients
    visits: Visits
    stays: Stays
    diagnoses: Coded
    procedures: Coded
    orders: Orders
    labs: Labs
    charts: Charts
    notes: Notes

    def stream(self, purpose: str) -> np.random.Generator:
        """The chunk's random stream of one purpose."""
        return stream(self.seed, self.index, purpose)
