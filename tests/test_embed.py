"""Vectors of patients from finished runs, and runs that were written when layers had other names."""

import copy
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.layers import VisitEmbedding
from zoo.models import Model, Output
from zoo.registry import UserError
from zoo.training._checkpoint import BEST, LAST, read_tensors, write_tensors

SAMPLE = ["subject_id", "visit_id", "stay_id", "prediction_time"]
SMALL = {"max_epochs": 2, "batch_size": 32}
OTHER = {"schema": "mimic4", "patients": 40, "seed": 1}


def loaded(task="readmission", **how):
    return zoo.load("synthetic", task=task, patients=120, concepts=["diagnosis", "procedure", "drug"], **how)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, session_cache):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def retain(folder):
    data = loaded()
    return zoo.train(zoo.create_model("retain", data, dim=8), data, out=folder / "retain", **SMALL)


def renamed(path, old, new):
    """Give the weights in a file other names, as it would have been written before."""
    tensors, facts = read_tensors(path)
    assert any(n.startswith(new) for n in tensors)
    write_tensors(path, {n.replace(new, old, 1) if n.startswith(new) else n: t for n, t in tensors.items()}, facts)


# zoo.embed


def test_the_vectors_are_what_the_head_reads_in_the_order_of_predictions(retain):
    found, predicted = zoo.embed(retain.folder), zoo.predict(retain)
    pd.testing.assert_frame_equal(found[SAMPLE], predicted[SAMPLE])
    assert list(found) == [*SAMPLE, *(f"embedding_{n}" for n in range(8))]
    vectors, head = found.drop(columns=SAMPLE).to_numpy(), zoo.load_run(retain).model.head
    assert vectors.dtype == np.float32
    score = torch.sigmoid(head(torch.tensor(vectors)))[:, 0].detach().numpy()
    np.testing.assert_allclose(score, predicted.score, atol=1e-6)
    assert found.attrs["notes"] == predicted.attrs["notes"]


def test_neither_batches_nor_the_split_change_a_vector(retain):
    by_seven, everybody = zoo.embed(retain, batch_size=7), zoo.embed(retain, loaded(), split="all")
    assert len(everybody) == len(loaded().samples) > len(by_seven)
    same = by_seven[SAMPLE].merge(everybody, on=SAMPLE, how="left")
    np.testing.assert_allclose(same.drop(columns=SAMPLE), by_seven.drop(columns=SAMPLE), atol=1e-5)


def test_all_patients_of_another_dataset_are_embedded_and_its_notes_told(retain):
    found = zoo.embed(retain, "synthetic", **OTHER)
    assert len(found) == len(zoo.load("synthetic", task="readmission", **OTHER).samples)
    assert any("have codes that the run does not know" in note for note in found.attrs["notes"])


def test_samples_that_share_a_row_have_vectors_of_their_own(folder):
    data = loaded("medication")
    run = zoo.train(zoo.create_model("gamenet", data, dim=8), data, out=folder / "gamenet", max_epochs=1, batch_size=32)
    found = zoo.embed(run)
    pd.testing.assert_frame_equal(found[SAMPLE], zoo.predict(run)[SAMPLE])
    assert found.subject_id.duplicated().any()
    assert not found.drop(columns=SAMPLE).duplicated().any()


def test_a_model_without_vectors_names_some_that_have_them(folder):
    run = zoo.train("logistic_regression", loaded(), out=folder / "fitted")
    with pytest.raises(UserError, match=r"'logistic_regression' has no one vector of a patient: .* such as .*dipole"):
        zoo.embed(run)
    data = loaded("medication")
    run = zoo.train("nearest", data, out=folder / "nearest")
    with pytest.raises(UserError, match=r"such as .*gamenet"):
        zoo.embed(run)


def test_a_table_from_the_command_line(retain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["embed", str(retain.folder), "--split", "validation", "--out", "v.parquet"])
    assert done.exit_code == 0, done.output
    expected = zoo.embed(retain, split="validation")
    assert f"{len(expected)} vectors lie in v.parquet" in done.output
    found = pd.read_parquet("v.parquet")
    np.testing.assert_array_equal(found.drop(columns=SAMPLE), expected.drop(columns=SAMPLE))


def test_info_says_which_models_have_vectors():
    assert "embeds: the patient at each sample" in str(zoo.info("gru"))
    assert "embeds: nothing" in str(zoo.info("caml"))


# Names of layers


def test_a_run_with_the_names_of_before_is_read(retain, tmp_path):
    old = shutil.copytree(retain.folder, tmp_path / "old")
    renamed(old / "model.safetensors", "embed.", "visits.")
    assert not any(n.startswith("visits.") for n in load_file(old / "model.safetensors"))
    assert zoo.evaluate(old).metrics == retain.metrics
    pd.testing.assert_frame_equal(zoo.embed(old), zoo.embed(retain))
    how = {**SMALL, "max_epochs": 1, "lr": 1e-9}
    after = zoo.train("retain", loaded(), init=old, out=tmp_path / "after", **how)
    assert after.notes[-1].endswith("anew: none")


def test_a_run_that_was_killed_with_the_names_of_before_goes_on(tmp_path, session_cache, monkeypatch):
    data, how = loaded(), {**SMALL, "checkpoint_every": 1, "max_epochs": 3}
    thing = type(zoo.create_model("gru", data))
    whole = zoo.train(zoo.create_model("gru", data, dim=8), data, out=tmp_path / "whole", **how)
    steps, forward = [], thing.forward

    def stops(self, batch):
        steps.append(self.training)
        if self.training and False in steps:  # after the first epoch was validated
            raise KeyboardInterrupt
        return forward(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(thing, "forward", stops)
        with pytest.raises(KeyboardInterrupt):
            zoo.train(zoo.create_model("gru", data, dim=8), data, out=tmp_path / "cut", **how)
    renamed(tmp_path / "cut" / LAST, "model.embed.", "model.visits.")
    (best,) = (tmp_path / "cut").glob(BEST.format("*"))
    renamed(best, "embed.", "visits.")
    resumed = zoo.train(zoo.create_model("gru", data, dim=8), data, out=tmp_path / "cut", **how)
    first, second = (load_file(r.folder / "model.safetensors") for r in (whole, resumed))
    assert all(torch.equal(w, second[n]) for n, w in first.items())


def test_a_layer_with_the_name_of_a_method_is_refused(session_cache):
    class Hidden(Model):
        def __init__(self, spec):
            super().__init__(spec)
            self.embed = nn.Linear(2, 2)

        def embed(self, batch):
            return batch.sample_time[:, None]

    with pytest.raises(UserError, match=r"layer of Hidden cannot be called 'embed', .*: give it another name"):
        Hidden(loaded().spec({"diagnosis"}))


def test_a_layer_called_embed_works_in_a_model_without_vectors(session_cache, tmp_path):
    class Older(Model):
        def __init__(self, spec):
            super().__init__(spec)
            self.embed = VisitEmbedding({c: spec.size(c) for c in spec.concepts}, spec.outputs)

        def forward(self, batch):
            return Output(batch.at_samples(batch.rows(self.embed(batch))))

    data = loaded()
    model = zoo.create_model(Older, data)
    assert not model.has_vectors()
    assert copy.deepcopy(model).embed is not model.embed
    result = zoo.train(model, data, out=tmp_path / "run", max_epochs=1)
    assert zoo.evaluate(result).metrics == result.metrics
    with pytest.raises(UserError, match="model 'Older' has no one vector of a patient"):
        zoo.embed(result)
