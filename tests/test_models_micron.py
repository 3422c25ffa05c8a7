"""MICRON: its vectors, sets and losses against NumPy, and the weights of the losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_models_waits import waits

import zoo
from zoo.models.medication.micron import Change
from zoo.registry import UserError
from zoo.testing._model._patients import FabricatedTask

CONCEPTS = ("diagnosis", "procedure", "drug")


@pytest.fixture(scope="module")
def task():
    return FabricatedTask("multilabel", CONCEPTS, True, "drug", ("interactions",))


def made(task, **hyperparameters):
    torch.manual_seed(1)
    return zoo.registry.models.get("micron")(task.spec, **{"dim": 8, "dropout": 0.0, **hyperparameters}).eval()


@pytest.fixture
def batch(task):
    rows = [r for r in task.rows(0, 60) if len(r.visits) > 2][:4]
    return task.batch(rows, [range(len(r.visits)) for r in rows])


def array(tensor):
    return tensor.detach().numpy().astype(float)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(layer, x):
    return x @ array(layer.weight).T + array(layer.bias)


def prescribed(model, h):
    return linear(model.prescribe[2], np.maximum(linear(model.prescribe[0], h), 0))


def hot(batch, concept, size):
    """(visits, size) which visit has which id."""
    found, events = np.zeros((len(batch.visit_start), size)), batch[concept]
    for visit, (begin, end) in enumerate(zip(events.offsets[:-1], events.offsets[1:], strict=True)):
        found[visit, events.ids[begin:end].tolist()] = 1
    return found


def states(model, batch):
    """(visits, d) h."""
    tables = {c: array(model.visits[c].bags[c].weight) for c in CONCEPTS[:2]}
    return linear(model.health, np.concatenate([hot(batch, c, len(t)) @ t for c, t in tables.items()], axis=1))


def places(batch):
    """Of each sample: the place of its visit in the batch, and of its visit in the row."""
    rows, visits = batch.sample_row.tolist(), batch.sample_visit.tolist()
    return [(int(batch.row_offsets[r]) + v, v) for r, v in zip(rows, visits, strict=True)]


# Vectors and sets


def test_drugs_of_a_visit_and_updates_are_of_one_network(task, batch):
    model = made(task)
    h, found = states(model, batch), model(batch)
    drugs = hot(batch, "drug", task.spec.size("drug"))[:, 2:]
    assert found.follows.tolist() == [t > 0 for _, t in places(batch)]
    for n, (place, t) in enumerate(places(batch)):
        assert np.allclose(array(found.own[n]), prescribed(model, h[place]), atol=1e-5)
        if t:
            assert np.allclose(array(found.last[n]), prescribed(model, h[place - 1]), atol=1e-5)
            assert np.allclose(array(found.update[n]), prescribed(model, h[place] - h[place - 1]), atol=1e-5)
            assert found.before[n].tolist() == drugs[place - 1].tolist()


@pytest.mark.parametrize("observed", [False, True])
def test_a_drug_between_the_thresholds_stays_as_it_was(task, batch, observed):
    model = made(task, upper=0.55, lower=0.45, observed=observed)
    h, logits = states(model, batch), array(model(batch).logits)
    drugs = hot(batch, "drug", task.spec.size("drug"))[:, 2:] > 0
    stayed, had = 0, None
    for n, (place, t) in enumerate(places(batch)):
        if t == 0:
            vector = prescribed(model, h[place])
            predicted, above = sigmoid(vector) >= 0.5, vector
            first = drugs[place]
        else:
            vector = vector + prescribed(model, h[place] - h[place - 1])
            was = first if t == 1 else drugs[place - 1] if observed else had
            chance = sigmoid(vector)
            predicted = (chance >= 0.55) | (was & (chance >= 0.45))
            stayed += ((chance >= 0.45) & (chance < 0.55)).sum()
            above = vector - np.log(np.where(was, 0.45 / 0.55, 0.55 / 0.45))
        had = predicted
        assert np.allclose(logits[n], above, atol=1e-5)
        assert ((logits[n] >= 0) == predicted).all()
    assert stayed > 10


def test_a_drug_that_was_there_ranks_higher_than_another_of_the_same_probability(task):
    model = made(task)
    drugs = torch.tensor([[[True] * 4 + [False] * 4] * 2])
    found = model.beyond_thresholds(torch.zeros(1, 2, 8), drugs)[0, 1]
    assert found.tolist() == pytest.approx([np.log(4)] * 4 + [-np.log(4)] * 4)


def test_an_own_set_changes_nothing_and_the_first_one_later_visits(task, batch):
    row = next(r for r in task.rows(0, 60) if len(r.visits) == 4)
    for observed, expected in ((False, [False, True, True, True]), (True, [False, True, False, False])):
        model = made(task, observed=observed, upper=0.999, lower=0.001)  # all stays as it was
        batch, other = (task.batch([row], [range(4)]) for _ in range(2))
        ids = other["drug"].ids
        ids[: int(other["drug"].offsets[1])] = (ids[: int(other["drug"].offsets[1])] - 1) % task.spec.outputs + 2
        assert ((model(batch).logits != model(other).logits).any(1)).tolist() == expected


def test_dropout_is_drawn_once_for_a_visit(task):
    row = next(r for r in task.rows(0, 60) if len(r.visits) > 2)
    same = replace(row, visits=(row.visits[0],) * 3)
    model = made(task, dropout=0.5).train()
    found = model(task.batch([same], [range(3)]))
    assert torch.equal(found.last[1:], found.own[:-1])
    assert (found.own[0] != found.own[1]).any()


@pytest.mark.parametrize(("lower", "upper"), [(0.6, 0.4), (0, 0.5), (0.5, 1)])
def test_thresholds_are_probabilities_in_order(task, lower, upper):
    with pytest.raises(UserError, match=f"lower={lower} and upper={upper} must be"):
        made(task, lower=lower, upper=upper)


# Losses


def by_hand(output, label, among):
    """(4,) the means over samples of the losses, and of L_ddi of each sample with its rate."""
    losses, unsafe, rates = [], [], []
    for n in range(len(label)):

        def entropy(x, y):
            return -np.mean(np.where(y, np.log(sigmoid(x)), np.log(1 - sigmoid(x))))

        def margin(x, y):
            p = sigmoid(x)
            return sum(max(0, 1 - p[i] + p[j]) for i in np.flatnonzero(y) for j in np.flatnonzero(~y)) / len(p)

        own, last, update = (array(x[n]) for x in (output.own, output.last, output.update))
        y, before, follows = label[n], array(output.before[n]) > 0, bool(output.follows[n])
        parts = [0.75 * entropy(own, y), 0.05 * 0.75 * margin(own, y), 0, 0]
        if follows:
            parts[0] += 0.25 * entropy(last, before)
            parts[1] += 0.05 * 0.25 * margin(last, before)
            parts[3] = np.mean((sigmoid(own) - sigmoid(last + update)) ** 2)
        p, chosen = sigmoid(own), np.flatnonzero(own > 0)
        parts[2] = sum(p[i] * p[j] for i, j in np.argwhere(among)) / len(p)
        pairs = [among[i, j] for i in chosen for j in chosen if i < j]
        losses.append(parts)
        unsafe.append(parts[2])
        rates.append(np.mean(pairs) if pairs else 0.0)
    return np.mean(losses, axis=0), np.array(unsafe), np.array(rates)


def spread(task, batch):
    """An output with sets of many sizes."""
    torch.manual_seed(3)
    shape, follows = (batch.samples, task.spec.outputs), batch.sample_visit > 0
    own, last, update = 2 * torch.randn(3, *shape)
    before = (torch.rand(shape) < 0.4).float() * follows[:, None]
    return Change(own, own=own, last=last, update=update, before=before, follows=follows)


def test_losses_are_those_of_the_paper(task, batch):
    model, output = made(task, target_ddi=0.25), spread(task, batch)
    among = task.spec.resources["interactions"]
    losses, unsafe, rates = by_hand(output, batch.label.numpy(), among)
    found, above = model.parts(output, batch)
    assert array(found) == pytest.approx(losses, rel=1e-5)
    assert above.item() == pytest.approx(np.where(rates > 0.25, unsafe, 0).mean(), rel=1e-5)
    assert 0 < (rates > 0.25).sum() < len(rates)
    assert model.loss(output, batch).item() == pytest.approx((losses[[0, 1, 3]].sum() + above.item()) / 4, rel=1e-5)


def test_first_visits_alone_have_losses_too(task):
    model, batch = made(task), task.batch(task.rows(0, 8), [[0]] * 8)
    found, _ = model.parts(model(batch), batch)
    assert found[:3].min() > 0
    assert found[3] == 0
    model.loss(model(batch), batch).backward()
    assert model.prescribe[2].weight.grad.abs().max() > 0


def test_weights_follow_losses_in_training_alone(task, batch):
    model, history = made(task), []
    weights = np.full(4, 0.25)
    for step in range(4):
        output = spread(task, batch)
        output = replace(output, own=output.own * (step + 1) / 2)
        losses = by_hand(output, batch.label.numpy(), task.spec.resources["interactions"])[0]
        if step:
            mean = np.mean(history, axis=0)
            e = np.exp((losses - mean) / mean)
            weights = 0.75 * e / e.sum() + 0.25 * weights
        history.append(losses)
        model.train().loss(output, batch)
        assert array(model.weights) == pytest.approx(weights, rel=1e-4)
        model.eval().loss(output, batch)
        assert array(model.weights) == pytest.approx(weights, rel=1e-4)
    assert np.ptp(weights) > 0.05
    assert {"weights", "means", "steps"} <= set(model.state_dict())  # a run that was stopped goes on with them


def test_each_visit_is_trained(task, batch):
    output = made(task)(batch)
    leaf = replace(output, own=output.own.detach().requires_grad_())
    made(task).loss(leaf, batch).backward()
    assert (leaf.own.grad.abs().amax(1) > 0).all()


def test_a_step_does_not_wait(task, batch):
    model = made(task).train()
    _ = batch.longest, [ragged.longest for ragged in batch.values()]
    assert not waits(lambda: model.loss(model(batch), batch).backward())


def test_it_trains_and_is_read_back(session_cache, tmp_path):
    data = zoo.load("synthetic", task="medication", patients=80, concepts=list(CONCEPTS))
    model = zoo.create_model("micron", data, dim=16)
    result = zoo.train(model, data, out=tmp_path / "run", max_epochs=2, batch_size=32, device="cpu")
    assert zoo.evaluate(result.folder, data).metrics == result.metrics
    assert result.metrics["addition_error"]["value"] > 0
    assert result.metrics["removal_error"]["value"] > 0
