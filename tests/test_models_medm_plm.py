"""MedM-PLM: attention across, the two losses of hidden codes, and what each task reads, against NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_models_text import softmax, some_rows

import zoo
from zoo.layers import TextChunks, code_sets, hide
from zoo.models.notes.medm_plm import Asking, MedMPLM
from zoo.registry import parameters_of
from zoo.testing._model._patients import FabricatedTask, empty, other

SMALL = {
    "encoder_dim": 8,
    "encoder_layers": 3,
    "encoder_heads": 2,
    "vocabulary_size": 300,
    "max_length": 30,
    "dim": 3,
    "tree_heads": 2,
    "heads": 2,
    "feedforward": 5,
}
CONCEPTS = ("diagnosis", "drug", "note")


def made(kind: str = "multilabel", concepts=CONCEPTS, spec=lambda s: s, **hyperparameters):
    """A small model, and its fabricated task."""
    settings = {**SMALL, **hyperparameters}
    reading = MedMPLM.reading({**{n: p.default for n, p in parameters_of(MedMPLM).items()}, **settings})
    task = FabricatedTask(kind, concepts, causal=True, reading=reading, resources=("encoder", "ontology"))
    torch.manual_seed(1)
    model = MedMPLM(spec(task.spec), **settings).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model.eval(), task


def asked(w: dict, name: str, z: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """What a vector finds among the tokens of the other side."""
    query = w[f"{name}.query.weight"] @ z + w[f"{name}.query.bias"]
    keys = tokens @ w[f"{name}.key.weight"].T
    values = tokens @ w[f"{name}.value.weight"].T + w[f"{name}.value.bias"]
    return softmax(keys @ query / np.sqrt(len(z))) @ values


def mlp(w: dict, name: str, inputs: np.ndarray) -> np.ndarray:
    hidden = np.maximum(w[f"{name}.0.weight"] @ inputs + w[f"{name}.0.bias"], 0)
    return w[f"{name}.2.weight"] @ hidden + w[f"{name}.2.bias"]


def weights(model) -> dict[str, np.ndarray]:
    return {n: p.detach().numpy() for n, p in model.named_parameters()}


def test_a_vector_asks_the_tokens_that_are_there():
    torch.manual_seed(0)
    layer = Asking(4, 6).double()
    z, tokens = torch.randn(3, 4).double(), torch.randn(3, 5, 6).double()
    mask = torch.tensor([[True] * 5, [True, False, True, False, False], [True] + [False] * 4])
    found, attention = layer(z, tokens, mask)
    w = {f"a.{n}": p.detach().numpy() for n, p in layer.named_parameters()}
    for row in range(3):
        expected = asked(w, "a", z[row].numpy(), tokens[row][mask[row]].numpy())
        assert np.allclose(found[row].detach().numpy(), expected, atol=1e-12)
    assert not attention[~mask].any()
    assert torch.allclose(attention.sum(dim=1), torch.ones(3).double())


class Worked:
    """What the model has of each visit, from the states of its encoders, each read by itself."""

    def __init__(self, model, batch):
        self.model, self.w, self.batch = model, weights(model), batch
        note, tokenizer = batch["note"], model.tokenizer
        self.text, self.codes = [], {c: [] for c in ("diagnosis", "drug")}
        for visit in range(len(batch.visit_start)):
            tokens = note.tokens[note.text_offsets[visit] : note.text_offsets[visit + 1]].tolist()
            ids = torch.tensor([[tokenizer.special("[CLS]"), *tokens, tokenizer.special("[SEP]")]])
            with torch.no_grad():
                self.text.append(model.encoder.bert(ids).last_hidden_state[0].numpy())
                for concept, of_visits in self.codes.items():
                    events = batch[concept]
                    codes = events.ids[events.offsets[visit] : events.offsets[visit + 1]].unique()[None]
                    rows = model.codes[concept](codes)
                    for layer in model.layers:
                        rows = layer(rows, torch.ones(rows.shape[:2], dtype=torch.bool))
                    of_visits.append(rows[0].numpy())

    def h(self, concept: str, visit: int) -> np.ndarray:
        z = self.codes[concept][visit][0]
        return z + asked(self.w, f"ask_text.{concept}", z, self.text[visit])

    def g(self, concept: str, visit: int) -> np.ndarray:
        z = self.text[visit][0]
        return z + asked(self.w, f"ask_codes.{concept}", z, self.codes[concept][visit])

    def head(self, seen: list[np.ndarray]) -> np.ndarray:
        return mlp(self.w, "head", np.concatenate(seen))


def test_a_task_at_the_end_of_a_visit_reads_its_codes_and_its_text():
    model, task = made("binary")
    batch = task.batch(some_rows(task, 6))
    worked, found = Worked(model, batch), model(batch).logits.detach().numpy()
    for sample, (row, own) in enumerate(zip(batch.sample_row, batch.sample_visit, strict=True)):
        visit = int(batch.row_offsets[row] + own)
        seen = [f(c, visit) for c in ("diagnosis", "drug") for f in (worked.h, worked.g)]
        assert np.allclose(found[sample], worked.head(seen), atol=1e-9)


def test_drugs_to_come_are_told_from_earlier_visits_and_the_given_diagnoses():
    model, task = made("multilabel")
    batch = task.batch(some_rows(task, 8))
    worked, found = Worked(model, batch), model(batch).logits.detach().numpy()
    zeros = np.zeros(6), np.zeros(8)
    for sample, (row, own) in enumerate(zip(batch.sample_row, batch.sample_visit, strict=True)):
        visits = range(int(batch.row_offsets[row]), int(batch.row_offsets[row] + own))
        seen = [
            np.mean([f(c, v) for v in visits], axis=0) if visits else zero
            for c in ("diagnosis", "drug")
            for f, zero in zip((worked.h, worked.g), zeros, strict=True)
        ]
        own_visit = int(batch.row_offsets[row] + own)
        assert np.allclose(found[sample], worked.head([*seen, worked.codes["diagnosis"][own_visit][0]]), atol=1e-9)


def test_the_note_of_a_visit_to_come_has_no_part_and_earlier_notes_have():
    model, task = made("multilabel")
    rows = [r for r in task.rows(0, 20) if len(r.visits) > 2]
    own = [replace(r, visits=(*r.visits[:-1], r.visits[-1].changed(other("note")))) for r in rows]
    earlier = [replace(r, visits=(r.visits[0].changed(other("note")), *r.visits[1:])) for r in rows]
    with torch.no_grad():
        found, same, differs = (model(task.batch(some)).logits for some in (rows, own, earlier))
    assert torch.equal(found, same)
    assert ((found - differs).abs().max(dim=1).values > 1e-6).all()


def test_codes_that_are_predicted_are_no_input_where_the_note_is_given():
    coding = lambda s: replace(s, given=frozenset({"note"}), label_concepts=frozenset({"diagnosis"}))  # noqa: E731
    model, task = made("multilabel", spec=coding)
    rows = task.rows(0, 6)
    with torch.no_grad():
        found = model(task.batch(rows)).logits
        assert torch.equal(found, model(task.batch([r.changed(other("diagnosis")) for r in rows])).logits)
        own = [replace(r, visits=(*r.visits[:-1], r.visits[-1].changed(other("note")))) for r in rows]
        assert not torch.allclose(found, model(task.batch(own)).logits)
    assert model.head[0].in_features == 6 + 8


def test_without_attention_across_each_side_stands_alone():
    model, task = made("binary", cross_modal=False)
    batch = task.batch(some_rows(task, 6))
    worked, found = Worked(model, batch), model(batch).logits.detach().numpy()
    for sample, (row, own) in enumerate(zip(batch.sample_row, batch.sample_visit, strict=True)):
        visit = int(batch.row_offsets[row] + own)
        seen = [part for c in ("diagnosis", "drug") for part in (worked.codes[c][visit][0], worked.text[visit][0])]
        assert np.allclose(found[sample], worked.head(seen), atol=1e-9)
    assert not [n for n, _ in model.named_parameters() if n.startswith("ask")]


@pytest.mark.parametrize("concepts", [("note",), ("diagnosis", "note"), ("drug", "note")])
def test_a_side_may_be_missing(concepts):
    model, task = made("binary", concepts)
    batch = task.batch(some_rows(task, 20))
    assert torch.isfinite(model(batch).logits).all()
    losses = model.pretrain(batch).losses
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert (float(losses["text_to_code"].detach()) > 0) == (len(concepts) > 1)


def test_hidden_codes_are_told_from_one_vector_each_by_its_own_cross_entropy():
    model, task = made("binary")
    rows = some_rows(task, 10)
    batch = task.batch(rows, [range(len(r.visits)) for r in rows])
    torch.manual_seed(3)
    losses = {n: float(loss.detach()) for n, loss in model.pretrain(batch).losses.items()}
    torch.manual_seed(3)
    w = weights(model)
    chunks = TextChunks(batch["note"], model.tokenizer, 30)
    with torch.no_grad():
        states = model.encoder(chunks).numpy()
    told = {"code_to_code": [], "text_to_code": []}
    for concept in ("diagnosis", "drug"):
        ids, there = code_sets(batch[concept])
        size = model.spec.size(concept)
        pad = torch.nn.functional.pad
        hidden = hide(pad(ids, (0, 1)), pad(there, (0, 1)), size, (2, size))
        with torch.no_grad():
            codes = model.codes[concept](hidden.tokens[:, :-1])
            inside = pad(there, (1, 0), value=True)
            for layer in model.layers:
                codes = layer(codes, inside)
        for visit in range(len(ids)):
            own, chunk = codes[visit][inside[visit]].numpy(), int(chunks.begin[visit])
            text = states[chunk][chunks.mask[chunk].numpy()]
            h = own[0] + asked(w, f"ask_text.{concept}", own[0], text)
            g = text[0] + asked(w, f"ask_codes.{concept}", text[0], own)
            for target in hidden.target[visit][hidden.counts[visit]].tolist():
                for name, vector in (("code_to_code", h), ("text_to_code", g)):
                    scores = mlp(w, f"{name}.{concept}", vector)
                    if name == "code_to_code" or len(text) > 2:
                        told[name].append(-np.log(softmax(scores)[target]))
    for name, of in told.items():
        assert losses[name] == pytest.approx(np.mean(of), rel=1e-6)
    assert len(told["text_to_code"]) < len(told["code_to_code"])


def test_each_visit_has_a_hidden_code_of_each_kind_that_it_has():
    model, task = made("binary")
    batch = task.batch(some_rows(task, 10))
    for concept in ("diagnosis", "drug"):
        ids, there = code_sets(batch[concept])
        hidden = hide(ids, there, model.spec.size(concept), (2, model.spec.size(concept)))
        assert torch.equal(hidden.counts.sum(dim=1) > 0, there.any(dim=1))
        assert (hidden.counts.sum(dim=1) <= there.sum(dim=1).clamp(min=1)).all()


def trained_layers(model) -> set[str]:
    """The numbers of the layers of the text encoder that are trained; ``embeddings`` for those."""
    of = {n.removeprefix("encoder.bert."): p for n, p in model.named_parameters() if n.startswith("encoder.")}
    return {n.split(".")[2] if n.startswith("encoder.") else "embeddings" for n, p in of.items() if p.requires_grad}


def test_random_layers_are_trained():
    model, task = made("binary", trained_layers=1)
    assert trained_layers(model.train()) == {"embeddings", "0", "1", "2"}
    assert model.encoder.bert.encoder.layer[0].training
    model(task.batch(some_rows(task, 6))).logits.sum().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


def test_layers_that_have_learned_are_frozen_but_the_last():
    model, _ = made("binary", trained_layers=1)
    model.begun({"codes.drug.mask"})  # of the encoder nothing was taken over
    assert trained_layers(model) == {"embeddings", "0", "1", "2"}
    model.begun({"encoder.bert.encoder.layer.0.output.dense.bias"})
    assert trained_layers(model) == {"2"}
    whole, _ = made("binary", trained_layers=None)
    whole.begun(set(weights(whole)))
    assert all(p.requires_grad for p in whole.parameters())


def test_a_model_that_is_read_back_is_frozen_as_it_was():
    model, task = made("binary", trained_layers=1)
    before = {n: w.clone() for n, w in model.state_dict().items()}
    model.begun({"encoder.bert"})
    batch = task.batch(some_rows(task, 6))
    other, _ = made("binary", trained_layers=1)
    other.load_state_dict(model.state_dict())
    assert trained_layers(other) == {"2"}
    assert torch.equal(model(batch).logits, other(batch).logits)
    other.load_state_dict(before)
    assert trained_layers(other) == {"embeddings", "0", "1", "2"}


def test_a_published_encoder_is_frozen_but_for_its_last_layers(session_cache, tmp_path, published_encoder):
    data = zoo.load("synthetic", "readmission", patients=60, concepts=["diagnosis", "note"])
    how = {"encoder": str(published_encoder), "max_length": 30, "dim": 3, "tree_heads": 2, "feedforward": 5}
    model = zoo.create_model("medm_plm", data, trained_layers=1, **how)
    assert trained_layers(model) == {"1"}
    first = {n: w.clone() for n, w in model.state_dict().items() if n.startswith("encoder.")}
    run = zoo.train(model, data, out=tmp_path / "run", max_epochs=1, lr=1e-3, device="cpu")
    moved = {n.split(".")[4] for n, w in first.items() if not torch.equal(w, model.state_dict()[n])}
    assert moved == {"1"}
    assert zoo.evaluate(run.folder).metrics == run.metrics


def test_nothing_at_all_is_something_to_predict_from():
    model, task = made("multilabel")
    bare = [r.changed(empty) for r in task.rows(0, 3)]
    logits = model(task.batch(bare)).logits
    assert torch.allclose(logits, logits[:1].expand_as(logits))


def test_it_is_pretrained_and_begun_with(session_cache, tmp_path):
    data = zoo.load("synthetic", "medication", patients=60, concepts=["diagnosis", "drug", "note"])
    how = {"max_epochs": 1, "device": "cpu"}
    model = zoo.create_model("medm_plm", data, **SMALL)
    assert data.spec("medm_plm").vocabularies["drug"].level == "atc3"
    first = model.state_dict()["encoder.bert.encoder.layer.0.output.dense.bias"].clone()
    before = zoo.pretrain(model, data, out=tmp_path / "before", **how)
    assert before.config["trainer"]["batch_size"] == 32
    learned = model.state_dict()["encoder.bert.encoder.layer.0.output.dense.bias"]
    assert not torch.equal(first, learned)
    after = zoo.train("medm_plm", data, out=tmp_path / "after", init=before.folder, **how)
    assert after.notes[-1].endswith("anew: none")
    assert after.metrics["ddi_rate_true"]["value"] is not None
    kept = zoo.training._finished.Finished.read(after.folder).weights
    assert torch.equal(kept["encoder.bert.encoder.layer.0.output.dense.bias"], learned)
    other_task = zoo.load("synthetic", "readmission", patients=60, concepts=["diagnosis", "drug", "note"])
    assert other_task.feature("drug").vocabulary.level == "code"
    moved = zoo.train("medm_plm", other_task, out=tmp_path / "moved", init=before.folder, **how)
    heads = "head.0.weight, head.2.bias, head.2.weight"
    assert moved.notes[-1].endswith(f"anew: {heads}")
    assert zoo.evaluate(moved.folder).metrics == moved.metrics


def test_pretraining_is_as_long_as_in_the_paper():
    assert MedMPLM.pretraining_defaults(None) == {
        "optimizer": "adam",
        "lr": 5e-4,
        "batch_size": 32,
        "max_epochs": 200,
        "patience": 10,
    }
