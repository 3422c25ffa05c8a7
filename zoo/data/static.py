"""Static facts: what is known of a patient when a visit starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from zoo.cache.forms import check_form

CATEGORIES = {
    "sex": "subjects",
    "admission_type": "visits",
    "admission_source": "visits",
    "ethnicity": "subjects",
    "insurance": "visits",
}
"""The facts that are one of several, and the relation that has each."""
FACTS = ("age", *CATEGORIES)
USUAL = ("age", "sex", "admission_type", "admission_source")
"""What models get where nothing is asked for."""
UNSEEN, UNKNOWN = "(unseen)", "(unknown)"
AGE = ("age", "age_capped", f"age {UNKNOWN}")
LEAST = 1.0
"""Years: the least standard deviation that ages are divided by."""
MOST = 100
"""How many values of a category have columns of their own, those that most visits have."""
MUCH = 0.5
"""The share of samples without a fact above which a note says so."""
FORM = {"age": list[float] | None, "categories": dict[str, list[str]]}


@dataclass(frozen=True)
class StaticColumns(Sequence[str]):
    """The columns of ``batch.static``, fitted on the visits that training samples see; a sequence of their names.

    ``age`` is in standard deviations of these visits from their mean, and ``age_capped`` is 1 where the source hides
    an age over 89. A category has a column for each of its values, such as ``sex F``, one for values that these visits
    never have, ``sex (unseen)``, and one for where it is not known, ``sex (unknown)``. An age that is not known has a
    column too, beside an ``age`` of 0. A fact that is known of none of these visits has no column. Of a category with
    more than `MOST` values those of the fewest visits count as never seen. Ages are divided by `LEAST` years at least.

    Attributes:
        age: mean and standard deviation in years; None without such a column.
        categories: for each fact its values.
    """

    age: tuple[float, float] | None = None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each column.

        >>> StaticColumns((60.0, 15.0), {"sex": ("F", "M")}).names
        ('age', 'age_capped', 'age (unknown)', 'sex F', 'sex M', 'sex (unseen)', 'sex (unknown)')
        """
        of_age = () if self.age is None else AGE
        return (*of_age, *(f"{fact} {v}" for fact, known in self.categories.items() for v in (*known, UNSEEN, UNKNOWN)))

    @property
    def facts(self) -> tuple[str, ...]:
        """The facts that have columns."""
        return (*(() if self.age is None else ("age",)), *self.categories)

    def __getitem__(self, place):
        return self.names[place]

    def __len__(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict:
        """JSON-serialisable; `from_dict` gives the same columns back."""
        return {
            "age": None if self.age is None else list(self.age),
            "categories": {fact: list(known) for fact, known in self.categories.items()},
        }

    @classmethod
    def from_dict(cls, facts: dict) -> Self:
        """Raises a `ValueError` for what `to_dict` cannot have given."""
        check_form(facts, FORM, "static")
        age = facts["age"]
        if age is not None and (len(age) != 2 or not np.isfinite(age).all() or age[1] <= 0):
            raise ValueError("static.age is no mean with a standard deviation")
        if not CATEGORIES.keys() >= facts["categories"].keys():
            raise ValueError("static.categories has facts that are none")
        known = {fact: tuple(values) for fact, values in facts["categories"].items()}
        return cls(None if age is None else (age[0], age[1]), known)


@dataclass(frozen=True)
class StaticFacts:
    """The static facts of all visits of a source.

    Attributes:
        age: (visits,) float64 years at the start, NaN where not known; None where it was not asked for.
        capped: (visits,) bool, whether the source hides the age.
        place: for each category (visits,) int32, the place of the visit's value in ``values``; -1 where not known.
        values: for each category its values in the source.
    """

    age: np.ndarray | None
    capped: np.ndarray | None
    place: Mapping[str, np.ndarray]
    values: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, dataset, wanted: Sequence[str]) -> Self:
        """Some of the `FACTS` of a dataset, by the order of its visits."""
        folder, found = dataset.folder(), {}
        for fact in (f for f in wanted if f in CATEGORIES):
            values, place = _values(folder, CATEGORIES[fact], fact)
            known = known_at_start(dataset.at_start, fact)
            names = ["" if v in ("", UNSEEN, UNKNOWN) else known.get(v.upper(), v) for v in values]
            found[fact] = _told_apart(names, place)
        place, values = {f: p for f, (_, p) in found.items()}, {f: v for f, (v, _) in found.items()}
        if "age" not in wanted:
            return cls(None, None, place, values)
        import pyarrow.parquet as pq

        ages = pq.read_table(folder / "visits.parquet", columns=["age", "age_capped"])
        age = ages["age"].to_numpy().astype(np.float64)
        capped = ages["age_capped"].fill_null(False).to_numpy().astype(bool)
        return cls(age, capped & np.isfinite(age), place, values)

    def fit(self, visits: np.ndarray) -> StaticColumns:
        """The columns for these facts.

        Args:
            visits: the numbers of those that training samples see.
        """
        age = None
        if self.age is not None:
            known = self.age[visits]
            known = known[np.isfinite(known)]
            age = (float(known.mean()), max(float(known.std()), LEAST)) if len(known) else None
        known = {}
        for fact, place in self.place.items():
            counts = np.bincount(place[visits] + 1, minlength=1)[1:]
            some = sorted(np.flatnonzero(counts), key=lambda i: (-counts[i], i))[:MOST]
            known[fact] = tuple(sorted(self.values[fact][i] for i in some))
        return StaticColumns(age, {fact: values for fact, values in known.items() if values})


def known_at_start(at_start: Mapping[str, Mapping[str, str]], fact: str) -> dict[str, str]:
    """For the values of a fact, in capitals, that tell more than was known at a visit's start, what was."""
    return {value.upper(): known for value, known in at_start.get(fact, {}).items()}


def _values(folder: Path, relation: str, fact: str) -> tuple[list[str], np.ndarray]:
    """The values of a category in a source, blank and null ones as ``""``, and (visits,) the place of each visit's."""
    import pyarrow.parquet as pq

    column = pq.read_table(folder / f"{relation}.parquet", columns=["subject_id", fact])
    told = column[fact].fill_null("").combine_chunks().dictionary_encode()
    place = told.indices.to_numpy()
    if relation == "subjects":
        order = np.argsort(column["subject_id"].to_numpy(), kind="stable")
        ids = column["subject_id"].to_numpy()[order]
        of_visits = pq.read_table(folder / "visits.parquet", columns=["subject_id"])["subject_id"].to_numpy()
        place = place[order[np.searchsorted(ids, of_visits)]]
    return [v.strip() for v in told.dictionary.to_pylist()], place


def _told_apart(names: Sequence[str], place: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The distinct names, and places in them; -1 for where the name is empty."""
    distinct = sorted({n for n in names if n})
    number = {n: i for i, n in enumerate(distinct)}
    table = np.array([number.get(n, -1) for n in names] or [-1], np.int32)
    return tuple(distinct), table[place] if len(place) else np.zeros(0, np.int32)


class Static:
    """Static facts of all visits, as the rows of ``batch.static``.

    Args:
        facts: of the source.
        columns: fitted on these or on other data.
    """

    def __init__(self, facts: StaticFacts, columns: StaticColumns):
        self.columns = columns
        places, begin = [], 0
        if columns.age is not None:
            mean, deviation = columns.age
            known = np.isfinite(facts.age)
            self._age = np.column_stack([np.where(known, (facts.age - mean) / deviation, 0), facts.capped])
            places.append(np.where(known, -1, AGE.index(AGE[-1])))
            begin = len(AGE)
        for fact, values in columns.categories.items():
            number = {v: i for i, v in enumerate(values)}
            table = [begin + number.get(v, len(values)) for v in facts.values[fact]]
            places.append(np.array([*table, begin + len(values) + 1], np.int64)[facts.place[fact]])
            begin += len(values) + 2
        self._place = np.column_stack(places).astype(np.int32) if places else None

    def notes(self, visit: np.ndarray) -> list[str]:
        """What a reader of scores must know of the facts of samples at these visits: those that say next to nothing."""
        found = []
        silent = [i for i, name in enumerate(self.columns) if name.endswith((UNSEEN, UNKNOWN))]
        for number, fact in enumerate(self.columns.facts if len(visit) else ()):
            lost = np.isin(self._place[visit, number], silent).mean()
            if lost > MUCH:
                found.append(f"{fact}: of {lost:.1%} of the samples not known, or none that training has")
        return found

    def of(self, visit: np.ndarray) -> np.ndarray:
        """(visits, columns) float32 the facts of some visits."""
        found = np.zeros((len(visit), len(self.columns) + 1), np.float32)  # the last one for what has no column
        if self._place is not None:
            found[np.arange(len(visit))[:, None], self._place[visit]] = 1
        if self.columns.age is not None:
            found[:, :2] = self._age[visit]
        return np.ascontiguousarray(found[:, :-1])
