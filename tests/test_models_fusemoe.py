"""FuseMoE: gates, experts, their losses, encoders of modalities and blocks, against NumPy."""

import numpy as np
import pytest
import torch
from test_grid import batch_of
from worked import dense, embedded, gelu, norm, sigmoid, softmax, time_attention

import zoo
from zoo.data.grid import GridView
from zoo.layers import EventAttention, Experts, Gate, Moments, SampleEvents, entropy, imbalance
from zoo.models.multimodal._modalities import Modality, at_moments
from zoo.models.multimodal.fusemoe import FuseMoE, Pool, Router
from zoo.registry import UserError, parameters_of
from zoo.testing._model._patients import FabricatedTask, empty, without

SMALL = {
    "encoder_dim": 8,
    "encoder_layers": 1,
    "vocabulary_size": 300,
    "max_length": 20,
    "dim": 4,
    "time_dim": 4,
    "points": 3,
    "hours": 6.0,
    "layers": 1,
    "heads": 2,
    "experts": 3,
    "top": 2,
    "expert_dim": 5,
}
ALL = ("lab", "vital", "note", "diagnosis", "procedure", "drug")


def shaken(model, seed: int = 1):
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model.double().eval()


def made(concepts=ALL, kind: str = "multilabel", thing=FuseMoE, **hyperparameters):
    """A small model with weights of a size that tells, and its fabricated task."""
    settings = {n: v for n, v in {**SMALL, **hyperparameters}.items() if n in parameters_of(thing)}
    reading = thing.reading({**{n: p.default for n, p in parameters_of(thing).items()}, **settings})
    task = FabricatedTask(kind, concepts, resources=("encoder",), reading=reading)
    torch.manual_seed(1)
    return shaken(thing(task.spec, **settings)).float(), task


def residual_head(h: np.ndarray, w: dict) -> np.ndarray:
    inner = np.maximum(dense(h, w, "head.hidden.0"), 0)
    return dense(h + dense(inner, w, "head.hidden.3"), w, "head.out")


def numbers(module) -> dict[str, np.ndarray]:
    return {n: p.detach().numpy() for n, p in module.named_parameters()}


# Gates and experts


@pytest.mark.parametrize("form", ["laplace", "gaussian", "softmax"])
def test_gates_are_their_equations(form):
    torch.manual_seed(0)
    gate, x = Gate(4, 3, form).double().eval(), torch.randn(5, 4).double()
    keys, found = gate.keys.detach().numpy(), gate(x).detach().numpy()
    for row, h in zip(x.numpy(), found, strict=True):
        distance = np.array([np.sqrt(((k - row) ** 2).sum()) for k in keys])
        expected = {"laplace": -distance, "gaussian": -(distance**2), "softmax": keys @ row}[form]
        assert np.allclose(h, expected, atol=1e-9)


def test_noise_of_gates_is_for_training():
    torch.manual_seed(0)
    gate, x = Gate(4, 5, "laplace"), torch.randn(20_000, 4)
    noise = gate.train()(x) - gate.eval()(x)
    assert float(noise.detach().std()) == pytest.approx(1 / 5, rel=0.02)
    assert torch.equal(gate(x), gate(x))


def test_the_laplace_gate_has_a_gradient_at_a_key():
    gate = Gate(3, 2, "laplace")
    x = gate.keys.detach()[:1].clone().requires_grad_()
    gate(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def expert(w: dict, name: str, x: np.ndarray) -> np.ndarray:
    return dense(gelu(dense(x, w, f"{name}.0")), w, f"{name}.3")


def mixture(w: dict, name: str, x: np.ndarray, h: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """y and shares of one token, by going through all experts."""
    chosen = np.argsort(-h, kind="stable")[:top]
    share = np.zeros(len(h))
    share[chosen] = softmax(h[chosen])
    return sum(share[i] * expert(w, f"{name}.experts.{i}", x) for i in range(len(h))), share


@pytest.mark.parametrize("top", [1, 2, 4])
def test_sparse_experts_give_what_dense_ones_do(top):
    torch.manual_seed(0)
    experts = Experts(3, 5, 4, top, 0.5).double().eval()
    x, h = torch.randn(9, 3).double(), torch.randn(9, 4).double()
    y, share = experts(x, h)
    w = {f"pool.{n}": v for n, v in numbers(experts).items()}
    for n in range(9):
        expected, shares = mixture(w, "pool", x[n].numpy(), h[n].numpy(), top)
        assert np.allclose(y[n].detach().numpy(), expected, atol=1e-6)
        assert np.allclose(share[n].numpy(), shares, atol=1e-6)
    y.sum().backward()
    assert all(p.grad is not None for p in experts.parameters())


def test_experts_compute_for_the_tokens_that_are_sent_to_them():
    experts, seen = Experts(2, 3, 4, 1, 0.0), []
    for number, one in enumerate(experts.experts):
        one.register_forward_hook(lambda _, given, __, n=number: seen.append((n, len(given[0]))))
    h = torch.full((7, 4), -1.0)
    h[:5, 2], h[5:, 0] = 1.0, 1.0
    experts(torch.randn(7, 2), h)
    assert seen == [(0, 2), (2, 5)]
    assert experts(torch.zeros(0, 2), torch.zeros(0, 4))[0].shape == (0, 2)


def test_the_losses_of_routers():
    share = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.75, 0.0, 0.25]])
    total = share.sum(0)
    assert float(imbalance(torch.tensor(share))) == pytest.approx(total.var() / total.mean() ** 2)
    assert float(imbalance(torch.full((4, 3), 0.3))) == pytest.approx(0)
    p = np.array([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])
    expected = [-(0.2 * np.log(0.2) + 0.8 * np.log(0.8)), 0.0]
    assert np.allclose(entropy(torch.tensor(p)).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("form", ["joint", "per_modality", "disjoint"])
def test_routers_are_their_equations(form):
    samples, modalities, points, dim, count, top = 2, 3, 4, 2, 3, 2
    router = shaken(Router(modalities, dim, form, "laplace", Pool(count, top, 5, 0.0)))
    tokens = torch.randn(samples, modalities, points, dim).double()
    found, balance, spread = (part.detach() for part in router(tokens))
    w, x = numbers(router), tokens.numpy()
    distance = lambda m, row: -np.array([np.linalg.norm(k - row) for k in w[f"gates.{m}.keys"]])  # noqa: E731
    expected = np.zeros_like(x)
    shares, p = {}, np.zeros((modalities, count))
    for s in range(samples):
        for t in range(points):
            if form == "joint":
                row = x[s, :, t].ravel()
                y, share = mixture(w, "pools.0", row, distance(0, row), top)
                expected[s, :, t] = y.reshape(modalities, dim)
                shares.setdefault(0, []).append(share)
                continue
            for m in range(modalities):
                row, pool = x[s, m, t], m if form == "disjoint" else 0
                h = distance(m, row)
                expected[s, m, t], share = mixture(w, f"pools.{pool}", row, h, top)
                shares.setdefault(pool, []).append(share)
                p[m] += softmax(h) / (samples * points)
    assert np.allclose(found.numpy(), expected, atol=1e-5)
    totals = [np.sum(s, axis=0) for s in shares.values()]
    assert float(balance) == pytest.approx(np.mean([t.var() / t.mean() ** 2 for t in totals]), rel=1e-4)
    h = lambda q: -(q * np.log(q)).sum()  # noqa: E731
    wanted = np.mean([h(q) for q in p]) - h(p.mean(0)) if form == "per_modality" else 0.0
    assert float(spread) == pytest.approx(wanted, abs=1e-5)
    assert len(shares) == (modalities if form == "disjoint" else 1)


# Encoders of modalities


def event_attention(w: dict, name: str, moments, time, vectors, heads: int, width: int) -> np.ndarray:
    said = []
    for moment in moments:
        query = w[f"{name}.query.weight"] @ embedded(w, f"{name}.embed", moment) + w[f"{name}.query.bias"]
        found = []
        for h, q in enumerate(np.split(query, heads)):
            keys = [np.split(w[f"{name}.key.weight"] @ embedded(w, f"{name}.embed", t), heads)[h] for t in time]
            some = len(keys) > 0
            weight = softmax(np.array([q @ k for k in keys]) / np.sqrt(len(q))) if some else None
            found.append(weight @ vectors if some else np.zeros(width))
        said.append(w[f"{name}.out.weight"] @ np.concatenate(found) + w[f"{name}.out.bias"])
    return np.array(said)


def test_attention_to_events_is_its_equations():
    layer = shaken(EventAttention(3, 4, 4, 2))
    moments, time = torch.rand(2, 3).double(), torch.rand(2, 5).double()
    vectors, mask = torch.randn(2, 5, 3).double(), torch.tensor([[True] * 4 + [False], [False] * 5])
    found = layer(moments, time, vectors, mask).detach().numpy()
    w = {f"a.{n}": v for n, v in numbers(layer).items()}
    for s in range(2):
        some = mask[s].numpy()
        expected = event_attention(w, "a", moments[s].numpy(), time[s].numpy()[some], vectors[s].numpy()[some], 2, 3)
        assert np.allclose(found[s], expected, atol=1e-6)


def test_events_of_a_sample_are_the_newest_of_its_visits():
    lab = [[(1.0, 2, 0.0), (2.0, 2, 0.0)], [(0.5, 2, 0.0)], [(3.0, 2, 0.0)]]
    batch = batch_of([[0.0, 10.0], [0.0]], [(0, 0, 4.0), (0, 1, 5.0), (1, 0, 3.0)], lab=lab)
    seen = SampleEvents(batch, batch["lab"], 2)
    assert [e[m].tolist() for e, m in zip(seen.event, seen.mask, strict=True)] == [[0, 1], [1, 2], [3]]
    assert [a[m].tolist() for a, m in zip(seen.ago, seen.mask, strict=True)] == [[3.0, 2.0], [13.0, 4.5], [0.0]]
    some = torch.tensor([True, False, True, False])
    seen = SampleEvents(batch, batch["lab"], 2, some)
    assert [e[m].tolist() for e, m in zip(seen.event, seen.mask, strict=True)] == [[0], [0, 2], []]
    assert [a[m].tolist() for a, m in zip(seen.ago, seen.mask, strict=True)] == [[3.0], [14.0, 4.5], []]
    nothing = SampleEvents(batch_of([[0.0]], [(0, 0, 1.0)], lab=[[]]), batch_of([[0.0]], [], lab=[[]])["lab"], 2)
    assert nothing.mask.shape == (1, 0)


def test_steps_of_a_grid_stand_at_the_last_moments():
    view = GridView({"lab": 1}, step_hours=2.0, max_steps=4)
    batch = batch_of(
        [[0.0], [0.0]], [(0, 0, 4.0), (1, 0, 30.0)], lab=[[(0.5, 2, 1.0), (3.0, 2, 2.0)], [(29.0, 2, 5.0)]]
    )
    found = at_moments(view.grid(batch), 4)
    assert found[0, :, 0].tolist() == [0.0, 0.0, 1.0, 2.0]
    assert found[0, :, 1].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert found[1, :, 0].tolist() == [0.0, 0.0, 0.0, 5.0]


def test_signals_are_attended_to_and_filled_in():
    model, task = made(("lab", "vital"), "binary")
    rows = task.rows(0, 5)
    batch = task.batch([*rows, rows[0].changed(empty)])
    encoder, w = model.encode["signals"], numbers(model.encode["signals"])
    found, there = encoder(batch)
    assert there.tolist() == [True] * 5 + [False]
    seen, known = encoder.triples.triples(batch), at_moments(encoder.view.grid(batch), 3).double().numpy()
    for s, n in enumerate(seen.mask.sum(dim=1).tolist()):
        time = 1 - (float(seen.end[s]) - seen.time[s, :n].double().numpy()) / 6.0
        variable, value = seen.variable[s, :n].numpy(), seen.value[s, :n].double().numpy()
        moments = np.linspace(0, 1, 3)
        attended = time_attention(w, "attend", moments, time, variable, value, encoder.triples.columns, 2)
        imputed = known[s] @ w["impute.weight"].T
        gate = np.maximum(dense(np.hstack([imputed, attended]), w, "gate.0"), 0)
        gate = sigmoid(dense(gate, w, "gate.2"))
        assert np.allclose(found[s].detach().numpy(), gate * imputed + (1 - gate) * attended, atol=2e-5)


def test_codes_and_notes_are_attended_to_by_when_they_became_known():
    model, task = made(("note", "diagnosis", "drug"), "binary")
    batch = task.batch([*task.rows(0, 4), task.rows(0, 1)[0].changed(empty)])
    moments = np.linspace(0, 1, 3)
    of_concept = {c: SampleEvents(batch, batch[c], 500) for c in ("note", "diagnosis", "drug")}
    w = numbers(model.encode["codes"])
    found, there = model.encode["codes"](batch)
    assert there.tolist() == [True] * 4 + [False]
    for s in range(5):
        time, vectors = [], [np.zeros((0, 4))]
        for c in ("diagnosis", "drug"):
            seen = of_concept[c]
            time += (1 - seen.ago[s][seen.mask[s]].double().numpy() / 6.0).tolist()
            vectors.append(w[f"embed.{c}.weight"][batch[c].ids[seen.event[s][seen.mask[s]]].numpy()])
        expected = event_attention(w, "attend", moments, time, np.vstack(vectors), 2, 4)
        assert np.allclose(found[s].detach().numpy(), expected, atol=2e-5)
    encoder, note, seen = model.encode["notes"], batch["note"], of_concept["note"]
    w, (found, there) = numbers(encoder), encoder(batch)
    for s in range(5):
        vectors, events = [np.zeros((0, 8))], seen.event[s][seen.mask[s]].tolist()
        for e in events:
            tokens = note.tokens[note.token_offsets[e] : note.token_offsets[e + 1]][:20].tolist()
            ids = torch.tensor([[encoder.tokenizer.special("[CLS]"), *tokens, encoder.tokenizer.special("[SEP]")]])
            with torch.no_grad():
                vectors.append(encoder.encoder.bert(ids).last_hidden_state[0, :1].numpy())
        time = 1 - seen.ago[s][seen.mask[s]].double().numpy() / 6.0
        expected = event_attention(w, "attend", moments, time, np.vstack(vectors), 2, 8)
        assert np.allclose(found[s].detach().numpy(), expected, atol=2e-5)


# The model


@pytest.mark.parametrize("router", ["joint", "per_modality", "disjoint"])
def test_logits_and_losses_are_its_equations(router):
    model, task = made(kind="binary", router=router, balance=0.7, entropy=0.2)
    rows = [r.changed(without("note")) if n == 1 else r for n, r in enumerate(task.rows(0, 4))]
    batch = task.batch(rows)
    with torch.no_grad():
        encoded = {n: [t.numpy() for t in m(batch)] for n, m in model.encode.items()}
        output = model(batch)
    assert list(encoded) == ["signals", "notes", "codes"]
    w = numbers(model)
    block = {n.removeprefix("blocks.0."): v for n, v in w.items() if n.startswith("blocks.0.")}
    assert not encoded["notes"][1][1]
    after = []
    for s in range(4):
        x = np.stack(
            [
                said[s] if there[s] else np.tile(z, (3, 1))
                for (said, there), z in zip(encoded.values(), w["missing"], strict=True)
            ]
        )
        rows_ = x.reshape(9, 4)
        query, key, value = np.split(dense(rows_, block, "attend.query_key_value"), 3, axis=1)
        heads = [
            np.stack([softmax(q @ k.T / np.sqrt(2)) for q in qs]) @ v
            for qs, k, v in zip(*(np.split(part, 2, axis=1) for part in (query, key, value)), strict=True)
            for k in [k]
        ]
        after.append(norm(rows_ + dense(np.hstack(heads), block, "attend.combine"), block, "norms.0").reshape(3, 3, 4))
    after = np.stack(after)
    with torch.no_grad():
        routed = model.blocks[0].router(torch.tensor(after, dtype=torch.float32))
    out = norm(after + routed.tokens.numpy(), block, "norms.1")
    expected = residual_head(out[:, :, -1].reshape(4, -1), w)
    assert np.allclose(output.logits.numpy(), expected, atol=5e-5)
    assert float(output.losses["balance"]) == pytest.approx(0.7 * float(routed.balance), rel=1e-4)
    assert float(output.losses["entropy"]) == pytest.approx(0.2 * float(routed.spread), rel=1e-4, abs=1e-6)
    assert (router == "per_modality") is (float(routed.spread) != 0)


def test_a_modality_that_is_missing_is_a_learned_vector():
    model, task = made(kind="binary")
    row = task.rows(0, 1)[0].changed(without("note"))
    with torch.no_grad():
        tokens = model.said(task.batch([row]), model.missing)[0]
        assert torch.equal(tokens[0, 1], model.missing[1].expand(3, -1))
        assert not torch.allclose(tokens[0, 0], model.missing[0].expand(3, -1))
        before = model(task.batch([row])).logits
        model.missing[1] += 1
        assert not torch.allclose(before, model(task.batch([row])).logits)
        whole = task.batch(task.rows(0, 1))
        before = model(whole).logits
        model.missing += 1
        assert torch.equal(before, model(whole).logits)


def test_in_training_modalities_are_hidden_and_one_at_least_is_not():
    model, task = made(kind="binary", modality_dropout=0.6)
    batch = task.batch(task.rows(0, 8) * 60)
    torch.manual_seed(0)
    with torch.no_grad():
        whole = model.said(batch, model.missing)[1]
        shown = model.train().said(batch, model.missing, 0.6)[1][whole.all(dim=1)]
        assert torch.equal(model.eval().said(batch, model.missing, 0.6)[1], whole)
    assert shown.any(dim=1).all()
    assert shown.float().mean().item() == pytest.approx(0.4 + 0.6**3 / 3, abs=0.03)


class Pulse(Modality):
    """A fourth modality: vital signs once more, as one number."""

    concepts = ("vital",)

    def __init__(self, spec, moments, sizes):
        super().__init__(spec, moments, sizes)
        self.out = torch.nn.Linear(1, sizes.dim)

    def forward(self, batch):
        total = batch["vital"].value.nan_to_num().sum().reshape(1, 1).expand(batch.samples, 1)
        said = self.out(total.to(self.out.weight.dtype))[:, None].expand(-1, self.moments.points, -1)
        return said, torch.ones(batch.samples, dtype=torch.bool)


def test_a_fourth_modality_is_added_without_touching_the_model():
    class Four(FuseMoE):
        modalities = {**FuseMoE.modalities, "pulse": Pulse}

    model, task = made(kind="binary", thing=Four)
    assert list(model.encode) == ["signals", "notes", "codes", "pulse"]
    assert model(task.batch(task.rows(0, 3))).logits.shape == (3, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 6, "heads": 4}, "dim=6 must be a multiple of heads=4"),
        ({"top": 17}, "top=17 must be at most experts=16"),
        ({"router": "shared"}, "router='shared' must be one of 'joint', 'per_modality', 'disjoint'"),
        ({"gate": "cosine"}, "gate='cosine' must be one of 'laplace', 'gaussian', 'softmax'"),
        ({"modality_dropout": 1.0}, "modality_dropout=1.0 must be at least 0 and below 1"),
        ({"points": 1}, "points=1 must be at least 2"),
    ],
)
def test_bad_hyperparameters_are_refused(settings, message):
    task = FabricatedTask("binary", ("lab",), resources=("encoder",))
    with pytest.raises(UserError, match=message):
        FuseMoE(task.spec, **settings)


def test_moments_end_at_the_prediction():
    moments = Moments(5, 48.0)
    assert moments.step == 12
    assert moments.share(torch.tensor([0.0, 48.0, 96.0])).tolist() == [1.0, 0.0, -1.0]
    assert zoo.registry.models.entry("fusemoe").facts.kinds
