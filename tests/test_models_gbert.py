"""G-BERT: its parts against NumPy, what a target may not see, and pre-training."""

import sys

import numpy as np
import pytest
import torch

import zoo
from zoo.knowledge.ontology import Ontology
from zoo.layers import code_sets
from zoo.layers.ontology_attention import NeighbourAttention, OntologyEmbedding
from zoo.models.ontology.gbert import hidden
from zoo.registry import UserError, models
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._patients import FabricatedTask

SMALL = {"dim": 4, "tree_heads": 2, "layers": 1, "heads": 2, "feedforward": 8, "dropout": 0.0}
CODES = ["ATC//C03C", "ATC//C03D", "ATC//C07A", "ATC//N02B"]


def test_it_trains_and_is_pretrained_at_the_published_rate():
    kind = zoo.registry.models.get("gbert")
    assert kind.trainer_defaults(None) == {"optimizer": "adam", "lr": 5e-4, "batch_size": 8}
    assert kind.pretraining_defaults(None) == {"optimizer": "adam", "lr": 5e-4, "batch_size": 64}


# The trees


def attended(layer: NeighbourAttention, nodes: np.ndarray, own: int, neighbours: list[int]) -> np.ndarray:
    """g of one place, head by head, as the paper writes it."""
    weight = layer.transform.weight.detach().numpy().astype(float)
    heads = layer.heads
    found = []
    for k in range(heads):
        w = weight.reshape(heads, -1, nodes.shape[1])[k]
        asking, asked = (v.detach().numpy().astype(float)[k] for v in (layer.asking, layer.asked))
        score = np.array([asking @ (w @ nodes[own]) + asked @ (w @ nodes[j]) for j in neighbours])
        score = np.where(score > 0, score, 0.2 * score)
        alpha = np.exp(score - score.max())
        alpha /= alpha.sum()
        total = sum(a * (w @ nodes[j]) for a, j in zip(alpha, neighbours, strict=True))
        found.append(np.where(total > 0, total, np.exp(total) - 1))
    return np.concatenate(found)


def test_codes_are_embedded_from_children_up_and_from_ancestors_down():
    torch.manual_seed(0)
    tree = Ontology.for_codes(CODES)
    layer = OntologyEmbedding(tree, dim=3, heads=2)
    nodes = layer.nodes.weight.detach().numpy().astype(float)
    below = {n: [n, *np.flatnonzero(tree.parent == n)] for n in range(len(tree.nodes))}
    enhanced = np.stack([attended(layer.upward, nodes, n, below[n]) for n in below])
    expected = []
    for leaf in tree.leaf:
        above, node = [], leaf
        while node >= 0:
            above.append(node)
            node = tree.parent[node]
        expected.append(attended(layer.downward, enhanced, leaf, above))
    assert np.allclose(layer().detach().numpy(), np.stack(expected), atol=1e-5)


def test_codes_that_share_ancestors_share_what_is_learned_of_them():
    """C03 reaches what lies below it, and by C, of which it is a child, what lies below that."""
    tree = Ontology.for_codes(CODES)
    layer = OntologyEmbedding(tree, dim=3, heads=2)
    before = layer().detach().clone()
    with torch.no_grad():
        layer.nodes.weight[tree.nodes.index("ATC//C03")] += 1
    moved = (layer() - before).abs().amax(1) > 1e-6
    assert moved.tolist() == [True, True, True, False]


def test_gbert_on_dgl_says_the_same():
    pytest.importorskip("dgl", reason="DGL is not installed; it has no release for Python 3.12 and later")
    entry = models.entry("gbert")
    task = Candidate(entry, "multilabel", {}).task
    batch = task.batch(task.rows(0, 6))
    native, on_dgl = (entry.thing(task.spec, dim=4, backend=b).eval() for b in ("native", "dgl"))
    on_dgl.load_state_dict(native.state_dict())
    with torch.no_grad():
        assert torch.allclose(native(batch).logits, on_dgl(batch).logits, atol=1e-5)
    with pytest.raises(UserError, match="backend='dlg' must be 'native' or 'dgl'"):
        entry.thing(task.spec, backend="dlg")


def test_dgl_gives_the_same_outputs_and_gradients():
    pytest.importorskip("dgl", reason="DGL is not installed; it has no release for Python 3.12 and later")
    tree = Ontology.for_codes(CODES)
    layers = [OntologyEmbedding(tree, dim=3, heads=2, backend=b) for b in ("native", "dgl")]
    layers[1].load_state_dict(layers[0].state_dict())
    found = [layer() for layer in layers]
    assert torch.allclose(*found, atol=1e-6)
    for value in found:
        value.square().sum().backward()
    for (name, native), on_dgl in zip(layers[0].named_parameters(), layers[1].parameters(), strict=True):
        assert native.grad.abs().sum() > 0, name
        assert torch.allclose(native.grad, on_dgl.grad, atol=1e-5), name


def test_a_backend_that_is_not_there(monkeypatch):
    tree = Ontology.for_codes(CODES)
    with pytest.raises(UserError, match="backend='dlg' must be 'native' or 'dgl'"):
        OntologyEmbedding(tree, dim=3, heads=2, backend="dlg")
    monkeypatch.setitem(sys.modules, "dgl", None)
    with pytest.raises(UserError, match=r"DGL cannot be imported .* pip install 'ehr-zoo\[dgl\]'"):
        OntologyEmbedding(tree, dim=3, heads=2, backend="dgl")


# The model


@pytest.fixture(scope="module")
def task():
    return FabricatedTask("multilabel", ("diagnosis", "drug"), True, "drug", ("ontology",))


@pytest.fixture
def model(task):
    torch.manual_seed(1)
    return zoo.registry.models.get("gbert")(task.spec, **SMALL).eval()


def test_the_head_gets_means_of_earlier_visits_and_the_own_diagnoses(task, model):
    rows = [r for r in task.rows(0, 30) if len(r.visits) > 2][:3]
    own = [range(len(r.visits)) for r in rows]
    batch = task.batch(rows, own)
    with torch.no_grad():
        visits = {c: model.codes.visits(c, *code_sets(batch[c])).numpy().astype(float) for c in ("diagnosis", "drug")}
        found = model(batch).logits.numpy()
    weight, bias = (w.detach().numpy().astype(float) for w in (model.head.weight, model.head.bias))
    n = 0
    for first, last in zip(batch.row_offsets[:-1].tolist(), batch.row_offsets[1:].tolist(), strict=True):
        for t in range(first, last):
            none = np.zeros(visits["drug"].shape[1])
            means = [visits[c][first:t].mean(0) if t > first else none for c in ("diagnosis", "drug")]
            expected = weight @ np.concatenate([*means, visits["diagnosis"][t]]) + bias
            assert np.allclose(found[n], expected, atol=1e-5)
            n += 1
    assert n == len(found)


def test_at_the_end_of_a_visit_its_own_vectors_are_seen():
    """As Liu et al. have G-BERT tell readmission."""
    task = FabricatedTask("binary", ("diagnosis", "drug"), True, None, ("ontology",))
    model = zoo.registry.models.get("gbert")(task.spec, **SMALL).eval()
    batch = task.batch(task.rows(0, 6))
    with torch.no_grad():
        visits = model.codes(batch)
        own = batch.row_offsets[1:] - 1
        expected = model.head(torch.cat([visits["diagnosis"][own], visits["drug"][own]], dim=1))
        assert torch.allclose(model(batch).logits, expected, atol=1e-6)


def test_a_target_does_not_see_its_own_drugs_but_later_ones_do(task, model):
    row = next(r for r in task.rows(0, 50) if len(r.visits) == 4)
    batch = task.batch([row], [range(4)])
    drugs = batch["drug"]
    first = drugs.ids.clone()
    start, end = drugs.offsets[1], drugs.offsets[2]
    first[start:end] = (first[start:end] - 2 + 3).remainder(task.spec.outputs) + 2
    changed = task.batch([row], [range(4)])
    changed["drug"].ids.copy_(first)
    with torch.no_grad():
        moved = (model(batch).logits - model(changed).logits).abs().amax(1) > 1e-6
    assert moved.tolist() == [False, False, True, True]


def test_the_start_is_a_key_like_any_other(task, model):
    batch = task.batch(task.rows(0, 8))
    before = model.codes.visits("diagnosis", *code_sets(batch["diagnosis"]))
    with torch.no_grad():
        keys = model.codes.layers[0].attend.query_key_value
        rows = model.codes.embed["diagnosis"](code_sets(batch["diagnosis"])[0])
        seen = torch.nn.functional.pad(code_sets(batch["diagnosis"])[1], (1, 0), value=True)
        masked = seen.clone()
        masked[:, 0] = ~masked[:, 1:].any(1)
        assert keys(rows).shape[-1] == 3 * rows.shape[-1]
        without = model.codes.layers[0](rows, masked)[:, 0]
    there = masked[:, 1:].any(1)
    assert ((before - without).abs().amax(1) > 1e-6)[there].all()


def test_a_code_counts_once_and_order_does_not_matter():
    from zoo.data.batch import Ragged

    ids, there = code_sets(Ragged(torch.tensor([7, 3, 7, 1]), torch.tensor([0, 3, 4]), torch.zeros(4)))
    assert [i[t].tolist() for i, t in zip(ids, there, strict=True)] == [[3, 7], [1]]


def test_codes_are_hidden_by_their_own_kind():
    torch.manual_seed(0)
    ids = torch.randint(2, 9, (4000, 10))
    there = torch.rand(ids.shape) < 0.8
    put = hidden(ids, there, 9)
    assert (put[~there] == ids[~there]).all()
    assert put.min() >= 2
    assert put.max() == 9  # [MASK]
    changed = (put != ids)[there].float().mean()
    assert changed == pytest.approx(0.15 * (0.8 + 0.1 * 6 / 7), abs=0.01)
    assert (put == 9)[there].float().mean() == pytest.approx(0.12, abs=0.01)


# Pre-training


def test_pretraining_goes_before_training(session_cache, tmp_path):
    data = zoo.load("synthetic", task="medication", patients=80, concepts=["diagnosis", "drug"])
    how = {"max_epochs": 2, "batch_size": 32, "device": "cpu"}
    model = zoo.create_model("gbert", data, **SMALL)
    before = zoo.pretrain(model, data, out=tmp_path / "before", **how)
    assert 0 < before.metrics["loss"]["value"] < 4
    after = zoo.train("gbert", data, out=tmp_path / "after", init=before.folder, **how)
    assert after.config["model"] == {**SMALL, "backend": "native"}
    assert after.notes[-1].endswith("anew: none")
    assert 0 < after.metrics["jaccard_samples"]["value"] < 1
    assert zoo.evaluate(after.folder, data).metrics == after.metrics
