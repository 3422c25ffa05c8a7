"""Models that read notes, against their equations in NumPy."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from zoo.layers import LabelAttention, SampleText
from zoo.models.notes.caml import CAML
from zoo.models.notes.dr_caml import DRCAML
from zoo.models.notes.laat import LAAT
from zoo.models.notes.text_cnn import TextCNN
from zoo.registry import UserError, models, parameters_of
from zoo.testing._model._patients import FabricatedTask, empty
from zoo.training import Trainer

SMALL = {
    CAML: {"embedding_dim": 5, "filters": 4, "kernel_size": 4, "min_notes": 1},
    DRCAML: {"embedding_dim": 5, "filters": 4, "kernel_size": 4, "min_notes": 1, "regularization": 0.3},
    LAAT: {"embedding_dim": 5, "hidden_dim": 3, "attention_dim": 4, "min_notes": 1},
    TextCNN: {"embedding_dim": 5, "filters": 3, "windows": (2, 3), "min_notes": 1},
}
LENGTHS = {"max_length": 2500}


def made(thing, kind: str = "multilabel", **hyperparameters):
    """A model with weights of a size that tells, and its fabricated task."""
    settings = {**SMALL[thing], **hyperparameters}
    resources = tuple(models.entry(thing.registered_name).facts.resources)
    task = FabricatedTask(kind, ("note",), reading=thing.reading({**LENGTHS, **settings}), resources=resources)
    torch.manual_seed(1)
    model = thing(task.spec, **settings).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.7)
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight[module.padding_idx] = 0
    return model.eval(), task


def some_rows(task, count: int = 12) -> list:
    """Patients, two of whom have no note at all, and one none in the newest visit."""
    first, second, *others, last = task.rows(0, count)
    return [first.changed(empty), second.changed(empty), *others, last.changed(empty, since=1)]


def documents(batch) -> list[list[int]]:
    """The tokens of each sample: of the newest visit that has any."""
    note, found = batch["note"], []
    for row, own in zip(batch.sample_row.tolist(), batch.sample_visit.tolist(), strict=True):
        begin = int(batch.row_offsets[row])
        texts = [
            note.tokens[note.token_offsets[note.offsets[v]] : note.token_offsets[note.offsets[v + 1]]].tolist()
            for v in range(begin, begin + own + 1)
        ]
        found.append(next((t for t in reversed(texts) if t), []))
    return found


def weights_of(model) -> dict[str, np.ndarray]:
    return {n: w.detach().numpy() for n, w in model.named_parameters()}


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max())
    return e / e.sum()


def test_the_text_of_a_sample_is_the_newest_that_it_sees():
    _, task = made(CAML)
    rows = some_rows(task, 20)
    own = [list(range(len(r.visits))) for r in rows]
    batch = task.batch(rows, own)
    text = SampleText(batch)
    for tokens, mask, expected in zip(text.tokens, text.mask, documents(batch), strict=True):
        assert tokens[mask].tolist() == expected
        assert not tokens[~mask].any()
    assert text.lengths.tolist() == [len(d) for d in documents(batch)]
    assert 0 in text.lengths
    numbers = torch.arange(text.mask.numel()).reshape(text.mask.shape)[..., None].double()
    for turned, row, length in zip(text.turned(numbers), numbers, text.lengths.tolist(), strict=True):
        assert turned[:length, 0].tolist() == row[:length, 0].tolist()[::-1]
        assert not turned[length:].any()


# CAML


def caml(document: list[int], w: dict, kernel: int) -> np.ndarray:
    words = w["embedding.weight"][document]
    left = (kernel - 1) // 2
    padded = np.vstack([np.zeros((left, words.shape[1])), words, np.zeros((kernel - 1 - left, words.shape[1]))])
    filters = w["convolution.weight"]  # (d_c, d_e, k)
    hidden = np.array(
        [
            np.tanh(np.einsum("fek,ke->f", filters, padded[n : n + kernel]) + w["convolution.bias"])
            for n in range(len(document))
        ]
    )
    logits = []
    for u, beta, b in zip(w["attention.query.weight"], w["attention.head"], w["attention.bias"], strict=True):
        v = softmax(hidden @ u) @ hidden if document else np.zeros(len(beta))
        logits.append(beta @ v + b)
    return np.array(logits)


@pytest.mark.parametrize("kernel", [1, 4, 5])
def test_caml_is_its_equations(kernel):
    model, task = made(CAML, kernel_size=kernel)
    batch = task.batch(some_rows(task))
    found, w = model(batch), weights_of(model)
    expected = [caml(document, w, kernel) for document in documents(batch)]
    assert np.allclose(found.logits.detach().numpy(), expected, atol=1e-10)
    attention = found.attention["words"]
    total = attention.sum(dim=-1)
    assert torch.allclose(total, torch.tensor([[float(bool(d))] for d in documents(batch)]).double().expand_as(total))


def described(words: list[int], w: dict, kernel: int) -> np.ndarray:
    embedded = w["describe.embedding.weight"][words]
    left = (kernel - 1) // 2
    padded = np.pad(embedded, ((left, kernel - 1 - left), (0, 0)))
    filters, bias = w["describe.convolution.weight"], w["describe.convolution.bias"]
    hidden = [np.tanh(np.einsum("fek,ke->f", filters, padded[m : m + kernel]) + bias) for m in range(len(words))]
    return w["describe.out.weight"] @ np.max(hidden, axis=0) + w["describe.out.bias"]


@pytest.mark.parametrize("kernel", [1, 4])
def test_dr_caml_draws_the_weights_of_a_label_to_its_description(kernel):
    model, task = made(DRCAML, kernel_size=kernel, dropout=0.0)
    batch, w = task.batch(some_rows(task)), weights_of(model)
    names, tokenizer = task.spec.resources["names"], task.spec.vocabularies["note"].tokenizer
    assert any(names)
    assert not all(names)
    per_document = []
    for labels in batch.label.numpy():
        apart = [
            np.linalg.norm(described(tokenizer.encode([names[n]])[0].tolist(), w, kernel) - w["attention.head"][n])
            for n in np.flatnonzero(labels)
            if names[n]
        ]
        per_document.append(np.mean(apart) if apart else 0.0)
    output = model.train()(batch)
    assert np.isclose(
        float(output.losses["descriptions"].detach()), 0.3 / len(names) * np.mean(per_document), rtol=1e-5
    )
    assert torch.equal(output.logits, model.eval()(batch).logits)
    assert not model(batch).losses


def test_the_loss_of_dr_caml_is_that_of_the_paper_by_the_number_of_labels():
    """The paper: the cross-entropy summed over labels, and lambda times the mean distance over those of a document."""
    model, task = made(DRCAML, regularization=10.0, dropout=0.0)
    batch, w = task.batch(some_rows(task)), weights_of(model)
    names, tokenizer = task.spec.resources["names"], task.spec.vocabularies["note"].tokenizer
    output = model.train()(batch)
    found = model.loss(output, batch) + sum(output.losses.values())
    whole = []
    for logits, labels in zip(output.logits.detach().numpy(), batch.label.numpy(), strict=True):
        entropy = np.sum(np.logaddexp(0, logits) - labels * logits)
        apart = [
            np.linalg.norm(described(tokenizer.encode([names[n]])[0].tolist(), w, 4) - w["attention.head"][n])
            for n in np.flatnonzero(labels)
            if names[n]
        ]
        whole.append(entropy + 10.0 * (np.mean(apart) if apart else 0.0))
    assert np.isclose(float(found.detach()), np.mean(whole) / len(names), rtol=1e-5)


def test_dr_caml_without_any_description_is_refused():
    _, task = made(DRCAML)
    nameless = replace(task.spec, resources={"names": ("",) * task.spec.outputs})
    with pytest.raises(UserError, match=r"no label of the task has a name .* try caml"):
        DRCAML(nameless)


def test_label_attention_without_a_token_has_gradients_that_are_numbers():
    layer = LabelAttention(4, 3, 5)
    tokens = torch.randn(2, 6, 4, requires_grad=True)
    mask = torch.tensor([[True] * 4 + [False] * 2, [False] * 6])
    logits, attention = layer(tokens, mask)
    assert torch.equal(logits[1], layer.bias)
    assert not attention[1].any()
    logits.sum().backward()
    assert torch.isfinite(tokens.grad).all()
    assert not tokens.grad[1].any()
    assert not tokens.grad[0, 4:].any()


# LAAT


def lstm(inputs: np.ndarray, w: dict, name: str) -> np.ndarray:
    """The states of an LSTM in the order of torch's gates: input, forget, cell, output."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    size = w[f"{name}.weight_hh_l0"].shape[1]
    h, c, states = np.zeros(size), np.zeros(size), []
    for x in inputs:
        gates = w[f"{name}.weight_ih_l0"] @ x + w[f"{name}.bias_ih_l0"] + w[f"{name}.weight_hh_l0"] @ h
        i, f, g, o = np.split(gates + w[f"{name}.bias_hh_l0"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


def laat(document: list[int], w: dict) -> np.ndarray:
    if not document:
        return w["attention.bias"]
    words = w["embedding.weight"][document]
    hidden = np.hstack([lstm(words, w, "forward_lstm"), lstm(words[::-1], w, "backward_lstm")[::-1]])
    z = np.tanh(w["attention.project.weight"] @ hidden.T)
    rows = w["attention.query.weight"] @ z
    v = np.array([softmax(r) @ hidden for r in rows])
    return (w["attention.head"] * v).sum(axis=1) + w["attention.bias"]


def test_laat_is_its_equations():
    model, task = made(LAAT)
    batch = task.batch(some_rows(task))
    w = weights_of(model)
    expected = [laat(document, w) for document in documents(batch)]
    assert np.allclose(model(batch).logits.detach().numpy(), expected, atol=1e-10)


# Kim's network


def kim(document: list[int], w: dict, windows: tuple[int, ...]) -> np.ndarray:
    found = []
    for place, h in enumerate(windows):
        filters, bias = w[f"convolutions.{place}.weight"], w[f"convolutions.{place}.bias"]
        words = w["embedding.weight"][np.array(document, int)]
        if len(words) < h:
            words = np.vstack([words, np.zeros((h - len(words), w["embedding.weight"].shape[1]))])
        outputs = [
            np.maximum(np.einsum("fek,ke->f", filters, words[n : n + h]) + bias, 0) for n in range(len(words) - h + 1)
        ]
        found.append(np.max(outputs, axis=0) if document else np.zeros(len(bias)))
    return w["head.weight"] @ np.concatenate(found) + w["head.bias"]


@pytest.mark.parametrize("windows", [(2, 3), (1, 40)])
def test_the_convolutional_network_is_its_equations(windows):
    model, task = made(TextCNN, windows=windows)
    batch = task.batch(some_rows(task))
    w = weights_of(model)
    expected = [kim(document, w, windows) for document in documents(batch)]
    assert np.allclose(model(batch).logits.detach().numpy(), expected, atol=1e-10)
    assert min(len(d) for d in documents(batch)) < 40


def test_rows_that_are_too_long_are_shortened_in_training_alone():
    model, task = made(TextCNN)
    batch, before = task.batch(task.rows(0, 4)), model.head.weight.detach().clone()
    with torch.no_grad():
        model.head.weight.mul_(10)
    model(batch)
    assert torch.equal(model.head.weight, before * 10)
    model.train()(batch)
    assert torch.allclose(model.head.weight.norm(dim=1), torch.full((len(before),), 3.0).double())


# Whatever the model


@pytest.mark.parametrize("thing", SMALL)
def test_what_is_behind_the_limit_is_not_read(thing):
    whole, task = made(thing)
    short, other = made(thing, max_length=7)
    short.load_state_dict(whole.state_dict())
    rows = some_rows(task)
    full, cut = documents(task.batch(rows)), documents(other.batch(rows))
    assert {len(d) for d in cut} == {0, 7} or max(len(d) for d in cut) == 7
    assert any(a != b for a, b in zip(full, cut, strict=True))
    with torch.no_grad():
        found, expected = short(other.batch(rows)).logits, whole(task.batch(rows)).logits
    differs = ((found - expected).abs() > 1e-9).any(dim=1).tolist()
    assert all(not d for d, (a, b) in zip(differs, zip(full, cut, strict=True), strict=True) if a == b)
    assert any(differs)


@pytest.mark.parametrize("thing", SMALL)
def test_all_kinds_are_served(thing):
    for kind in models.entry(thing.registered_name).facts.kinds:
        logits_are_one_an_output(*made(thing, kind))


def logits_are_one_an_output(model, task):
    batch = task.batch(task.rows(0, 5))
    assert model(batch).logits.shape == (5, task.spec.outputs)
    assert all(a <= b for a, b in pairwise(batch.row_offsets.tolist()))


def defaults(thing) -> dict:
    return {n: p.default for n, p in parameters_of(thing).items()}


def test_defaults_are_those_of_the_papers():
    assert defaults(TextCNN)["embedding_dim"] == 300
    assert defaults(DRCAML)["regularization"] == 10.0
    for thing in (CAML, DRCAML):
        said = thing.trainer_defaults(None)
        assert (said["max_epochs"], said["patience"]) == (200, 10)


OF_TEXTS = ("caml", "clinical_bert", "dr_caml", "laat", "med_bert", "med_bert_clinical_bert", "medm_plm", "plm_icd")


@pytest.mark.parametrize("name", [*OF_TEXTS, "text_cnn", "text_encoder"])
def test_what_is_published_is_told_of_settings_that_there_are(name):
    entry = models.entry(name)
    known = {f"model.{n}" for n in parameters_of(entry.thing)} | {f"trainer.{f.name}" for f in fields(Trainer)}
    assert set(entry.facts.published) <= known
    assert set(entry.facts.search) <= known
