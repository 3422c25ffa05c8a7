"""Med-BERT: the sequence of codes, its equations and its two losses, against NumPy; and the models beside a BERT."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from worked import dense, gelu, norm, softmax

import zoo
from zoo.data.batch import Ragged
from zoo.layers import hide
from zoo.models.notes.gbert_clinical_bert import GBERTClinicalBERT
from zoo.models.notes.med_bert_clinical_bert import MedBERTClinicalBERT
from zoo.models.visits.med_bert import LONG_STAY, MedBERT, in_order
from zoo.registry import models, parameters_of
from zoo.testing._model._patients import FabricatedTask, empty, other

SMALL = {"dim": 6, "layers": 2, "heads": 2, "feedforward": 5, "dropout": 0.0}
TEXT = {"encoder_dim": 8, "encoder_layers": 1, "encoder_heads": 2, "vocabulary_size": 300, "max_length": 30}
CONCEPTS = ("diagnosis", "drug")


def made(thing=MedBERT, kind: str = "binary", concepts=CONCEPTS, **hyperparameters):
    """A small model with weights of a size that tells, and its fabricated task."""
    settings = {**SMALL, **hyperparameters}
    facts = models.entry(thing.registered_name).facts
    reading = thing.reading({**{n: p.default for n, p in parameters_of(thing).items()}, **settings})
    task = FabricatedTask(kind, concepts, facts.causal, resources=tuple(facts.resources), reading=reading)
    torch.manual_seed(1)
    model = thing(task.spec, **settings).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    return model.eval(), task


def some_rows(task, count: int = 10) -> list:
    """Patients, one without any code, and one without any in the newest visit."""
    first, *others, last = task.rows(0, count)
    return [first.changed(empty), *others, last.changed(empty, since=1)]


def sequences(model, batch) -> list[list[tuple[int, int, int]]]:
    """Number, place and visit of each code of each sample, as the paper orders them."""
    found = []
    for row, own in zip(batch.sample_row.tolist(), batch.sample_visit.tolist(), strict=True):
        codes, begin = [], int(batch.row_offsets[row])
        for visit in range(own + 1):
            place = 0
            for concept, first in model.sequence.begins.items():
                events, known = batch[concept], []
                for code in events.ids[events.offsets[begin + visit] : events.offsets[begin + visit + 1]].tolist():
                    if code not in known:
                        codes.append((first + code, place, visit))
                        known.append(code)
                        place += 1
        found.append(codes[-model.sequence.max_length :])
    return found


def numbers(model) -> dict[str, np.ndarray]:
    return {n: p.detach().numpy() for n, p in model.named_parameters()}


def transformer(
    codes: list[tuple[int, int, int]], w: dict, layers: int, heads: int, at: str = "sequence"
) -> np.ndarray:
    """H of a sequence."""
    code, place, visit = np.array(codes).T
    x = w[f"{at}.code.weight"][code] + w[f"{at}.place.weight"][place] + w[f"{at}.visit.weight"][visit]
    x = norm(x, w, f"{at}.norm")
    for n in range(layers):
        name = f"{at}.layers.{n}"
        query, key, value = np.split(dense(x, w, f"{name}.attend.query_key_value"), 3, axis=1)
        found = []
        for q, k, v in zip(*(np.split(p, heads, axis=1) for p in (query, key, value)), strict=True):
            scores = q @ k.T / np.sqrt(q.shape[1])
            found.append(np.stack([softmax(s) for s in scores]) @ v)
        x = norm(x + dense(np.hstack(found), w, f"{name}.attend.combine"), w, f"{name}.norms.0")
        inner = gelu(dense(x, w, f"{name}.feed_forward.0"))
        x = norm(x + dense(inner, w, f"{name}.feed_forward.2"), w, f"{name}.norms.1")
    return x


def whole(codes: list, w: dict) -> np.ndarray:
    """s of a sequence."""
    mean = transformer(codes, w, 2, 2).mean(axis=0) if codes else np.zeros(SMALL["dim"])
    return np.tanh(dense(mean, w, "sequence.pool"))


# The sequence


def test_each_code_of_a_visit_comes_once_in_the_order_of_events():
    events = Ragged(torch.tensor([9, 4, 9, 4, 2, 7]), torch.tensor([0, 5, 5, 6]), torch.zeros(6))
    ids, new = in_order(events)
    assert [i[n].tolist() for i, n in zip(ids, new, strict=True)] == [[9, 4, 2], [], [7]]


def test_billed_codes_are_read_by_their_rank(intact_mimic3, session_cache):
    data = zoo.load("mimic3", "readmission", root=intact_mimic3.root, concepts=["diagnosis"])
    model = zoo.create_model("med_bert", data, dim=4, layers=1, heads=2)
    table = intact_mimic3.table("diagnoses_icd").astype({"HADM_ID": int, "SEQ_NUM": int})
    told = set(table.sort_values("SEQ_NUM").groupby("HADM_ID").ICD9_CODE.agg(tuple))
    names, found = model.spec.vocabularies["diagnosis"].codes, set()
    for batch in data.batches("train", "med_bert", batch_size=16):
        codes = model.sequence.codes(batch)
        for tokens, visit, own in zip(codes.tokens, codes.visit, batch.sample_visit, strict=True):
            of_visit = tokens[(tokens > 0) & (visit == own)].tolist()
            found.add(tuple(names[t - 2].split("//")[1].replace(".", "") for t in of_visit))  # 1 is unknown
    assert found <= told
    assert len(found) > 20
    assert any(list(codes) != sorted(codes) for codes in found)


@pytest.mark.parametrize("max_length", [512, 7])
def test_the_codes_of_all_visits_are_laid_out_and_the_newest_stay(max_length):
    model, task = made(max_length=max_length)
    batch = task.batch(some_rows(task))
    codes, expected = model.sequence.codes(batch), sequences(model, batch)
    assert max(map(len, expected)) == codes.tokens.shape[1]
    assert min(map(len, expected)) == 0
    for n, row in enumerate(expected):
        found = torch.stack(codes, dim=2)[n]
        assert [tuple(c) for c in found[: len(row)].tolist()] == row
        assert not found[len(row) :].any()


def test_numbers_of_concepts_do_not_meet():
    model, task = made()
    diagnosis, drug = (task.spec.size(c) for c in CONCEPTS)
    assert model.sequence.begins == {"diagnosis": 0, "drug": diagnosis - 1}
    assert model.sequence.mask_token == diagnosis + drug - 1
    assert len(model.sequence.code.weight) == diagnosis + drug  # padding and [MASK], and padding of no concept


# The equations


@pytest.mark.parametrize("max_length", [512, 7])
def test_logits_are_its_equations(max_length):
    model, task = made(MedBERT, "multiclass", max_length=max_length)
    batch, w = task.batch(some_rows(task)), numbers(model)
    found = model(batch).logits.detach().numpy()
    expected = [dense(whole(codes, w), w, "head") for codes in sequences(model, batch)]
    assert np.allclose(found, expected, atol=1e-9)


def test_the_loss_of_the_hidden_code_is_of_one_a_sequence():
    model, task = made()
    batch, w = task.batch(some_rows(task)), numbers(model)
    torch.manual_seed(3)
    found = float(model.pretrain(batch).losses["code"].detach())
    torch.manual_seed(3)
    before, mask = model.sequence.codes(batch), model.sequence.mask_token
    hidden = hide(before.tokens, before.tokens > 0, mask, (1, mask), share=0.0)
    losses = []
    for tokens, place, codes in zip(hidden.tokens.tolist(), hidden.place, sequences(model, batch), strict=True):
        if codes:
            read = [(t, *rest) for t, (_, *rest) in zip(tokens, codes, strict=False)]
            h = transformer(read, w, 2, 2)[int(place)]
            h = norm(gelu(dense(h, w, "sequence.transform.0")), w, "sequence.transform.2")
            scores = w["sequence.code.weight"] @ h + w["sequence.code_bias"]
            losses.append(-np.log(softmax(scores)[codes[int(place)][0]]))
    assert len(losses) == batch.samples - 1
    assert found == pytest.approx(np.mean(losses), rel=1e-6)


def test_a_hidden_code_is_mask_another_or_itself():
    model, task = made()
    batch = task.batch(task.rows(0, 60) * 20)
    before, seen = model.sequence.codes(batch), []
    model.sequence._states = lambda codes: seen.append(codes) or torch.zeros(*codes.tokens.shape, 6).double()
    torch.manual_seed(0)
    model.sequence.losses(batch)
    after = seen[0].tokens
    assert (after[before.tokens == 0] == 0).all()
    masked = (after == model.sequence.mask_token).sum(dim=1)
    changed = (after != before.tokens).sum(dim=1)
    assert changed.max() == 1
    assert masked.double().mean() == pytest.approx(0.8, abs=0.03)
    assert (changed - masked).double().mean() == pytest.approx(0.1, abs=0.03)


def test_stays_of_more_than_seven_days_are_told():
    model, task = made()
    rows = [r for r in task.rows(0, 40) if len(r.visits) > 2][:4]
    _, billed_late, long_itself, longest = rows
    visits = billed_late.visits
    late = visits[0].changed(lambda c, e: replace(e, time=e.time + LONG_STAY + 1))
    rows[1] = replace(billed_late, visits=(late, *visits[1:]))
    rows[2] = replace(
        long_itself, visits=(*long_itself.visits[:-1], replace(long_itself.visits[-1], length=LONG_STAY + 0.5))
    )
    rows[3] = replace(longest, visits=(*longest.visits[:-1], replace(longest.visits[-1], length=float(LONG_STAY))))
    batch = task.batch(rows)
    assert model.sequence.stayed_long(batch).tolist() == [False, True, True, False]
    w = numbers(model)
    torch.manual_seed(3)
    found = float(model.pretrain(batch).losses["stay"].detach())
    seen = []
    states = model.sequence._states
    model.sequence._states = lambda codes: seen.append(codes) or states(codes)
    torch.manual_seed(3)
    model.pretrain(batch)
    losses = []
    for tokens, codes, stay in zip(seen[0].tokens.tolist(), sequences(model, batch), (0, 1, 1, 0), strict=True):
        read = [(t, place, visit) for t, (_, place, visit) in zip(tokens, codes, strict=False)]
        p = 1 / (1 + np.exp(-dense(whole(read, w), w, "sequence.stay")[0]))
        losses.append(-np.log(p if stay else 1 - p))
    assert found == pytest.approx(np.mean(losses), rel=1e-6)


# Beside a BERT


def text_vectors(model, batch) -> np.ndarray:
    """(visits, width) what the encoder has at [CLS], of each visit by itself."""
    note, found = batch["note"], []
    for visit in range(len(batch.visit_start)):
        tokens = note.tokens[note.text_offsets[visit] : note.text_offsets[visit + 1]].tolist()
        ids = torch.tensor([[model.tokenizer.special("[CLS]"), *tokens, model.tokenizer.special("[SEP]")]])
        with torch.no_grad():
            found.append(model.encoder.bert(ids).last_hidden_state[0, 0].numpy())
    return np.stack(found)


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_codes_and_text_stand_side_by_side(kind):
    model, task = made(MedBERTClinicalBERT, kind, (*CONCEPTS, "note"), **TEXT)
    batch, w = task.batch(some_rows(task)), numbers(model)
    texts, found = text_vectors(model, batch), model(batch).logits.detach().numpy()
    codes = sequences(model, batch)
    for sample, (row, own) in enumerate(zip(batch.sample_row, batch.sample_visit, strict=True)):
        first, visit = int(batch.row_offsets[row]), int(batch.row_offsets[row] + own)
        text = texts[visit] if kind == "binary" else texts[first:visit].mean(axis=0)
        expected = dense(np.concatenate([whole(codes[sample], w), text]), w, "head")
        assert np.allclose(found[sample], expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_visits_by_their_codes_and_their_text_stand_side_by_side(kind):
    settings = {n: v for n, v in SMALL.items() if n != "dim"}
    model, task = made(GBERTClinicalBERT, kind, (*CONCEPTS, "note"), **TEXT, **settings, dim=3, tree_heads=2)
    batch, w = task.batch(some_rows(task)), numbers(model)
    with torch.no_grad():
        codes = {c: v.numpy() for c, v in model.codes(batch).items()}
    texts, found = text_vectors(model, batch), model(batch).logits.detach().numpy()
    for sample, (row, own) in enumerate(zip(batch.sample_row, batch.sample_visit, strict=True)):
        first, visit = int(batch.row_offsets[row]), int(batch.row_offsets[row] + own)
        vectors = codes["diagnosis"], codes["drug"], texts
        if kind == "binary":
            seen = [v[visit] for v in vectors]
        else:
            seen = [v[first:visit].mean(axis=0) for v in vectors] + [codes["diagnosis"][visit]]
        assert np.allclose(found[sample], dense(np.concatenate(seen), w, "head"), atol=1e-9)


@pytest.mark.parametrize("thing", [GBERTClinicalBERT, MedBERTClinicalBERT])
def test_the_note_of_a_visit_to_come_has_no_part(thing):
    settings = {"dim": 4, "tree_heads": 2} if thing is GBERTClinicalBERT else {}
    model, task = made(thing, "multilabel", (*CONCEPTS, "note"), **TEXT, **settings)
    rows = task.rows(0, 12)
    own = [replace(r, visits=(*r.visits[:-1], r.visits[-1].changed(other("note")))) for r in rows]
    earlier = [replace(r, visits=(r.visits[0].changed(other("note")), *r.visits[1:])) for r in rows]
    with torch.no_grad():
        found, same, differs = (model(task.batch(some)).logits for some in (rows, own, earlier))
    assert torch.equal(found, same)
    assert ((found - differs).abs().max(dim=1).values > 1e-7).any()


def test_both_sides_are_pre_trained():
    for thing, names in (
        (GBERTClinicalBERT, {"diagnosis_to_diagnosis", "diagnosis_to_drug", "drug_to_diagnosis", "drug_to_drug"}),
        (MedBERTClinicalBERT, {"code", "stay"}),
    ):
        settings = {"dim": 4, "tree_heads": 2} if thing is GBERTClinicalBERT else {}
        model, task = made(thing, "binary", (*CONCEPTS, "note"), **TEXT, **settings)
        batch = task.batch(some_rows(task))
        losses = model.pretrain(batch).losses
        assert set(losses) == {*names, "tokens"}
        sum(losses.values()).backward()
        assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith("head"))


@pytest.mark.parametrize(
    ("name", "part", "settings", "own"),
    [
        (
            "gbert_clinical_bert",
            "gbert",
            {"dim": 4, "tree_heads": 2, "layers": 1, "heads": 2, "feedforward": 6},
            "codes.",
        ),
        ("med_bert_clinical_bert", "med_bert", {"dim": 8, "layers": 1, "heads": 2, "feedforward": 6}, "sequence."),
    ],
)
def test_a_run_of_the_side_of_codes_is_a_beginning(session_cache, tmp_path, name, part, settings, own):
    data = zoo.load("synthetic", task="readmission", patients=60, concepts=[*CONCEPTS, "note"])
    how = {"max_epochs": 1, "batch_size": 16, "device": "cpu"}
    alone = zoo.pretrain(zoo.create_model(part, data, **settings), data, out=tmp_path / "alone", **how)
    model = zoo.create_model(name, data, **settings, **TEXT)
    beside = zoo.train(model, data, out=tmp_path / "beside", init=alone.folder, **how)
    note = beside.notes[-1]
    assert note.startswith(f"began with the weights of a run of {part} on ")
    assert "encoder." in note
    assert own not in note.split("anew:")[1]
