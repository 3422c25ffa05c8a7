"""Models of irregular series, by their equations in NumPy, one sample at a time."""

import numpy as np
import pytest
import torch
from test_grid import one_visit
from worked import gru, sigmoid, softmax, time_attention, weights, within

import zoo
from zoo.data.grid import GridView
from zoo.data.triples import TripleView
from zoo.models.series.gru_d import elapsed, last_before
from zoo.registry import UserError

SMALL = {
    "gru_d": {"dim": 5},
    "tcn": {"dim": 4, "layers": 3, "kernel_size": 2},
    "strats": {"dim": 6, "heads": 2},
    "mtand": {"width": 4, "dim": 6, "heads": 2, "points": 5, "hidden": 3, "head": 4},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield zoo.load("synthetic", task="mortality", patients=100, concepts={"lab", "vital"}, hours=24)


def made(name: str, data, **hyperparameters):
    model = zoo.create_model(name, data, seed=3, **{**SMALL[name], **hyperparameters}).eval()
    with torch.no_grad():  # so that no weight is at a value that hides its use
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return model


def some_batch(data):
    """Samples of different length, the last one without any measurement."""
    batch = next(data.batches("train", {"lab", "vital", "static"}, 6))
    batch.sample_time[1] -= 9
    batch.sample_time[-1] = batch.visit_start[batch.row_offsets[-2] + batch.sample_visit[-1]] - 30
    return batch


def logits(model, batch) -> np.ndarray:
    with torch.no_grad():
        return model(batch).logits.double().numpy()


# GRU-D


def test_elapsed_hours_and_last_values_are_those_before_a_step():
    """Variables 0 and 1; steps of an hour; values at 0.5, 2.25 (both) and 5.0 hours."""
    events = [(0.5, 2, 1.0), (2.25, 2, 2.0), (2.25, 3, 7.0), (5.0, 3, 8.0)]
    view = GridView({"lab": 2}, only_observed=True)
    grid = view.grid(one_visit(6.5, lab=events))
    # steps end at 1, 3, 6 and 7 hours; the last one has no value
    assert torch.allclose(6.5 - grid.until[0], torch.tensor([1.0, 3.0, 6.0, 6.5]))
    hours, last = elapsed(grid)[0], last_before(grid)[0]
    expected = torch.tensor([[0.0, 1.0], [2.5, 3.0], [3.75, 3.75], [4.25, 1.5]])
    assert torch.allclose(hours, expected), hours
    assert torch.allclose(last, torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 7.0], [2.0, 8.0]]))


def gru_d(w: dict, value, observed, delta, last) -> np.ndarray:
    dim = len(w["state_decay.bias"])
    state = np.zeros(dim)
    for x, m, d, before in zip(value, observed, delta, last, strict=True):
        fade = np.exp(-np.maximum(0, w["input_decay"] * d + w["input_decay_bias"]))
        x = m * x + (1 - m) * (fade * before + (1 - fade) * 0)
        state = np.exp(-np.maximum(0, w["state_decay.weight"] @ d + w["state_decay.bias"])) * state
        given = w["given.weight"] @ np.r_[x, m] + w["given.bias"]
        gates = sigmoid(given[: 2 * dim] + w["gates.weight"] @ state)
        z, r = gates[:dim], gates[dim:]
        candidate = np.tanh(given[2 * dim :] + w["candidate.weight"] @ (r * state))
        state = (1 - z) * state + z * candidate
    return state


def test_gru_d_is_its_equations(data):
    model, batch = made("gru_d", data), some_batch(data)
    grid, w = model.view.grid(batch), weights(model)
    cell = {n.removeprefix("cell."): v for n, v in w.items()}
    parts = [p.double().numpy() for p in (grid.value, grid.observed, elapsed(grid), last_before(grid))]
    assert len(set(grid.lengths.tolist())) > 1
    expected = [
        w["head.weight"] @ gru_d(cell, *(p[s, :n] for p in parts)) + w["head.bias"]
        for s, n in enumerate(grid.lengths.tolist())
    ]
    np.testing.assert_allclose(logits(model, batch), expected, atol=2e-5)


def test_states_and_inputs_of_gru_d_fade_with_time(data):
    cell = made("gru_d", data).cell
    with torch.no_grad():
        cell.state_decay.weight.abs_()
        cell.input_decay.abs_()
    variables = cell.input_decay.numel()
    value, observed = torch.ones(1, 2, variables), torch.tensor([1.0, 0.0])[None, :, None].expand(1, 2, variables)
    last = torch.tensor([0.0, 1.0])[None, :, None].expand(1, 2, variables)
    soon, late = (torch.tensor([0.0, h])[None, :, None].expand(1, 2, variables) for h in (0.1, 1e6))
    with torch.no_grad():
        states = [cell(value, observed, delta, last)[0] for delta in (soon, late)]
        forgotten = cell(0 * value[:, :1], 0 * observed[:, :1], late[:, 1:], last[:, :1])[0, 0]
    assert torch.equal(states[0][0], states[1][0])
    assert not torch.allclose(states[0][1], states[1][1])
    torch.testing.assert_close(states[1][1], forgotten)  # of what was, nothing is left


def test_what_gru_d_drops_in_training_it_drops_at_every_step(data):
    model = made("gru_d", data, input_dropout=0.5, state_dropout=0.5).train()
    given, states = [], []
    model.cell.given.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach()))
    model.cell.gates.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0].detach()))
    batch = some_batch(data)
    model(batch)
    observed = given[0][..., model.view.columns :]
    dropped = ((observed == 0) | (observed == 2)).all() and (observed.amax(dim=1) == 0)
    seen = model.view.grid(batch).observed.any(dim=1)
    assert 0 < int((dropped & seen).sum()) < int(seen.sum())
    later = torch.stack(states[1:]) == 0  # the first state is 0
    assert torch.equal(later.all(dim=0), later.any(dim=0))
    assert 0 < int(later[0].sum()) < later[0].numel()
    model.eval()
    assert torch.equal(model(batch).logits, model(batch).logits)


# TCN


def tcn(w: dict, features: np.ndarray, layers: int) -> np.ndarray:
    rows = features
    for n in range(layers):
        found = rows
        for c in range(2):
            name = f"blocks.{n}.convolutions.{c}"
            direction = w[f"{name}.parametrizations.weight.original1"]
            size = np.sqrt((direction**2).sum(axis=(1, 2), keepdims=True))
            kernel = w[f"{name}.parametrizations.weight.original0"] * direction / size
            steps = []
            for t in range(len(found)):
                at = w[f"{name}.bias"].copy()
                for k in range(kernel.shape[2]):
                    place = t - (kernel.shape[2] - 1 - k) * 2**n
                    if place >= 0:
                        at += kernel[:, :, k] @ found[place]
                steps.append(np.maximum(at, 0))
            found = np.array(steps)
        past = rows
        if f"blocks.{n}.past.weight" in w:
            past = rows @ w[f"blocks.{n}.past.weight"][:, :, 0].T + w[f"blocks.{n}.past.bias"]
        rows = np.maximum(found + past, 0)
    return rows[-1]


def test_tcn_is_its_equations(data):
    model, batch = made("tcn", data), some_batch(data)
    grid, w = model.view.grid(batch), weights(model)
    features = grid.features().flatten(2).double().numpy()
    assert len(set(grid.lengths.tolist())) > 1
    expected = [
        w["head.weight"] @ tcn(w, features[s, :n], 3) + w["head.bias"] for s, n in enumerate(grid.lengths.tolist())
    ]
    np.testing.assert_allclose(logits(model, batch), expected, atol=2e-5)


# mTAND


def test_mtand_is_its_equations(data):
    model, batch = made("mtand", data), some_batch(data)
    seen, w = model.view.triples(batch), weights(model)
    variables, counts = model.view.columns, seen.mask.sum(dim=1).tolist()
    assert counts[-1] == 0
    assert len(set(counts)) > 2
    expected = []
    for s, n in enumerate(counts):
        time = 1 - (float(seen.end[s]) - seen.time[s, :n].double().numpy()) / 48.0
        variable, value = seen.variable[s, :n].numpy(), seen.value[s, :n].double().numpy()
        said = time_attention(w, "attend", np.linspace(0, 1, 5), time, variable, value, variables, 2)
        hidden = gru(w, "recur", said)
        for n in (0, 2):
            hidden = np.maximum(w[f"head.{n}.weight"] @ hidden + w[f"head.{n}.bias"], 0)
        expected.append(w["head.4.weight"] @ hidden + w["head.4.bias"])
    np.testing.assert_allclose(logits(model, batch), expected, atol=2e-5)


def test_scores_that_are_far_apart_leave_no_variable_without_a_mean():
    """A softmax over all measurements would have none left for the second variable."""
    from zoo.layers import by_variable

    scores = torch.tensor([[[[500.0, 499.0, -500.0, -501.0]]]])
    value = torch.tensor([[1.0, 2.0, 3.0, 5.0]])
    mean, some = by_variable(scores, torch.tensor([[0, 0, 1, 1]]), value, torch.ones(1, 4, dtype=torch.bool), 3)
    share = 1 / (1 + float(np.exp(-1)))
    assert torch.allclose(mean, torch.tensor([[[[2 - share, 5 - 2 * share, 0.0]]]]))
    assert some.tolist() == [[True, True, False]]


# STraTS


def strats(w: dict, time, variable, value) -> np.ndarray:
    """e_T of one sample."""
    if not len(time):
        return np.zeros(6)
    cve = lambda name, x: w[f"{name}.2.weight"] @ np.tanh(w[f"{name}.0.weight"][:, 0] * x + w[f"{name}.0.bias"])  # noqa: E731
    rows = np.array(
        [
            w["variable.weight"][f] + cve("value", v) + cve("time", t)
            for t, f, v in zip(time, variable, value, strict=True)
        ]
    )
    for n in range(2):
        rows = within(w, f"layers.{n}", rows, 2)
    scores = [w["weigh.2.weight"][0] @ np.tanh(w["weigh.0.weight"] @ c + w["weigh.0.bias"]) for c in rows]
    return softmax(np.array(scores)) @ rows


def demographics(w: dict, batch, sample: int) -> np.ndarray:
    """e_d of one sample."""
    hidden = np.tanh(w["demographics.0.weight"] @ batch.own_static[sample].double().numpy() + w["demographics.0.bias"])
    return w["demographics.2.weight"] @ hidden + w["demographics.2.bias"]


def triples_of(seen, sample: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = int(seen.mask[sample].sum())
    return (
        seen.time[sample, :n].double().numpy(),
        seen.variable[sample, :n].numpy(),
        seen.value[sample, :n].double().numpy(),
    )


@pytest.mark.parametrize("through_forecast", [True, False])
def test_strats_is_its_equations(data, through_forecast):
    """What it learned in forecasting is on the way to its logits, unless it is told otherwise."""
    chosen = {} if through_forecast else {"through_forecast": False}
    model, batch = made("strats", data, **chosen), some_batch(data)
    seen, w = model.view.triples(batch), weights(model)
    expected = []
    for s in range(batch.samples):
        time, variable, value = triples_of(seen, s)
        whole = np.r_[strats(w, 1 - (float(seen.end[s]) - time) / 24.0, variable, value), demographics(w, batch, s)]
        if through_forecast:
            whole = w["forecast.weight"] @ whole + w["forecast.bias"]
        expected.append(w["head.weight"] @ whole + w["head.bias"])
    np.testing.assert_allclose(logits(model, batch), expected, atol=5e-5)


def test_strats_forecasts_what_comes_after_a_moment(data):
    model, batch = made("strats", data), some_batch(data)
    seen, w = model.view.triples(batch), weights(model)
    torch.manual_seed(7)
    found = float(model.pretrain(batch).losses["forecast"].detach())
    torch.manual_seed(7)
    drawn, errors = torch.rand(batch.samples).numpy(), []
    for s in range(batch.samples):
        time, variable, value = triples_of(seen, s)
        if not len(time):
            continue
        moment = np.float32(time.min()) + drawn[s] * (np.float32(time.max()) - np.float32(time.min()))
        before = (time <= moment) & (moment - time <= 24)
        after = (time > moment) & (time - moment <= 2)
        whole = strats(w, 1 - (moment - time[before]) / 24.0, variable[before], value[before])
        whole = np.r_[whole, demographics(w, batch, s)]
        told = w["forecast.weight"] @ whole + w["forecast.bias"]
        errors += [(told[d] - value[after & (variable == d)].mean()) ** 2 for d in np.unique(variable[after])]
    assert len(errors) > 3
    assert found == pytest.approx(np.mean(errors), rel=1e-3)


# Whatever the model


@pytest.mark.parametrize("name", SMALL)
def test_history_is_read_only_where_asked_for(data, name):
    batch = next(b for b in data.batches("train", {"lab", "vital", "static"}, 1) if b.row_lengths[0] > 1)
    earlier = {c: batch[c].visit < batch.row_lengths[0] - 1 for c in batch}
    for history in (True, False):
        model = made(name, data, history=history)
        before = model(batch).logits
        for concept, places in earlier.items():
            batch[concept].value[places] += 1
        assert torch.equal(before, model(batch).logits) is not history


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 6, "heads": 4}, "dim=6 must be a multiple of heads=4"),
        ({"points": 1}, "points=1 must be at least 2"),
        ({"hours": 0.0}, "hours=0.0 must be above 0"),
        ({"max_triples": 0}, "max_triples=0 must be at least 1"),
    ],
)
def test_bad_hyperparameters_of_mtand_are_refused(data, settings, message):
    with pytest.raises(UserError, match=message):
        zoo.create_model("mtand", data, **settings)
    assert TripleView.of(data.spec("mtand")).columns > 2
