"""Pre-training on every visit, and training that begins with its weights."""

import json

import numpy as np
import pytest
import torch
from filler import FACTS, Filler
from safetensors.torch import load_file

import zoo
from zoo.registry import UserError, models

HOW = {"max_epochs": 3, "batch_size": 16, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def filler():
    """A model that learns to fill in diagnoses which were hidden from it."""

    models.register("filler", **FACTS)(Filler)
    yield Filler
    del models._entries["filler"]


@pytest.fixture(scope="module")
def data(intact_mimic3, session_cache):
    how = {"root": intact_mimic3.root, "concepts": ["diagnosis", "lab"]}
    return zoo.load("mimic3", task="mortality_next_visit", **how)


def test_every_visit_is_whole_and_in_the_split_of_its_subject(data):
    visits = data.every_visit("filler")
    assert len(visits.samples) == len(data.visits) > len(data.samples)
    of_task = dict(zip(data.samples.subject_id, data.samples.split, strict=True))
    of_visits = dict(zip(visits.samples.subject_id, visits.samples.split, strict=True))
    assert all(of_visits[s] == split for s, split in of_task.items())
    store = data.feature("diagnosis").store
    (batch,) = visits.batches("validation", "filler", batch_size=10_000)
    own = batch.row_offsets[batch.sample_row] + batch.sample_visit
    numbers = visits.visits.numbers(visits.samples.visit_id.to_numpy()[visits.places("validation")])
    assert batch["diagnosis"].lengths[own].tolist() == np.diff(store.offsets)[numbers].tolist()
    assert visits.feature("lab").vocabulary is data.feature("lab").vocabulary


def test_pretraining_learns_and_is_begun_with(data, tmp_path):
    before = zoo.pretrain("filler", data, out=tmp_path / "before", **{**HOW, "max_epochs": 30, "lr": 0.02})
    losses = json.loads((before.folder / "losses.json").read_text())
    assert losses["train"][-1] < 0.8 * losses["train"][0]
    assert before.metrics["loss"]["value"] < losses["validation"][0]
    assert before.config["pretraining"]
    after = zoo.train("filler", data, out=tmp_path / "after", init=before.folder, **{**HOW, "lr": 1e-9})
    first, second = (load_file(r.folder / "model.safetensors") for r in (before, after))
    for name in ("codes.weight", "fill.weight"):
        assert torch.allclose(first[name], second[name], atol=1e-6)
    assert after.config["init"]["task"] == "mortality_next_visit"
    again = zoo.train("filler", data, out=tmp_path / "after", init=before.folder, **{**HOW, "lr": 1e-9})
    assert again.metrics == after.metrics
    with pytest.raises(UserError, match="holds another run"):
        zoo.train("filler", data, out=tmp_path / "after", **{**HOW, "lr": 1e-9})


def test_a_killed_pretraining_goes_on_as_if_it_had_not_been(data, tmp_path, filler, monkeypatch):
    whole = zoo.pretrain("filler", data, out=tmp_path / "whole", checkpoint_every=1, **HOW)
    steps, forward = [], filler.pretrain

    def stops(self, batch):
        steps.append(self.training)
        if len(steps) == 9:
            raise KeyboardInterrupt
        return forward(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(filler, "pretrain", stops)
        with pytest.raises(KeyboardInterrupt):
            zoo.pretrain("filler", data, out=tmp_path / "cut", checkpoint_every=1, **HOW)
    resumed = zoo.pretrain("filler", data, out=tmp_path / "cut", checkpoint_every=1, **HOW)
    first, second = (load_file(r.folder / "model.safetensors") for r in (whole, resumed))
    assert all(torch.equal(w, second[n]) for n, w in first.items())
    assert whole.metrics == resumed.metrics


def test_another_task_takes_the_weights_that_fit(data, intact_mimic3, tmp_path):
    before = zoo.pretrain(zoo.create_model("filler", data, dim=5), data, out=tmp_path / "before", **HOW)
    other = zoo.load("mimic3", task="diagnosis", root=intact_mimic3.root, concepts=["diagnosis", "lab"])
    after = zoo.train("filler", other, out=tmp_path / "after", init=before.folder, **HOW)
    assert after.config["model"] == {"dim": 5}
    assert after.notes[-1].endswith("anew: head.bias, head.weight")
    spec = json.loads((after.folder / "spec.json").read_text())
    assert spec["vocabularies"] == json.loads((before.folder / "spec.json").read_text())["vocabularies"]
    assert zoo.evaluate(after.folder, other).metrics == after.metrics


def test_fewer_subjects_may_be_trained_on_after_all_were_pretrained_on(data, intact_mimic3, tmp_path):
    before = zoo.pretrain("filler", data, out=tmp_path / "before", **HOW)
    how = {"root": intact_mimic3.root, "concepts": ["diagnosis", "lab"]}
    few = zoo.load("mimic3", task=data.task.name, train_share=0.5, **how)
    assert 0 < few.size("train") < data.size("train")
    assert set(few.subject("train")) < set(data.subject("train"))
    assert all(few.subject(name).tolist() == data.subject(name).tolist() for name in ("validation", "test"))
    run = zoo.train("filler", few, out=tmp_path / "after", init=before.folder, **HOW)
    assert run.sizes["train"] == few.size("train")
    assert run.config["data"]["train_share"] == 0.5
    again = zoo.evaluate(run.folder, split="train")
    assert again.sizes == {"train": few.size("train")}
    assert zoo.evaluate(run.folder, data).metrics == run.metrics


@pytest.mark.parametrize("share", [0, 1.5, -0.1, "half", True, None, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(UserError, match=r"train_share=.* must be a number above 0 and at most 1"):
        zoo.load("synthetic", task="readmission", train_share=share)


def test_what_cannot_be_begun_with_is_refused(data, intact_mimic3, tmp_path):
    run = zoo.pretrain("filler", data, out=tmp_path / "run", **HOW).folder
    with pytest.raises(UserError, match=r"a run of 'filler': 'gru' cannot begin"):
        zoo.train("gru", data, out=tmp_path / "a", init=run, **HOW)
    how = {"root": intact_mimic3.root, "concepts": ["diagnosis", "lab"]}
    split = zoo.load("mimic3", task="mortality_next_visit", split_seed=4, **how)
    with pytest.raises(UserError, match=r"was split otherwise.* load the data with split_seed=0"):
        zoo.train("filler", split, out=tmp_path / "a", init=run, **HOW)
    with pytest.raises(UserError, match=r"do not fit the model \(codes.weight, .*\): make it with dim=8"):
        zoo.train(zoo.create_model("filler", data, dim=3), data, out=tmp_path / "a", init=run, **HOW)
    raised = zoo.load("mimic3", task="mortality_next_visit", levels={"diagnosis": "ccs"}, **how)
    with pytest.raises(UserError, match="has diagnosis at level 'code', the data have it at 'ccs'"):
        zoo.train("filler", raised, out=tmp_path / "a", init=run, **HOW)
    with pytest.raises(UserError, match="made for other data"):
        zoo.train(zoo.create_model("filler", raised), data, out=tmp_path / "a", init=run, **HOW)
    few = zoo.load("mimic3", task="mortality_next_visit", train_share=0.2, **how)
    with pytest.raises(UserError, match="made for other codes of lab than those of"):
        zoo.train(zoo.create_model("filler", few), few, out=tmp_path / "a", init=run, **HOW)
    fitted = zoo.train("majority", data, out=tmp_path / "fitted")
    with pytest.raises(UserError, match="a run of 'majority', which has no weights to begin with"):
        zoo.train("majority", data, out=tmp_path / "a", init=fitted.folder)
    for folder, complaint in ((tmp_path, "is no run folder"), (tmp_path / "nowhere", "there is no run folder")):
        with pytest.raises(UserError, match=complaint):
            zoo.train("filler", data, out=tmp_path / "a", init=folder, **HOW)
    with pytest.raises(UserError, match="'gru' is not pre-trained"):
        zoo.pretrain("gru", data, out=tmp_path / "a", **HOW)
    with pytest.raises(UserError, match="monitor='auroc' cannot be had in pre-training"):
        zoo.pretrain("filler", data, out=tmp_path / "a", monitor="auroc", **HOW)
    assert not (tmp_path / "a").exists()


def test_a_pretraining_is_not_tested_as_a_task(data, tmp_path):
    run = zoo.pretrain("filler", data, out=tmp_path / "run", **HOW).folder
    with pytest.raises(UserError, match="was pre-trained only: train it with init="):
        zoo.evaluate(run, data)
