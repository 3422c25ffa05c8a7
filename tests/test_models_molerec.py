"""MoleRec: its graph networks, attention and loss against NumPy, and classes without molecule or substructure."""

import json

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
from zoo.models.medication.molerec import ClassEncoder, GraphIsomorphism, MaskedAttention, SubstructureEncoder, pooled
from zoo.registry import UserError
from zoo.testing._model._patients import FabricatedTask

CONCEPTS = ("diagnosis", "procedure")
RESOURCES = ("cooccurrence", "interactions", "molecules")
SALT, PROTEIN, FEW = "ATC//A12B", "ATC//A10A", ("ATC//A10A", "ATC//A12B", "ATC//N02B")
"""Potassium, of whose compounds most are salts, and insulins, which have no structure here."""


@pytest.fixture(scope="module")
def task():
    return FabricatedTask("multilabel", CONCEPTS, True, "drug", RESOURCES)


def made(spec, **hyperparameters):
    torch.manual_seed(1)
    return zoo.registry.models.get("molerec")(spec, **{"dim": 8, "dropout": 0.0, **hyperparameters}).eval()


@pytest.fixture
def model(task):
    return made(task.spec)


@pytest.fixture(scope="module")
def few():
    return molecules(list(FEW))


def array(tensor):
    return tensor.detach().numpy().astype(float)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(layer, x):
    return x @ array(layer.weight).T + array(layer.bias)


def norm(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * array(layer.weight) + array(layer.bias)


def graph_vectors(layer, graphs):
    """(G, dim) as the equations say, graph by graph and atom by atom."""
    found = []
    for begin, end in zip(graphs.offsets[:-1], graphs.offsets[1:], strict=True):
        own = (graphs.bonds[1] >= begin) & (graphs.bonds[1] < end)
        bonds = list(zip(*(graphs.bonds[:, own] - begin), graphs.bond_kinds[own], graphs.sides[own], strict=True))
        atoms = array(layer.atoms.weight)[graphs.atoms[begin:end]]
        atoms = atoms + array(layer.chirality.weight)[graphs.chirality[begin:end]]
        for place, (kinds, sides, update) in enumerate(zip(layer.kinds, layer.sides, layer.update, strict=True)):
            if place:
                atoms = np.maximum(atoms, 0)
            new = (1 + layer.epsilon[place].item()) * atoms
            for source, target, kind, side in bonds:
                new[target] += np.maximum(atoms[source] + array(kinds.weight)[kind] + array(sides.weight)[side], 0)
            atoms = norm(update[3], linear(update[2], np.maximum(linear(update[0], new), 0)))
        found.append(atoms.mean(0))
    return np.array(found)


# Graphs


@pytest.mark.parametrize("of", ["graphs", "fragments"])
def test_atoms_hear_of_their_neighbours_along_bonds_of_a_kind(few, of):
    torch.manual_seed(0)
    graphs = getattr(few, of)
    layer = GraphIsomorphism(graphs, few.fingerprints, dim=4, layers=3)
    with torch.no_grad():
        layer.epsilon.copy_(torch.tensor([0.3, -0.2, 0.1]))
    assert len(set(graphs.bond_kinds.tolist())) > 2
    assert np.allclose(array(layer()), graph_vectors(layer, graphs), atol=1e-5)


def test_the_networks_are_as_deep_and_wide_as_the_published_ones(task):
    model = zoo.registry.models.get("molerec")(task.spec, dim=8)
    for network in (model.classes.encode, model.substructures.encode):
        assert [update[0].out_features for update in network.update] == [16] * 4
    assert model.states.dropout.p == 0.7


@pytest.mark.parametrize(
    "pair",
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"),  # alanine and its mirror image
        ("C/C=C/C", "C/C=C\\C"),
        ("CCOC(=O)[C@H](CCc1ccccc1)N[C@@H](C)C(=O)O", "CCOC(=O)[C@@H](CCc1ccccc1)N[C@@H](C)C(=O)O"),
    ],
)
def test_stereoisomers_have_vectors_of_their_own(pair):
    given = dict(zip(("furosemide", "bumetanide"), pair, strict=True))
    found = molecules(["C03CA01", "C03CA02"], smiles=given)
    torch.manual_seed(0)
    vectors = ClassEncoder(found, dim=8, layers=2)()
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_a_class_is_the_mean_of_its_molecules(few):
    torch.manual_seed(0)
    layer = ClassEncoder(few, dim=4, layers=2)
    encoded = graph_vectors(layer.encode, few.graphs)
    expected = [np.mean([e for e, a in zip(encoded, row, strict=True) if a], axis=0) for row in few.average]
    assert np.allclose(array(layer()), expected, atol=1e-5)


def test_a_class_without_a_readable_molecule_has_a_vector_and_a_substructure_of_its_own():
    with pytest.warns(UserWarning, match="paracetamol"):
        found = molecules(["ATC//N02BE01", PROTEIN, SALT], smiles={"paracetamol": "not a molecule("})
    assert set(found.without) >= {"ATC//N02BE01", PROTEIN}
    torch.manual_seed(0)
    classes, substructures = ClassEncoder(found, 8, 2), SubstructureEncoder(found, 8, 2, 2)
    assert (classes().norm(dim=1) > 1e-3).all()
    known = found.mask.shape[1]
    none = np.flatnonzero(~found.mask.any(1))
    assert len(none) >= 2
    assert substructures.mask.sum(1).min() == 1
    assert substructures.mask[none, :known].sum() == 0
    assert substructures.mask[:, known:].sum(0).tolist() == [1] * len(none)
    assert torch.isfinite(substructures()).all()


def test_substructures_see_one_another(few):
    torch.manual_seed(0)
    layer = SubstructureEncoder(few, dim=4, layers=2, heads=2).eval()
    before = layer()
    with torch.no_grad():
        layer.own[0] += 1
    assert ((layer() - before).abs().amax(1) > 1e-6).all()


# Attention


def test_attention_is_over_the_substructures_of_a_class():
    torch.manual_seed(0)
    mask = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]], bool)
    layer, rows, columns = MaskedAttention(torch.tensor(mask), 6), torch.randn(3, 6), torch.randn(4, 6)
    score = linear(layer.query, array(rows)) @ linear(layer.key, array(columns)).T / np.sqrt(6)
    expected = np.zeros((3, 4))
    for row in range(3):
        expected[row, mask[row]] = softmax(score[row, mask[row]])
    found = layer(rows, columns)
    assert np.allclose(array(found), expected, atol=1e-6)
    assert (found[~layer.mask] == 0).all()


def test_a_drug_is_the_sum_of_what_matters_to_the_patient():
    random = np.random.default_rng(0)
    relevance, weight, vectors = random.random((3, 5)), random.random((4, 5)), random.normal(size=(5, 2))
    found = pooled(*(torch.tensor(x) for x in (relevance, weight, vectors))).numpy()
    for n in range(3):
        for m in range(4):
            assert found[n, m] == pytest.approx(sum(weight[m, s] * relevance[n, s] * vectors[s] for s in range(5)))


def test_logits_are_of_the_patient_and_of_the_substructures_of_drugs(task, model):
    batch = task.batch(task.rows(0, 6))
    patient = linear(model.patient, array(batch.at_samples(model.states(batch))))
    relevance = sigmoid(linear(model.relevance, patient))
    classes, parts, mask = array(model.classes()), array(model.substructures()), model.attend.mask.numpy()
    score = linear(model.attend.query, classes) @ linear(model.attend.key, parts).T / np.sqrt(8)
    logits = array(model(batch).logits)
    for m in range(task.spec.outputs):
        own = np.flatnonzero(mask[m])
        vectors = (relevance[:, own] * softmax(score[m, own])) @ parts[own]
        expected = linear(model.score[2], np.maximum(linear(model.score[0], vectors), 0))[:, 0]
        assert np.allclose(logits[:, m], expected, atol=1e-4)


def test_a_class_without_a_molecule_is_learned(task, few):
    facts = {"molecules": few, "interactions": np.zeros((3, 3), bool), "cooccurrence": np.zeros((3, 3), np.int64)}
    spec = Spec(**{**vars(task.spec), "labels": few.classes, "resources": facts})
    model, place = made(spec), few.classes.index(PROTEIN)
    logits = model(task.batch(task.rows(0, 20))).logits[:, place]
    assert logits.std() > 1e-5
    logits.sum().backward()
    assert model.substructures.own.grad.abs().max() > 0


def test_graph_networks_are_trained_run_once_a_step_and_saved(task, model):
    batch, calls = task.batch(task.rows(0, 12)), []
    for network in (model.classes.encode, model.substructures.encode):
        network.register_forward_hook(lambda *_: calls.append(1))
    model.train().loss(model(batch), batch).backward()
    assert len(calls) == 2
    for network in (model.classes.encode, model.substructures.encode):
        assert all(p.grad.abs().max() > 0 for p in network.parameters())
    spec = Spec.from_dict(json.loads(json.dumps(task.spec.to_dict())))
    again = made(spec)
    again.load_state_dict(load(save({n: x + 0.1 for n, x in model.state_dict().items()})))
    for name, parameter in again.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name) + 0.1)


# The loss


def test_the_weight_is_one_up_to_the_target_and_falls_with_distance(model):
    model.target_ddi, rate = 0.06, [0.0, 0.06, 0.12, 0.6]
    expected = [1, 1, np.exp(-2.5), np.exp(-22.5)]
    assert model.safe_share(torch.tensor(rate)).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("target", "tau"), [(0.25, 2.5), (0.1, 0.5), (1.0, 3.0)])
def test_each_sample_is_weighed_by_its_own_interactions(task, model, target, tau):
    batch = task.batch(task.rows(0, 12))
    torch.manual_seed(2)
    logits = torch.randn(batch.samples, task.spec.outputs)
    model.target_ddi, model.tau = target, tau
    bce, multi = (array(x) for x in (cross_entropy(logits, batch.label), margin(logits.sigmoid(), batch.label)))
    unsafe = array(expected_interactions(logits.sigmoid(), model.interactions)) / task.spec.outputs
    rate = array(interaction_rate(logits.sigmoid(), model.interactions))
    beta = [1 if r <= target else np.exp(tau * (1 - r / target)) for r in rate]
    expected = [
        b * (0.95 * e + 0.05 * m) + (1 - b) * (1 + u) for b, e, m, u in zip(beta, bce, multi, unsafe, strict=True)
    ]
    assert model.loss(Output(logits), batch).item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("how", "words"), [({"target_ddi": 0.0}, "target_ddi=0.0 must be above 0"), ({"heads": 3}, "dim=8 must be")]
)
def test_hyperparameters_that_cannot_be(task, how, words):
    with pytest.raises(UserError, match=words):
        made(task.spec, **how)


def test_a_step_does_not_wait(task, model):
    batch = task.batch(task.rows(0, 12))
    _ = batch.longest, [ragged.longest for ragged in batch.values()]
    model.train()
    assert not waits(lambda: model.loss(model(batch), batch).backward())
