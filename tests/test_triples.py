"""Measurements as triples, against plain Python that goes through the events one by one."""

import math

import numpy as np
import pytest
import torch
from test_grid import VARIABLES, batch_of, one_visit, random_batch

from zoo.data.triples import TripleView
from zoo.registry import UserError


def reference(batch, sample: int, most: int | None, history: bool) -> list[tuple[float, int, float]]:
    row, own = int(batch.sample_row[sample]), int(batch.sample_visit[sample])
    first, moment = int(batch.row_offsets[row]), float(batch.sample_time[sample])
    begin = 0 if history else own
    found = []
    for visit in range(begin, own + 1):
        start, before = float(batch.visit_start[first + visit]), 0
        for concept, size in VARIABLES.items():
            events = batch[concept]
            for e in range(int(events.offsets[first + visit]), int(events.offsets[first + visit + 1])):
                variable, value = int(events.variable[e]) - 2, float(events.value[e])
                at = start + float(events.time[e])
                if 0 <= variable < size and not math.isnan(value) and at <= moment + 1e-6:
                    found.append((at - float(batch.visit_start[first + begin]), variable + before, value))
            before += size
    return sorted(found)[-most:] if most else sorted(found)


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("most", [None, 1, 5])
@pytest.mark.parametrize("seed", range(8))
def test_triples_are_what_plain_python_finds(seed, most, history):
    batch = random_batch(seed)
    found = TripleView(VARIABLES, most, history).triples(batch)
    expected = [reference(batch, s, most, history) for s in range(batch.samples)]
    assert found.mask.sum(dim=1).tolist() == [len(e) for e in expected]
    for s, rows in enumerate(expected):
        n = len(rows)
        columns = np.array(rows).reshape(n, 3).T
        for name, column in zip(("time", "variable", "value"), columns, strict=True):
            assert np.allclose(getattr(found, name)[s, :n], column, atol=1e-4), name
            assert not getattr(found, name)[s, n:].any()
        assert found.mask[s, :n].all()
    first = batch.row_offsets[batch.sample_row] + (0 if history else batch.sample_visit)
    assert torch.allclose(found.end, (batch.sample_time - batch.visit_start[first]).float())


def test_the_order_of_events_at_one_moment_does_not_matter():
    events = [(1.0, 2, 0.5), (1.0, 3, -1.0), (1.0, 2, 0.1), (2.0, 4, 0.0)]
    one = TripleView(VARIABLES, 3).triples(one_visit(5, lab=events))
    other = TripleView(VARIABLES, 3).triples(one_visit(5, lab=[events[i] for i in (2, 1, 0, 3)]))
    assert torch.equal(one.value, other.value)
    assert one.value.tolist() == [[0.5, -1.0, 0.0]]
    assert one.variable.tolist() == [[0, 1, 2]]


def test_a_sample_without_any_measurement():
    found = TripleView(VARIABLES).triples(one_visit(5))
    assert found.mask.shape == (1, 0)
    assert found.end.tolist() == [5.0]
    both = TripleView(VARIABLES).triples(
        batch_of([[0.0], [0.0]], [(0, 0, 4.0), (1, 0, 4.0)], lab=[[], [(1.0, 2, 3.0)]], vital=[[], []])
    )
    assert both.mask.tolist() == [[False], [True]]
    assert TripleView({}).triples(one_visit(5)).mask.shape == (1, 0)


def test_no_measurement_at_all_is_to_be_kept():
    with pytest.raises(UserError, match="max_triples=0 must be at least 1"):
        TripleView(VARIABLES, 0)
