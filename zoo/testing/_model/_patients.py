"""Patients held in memory, and batches made of them, so that a model can be checked on any history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch

from zoo.data import Batch, Spec
from zoo.data._given_resources import TREES
from zoo.data._resources import cooccurrence
from zoo.data._vocabulary import UNKNOWN, Vocabulary
from zoo.data._window import spans
from zoo.data.batch import Ragged
from zoo.data.static import UNKNOWN as UNKNOWN_FACT
from zoo.data.static import StaticColumns
from zoo.data.text import Reading, Tokenizer, TokenizerForm
from zoo.kinds import Kind
from zoo.knowledge.molecules import Molecules, molecules
from zoo.knowledge.ontology import Ontology
from zoo.registry import kind_of

NAMES = {
    "diagnosis": ("ICD9CM", "250.00 272.4 276.2 401.9 414.01 427.31 428.0 496 518.81 584.9 599.0 038.9"),
    "procedure": ("ICD9PROC", "33.24 36.15 38.91 38.93 39.61 39.95 96.04 96.6 96.71 99.04"),
    "drug": ("ATC", "A02B A10A B01A C03C C07A J01D N02A N02B"),
    "lab": ("LAB", "bicarbonate creatinine glucose lactate potassium sodium"),
    "vital": ("VITAL", "diastolic_bp heart_rate oxygen_saturation respiratory_rate"),
    "note": ("NOTE", "discharge_summary nursing physician radiology"),
}
CODES = {concept: [f"{system}//{name}" for name in names.split()] for concept, (system, names) in NAMES.items()}
VALUED = ("lab", "vital")
STATIC = StaticColumns((60.0, 15.0), {"sex": ("F", "M")})
"""What is known of the fabricated patients at the start of a visit."""
AGE_UNKNOWN = STATIC.index(f"age {UNKNOWN_FACT}")
YEAR = 24 * 365
"""In hours."""
EDGES = np.linspace(-1.2, 1.2, 9, dtype=np.float32)
WRITTEN = (
    "Dictated but not read.",
    "Seen by the consulting team.",
    "Discharged home in good condition.",
    "Slept well, skin intact.",
    "Lungs clear, plan unchanged.",
    "Heart size normal, no effusion.",
)
"""What a note of each place says, besides its details."""
GIVEN, WITHHELD = ("diagnosis", "procedure"), ("drug",)
"""Of the target visit, in the multilabel task."""


@dataclass(frozen=True)
class Events:
    """The events of one concept in one visit, in the order of time.

    Attributes:
        place: (events,) int64, the place of each code in its vocabulary plus 2; 1 is unknown.
        time: (events,) float32, hours since the visit's start.
        value: (events,) float32, NaN where there is none; None for a concept without values.
        detail: (events,) int64, what a note tells besides its place; None for a concept without texts.
    """

    place: np.ndarray
    time: np.ndarray
    value: np.ndarray | None = None
    detail: np.ndarray | None = None

    def chosen(self, index: np.ndarray) -> Events:
        """The events at these places, in this order."""
        others = (None if a is None else a[index] for a in (self.value, self.detail))
        return Events(self.place[index], self.time[index], *others)

    @property
    def none(self) -> Events:
        """No events."""
        return self.chosen(np.zeros(0, np.int64))


@dataclass(frozen=True)
class Visit:
    """A visit: its start in hours since the first, its length in hours, events by concept, and facts as `STATIC`."""

    start: float
    length: float
    events: Mapping[str, Events]
    facts: tuple[float, ...]

    def changed(self, change: Callable[[str, Events], Events]) -> Visit:
        """The visit with the events of each concept changed."""
        return replace(self, events={c: change(c, e) for c, e in self.events.items()})


@dataclass(frozen=True)
class Patient:
    """The visits that a row holds, oldest first, and what its labels are drawn from: a sign for each concept."""

    number: int
    visits: tuple[Visit, ...]
    sign: Mapping[str, float]

    def changed(self, change: Callable[[str, Events], Events], since: int = 0) -> Patient:
        """The patient with the events of each visit from ``since`` on changed."""
        visits = [v.changed(change) if n >= since else v for n, v in enumerate(self.visits)]
        return replace(self, visits=tuple(visits))

    def with_facts(self, change: Callable[[tuple[float, ...]], tuple[float, ...]], since: int = 0) -> Patient:
        """The patient with the static facts of each visit from ``since`` on changed."""
        visits = [replace(v, facts=change(v.facts)) if n >= since else v for n, v in enumerate(self.visits)]
        return replace(self, visits=tuple(visits))


@lru_cache(maxsize=1)
def patients() -> tuple[Patient, ...]:
    """The fabricated patients, the same in every process: 256 with one to four visits of 4 to 6 hours."""
    random = np.random.default_rng(20_160_805)
    return tuple(_patient(number, int(random.integers(1, 5)), (4, 6), random) for number in range(256))


@lru_cache(maxsize=1)
def long_patient() -> Patient:
    """A patient with more, longer and fuller visits than all others, next to whom all others are padded."""
    return _patient(10_000, 5, (9, 11), np.random.default_rng(1), fullness=4)


def _patient(number: int, visits: int, hours: tuple[int, int], random: np.random.Generator, fullness: int = 1):
    sign = {c: float(random.choice([-1, 1])) for c in CODES}
    facts, sign["static"] = _facts(number)
    made, start = [], 0.0
    for place in range(visits):
        length = float(random.integers(*hours, endpoint=True))
        present = {c: not place or random.random() < 0.85 for c in CODES}
        events = {c: _events(c, length, sign[c], present[c], fullness, random) for c in CODES}
        events["note"] = _written(events["note"], length, number * 8 + place)
        older = 0.0 if facts[AGE_UNKNOWN] else start / YEAR / STATIC.age[1]
        made.append(Visit(start, length, events, (facts[0] + older, *facts[1:])))
        start += length + float(random.integers(100, 3000))
    return Patient(number, tuple(made), sign)


def _facts(number: int) -> tuple[tuple[float, ...], float]:
    """The static facts of a patient's first visit, and the sign that they lean to; one in eight has no known age."""
    random = np.random.default_rng([1, number])
    sign = float(random.choice([-1, 1]))
    female, unknown = (random.random() < 0.5 + 0.4 * sign), random.random() < 0.125
    age = 0.0 if unknown else random.normal(sign, 0.5)
    return (age, float(age > 1.5), float(unknown), float(female), float(not female), 0.0, 0.0), sign


def _events(concept: str, length: float, sign: float, present: bool, fullness: int, random) -> Events:
    """Events whose codes and values lean to the side of the sign; at no time a code occurs twice.

    What occurs several times in a visit does so on half hours, the rest at its end.
    """
    n, some = len(CODES[concept]), np.zeros(0, np.int64)
    often = {"drug": 2, "lab": 3, "vital": 3}.get(concept, 1) * fullness
    times = np.sort(random.choice(np.arange(1, 2 * length), often, replace=False)) / 2 if present else some
    times = times if often > 1 else np.full(len(times), length)
    place, time = [some], [some]
    for hour in times:
        likely = np.where((np.arange(n) < n // 2) == (sign < 0), 0.9, 0.1)
        codes = random.choice(n, random.integers(1, min(4, n)), replace=False, p=likely / likely.sum()) + 2
        place.append(np.where(random.random(len(codes)) < 0.04, UNKNOWN, codes))
        time.append(np.full(len(codes), hour))
    place, time = np.concatenate(place), np.concatenate(time).astype(np.float32)
    if concept not in VALUED:
        return Events(place, time)
    value = random.normal(sign, 1, len(place)).astype(np.float32)
    value[random.random(len(place)) < 0.05] = np.nan
    return Events(place, time, value)


def _written(events: Events, length: float, number: int) -> Events:
    """Notes, one after the other, each with details of its own."""
    count = len(events.place)
    detail = np.random.default_rng([2018, number]).integers(1000, size=count)
    return replace(events, time=np.linspace(0.5, length, count, dtype=np.float32), detail=detail)


def text_of(place: int, detail: int) -> str:
    """What a note says."""
    return f"{WRITTEN[place]} {' '.join(f'finding{d}' for d in f'{detail:03d}')}"


@lru_cache(maxsize=8)
def tokenizer(form: TokenizerForm) -> Tokenizer:
    """The tokenizer of a form, fitted on all that the fabricated patients have in their notes."""
    notes = [v.events["note"] for p in patients() for v in p.visits]
    return form.fit([text_of(int(p), int(d)) for n in notes for p, d in zip(n.place, n.detail, strict=True)])


@lru_cache(maxsize=256)
def _encoded(form: TokenizerForm, texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of texts, one after the other, and how many each has; many batches are of the same patients."""
    return tokenizer(form).encode(texts)


@dataclass(frozen=True)
class FabricatedTask:
    """A task of a kind on the fabricated patients, for a model that gets these concepts.

    It predicts at the end of a patient's last visit. The multilabel task withholds the drugs of that visit, and its
    patients have two visits at least.

    Attributes:
        kind: of the task.
        concepts: that the model gets.
        causal: whether a model is trained with a sample of each visit of a row.
        predicts: the concept whose codes are the labels of the multilabel task; else labels are of their own.
        resources: the names of those that the model asks for.
        reading: how the model reads notes; None where it reads none.
    """

    kind: str
    concepts: tuple[str, ...]
    causal: bool = False
    predicts: str | None = None
    resources: tuple[str, ...] = ()
    reading: Reading | None = None
    static: bool = False

    @cached_property
    def spec(self) -> Spec:
        """What the model is built from."""
        known = self.labels(self.rows(0, 96)).numpy()
        return Spec(
            self.kind,
            self.outputs,
            {c: self._vocabulary(c) for c in self.concepts},
            frozenset(GIVEN if self.task_kind.sets else ()),
            self.withheld,
            self.predicts,
            {name: self._resource(name) for name in self.resources},
            self.task_kind.fitted(known, np.arange(len(known))),
            STATIC if self.static else StaticColumns(),
        )

    @property
    def task_kind(self) -> Kind:
        """The kind of the task."""
        return kind_of(self.kind)

    def _vocabulary(self, concept: str) -> Vocabulary:
        found = vocabulary(concept)
        if concept != "note" or self.reading is None:
            return found
        return replace(found, tokenizer=tokenizer(self.reading.tokenizer))

    @property
    def withheld(self) -> frozenset[str]:
        """The label concepts, of which a sample sees nothing in its own visit."""
        return frozenset(WITHHELD if self.task_kind.sets else ())

    @property
    def outputs(self) -> tuple[str, ...]:
        """The name of each output."""
        if self.predicts is not None:
            return tuple(CODES[self.predicts])
        return tuple(f"{self.kind}-{n}" for n in range(self.task_kind.examples))

    def _resource(self, name: str) -> object:
        if name == "encoder":
            return None
        if name == "ontology":
            return {c: Ontology.for_codes(CODES[c]) for c in self.concepts if c in TREES}
        if name == "names":
            return tuple("" if n == 1 else text_of(n, 7 * n) for n in range(len(self.outputs)))
        if name == "cooccurrence":
            return cooccurrence(self.labels(self.rows(0, 96)).numpy())
        if name == "molecules":
            return _molecules(self.outputs)
        among = np.triu(np.random.default_rng(2012).random((len(self.outputs), len(self.outputs))) < 0.3, 1)
        return among | among.T

    def row(self, patient: Patient) -> Patient:
        """What a sample of the patient sees."""
        if not self.task_kind.sets:
            return patient
        visits = patient.visits if len(patient.visits) > 1 else patient.visits * 2
        last = replace(visits[-1], start=visits[-2].start + 1000.0)
        return self.seen(replace(patient, visits=(*visits[:-1], last)), len(visits) - 1)

    def seen(self, row: Patient, place: int) -> Patient:
        """What a sample of the visit at a place of a row sees: the visits up to its own, of that nothing withheld."""
        withheld = self.withheld
        own = row.visits[place].changed(lambda concept, events: events.none if concept in withheld else events)
        return replace(row, visits=(*row.visits[:place], own))

    def rows(self, low: int, high: int) -> list[Patient]:
        """What the samples of some patients see."""
        return [self.row(p) for p in patients()[low:high]]

    def batch(self, rows: Sequence[Patient], own: Sequence[Sequence[int]] | None = None) -> Batch:
        """A batch of rows.

        Args:
            rows: one a row.
            own: of each row the visits that its samples are of; the last one by default.
        """
        own = [[len(row.visits) - 1] for row in rows] if own is None else own
        visits = [v for row in rows for v in row.visits]
        sample_row = [r for r, places in enumerate(own) for _ in places]
        sample_visit = [p for places in own for p in places]
        target = [rows[r].visits[p] for r, p in zip(sample_row, sample_visit, strict=True)]
        return Batch(
            {c: self._ragged(c, [v.events[c] for v in visits]) for c in self.concepts},
            torch.tensor(np.r_[0, np.cumsum([len(row.visits) for row in rows])].astype(np.int64)),
            torch.tensor([v.start for v in visits], dtype=torch.float64),
            torch.tensor(sample_row),
            torch.tensor(sample_visit),
            torch.tensor([v.start + v.length for v in target], dtype=torch.float64),
            self.labels([rows[r] for r in sample_row]),
            torch.tensor([rows[r].number for r in sample_row]),
            torch.tensor([v.facts for v in visits], dtype=torch.float32) if self.static else None,
        )

    def _ragged(self, concept: str, visits: Sequence[Events]) -> Ragged:
        found = _ragged(concept, visits)
        if concept != "note" or self.reading is None:
            return found
        written = tuple(text_of(int(p), int(d)) for v in visits for p, d in zip(v.place, v.detail, strict=True))
        tokens, lengths = _encoded(self.reading.tokenizer, written)
        kept = self.reading.kept_lengths(lengths, found.offsets.numpy())
        begins = np.cumsum(lengths) - lengths
        read = tokens[spans(begins, kept)].astype(np.int64)
        ends = np.r_[0, np.cumsum(kept)]
        return replace(found, tokens=torch.from_numpy(read), token_offsets=torch.from_numpy(ends))

    def batches(self, rows: Sequence[Patient], size: int = 16) -> list[Batch]:
        """Batches of so many rows each, as a model is trained with them."""
        parts = [rows[low : low + size] for low in range(0, len(rows), size)]
        return [self.batch(part, self._every_visit(part) if self.causal else None) for part in parts]

    def batches_without_label(self, rows: Sequence[Patient], size: int = 16) -> list[Batch]:
        """Batches of so many rows each, as a model is pre-trained with them."""
        batches = self.batches(rows, size)
        return [replace(batch, label=torch.zeros(batch.samples, dtype=torch.bool)) for batch in batches]

    def _every_visit(self, rows: Sequence[Patient]) -> list[range]:
        return [range(len(row.visits)) for row in rows]

    def labels(self, rows: Sequence[Patient]) -> torch.Tensor:
        """Labels of the kind, which follow the signs of the concepts that the model gets."""
        drawn = max(2, len(self.outputs))
        noise = np.array([np.random.default_rng(row.number).uniform(-1, 1, drawn) for row in rows])
        told = [*self.concepts, *(["static"] if self.static else [])]
        signs = np.array([[row.sign[c] for c in told] for row in rows]).reshape(len(rows), -1)
        return torch.from_numpy(self.task_kind.fabricated(signs, noise))


@lru_cache(maxsize=1)
def _molecules(classes: tuple[str, ...]) -> Molecules:
    return molecules(classes)


@lru_cache(maxsize=len(CODES))
def vocabulary(concept: str) -> Vocabulary:
    """What the ids of a concept mean."""
    codes = CODES[concept]
    if concept not in VALUED:
        return Vocabulary("code", codes)
    ones = np.ones(len(codes), np.float32)
    return Vocabulary("code", codes, edges=np.tile(EDGES, (len(codes), 1)), mean=0 * ones, scale=ones)


def _ragged(concept: str, visits: Sequence[Events]) -> Ragged:
    place = np.concatenate([e.place for e in visits]).astype(np.int64)
    time = torch.from_numpy(np.concatenate([e.time for e in visits]).astype(np.float32))
    offsets = torch.from_numpy(np.r_[0, np.cumsum([len(e.place) for e in visits])].astype(np.int64))
    if concept not in VALUED:
        return Ragged(torch.from_numpy(place), offsets, time)
    value = np.concatenate([e.value for e in visits]).astype(np.float32)
    known = vocabulary(concept)
    ids, scaled = known.ids(place, value).astype(np.int64), known.standardised(place, value).astype(np.float32)
    return Ragged(torch.from_numpy(ids), offsets, time, torch.from_numpy(place), torch.from_numpy(scaled))


def unknown_facts(_: tuple[float, ...]) -> tuple[float, ...]:
    """No static fact is known."""
    return tuple(float(name.endswith(UNKNOWN_FACT)) for name in STATIC)


def other_facts(facts: tuple[float, ...]) -> tuple[float, ...]:
    """Another age, and the other sex."""
    age, capped, unknown, female, male, *rest = facts
    return (-1.5 - age, capped, unknown, male, female, *rest)


def shuffled(random: np.random.Generator) -> Callable[[str, Events], Events]:
    """Another order of the events at equal times."""
    return lambda _, events: events.chosen(np.lexsort((random.random(len(events.time)), events.time)))


def without(*concepts: str) -> Callable[[str, Events], Events]:
    """No event of some concepts."""
    return lambda c, events: events.none if c in concepts else events


def empty(_: str, events: Events) -> Events:
    """No event at all."""
    return events.none


def other(*concepts: str) -> Callable[[str, Events], Events]:
    """As many events at the same times, with other codes and values, of these concepts (of all by default)."""

    def change(concept: str, events: Events) -> Events:
        if concepts and concept not in concepts:
            return events
        n = len(CODES[concept])
        place = (events.place - 2 + n // 2) % n + 2
        return replace(events, place=place, value=None if events.value is None else -1.5 - events.value)

    return change
