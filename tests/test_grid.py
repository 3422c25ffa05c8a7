"""The regular grid of labs and vitals, against plain Python that goes through the events one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import zoo
from zoo.data import Batch, Ragged
from zoo.data.grid import GridView

VARIABLES = {"lab": 3, "vital": 2}


def ragged(visits: list[list[tuple[float, int, float]]]) -> Ragged:
    """A concept from (time, variable, value) of each visit."""
    events = [e for v in visits for e in v]
    offsets = np.r_[0, np.cumsum([len(v) for v in visits])]
    columns = np.array(events, np.float64).reshape(-1, 3)
    return Ragged(
        torch.zeros(len(events), dtype=torch.int64),
        torch.as_tensor(offsets, dtype=torch.int64),
        torch.as_tensor(columns[:, 0], dtype=torch.float32),
        torch.as_tensor(columns[:, 1], dtype=torch.int64),
        torch.as_tensor(columns[:, 2], dtype=torch.float32),
    )


def batch_of(rows: list[list[float]], samples: list[tuple[int, int, float]], **concepts) -> Batch:
    """A batch from each row's visit starts, samples (row, visit, hours after the visit's start), and concepts."""
    row, visit = (torch.tensor([s[i] for s in samples], dtype=torch.int64) for i in (0, 1))
    return Batch(
        {c: ragged(v) for c, v in concepts.items()},
        torch.as_tensor(np.r_[0, np.cumsum([len(r) for r in rows])], dtype=torch.int64),
        torch.tensor([s for r in rows for s in r], dtype=torch.float64),
        row,
        visit,
        torch.tensor([rows[r][v] + hours for r, v, hours in samples], dtype=torch.float64),
        torch.zeros(len(samples), dtype=torch.bool),
        torch.arange(len(samples)),
    )


def one_visit(hours: float, lab=(), vital=()) -> Batch:
    return batch_of([[0.0]], [(0, 0, hours)], lab=[list(lab)], vital=[list(vital)])


def random_batch(seed: int) -> Batch:
    """Rows with several visits and samples; equal times, values that are missing, unknown variables, late events."""
    random = np.random.default_rng(seed)
    rows = [np.cumsum(np.r_[0, random.integers(3, 60, random.integers(0, 4))]).astype(float) for _ in range(4)]
    visits = sum(len(r) for r in rows)
    samples = [(r, v, float(random.integers(0, 9)) / 2) for r in range(4) for v in range(len(rows[r]))]
    samples = [samples[i] for i in random.permutation(len(samples))[: random.integers(1, len(samples) + 1)]]
    samples.sort()
    concepts = {}
    for concept, size in VARIABLES.items():
        concepts[concept] = []
        for _ in range(visits):
            time = np.sort(random.integers(-4, 30, random.integers(0, 12)) / 4)
            variable = random.integers(1, size + 2, len(time))
            value = np.where(random.random(len(time)) < 0.2, np.nan, random.normal(size=len(time)).round(1))
            concepts[concept].append(list(zip(time, variable, value, strict=True)))
    return batch_of([list(r) for r in rows], samples, **concepts)


def reference(batch: Batch, sample: int, step_hours: float, max_steps, history: bool, only_observed: bool) -> dict:
    """The grid of one sample: lists over its steps."""
    row, own = int(batch.sample_row[sample]), int(batch.sample_visit[sample])
    first = int(batch.row_offsets[row])
    moment = float(batch.sample_time[sample])
    looked_at = range(0 if history else own, own + 1)
    steps = []
    for visit in looked_at:
        start = float(batch.visit_start[first + visit])
        events = []
        before = 0
        for concept, size in VARIABLES.items():
            found = batch[concept]
            for e in range(int(found.offsets[first + visit]), int(found.offsets[first + visit + 1])):
                time, variable, value = float(found.time[e]), int(found.variable[e]), float(found.value[e])
                if variable >= 2 and not math.isnan(value) and start + time <= moment:
                    events.append((time, value, variable - 2 + before))
            before += size
        count = max(1, math.ceil((moment - start) / step_hours))  # what is known at that very moment is in the last
        if visit != own:
            count = 1 + max((min(max(0, math.floor(t / step_hours)), count - 1) for t, _, _ in events), default=-1)
        for number in range(count):
            inside = {}
            for time, value, variable in sorted(events):
                if min(max(0, math.floor(time / step_hours)), count - 1) == number:
                    inside[variable] = (start + time, value)
            end = min(start + (number + 1) * step_hours, moment)
            if inside or not only_observed or (visit == own and number == count - 1):
                steps.append((end, inside))
    began = float(batch.visit_start[first + looked_at[0]])
    known: dict[int, tuple[float, float]] = {}
    lists: dict[str, list] = {"value": [], "observed": [], "since": [], "until": []}
    variables = range(sum(VARIABLES.values()))
    for end, inside in steps:
        known |= inside
        lists["value"].append([known[v][1] if v in known else 0.0 for v in variables])
        lists["observed"].append([v in inside for v in variables])
        lists["since"].append([max(end - (known[v][0] if v in known else began), 0) for v in variables])
        lists["until"].append(moment - end)
    return {n: v[-max_steps:] if max_steps else v for n, v in lists.items()}


@settings(max_examples=60, deadline=None)
@example(seed=306, step_hours=0.5, max_steps=None, history=True, only_observed=False)
@given(
    seed=st.integers(0, 10_000),
    step_hours=st.sampled_from([0.5, 1.0, 2.0, 7.0]),
    max_steps=st.sampled_from([None, 1, 3, 40]),
    history=st.booleans(),
    only_observed=st.booleans(),
)
def test_equals_going_through_the_events(seed, step_hours, max_steps, history, only_observed):
    batch = random_batch(seed)
    options = {"max_steps": max_steps, "history": history, "only_observed": only_observed}
    grid = GridView(VARIABLES, step_hours, **options).grid(batch)
    expected = [reference(batch, s, step_hours, **options) for s in range(batch.samples)]
    assert grid.lengths.tolist() == [len(e["until"]) for e in expected]
    assert grid.value.shape == (batch.samples, max(grid.lengths.tolist()), 5)
    for sample, wanted in enumerate(expected):
        length = len(wanted["until"])
        for name, values in wanted.items():
            found = getattr(grid, name)[sample]
            np.testing.assert_allclose(found[:length].numpy(), np.array(values), atol=1e-4, err_msg=name)
            assert not found[length:].any(), f"{name} in padding"


def test_a_worked_example():
    batch = one_visit(
        4.0, lab=[(-2.0, 2, 0.5), (1.25, 2, 1.0), (1.75, 2, 2.0), (4.5, 2, 9.0)], vital=[(4.0, 3, -1.0), (4.0, 1, 7.0)]
    )
    grid = GridView(VARIABLES).grid(batch)
    assert grid.value[0, :, 0].tolist() == [0.5, 2, 2, 2]  # before the start, then the later of two, carried on
    assert grid.observed[0, :, 0].tolist() == [True, True, False, False]
    assert grid.since[0, :, 0].tolist() == [3, 0.25, 1.25, 2.25]
    assert grid.value[0, :, 4].tolist() == [0, 0, 0, -1]  # at the prediction time itself
    assert grid.since[0, :, 4].tolist() == [1, 2, 3, 0]
    assert grid.until[0].tolist() == [3, 2, 1, 0]
    assert grid.interval[0].tolist() == [0, 1, 1, 1]
    assert grid.features().shape == (1, 4, 5, 3)


def test_intervals_are_those_between_observations_and_visits():
    batch = batch_of(
        [[0.0, 100.0]], [(0, 1, 6.0)], lab=[[(0.5, 2, 1.0), (3.5, 2, 2.0)], [(2.5, 3, 1.0)]], vital=[[], []]
    )
    grid = GridView(VARIABLES, history=True, only_observed=True).grid(batch)
    assert grid.interval[0].tolist() == [0, 3, 99, 3]
    assert grid.value[0, :, 0].tolist() == [1, 2, 2, 2]
    assert grid.since[0, :, 0].tolist() == [0.5, 0.5, 99.5, 102.5]


def test_the_newest_steps_are_kept_and_what_was_known_before_is_filled_in():
    batch = one_visit(10.0, lab=[(0.5, 2, 1.0), (0.75, 2, 3.0), (2.0, 2, -1.0), (9.5, 3, 1.0)])
    whole, newest = (GridView(VARIABLES, max_steps=n).grid(batch) for n in (None, 4))
    for name in ("value", "observed", "since", "until", "mask"):
        assert torch.equal(getattr(newest, name), getattr(whole, name)[:, -4:]), name
    assert not newest.observed[0, :, 0].any()
    assert (newest.value[0, :, 0] == -1).all()


def test_no_events_at_all():
    batch = batch_of([[0.0], [0.0]], [(0, 0, 0.0), (1, 0, 2.5)], lab=[[], []], vital=[[], []])
    grid = GridView(VARIABLES).grid(batch)
    assert grid.lengths.tolist() == [1, 3]
    assert not grid.value.any()
    assert not grid.observed.any()
    assert grid.since[1, :, 0].tolist() == [1, 2, 2.5]
    assert GridView({"lab": 0}).grid(batch).value.shape == (2, 3, 1)
    assert GridView({}).grid(batch).variables == 1


def test_order_of_events_does_not_matter():
    events = [(0.5, 2, 1.0), (0.5, 2, 3.0), (0.75, 3, 1.0), (1.5, 2, 0.0), (0.5, 2, 2.0)]
    grids = [GridView(VARIABLES).grid(one_visit(3.0, lab=order)) for order in (events, events[::-1])]
    assert torch.equal(grids[0].value, grids[1].value)
    assert grids[0].value[0, 0, 0] == 3


def test_hours_that_are_whole_but_for_rounding():
    start = 850.65
    batch = batch_of([[0.0, start]], [(0, 1, 0.0)], lab=[[], []], vital=[[], []])
    batch.sample_time[0] = start + 48 + 1e-9
    assert GridView(VARIABLES).grid(batch).lengths.tolist() == [48]


@pytest.mark.parametrize("options", [{"step_hours": 0}, {"step_hours": -1.0}, {"max_steps": 0}])
def test_bad_sizes_are_refused(options):
    with pytest.raises(zoo.registry.UserError, match="|".join(options)):
        GridView(VARIABLES, **options)


@pytest.mark.parametrize("history", [False, True])
def test_a_sample_has_the_same_grid_in_any_batch(own_cache, history):
    data = zoo.load("synthetic", task="mortality", patients=100, concepts={"lab", "vital"})
    view = GridView.of(data.spec({"lab", "vital"}), history=history)
    assert view.columns > 10
    together = view.grid(next(data.batches("train", {"lab", "vital"}, 16)))
    for sample, alone in zip(range(16), data.batches("train", {"lab", "vital"}, 1), strict=False):
        grid = view.grid(alone)
        length = int(grid.lengths[0])
        assert length == together.lengths[sample]
        assert history or length == 48
        for name in ("value", "observed", "since", "until"):
            assert torch.equal(getattr(grid, name)[0], getattr(together, name)[sample, :length]), name
