"""The window and the batches, against what a plain reading of their definition gives sample by sample."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data._preparation import Preparation
from zoo.data._splits import Split, keep_share
from zoo.data._store import Store, VisitIndex
from zoo.data._task_data import TaskData
from zoo.data._window import cut, spans
from zoo.registry import models
from zoo.tasks._task import Attrition, Cohort, Task

START = np.datetime64("2100-01-01", "us")
HOUR = np.timedelta64(3_600_000_000, "us")


# Sources made by chance: visits that overlap, events far outside of their visit, subjects without any order


def visits_by_chance(random, subjects: int = 12) -> VisitIndex:
    """Visits of subjects, often overlapping, some starting together, some of unknown order."""
    count = random.integers(1, 6, subjects)
    subject = np.repeat(np.arange(100, 100 + subjects), count)
    start = START + random.integers(0, 60, len(subject)) * HOUR
    end = start + random.integers(0, 50, len(subject)) * HOUR
    visit_id = random.permutation(len(subject)) + 1000
    order = np.lexsort((visit_id, start, subject))
    known = np.repeat(random.random(subjects) < 0.8, count)
    return VisitIndex(subject, visit_id[order], start[order], end[order], known)


def store_by_chance(random, visits: VisitIndex, value: bool = False) -> Store:
    """Up to eight events a visit, in order of time, some before it starts, some long after it ends."""
    count = random.integers(0, 9, len(visits))
    time = [np.sort(random.integers(-5 * 3600, 80 * 3600, n)) for n in count]
    total = int(count.sum())
    return Store(
        [f"X//{i}" for i in range(7)],
        np.r_[0, np.cumsum(count)].astype(np.int64),
        random.integers(0, 7, total).astype(np.int32),
        np.concatenate([*time, []]).astype(np.int32),
        np.where(random.random(total) < 0.2, np.nan, random.normal(size=total)).astype(np.float32) if value else None,
        units=[None] * 7 if value else None,
    )


def samples_by_chance(random, visits: VisitIndex) -> pd.DataFrame:
    """Samples at most visits, at some several, predicted at the start, during, at the end or after the visit."""
    own = np.flatnonzero(random.random(len(visits)) < 0.8)
    own = own if len(own) else np.array([0])
    own = np.repeat(own, random.choice([1, 1, 3], len(own)))
    moment = visits.start[own] + random.integers(-2, 60, len(own)) * HOUR
    moment = np.where(random.random(len(own)) < 0.3, visits.end[own], moment)
    return pd.DataFrame(
        {
            "subject_id": visits.subject_id[own],
            "visit_id": visits.visit_id[own],
            "stay_id": pd.array([None] * len(own), "Int64"),
            "prediction_time": moment,
            "label": random.random(len(own)) < 0.5,
        }
    )


def task_data(visits, stores, samples, *, given=(), withheld=(), split=None, **keywords) -> TaskData:
    ids = np.unique(visits.subject_id)
    task = Task()
    task.registered_name, task.kind, task.given, task.label_concepts = "chance", "binary", given, withheld
    dataset = SimpleNamespace(name="chance", concepts=list(stores), require=lambda concept: None)
    splits = Split(np.zeros(len(ids), np.int8) if split is None else split)
    cohort = Cohort(samples, Attrition())
    how = Preparation(**keywords)
    return TaskData(dataset, task, cohort, visits, lambda c, *_: stores[c], splits, how, subject_ids=ids)


# The definition, sample by sample


def history(visits: VisitIndex, own: int, max_visits: int | None) -> list[int]:
    """The visits that a sample at this one sees: its subject's up to its own; only that where order is unknown."""
    mine = [v for v in range(own + 1) if visits.subject_id[v] == visits.subject_id[own]]
    if not visits.order_known[visits.subject_id == visits.subject_id[own]].all():
        mine = [own]
    return mine if max_visits is None else mine[-max_visits:]


def seen(store: Store, visits: VisitIndex, visit: int, own: int, moment, given: bool, withheld: bool) -> list[int]:
    """The places of the events of a visit that a sample sees."""
    places = range(store.offsets[visit], store.offsets[visit + 1])
    if visit == own and withheld:
        return []
    if visit == own and given:
        return list(places)
    times = visits.start[visit] + store.time * np.timedelta64(1, "s")
    return [p for p in places if times[p] <= moment]


def own_visits(visits: VisitIndex, samples: pd.DataFrame) -> list[int]:
    return [visits.visit_id.tolist().index(v) for v in samples.visit_id]


CHANCE = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(
    seed=CHANCE,
    whole=st.booleans(),
    hidden=st.booleans(),
    newest=st.sampled_from([None, 1, 2, 3]),
    size=st.integers(1, 9),
)
def test_batches_hold_what_the_definition_says(seed, whole, hidden, newest, size):
    random = np.random.default_rng(seed)
    visits = visits_by_chance(random)
    stores = {"lab": store_by_chance(random, visits, value=True), "drug": store_by_chance(random, visits)}
    samples = samples_by_chance(random, visits)
    flags = {"drug": (whole, hidden), "lab": (False, False)}
    named = {"given": {"drug"} if whole else (), "withheld": {"drug"} if hidden else ()}
    data = task_data(visits, stores, samples, max_visits=newest, **named)
    own, moment = own_visits(visits, samples), samples.prediction_time.to_numpy("datetime64[us]")
    place = 0
    for batch in data.batches("train", {"drug", "lab"}, batch_size=size):
        chosen = range(place, min(place + size, len(samples)))
        place += batch.samples
        assert batch.samples == len(chosen)
        rows = [history(visits, own[i], newest) for i in chosen]
        assert batch.row_lengths.tolist() == [len(r) for r in rows]
        assert batch.sample_row.tolist() == list(range(len(rows)))
        assert batch.sample_visit.tolist() == [len(r) - 1 for r in rows]
        begun = [(visits.start[v] - visits.start[r[0]]) / HOUR for r in rows for v in r]
        assert batch.visit_start.tolist() == begun
        assert batch.sample_time.tolist() == [
            (moment[i] - visits.start[r[0]]) / HOUR for i, r in zip(chosen, rows, strict=True)
        ]
        assert batch.subject.tolist() == samples.subject_id.iloc[list(chosen)].tolist()
        assert batch.label.tolist() == samples.label.iloc[list(chosen)].tolist()
        for concept, store in stores.items():
            per_visit = [
                seen(store, visits, v, own[i], moment[i], *flags[concept])
                for i, r in zip(chosen, rows, strict=True)
                for v in r
            ]
            assert_ragged(batch[concept], per_visit, store, data.feature(concept).vocabulary)
    assert place == len(samples)


def assert_ragged(ragged, per_visit: list[list[int]], store: Store, vocabulary) -> None:
    flat = [p for places in per_visit for p in places]
    assert ragged.lengths.tolist() == [len(places) for places in per_visit]
    assert ragged.time.tolist() == pytest.approx((store.time[flat] / 3600).tolist())
    places = [
        vocabulary.codes.index(store.codes[c]) + 2 if store.codes[c] in vocabulary.codes else 1
        for c in store.code[flat]
    ]
    if store.value is None:
        assert ragged.ids.tolist() == places
        return
    assert ragged.variable.tolist() == places
    for p, place, number, value in zip(flat, places, ragged.ids.tolist(), ragged.value.tolist(), strict=True):
        raw = store.value[p]
        if place == 1:
            assert number == 1
            assert np.isnan(value)
            continue
        edges = vocabulary.edges[place - 2]
        step = 0 if np.isnan(raw) else 1 + sum(raw > e for e in edges)
        assert number == 2 + (place - 2) * (len(edges) + 2) + step
        expected = (raw - vocabulary.mean[place - 2]) / vocabulary.scale[place - 2]
        assert value == pytest.approx(expected, rel=1e-5, abs=1e-5, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(seed=CHANCE, whole=st.booleans(), hidden=st.booleans(), newest=st.sampled_from([None, 1, 2, 3]))
def test_vocabulary_counts_what_training_samples_see(seed, whole, hidden, newest):
    random = np.random.default_rng(seed)
    visits = visits_by_chance(random)
    store = store_by_chance(random, visits)
    samples = samples_by_chance(random, visits)
    split = random.integers(0, 3, len(np.unique(visits.subject_id))).astype(np.int8)
    named = {"given": {"drug"} if whole else (), "withheld": {"drug"} if hidden else ()}
    data = task_data(visits, {"drug": store}, samples, split=split, max_visits=newest, **named)
    found, looked_at = set(), set()
    for i, own in enumerate(own_visits(visits, samples)):
        if split[np.unique(visits.subject_id).tolist().index(samples.subject_id[i])] == 0:
            moment = samples.prediction_time.to_numpy("datetime64[us]")[i]
            looked_at |= set(history(visits, own, newest))
            for visit in history(visits, own, newest):
                found |= {store.codes[store.code[p]] for p in seen(store, visits, visit, own, moment, whole, hidden)}
    assert data.feature("drug").vocabulary.codes == sorted(found)
    assert data.features._training.seen_visits().tolist() == sorted(looked_at)


@settings(max_examples=25, deadline=None)
@given(seed=CHANCE)
def test_no_statistic_comes_from_validation_or_test(seed):
    random = np.random.default_rng(seed)
    visits = visits_by_chance(random)
    store, samples = store_by_chance(random, visits, value=True), samples_by_chance(random, visits)
    ids = np.unique(visits.subject_id)
    split = random.integers(0, 3, len(ids)).astype(np.int8)
    held_out = np.isin(np.repeat(visits.subject_id, np.diff(store.offsets)), ids[split != 0])
    other = replace(
        store,
        code=np.where(held_out, random.integers(0, 7, len(store.code)), store.code).astype(np.int32),
        value=np.where(held_out, 1e6 * random.normal(size=len(store.code)), store.value).astype(np.float32),
    )
    fitted = [task_data(visits, {"lab": s}, samples, split=split).feature("lab").vocabulary for s in (store, other)]
    assert fitted[0].to_dict() == fitted[1].to_dict()


@settings(max_examples=40, deadline=None)
@given(seed=CHANCE, whole=st.booleans(), hidden=st.booleans())
def test_cut_is_what_the_definition_says(seed, whole, hidden):
    random = np.random.default_rng(seed)
    visits = visits_by_chance(random)
    store, samples = store_by_chance(random, visits), samples_by_chance(random, visits)
    own, moment = own_visits(visits, samples), samples.prediction_time.to_numpy("datetime64[us]")
    window = cut(store, visits, np.array(own), moment, given=whole, withheld=hidden)
    pairs = {(s, v): e for s, v, e in zip(window.pair_sample, window.pair_visit, window.pair_end, strict=True)}
    assert sorted(window.pair_sample) == list(window.pair_sample)
    for i, visit in enumerate(own):
        assert window.own_end[i] == store.offsets[visit] + len(
            seen(store, visits, visit, visit, moment[i], whole, hidden)
        )
        for earlier in history(visits, visit, None)[:-1]:
            end = store.offsets[earlier] + len(seen(store, visits, earlier, visit, moment[i], False, False))
            assert pairs.get((i, earlier), store.offsets[earlier + 1]) == end
            assert window.early[i] or end == store.offsets[earlier + 1]


# By hand


@pytest.fixture
def two_visits():
    """A visit of ten hours, and one that starts two hours into it; drugs at hours 1 and 9 of the first, 0 and 3 of the
    second."""
    start = START + np.array([0, 2]) * HOUR
    visits = VisitIndex(np.array([7, 7]), np.array([70, 71]), start, start + 10 * HOUR, np.array([True, True]))
    time = np.array([1, 9, 0, 3], np.int32) * 3600
    return visits, Store(["A", "B", "C", "D"], np.array([0, 2, 4]), np.arange(4, dtype=np.int32), time, None, None)


def codes_at(two_visits, hours: float, **keywords) -> list[list[str]]:
    """What the sample at the second visit sees of each visit, so many hours after the first one's start."""
    visits, store = two_visits
    moment = START + np.timedelta64(round(hours * 3600), "s")
    samples = pd.DataFrame(
        {"subject_id": [7], "visit_id": [71], "stay_id": [pd.NA], "prediction_time": [moment], "label": [True]}
    )
    data = task_data(visits, {"drug": store}, samples, **keywords)
    (batch,) = data.batches("train", {"drug"})
    names = np.array(data.feature("drug").vocabulary.names)
    ragged = batch["drug"]
    return [names[ids.numpy()].tolist() for ids in torch.split(ragged.ids, ragged.lengths.tolist())]


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (1.99, [["A"], []]),
        (2, [["A"], ["C"]]),
        (4.99, [["A"], ["C"]]),
        (5, [["A"], ["C", "D"]]),
        (8.99, [["A"], ["C", "D"]]),
        (9, [["A", "B"], ["C", "D"]]),
    ],
)
def test_an_earlier_visit_that_goes_on_is_cut_too(two_visits, hours, expected):
    assert codes_at(two_visits, hours) == expected


def test_given_concepts_are_seen_whole_in_the_own_visit_only(two_visits):
    assert codes_at(two_visits, 2, given={"drug"}) == [["A"], ["C", "D"]]


def test_label_concepts_are_not_seen_in_the_own_visit(two_visits):
    assert codes_at(two_visits, 9, withheld={"drug"}) == [["A", "B"], []]
    assert codes_at(two_visits, 9, withheld={"drug"}, given={"drug"}) == [["A", "B"], []]


def test_max_visits_keeps_the_newest(two_visits):
    assert codes_at(two_visits, 2, max_visits=1) == [["C"]]
    assert codes_at(two_visits, 2, max_visits=5) == [["A"], ["C"]]


def test_visits_of_unknown_order_are_not_seen(two_visits):
    visits, store = two_visits
    unordered = replace(visits, order_known=np.array([False, False]))
    assert codes_at((unordered, store), 9) == [["C", "D"]]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9))))
def test_spans_are_ranges_in_a_row(pairs):
    start, length = (np.array(column, np.int64) for column in (zip(*pairs, strict=True) if pairs else ([], [])))
    assert spans(start, length).tolist() == [p for s, n in pairs for p in range(s, s + n)]


def test_no_subject_is_in_two_splits(two_visits):
    random = np.random.default_rng(0)
    visits = visits_by_chance(random, 60)
    samples = samples_by_chance(random, visits)
    split = random.integers(0, 3, 60).astype(np.int8)
    data = task_data(visits, {"drug": store_by_chance(random, visits)}, samples, split=split)
    subjects = [set(data.subject(name)) for name in ("train", "validation", "test")]
    assert sum(map(len, subjects)) == len(set.union(*subjects)) == samples.subject_id.nunique()
    shuffled = data.rows("train", {"drug"}, 8, shuffle=True, seed=3).places
    assert sorted(shuffled) == data.places("train").tolist()


@given(st.integers(1, 200), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 3))
def test_a_smaller_share_of_training_lies_within_a_larger_one(subjects, some, more, seed):
    split = np.random.default_rng(subjects).integers(-1, 3, subjects).astype(np.int8)
    small, large = (keep_share(split, np.arange(subjects) + 7, share, seed) for share in sorted((some, more)))
    assert set(np.flatnonzero(small == 0)) <= set(np.flatnonzero(large == 0)) <= set(np.flatnonzero(split == 0))
    assert (small == 0).sum() == math.ceil(min(some, more) * (split == 0).sum() - 1e-9)
    assert (small[split != 0] == split[split != 0]).all()
    assert (keep_share(split, np.arange(subjects), 1.0, seed) == split).all()


# Several samples in a row


@pytest.fixture(scope="module")
def causal():
    """The name of a model that reads of a row no more than a sample's own visit and those before it."""

    @models.register("causal", uses={"drug", "lab"}, kinds={"binary"}, causal=True)
    class Causal:
        pass

    yield "causal"
    del models._entries["causal"]


def read_by_samples(batch, withheld) -> list[list]:
    """For each sample, visit by visit: when it was, and codes and times of each concept, without what is withheld."""
    found = []
    for row, own, moment in zip(batch.sample_row, batch.sample_visit, batch.sample_time, strict=True):
        first = int(batch.row_offsets[row])
        story = [round(float(moment - batch.visit_start[first + own]), 6)]
        for place in range(int(own) + 1):
            visit = first + place
            story.append(round(float(batch.visit_start[visit] - batch.visit_start[first]), 6))
            for concept, events in batch.items():
                if concept not in withheld or place < own:
                    span = slice(int(events.offsets[visit]), int(events.offsets[visit + 1]))
                    story.append(list(zip(events.ids[span].tolist(), events.time[span].tolist(), strict=True)))
        found.append(story)
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=CHANCE,
    whole=st.booleans(),
    hidden=st.booleans(),
    at_end=st.booleans(),
    newest=st.sampled_from([None, 1, 2, 3]),
    size=st.integers(1, 9),
)
def test_a_sample_reads_the_same_in_a_row_with_others(causal, seed, whole, hidden, at_end, newest, size):
    random = np.random.default_rng(seed)
    visits = visits_by_chance(random)
    stores = {"lab": store_by_chance(random, visits, value=True), "drug": store_by_chance(random, visits)}
    samples = samples_by_chance(random, visits)
    if at_end:  # long after all that is stored of a visit, but for visits that overlap
        moment = visits.start[own_visits(visits, samples)] + 90 * HOUR
        samples = samples.assign(prediction_time=moment)
    withheld = {"drug"} if hidden else set()
    data = task_data(visits, stores, samples, max_visits=newest, given={"drug"} if whole else (), withheld=withheld)
    alone = [s for b in data.batches("train", {"drug", "lab"}, size) for s in read_by_samples(b, withheld)]
    rows = data.rows("train", causal, size)
    assert rows.places.tolist() == data.places("train").tolist()
    together = [s for b in data.batches("train", causal, size) for s in read_by_samples(b, withheld)]
    assert together == alone
    subjects = data.samples.subject_id.to_numpy()
    assert all(len(set(subjects[rows.samples(r, r + 1)])) == 1 for r in range(len(rows)))
    shuffled = data.rows("train", causal, 2, shuffle=True, seed=seed % 100)
    parts = [tuple(shuffled.samples(r, r + 1)) for r in range(len(rows))]
    assert sorted(parts) == [tuple(rows.samples(r, r + 1)) for r in range(len(rows))]


def test_visits_apart_in_time_share_one_row(causal):
    visits = VisitIndex(
        np.array([7, 7, 7]), np.array([1, 2, 3]), START + np.array([0, 500, 900]) * HOUR,
        START + np.array([10, 510, 910]) * HOUR, np.ones(3, bool),
    )  # fmt: skip
    store = store_by_chance(np.random.default_rng(0), visits)
    samples = pd.DataFrame(
        {
            "subject_id": 7,
            "visit_id": visits.visit_id,
            "stay_id": pd.array([None] * 3, "Int64"),
            "prediction_time": visits.start + 100 * HOUR,
            "label": [True, False, True],
        }
    )
    data = task_data(visits, {"drug": store, "lab": store}, samples)
    (batch,) = data.batches("train", causal)
    assert (batch.sample_row.tolist(), batch.sample_visit.tolist()) == ([0, 0, 0], [0, 1, 2])
    assert batch.row_lengths.tolist() == [3]
    at_start = task_data(visits, {"drug": store, "lab": store}, samples.assign(prediction_time=visits.start - 9 * HOUR))
    (batch,) = at_start.batches("train", causal)
    assert batch.sample_row.tolist() == [0, 1, 2]  # of their own visits these see less than later samples do
