"""COGNet: its parts against NumPy, what is copied and from where, and the loss of interactions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_models_waits import waits

import zoo
from zoo.data.batch import Ragged
from zoo.layers import SampleHistory
from zoo.models.medication._drug_sequences import drug_sequences
from zoo.models.medication.cognet import (
    Attention,
    DrugGraphs,
    Pool,
    any_to_copy,
    code_places,
    copy_probabilities,
    visit_log_weights,
)
from zoo.testing._model import _patients as patients
from zoo.testing._model._patients import FabricatedTask

CONCEPTS = ("diagnosis", "procedure", "drug")
RESOURCES = ("cooccurrence", "interactions")
LOWEST = torch.finfo(torch.float32).min


@pytest.fixture(scope="module")
def task():
    return FabricatedTask("multilabel", CONCEPTS, True, "drug", RESOURCES)


def made(task, **hyperparameters):
    torch.manual_seed(1)
    return zoo.registry.models.get("cognet")(task.spec, **{"dim": 8, "dropout": 0.0, **hyperparameters}).eval()


def array(tensor):
    return tensor.detach().numpy().astype(float)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def linear(layer, x):
    return x @ array(layer.weight).T + (0 if layer.bias is None else array(layer.bias))


def norm(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * array(layer.weight) + array(layer.bias)


# Codes, drugs and visits


def test_a_visit_has_each_code_once():
    events = Ragged(torch.tensor([5, 5, 3, 5, 5, 2]), torch.tensor([0, 4, 4, 6]), torch.zeros(6))
    ids, there = code_places(events, 9)
    assert ids.tolist() == [[3, 5, 0, 0], [0, 0, 0, 0], [2, 5, 0, 0]]
    assert torch.equal(there, ids > 0)
    nothing = Ragged(torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0]), torch.zeros(0))
    assert [x.tolist() for x in code_places(nothing, 9)] == [[[0]], [[False]]]


def test_both_graphs_are_symmetric_and_share_their_embedding():
    torch.manual_seed(0)
    edges = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    layer = DrugGraphs(edges, ~edges & ~np.eye(4, dtype=bool), 3)
    with torch.no_grad():
        layer.interacting_weight.fill_(0.7)
    found = []
    for graph, weight in zip((edges, ~edges & ~np.eye(4, dtype=bool)), array(layer.weight), strict=True):
        looped = graph + np.eye(4)
        degree = looped.sum(1)
        scaled = np.array([[looped[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(4)] for i in range(4)])
        found.append(scaled @ np.maximum(scaled @ array(layer.embedding), 0) @ weight)
    assert np.allclose(array(layer()), found[0] - 0.7 * found[1], atol=1e-6)


def test_the_weight_of_interactions_is_the_same_in_all_new_models(task):
    assert [made(task).graphs.interacting_weight.item() for _ in range(2)] == [1.0, 1.0]


def test_visits_are_pooled_without_padding():
    torch.manual_seed(0)
    layer, x = Pool(3), torch.randn(2, 4, 3)
    there = torch.tensor([[True, True, False, False], [False] * 4])
    hidden = np.tanh(linear(layer.score[0], array(x[0, :2])))
    expected = softmax(linear(layer.score[2], hidden)[:, 0]) @ array(x[0, :2])
    found = layer(x, there)
    assert np.allclose(array(found[0]), expected, atol=1e-6)
    assert (found[1] == 0).all()


def test_visits_weigh_by_their_likeness_and_later_ones_nothing(task):
    rows = [r for r in task.rows(0, 60) if len(r.visits) > 2][:4]
    batch = task.batch(rows, [range(len(r.visits)) for r in rows])
    torch.manual_seed(0)
    visits = torch.randn(int(batch.row_offsets[-1]), 6)
    history = SampleHistory(batch)
    own = batch.row_offsets[batch.sample_row] + batch.sample_visit
    found = array(visit_log_weights(visits, own, history, 3).exp())
    v = array(visits)
    for n, (row, visit) in enumerate(zip(batch.sample_row.tolist(), batch.sample_visit.tolist(), strict=True)):
        first = int(batch.row_offsets[row])
        if visit:
            scores = np.array([v[first + j] @ v[first + visit] for j in range(visit)]) / np.sqrt(3)
            assert np.allclose(found[n, :visit], softmax(scores), atol=1e-6)
            assert (found[n, visit:] == 0).all()


# The decoder


def attended(layer, rows, codes):
    """Attention of (steps, d) to (places, d), head by head."""
    d = rows.shape[1] // layer.heads
    query, (key, value) = linear(layer.query, rows), np.split(linear(layer.key_value, codes), 2, axis=1)
    heads = [slice(k * d, (k + 1) * d) for k in range(layer.heads)]
    found = [softmax(query[:, h] @ key[:, h].T / np.sqrt(d)) @ value[:, h] for h in heads]
    return linear(layer.combine, np.concatenate(found, axis=1))


def test_attention_is_to_what_is_seen_and_nothing_gives_nothing():
    torch.manual_seed(0)
    layer = Attention(6, 2, 0.0)
    rows, codes = torch.randn(2, 3, 6), torch.randn(2, 4, 6)
    seen = torch.tensor([[True, False, True, False], [False] * 4])
    found = layer(rows, layer.key_value(codes), seen[:, None])
    assert np.allclose(array(found[0]), attended(layer, array(rows[0]), array(codes[0, [0, 2]])), atol=1e-6)
    assert (found[1] == 0).all()


def hidden_states(model, known, n, inputs):
    """H'' of one sample from its (steps, d) inputs, as the paper writes it."""
    decoder, x = model.decoder, inputs
    rows = [attended(decoder.own, x[k : k + 1], x[: k + 1])[0] for k in range(len(x))]  # no later step
    h = norm(decoder.norms[0], x + np.stack(rows))
    across = 0
    for concept, key_value, there in zip(CONCEPTS, known[:4:2], known[1:4:2], strict=False):
        layer = decoder.across[concept]
        if there[n].any():
            d = h.shape[1] // layer.heads
            key, value = np.split(array(key_value[n, there[n]]), 2, axis=1)
            heads = [slice(k * d, (k + 1) * d) for k in range(layer.heads)]
            query = linear(layer.query, h)
            found = [softmax(query[:, s] @ key[:, s].T / np.sqrt(d)) @ value[:, s] for s in heads]
            across = across + linear(layer.combine, np.concatenate(found, axis=1))
    h = norm(decoder.norms[1], h + across)
    inner, outer = decoder.feed_forward[0], decoder.feed_forward[2]
    return norm(decoder.norms[2], h + linear(outer, np.maximum(linear(inner, h), 0)))


def test_steps_follow_the_equations_whether_taught_or_written(task):
    model, drugs = made(task), task.spec.outputs
    batch = task.batch(task.rows(0, 10))
    known = model.known(batch)
    written = model.write(known)
    taught = model.log_probabilities(known, written.sequences.tokens)
    table = np.concatenate([array(model.drugs.weight[2:-1]) + array(model.graphs()), array(model.drugs.weight[-2:])])
    memory, number, weight = (array(x) for x in known[-3:])
    copied_some = 0
    for n in range(10):
        tokens = written.sequences.tokens[n][written.sequences.there[n]].tolist()
        h = hidden_states(model, known, n, table[[drugs + 1, *tokens[:-1]]])
        for t, token in enumerate(tokens):
            p = softmax(linear(model.new, h[t]))
            places = np.flatnonzero(weight[n] > LOWEST)
            if len(places):
                query = linear(model.copy, h[t])
                share = np.exp(weight[n, places]) * np.exp(memory[n, places] @ query / np.sqrt(8))
                w, copied = 1 / (1 + np.exp(-linear(model.switch, h[t])[0])), np.zeros(drugs + 1)
                for place, a in zip(places, share / share.sum(), strict=True):
                    copied[int(number[n, place])] += a
                p, copied_some = w * p + (1 - w) * copied, copied_some + 1
            p[tokens[:t]] = 0
            p /= p.sum()
            assert np.allclose(array(taught[n, t].exp()), p, atol=1e-5)
            assert token == p.argmax()
    assert copied_some > 10


# Copying


def test_copies_are_of_drugs_of_earlier_visits_alone():
    random = torch.Generator().manual_seed(0)
    query, drugs = torch.randn(2, 3, 4, generator=random), torch.randn(2, 5, 4, generator=random)
    number = torch.tensor([[2, 0, 2, 1, 0], [0, 0, 0, 0, 0]])
    log_c = torch.tensor([[0.7, 0.3, 0.7, 0.3, 0.0], [0.0] * 5]).log()
    weight = log_c.masked_fill(log_c.isinf(), LOWEST)
    found = array(copy_probabilities(query, drugs, number, weight, 5))
    assert any_to_copy(weight).tolist() == [True, False]
    for t in range(3):
        share = np.exp(array(drugs[0]) @ array(query[0, t]) / 2) * [0.7, 0.3, 0.7, 0.3, 0]
        expected = [sum(share[number[0] == m]) / share.sum() for m in range(5)]
        assert np.allclose(found[0, t], expected, atol=1e-6)
        assert found[0, t, 3:].tolist() == [0, 0]  # exactly: no least share for what is not there


def test_a_drug_is_copied_where_it_was_and_new_where_there_was_none(task):
    model = made(task)
    row = next(r for r in task.rows(0, 60) if len(r.visits) == 4)
    batch = task.batch([row], [range(4)])
    with torch.no_grad():
        model.switch.bias.fill_(-50)  # all is copied
        p = array(model.log_probabilities(model.known(batch), torch.zeros(4, 8, dtype=torch.int64))[:, 0].exp())
    drugs = batch["drug"]
    before = set()
    for visit in range(4):
        if before:
            assert set(np.flatnonzero(p[visit, :-1] > 1e-6)) == before
        else:
            assert (p[visit] > 1e-6).all()
        own = drugs.ids[drugs.offsets[visit] : drugs.offsets[visit + 1]].tolist()
        before |= {i - 2 for i in own if i > 1}


def test_later_visits_and_padding_have_no_share(task):
    model = made(task)
    row = next(r for r in task.rows(0, 60) if len(r.visits) == 4)
    other = replace(row, visits=(*row.visits[:2], *(v.changed(patients.other()) for v in row.visits[2:])))
    alone = task.batch([replace(row, visits=row.visits[:2])], [[0, 1]])
    beside = task.batch([other, task.row(patients.long_patient())], [[0, 1], [4]])
    tokens = torch.tensor([[0, 3, 5, 8, 8, 8, 8, 8]])
    one, two = (model.log_probabilities(model.known(b), tokens.expand(b.samples, -1))[:2] for b in (alone, beside))
    assert torch.allclose(one, two, atol=1e-5)


def test_own_drugs_change_nothing_and_earlier_ones_do(task):
    model = made(task)
    row = next(r for r in task.rows(0, 50) if len(r.visits) == 4)
    batch, changed = (task.batch([row], [range(4)]) for _ in range(2))
    drugs = changed["drug"]
    own = slice(int(drugs.offsets[1]), int(drugs.offsets[2]))
    drugs.ids[own] = (drugs.ids[own] + 1).remainder(task.spec.outputs) + 2
    tokens = torch.zeros(4, 8, dtype=torch.int64)
    with torch.no_grad():
        one, two = (model.log_probabilities(model.known(b), tokens)[:, 0] for b in (batch, changed))
    assert ((one - two).abs().amax(1) > 1e-6).tolist() == [False, False, True, True]


# Training and search


def test_interactions_are_in_the_loss(task):
    model, batch = made(task).train(), task.batch(task.rows(0, 12))
    sequences = drug_sequences(batch.label, model.order, model.steps)
    p = array(model.log_probabilities(model.known(batch), sequences.tokens).exp())
    among, expected = task.spec.resources["interactions"], 0.0
    for n in range(12):
        drugs = p[n, array(sequences.there[n]) > 0, :-1].sum(0)
        expected += sum(drugs[i] * drugs[j] for i, j in np.argwhere(among)) / 12
    output = model(batch)
    assert output.losses["interactions"].item() == pytest.approx(0.0005 * expected, rel=1e-4)
    output.losses["interactions"].backward()
    assert model.new.weight.grad.abs().max() > 0


def test_more_beams_find_likelier_sequences(task):
    likelihoods, batch = [], task.batch(task.rows(0, 40))
    for beams in (1, 4):
        model = made(task, beams=beams)
        known = model.known(batch)
        found = model.write(known).sequences
        log_p = model.log_probabilities(known, found.tokens).gather(-1, found.tokens[..., None])[..., 0]
        likelihoods.append(log_p.masked_fill(~found.there, 0).sum(1))
    gain = likelihoods[1] - likelihoods[0]
    assert gain.mean() > 0.01
    assert (gain > -1e-4).float().mean() > 0.8


@pytest.mark.parametrize("how", [{}, {"beams": 2}])
def test_a_step_does_not_wait(task, how):
    model, batch = made(task, **how), task.batch(task.rows(0, 12))
    _ = batch.longest, [ragged.longest for ragged in batch.values()]
    for training in (True, False):
        model.train(training)
        assert not waits(lambda: model.loss(model(batch), batch))


def test_it_trains_and_is_read_back(session_cache, tmp_path):
    data = zoo.load("synthetic", task="medication", patients=80, concepts=list(CONCEPTS))
    model = zoo.create_model("cognet", data, dim=16, max_drugs=12)
    result = zoo.train(model, data, out=tmp_path / "run", max_epochs=1, batch_size=32, device="cpu")
    assert zoo.evaluate(result.folder, data).metrics == result.metrics
