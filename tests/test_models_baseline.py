"""The baselines: what they compute, worked apart from them, and that they learn, read back, and keep patients apart."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import zoo
from zoo.data import Batch, Ragged, Spec
from zoo.data._counts import code_counts
from zoo.data._vocabulary import Vocabulary
from zoo.registry import UserError, models

ESTIMATORS = ("majority", "logistic_regression", "random_forest", "gradient_boosting")
NETWORKS = ("mlp", "rnn", "gru", "lstm", "transformer")
KINDS = ("binary", "multiclass", "multilabel", "regression")
PAIRS = [(m, k) for m in (*ESTIMATORS, *NETWORKS) for k in KINDS if k in models.entry(m).facts.kinds]
OUTPUTS = {"binary": 1, "multiclass": 3, "multilabel": 3, "regression": 1}
SIZES = {"diagnosis": 12, "drug": 8}
TASKS = {
    "binary": {"task": "readmission"},
    "multiclass": {"task": "los"},
    "multilabel": {"task": "diagnosis"},
    "regression": {"task": "los", "target": "days"},
}


# Patients made up: a list of visits, each a concept's ids by concept


def spec(kind: str) -> Spec:
    vocabularies = {c: Vocabulary("code", [f"{c}{i}" for i in range(n - 2)]) for c, n in SIZES.items()}
    return Spec(kind, tuple(f"label{i}" for i in range(OUTPUTS[kind])), vocabularies)


def ragged(visits: list[dict], concept: str) -> Ragged:
    ids = [v.get(concept, []) for v in visits]
    offsets = np.cumsum([0, *map(len, ids)])
    flat = torch.tensor([i for v in ids for i in v], dtype=torch.int64)
    return Ragged(flat, torch.from_numpy(offsets), torch.zeros(len(flat)))


def batch_of(patients: list[list[dict]], label=None, samples: list[tuple[int, int]] | None = None) -> Batch:
    """Visits start 50 hours apart, and samples, at each row's last visit unless told otherwise, 30 hours later."""
    lengths = [len(p) for p in patients]
    samples = samples or [(r, n - 1) for r, n in enumerate(lengths)]
    row, visit = (torch.tensor(x) for x in zip(*samples, strict=True))
    visits = [v for p in patients for v in p]
    return Batch(
        {c: ragged(visits, c) for c in SIZES},
        torch.from_numpy(np.cumsum([0, *lengths])),
        torch.tensor([50.0 * i for n in lengths for i in range(n)], dtype=torch.float64),
        row,
        visit,
        50.0 * visit.double() + 30,
        torch.zeros(len(samples)) if label is None else label,
        row.clone(),
    )


def patients(number: int, seed: int = 0) -> tuple[list[list[dict]], np.ndarray]:
    """Each of a class, 0 to 2, that one diagnosis shows among others that show nothing."""
    random = np.random.default_rng(seed)
    group = random.integers(0, 3, number)
    found = []
    for g in group:
        visits = random.integers(1, 5)
        noise = [{c: random.integers(5, n, 3).tolist() for c, n in SIZES.items()} for _ in range(visits)]
        found.append([{**v, "diagnosis": [*v["diagnosis"], 2 + int(g)]} for v in noise])
    return found, group


def label_of(group: np.ndarray, kind: str) -> torch.Tensor:
    label = {"binary": group == 0, "multiclass": group, "regression": (group * 2.0).astype(np.float32)}
    return torch.from_numpy(np.eye(3, dtype=bool)[group] if kind == "multilabel" else label[kind])


def easy(kind: str, number: int = 90, seed: int = 0) -> Batch:
    found, group = patients(number, seed)
    return batch_of(found, label_of(group, kind))


def make(name: str, kind: str, seed: int = 0, **settings):
    torch.manual_seed(seed)
    small = {"dim": 16} if name in NETWORKS else {"trees": 10} if name == "random_forest" else {}
    return models.get(name)(spec(kind), **{**small, **settings})


def fitted(name: str, kind: str, **settings):
    """A model that has learnt from 90 made-up patients, in batches of 45."""
    model = make(name, kind, **settings)
    if name in ESTIMATORS:
        found, group = patients(90)
        label = label_of(group, kind)
        model.fit(batch_of(found[i : i + 45], label[i : i + 45]) for i in (0, 45))
        return model.eval()
    batch = easy(kind)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(model(batch), batch).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def learnt():
    made = {}

    def get(name, kind):
        if (name, kind) not in made:
            made[name, kind] = fitted(name, kind)
        return made[name, kind]

    return get


def logits(model, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        return model(batch).logits.double().numpy()


# All of them


@pytest.mark.parametrize(("name", "kind"), [p for p in PAIRS if p[0] != "majority"])
def test_learning_beats_the_majority(name, kind, learnt):
    held_out = easy(kind, 60, seed=2)
    losses = [m.loss(m(held_out), held_out).item() for m in (learnt(name, kind), learnt("majority", kind))]
    assert losses[0] < 0.5 * losses[1]


@pytest.fixture(scope="module")
def synthetic():
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = zoo.load("synthetic", patients=60, **TASKS[kind])
        return made[kind]

    return get


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_run_on_a_task_of_each_kind(name, kind, synthetic, tmp_path):
    data = synthetic(kind)
    small = {"dim": 16} if name in NETWORKS else {}
    result = zoo.train(zoo.create_model(name, data, **small), data, out=tmp_path / "run", max_epochs=1)
    some = {n: m for n, m in result.metrics.items() if m["value"] is not None}
    assert some
    assert all(np.isfinite(m["value"]) for m in some.values())


@pytest.mark.parametrize(
    ("name", "differs"), [("majority", False), ("random_forest", True), ("gradient_boosting", True)]
)
def test_the_seed_of_a_run_is_that_of_what_is_drawn(name, differs, synthetic, tmp_path):
    data = synthetic("binary")
    scores = []
    for place, seed in enumerate((0, 0, 1)):
        run = zoo.train(name, data, seed=seed, out=tmp_path / str(place))
        model = zoo.create_model(name, data)
        model.load(run.folder / "model.skops")
        scores.append(zoo.Trainer().scores(model, data, "train"))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert differs == bool((scores[0] != scores[2]).any())


def test_trees_serve_no_multilabel_task(synthetic):
    for name in ("random_forest", "gradient_boosting"):
        with pytest.raises(UserError, match="does not serve multilabel"):
            zoo.create_model(name, synthetic("multilabel"))


# Counts and the models on them


def counted_by_hand(found: list[list[dict]]) -> np.ndarray:
    counts = np.zeros((len(found), sum(SIZES.values())), np.float32)
    for row, patient in enumerate(found):
        for visit in patient:
            for concept, shift in (("diagnosis", 0), ("drug", SIZES["diagnosis"])):
                for code in visit[concept]:
                    counts[row, shift + code] += 1
    return counts


def test_counts_are_those_of_the_visits_that_a_sample_sees():
    found, _ = patients(9, seed=3)
    np.testing.assert_array_equal(code_counts(batch_of(found), spec("binary")).toarray(), counted_by_hand(found))
    samples = [(r, v) for r, p in enumerate(found) for v in reversed(range(len(p)))]
    seen = counted_by_hand([found[r][: v + 1] for r, v in samples])
    np.testing.assert_array_equal(code_counts(batch_of(found, samples=samples), spec("binary")).toarray(), seen)


@pytest.mark.parametrize("kind", KINDS)
def test_majority_is_the_training_frequency(kind, learnt):
    _, group = patients(90)
    wanted = {
        "binary": np.mean(group == 0),
        "multiclass": [np.mean(group == g) for g in range(3)],
        "multilabel": [np.mean(group == g) for g in range(3)],
        "regression": np.mean(group * 2.0),
    }
    model = learnt("majority", kind)
    found = model.predict(model(easy(kind, 4, seed=1))).numpy()
    np.testing.assert_allclose(found, np.broadcast_to(wanted[kind], found.shape), rtol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_logistic_regression_is_scikit_learns_on_shares_of_the_largest_count(kind, learnt):
    from sklearn.linear_model import LogisticRegression

    counts = [counted_by_hand(patients(n, seed)[0]) for n, seed in ((90, 0), (40, 4))]
    largest = np.maximum(counts[0].max(axis=0), 1)
    assert len(np.unique(largest)) > 1
    inputs = [np.log1p(c) / np.log1p(largest) for c in counts]
    label = label_of(patients(90)[1], kind).numpy()
    model, batch = learnt("logistic_regression", kind), easy(kind, 40, seed=4)
    parts = label.T if kind == "multilabel" else [label]
    wanted = [LogisticRegression(max_iter=1000).fit(inputs[0], y).predict_proba(inputs[1]) for y in parts]
    wanted = wanted[0] if kind == "multiclass" else np.stack([p[:, 1] for p in wanted], axis=1)
    found = model.predict(model(batch)).numpy().reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_random_forest_is_scikit_learns(kind, learnt):
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    inputs = [counted_by_hand(patients(n, seed)[0]) for n, seed in ((90, 0), (40, 4))]
    label = label_of(patients(90)[1], kind).numpy()
    model, batch = learnt("random_forest", kind), easy(kind, 40, seed=4)
    if kind == "regression":
        wanted = RandomForestRegressor(10, max_features=1 / 3, random_state=0).fit(inputs[0], label).predict(inputs[1])
    else:
        wanted = RandomForestClassifier(10, random_state=0).fit(inputs[0], label).predict_proba(inputs[1])
        wanted = wanted[:, 1] if kind == "binary" else wanted
    assert len(np.unique(wanted)) > 5
    np.testing.assert_allclose(model.predict(model(batch)).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_gradient_boosting_is_lightgbms(kind, learnt):
    import lightgbm

    inputs = [counted_by_hand(patients(n, seed)[0]) for n, seed in ((90, 0), (40, 4))]
    label = label_of(patients(90)[1], kind).numpy()
    wanted = lightgbm.train(
        {
            "objective": kind,
            "min_data_in_leaf": 90 // 20,
            "feature_fraction": 0.8,
            "seed": 0,
            "verbosity": -1,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            **({"num_class": 3} if kind == "multiclass" else {}),
        },
        lightgbm.Dataset(inputs[0], label.astype(float)),
        100,
    ).predict(inputs[1], raw_score=True)
    found = logits(learnt("gradient_boosting", kind), easy(kind, 40, seed=4))
    np.testing.assert_allclose(found, wanted.reshape(40, -1), atol=1e-9)


def several_samples(number: int, seed: int, each: int = 4) -> tuple[list[list[dict]], np.ndarray]:
    """Histories with as many ids as patients, and labels of noise: ``each`` samples a patient, alike but for a code."""
    random = np.random.default_rng(seed)
    found, noise = [], np.repeat(random.exponential(4.0, number), each).astype(np.float32)
    for _ in range(number):
        own = {c: random.integers(2, n, 6).tolist() for c, n in SIZES.items()}
        found += [[{**own, "drug": [*own["drug"], 2 + k]}] for k in range(each)]
    return found, noise


def squared_error_in_noise(settings: dict, seed: int) -> tuple[float, float]:
    """Of a ridge regression and of the mean, on patients who were not there when they were fitted."""
    (found, label), (others, wanted) = several_samples(24, seed), several_samples(60, seed + 100)
    model = make("logistic_regression", "regression", **settings)
    subject = torch.arange(24).repeat_interleave(4)
    model.fit([replace(batch_of(found, torch.from_numpy(label)), subject=subject)])
    values = logits(model, batch_of(others))[:, 0]
    return np.square(values - wanted).mean(), np.square(label.mean() - wanted).mean()


def test_ridge_finds_no_more_in_noise_than_the_mean():
    chosen, weak = (np.array([squared_error_in_noise(s, seed) for seed in range(8)]) for s in ({}, {"c": 10.0}))
    assert chosen[:, 0].sum() < 1.02 * chosen[:, 1].sum()
    assert weak[:, 0].sum() > 2 * weak[:, 1].sum(), "noise that a weak penalty does not follow shows nothing"


def test_ridge_learns_what_is_there_with_the_penalty_it_chooses(learnt):
    batch = easy("regression", 40, seed=4)
    found = logits(learnt("logistic_regression", "regression"), batch)[:, 0]
    assert np.abs(found - batch.label.numpy()).mean() < 0.5  # of labels 0, 2 and 4


def test_ridge_of_a_single_patient_is_its_mean():
    model = make("logistic_regression", "regression")
    batch = batch_of([[{"diagnosis": [2]}], [{"diagnosis": [3]}]], torch.tensor([1.0, 3.0]))
    model.fit([replace(batch, subject=torch.zeros(2, dtype=torch.int64))])
    np.testing.assert_allclose(logits(model, batch), 2.0, atol=1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_classes_that_training_does_not_have(name, kind):
    found, group = patients(60)
    for kept in ([1], [0, 2]):
        rows = np.flatnonzero(np.isin(group, kept))
        model = make(name, kind)
        model.fit([batch_of([found[r] for r in rows], label_of(group[rows], kind))])
        batch = easy(kind, 20, seed=4)
        probability = model.predict(model(batch)).numpy()
        assert np.isfinite(probability).all()
        if kind == "multiclass":
            assert set(probability.argmax(1)) <= set(kept)
        elif kept == [1]:
            assert (probability < 1e-4).all()


@pytest.mark.parametrize("name", ["random_forest", "gradient_boosting"])
def test_threads_do_not_change_what_is_fitted(name):
    batch = easy("binary", 20, seed=4)
    one, two = (fitted(name, "binary", threads=n) for n in (1, 2))
    np.testing.assert_array_equal(logits(one, batch), logits(two, batch))


@pytest.mark.parametrize("name", ["random_forest", "gradient_boosting"])
def test_a_damaged_tree_leads_nowhere(name, learnt, tmp_path):
    learnt(name, "binary").save(tmp_path / "model.skops")
    model = make(name, "binary")
    model.load(tmp_path / "model.skops")
    model.fitted["feature"][:] = 10**8
    with pytest.raises(IndexError):
        model(easy("binary", 3))


def test_heavy_libraries_load_when_used():
    code = "import sys; from zoo.models.classical import gradient_boosting, random_forest, logistic_regression; "
    code += "print(sorted({'lightgbm', 'sklearn', 'skops', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The networks in NumPy


def weights(module) -> dict[str, np.ndarray]:
    return {n: w.detach().double().numpy() for n, w in module.state_dict().items()}


def visit_vectors(w: dict[str, np.ndarray], patient: list[dict]) -> np.ndarray:
    """(visits, dim): the sum over concepts of the mean embedding of a visit's codes."""
    return np.array([sum(w[f"visits.bags.{c}.weight"][v[c]].mean(0) for c in SIZES) for v in patient])


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def patient():
    return next(p for p in patients(20, seed=6)[0] if len(p) == 4)


def test_mlp_by_its_equations(patient):
    model = make("mlp", "multiclass", seed=1).eval()
    w = weights(model)
    hidden = visit_vectors(w, patient).mean(0)
    for layer in ("head.0", "head.3"):
        hidden = np.maximum(w[f"{layer}.weight"] @ hidden + w[f"{layer}.bias"], 0)
    wanted = w["head.6.weight"] @ hidden + w["head.6.bias"]
    np.testing.assert_allclose(logits(model, batch_of([patient]))[0], wanted, atol=1e-5)


def gates(w: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(gates, dim) what the input adds and what the state adds, with their biases."""
    inputs = w["recur.weight_ih_l0"] @ x + w["recur.bias_ih_l0"]
    states = w["recur.weight_hh_l0"] @ h + w["recur.bias_hh_l0"]
    return inputs.reshape(number, -1), states.reshape(number, -1)


def rnn_step(w, x, h, c):
    (inputs,), (states,) = gates(w, x, h, 1)
    return np.tanh(inputs + states), c


def gru_step(w, x, h, c):
    inputs, states = gates(w, x, h, 3)
    r, z = logistic(inputs[:2] + states[:2])
    return z * h + (1 - z) * np.tanh(inputs[2] + r * states[2]), c


def lstm_step(w, x, h, c):
    i, f, g, o = np.add(*gates(w, x, h, 4))
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(c), c


@pytest.mark.parametrize(("name", "step"), [("rnn", rnn_step), ("gru", gru_step), ("lstm", lstm_step)])
def test_recurrent_networks_by_their_equations(name, step, patient):
    model = make(name, "multiclass", seed=1).eval()
    w = weights(model)
    h = c = np.zeros(16)
    for place, vector in enumerate(visit_vectors(w, patient)):
        h, c = step(w, np.append(vector, np.log1p(50 / 24) if place else 0), h, c)
    wanted = w["head.weight"] @ np.append(h, np.log1p(30 / 24)) + w["head.bias"]
    longer = [patient, patient + patient]  # the first is padded
    np.testing.assert_allclose(logits(model, batch_of(longer))[0], wanted, atol=1e-5)


def test_attention_is_over_visits_up_to_ones_own():
    from zoo.layers import SelfAttention

    torch.manual_seed(0)
    attend = SelfAttention(8, 2).eval()
    rows = torch.randn(1, 3, 8)
    w, x = weights(attend), rows[0].double().numpy()
    wide = x @ w["query_key_value.weight"].T + w["query_key_value.bias"]
    heads = []
    for head in range(2):
        query, key, value = (wide[:, part * 8 + head * 4 : part * 8 + head * 4 + 4] for part in range(3))
        found = []
        for visit in range(3):
            score = np.exp([query[visit] @ key[other] / np.sqrt(4) for other in range(visit + 1)])
            found.append(sum(s * value[other] for other, s in enumerate(score / score.sum())))
        heads.append(np.array(found))
    wanted = np.concatenate(heads, axis=1) @ w["combine.weight"].T + w["combine.bias"]
    np.testing.assert_allclose(attend(rows)[0].detach().numpy(), wanted, atol=1e-5)


def encoding(place: float, dim: int) -> np.ndarray:
    found = np.zeros(dim)
    for i in range(dim // 2):
        found[2 * i] = np.sin(place / 10_000 ** (2 * i / dim))
        found[2 * i + 1] = np.cos(place / 10_000 ** (2 * i / dim))
    return found


def normed(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    away = x - x.mean(1, keepdims=True)
    return away / np.sqrt((away**2).mean(1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def test_transformer_by_its_equations(patient):
    model = make("transformer", "multiclass", seed=1, layers=1, heads=4).eval()
    w = weights(model)
    x = visit_vectors(w, patient) + [encoding(i, 16) + encoding(i * 50 / 24, 16) for i in range(len(patient))]
    attended = model.encode.layers[0].attend(torch.tensor(x[None], dtype=torch.float32))[0].detach().double().numpy()
    x = normed(x + attended, w, "encode.layers.0.norms.0")
    first, second = (
        (w[f"encode.layers.0.feed_forward.{i}.weight"], w[f"encode.layers.0.feed_forward.{i}.bias"]) for i in (0, 2)
    )
    x = normed(x + np.maximum(x @ first[0].T + first[1], 0) @ second[0].T + second[1], w, "encode.layers.0.norms.1")
    wanted = w["head.weight"] @ np.append(x[-1], np.log1p(30 / 24)) + w["head.bias"]
    longer = [patient, patient + patient]  # the first is padded
    np.testing.assert_allclose(logits(model, batch_of(longer))[0], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "transformer"])
def test_order_and_time_count(name, learnt, patient):
    model, batch = learnt(name, "binary"), batch_of([patient])
    assert np.abs(logits(model, batch) - logits(model, batch_of([[patient[i] for i in (1, 0, 2, 3)]]))).max() > 1e-5
    slower = replace(batch, visit_start=batch.visit_start * 9, sample_time=batch.sample_time + 8 * 150)
    assert np.abs(logits(model, batch) - logits(model, slower)).max() > 1e-5


# Labs on a grid


LABS = Vocabulary(
    "code", ["LAB//a", "LAB//b"], np.zeros((2, 9), np.float32), np.zeros(2, np.float32), np.ones(2, np.float32)
)


def with_labs(patients: list[list[dict]]) -> Batch:
    """Of each patient's last visit, the ``labs``: (variable, hour, value)."""
    labs = [lab for p in patients for lab in p[-1]["labs"]]
    counts = [len(v.get("labs", [])) for p in patients for v in p]
    variable, time, value = (torch.tensor(x) for x in zip(*labs, strict=True))
    offsets = torch.tensor(np.cumsum([0, *counts]))
    ids = 2 + 11 * variable
    return replace(
        batch := batch_of(patients),
        concepts={**batch.concepts, "lab": Ragged(ids, offsets, time, variable + 2, value)},
        sample_time=batch.visit_start[batch.row_offsets[1:] - 1] + 3,
    )


def grid_spec(*concepts: str) -> Spec:
    whole = spec("binary")
    return replace(whole, vocabularies={**{c: whole.vocabularies[c] for c in concepts}, "lab": LABS})


def test_recurrence_over_a_grid_by_hand():
    batch = with_labs([[{"labs": [(0, 0.5, 1.5), (1, 2.5, -1.0)]}]])
    torch.manual_seed(0)
    model = models.get("gru")(grid_spec(), dim=8, grid=True).eval()
    w = {n.replace("recur_grid", "recur"): v for n, v in weights(model).items()}
    steps = [  # each variable's value, whether observed, and hours since, at the ends of three steps of an hour
        [1.5, 1, np.log1p(0.5), 0, 0, np.log1p(1)],
        [1.5, 0, np.log1p(1.5), 0, 0, np.log1p(2)],
        [1.5, 0, np.log1p(2.5), -1, 1, np.log1p(0.5)],
    ]
    h = c = np.zeros(8)
    for step in steps:
        h, c = gru_step(w, np.array(step), h, c)
    wanted = w["head.weight"] @ np.append(h, np.log1p(3 / 24)) + w["head.bias"]
    np.testing.assert_allclose(logits(model, batch)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "transformer"])
def test_a_grid_stands_beside_visits(name):
    first = [{"diagnosis": [3]}, {"diagnosis": [4], "labs": [(0, 0.5, 1.5), (1, 2.5, -1.0)]}]
    other_code = [{"diagnosis": [5]}, first[1]]
    other_value = [first[0], {"diagnosis": [4], "labs": [(0, 0.5, 1.5), (1, 2.5, 1.0)]}]
    too_late = [first[0], {"diagnosis": [4], "labs": [*first[1]["labs"], (0, 3.5, 9.0)]}]
    torch.manual_seed(0)
    model = models.get(name)(grid_spec("diagnosis"), dim=16, grid=True).eval()
    together = logits(model, with_labs([first, other_code, other_value, too_late, [*first[:1] * 5, first[1]]]))
    np.testing.assert_allclose(together[0], logits(model, with_labs([first]))[0], atol=1e-5)
    np.testing.assert_allclose(together[0], together[3], atol=1e-5)
    assert np.abs(together[[1, 2]] - together[0]).min() > 1e-4


# Wrong use


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("transformer", {"dim": 24}, r"multiple of 2 \* heads=16"),
        ("transformer", {"dim": 0}, "dim=0 must be"),
        ("random_forest", {"trees": 0}, "trees=0 must be at least 1"),
        ("random_forest", {"max_features": 0.0}, r"max_features=0\.0 must be above 0"),
        ("gradient_boosting", {"leaves": 1}, "leaves=1 must be at least 2"),
        ("gradient_boosting", {"feature_share": 1.5}, r"feature_share=1\.5 must be above 0 and at most 1"),
    ],
)
def test_settings_that_make_no_model(name, wrong, said, synthetic):
    with pytest.raises(UserError, match=f"^model {name!r}: .*{said}"):
        zoo.create_model(name, synthetic("binary"), **wrong)
