"""RETAIN, Dipole and HiTANet: their equations worked apart in NumPy, and what a sample must not depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from zoo.data import Batch, Spec
from zoo.data._vocabulary import Vocabulary
from zoo.data.batch import Ragged
from zoo.registry import UserError, models
from zoo.testing import check_model

KINDS = ("binary", "multiclass", "multilabel", "regression")
CODES = {"diagnosis": 7, "drug": 4}
PATIENT = [
    {"diagnosis": [2, 4], "drug": [3]},
    {"diagnosis": [], "drug": [2, 5, 5]},
    {"diagnosis": [8, 3, 8], "drug": []},
    {"diagnosis": [2], "drug": [2]},
]
"""The ids of each visit, oldest first; some come twice in a visit."""
START = [0.0, 700.0, 2900.0, 9000.0]
UNTIL = 60.0
"""Hours from the start of the newest visit to the prediction."""
EMPTY = {"diagnosis": [], "drug": []}
VARIANTS = [
    ("retain", {}),
    ("retain", {"use_time": False}),
    ("dipole", {"attention": "location"}),
    ("dipole", {"attention": "general"}),
    ("dipole", {"attention": "concatenation"}),
    ("hitanet", {"heads": 2}),
]
ATTENTION = {"retain": {"alpha", "beta"}, "dipole": {"alpha"}, "hitanet": {"alpha", "beta", "gamma"}}


def spec(kind: str = "multilabel", outputs: int = 3) -> Spec:
    names = tuple(f"label{n}" for n in range(1 if kind in ("binary", "regression") else outputs))
    return Spec(kind, names, {c: Vocabulary("code", [f"{c}{i}" for i in range(n)]) for c, n in CODES.items()})


def made(name: str, kind: str = "multilabel", **hyperparameters) -> torch.nn.Module:
    torch.manual_seed(3)
    return models.get(name)(spec(kind), **{"dim": 8, **hyperparameters}).eval()


def batch(*patients: list[dict], own: list[int] | None = None, start: list[list[float]] | None = None) -> Batch:
    """One row a patient; a sample's own visit is its row's last unless told otherwise."""
    visits = [v for p in patients for v in p]
    start = [START[: len(p)] for p in patients] if start is None else start
    own = [len(p) - 1 for p in patients] if own is None else own
    concepts = {}
    for c in CODES:
        ids = torch.tensor([i for v in visits for i in v[c]], dtype=torch.int64)
        offsets = torch.tensor(np.cumsum([0] + [len(v[c]) for v in visits]))
        concepts[c] = Ragged(ids, offsets, torch.zeros(len(ids)))
    return Batch(
        concepts,
        torch.tensor(np.cumsum([0] + [len(p) for p in patients])),
        torch.tensor([hours for s in start for hours in s], dtype=torch.float64),
        torch.arange(len(patients)),
        torch.tensor(own),
        torch.tensor([s[o] + UNTIL for s, o in zip(start, own, strict=True)], dtype=torch.float64),
        torch.zeros(len(patients), 3, dtype=torch.bool),
        torch.arange(len(patients)),
    )


@torch.no_grad()
def logits(model: torch.nn.Module, of: Batch) -> np.ndarray:
    return model(of).logits.numpy()


def weights(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {n: w.detach().double().numpy() for n, w in model.state_dict().items()}


# The equations, in NumPy


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def multi_hot_sum(w: dict[str, np.ndarray], visit: dict) -> np.ndarray:
    """W x, with x made in full."""
    total = 0
    for concept in CODES:
        table = w[f"visits.bags.{concept}.weight"]
        x = np.zeros(len(table))
        x[visit[concept]] = 1
        total = total + x @ table
    return total


def gru(w: dict[str, np.ndarray], name: str, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Cho et al.'s unit as torch has it: the reset gate acts on the state after its matrix."""
    wi, wh, bi, bh = (w[f"{name}.{part}_l0"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    state, states = np.zeros(wh.shape[1]), []
    for x in inputs:
        (ir, iz, inew), (hr, hz, hnew) = np.split(wi @ x + bi, 3), np.split(wh @ state + bh, 3)
        z = sigmoid(iz + hz)
        state = (1 - z) * np.tanh(inew + sigmoid(ir + hr) * hnew) + z * state
        states.append(state)
    return states


def retain_by_hand(w: dict[str, np.ndarray], visits: list[dict], start: list[float] | None = None):
    """Logits, alpha and beta of a sample that sees these visits; ``start`` where the recurrences get the time."""
    v = [multi_hot_sum(w, visit) for visit in visits]
    inputs = v
    if start is not None:
        days = np.diff(start, prepend=start[0]) / 24
        inputs = [np.r_[x, np.log(1 + d)] for x, d in zip(v, days, strict=True)]
    g = gru(w, "recur_alpha", inputs[::-1])[::-1]
    h = gru(w, "recur_beta", inputs[::-1])[::-1]
    alpha = softmax(np.array([w["alpha.weight"][0] @ x for x in g]))
    beta = [np.tanh(w["beta.weight"] @ x + w["beta.bias"]) for x in h]
    context = sum(a * b * x for a, b, x in zip(alpha, beta, v, strict=True))
    return w["head.weight"] @ context + w["head.bias"], alpha, np.array(beta)


@pytest.mark.parametrize("use_time", [False, True])
@pytest.mark.parametrize("seen", [1, 2, 3, 4])
def test_retain_is_its_equations(seen, use_time):
    model = made("retain", use_time=use_time)
    start = START[:seen] if use_time else None
    expected, alpha, beta = retain_by_hand(weights(model), PATIENT[:seen], start)
    with torch.no_grad():
        output = model(batch(PATIENT[:seen], PATIENT))
    np.testing.assert_allclose(output.logits[0], expected, atol=1e-6)
    np.testing.assert_allclose(output.attention["alpha"][0, :seen], alpha, atol=1e-6)
    np.testing.assert_allclose(output.attention["beta"][0, :seen], beta, atol=1e-6)
    assert not output.attention["alpha"][0, seen:].any()


def test_retain_does_not_halve_states_nor_mismatch_the_order_of_time():
    """The defects of the authors' and of PyHealth's code, made on purpose, give other logits than the model."""
    model = made("retain", use_time=False)
    w = weights(model)
    visits = [multi_hot_sum(w, v) for v in PATIENT]
    g, h = (gru(w, name, visits[::-1]) for name in ("recur_alpha", "recur_beta"))

    def of(g, h):
        alpha = softmax(np.array([w["alpha.weight"][0] @ x for x in g]))
        beta = [np.tanh(w["beta.weight"] @ x + w["beta.bias"]) for x in h]
        context = sum(a * b * v for a, b, v in zip(alpha, beta, visits, strict=True))
        return w["head.weight"] @ context + w["head.bias"]

    found = logits(model, batch(PATIENT))[0]
    np.testing.assert_allclose(found, of(g[::-1], h[::-1]), atol=1e-6)
    halved = of([x / 2 for x in g[::-1]], [x / 2 for x in h[::-1]])
    for defect in (halved, of(g, h)):
        assert np.abs(found - defect).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_time", [False, True])
def test_contributions_and_rest_add_up_to_the_logits(kind, use_time):
    model = made("retain", kind, use_time=use_time)
    some = batch(
        PATIENT, PATIENT[:1], [EMPTY], PATIENT[1:3] + PATIENT, own=[3, 0, 0, 4], start=[START, [0], [0], range(6)]
    )
    row = np.repeat(np.arange(4), some.row_lengths)
    with torch.no_grad():
        parts, found = model.contributions(some), logits(model, some)
    total = parts.rest.numpy().copy()
    for concept, added in parts.events.items():
        assert added.shape == (len(some[concept].ids), model.spec.outputs)
        np.add.at(total, row[some[concept].visit], added.numpy())
    np.testing.assert_allclose(total, found, atol=1e-5)


def test_a_contribution_is_the_papers():
    """alpha_j W (beta_j * W_emb[:, k]); a code that occurs twice in a visit shares it; a later visit adds nothing."""
    model = made("retain")
    w = weights(model)
    _, alpha, beta = retain_by_hand(w, PATIENT[:3], START[:3])
    with torch.no_grad():
        added = model.contributions(batch(PATIENT, own=[2])).events["diagnosis"]
    for place, (visit, code, share) in enumerate([(0, 2, 1), (0, 4, 1), (2, 8, 0.5), (2, 3, 1), (2, 8, 0.5)]):
        expected = alpha[visit] * w["head.weight"] @ (beta[visit] * w["visits.bags.diagnosis.weight"][code])
        np.testing.assert_allclose(added[place], share * expected, atol=1e-6)
    assert not added[5:].any()


def test_the_attention_of_retain_knows_the_time_unless_told_otherwise():
    late = [START[0], *(hours + 5000 for hours in START[1:])]
    some = [batch(PATIENT, start=[start]) for start in (START, late)]
    assert np.abs(np.subtract(*(logits(made("retain"), b) for b in some))).max() > 1e-4
    np.testing.assert_array_equal(*(logits(made("retain", use_time=False), b) for b in some))


@pytest.mark.parametrize("name", ["retain", "dipole"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_a_sum_over_labels(name, kind):
    """Adadelta needs it: the mean over many labels has gradients that are too small for its steps."""
    model, some = made(name, kind), batch(PATIENT, PATIENT[:2])
    label = {"multiclass": [2, 0], "multilabel": [[1, 0, 1], [0, 0, 1]]}.get(kind, [1, 0])
    kept = {"multilabel": torch.bool, "multiclass": torch.int64}.get(kind, torch.float32)
    some = replace(some, label=torch.tensor(label, dtype=kept))
    output = model(some)
    found = logits(model, some).astype(float)
    if kind == "multiclass":
        expected = -np.mean([np.log(softmax(x)[y]) for x, y in zip(found, label, strict=True)])
    elif kind == "regression":
        expected = np.mean((found[:, 0] - label) ** 2)
    else:
        right = np.where(np.reshape(label, found.shape), sigmoid(found), sigmoid(-found))
        expected = -np.log(right).sum(axis=1).mean()
    assert float(model.loss(output, some).detach()) == pytest.approx(expected, rel=1e-5)


def test_retain_is_penalised_for_what_the_authors_penalise():
    model = made("retain", penalty=0.01)
    w = weights(model)
    names = ("visits.bags.diagnosis", "visits.bags.drug", "alpha", "beta", "head")
    expected = 0.01 * sum((w[f"{n}.weight"] ** 2).sum() for n in names)
    losses = model(batch(PATIENT)).losses
    assert {n: float(x.detach()) for n, x in losses.items()} == {"penalty": pytest.approx(expected)}


def dipole_by_hand(w: dict[str, np.ndarray], visits: list[dict], attention: str):
    """Logits, and the weights of the visits before the last."""
    v = [np.maximum(multi_hot_sum(w, visit) + w["embed_bias"], 0) for visit in visits]
    ahead, back = gru(w, "recur_forward", v), gru(w, "recur_backward", v[::-1])[::-1]
    h = [np.r_[f, b] for f, b in zip(ahead, back, strict=True)]
    own = h[-1]
    score = {
        "location": lambda x: w["score.weight.weight"][0] @ x,
        "general": lambda x: own @ (w["score.weight.weight"] @ x),
        "concatenation": lambda x: (
            w["score.weight.weight"][0]
            @ np.tanh(np.hstack([w["score.own.weight"], w["score.other.weight"]]) @ np.r_[own, x])
        ),
    }[attention]
    alpha = softmax(np.array([score(x) for x in h[:-1]])) if len(h) > 1 else np.zeros(0)
    context = sum((a * x for a, x in zip(alpha, h[:-1], strict=True)), np.zeros_like(own))
    return w["head.weight"] @ np.tanh(w["combine.weight"] @ np.r_[context, own]) + w["head.bias"], alpha


@pytest.mark.parametrize("attention", ["location", "general", "concatenation"])
@pytest.mark.parametrize("seen", [1, 2, 4])
def test_dipole_is_its_equations(seen, attention):
    model = made("dipole", attention=attention, attention_dim=5)
    with torch.no_grad():
        model.embed_bias.uniform_(-1, 1)
        output = model(batch(PATIENT[:seen], PATIENT))
    expected, alpha = dipole_by_hand(weights(model), PATIENT[:seen], attention)
    np.testing.assert_allclose(output.logits[0], expected, atol=1e-6)
    np.testing.assert_allclose(output.attention["alpha"][0, : seen - 1], alpha, atol=1e-6)
    assert not output.attention["alpha"][0, seen - 1 :].any()


def test_dipole_names_its_attentions():
    with pytest.raises(UserError, match="did you mean 'location'"):
        made("dipole", attention="locaton")


def layer_norm(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def encoder_by_hand(w: dict[str, np.ndarray], name: str, u: list[np.ndarray], heads: int) -> list[np.ndarray]:
    dim = len(u[0])
    width = dim // heads
    query, key, value = zip(*(np.split(linear(w, f"{name}.attend.query_key_value", x), 3) for x in u), strict=True)
    outputs = []
    for place, x in enumerate(u):
        found = []
        for low in range(0, dim, width):
            part = slice(low, low + width)
            weight = softmax(np.array([query[place][part] @ k[part] / np.sqrt(width) for k in key]))
            found.append(sum(a * v[part] for a, v in zip(weight, value, strict=True)))
        x = layer_norm(w, f"{name}.norms.0", x + linear(w, f"{name}.attend.combine", np.concatenate(found)))
        hidden = np.maximum(linear(w, f"{name}.feed_forward.0", x), 0)
        outputs.append(layer_norm(w, f"{name}.norms.1", x + linear(w, f"{name}.feed_forward.2", hidden)))
    return outputs


def hitanet_by_hand(w: dict[str, np.ndarray], visits: list[dict], start: list[float], heads: int):
    """Logits, and the local, global and joint attention."""
    dim = len(w["placeholder"])
    days = [(start[-1] + UNTIL - s) / 24 for s in start]

    def time(name: str, d: float) -> np.ndarray:
        return 1 - np.tanh(linear(w, f"{name}.weight", np.array([d / 180])) ** 2)

    def position(place: int) -> np.ndarray:
        angle = [place / 10_000 ** (2 * (n // 2) / dim) for n in range(dim)]
        return np.array([np.cos(a) if n % 2 else np.sin(a) for n, a in enumerate(angle)])

    v = [multi_hot_sum(w, visit) for visit in visits] + [w["placeholder"]]
    u = [
        x + w["embed_bias"] + linear(w, "embed_time", time("local_time", d)) + position(place)
        for place, (x, d) in enumerate(zip(v, [*days, 0], strict=True))
    ]
    for layer in range(2):
        u = encoder_by_hand(w, f"encoder.{layer}", u, heads)
    *h, whole = u
    alpha = softmax(np.array([w["local_score.weight"][0] @ x for x in h]))
    query = np.maximum(linear(w, "query", whole), 0)
    keys = [np.maximum(linear(w, "key", time("global_time", d)), 0) for d in days]
    beta = softmax(np.array([query @ k for k in keys]) / np.sqrt(len(query)))
    z = softmax(linear(w, "fusion", whole))
    gamma = z[0] * beta + z[1] * alpha
    return linear(w, "head", sum(g * x for g, x in zip(gamma, h, strict=True))), alpha, beta, gamma


@pytest.mark.parametrize("seen", [1, 2, 4])
def test_hitanet_is_its_equations(seen):
    """Heads are cut along the width, and every patient has its own mask."""
    model = made("hitanet", heads=2, layers=2, time_dim=6)
    expected = hitanet_by_hand(weights(model), PATIENT[:seen], START[:seen], heads=2)
    with torch.no_grad():
        output = model(batch(PATIENT[:seen], PATIENT, [EMPTY], PATIENT[2:]))
    np.testing.assert_allclose(output.logits[0], expected[0], atol=1e-5)
    for name, of in zip(("alpha", "beta", "gamma"), expected[1:], strict=True):
        np.testing.assert_allclose(output.attention[name][0, :seen], of, atol=1e-6)
        assert not output.attention[name][0, seen:].any()


def test_hitanet_knows_the_time_between_visits():
    model = made("hitanet", heads=2)
    found = [logits(model, batch(PATIENT[:2], start=[[0, hours]])) for hours in (700, 7000)]
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_hitanet_has_no_longest_history():
    """Of 80 visits the oldest still counts."""
    model = made("hitanet", heads=2)
    start = [[240.0 * n for n in range(80)]]
    found = [logits(model, batch([first, *[PATIENT[0]] * 79], start=start)) for first in (PATIENT[2], EMPTY)]
    assert np.abs(found[0] - found[1]).max() > 1e-5


def test_hitanet_refuses_heads_that_do_not_divide_its_width():
    with pytest.raises(UserError, match="multiple of heads"):
        made("hitanet", heads=3)


# What every one of them must hold to


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
def variant(request):
    return request.param


def test_order_and_repetition_of_codes_do_not_matter(variant):
    name, hyperparameters = variant
    model = made(name, **hyperparameters)
    turned = [{c: ids[::-1] + ids[:1] for c, ids in v.items()} for v in PATIENT]
    np.testing.assert_array_equal(logits(model, batch(turned)), logits(model, batch(PATIENT)))


def test_order_of_visits_and_each_concept_matter(variant):
    name, hyperparameters = variant
    model = made(name, **hyperparameters)
    found = logits(model, batch(PATIENT))
    changed = [PATIENT[1::-1] + PATIENT[2:]]
    changed += [[{**v, concept: []} for v in PATIENT] for concept in CODES]
    for other in changed:
        assert np.abs(logits(model, batch(other)) - found).max() > 1e-5


def test_attention_is_over_real_visits(variant):
    name, hyperparameters = variant
    model = made(name, **hyperparameters)
    with torch.no_grad():
        attention = model(batch(PATIENT, PATIENT[:2])).attention
    assert set(attention) == ATTENTION[name]
    for of in attention.values():
        assert of.shape[:2] == (2, 4)
        assert not of[1, 2:].any()


def test_every_variant_conforms(variant):
    name, hyperparameters = variant
    report = check_model(name, **hyperparameters)
    assert report.passed, str(report)
