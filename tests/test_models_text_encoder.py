"""Models with a text encoder: chunks, hidden tokens, how predictions of chunks are put together, published encoders."""

import json

import numpy as np
import pytest
import torch
from test_models_text import documents, softmax, some_rows
from torch.nn import functional as F

import zoo
from zoo.layers import TextChunks, TextEncoder, hide
from zoo.models.notes.clinical_bert import ClinicalBERT
from zoo.models.notes.plm_icd import PLMICD
from zoo.models.notes.text_encoder import TextEncoderModel
from zoo.registry import UserError, parameters_of
from zoo.testing._model._patients import FabricatedTask
from zoo.training import Trainer
from zoo.training._optimizer import make_optimizer

SMALL = {"encoder_dim": 8, "encoder_layers": 2, "encoder_heads": 2, "vocabulary_size": 300}
THINGS = [ClinicalBERT, PLMICD, TextEncoderModel]


def made(thing, kind: str = "multilabel", **hyperparameters):
    """A small model, and its fabricated task."""
    settings = {**SMALL, **hyperparameters}
    defaults = {n: p.default for n, p in parameters_of(thing).items()}
    task = FabricatedTask(kind, ("note",), reading=thing.reading({**defaults, **settings}), resources=("encoder",))
    torch.manual_seed(1)
    model = thing(task.spec, **settings).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model.eval(), task


def test_chunks_are_the_texts_between_their_marks():
    model, task = made(ClinicalBERT, chunk=7)
    rows = some_rows(task)
    batch = task.batch(rows)
    note, tokenizer = batch["note"], model.tokenizer
    chunks = TextChunks(note, tokenizer, 7)
    pad, begin, end = (tokenizer.special(n) for n in ("[PAD]", "[CLS]", "[SEP]"))
    for visit in range(len(batch.visit_start)):
        tokens = note.tokens[note.text_offsets[visit] : note.text_offsets[visit + 1]].tolist()
        expected = [tokens[i : i + 7] for i in range(0, len(tokens), 7)] or [[]]
        first, count = int(chunks.begin[visit]), int(chunks.count[visit])
        assert count == len(expected)
        if not tokens:
            assert first == len(chunks.tokens) - 1
        for place, part in enumerate(expected, start=first):
            assert chunks.tokens[place].tolist() == [begin, *part, end, *[pad] * (7 - len(part))]
            assert chunks.mask[place].sum() == len(part) + 2
            assert chunks.text[place].tolist() == [False, *[True] * len(part), *[False] * (8 - len(part))]
    place, mask = chunks.of_samples(batch)
    for chosen, real, document in zip(place, mask, documents(batch), strict=True):
        together = [t for c in chosen[real].tolist() for t in chunks.tokens[c][chunks.text[c]].tolist()]
        assert together == document


def test_hidden_tokens_are_a_share_of_each_chunk():
    torch.manual_seed(0)
    tokens = torch.arange(5, 505).repeat(400, 1)
    length = torch.randint(0, 501, (400,))
    length[:3] = torch.tensor([0, 1, 500])
    mask = torch.arange(500) < length[:, None]
    found = hide(tokens, mask, 4, (0, 505))
    told = found.counts.sum(dim=1)
    assert told.tolist() == [min(max(round(float(n) * 0.15), 1), int(n)) for n in length.double()]
    assert torch.equal(found.target, tokens.gather(1, found.place))
    assert mask.gather(1, found.place)[found.counts].all()
    left = torch.ones_like(mask).scatter(1, found.place.where(found.counts, found.place[:, :1]), False)
    assert torch.equal(found.tokens[left], tokens[left])
    fate = found.tokens.gather(1, found.place)[found.counts]
    target, some = found.target[found.counts], len(fate)
    assert (fate == 4).sum() / some == pytest.approx(0.8, abs=0.02)
    assert (fate == target).sum() / some == pytest.approx(0.1, abs=0.015)
    other = (fate != 4) & (fate != target)
    assert other.sum() / some == pytest.approx(0.1, abs=0.015)
    assert len(fate[other].unique()) > 300


def test_the_loss_of_hidden_tokens_is_the_mean_over_them():
    model, task = made(TextEncoderModel, chunk=9)
    batch = task.batch(some_rows(task))
    torch.manual_seed(5)
    found = float(model.pretrain(batch).losses["tokens"].detach())
    torch.manual_seed(5)
    chunks = TextChunks(batch["note"], model.tokenizer, 9)
    hidden = hide(chunks.tokens, chunks.text, model.tokenizer.special("[MASK]"), (0, model.tokenizer.size))
    w = {n: p.detach().numpy() for n, p in model.named_parameters()}
    with torch.no_grad():
        states = model.encoder(chunks.reading(hidden.tokens)).numpy()
    losses = []
    for row in range(len(states)):
        for n in range(hidden.place.shape[1]):
            if not hidden.counts[row, n]:
                continue
            h = (
                w["hidden_tokens.transform.0.weight"] @ states[row, hidden.place[row, n]]
                + w["hidden_tokens.transform.0.bias"]
            )
            h = F.gelu(torch.tensor(h)).numpy()
            h = (h - h.mean()) / np.sqrt(h.var() + 1e-5) * w["hidden_tokens.transform.2.weight"] + w[
                "hidden_tokens.transform.2.bias"
            ]
            scores = w["encoder.bert.embeddings.word_embeddings.weight"] @ h + w["hidden_tokens.bias"]
            losses.append(-np.log(softmax(scores)[hidden.target[row, n]]))
    assert len(losses) > 20
    assert found == pytest.approx(np.mean(losses), rel=1e-6)


def test_pretraining_without_a_word_is_no_loss():
    model, task = made(TextEncoderModel)
    bare = [r.changed(lambda _, events: events.none) for r in task.rows(0, 3)]
    assert float(model.pretrain(task.batch(bare)).losses["tokens"].detach()) == 0


def of_chunks(model, batch) -> list[np.ndarray]:
    """(chunks, outputs) logits of the chunks of each sample, each read by itself."""
    begin, end = (model.tokenizer.special(n) for n in ("[CLS]", "[SEP]"))
    found = []
    for document in documents(batch):
        parts = [document[i : i + model.chunk] for i in range(0, len(document), model.chunk)] or [[]]
        with torch.no_grad():
            states = [model.encoder.bert(torch.tensor([[begin, *p, end]])).last_hidden_state[0] for p in parts]
        w, b = model.head.weight.detach().numpy(), model.head.bias.detach().numpy()
        found.append(np.array([w @ s[0].numpy() + b for s in states]))
    return found


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("c", [2.0, 0.5])
def test_predictions_of_chunks_are_put_together_as_in_the_paper(c):
    model, task = made(ClinicalBERT, chunk=7, c=c)
    batch = task.batch(some_rows(task))
    with torch.no_grad():
        found = model.predict(model(batch)).numpy()
    expected = []
    for logits in of_chunks(model, batch):
        p, n = sigmoid(logits), len(logits)
        expected.append((p.max(axis=0) + p.mean(axis=0) * n / c) / (1 + n / c))
    assert np.allclose(found, expected, atol=1e-9)
    assert len({len(x) for x in of_chunks(model, batch)}) > 2


def test_classes_and_numbers_are_put_together_too():
    model, task = made(ClinicalBERT, "multiclass", chunk=7)
    batch = task.batch(some_rows(task))
    with torch.no_grad():
        found = model.predict(model(batch)).numpy()
    for row, logits in zip(found, of_chunks(model, batch), strict=True):
        p, n = np.array([softmax(x) for x in logits]), len(logits)
        together = p.max(axis=0) + p.mean(axis=0) * n / 2
        assert np.allclose(row, together / together.sum(), atol=1e-9)
    model, task = made(ClinicalBERT, "regression", chunk=7)
    batch = task.batch(some_rows(task))
    with torch.no_grad():
        found = model.predict(model(batch)).numpy()
    assert np.allclose(found, [x.mean() for x in of_chunks(model, batch)], atol=1e-9)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_each_chunk_is_trained_with_the_label_of_its_document(kind):
    model, task = made(ClinicalBERT, kind, chunk=7)
    batch = task.batch(some_rows(task))
    with torch.no_grad():
        found = float(model.loss(model(batch), batch))
    losses = []
    for logits, label in zip(of_chunks(model, batch), batch.label.numpy(), strict=True):
        for row in logits:
            if kind == "multiclass":
                losses.append(-np.log(softmax(row)[label]))
            elif kind == "regression":
                losses.append((row[0] - label) ** 2)
            else:
                y, p = np.atleast_1d(label), sigmoid(row)
                losses.append(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
    assert found == pytest.approx(np.mean(losses), rel=1e-6)


def test_label_attention_goes_over_the_tokens_of_all_chunks():
    model, task = made(PLMICD, chunk=7, attention_dim=5)
    batch = task.batch(some_rows(task))
    w = {n: p.detach().numpy() for n, p in model.named_parameters()}
    begin, end = (model.tokenizer.special(n) for n in ("[CLS]", "[SEP]"))
    expected = []
    for document in documents(batch):
        parts = [document[i : i + 7] for i in range(0, len(document), 7)] or [[]]
        with torch.no_grad():
            states = [model.encoder.bert(torch.tensor([[begin, *p, end]])).last_hidden_state[0] for p in parts]
        h = torch.cat(states).numpy()
        rows = w["attention.query.weight"] @ np.tanh(w["attention.project.weight"] @ h.T)
        v = np.array([softmax(r) @ h for r in rows])
        expected.append((w["attention.head"] * v).sum(axis=1) + w["attention.bias"])
    assert np.allclose(model(batch).logits.detach().numpy(), expected, atol=1e-9)


def test_what_label_attention_reads_is_not_dropped():
    model, task = made(PLMICD, dropout=0.5)
    batch = task.batch(some_rows(task))
    model.train().encoder.eval()
    assert torch.equal(model(batch).logits, model(batch).logits)


@pytest.mark.parametrize("thing", THINGS)
def test_chunks_may_be_longer_than_any_text(thing):
    model, task = made(thing, chunk=500)
    batch = task.batch(some_rows(task))
    chunks = TextChunks(batch["note"], model.tokenizer, 500)
    assert chunks.tokens.shape[1] == batch["note"].longest_text + 2
    assert torch.isfinite(model(batch).logits).all()


# Runs


@pytest.fixture(scope="module")
def data(session_cache):
    return zoo.load("synthetic", "icd_coding", patients=60, top_k=20)


HOW = {"max_epochs": 1, "device": "cpu", "batch_size": 16}
LITTLE = {**SMALL, "max_length": 126}
BESIDE = ("gbert_clinical_bert", "med_bert_clinical_bert")


def test_a_pretrained_encoder_begins_other_models(data, tmp_path):
    encoder = zoo.create_model("text_encoder", data, **LITTLE)
    before = zoo.pretrain(encoder, data, out=tmp_path / "before", **HOW)
    assert before.notes[-1] == "text encoder: a small one, whose pieces of words were learned from training notes"
    after = zoo.train("plm_icd", data, out=tmp_path / "after", init=before.folder, lr=1e-12, **HOW)
    assert {n: after.config["model"][n] for n in SMALL} == SMALL
    assert after.config["model"]["max_length"] == 3024
    assert "began with the weights of a run of text_encoder on icd_coding; anew: attention.bias" in after.notes[-1]
    first, second = (zoo.training._finished.Finished.read(r.folder).weights for r in (before, after))
    shared = [n for n in first if n.startswith("encoder.")]
    assert len(shared) > 20
    assert all(torch.allclose(first[n], second[n], atol=1e-6) for n in shared)
    again = zoo.evaluate(after.folder)
    assert again.metrics == after.metrics
    with pytest.raises(UserError, match="'caml' cannot begin with its weights"):
        zoo.train("caml", data, out=tmp_path / "none", init=before.folder, **HOW)
    other = zoo.create_model("clinical_bert", data, **{**LITTLE, "encoder_dim": 16})
    with pytest.raises(UserError, match=r"do not fit the model .*: make it with encoder_dim=8"):
        zoo.train(other, data, out=tmp_path / "none", init=before.folder, **HOW)


@pytest.mark.parametrize("name", ["clinical_bert", "plm_icd", "text_encoder"])
def test_a_published_encoder_is_begun_with(name, data, published_encoder, tmp_path):
    from transformers import BertModel

    model = zoo.create_model(name, data, encoder=str(published_encoder), max_length=126)
    theirs = BertModel.from_pretrained(published_encoder).state_dict()
    own = model.encoder.bert.state_dict()
    assert all(torch.equal(w, theirs[n]) for n, w in own.items())
    result = zoo.train(model, data, out=tmp_path / "run", **HOW)
    assert result.config["model"]["encoder"] == str(published_encoder)
    assert any(n.startswith(f"text encoder: {published_encoder}; public clinical ones have read") for n in result.notes)
    for path in published_encoder.iterdir():
        path.unlink()
    assert zoo.evaluate(result.folder, data).metrics == result.metrics  # the run folder suffices


SLOW = 5e-5
"""The fastest rate at which a published BERT is fine-tuned in the papers of these models."""


@pytest.mark.parametrize("name", ["clinical_bert", "plm_icd", "text_encoder", *BESIDE])
def test_a_published_encoder_is_not_trained_at_a_rate_that_destroys_it(name, data, published_encoder):
    model = zoo.create_model(name, data, encoder=str(published_encoder), max_length=126)
    for defaults in (model.trainer_defaults, model.pretraining_defaults):
        rate = defaults(model.spec)["lr"]
        own = model.learning_rates().get("encoder", rate) if defaults == model.trainer_defaults else rate
        assert own <= SLOW
    if name in BESIDE:
        trainer = Trainer(**model.trainer_defaults(model.spec))
        of_weights = {
            id(w): group["lr"] for group in make_optimizer(trainer, model).param_groups for w in group["params"]
        }
        assert {of_weights[id(w)] for w in model.encoder.parameters()} == {2e-5}
        assert of_weights[id(model.head.weight)] == 5e-4


@pytest.mark.parametrize("name", ["clinical_bert", "plm_icd", "text_encoder", *BESIDE])
def test_a_small_encoder_learns_from_nothing_at_a_faster_rate(name, data):
    model = zoo.create_model(name, data, **(SMALL if name not in BESIDE else {**SMALL, "layers": 1}), max_length=126)
    assert model.trainer_defaults(model.spec)["lr"] == model.pretraining_defaults(model.spec)["lr"] == 5e-4
    assert not model.learning_rates()


def test_chunks_are_as_long_as_in_the_papers():
    chunk = {t: parameters_of(t)["chunk"].default for t in (ClinicalBERT, TextEncoderModel, PLMICD)}
    assert chunk == {ClinicalBERT: 510, TextEncoderModel: 510, PLMICD: 126}


def test_an_encoder_that_cannot_be_had(data, published_encoder, tmp_path):
    ways = "give a folder that holds its config.json.* or leave it out"
    with pytest.raises(UserError, match=rf"encoder='{tmp_path}/nowhere' cannot be had.*{ways}"):
        zoo.create_model("plm_icd", data, encoder=str(tmp_path / "nowhere"))
    (published_encoder / "model.safetensors").unlink()
    torch.save({}, published_encoder / "pytorch_model.bin")
    with pytest.raises(UserError, match=rf"cannot be had.*{ways}"):
        zoo.create_model("plm_icd", data, encoder=str(published_encoder))
    facts = json.loads((published_encoder / "config.json").read_text())
    (published_encoder / "config.json").write_text(json.dumps({**facts, "model_type": "distilbert"}))
    with pytest.raises(UserError):
        zoo.create_model("plm_icd", data, encoder=str(published_encoder))


# What is frozen


def deep(**how) -> TextEncoder:
    torch.manual_seed(2)
    encoder = TextEncoder(300, 8, 4, 2, 0.5, trained=1, **how)
    encoder.begun()
    return encoder


def chunks_of(task) -> TextChunks:
    return TextChunks(task.batch(some_rows(task))["note"], task.spec.vocabularies["note"].tokenizer, 7)


def test_what_frozen_layers_say_is_kept_and_the_same():
    _, task = made(TextEncoderModel)
    chunks, kept, each = chunks_of(task), deep().eval(), deep(cache_frozen=False).eval()
    whole = each.bert(input_ids=chunks.tokens, attention_mask=chunks.mask).last_hidden_state
    for encoder in (kept, each, kept):
        found = encoder(chunks)
        assert torch.allclose(found[chunks.mask], whole[chunks.mask], atol=1e-6)
    assert not each._kept
    different = {tuple(t[m].tolist()) for t, m in zip(chunks.tokens, chunks.mask, strict=True)}
    assert len(kept._kept) == len(different) < len(chunks.tokens)
    calls = []
    kept.bert.encoder.layer[0].register_forward_hook(lambda *_: calls.append(1))
    again = kept(chunks)
    assert not calls
    assert torch.equal(again, kept(chunks))
    again.sum().backward()
    assert {n.split(".")[3] for n, p in kept.named_parameters() if p.grad is not None} == {"3"}


def test_frozen_layers_have_no_dropout_and_the_others_have():
    _, task = made(TextEncoderModel)
    chunks, encoder = chunks_of(task), deep().train()
    assert not any(part.training for part in (encoder.bert.embeddings, *encoder.bert.encoder.layer[:3]))
    assert encoder.bert.encoder.layer[3].training
    assert torch.equal(encoder._remembered(chunks), encoder._remembered(chunks))
    assert not torch.equal(encoder(chunks), encoder(chunks))


def test_what_is_kept_goes_when_weights_change():
    _, task = made(TextEncoderModel)
    chunks, encoder = chunks_of(task), deep().eval()
    before = encoder(chunks)
    with torch.no_grad():
        other = {n: w + 0.5 if w.is_floating_point() else w for n, w in encoder.state_dict().items()}
    holder = torch.nn.ModuleDict({"encoder": encoder})
    holder.load_state_dict({f"encoder.{n}": w for n, w in other.items()})
    assert not encoder._kept
    assert not torch.allclose(encoder(chunks), before)
    assert encoder._kept
    assert encoder.double()(chunks).dtype == torch.float64


def test_no_more_is_kept_than_memory_allows(monkeypatch):
    _, task = made(TextEncoderModel)
    chunks, encoder = chunks_of(task), deep().eval()
    expected = encoder(chunks)
    encoder._forget()
    monkeypatch.setattr("zoo.layers.text_encoder.CACHE_BYTES", 1000)
    assert torch.equal(encoder(chunks), expected)
    assert 1 < len(encoder._kept) < 8
