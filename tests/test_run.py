"""Runs: their folder, their result, and that one seed gives one result."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from processes import Forked
from torch import nn

import zoo
import zoo.layers
import zoo.models
from zoo.registry import UserError, models
from zoo.result import Result, write_json

SMALL = {"max_epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def data(intact_mimic3, session_cache):
    return zoo.load("mimic3", task="readmission", root=intact_mimic3.root, concepts=["diagnosis", "lab"], days=90)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    return zoo.train("gru", data, seed=3, out=tmp_path_factory.mktemp("run") / "gru", **SMALL)


def files(folder) -> dict[str, float]:
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}


def test_the_result_reads_back(finished):
    read = Result.read(finished.folder)
    assert read == finished
    assert {"ehr-zoo", "python", "torch", "duckdb"} <= set(read.versions)
    assert read.versions["threads"] == str(torch.get_num_threads())
    assert read.config["task"]["days"] == 90
    assert read.sizes["train"] > read.sizes["test"] > 0
    assert f"{read.metrics['auroc']['value']:.4f}" in str(read)
    json.loads((finished.folder / "result.json").read_text(), parse_constant=pytest.fail)


def test_a_finished_run_is_reported_not_run_again(data, finished):
    before = files(finished.folder)
    again = zoo.train("gru", data, seed=3, out=finished.folder, **SMALL)
    assert again == finished
    assert files(finished.folder) == before


@pytest.mark.parametrize(
    ("change", "word"),
    [({"seed": 4}, "seed"), ({"max_epochs": 3}, "trainer"), ({"model": "logistic_regression"}, "model")],
    ids=str,
)
def test_another_configuration_in_the_folder_is_an_error(change, word, data, finished):
    wanted = {"model": "gru", "seed": 3, **SMALL, **change}
    before = files(finished.folder)
    with pytest.raises(UserError, match=rf"holds another run \(it differs in .*{word}.*\): choose another folder"):
        zoo.train(wanted.pop("model"), data, out=finished.folder, **wanted)
    assert files(finished.folder) == before


def test_a_changed_table_of_what_a_model_reads_makes_another_run(intact_mimic3, tmp_path):
    root = tmp_path / "source"
    shutil.copytree(intact_mimic3.root, root)

    def trained():
        data = zoo.load("mimic3", task="readmission", root=root, days=90, concepts=["diagnosis"])
        return zoo.train("logistic_regression", data, out=tmp_path / "run")

    def changed(table):
        (path,) = root.glob(f"{table}.csv*")
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))

    first = trained()
    changed("PRESCRIPTIONS")
    assert trained() == first
    changed("DIAGNOSES_ICD")
    with pytest.raises(UserError, match=r"holds another run \(it differs in data_key\)"):
        trained()
    assert any("tables" in note for note in zoo.evaluate(first, root=root).notes)


def test_another_model_of_the_same_configuration_is_another_run(data, tmp_path):
    """Two models whose parameters look the same must not be taken for one another."""
    models.register("other_gru", **vars(models.entry("gru").facts))(type("OtherGRU", (models.get("gru"),), {}))
    try:
        zoo.train("gru", data, out=tmp_path / "run", max_epochs=1)
        with pytest.raises(UserError, match="holds another run"):
            zoo.train("other_gru", data, out=tmp_path / "run", max_epochs=1)
    finally:
        models._entries.pop("other_gru")


def test_a_file_or_a_strange_folder_in_the_way(data, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    for name in ("file", "folder"):
        with pytest.raises(UserError, match="is no run folder: choose another one"):
            zoo.train("gru", data, out=tmp_path / name, **SMALL)
    assert (tmp_path / "file").read_text() == "mine"
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["thesis.tex"]


def test_half_written_folders_are_run_anew(data, finished, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / ".config.json.4711").write_text('{"se')
    assert zoo.train("gru", data, seed=3, out=begun, **SMALL).metrics == finished.metrics

    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "config.json").write_bytes((finished.folder / "config.json").read_bytes())
    (stopped / "model.safetensors").write_bytes(b"half")
    assert zoo.train("gru", data, seed=3, out=stopped, **SMALL).metrics == finished.metrics


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_damaged_files_of_a_run_are_named(name, data, finished, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in finished.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(b'{"seed": \xff')
    with pytest.raises(UserError, match=name):
        zoo.train("gru", data, seed=3, out=folder, **SMALL)


def test_reading_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match="holds no finished run"):
        Result.read(tmp_path / "nowhere")
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(UserError, match="is no result of this version"):
        Result.read(tmp_path)


def test_json_is_strict_and_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_a_full_disk_is_one_clear_error(zoo_command, small_disk, intact_mimic3, own_cache):
    source = ("--dataset", "mimic3", "--root", intact_mimic3.root, "--task", "readmission", "--model", "gru")
    small = ("--set", "trainer.max_epochs=1", "--set", "model.dim=512")
    done = zoo_command("run", *source, *small, "--out", small_disk / "run")
    assert done.returncode == 2
    assert done.stderr.startswith("zoo: ")
    assert "No space left" in done.stderr
    assert str(small_disk / "run") in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (small_disk / "run" / "result.json").exists()


def test_new_folders_below_runs_do_not_meet(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [zoo.train("logistic_regression", data).folder.name for _ in range(2)]
    assert folders == [f"mimic3-readmission-logistic_regression-seed0{n}" for n in ("", "-2")]


def test_a_run_killed_in_training_goes_on(intact_mimic3, own_cache, tmp_path, data):
    """What the weights are then is told by the tests of the trainer."""
    out = tmp_path / "run"
    long = (
        "import zoo, sys\n"
        "data = zoo.load('mimic3', task='readmission', root=sys.argv[1], concepts=['diagnosis', 'lab'], days=90)\n"
        "zoo.train('gru', data, out=sys.argv[2], max_epochs=40, patience=40)"
    )
    process = Forked(long, intact_mimic3.root, out)
    until = time.monotonic() + 60
    while not (out / "last.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "result.json").exists()
    assert zoo.train("gru", data, out=out, max_epochs=40, patience=40).sizes["epochs"] == 40


# One seed, one result


def weights(folder) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_one_seed_gives_one_result_and_another_seed_other_weights(data, finished, tmp_path):
    torch.manual_seed(11)
    again = zoo.train("gru", data, seed=3, out=tmp_path / "again", device="cpu", **SMALL)
    other = zoo.train("gru", data, seed=4, out=tmp_path / "other", **SMALL)
    assert again.metrics == finished.metrics
    first = weights(finished.folder)
    assert all(torch.equal(w, weights(again.folder)[n]) for n, w in first.items())
    assert not all(torch.equal(w, weights(other.folder)[n]) for n, w in first.items())


def test_making_a_model_leaves_the_global_seed_alone(data):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    zoo.create_model("gru", data, seed=1)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", 2**40, True])
def test_wrong_seeds(seed, data, tmp_path):
    with pytest.raises(UserError, match="seed="):
        zoo.train("gru", data, seed=seed, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Save and load


def test_a_network_reads_back_and_predicts_the_same(data, finished):
    model = zoo.create_model("gru", data, seed=99)
    trainer = zoo.Trainer(**SMALL)
    before = trainer.scores(model, data, "test")
    model.load_state_dict(weights(finished.folder))
    loaded = trainer.scores(model, data, "test")
    assert not np.array_equal(before, loaded)
    from zoo.metrics import evaluate

    again = evaluate("binary", data.label("test"), loaded, data.subject("test"))
    assert again["auroc"].to_dict() == finished.metrics["auroc"]


@pytest.mark.parametrize("task", ["readmission", "los", "diagnosis", "days"])
def test_an_estimator_reads_back_and_predicts_the_same(task, intact_mimic3, tmp_path):
    how = {"task": "los", "target": "days"} if task == "days" else {"task": task}
    data = zoo.load("mimic3", root=intact_mimic3.root, **how)
    result = zoo.train("logistic_regression", data, out=tmp_path / "run")
    model = zoo.create_model("logistic_regression", data)
    model.load(result.folder / "model.skops")
    fitted = zoo.create_model("logistic_regression", data)
    fitted.fit(data.batches("train", fitted, 64))
    trainer = zoo.Trainer()
    np.testing.assert_array_equal(trainer.scores(model, data, "test"), trainer.scores(fitted, data, "test"))


def test_a_saved_estimator_that_would_run_code_is_refused(data, tmp_path):
    import skops.io

    skops.io.dump({"scale": np.ones(2), "estimators": [os.system]}, tmp_path / "evil.skops")
    model = zoo.create_model("logistic_regression", data)
    with pytest.raises(UserError, match=r"evil\.skops"):
        model.load(tmp_path / "evil.skops")


# Wrong use


def test_unknown_names_in_python(data):
    with pytest.raises(UserError, match="the trainer has no parameter 'epochs': did you mean 'max_epochs'"):
        zoo.train("gru", data, epochs=3)
    with pytest.raises(UserError, match="unknown model 'gruu': did you mean 'gru'"):
        zoo.train("gruu", data)
    with pytest.raises(UserError, match="split 'dev'"):
        data.size("dev")
    with pytest.raises(UserError, match="dim=-1 must be at least 1"):
        zoo.create_model("gru", data, dim=-1)
    assert issubclass(UserError, ValueError)


def test_a_model_that_was_made_for_other_data_is_refused(data, intact_mimic3, tmp_path):
    def other(**how):
        return zoo.load("mimic3", root=intact_mimic3.root, **{"task": "readmission", "concepts": ["diagnosis"], **how})

    made = zoo.create_model("gru", other(days=90), dim=8)
    zoo.train(made, other(days=90), out=tmp_path / "same", max_epochs=1)
    for how, word in (
        ({"levels": {"diagnosis": "ccs"}}, "its codes of diagnosis are others"),
        ({"task": "los"}, "its task is binary, that of the data multiclass"),
        ({"concepts": ["drug"]}, "the data have no diagnosis"),
    ):
        with pytest.raises(UserError, match=f"'gru' was made for other data .*{word}"):
            zoo.train(made, other(**how), out=tmp_path / "other")
    with pytest.raises(UserError, match=r"was made for other data .*its labels are others"):
        zoo.train(zoo.create_model("gru", other(task="diagnosis")), other(task="diagnosis", level="icd3"))
    assert not (tmp_path / "other").exists()


def test_a_model_made_by_its_constructor_is_read_back_as_it_was(data, tmp_path):
    class Own(zoo.models.Model):
        def __init__(me, spec, dim: int = 8, *further):
            super().__init__(spec)
            me.visits, me.head = zoo.layers.VisitEmbedding({"lab": spec.size("lab")}, dim), nn.Linear(dim, spec.outputs)

        def forward(me, batch):
            return zoo.models.Output(me.head(batch.at_samples(batch.rows(me.visits(batch)))))

    run = zoo.train(Own(data.spec({"lab"}), 4), data, out=tmp_path / "run", max_epochs=1)
    assert run.config["model"] == {"dim": 4}
    assert zoo.evaluate(run).metrics == run.metrics


@pytest.mark.parametrize("held", ["[]", '{"config": []}', '{"config": [[]]}', "{"])
def test_a_folder_whose_configuration_is_damaged_is_refused(held, data, tmp_path):
    (tmp_path / "config.json").write_text(held)
    with pytest.raises(UserError, match="damaged"):
        zoo.train("majority", data, out=tmp_path)


def test_settings_of_run(intact_mimic3, tmp_path):
    how = {"task.days": 90, "data.concepts": ["diagnosis"], "model.dim": 8, "trainer.max_epochs": 1}
    result = zoo.run("mimic3", "readmission", "gru", intact_mimic3.root, out=tmp_path / "run", settings=how)
    assert result.config["model"]["dim"] == 8
    assert result.config["inputs"] == ["diagnosis"]
    with pytest.raises(UserError, match=r"'data\.day'"):
        zoo.run("mimic3", "readmission", "gru", intact_mimic3.root, settings={"data.day": 90})


def test_a_synthetic_run_is_the_same_run_when_the_cache_was_cleared(tmp_path, monkeypatch):
    results = []
    for name in ("one", "two"):
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / name))
        data = zoo.load("synthetic", task="readmission", patients=40, concepts=["diagnosis"])
        results.append(zoo.train("logistic_regression", data, out=tmp_path / "run"))
    assert results[0] == results[1]
