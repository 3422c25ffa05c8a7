"""Models of labs and vitals: their equations in NumPy, one sample and one step at a time, and what they promise."""

import numpy as np
import pytest
import torch
from worked import sigmoid, softmax, weights

import zoo
from zoo.registry import UserError, models

SMALL = {
    "tlstm": {"dim": 6},
    "stagenet": {"dim": 6, "window": 4},
    "adacare": {"dim": 6, "channels": 4},
    "concare": {"dim": 8, "heads": 2, "attention": 3, "feedforward": 5},
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
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return model


def series(model, batch) -> list[tuple[np.ndarray, ...]]:
    """For each sample: features (steps, variables, 3), hours since the step before, and hours until the prediction.

    The last ones are the static facts of its own visit.
    """
    grid = model.view.grid(batch)
    assert batch.own_static.any(dim=0).sum() > 3
    found = []
    for sample, length in enumerate(grid.lengths.tolist()):
        parts = (grid.features()[sample], grid.interval[sample], grid.until[sample])
        found.append((*(p[:length].double().numpy() for p in parts), batch.own_static[sample].double().numpy()))
    return found


def tlstm(w: dict, features: np.ndarray, interval: np.ndarray, _, facts: np.ndarray) -> np.ndarray:
    dim = w["decompose.bias"].size
    memory, state = np.zeros(dim), np.zeros(dim)
    for x, hours in zip(features.reshape(len(features), -1), interval, strict=True):
        short = np.tanh(w["decompose.weight"] @ memory + w["decompose.bias"])
        long = memory - short
        adjusted = long + short / np.log(np.e + hours)
        part, x = [slice(g * dim, (g + 1) * dim) for g in range(4)], np.r_[x, facts]
        pre = [w["input.weight"][p] @ x + w["input.bias"][p] + w["recurrent.weight"][p] @ state for p in part]
        forget, add, out, candidate = sigmoid(pre[0]), sigmoid(pre[1]), sigmoid(pre[2]), np.tanh(pre[3])
        memory = forget * adjusted + add * candidate
        state = out * np.tanh(memory)
    return state


def stagenet(
    w: dict, features: np.ndarray, interval: np.ndarray, facts: np.ndarray, window: int, levels: int
) -> np.ndarray:
    """The representation that the last layer reads."""
    dim = w["rescale.bias"].size
    chunk = dim // levels
    memory, state, states, changes = np.zeros(dim), np.zeros(dim), [], []
    for x, hours in zip(features.reshape(len(features), -1), interval, strict=True):
        time = np.log1p(hours)
        z = w["cell.input.weight"] @ np.r_[x, time] + w["cell.input.bias"]
        z += w["cell.recurrent.weight"] @ np.r_[state, time]
        master_forget = np.cumsum(softmax(z[:levels]))
        master_input = np.cumsum(softmax(z[levels : 2 * levels])[::-1])[::-1]
        gates = z[2 * levels :].reshape(4, dim)
        forget, add, out, candidate = sigmoid(gates[0]), sigmoid(gates[1]), sigmoid(gates[2]), np.tanh(gates[3])
        new = np.zeros(dim)
        for place in range(dim):
            keep, take = master_forget[place // chunk], master_input[place // chunk]
            both = keep * take
            new[place] = both * (forget[place] * memory[place] + add[place] * candidate[place])
            new[place] += (keep - both) * memory[place] + (take - both) * candidate[place]
        memory, state = new, out * np.tanh(new)
        states.append(state)
        changes.append(1 - master_forget.mean())
    seen = min(window, len(states))
    weight = softmax(np.cumsum(changes[-seen:]))
    weighted = np.zeros((window, dim))
    weighted[window - seen :] = weight[:, None] * np.array(states[-seen:])
    theme = np.maximum(w["squeeze.weight"] @ weighted.mean(0) + w["squeeze.bias"], 0)
    theme = sigmoid(w["rescale.weight"] @ theme + w["rescale.bias"])
    kernel = w["convolve.weight"].reshape(dim, window, dim)
    pattern = np.einsum("okd,kd->o", kernel, weighted) + w["convolve.bias"]
    return np.r_[theme * pattern + state, facts]


def adacare(w: dict, features: np.ndarray, *others, weigh) -> np.ndarray:
    x = features.reshape(len(features), -1)
    patterns = []
    for place, dilation in enumerate((1, 3, 5)):
        kernel, bias = w[f"convolve.{place}.weight"], w[f"convolve.{place}.bias"]
        before = np.vstack([np.zeros((dilation, x.shape[1])), x])  # the step that is ``dilation`` steps earlier
        patterns.append(x @ kernel[:, :, 1].T + before[: len(x)] @ kernel[:, :, 0].T + bias)
    patterns = np.maximum(np.hstack(patterns), 0)
    dim = w["recur.weight_hh_l0"].shape[1]
    state = np.zeros(dim)
    for step in range(len(x)):
        parts = []
        for part, name, act in ((x[step], "inputs", weigh), (patterns[step], "patterns", sigmoid)):
            squeezed = np.maximum(w[f"weigh_{name}.squeeze.weight"] @ part + w[f"weigh_{name}.squeeze.bias"], 0)
            parts.append(part * act(w[f"weigh_{name}.excite.weight"] @ squeezed + w[f"weigh_{name}.excite.bias"]))
        given = w["recur.weight_ih_l0"] @ np.concatenate(parts) + w["recur.bias_ih_l0"]
        kept = w["recur.weight_hh_l0"] @ state + w["recur.bias_hh_l0"]
        state = gru_step(given.reshape(3, dim), kept.reshape(3, dim), state)
    return np.r_[state, others[-1]]


def gru_step(given: np.ndarray, kept: np.ndarray, state: np.ndarray) -> np.ndarray:
    reset, update = sigmoid(given[0] + kept[0]), sigmoid(given[1] + kept[1])
    return update * state + (1 - update) * np.tanh(given[2] + reset * kept[2])


def nearest_on_the_simplex(scores: np.ndarray) -> np.ndarray:
    """By bisection on the threshold."""
    low, high = scores.min() - 1, scores.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(scores - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(scores - low, 0)


def concare(w: dict, features: np.ndarray, _, until: np.ndarray, facts: np.ndarray) -> np.ndarray:
    vectors = [concare_variable(w, features[:, v], until, v) for v in range(features.shape[1])]
    vectors = np.array([*vectors, concare_patient(w, facts)])
    vectors = vectors + concare_contexts(w, vectors) @ w["mix.weight"].T + w["mix.bias"]
    hidden = np.maximum(layer_norm(w, 1, vectors) @ w["forward_layers.0.weight"].T + w["forward_layers.0.bias"], 0)
    vectors = vectors + hidden @ w["forward_layers.3.weight"].T + w["forward_layers.3.bias"]
    query = w["last_query.weight"] @ vectors[-1] + w["last_query.bias"]
    weight = softmax(np.array([(w["last_key.weight"] @ v) @ query for v in vectors]))
    return weight @ (vectors @ w["last_value.weight"].T + w["last_value.bias"])


def concare_patient(w: dict, facts: np.ndarray) -> np.ndarray:
    return np.tanh(w["demographics.weight"] @ facts + w["demographics.bias"])


def concare_variable(w: dict, x: np.ndarray, until: np.ndarray, variable: int) -> np.ndarray:
    dim = w["last_query.bias"].size
    state, states = np.zeros(dim), []
    for step in x:
        given = step @ w["recur.input"][variable] + w["recur.input_bias"][variable, 0]
        kept = state @ w["recur.recurrent"][variable] + w["recur.recurrent_bias"][variable, 0]
        state = gru_step(given.reshape(3, dim), kept.reshape(3, dim), state)
        states.append(state)
    query = state @ w["over_time.query"][variable]
    scores = []
    for earlier, hours in zip(states, until, strict=True):
        score = query @ (earlier @ w["over_time.key"][variable])
        rate = np.exp(w["over_time.log_rate"][variable, 0, 0])
        scores.append(np.tanh(score / (rate * np.log(np.e + (1 - sigmoid(score)) * hours))))
    return softmax(np.array(scores)) @ np.array(states)


def concare_contexts(w: dict, vectors: np.ndarray, heads: int = 2) -> np.ndarray:
    """(vectors, dim): all heads side by side."""
    normal = layer_norm(w, 0, vectors)
    query = normal @ w["query.weight"].T + w["query.bias"]
    key = normal @ w["key.weight"].T
    value = normal @ w["value.weight"].T + w["value.bias"]
    size = query.shape[1] // heads
    found = np.zeros_like(query)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for row in range(len(query)):
            weight = softmax(key[:, part] @ query[row, part] / np.sqrt(size))
            found[row, part] = weight @ value[:, part]
    return found


def layer_norm(w: dict, place: int, vectors: np.ndarray) -> np.ndarray:
    mean, variance = vectors.mean(1, keepdims=True), vectors.var(1, keepdims=True)
    return (vectors - mean) / np.sqrt(variance + 1e-5) * w[f"norms.{place}.weight"] + w[f"norms.{place}.bias"]


def check_equations(model, batch, representation) -> None:
    """Compare logits with the last layer on a representation that is worked out for each sample by itself."""
    w = weights(model)
    cell = {n.removeprefix("cell."): v for n, v in w.items()} | w
    expected = [w["head.weight"] @ representation(cell, *s) + w["head.bias"] for s in series(model, batch)]
    with torch.no_grad():
        found = model(batch).logits
    np.testing.assert_allclose(found.numpy(), np.array(expected), atol=2e-5)


def test_tlstm_equations(data):
    model = made("tlstm", data)
    batch = next(data.batches("train", model, 6))
    assert len(set(model.view.grid(batch).lengths.tolist())) > 1
    check_equations(model, batch, tlstm)


def test_stagenet_equations(data):
    for window in (4, 60):  # longer than some samples have steps
        model = made("stagenet", data, window=window)
        batch = next(data.batches("train", model, 6))
        check_equations(model, batch, lambda w, x, hours, _, facts, k=window: stagenet(w, x, hours, facts, k, 3))


@pytest.mark.parametrize(("activation", "weigh"), [("sigmoid", sigmoid), ("sparsemax", nearest_on_the_simplex)])
def test_adacare_equations(data, activation, weigh):
    model = made("adacare", data, activation=activation)
    batch = next(data.batches("train", model, 4))
    check_equations(model, batch, lambda *s: adacare(*s, weigh=weigh))


def test_concare_equations(data):
    model = made("concare", data, max_steps=9)
    batch = next(data.batches("train", model, 4))
    check_equations(model, batch, concare)


def test_concare_has_one_patient_for_all_where_nothing_is_known_of_them(own_cache):
    data = zoo.load("synthetic", task="mortality", patients=100, concepts={"lab", "vital"}, hours=24, static=[])
    model = made("concare", data, max_steps=9)
    batch = next(data.batches("train", model, 4))
    before = model(batch).logits
    with torch.no_grad():
        model.patient += 1
    assert not len(model.spec.static)
    assert ((model(batch).logits - before).abs() > 1e-6).all()


def test_concare_decorrelation_covers_every_vector(data):
    model = made("concare", data, max_steps=5, decorrelation=3.0)
    batch = next(data.batches("train", model, 6))
    w = weights(model)
    contexts = []
    for features, _, until, facts in series(model, batch):
        vectors = [concare_variable(w, features[:, v], until, v) for v in range(features.shape[1])]
        contexts.append(concare_contexts(w, np.array([*vectors, concare_patient(w, facts)])))
    expected = 0.0
    for vector in np.array(contexts).transpose(1, 2, 0):  # (dim, samples)
        covariance = np.cov(vector)
        expected += 0.5 * (np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2))
    found = model(batch).losses["decorrelation"].item()
    assert found == pytest.approx(3 * expected, rel=1e-4)
    assert model(next(data.batches("train", model, 1))).losses["decorrelation"] == 0


def test_concare_attention_weighs_real_steps_only(data):
    model = made("concare", data, history=False, step_hours=0.5)
    batch = next(data.batches("train", model, 6))
    batch.sample_time[::2] -= 12  # samples of different length
    grid = model.view.grid(batch)
    attention = model(batch).attention["steps"]
    assert grid.lengths.unique().tolist() == [24, 48]
    assert (attention * ~grid.mask[:, None]).abs().max() == 0
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]))


@pytest.mark.parametrize(("name", "message"), [("concare", "multiple of heads=4"), ("adacare", "sparsemax")])
def test_bad_hyperparameters_are_refused(data, name, message):
    with pytest.raises(UserError, match=message):
        zoo.create_model(name, data, **({"dim": 6} if name == "concare" else {"activation": "softmax"}))


@pytest.mark.parametrize("name", ["tlstm", "stagenet"])
def test_real_intervals_reach_the_logits(data, name):
    """The same values, further apart."""
    model = made(name, data)
    batch = next(data.batches("test", model, 4))
    grid = model.view.grid(batch)
    assert len(grid.interval[grid.interval > 0].unique()) > 1
    features = grid.features().flatten(2)
    if name == "tlstm":
        facts = batch.own_static[:, None].expand(-1, features.shape[1], -1)
        features = torch.cat([features, facts], dim=-1)
    with torch.no_grad():
        near, far = (model.cell(features, grid.interval * scale) for scale in (1.0, 5.0))
    near, far = (c[0] if name == "stagenet" else c for c in (near, far))
    assert (grid.at_last(near) - grid.at_last(far)).abs().min(dim=1).values.max() > 1e-6


def test_stagenet_refuses_chunks_that_do_not_fit(data):
    with pytest.raises(UserError, match="multiple of levels=3"):
        zoo.create_model("stagenet", data, dim=8)


@pytest.mark.parametrize("name", SMALL)
def test_padding_does_not_reach_the_logits(data, name):
    model = made(name, data)
    together = model(next(data.batches("train", model, 16))).logits
    alone = torch.cat([model(b).logits for b, _ in zip(data.batches("train", model, 1), range(16), strict=False)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


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


@pytest.mark.parametrize("name", SMALL)
def test_needs_labs_or_vitals(own_cache, name):
    data = zoo.load("synthetic", task="mortality", patients=100, concepts={"diagnosis"})
    with pytest.raises(UserError, match="uses lab, vital"):
        zoo.create_model(name, data)
    assert models.entry(name).facts.kinds == {"binary", "multiclass", "multilabel", "regression"}
