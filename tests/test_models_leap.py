"""LEAP: its attention and its two stages, and how sets of drugs are written as sequences, against NumPy."""

import itertools

import numpy as np
import pytest
import torch
from test_models_waits import waits

import zoo
from zoo.models.medication._drug_sequences import (
    Sequences,
    Written,
    drug_sequences,
    likelihood,
    log_probabilities,
    set_logits,
    write,
    written_before,
)
from zoo.models.medication.leap import AdditiveAttention
from zoo.testing._model._patients import FabricatedTask

RESOURCES = ("cooccurrence", "interactions")
DRUGS, STEPS = 4, 3


@pytest.fixture(scope="module")
def task():
    return FabricatedTask("multilabel", ("diagnosis",), True, "drug", RESOURCES)


def made(task, **hyperparameters):
    torch.manual_seed(1)
    return zoo.registry.models.get("leap")(task.spec, **{"dim": 8, "dropout": 0.0, **hyperparameters}).eval()


def array(tensor):
    return tensor.detach().numpy().astype(float)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Sets as sequences


def test_a_label_is_written_in_order_and_ends():
    random, order = np.random.default_rng(0), np.array([3, 0, 5, 1, 4, 2])
    label = random.random((20, 6)) < 0.4
    label[0], label[1] = False, True
    found = drug_sequences(torch.tensor(label), torch.tensor(order), 4)
    for n in range(20):
        expected = [*(drug for drug in order if label[n, drug]), 6, *[6] * 4][:4]
        assert found.tokens[n].tolist() == expected
        assert found.there[n].tolist() == [t <= label[n].sum() for t in range(4)]


def test_drugs_that_were_written_have_no_part_in_later_steps():
    tokens = torch.tensor([[2, 0, 4, 4]])
    written = written_before(tokens, DRUGS)
    assert [np.flatnonzero(row).tolist() for row in written[0].numpy()] == [[], [2], [0, 2], [0, 2]]
    scores = torch.randn(1, 4, DRUGS + 1, generator=torch.Generator().manual_seed(0))
    p = array(log_probabilities(scores, written).exp())[0]
    assert np.allclose(p[2, [1, 3, 4]], softmax(array(scores)[0, 2, [1, 3, 4]]))
    assert (p[2, [0, 2]] == 0).all()


def test_the_likelihood_is_that_of_the_steps_up_to_the_end():
    log_p = torch.randn(2, 4, DRUGS + 1, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    sequences = Sequences(torch.tensor([[1, 4, 4, 4], [0, 1, 2, 3]]), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool())
    p = array(log_p)
    expected = [p[0, 0, 1] + p[0, 1, 4], sum(p[1, t, t] for t in range(4))]
    assert np.allclose(likelihood(log_p, sequences), expected, atol=1e-6)


def table_step(scores):
    """Scores that hang on the two tokens before, of which the state keeps one: (samples, token, token, next)."""

    def step(state, token, place):
        sample, before = state
        return (sample, token), scores[sample, before, token]

    return step


def probability(scores, sequence):
    """(log P, largest probability of each drug) of a sequence in plain Python."""
    before, token, total, largest = DRUGS + 1, DRUGS + 1, 0.0, np.zeros(DRUGS)
    for t, written in enumerate(sequence):
        row = scores[before, token].copy()
        row[list(sequence[:t])] = -np.inf
        p = softmax(row)
        largest = np.maximum(largest, p[:-1])
        total += np.log(p[written])
        before, token = token, written
    return total, largest


def all_sequences():
    for n in range(STEPS + 1):
        for drugs in itertools.permutations(range(DRUGS), n):
            yield drugs if n == STEPS else (*drugs, DRUGS)


def written_by(scores, beams, sample=False):
    state = (torch.arange(len(scores)).repeat_interleave(beams), torch.full((len(scores) * beams,), DRUGS + 1))
    return write(table_step(scores), state, DRUGS, STEPS, beams, sample)


@pytest.fixture(scope="module")
def scores():
    shape = (30, DRUGS + 2, DRUGS + 2, DRUGS + 1)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_one_beam_writes_the_likeliest_token_of_each_step(scores):
    found = written_by(scores, 1)
    for n, table in enumerate(array(scores)):
        sequence, before, token = [], DRUGS + 1, DRUGS + 1
        while len(sequence) < STEPS and token != DRUGS:
            row = table[before, token].copy()
            row[sequence] = -np.inf
            before, token = token, int(row.argmax())
            sequence.append(token)
        assert found.sequences.tokens[n][found.sequences.there[n]].tolist() == sequence
        assert np.flatnonzero(found.chosen[n]).tolist() == sorted(set(sequence) - {DRUGS})
        assert np.allclose(found.largest[n], probability(table, sequence)[1], atol=1e-6)


def test_many_beams_find_the_likeliest_sequence(scores):
    greedy, found, better = written_by(scores, 1), written_by(scores, 80), 0
    for n, table in enumerate(array(scores)):
        best = max(all_sequences(), key=lambda sequence: probability(table, sequence)[0])
        assert found.sequences.tokens[n][found.sequences.there[n]].tolist() == list(best)
        assert np.allclose(found.largest[n], probability(table, best)[1], atol=1e-6)
        better += found.sequences.tokens[n].tolist() != greedy.sequences.tokens[n].tolist()
    assert better > 3


def test_sequences_are_drawn_by_their_probability(scores):
    torch.manual_seed(0)
    draws, table = 4000, scores[:1]
    found = written_by(table.expand(draws, -1, -1, -1), 1, sample=True)
    seen = [tuple(t[there].tolist()) for t, there in zip(found.sequences.tokens, found.sequences.there, strict=True)]
    for sequence in all_sequences():
        p = np.exp(probability(array(table)[0], sequence)[0])
        assert seen.count(sequence) / draws == pytest.approx(p, abs=4 * np.sqrt(p / draws) + 1e-3)


def test_the_set_lies_above_a_half_and_the_largest_probability_ranks():
    q = torch.tensor([[1.0, 0.7, 1e-9, 0.4, 0.1, 0.0]])
    logits = set_logits(Written(None, torch.tensor([[True, True, True, False, False, False]]), q))
    assert torch.isfinite(logits).all()
    assert (logits > 0).tolist() == [[True, True, True, False, False, False]]
    assert (logits.sigmoid() >= 0.5).tolist() == [[True, True, True, False, False, False]]
    assert (logits.diff() < 0).all()


# The model


def test_attention_is_not_linear_in_the_state():
    torch.manual_seed(0)
    layer = AdditiveAttention(3)
    states, x = torch.randn(2, 3), torch.randn(1, 4, 3)
    there = torch.tensor([[True, True, True, False]])
    w_s, w_x, b, v = (array(w) for w in (layer.query.weight, layer.keys.weight, layer.keys.bias, layer.score.weight[0]))
    weights = []
    for state in states:
        scores = np.array([v @ np.tanh(w_s @ array(state) + w_x @ array(i) + b) for i in x[0, :3]])
        weights.append(softmax(scores))
        expected = weights[-1] @ array(x[0, :3])
        assert np.allclose(array(layer(state[None], x, layer.keys(x), there))[0], expected, atol=1e-6)
    assert np.abs(weights[0] - weights[1]).max() > 1e-3
    assert (layer(states[:1], x, layer.keys(x), there & False) == 0).all()


def numpy_scores(model, diagnoses, drugs):
    """Scores of each step of one sample, from the numbers of its diagnoses and the drugs before each step."""
    w = {n: array(p) for n, p in model.named_parameters()}
    x, state, found = w["diagnoses.weight"][diagnoses], np.zeros(8), []
    for drug in drugs:
        hidden = np.tanh(state @ w["attend.query.weight"].T + x @ w["attend.keys.weight"].T + w["attend.keys.bias"])
        context = softmax(hidden @ w["attend.score.weight"][0]) @ x
        inputs = np.concatenate([context, w["drugs.weight"][drug]])
        from_input = np.split(w["cell.weight_ih"] @ inputs + w["cell.bias_ih"], 3)
        from_state = np.split(w["cell.weight_hh"] @ state + w["cell.bias_hh"], 3)
        reset, update = (sigmoid(from_input[k] + from_state[k]) for k in (0, 1))
        state = (1 - update) * np.tanh(from_input[2] + reset * from_state[2]) + update * state
        found.append(w["head.weight"] @ state + w["head.bias"])
    return found


def test_steps_follow_the_equations_whether_taught_or_written(task):
    model = made(task)
    batch = task.batch(task.rows(0, 8))
    drugs, own = task.spec.outputs, [int(o) - 1 for o in batch.row_offsets[1:]]
    written = model.write(model.known(batch))
    taught = model.log_probabilities(model.known(batch), written.sequences.tokens)
    diagnosis = batch["diagnosis"]
    for n, visit in enumerate(own):
        ids = np.unique(diagnosis.ids[diagnosis.offsets[visit] : diagnosis.offsets[visit + 1]])
        tokens = written.sequences.tokens[n][written.sequences.there[n]].tolist()
        scores = numpy_scores(model, ids, [drugs + 1, *tokens[:-1]]) if len(ids) else []
        for t, row in enumerate(scores):
            row[tokens[:t]] = -np.inf
            assert tokens[t] == row.argmax()
            assert np.allclose(array(taught[n, t].exp()), softmax(row), atol=1e-5)


def test_later_steps_attend_to_all_diagnoses(task):
    """In a port, all steps but the first attend to the context of the first."""
    model = made(task)
    row = next(r for r in task.rows(0, 60) if len(r.visits[-1].events["diagnosis"].place) == 3)
    vectors, keys, there = model.known(task.batch([row]))
    contexts, state = [], torch.zeros(1, 8)
    for drug in (task.spec.outputs + 1, 2, 5):
        state = state + 3 * torch.randn(1, 8, generator=torch.Generator().manual_seed(drug))
        contexts.append(model.attend(state, vectors, keys, there))
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.combinations(contexts, 2))


def test_the_loss_is_the_likelihood_of_the_label_in_and_out_of_training(task):
    model, batch = made(task), task.batch(task.rows(0, 12))
    order = np.argsort(task.spec.resources["cooccurrence"].sum(1), kind="stable")
    sequences = drug_sequences(batch.label, torch.tensor(order), task.spec.outputs)
    log_p = array(model.log_probabilities(model.known(batch), sequences.tokens))
    expected = 0
    for n in range(12):
        drugs = [d for d in order if batch.label[n, d]]
        expected -= sum(log_p[n, t, d] for t, d in enumerate([*drugs, task.spec.outputs][: task.spec.outputs])) / 12
    for training in (False, True):
        model.train(training)
        assert model.loss(model(batch), batch).item() == pytest.approx(expected, rel=1e-5)


def test_no_more_drugs_are_written_than_allowed(task):
    model, batch = made(task, max_drugs=2), task.batch(task.rows(0, 12))
    with torch.no_grad():
        model.head.bias[-1] = -100  # never an end
        assert ((model(batch).logits > 0).sum(1) == 2).all()
        model.head.bias[-1] = 100
        assert ((model(batch).logits > 0).sum(1) == 0).all()


# Fine-tuning


def test_the_reward_is_the_jaccard_index_or_nothing_where_drugs_interact(task):
    model, random = made(task), np.random.default_rng(0)
    chosen, label = (random.random((60, task.spec.outputs)) < 0.35 for _ in range(2))
    chosen[0] = label[0] = False
    among = task.spec.resources["interactions"]
    found = model.reward(torch.tensor(chosen), torch.tensor(label)).tolist()
    for n in range(60):
        inside = set(np.flatnonzero(chosen[n]))
        true = set(np.flatnonzero(label[n]))
        jaccard = len(inside & true) / len(inside | true) if inside | true else 0
        unsafe = any(among[i, j] for i in inside for j in inside)
        assert found[n] == pytest.approx(0 if unsafe else jaccard)
    assert 10 < sum(f > 0 for f in found) < 50


def test_fine_tuning_lessens_interactions(task):
    batch = task.batch(task.rows(0, 48))
    model = made(task)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)

    def trained(steps):
        torch.manual_seed(0)
        for _ in range(steps):
            optimiser.zero_grad()
            model.train().loss(model(batch), batch).backward()
            optimiser.step()
        with torch.no_grad():
            chosen = (model.eval()(batch).logits > 0).float()
        return model.reward(chosen.bool(), batch.label).mean(), ((chosen @ model.interactions) * chosen).sum(1).mean()

    taught = trained(25)
    model.fine_tune = True
    rewarded = trained(25)
    assert rewarded[0] > taught[0] + 0.05
    assert rewarded[1] < 0.5 * taught[1]
    with torch.no_grad():
        assert model.loss(model(batch), batch).item() == pytest.approx(1 - rewarded[0].item(), abs=1e-6)


@pytest.mark.parametrize("how", [{}, {"beams": 2}, {"fine_tune": True}])
def test_a_step_does_not_wait(task, how):
    model, batch = made(task, **how), task.batch(task.rows(0, 12))
    _ = batch.longest, [ragged.longest for ragged in batch.values()]
    for training in (True, False):
        model.train(training)
        assert not waits(lambda: model.loss(model(batch), batch))


def test_it_trains_and_is_fine_tuned_and_read_back(session_cache, tmp_path):
    data = zoo.load("synthetic", task="medication", patients=80, concepts=["diagnosis"])
    how = {"max_epochs": 1, "batch_size": 32, "device": "cpu"}
    small = {"dim": 16, "max_drugs": 12}
    first = zoo.train(zoo.create_model("leap", data, **small), data, out=tmp_path / "first", **how)
    model = zoo.create_model("leap", data, **small, fine_tune=True)
    second = zoo.train(model, data, out=tmp_path / "second", init=first.folder, lr=1e-4, monitor="loss", **how)
    assert zoo.evaluate(second.folder, data).metrics == second.metrics
