"""Early fusion, late fusion and MulT: their equations in NumPy. Notes and published encoders in all that fuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_models_fusemoe import ALL, made, residual_head
from worked import dense, gru, norm, softmax

import zoo
from zoo.models.multimodal.early_fusion import EarlyFusion
from zoo.models.multimodal.fusemoe import FuseMoE
from zoo.models.multimodal.late_fusion import LateFusion
from zoo.models.multimodal.mult import AskingLayer, MulT
from zoo.registry import UserError, models, parameters_of
from zoo.testing._model._patients import Events, empty, without
from zoo.training import Trainer
from zoo.training._optimizer import make_optimizer

FUSING = [FuseMoE, MulT, EarlyFusion, LateFusion]


def fusing(thing, concepts=ALL, kind: str = "multiclass"):
    """A small model, its task, and a batch: of the second sample notes are missing, of the last one all."""
    model, task = made(concepts, kind, thing, hidden=3)
    rows = task.rows(0, 4)
    rows = [rows[0], rows[1].changed(without("note")), rows[2], rows[3].changed(empty)]
    batch = task.batch(rows)
    with torch.no_grad():
        said, there = model.said(batch)
        found = model(batch).logits.numpy()
    w = {n: p.detach().numpy() for n, p in model.named_parameters()}
    return found, said.numpy(), there.numpy(), w


def test_early_fusion_is_its_equations():
    found, said, there, w = fusing(EarlyFusion)
    assert there.tolist() == [[True] * 3, [True, False, True], [True] * 3, [False] * 3]
    assert not said[~there].any()
    for s in range(4):
        beside = said[s].transpose(1, 0, 2).reshape(3, -1)
        expected = dense(gru(w, "recur", beside), w, "head")
        assert np.allclose(found[s], expected, atol=1e-5)


def test_late_fusion_is_the_mean_of_what_is_there():
    found, said, there, w = fusing(LateFusion)
    for s in range(4):
        votes = [w[f"heads.{m}.weight"] @ gru(w, f"recur.{m}", said[s, m]) for m in range(3) if there[s, m]]
        expected = w["bias"] + (np.mean(votes, axis=0) if votes else 0)
        assert np.allclose(found[s], expected, atol=1e-5)


def placed(x: np.ndarray) -> np.ndarray:
    """Times the root of the width, with sines and cosines of the places."""
    count, dim = x.shape
    angle = np.arange(count)[:, None] / 10_000 ** (np.arange(0, dim, 2) / dim)
    return x * np.sqrt(dim) + np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(count, dim)


def asked(w: dict, name: str, own: np.ndarray, other: np.ndarray | None, there: bool, heads: int) -> np.ndarray:
    """A Transformer of one layer in which a sequence asks another one, or itself."""
    layer, own = f"{name}.layers.0", placed(own)
    other = own if other is None else placed(other)
    q, o = norm(own, w, f"{layer}.norms.0"), norm(other, w, f"{layer}.norms.0")
    query, value = dense(q, w, f"{layer}.query"), dense(o, w, f"{layer}.value")
    key = o @ w[f"{layer}.key.weight"].T
    found = []
    for part in zip(*(np.split(p, heads, axis=1) for p in (query, key, value)), strict=True):
        scores = part[0] @ part[1].T / np.sqrt(part[0].shape[1])
        found.append(np.stack([softmax(s) for s in scores]) @ part[2])
    own = own + dense(np.hstack(found), w, f"{layer}.combine") * there
    inner = np.maximum(dense(norm(own, w, f"{layer}.norms.1"), w, f"{layer}.feed_forward.0"), 0)
    return norm(own + dense(inner, w, f"{layer}.feed_forward.3"), w, f"{name}.norm")


@pytest.mark.parametrize("concepts", [ALL, ("diagnosis", "note"), ("lab",)])
def test_mult_is_its_equations(concepts):
    found, said, there, w = fusing(MulT, concepts)
    count = said.shape[1]
    for s in range(4):
        near = []
        for m in range(count):
            padded = np.pad(said[s, m], ((1, 1), (0, 0)))
            near.append(
                np.array([np.einsum("fik,ki->f", w[f"around.{m}.weight"], padded[t : t + 3]) for t in range(3)])
            )
        last = []
        for a in range(count):
            parts = [asked(w, f"cross.{a}_asks_{b}", near[a], near[b], there[s, b], 2) for b in range(count) if b != a]
            rows = asked(w, f"within.{a}", np.hstack(parts) if parts else near[a], None, True, 2)
            last.append(rows[-1] * there[s, a])
        assert np.allclose(found[s], residual_head(np.concatenate(last), w), atol=1e-4)


def test_a_convolution_has_a_moment_in_its_middle():
    with pytest.raises(UserError, match="kernel=2 must be odd"):
        made(("lab",), "binary", MulT, kernel=2)


def test_who_is_not_there_is_not_asked():
    torch.manual_seed(0)
    layer = AskingLayer(4, 2, 0.0)
    own, other = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    there = torch.tensor([True, False])
    before, after = layer(own, other, there), layer(own, other + torch.randn(2, 3, 4), there)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


# Notes


LONG = 10**18
"""A note that tells this is of twenty words and more."""


def noted(task, *notes: tuple[int, int]):
    """A patient whose visits have these notes, each what it is (2 to 5) and what it tells, an hour after another."""
    place, detail = np.array(notes, np.int64).reshape(-1, 2).T
    written = Events(place, np.arange(len(notes), dtype=np.float32) / 4, None, detail)
    return task.rows(0, 1)[0].changed(lambda concept, events: written if concept == "note" else events)


def logits(model, task, *rows) -> torch.Tensor:
    with torch.no_grad():
        return model(task.batch(list(rows))).logits


@pytest.mark.parametrize("thing", FUSING)
def test_a_long_newest_note_leaves_room_for_older_ones(thing):
    model, task = made(("diagnosis", "note"), "binary", thing, max_length=2, max_tokens=20)
    older = [[2, 3, 4, 5, 2, 3, 4, 5, 2], [5, 4, 3, 2, 5, 4, 3, 2, 5], [3] * 9]
    rows = [noted(task, *((place, 7) for place in places), (4, LONG)) for places in older]
    assert task.batch(rows)["note"].token_offsets.diff().tolist() == [2] * 10 * sum(len(r.visits) for r in rows)
    found = logits(model, task, *rows)[:, 0].tolist()
    assert len({round(f, 5) for f in found}) == 3
    assert logits(model, task, rows[0])[0, 0].item() == pytest.approx(found[0], abs=1e-5)


@pytest.mark.parametrize("thing", FUSING)
def test_a_note_of_which_nothing_is_read_is_not_there(thing):
    model, task = made(("diagnosis", "note"), "binary", thing, max_length=4, max_tokens=7)
    two, three = (noted(task, *((place, LONG) for place in places)) for places in ([3, 2], [5, 3, 2]))
    assert task.batch([three])["note"].token_offsets.diff().tolist() == [0, 3, 4] * len(three.visits)
    later = replace(two, visits=tuple(v.changed(_quarter_later) for v in two.visits))
    assert torch.allclose(logits(model, task, three), logits(model, task, later), atol=1e-6)


def _quarter_later(concept: str, events: Events) -> Events:
    return replace(events, time=events.time + 0.25) if concept == "note" else events


@pytest.mark.parametrize("thing", FUSING)
def test_notes_without_a_token_are_as_no_notes(thing):
    model, task = made(("diagnosis", "note"), "binary", thing)
    row, none = noted(task, (2, 7), (3, 8)), noted(task)
    batch = task.batch([row, row])
    note = batch["note"]
    silent = replace(note, tokens=note.tokens[:0], token_offsets=torch.zeros_like(note.token_offsets))
    with torch.no_grad():
        found = model(replace(batch, concepts={**batch.concepts, "note": silent})).logits
        _, there = model.said(replace(batch, concepts={**batch.concepts, "note": silent}))
    assert there.tolist() == [[False, True]] * 2
    assert torch.allclose(found, logits(model, task, none, none), atol=1e-6)


@pytest.mark.parametrize("thing", FUSING)
def test_a_budget_below_the_length_of_a_note(thing):
    model, task = made(("note",), "binary", thing, max_length=20, max_tokens=3)
    found = logits(model, task, noted(task, (2, 7), (3, LONG)), noted(task, (5, 7), (3, LONG)), noted(task))
    assert torch.isfinite(found).all()
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert not torch.allclose(found[0], found[2])


# Published encoders


THEIRS = {"model_type": "bert", "vocab_size": 400, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
THEIRS |= {"intermediate_size": 16, "max_position_embeddings": 128}


@pytest.mark.parametrize("thing", FUSING)
def test_a_published_encoder_learns_at_its_own_rate(thing):
    small, task = made(("diagnosis", "note"), "binary", thing)
    assert small.learning_rates() == {}
    assert len(make_optimizer(Trainer(lr=0.1), small).param_groups) == 1
    spec = replace(task.spec, resources={"encoder": {"name": "theirs", "config": THEIRS}})
    model = thing(spec, max_length=20, dim=8, time_dim=8, points=3, heads=2, encoder_lr=0.003)
    optimizer = make_optimizer(Trainer(lr=0.1, optimizer="sgd"), model)
    encoder = dict(model.encode["notes"].encoder.named_parameters())
    groups = {group["lr"]: group["params"] for group in optimizer.param_groups}
    assert {id(w) for w in groups[0.003]} == {id(w) for w in encoder.values()}
    assert sorted(groups) == [0.003, 0.1]
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    batch = task.batch(task.rows(0, 4))
    model.loss(model(batch), batch).backward()
    before = {n: w.detach().clone() for n, w in model.named_parameters()}
    optimizer.step()
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            rate = 0.003 if name.startswith("encode.notes.encoder.") else 0.1
            assert torch.allclose(weight, before[name] - rate * weight.grad, atol=1e-7), name
    assert any(weight.grad.abs().sum() > 0 for weight in encoder.values() if weight.grad is not None)


@pytest.mark.parametrize("thing", FUSING)
def test_the_rate_of_a_published_encoder_is_that_of_the_paper(thing):
    _, task = made(("diagnosis", "note"), "binary", thing)
    spec = replace(task.spec, resources={"encoder": {"name": "theirs", "config": THEIRS}})
    assert thing(spec).learning_rates() == {"encode.notes.encoder": 2e-5}
    without_notes, _ = made(("diagnosis",), "binary", thing)
    assert without_notes.learning_rates() == {}


def test_training_moves_a_published_encoder_little(session_cache, intact_mimic3, published_encoder, tmp_path):
    from transformers import BertModel

    data = zoo.load("mimic3", root=intact_mimic3.root, task="readmission", days=90, split=(0.5, 0.25, 0.25))
    sizes = {"max_length": 14, "dim": 8, "time_dim": 8, "points": 4, "heads": 2, "hidden": 8}
    model = zoo.create_model("early_fusion", data, seed=0, encoder=str(published_encoder), **sizes)
    theirs = BertModel.from_pretrained(published_encoder).state_dict()
    bert, first = model.encode["notes"].encoder.bert, model.head.weight.detach().clone()
    assert all(torch.equal(weight, theirs[name]) for name, weight in bert.state_dict().items())
    steps = 2 * len(list(data.batches("train", model, 16)))
    zoo.train(model, data, out=tmp_path / "run", max_epochs=2, batch_size=16, device="cpu")
    moved = max(float((w.detach() - theirs[n]).abs().max()) for n, w in bert.named_parameters())
    assert 0 < moved < 2e-5 * steps * 1.5
    assert float((model.head.weight.detach() - first).abs().max()) > 1e-3


# What is published


def test_defaults_of_fusemoe_are_those_of_the_paper():
    """Table 8 of the paper; a step there is of 16 batches of 2."""
    said = {n: p.default for n, p in parameters_of(FuseMoE).items()}
    sizes = {
        "experts": 16,
        "top": 4,
        "expert_dim": 512,
        "layers": 3,
        "heads": 8,
        "dim": 128,
        "time_dim": 64,
        "points": 48,
    }
    assert {n: said[n] for n in sizes} == sizes
    assert (said["router"], said["gate"], said["encoder_lr"]) == ("per_modality", "laplace", 2e-5)
    assert FuseMoE.trainer_defaults(None) == {"optimizer": "adam", "lr": 4e-4, "batch_size": 32}


def test_defaults_of_mult_are_those_of_the_paper():
    """The table of its settings, for CMU-MOSEI."""
    said = {n: p.default for n, p in parameters_of(MulT).items()}
    sizes = {"dim": 40, "kernel": 3, "layers": 4, "heads": 8, "dropout": 0.1}
    assert {n: said[n] for n in sizes} == sizes
    assert MulT.trainer_defaults(None) == {"optimizer": "adam", "lr": 1e-3, "batch_size": 16}


@pytest.mark.parametrize("name", ["fusemoe", "mult", "early_fusion", "late_fusion"])
def test_what_is_searched_can_be_made(name):
    entry = models.entry(name)
    said = {n: p.default for n, p in parameters_of(entry.thing).items()}
    for setting, choice in entry.facts.search.items():
        name = setting.removeprefix("model.")
        assert said[name] in choice.options
        for option in choice.options:
            settings = {"top": 0, "experts": 0, **said, name: option}
            assert settings["dim"] % settings["heads"] == 0
            assert settings["top"] <= settings["experts"]
