"""GAMENet: its parts against NumPy, what a target may not see, and the mixture of its losses."""

import numpy as np
import pytest
import torch
from test_models_waits import waits

import zoo
from zoo.models import Output
from zoo.models.medication._drug_sets import cross_entropy, expected_interactions, interaction_rate, margin
from zoo.models.medication.gamenet import GraphConvolution, earlier_drugs
from zoo.testing import check_model
from zoo.testing._model._patients import FabricatedTask

CONCEPTS = ("diagnosis", "procedure", "drug")
RESOURCES = ("cooccurrence", "interactions")


@pytest.fixture(scope="module")
def task():
    return FabricatedTask("multilabel", CONCEPTS, True, "drug", RESOURCES)


@pytest.fixture
def model(task):
    torch.manual_seed(1)
    return zoo.registry.models.get("gamenet")(task.spec, dim=8, dropout=0.0).eval()


def array(tensor):
    return tensor.detach().numpy().astype(float)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# What losses are made of


@pytest.fixture
def sets():
    random = np.random.default_rng(3)
    logits, label = random.normal(size=(5, 7)), random.random((5, 7)) < 0.4
    label[3] = False
    among = np.triu(random.random((7, 7)) < 0.4, 1)
    return logits, label, among | among.T


def test_cross_entropy_and_margin(sets):
    logits, label, _ = sets
    p = 1 / (1 + np.exp(-logits))
    entropy, margins = np.zeros(5), np.zeros(5)
    for n in range(5):
        entropy[n] = -np.mean([np.log(q if y else 1 - q) for q, y in zip(p[n], label[n], strict=True)])
        for i in np.flatnonzero(label[n]):
            margins[n] += sum(max(0, 1 - (p[n, i] - p[n, j])) for j in np.flatnonzero(~label[n])) / 7
    assert np.allclose(cross_entropy(torch.tensor(logits), torch.tensor(label)), entropy)
    assert np.allclose(margin(torch.tensor(p), torch.tensor(label)), margins)
    assert margins[3] == 0
    assert margins.max() > 1


def test_interactions_of_a_set_and_those_to_expect(sets):
    logits, _, among = sets
    p = 1 / (1 + np.exp(-logits))
    logits[4] = -1  # an empty set
    for n in range(5):
        expected = sum(p[n, i] * p[n, j] for i in range(7) for j in range(7) if among[i, j])
        chosen = np.flatnonzero(logits[n] > 0)
        pairs = [(i, j) for i in chosen for j in chosen if i < j]
        rate = np.mean([among[i, j] for i, j in pairs]) if pairs else 0
        matrix = torch.tensor(among).double()
        assert expected_interactions(torch.tensor(p[n : n + 1]), matrix).item() == pytest.approx(expected)
        some = torch.tensor(logits[n : n + 1] > 0).double()
        assert interaction_rate(some, matrix).item() == pytest.approx(rate)
        among_all = sum(p[n, i] * p[n, j] for i in range(7) for j in range(7) if i != j)
        chances = torch.tensor(p[n : n + 1])
        assert interaction_rate(chances, matrix).item() == pytest.approx(expected / among_all)


# The memories


def test_the_graph_convolution_is_symmetric_and_has_a_hyperbolic_tangent():
    torch.manual_seed(0)
    edges = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    layer = GraphConvolution(edges, 3)
    looped, degree = edges + np.eye(4), [3, 2, 2, 1]
    scaled = np.array([[looped[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(4)] for i in range(4)])
    expected = scaled @ np.tanh(scaled @ array(layer.embedding)) @ array(layer.weight)
    assert np.allclose(array(layer()), expected, atol=1e-6)


def test_both_graphs_reach_the_memory_bank(task, model):
    before = model.memory_bank()
    assert torch.allclose(before, model.together() - model.beta * model.interacting())
    for name in RESOURCES:
        torch.manual_seed(1)
        spec = task.spec
        other = {**spec.resources, name: np.zeros_like(spec.resources[name])}
        changed = zoo.registry.models.get("gamenet")(type(spec)(**{**vars(spec), "resources": other}), dim=8)
        assert (changed.memory_bank() - before).abs().max() > 1e-3


def test_interactions_count_in_the_memory_from_the_start(model):
    assert model.beta.item() == 1


def test_the_dynamic_memory_holds_earlier_visits_alone():
    random = np.random.default_rng(0)
    query, drugs = random.normal(size=(2, 4, 3)), random.integers(0, 2, (2, 4, 5)).astype(float)
    found = earlier_drugs(torch.tensor(query), torch.tensor(drugs)).numpy()
    assert (found[:, 0] == 0).all()
    for r in range(2):
        for t in range(1, 4):
            weight = softmax(np.array([query[r, s] @ query[r, t] for s in range(t)]))
            assert np.allclose(found[r, t], weight @ drugs[r, :t])


def test_logits_come_from_query_bank_and_history(task, model):
    rows = [r for r in task.rows(0, 40) if len(r.visits) > 2][:3]
    batch = task.batch(rows, [range(len(r.visits)) for r in rows])
    query, bank = array(model.query(model.states(batch))), array(model.memory_bank())
    weight, bias = array(model.head.weight), array(model.head.bias)
    drugs = array(batch["drug"].multi_hot(task.spec.size("drug")))[:, 2:]
    found, n = array(model(batch).logits), 0
    for r, row in enumerate(rows):
        first = int(batch.row_offsets[r])
        for t in range(len(row.visits)):
            q = query[r, t]
            earlier = np.zeros(drugs.shape[1])
            if t:
                earlier = softmax(query[r, :t] @ q) @ drugs[first : first + t]
            read = np.concatenate([q, bank.T @ softmax(bank @ q), bank.T @ earlier])
            assert np.allclose(found[n], weight @ read + bias, atol=1e-5)
            n += 1
    assert n == len(found)


def test_earlier_drugs_change_the_logits_and_own_ones_do_not(task, model):
    row = next(r for r in task.rows(0, 50) if len(r.visits) == 4)
    batch, changed = (task.batch([row], [range(4)]) for _ in range(2))
    drugs = changed["drug"]
    own = slice(int(drugs.offsets[1]), int(drugs.offsets[2]))
    drugs.ids[own] = (drugs.ids[own] + 1).remainder(task.spec.outputs) + 2
    with torch.no_grad():
        moved = (model(batch).logits - model(changed).logits).abs().amax(1) > 1e-6
    assert moved.tolist() == [False, False, True, True]


# The loss


def test_the_loss_is_the_expectation_of_the_draw(task, model):
    batch = task.batch(task.rows(0, 12))
    torch.manual_seed(2)
    logits = torch.randn(batch.samples, task.spec.outputs)
    among = array(model.interactions)
    bce, multi = (array(x) for x in (cross_entropy(logits, batch.label), margin(logits.sigmoid(), batch.label)))
    unsafe = array(expected_interactions(logits.sigmoid(), model.interactions)) / len(among)
    rate = array(interaction_rate((logits > 0).float(), model.interactions))
    assert rate.min() < 0.25 < rate.max()
    model.target_ddi = 0.25
    model.current_temperature.fill_(0.1)
    p = np.where(rate > 0.25, np.exp(-(rate - 0.25) / 0.1), 0)
    expected = (1 - p) * (0.9 * bce + 0.1 * multi) + p * unsafe
    assert model.loss(Output(logits), batch).item() == pytest.approx(expected.mean(), rel=1e-5)


def test_the_temperature_falls_from_epoch_to_epoch(model):
    rate = torch.tensor([0.0, 0.05, 0.15])
    assert model.unsafe_share(rate).tolist() == pytest.approx([0, 0, np.exp(-0.1 / 0.5)])
    model.start_epoch(2)
    assert model.unsafe_share(rate)[2].item() == pytest.approx(np.exp(-0.1 / (0.5 * 0.85**2)))
    model.start_epoch(400)
    assert model.unsafe_share(rate).tolist() == [0, 0, 0]


def test_it_fits_a_few_patients_where_interactions_do_not_count():
    report = check_model("gamenet", target_ddi=1.0)
    assert report.passed, report


def test_a_step_does_not_wait(task, model):
    batch = task.batch(task.rows(0, 12))
    _ = batch.longest, [ragged.longest for ragged in batch.values()]
    model.train()
    assert not waits(lambda: model.loss(model(batch), batch).backward())


def test_it_trains_and_is_read_back(session_cache, tmp_path):
    data = zoo.load("synthetic", task="medication", patients=80, concepts=list(CONCEPTS))
    how = {"max_epochs": 2, "batch_size": 32, "device": "cpu"}
    model = zoo.create_model("gamenet", data)
    result = zoo.train(model, data, out=tmp_path / "run", patience=2, **how)
    assert model.current_temperature.item() in (pytest.approx(0.5), pytest.approx(0.5 * 0.85))  # of the best epoch
    assert result.metrics["jaccard_samples"]["value"] > 0
    assert zoo.evaluate(result.folder, data).metrics == result.metrics
