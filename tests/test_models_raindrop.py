"""Raindrop, by its equations in NumPy, one sample at a time; its graph, its edges, and what it does with none."""

from collections import defaultdict
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_models_irregular import logits, some_batch, triples_of
from worked import sigmoid, softmax, weights

import zoo
from zoo.data.triples import Triples
from zoo.models.series.raindrop import Messages, MomentAttention, Observed, pruned, unlike
from zoo.registry import UserError

SMALL = {"dim": 4, "receiver_dim": 3, "time_dim": 6, "width": 5, "hidden": 7, "similarity": 1.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield zoo.load("synthetic", task="mortality", patients=100, concepts={"lab", "vital"}, hours=24)


def made(data, **hyperparameters):
    model = zoo.create_model("raindrop", data, seed=3, **{**SMALL, **hyperparameters}).eval()
    with torch.no_grad():  # so that no weight is at a value that hides its use
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return model


def relu(x):
    return np.maximum(x, 0)


class Worked:
    """The equations, for one sample."""

    def __init__(self, model, seen, sample: int, facts: np.ndarray):
        self.facts = facts
        self.w, self.model, self.variables = weights(model), model, model.view.columns
        values = defaultdict(lambda: defaultdict(list))
        for t, u, x in zip(*triples_of(seen, sample), strict=True):
            values[t][u].append(x)
        times = sorted(values, reverse=True)[: model.max_steps]
        self.x = [{u: np.mean(x) for u, x in values[t].items()} for t in times]
        self.observed = sorted({u for at in self.x for u in at})
        self.p = [self.encoded(float(seen.end[sample]) - t) for t in times]
        self.logits, self.edges = self.whole()

    def encoded(self, ago: float) -> np.ndarray:
        scales = 48.0 ** np.linspace(0, 1, SMALL["time_dim"] // 2)
        return np.r_[np.sin(ago / scales), np.cos(ago / scales)]

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        h = [{u: relu(x * self.w["variables.weight"][u]) for u, x in at.items()} for at in self.x]
        edges = np.ones((self.variables, self.variables))
        for layer in range(len(self.model.layers)):
            if layer:
                edges = self.pruned(edges)
            c, edges = self.messages(f"layers.{layer}", h, edges)
            w = self.w[f"layers.{layer}.weight"]
            h = [{u: relu(of + c[t][u] * w[u]) for u, of in at.items()} for t, at in enumerate(h)]
        z = [self.attended(v, [h[t].get(v, relu(c[t][v] * w[v])) for t in range(len(h))]) for v in range(len(edges))]
        attributes = self.w["attributes.weight"] @ self.facts + self.w["attributes.bias"]
        hidden = relu(self.w["head.0.weight"] @ np.concatenate([*z, attributes]) + self.w["head.0.bias"])
        return self.w["head.3.weight"] @ hidden + self.w["head.3.bias"], edges

    def messages(self, name: str, h: list, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, r = self.w[f"{name}.weight"], self.w[f"{name}.receiver"]
        d = self.w[f"{name}.map.weight"].T
        c, alphas = np.zeros((len(h), self.variables)), defaultdict(list)
        for t, at in enumerate(h):
            for u, of in at.items():
                alpha = np.array([sigmoid(of @ d @ np.r_[r[v], self.p[t]]) for v in range(self.variables)])
                for v in range(self.variables):
                    c[t, v] += of @ w[u] * alpha[v] * edges[u, v]
                alphas[u].append(alpha)
        after = [edges[u] * np.mean(alphas[u], axis=0) if u in alphas else 0 * edges[u] for u in range(self.variables)]
        return c, np.array(after)

    def pruned(self, edges: np.ndarray) -> np.ndarray:
        ranked = sorted(edges[u, v] for u in self.observed for v in range(self.variables))
        lowest = ranked[int(len(ranked) * self.model.prune)] if ranked else 0
        return np.where(edges < lowest, 0, edges)

    def attended(self, v: int, h: list) -> np.ndarray:
        if not h:
            return np.zeros(SMALL["width"])
        rows = np.array([np.r_[of, p] for of, p in zip(h, self.p, strict=True)])
        query, key = (rows @ self.w[f"attend.{name}.weight"].T for name in ("query", "key"))
        looked = query @ key.T / np.sqrt(SMALL["width"]) @ self.w["attend.scores"][: len(h)]
        return softmax(looked) @ rows @ self.w["attend.value.weight"].T


@pytest.mark.parametrize(
    "settings", [{}, {"max_steps": 4}, {"max_triples": 30}, {"layers": 1}, {"layers": 3, "prune": 0.3}]
)
def test_raindrop_is_its_equations(data, settings):
    model, batch = made(data, **settings), some_batch(data)
    seen = model.view.triples(batch)
    assert len(set(seen.mask.sum(dim=1).tolist())) > 1
    expected = [Worked(model, seen, s, batch.own_static[s].double().numpy()) for s in range(batch.samples)]
    assert not expected[-1].observed  # the last one has no measurement
    assert len(expected[0].observed) < model.view.columns
    np.testing.assert_allclose(logits(model, batch), [e.logits for e in expected], atol=5e-5)
    apart = [
        (expected[i].edges[u, v] - expected[j].edges[u, v]) ** 2
        for i in range(batch.samples)
        for j in range(i)
        for u in sorted({*expected[i].observed} & {*expected[j].observed})
        for v in range(model.view.columns)
    ]
    assert float(model(batch).losses["graphs"].detach()) == pytest.approx(np.mean(apart), rel=1e-4)


def test_the_loss_of_graphs_has_its_weight(data):
    batch = some_batch(data)
    once, half, none = (float(made(data, similarity=s)(batch).losses["graphs"].detach()) for s in (1.0, 0.5, 0.0))
    assert half == pytest.approx(once / 2)
    assert once > 0
    assert none == 0


# The graph


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("graph", ["none", "identity", "random"])
@pytest.mark.parametrize("make", [made, lambda data: zoo.create_model("raindrop", data, seed=0).eval()])
def test_another_graph_changes_the_logits(data, layer, graph, make):
    """In the published code they change by less than a millionth."""
    model, batch = make(data), some_batch(data)
    before, m = logits(model, batch), model.view.columns
    random = torch.rand(batch.samples, m, m, generator=torch.Generator().manual_seed(0)).round()
    edges = {"none": torch.zeros(batch.samples, m, m), "identity": torch.eye(m).repeat(batch.samples, 1, 1)}
    edges["random"] = random
    model.layers[layer].register_forward_pre_hook(lambda _, given: (*given[:3], edges[graph]))
    change = np.abs(logits(model, batch) - before)[:-1]
    assert change.min() > 1e-5, change
    assert change.max() > 5e-3, change


def test_a_single_edge_reaches_its_receiver_alone(data):
    model, batch = made(data), some_batch(data)
    seen = Observed.of(model.view.triples(batch), model.view.columns, model.max_steps)
    time = torch.randn(*seen.mask.shape, 6)
    own, m = torch.rand(*seen.variable.shape, 4), model.view.columns
    edges, u, v = torch.rand(batch.samples, m, m), int(seen.variable[0, 0]), 3
    other = edges.clone()
    other[0, u, v] += 1
    told, changed = (model.layers[1](seen, time, own, e)[0] for e in (edges, other))
    where = (told != changed).nonzero().tolist()
    assert where
    assert all(at[:2] == [0, v] and seen.known[0, u, at[2]] for at in where)


def test_messages_by_hand():
    """Three variables and two moments: at the last one 0 and 1 are observed, before it 0 alone."""
    layer = Messages(3, dim=1, receiver_dim=1, time_dim=2)
    with torch.no_grad():
        layer.map.weight.copy_(torch.tensor([[1.0], [1.0], [0.0]]))  # alpha = sigmoid(h (r_v + p_0))
        layer.receiver.copy_(torch.tensor([[0.0], [1.0], [-1.0]]) * np.log(3))
        layer.weight.copy_(torch.tensor([[2.0], [4.0], [-1.0]]))
    triples = Triples(
        time=torch.tensor([[1.0, 5.0, 5.0]]),
        variable=torch.tensor([[0, 0, 1]]),
        value=torch.ones(1, 3),
        mask=torch.ones(1, 3, dtype=torch.bool),
        end=torch.tensor([6.0]),
    )
    seen = Observed.of(triples, 3, 8)
    log3 = float(np.log(3))
    time = torch.tensor([[[0.0, 7.0], [log3, 7.0], [9.0, 9.0]]])  # of the last moment, the one before, and none
    own = torch.tensor([[[1.0], [1.0], [2.0]]])
    told, edges = layer(seen, time, own, None)
    # last moment: of 0 the alpha are 1/2, 3/4, 1/4, of 1 they are 1/2, 9/10, 1/10; h . w is 2 and 8
    # before it: of 0 they are 3/4, 9/10, 1/2, as the time adds log 3
    last, before = [1 + 4, 1.5 + 7.2, 0.5 + 0.8], [1.5, 1.8, 1.0]
    torch.testing.assert_close(told[0, :, :2].T, torch.tensor([last, before]))
    after = torch.tensor([[0.625, 0.825, 0.375], [0.5, 0.9, 0.1], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(edges[0], after)
    torch.testing.assert_close(layer.heard(told)[0, :, :2, 0].T, torch.tensor([[10.0, 34.8, 0.0], [3.0, 7.2, 0.0]]))
    # the same over other edges
    half = torch.tensor([[[0.5, 0.0, 1.0], [0.0, 1.0, 1.0], [5.0, 5.0, 5.0]]])
    told, edges = layer(seen, time, own, half)
    torch.testing.assert_close(told[0, :, :2].T, torch.tensor([[0.5, 7.2, 0.5 + 0.8], [0.75, 0.0, 1.0]]))
    torch.testing.assert_close(edges[0], after * half[0])


def test_pruning_by_hand():
    edges = torch.tensor([[[0.1, 0.4, 0.2], [0.0, 0.0, 0.0], [0.9, 0.3, 0.6]]])
    some, none, whole = torch.tensor([[True, False, True]]), torch.zeros(1, 3, dtype=torch.bool), edges.clone()
    for part, lost in ((0.0, []), (0.17, [0.1]), (0.5, [0.1, 0.2, 0.3]), (0.99, [0.1, 0.2, 0.3, 0.4, 0.6])):
        expected = torch.where(torch.isin(whole, torch.tensor(lost)), 0.0, whole)
        assert torch.equal(pruned(edges, some, part), expected), part
    assert not pruned(0 * edges, none, 0.5).any()
    # of equal ones none is taken before another
    assert torch.equal(pruned(torch.ones(1, 3, 3), ~none, 0.5), torch.ones(1, 3, 3))
    # each sample by itself, and what is left has its gradient
    both = torch.cat([edges, 100 * edges]).requires_grad_()
    pruned(both, some.expand(2, -1), 0.5).sum().backward()
    assert torch.equal(both.grad[0], both.grad[1])
    assert both.grad[0].tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_only_samples_that_observe_a_variable_are_held_against_one_another():
    edges = torch.tensor([[[1.0, 3.0], [5.0, 5.0]], [[2.0, 0.0], [7.0, 7.0]], [[9.0, 9.0], [1.0, 1.0]]])
    observed = torch.tensor([[True, False], [True, True], [False, False]])
    assert float(unlike(edges, observed)) == pytest.approx((1 + 9) / 2)
    assert float(unlike(edges, observed & False)) == 0
    assert float(unlike(edges[:1], observed[:1])) == 0


# Moments


def test_the_newest_moments_are_read_and_equal_ones_are_one():
    """Variables 0 and 1, the last three of four moments; two values of 1 at one moment are their mean."""
    triples = Triples(
        time=torch.tensor([[1.0, 2.0, 3.0, 3.0, 3.0, 7.0, 0.0], [0.0] * 7, [4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]),
        variable=torch.tensor([[0, 0, 0, 1, 1, 0, 0], [0] * 7, [1, 0, 0, 0, 0, 0, 0]]),
        value=torch.tensor([[9.0, 1.0, 2.0, 3.0, 5.0, 6.0, 0.0], [0.0] * 7, [8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]),
        mask=torch.tensor([[True] * 6 + [False], [False] * 7, [True] + [False] * 6]),
        end=torch.tensor([8.0, 8.0, 8.0]),
    )
    seen = Observed.of(triples, 2, 3)
    assert seen.ago.tolist() == [[1.0, 5.0, 6.0], [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]
    assert seen.mask.tolist() == [[True, True, True], [False, False, False], [True, False, False]]
    assert seen.share.tolist() == [[0, 1, 1, 0.5, 0.5, 1, 0], [0] * 7, [1, 0, 0, 0, 0, 0, 0]]
    assert seen.moments.tolist() == [[3, 1], [0, 0], [0, 1]]
    cells = seen.in_cells(seen.value[..., None])[..., 0]
    assert cells[0].tolist() == [[6.0, 2.0, 1.0], [0.0, 4.0, 0.0]]
    assert cells[1:].tolist() == [[[0.0] * 3] * 2, [[0.0] * 3, [8.0, 0.0, 0.0]]]


def test_moments_that_are_none_have_no_part():
    attend = MomentAttention(dim=3, time_dim=2, width=4, max_steps=6)
    rows, time = torch.randn(2, 5, 6, 3), torch.randn(2, 6, 2)
    mask = torch.arange(6) < torch.tensor([[4], [0]])
    found = attend(rows, time, mask)
    assert not found[1].any()
    torch.testing.assert_close(found[:1], attend(rows[:1, :, :4], time[:1, :4], mask[:1, :4]))
    rows[:, :, 4:], time[:, 4:] = 1e6, -1e6
    assert torch.equal(found, attend(rows, time, mask))


# Samples


def picked(batch, order):
    """The samples of a batch in another order, or some of them."""
    names = [f.name for f in fields(batch) if f.name.startswith("sample_")] + ["label", "subject"]
    return replace(batch, **{name: getattr(batch, name)[order] for name in names})


def test_neither_the_order_of_samples_nor_those_beside_matter(data):
    model, batch = made(data), some_batch(data)
    whole = logits(model, batch)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(logits(model, picked(batch, order)), whole[order], atol=1e-5)
    for sample in range(batch.samples):
        alone = logits(model, picked(batch, torch.tensor([sample])))
        np.testing.assert_allclose(alone, whole[[sample]], atol=1e-5)
    assert logits(model, picked(batch, order[:0])).shape == (0, 1)


def test_neither_the_order_of_measurements_nor_padding_matter(data):
    model, batch = made(data), some_batch(data)
    seen, before = model.view.triples(batch), logits(model, batch)
    random, longest = np.random.default_rng(0), seen.mask.shape[1]
    order = torch.from_numpy(np.lexsort((random.random(seen.time.shape), seen.time, ~seen.mask), axis=1))
    assert not torch.equal(order, torch.arange(longest).expand_as(order))
    parts = {f.name: getattr(seen, f.name) for f in fields(seen)}
    mixed = {n: p if n == "end" else torch.cat([p.gather(1, order), p[:, :2]], dim=1) for n, p in parts.items()}
    mixed["mask"][:, longest:] = False
    model.view = SimpleNamespace(triples=lambda _: Triples(**mixed), columns=model.view.columns)
    np.testing.assert_allclose(logits(model, batch), before, atol=1e-5)


def test_a_sample_without_a_measurement(data):
    model, batch = made(data), some_batch(data)
    empty = picked(batch, torch.tensor([5, 5]))
    attributes = model.attributes(empty.own_static)
    z = torch.zeros(2, model.head[0].in_features - attributes.shape[1])
    output = model(empty)
    torch.testing.assert_close(output.logits, model.head(torch.cat([z, attributes], dim=1)))
    assert float(output.losses["graphs"].detach()) == 0
    both, without = (model(picked(batch, torch.arange(n))).losses["graphs"].detach() for n in (6, 5))
    torch.testing.assert_close(both, without)
    (output.logits.sum() + output.losses["graphs"]).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_weights_of_what_is_observed_are_trained_and_saved(data):
    """The published code makes tensors of them that are neither."""
    model, batch = zoo.create_model("raindrop", data, seed=0), some_batch(data)
    assert "variables.weight" in model.state_dict()
    output = model(batch)
    (model.loss(output, batch) + sum(output.losses.values())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_history_is_read_only_where_asked_for(data):
    batch = next(b for b in data.batches("train", {"lab", "vital", "static"}, 1) if b.row_lengths[0] > 1)
    earlier = {c: batch[c].visit < batch.row_lengths[0] - 1 for c in batch}
    for history in (True, False):
        model = made(data, history=history, max_triples=10_000, max_steps=1000)
        before = model(batch).logits
        for concept, places in earlier.items():
            batch[concept].value[places] += 1
        assert torch.equal(before, model(batch).logits) is not history


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "'raindrop': dim=0 must be at least 1"),
        ({"layers": 0}, "layers=0 must be at least 1"),
        ({"max_steps": 0}, "max_steps=0 must be at least 1"),
        ({"time_dim": 5}, "time_dim=5 must be a multiple of 2"),
        ({"prune": 1.0}, "prune=1.0 must be at least 0 and below 1"),
        ({"hours": 0.0}, "hours=0.0 must be above 0"),
        ({"max_triples": 0}, "max_triples=0 must be at least 1"),
    ],
)
def test_bad_hyperparameters_are_refused(data, settings, message):
    with pytest.raises(UserError, match=message):
        zoo.create_model("raindrop", data, **settings)
