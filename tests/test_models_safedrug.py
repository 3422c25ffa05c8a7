"""SafeDrug: its parts against NumPy, its molecules, and that its loss holds interactions at a target."""

import itertools
import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from test_models_waits import waits

import zoo
from zoo.data import Spec
from zoo.knowledge.molecules import molecules
from zoo.models import Output
from zoo.models.medication._drug_sets import cross_entropy, expected_interactions, interaction_rate, margin
from zoo.models.medication._neighbourhoods import rounds
from zoo.models.medication.safedrug import MaskedLinear, MoleculeEncoder
from zoo.testing._model._patients import FabricatedTask

CONCEPTS = ("diagnosis", "procedure")
RESOURCES = ("cooccurrence", "interactions", "molecules")
SALT, PROTEIN = "ATC//A12B", "ATC//A10A"
"""Potassium, of whose compounds most are salts, and insulins, which have no structure here."""


@pytest.fixture(scope="module")
def task():
    return FabricatedTask("multilabel", CONCEPTS, True, "drug", RESOURCES)


@pytest.fixture
def model(task):
    torch.manual_seed(1)
    return zoo.registry.models.get("safedrug")(task.spec, dim=8, dropout=0.0).eval()


@pytest.fixture(scope="module")
def few():
    return molecules([SALT, PROTEIN, "ATC//N02B"])


def array(tensor):
    return tensor.detach().numpy().astype(float)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The encoders


def test_messages_go_along_bonds_and_means_over_atoms_and_molecules(few):
    torch.manual_seed(0)
    layer = MoleculeEncoder(few, dim=4, layers=2)
    table, graphs = array(layer.embed.weight), few.graphs
    encoded = []
    for begin, end in zip(graphs.offsets[:-1], graphs.offsets[1:], strict=True):
        bonds = graphs.bonds[:, (graphs.bonds[0] >= begin) & (graphs.bonds[0] < end)] - begin
        adjacency = np.zeros((end - begin, end - begin))
        adjacency[bonds[0], bonds[1]] = 1
        atoms = table[graphs.atoms[begin:end]]
        for linear in layer.layers:
            hidden = np.maximum(atoms @ array(linear.weight).T + array(linear.bias), 0)
            atoms = hidden + adjacency @ hidden
            atoms /= np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)
        encoded.append(atoms.mean(0))
    expected = [np.mean([e for e, a in zip(encoded, row, strict=True) if a], axis=0) for row in few.average]
    assert np.allclose(array(layer()), expected, atol=1e-5)


def test_atoms_that_have_heard_the_same_are_one(few):
    graphs = few.graphs
    made, kind = rounds(graphs.atoms, graphs.bonds, graphs.bond_kinds, 2)
    heard = {n: (int(a),) for n, a in enumerate(graphs.atoms)}
    bonds = list(zip(*graphs.bonds.tolist(), graphs.bond_kinds.tolist(), strict=True))
    for _ in range(2):
        heard = {n: (own, tuple(sorted((heard[s], k) for s, t, k in bonds if t == n))) for n, own in heard.items()}
    numbers = {h: n for n, h in enumerate(dict.fromkeys(heard.values()))}
    assert kind.tolist() == [numbers[h] for h in heard.values()]
    assert len(made[-1].own) == len(numbers) < len(graphs.atoms)


def test_salts_and_classes_without_a_molecule_have_a_vector(few):
    torch.manual_seed(0)
    assert PROTEIN in few.without
    assert SALT not in few.without
    assert "potassium chloride" in few.names
    encoded = MoleculeEncoder(few, dim=8, layers=2)()
    assert (encoded.norm(dim=1) > 1e-3).all()


def test_weights_outside_the_mask_do_not_count():
    torch.manual_seed(0)
    mask = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    layer, x = MaskedLinear(torch.tensor(mask)), torch.randn(2, 3)
    weight, bias = array(layer.weight), array(layer.bias)
    expected = [
        [sum(weight[o, s] * v[s] for s in range(3) if mask[o, s]) + bias[o] for o in range(3)] for v in array(x)
    ]
    assert np.allclose(array(layer(x)), expected, atol=1e-6)
    layer(x).square().sum().backward()
    assert (layer.weight.grad[~layer.mask] == 0).all()
    assert (layer.weight.grad[layer.mask] != 0).all()


def test_logits_are_the_product_of_both_encoders(task, model):
    batch = task.batch(task.rows(0, 6))
    patient, classes = array(model.patient(batch.at_samples(model.states(batch)))), array(model.molecules())
    match = sigmoid(patient @ classes.T)
    whole = match + match @ array(model.mix.weight).T + array(model.mix.bias)
    whole = (whole - whole.mean(1, keepdims=True)) / np.sqrt(whole.var(1, keepdims=True) + 1e-5)
    function = sigmoid(patient @ array(model.functions.weight).T + array(model.functions.bias))
    weight = array(model.bipartite.weight) * task.spec.resources["molecules"].mask
    parts = function @ weight.T + array(model.bipartite.bias)
    assert np.allclose(array(model(batch).logits), whole * parts, atol=1e-4)


def test_a_class_without_a_molecule_is_learned(task, few):
    facts = {"molecules": few, "interactions": np.zeros((3, 3), bool), "cooccurrence": np.zeros((3, 3), np.int64)}
    spec = Spec(**{**vars(task.spec), "labels": few.classes, "resources": facts})
    torch.manual_seed(0)
    model = zoo.registry.models.get("safedrug")(spec, dim=8, dropout=0.0)
    place = few.classes.index(PROTEIN)
    logits = model(task.batch(task.rows(0, 20))).logits[:, place]
    assert logits.std() > 1e-4
    logits.sum().backward()
    assert model.bipartite.bias.grad[place] != 0
    assert model.molecules.embed.weight.grad[few.graphs.atoms[few.graphs.offsets[few.names.index(PROTEIN)]]].any()


def test_the_molecule_encoder_is_trained_and_saved(task, model):
    batch = task.batch(task.rows(0, 12))
    before = model.molecules()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.train().loss(model(batch), batch).backward()
    encoder = dict(model.molecules.named_parameters())
    assert len(encoder) == 5
    assert all(p.grad.abs().max() > 0 for p in encoder.values())
    optimizer.step()
    assert not torch.allclose(model.molecules(), before)
    assert {f"molecules.{n}" for n in encoder} <= set(model.state_dict())
    spec = Spec.from_dict(json.loads(json.dumps(task.spec.to_dict())))
    again = zoo.registry.models.get("safedrug")(spec, dim=8, dropout=0.0)
    again.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(again.molecules(), model.molecules())


# The loss


def test_the_weight_is_one_up_to_the_target_and_falls_to_nothing_over_kp(model):
    model.target_ddi, rate = 0.06, torch.tensor([0.0, 0.06, 0.07, 0.085, 0.11, 0.5, 1.0])
    assert model.safe_share(rate).tolist() == pytest.approx([1, 1, 0.8, 0.5, 0, 0, 0], abs=1e-5)


@pytest.mark.parametrize(("target", "kp"), [(0.25, 0.2), (0.02, 0.01), (1.0, 0.05)])
def test_each_sample_is_weighed_by_its_own_interactions(task, model, target, kp):
    batch = task.batch(task.rows(0, 12))
    torch.manual_seed(2)
    logits = torch.randn(batch.samples, task.spec.outputs)
    model.target_ddi, model.kp = target, kp
    bce, multi = (array(x) for x in (cross_entropy(logits, batch.label), margin(logits.sigmoid(), batch.label)))
    unsafe = array(expected_interactions(logits.sigmoid(), model.interactions)) / task.spec.outputs
    rate = array(interaction_rate(logits.sigmoid(), model.interactions))
    beta = [1 if r <= target else max(0, 1 - (r - target) / kp) for r in rate]
    expected = [
        b * (0.95 * e + 0.05 * m) + (1 - b) * (1 + u) for b, e, m, u in zip(beta, bce, multi, unsafe, strict=True)
    ]
    assert model.loss(Output(logits), batch).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_far_above_the_target_no_wrong_prediction_is_rewarded(task, model):
    """With a negative weight, the published one, the gradient would drive apart prediction and label."""
    batch = task.batch(task.rows(0, 12))
    logits = torch.full((batch.samples, task.spec.outputs), 2.0, requires_grad=True)
    model.target_ddi, model.kp = 0.0, 0.01
    model.loss(Output(logits), batch).backward()
    assert (logits.grad >= 0).all()  # every drug is made less likely, whether the patient has it or not


def test_a_step_does_not_wait(task, model):
    batch = task.batch(task.rows(0, 12))
    _ = batch.longest, [ragged.longest for ragged in batch.values()]
    model.train()
    assert not waits(lambda: model.loss(model(batch), batch).backward())


# The target


def prescribed(spec, share):
    """A specification whose training sets have so many interacting pairs in a hundred."""
    among, together = spec.resources["interactions"], np.zeros((spec.outputs,) * 2, np.int64)
    apart = ~among & ~np.eye(spec.outputs, dtype=bool)
    for pairs, count in ((among, share), (apart, 100 - share)):
        a, b = np.argwhere(pairs)[0]
        together[a, b] = together[b, a] = count
    return Spec(**{**vars(spec), "resources": {**spec.resources, "cooccurrence": together}})


@pytest.mark.parametrize("name", ["safedrug", "molerec"])
def test_the_default_target_is_the_published_one_unless_far_more_is_prescribed(task, name):
    kind = zoo.registry.models.get(name)
    for share, given, target, words in (
        (0, None, 0.06, None),
        (8, None, 0.06, None),
        (
            40,
            None,
            0.4,
            "40.0% of the pairs .* interact, far above the published target_ddi=0.06",
        ),
        (40, 0.06, 0.06, "40.0% .* far above the target_ddi=0.06: .* few drugs are left"),
        (40, 0.4, 0.4, None),
    ):
        model = kind(prescribed(task.spec, share), dim=8, target_ddi=given)
        assert model.target_ddi == pytest.approx(target)
        assert len(model.remarks()) == (words is not None)
        assert all(re.match(words, remark) for remark in model.remarks())


def test_a_run_says_that_its_target_is_not_the_published_one(session_cache, tmp_path):
    data = zoo.load("synthetic", task="medication", patients=80, concepts=list(CONCEPTS))
    label = data.label("train")
    pairs = [
        data.outcomes.interactions[a, b] for row in label for a, b in itertools.combinations(np.flatnonzero(row), 2)
    ]
    model = zoo.create_model("safedrug", data, seed=0, dim=8)
    assert model.target_ddi == pytest.approx(np.mean(pairs))
    words = "far above the published target_ddi=0.06: the target is their own rate"
    with pytest.warns(UserWarning, match=f"safedrug: .* {words}"):
        result = zoo.train(model, data, out=tmp_path / "run", max_epochs=1, batch_size=64, device="cpu")
    assert sum(words in note for note in result.notes) == 1
    assert zoo.evaluate(result.folder, data).metrics == result.metrics


@pytest.mark.slow
def test_the_predicted_share_of_interactions_follows_the_target(session_cache, tmp_path):
    data = zoo.load("synthetic", task="medication", patients=300, concepts=list(CONCEPTS), interactions="onc")
    rate = {}
    for target in (0.02, 1.0):
        model = zoo.create_model("safedrug", data, dim=32, target_ddi=target)
        how = {"max_epochs": 15, "batch_size": 16, "lr": 3e-3, "device": "cpu"}
        result = zoo.train(model, data, out=tmp_path / str(target), **how)
        rate[target] = result.metrics["ddi_rate"]["value"]
        assert result.metrics["jaccard_samples"]["value"] > 0.25
    assert result.metrics["ddi_rate_true"]["value"] > 0.05
    assert rate[0.02] <= 0.03 < 0.05 < rate[1.0]
