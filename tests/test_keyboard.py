"""What a newcomer types, and what is shown: every mistake is one line that tells how to mend it."""

import inspect
import json
import re
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import typer.main

import zoo
from zoo import cli, prepare, progress, registry
from zoo.data import Batch, Spec
from zoo.datasets import Dataset
from zoo.models import Model, Output
from zoo.registry import UserError, printable, shown
from zoo.result import Result
from zoo.tasks import Task
from zoo.training._processes import launched

PATIENTS = 60
SMALL = {"max_epochs": 1, "batch_size": 16}


class Own(Model):
    """A model that nobody registered: a weight for each code of the sample's own visit."""

    def __init__(self, spec: Spec, scale: float = 1.0):
        super().__init__(spec)
        self.scale = scale
        self.weights = torch.nn.EmbeddingBag(spec.size("diagnosis"), spec.outputs, mode="sum")

    def forward(self, batch: Batch) -> Output:
        codes = batch["diagnosis"]
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        return Output(self.scale * self.weights(codes.ids, codes.offsets[:-1])[own])


class Narrow(registry.models.get("gru")):
    """A registered model, changed by somebody."""

    def __init__(self, spec: Spec, dim: int = 4):
        super().__init__(spec, dim=dim)


class Sooner(registry.tasks.get("readmission")):
    """A task that nobody registered."""


class Simulated(registry.datasets.get("synthetic")):
    """A dataset that nobody registered."""


def load(**how):
    how = {"task": "readmission", "patients": PATIENTS, "concepts": "diagnosis", **how}
    return zoo.load("synthetic", **how)


@pytest.fixture(scope="module")
def data(session_cache):
    return load()


@pytest.fixture(scope="module")
def frame(data):
    ids = data.dataset.read("subjects").subject_id
    return pd.DataFrame({"subject_id": ids, "split": np.array(["train", "train", "test", "validation"])[ids % 4]})


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    return zoo.train("logistic_regression", data, out=tmp_path_factory.mktemp("keyboard") / "run")


# What is taken


def test_a_result_stands_for_its_folder(data, result):
    for run in (result, result.folder, str(result.folder), zoo.load_run(result)):
        assert zoo.predict(run, data).equals(zoo.predict(result.folder, data))
    found = zoo.evaluate(result, resamples=0)
    assert {n: m["value"] for n, m in found.metrics.items()} == {n: m["value"] for n, m in result.metrics.items()}
    assert zoo.predict(found).equals(zoo.predict(result))
    with pytest.raises(UserError, match="has no weights to begin with"):
        zoo.train("gru", data, init=result)
    with pytest.raises(UserError, match="tells neither contributions nor attention"):
        zoo.explain(result, 0)
    unwritten = Result(**{**result.to_dict(), "folder": None})
    for run in (None, 3, unwritten, data):
        with pytest.raises(UserError, match="is no run: give the folder"):
            zoo.predict(run)


@pytest.mark.parametrize("given", [Own, Narrow], ids=lambda c: c.__name__)
@pytest.mark.parametrize("form", ["class", "made", "instance"])
def test_a_model_that_nobody_registered(given, form, data, tmp_path):
    forms = {
        "class": lambda: given,
        "made": lambda: zoo.create_model(given, data),
        "instance": lambda: given(data.spec({"diagnosis"})),
    }
    found = zoo.train(forms[form](), data, out=tmp_path / "run", **SMALL)
    assert found.model == given.__name__
    assert given.__name__ not in zoo.list_models()
    assert found.config["inputs"] == ["diagnosis"]
    assert len(zoo.predict(found)) == data.size("test")
    assert zoo.train(given, data, out=tmp_path / "other", **SMALL).model == given.__name__


def test_a_model_that_is_written_again_is_another_one(data, tmp_path):
    made = []
    for factor in (1, 2):
        scope = {"Own": Own}
        exec(
            f"class Again(Own):\n    def predict(self, output):\n        return output.logits[:, 0] * 0 + {factor} / 4",
            scope,
        )
        made.append(scope["Again"])
    zoo.train(made[0], data, out=tmp_path / "run", **SMALL)
    with pytest.raises(UserError, match=r"holds another run .*model_code"):
        zoo.train(made[1], data, out=tmp_path / "run", **SMALL)


@pytest.mark.parametrize("form", [Sooner, Sooner(days=7), "readmission"], ids=str)
def test_a_task_that_nobody_registered(form, data, tmp_path):
    own = load(task=form) if not isinstance(form, type) else load(task=form, days=7)
    if form != "readmission":
        assert own.task.name == "Sooner"
        assert own.task.days == 7
    found = zoo.train("majority", own, out=tmp_path / "run")
    assert len(zoo.predict(found)) == own.size("test")
    assert "Sooner" not in zoo.list_tasks()


def test_a_dataset_that_nobody_registered(data, tmp_path):
    for own in (
        zoo.load(Simulated, task="readmission", patients=PATIENTS, concepts="diagnosis"),
        zoo.load(Simulated(patients=PATIENTS), task="readmission", concepts="diagnosis"),
    ):
        assert own.dataset.name == "Simulated"
        assert own.samples.equals(data.samples)
    found = zoo.train("majority", own, out=tmp_path / "run")
    assert len(zoo.predict(found)) == own.size("test")
    assert "Simulated" not in zoo.list_datasets()


def test_a_split_by_name_and_as_a_table(data, frame, tmp_path):
    named = load(split={"train": 0.5, "validation": 0.2, "test": 0.3})
    assert named.samples.equals(load(split=(0.5, 0.2, 0.3)).samples)
    assert named.key == load(split=[0.5, 0.2, 0.3]).key
    assert load(split={"train": 0.6, "test": 0.4}).size("validation") == 0

    frame.to_csv(tmp_path / "split.csv", index=False)
    tabled = load(split=frame)
    assert tabled.samples.equals(load(split=tmp_path / "split.csv").samples)
    assert tabled.key == load(split=frame.sample(frac=1, random_state=0)).key
    assert tabled.key != load(split=frame.assign(split="train")).key
    found = zoo.train("majority", tabled, out=tmp_path / "run")
    assert sorted(zoo.predict(found).visit_id) == sorted(tabled.samples.visit_id[tabled.samples.split == "test"])
    assert zoo.evaluate(found, tabled, resamples=0).metrics["auroc"]["value"] == found.metrics["auroc"]["value"]
    with pytest.raises(UserError, match="tested subjects would be those trained on"):
        zoo.evaluate(found, data)
    (found.folder / "split.csv").unlink()
    with pytest.raises(UserError, match="the run was split by a table"):
        zoo.predict(found)


def test_a_concept_stands_for_the_set_of_it(data):
    assert load(concepts="drug").concepts == load(concepts=["drug"]).concepts == ["drug"]
    assert load(concepts=pd.Series(["drug"])).concepts == ["drug"]
    one, other = (next(data.batches("test", asked)) for asked in ("diagnosis", {"diagnosis"}))
    assert torch.equal(one["diagnosis"].ids, other["diagnosis"].ids)
    assert data.spec("diagnosis").concepts == ("diagnosis",)
    assert data.batch(data.places("test"), "diagnosis").samples == data.size("test")


def test_numbers_of_numpy_and_paths_are_plain_in_what_is_written(data, tmp_path):
    model = zoo.create_model("gru", data, seed=np.int64(1), dim=np.int32(4))
    device = torch.device("cpu")
    found = zoo.train(model, data, seed=np.int64(1), out=tmp_path / "run", max_epochs=np.int64(1), device=device)
    read = Result.read(found.folder)
    assert (read.config["model"]["dim"], read.config["trainer"]["max_epochs"], read.seed) == (4, 1, 1)
    assert read.config["trainer"]["device"] == "cpu"
    assert len(zoo.predict(read)) == data.size("test")
    key = load(split_seed=np.int8(1), max_visits=np.int64(3), train_share=np.float32(0.5), days=np.float64(9)).key
    classes = {**key["task_parameters"], "visit_class": ["inpatient"]}
    assert json.loads(json.dumps(key)) == {**key, "task_parameters": classes}
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        load(drug_map=tmp_path / "nowhere.csv")


# What is refused


def mistakes(data, result, frame) -> dict:
    """What a newcomer types in Python, and words of the line that it is answered with."""
    train, predict, evaluate = zoo.train, zoo.predict, zoo.evaluate
    linear = torch.nn.Linear(1, 1)
    return {
        "swapped are": lambda: train(data, "gru"),
        "swapped: it is zoo.create_model": lambda: zoo.create_model(data, "gru"),
        "swapped: it is zoo.pretrain": lambda: zoo.pretrain(data, "med_bert"),
        "'readmission' is a task, no dataset": lambda: zoo.load("readmission", "synthetic"),
        "'synthetic' is a dataset, no task": lambda: zoo.run("readmission", "synthetic", "gru"),
        "'readmission' is a task, no model": lambda: zoo.run("synthetic", "gru", "readmission"),
        "name a task": lambda: zoo.load("synthetic"),
        "data=None must be what zoo.load returns": lambda: train("gru", None),
        "data='synthetic' must be": lambda: train("gru", "synthetic"),
        "data=a value of type DataFrame must be": lambda: train("gru", data.samples),
        "model=a value of type Linear must be": lambda: train(linear, data),
        "model=None must be": lambda: train(None, data),
        "model=<class 'torch.nn.modules.linear.Linear'> must be": lambda: train(torch.nn.Linear, data),
        "is made already": lambda: zoo.create_model(zoo.create_model("gru", data, dim=2), data),
        "no parameter 'scael': did you mean 'scale'": lambda: zoo.create_model(Own, data, scael=2),
        "is a folder, no task: give it as root='/'": lambda: zoo.load("mimic3", "/"),
        "'test' is a split, no dataset: give it as split='test'": lambda: predict(result, "test"),
        "register 'Own' first": lambda: zoo.check(Own),
        "3 is no task": lambda: load(task=3),
        "a value of type DataFrame is no dataset": lambda: zoo.load(frame, task="readmission"),
        "root='x': the dataset is opened already": lambda: zoo.load(data.dataset, task="readmission", root="x"),
        "root=3 must be the folder": lambda: zoo.load("mimic3", task="readmission", root=3),
        "is no dataset: give a name, or what": lambda: predict(result, frame),
        "unknown split 'val'": lambda: load(split={"train": 0.7, "val": 0.3}),
        "add up to 1": lambda: load(split={"train": 0.7, "test": 0.7}),
        "split=(80, 10, 10) must be three": lambda: load(split=(80, 10, 10)),
        "split=0.8 must be three": lambda: load(split=0.8),
        "must name three shares, or a file": lambda: load(split={"train": "a.csv", "test": 0.1}),
        "this one has subject_id, fold": lambda: load(split=frame.rename(columns={"split": "fold"})),
        "a value of type Series must be three": lambda: load(split=frame.split),
        "unknown concept 'drugs': did you mean 'drug'": lambda: load(concepts="drugs"),
        "concepts=[None] must be": lambda: load(concepts=[None]),
        "concepts=3 must be": lambda: load(concepts=3),
        "goes into levels=": lambda: load(concepts={"diagnosis": "ccs"}),
        "levels='ccs' must name": lambda: load(levels="ccs"),
        "a level is a name": lambda: load(levels={"diagnosis": None}),
        "levels=0 must name": lambda: load(levels=0),
        "or a concept: diagnosis": lambda: next(data.batches("train", "diagnoses")),
        "'drug' was not asked for": lambda: next(data.batches("train", "drug")),
        "unknown split None": lambda: next(data.batches(None, "gru")),
        "is no model: give a name": lambda: next(data.batches("train", 3)),
        "batch_size=0 must be": lambda: next(data.batches("train", "gru", 0)),
        "seed='x' must be": lambda: next(data.batches("train", "gru", shuffle=True, seed="x")),
        "seed='0' must be": lambda: train("gru", data, seed="0"),
        "seed=1.0 must be": lambda: train("gru", data, seed=1.0),
        "seed=None must be": lambda: zoo.create_model("gru", data, seed=None),
        "seed=a value of type int must be": lambda: train("gru", data, seed=10**5000),
        "split_seed='a' must be": lambda: load(split_seed="a"),
        "train_share='half' must be": lambda: load(train_share="half"),
        "max_visits='3' must be": lambda: load(max_visits="3"),
        "days='30' must be of type float": lambda: load(days="30"),
        "days=1e+308 must be": lambda: load(days=1e308),
        "must be a number from -2^53 to 2^53": lambda: load(days=10**400),
        "dim=a value of type Tensor must be of type int": lambda: zoo.create_model("gru", data, dim=torch.ones(3)),
        "lr='1e-3' must be of type float": lambda: zoo.Trainer(lr="1e-3"),
        "clip='x' must be of type": lambda: zoo.Trainer(clip="x"),
        "warmup=None must be of type": lambda: zoo.Trainer(warmup=None),
        "optimizer=['adam'] must be of type str": lambda: zoo.Trainer(optimizer=["adam"]),
        "no parameter 'epochs'": lambda: train("gru", data, epochs=3),
        "out=3 must be a path": lambda: train("majority", data, out=3),
        "out='' must be a path": lambda: train("majority", data, out=""),
        "by=3 must be a name": lambda: evaluate(result, by=3),
        "resamples='many' must be": lambda: evaluate(result, resamples="many"),
        "resamples=-1 must be": lambda: evaluate(result, resamples=-1),
        "average=3 must be": lambda: evaluate(result, average=3),
        "settings=a value of type set must be": lambda: zoo.run("synthetic", "los", "gru", settings={len}),
        "setting 3 must begin with": lambda: zoo.run("synthetic", "los", "gru", settings={3: 3}),
        "unknown task None": lambda: zoo.run(None, None, "gru"),
        "tasks=None must be a name": lambda: zoo.leaderboard("synthetic", None, "majority", out="x"),
        "out=None must be a path": lambda: zoo.leaderboard("synthetic", "los", "majority", out=None),
        "fractions=['a'] must be": lambda: zoo.curve("synthetic", "los", "majority", ["a"], out="x"),
        "patients='many' must be": lambda: zoo.synth("x", patients="many"),
        "must end in .parquet or .csv": lambda: zoo.samples("synthetic", "los", out="x.txt"),
        "unknown name None": lambda: zoo.info(None),
        "no model has the concept 'labs': did you mean 'lab'": lambda: zoo.list_models(uses="labs"),
        "no model has the kind 'multi'": lambda: zoo.list_models(kind="multi"),
        "no model has the family 'vision'": lambda: zoo.list_models(family="vision"),
        "uses=3 must be a name": lambda: zoo.list_models(uses=3),
        "is registered under a name": lambda: zoo.register_model(Own),
        "only a class can be": lambda: zoo.register_model("x")(len),
    }


def test_mistakes_in_python_are_one_line(data, result, frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, mistake in mistakes(data, result, frame).items():
        wanted = "the arguments are swapped" if words == "swapped are" else words
        with pytest.raises(UserError) as told:
            mistake()
        assert wanted in str(told.value), str(told.value)
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 1000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["mps", "cuda:99", "tpu", "xla", "meta", "hpu", "vulkan", "", "CPU", 0])
def test_a_device_that_is_not_there_is_one_line(device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(UserError, match=r"^trainer device=.* cannot be used \([^\n]{1,220}\): try 'auto' or 'cpu'\.$"):
        zoo.Trainer(device=device)


def test_a_world_size_that_no_launcher_left_is_told(data, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"WORLD_SIZE=2 stands in the environment without RANK, .*Unset WORLD_SIZE"):
        zoo.train("majority", data, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE='two'"):
        launched()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not launched()


VALUES = ["null", "[[1]]", '{"a": [null]}', "true", "-1", "9" * 400, '""']
NO_VALUES = ["1e999", "9" * 5000, "[" * 100_000, "\x1b[2J", "NaN"]
"""For whatever key."""
TAKEN = {"null": {"task.min_age", "data.split", "data.max_visits", "trainer.clip"}, "true": {"trainer.balance"}}
KEYS = (
    *("task.days", "task.min_age", "task.unit", "data.split", "data.max_visits", "data.split_seed"),
    *(
        "data.train_share",
        "data.memory_limit",
        "data.patients",
        "model.dim",
        "model.dropout",
        "trainer.lr",
        "trainer.clip",
    ),
    *("trainer.monitor", "trainer.device", "trainer.checkpoint_every", "trainer.warmup", "trainer.balance"),
)


def test_whatever_is_set_ends_with_a_line(command, session_cache):
    run = ["run", "--dataset", "synthetic", "--task", "readmission", "--model", "gru"]
    wanted = [(k, v) for k in KEYS for v in VALUES if k not in TAKEN.get(v, ())]
    for key, value in [*wanted, *(("trainer.lr", v) for v in NO_VALUES)]:
        status, _, told = command(*run, "--set", "data.patients=60", "--set", f"{key}={value}")
        assert status == 2, (key, value[:20], told)
        assert re.fullmatch(r"zoo: [^\n\x1b]{1,1000}\n", told), (key, value[:20], told)


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Run ``zoo`` within this process; gives its status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    return run


# What is printed


def test_a_result_tells_of_its_samples_and_labels(data, result):
    text = str(result)
    test = data.samples[data.samples.split == "test"]
    share = f"{test.label.sum()} positive (prevalence {test.label.mean():.1%})"
    assert f"test: {len(test)} samples of {test.subject_id.nunique()} subjects, {share}" in text
    assert all(
        word in text for word in ("train: ", "validation: ", "concepts: diagnosis", "threshold: 0.5", "time: train")
    )
    assert text.count("run folder") == 1
    page = result._repr_html_()
    assert share in page
    assert len(page) < 5000
    assert Result.read(result.folder).labels == result.labels


def test_a_line_for_each_kind_of_label(session_cache, tmp_path):
    lines = {
        "days": ("los", {"target": "days"}, "mean "),
        "classes": ("los", {}, "the most frequent class is "),
        "sets": ("diagnosis", {}, " labels each"),
    }
    for name, (task, how, words) in lines.items():
        own = load(task=task, **how)
        told = str(zoo.train("majority", own, out=tmp_path / name))
        assert re.search(rf"test: \d+ samples? of \d+ subjects?, .*{words}", told), told


def facts(**changed) -> Result:
    metric = {"value": 0.0, "low": None, "high": None, "reason": None}
    given = {
        **dict.fromkeys(("dataset", "task", "model", "data_key"), "x"),
        "seed": 0,
        "metrics": {"f1": metric},
        "attrition": [],
        "config": {"inputs": ["lab", "note"]},
        "versions": {},
        "sizes": {},
        "times": {},
        "threshold": 0.5,
    }
    return Result(**{**given, **changed})


def test_notes_once_and_hints_where_nothing_reaches_the_threshold():
    told = str(facts(notes=["one", "two", "one"]))
    assert told.count("note: one") == 1
    assert "hint: f1 is 0" in told
    assert "thresholds='tuned'" in told
    good = {"f1": {"value": 0.1, "low": None, "high": None, "reason": None}}
    assert "hint" not in str(facts(metrics=good))
    none = {"f1": {"value": None, "low": None, "high": None, "reason": "undefined: no positive"}}
    assert "undefined: no positive" in str(facts(metrics=none))
    assert "undefined: undefined" not in str(facts(metrics=none))
    assert str(facts(metrics={"f1": {**none["f1"], "reason": "undefined"}})).count("undefined") == 1
    assert "hint" not in str(facts(labels={"test": {"samples": 2, "subjects": 1, "positives": 0}}))
    one = facts(labels={"test": {"samples": 1, "subjects": 1, "positives": 1}})
    assert "test: 1 sample of 1 subject, 1 positive (prevalence 100.0%)" in str(one)
    inputs = {"lab": {"samples": 0.5, "codes_known": None}, "note": {"samples": 0.0, "codes_known": 0.25}}
    assert "concepts: lab (50% of samples), note (0% of samples, 25% of codes known)" in str(facts(inputs=inputs))


STEERING = "\x1b[2J\x07asp\u202eirin\r\n\udcff"


def test_what_steers_a_terminal_is_escaped_everywhere(command, result, capsys):
    assert printable(STEERING).isprintable()
    assert printable("Ödem 5 µg/mL, ≥ 3") == "Ödem 5 µg/mL, ≥ 3"
    for text in (str(UserError(f"no column {STEERING}")), str(facts(notes=[STEERING])), repr(facts(dataset=STEERING))):
        assert not re.search("[\x1b\x07\r\u202e\udcff]", text)
    cli.tell(f"a {STEERING}", "b")
    assert capsys.readouterr().out == f"a {printable(STEERING.partition(chr(10))[0])}\n\\udcff\nb\n"
    status, _, told = command("info", STEERING)
    assert status == 2
    assert not re.search("[\x1b\x07\r\u202e\udcff]", told)
    page = facts(notes=["<script>alert(1)</script>"], dataset="<b>")._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page


def test_no_public_object_shows_an_address_or_a_patient(data, result):
    batch = next(data.batches("test", "diagnosis"))
    relations = prepare.relations(data.dataset, prepare.Stores(data.dataset, data.visits))
    candidates = relations.candidates()
    things = [data, data.dataset, data.task, batch, batch["diagnosis"], data.spec("gru"), zoo.Trainer(), result]
    things += [zoo.load_run(result), zoo.evaluate(result, resamples=0), registry.models, candidates, zoo.info("gru")]
    things += [data.spec("gru").vocabularies["diagnosis"], zoo.load_task("los"), zoo.create_model("gru", data, dim=2)]
    for thing in things:
        assert " at 0x" not in repr(thing), repr(thing)
        assert len(repr(thing)) < 3000
        told = repr(thing).replace(str(result.folder), "")  # its path may have any number in it
        assert not any(str(subject) in told for subject in data.samples.subject_id[:50])
    for thing in (data, data.dataset, data.task, result):
        assert re.fullmatch(r"<div><strong>.*</strong><table>.*</table><small>.*</small></div>", thing._repr_html_())
    for thing in (data, data.samples, relations, object(), [object()]):
        assert shown(thing).startswith("a value of type ")
    for kind in (Task, Dataset):
        assert " at 0x" not in shown(kind)


# Lists and functions


def test_models_are_listed_by_what_they_serve(command):
    assert zoo.list_models() == zoo.list_models(None, ())
    concepts = {c: zoo.list_models(uses=c) for c in ("lab", "note")}
    binary, of_drugs, series = (
        zoo.list_models(**{n: v}) for n, v in {"kind": "binary", "task": "medication", "family": "series"}.items()
    )
    for name in zoo.list_models():
        said = registry.models.entry(name).facts
        assert registry.models.facts(name) == said
        assert said.family in ("visits", "medication", "notes", "series", "multimodal", "ontology", "classical")
        for concept, able in concepts.items():
            assert (name in able) == (concept in said.concepts)
        assert (name in binary) == ("binary" in said.kinds)
        assert (name in of_drugs) == ("multilabel" in said.kinds and said.predicts in (None, "drug"))
        assert (name in series) == (said.family == "series")
    status, told, _ = command("list", "models", "--task", "medication", "--concept", "lab", "--kind", "multilabel")
    wanted = zoo.list_models("medication", {"lab"}, "multilabel")
    assert (status, [line.split()[0] for line in told.splitlines()]) == (0, wanted)
    assert "lab" not in {
        c for n in set(zoo.list_models("medication")) - set(wanted) for c in registry.models.facts(n).uses
    }
    status, told, _ = command("list", "models", "--family", "classical")
    assert all(line.split()[1] == "classical" for line in told.splitlines())
    assert command("list", "tasks", "--kind", "binary")[0] == 2


@pytest.mark.parametrize("noun", ["datasets", "tasks", "models"])
def test_every_parameter_is_explained(noun):
    for name in (
        p.name for p in registry.importlib.metadata.entry_points(group=f"zoo.{noun}") if p.value.startswith("zoo.")
    ):
        (told,) = zoo.info(name).facts
        assert set(told["explained"]) == set(told["parameters"]), name
        assert all(len(text) > 5 for text in told["explained"].values())


def test_the_trainer_and_the_version_are_told(command):
    status, told, _ = command("info", "trainer")
    known = inspect.signature(zoo.Trainer).parameters
    assert status == 0
    assert all(f"  {name} = " in told for name in known)
    assert set(zoo.info("trainer").facts[0]["explained"]) == set(known)
    assert command("--version") == (0, f"zoo {zoo.__version__}\n", "")


TWINS = {"list": ("list_datasets", "list_tasks", "list_models")}


def test_every_command_has_a_function_that_the_docs_name():
    commands = typer.main.get_command(cli.app).commands
    page = (Path(__file__).parent.parent / "docs" / "commands.md").read_text(encoding="utf-8")
    for name, told in commands.items():
        for function in TWINS.get(name, (name,)):
            assert callable(getattr(zoo, function))
            assert function in zoo.__all__
            assert f"| `zoo {name}` |" in page
            assert f"`zoo.{function}`" in page
        if name not in TWINS:
            renamed = {"as_json": None, "concepts": "concepts", "model": "models" if name == "curve" else "model"}
            taken = inspect.signature(getattr(zoo, name)).parameters
            options = {renamed.get(p.name, p.name) for p in told.params} - {None, "settings", "dataset", "out", "help"}
            options -= {"task", "root"} if name == "tune" else set()  # it takes data that are prepared
            several = any(p.kind is p.VAR_KEYWORD for p in taken.values())
            assert several or options <= set(taken), (name, options - set(taken))


def test_modules_of_one_name_with_their_function_do_not_hide_it():
    import zoo.curve
    import zoo.leaderboard

    assert zoo.leaderboard is sys.modules["zoo.leaderboard"].leaderboard
    assert zoo.curve is sys.modules["zoo.curve"].curve


def test_csv_where_parquet_is(command, result, session_cache, tmp_path):
    source = ["--dataset", "synthetic", "--set", f"data.patients={PATIENTS}"]
    for task in ("readmission", "diagnosis"):
        for ending in ("csv", "parquet"):
            status, told, _ = command("samples", *source, "--task", task, "--out", f"{task}.{ending}")
            assert (status, "all visits" in told) == (0, True)
        read, whole = pd.read_csv(f"{task}.csv"), pd.read_parquet(f"{task}.parquet")
        assert read.visit_id.equals(whole.visit_id)
        labels = read.label.map(json.loads) if task == "diagnosis" else read.label
        assert [list(x) if task == "diagnosis" else x for x in whole.label] == labels.tolist()
        own = zoo.samples("synthetic", task, settings={"data.patients": PATIENTS})
        assert own.visit_id.tolist() == whole.visit_id.tolist()
        assert own.attrs["attrition"][0]["step"] == "all visits"
    for ending in ("csv", "parquet"):
        assert command("predict", result.folder, "--out", f"p.{ending}")[0] == 0
    np.testing.assert_allclose(pd.read_csv("p.csv").score, pd.read_parquet("p.parquet").score)


# Progress


def test_a_log_gets_sparse_lines_with_share_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SPARSE", (0.05, 0.1))
    with progress.progress("training x", at_most=True) as report:
        for step in range(1, 41):
            report("epoch 1 of 2", "loss 0.5", step / 80)
            time.sleep(0.01)
        with progress.progress("metrics"):
            time.sleep(0.12)
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert told.out == ""
    assert 2 <= len(lines) <= 8
    assert re.fullmatch(r"training x: epoch 1 of 2  loss 0\.5  \[\d+%, 0\.\d s, at most \d\.\d s left\]", lines[1])
    assert any(line.startswith("metrics ...  [50%") for line in lines)
    assert re.fullmatch(r"training x: done after 0\.\d s", lines[-1])


def test_what_is_quick_or_fails_leaves_no_line(capsys):
    before = threading.active_count()
    with progress.progress("quick") as report:
        report(1, share=0.5)
    with pytest.raises(ValueError, match="no"), progress.progress("bad"):
        raise ValueError("no")
    told = capsys.readouterr()
    assert told.err + told.out == ""
    assert threading.active_count() == before


def test_a_notebook_gets_a_line_of_its_own(monkeypatch):
    shown_there = []

    class Handle:
        def update(self, looks, raw):
            shown_there.append(looks)

    def display(looks, raw, display_id):
        shown_there.append(looks)
        return Handle()

    ipython, displays = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=1)
    displays.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    monkeypatch.setattr(progress, "PATIENCE", 0.02)
    monkeypatch.setattr(progress, "TICK", 0.02)
    with progress.progress("reading <b>") as report:
        report("lab", share=0.25)
        time.sleep(0.15)
    assert "value='0.2500'" in shown_there[0]["text/html"]
    assert "&lt;b&gt;" in shown_there[0]["text/html"]
    assert shown_there[-1]["text/plain"].startswith("reading <b>: done after")


def test_a_training_tells_its_share_step_by_step(data, monkeypatch):
    told = []
    model = zoo.create_model("gru", data, dim=2)
    zoo.Trainer(max_epochs=3, patience=3, batch_size=16).fit(model, data, 0, lambda *what: told.append(what))
    shares = [share for _, _, share in told]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == 1
    assert [epoch for epoch, line, _ in told if line.startswith("loss")] == [1, 2, 3]
