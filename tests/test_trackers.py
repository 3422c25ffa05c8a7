"""What is told how a run goes: callbacks of a user, and trackers, read back as their own tools store them."""

import json
import shutil
import struct

import numpy as np
import pytest

import zoo
from zoo.registry import UserError

SMALL = {"max_epochs": 3, "patience": 3, "batch_size": 32, "device": "cpu"}
WATCHED = ("tensorboard", "wandb", "mlflow")


@pytest.fixture(scope="module")
def data(intact_mimic3, session_cache):
    return zoo.load("mimic3", task="readmission", root=intact_mimic3.root, concepts=["diagnosis"], days=90)


def train(data, out, **how):
    return zoo.train(zoo.create_model("mlp", data, seed=5, dim=8), data, out=out, **{**SMALL, **how})


class Notes:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def on_start(self, run):
        self.told.append(("start", run))

    def on_epoch(self, row):
        self.told.append(("epoch", row))

    def on_end(self, result):
        self.told.append(("end", result))

    def on_failure(self, error):
        self.told.append(("failure", error))

    @property
    def names(self):
        return [name for name, _ in self.told]


class Stumbles:
    """Tells of a patient, and fails, at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch(self, row):
        if row["epoch"] == self.epoch:
            print("subject 10007 was seen")
            raise RuntimeError("visit 100070 is odd")


# Callbacks


def test_a_callback_is_told_of_the_whole_run(data, tmp_path):
    notes = Notes()
    result = train(data, tmp_path / "run", callbacks=[notes])
    assert notes.names == ["start", "epoch", "epoch", "epoch", "end"]
    (_, run), *epochs, (_, ended) = notes.told
    assert run["epochs"] == []
    assert run["folder"] == tmp_path / "run"
    assert {n: run[n] for n in ("task", "seed", "config")} == {
        n: getattr(result, n) for n in ("task", "seed", "config")
    }
    losses = json.loads((tmp_path / "run" / "losses.json").read_text())
    assert [row["train_loss"] for _, row in epochs] == losses["train"]
    assert ended is result
    assert ended.folder == tmp_path / "run"


def test_a_run_with_another_callback_is_the_same_run(data, tmp_path):
    train(data, tmp_path / "run", callbacks=[Notes()])
    late = Notes()
    train(data, tmp_path / "run", callbacks=[late])
    assert late.told == []  # it is finished, and reported


def test_what_a_callback_raises_ends_the_run_which_can_go_on(data, tmp_path):
    first, second = Notes(), Notes()
    with pytest.raises(RuntimeError, match="is odd") as raised:
        train(data, tmp_path / "run", callbacks=[first, Stumbles(2)])
    assert first.names == ["start", "epoch", "epoch", "failure"]
    assert first.told[-1][1] is raised.value
    train(data, tmp_path / "run", callbacks=[second])
    assert second.names == ["start", "epoch", "end"]
    assert second.told[0][1]["epochs"] == [row for name, row in first.told if name == "epoch"]


def test_all_are_told_of_a_failure_whatever_one_of_them_raises(data, tmp_path):
    class Worse:
        def on_failure(self, error):
            raise OSError("and now this")

    notes = Notes()
    with pytest.raises(OSError, match="and now this") as raised:
        train(data, tmp_path / "run", callbacks=[notes, Worse(), Stumbles(1)])
    assert notes.names[-1] == "failure"
    assert isinstance(raised.value.__context__, RuntimeError)


def test_an_estimator_and_a_pretraining_tell_too(data, tmp_path):
    fitted, pretrained = Notes(), Notes()
    zoo.train("logistic_regression", data, out=tmp_path / "fitted", callbacks=[fitted])
    assert fitted.names == ["start", "end"]
    zoo.pretrain("med_bert", data, out=tmp_path / "pretrained", max_epochs=1, device="cpu", callbacks=[pretrained])
    assert pretrained.names == ["start", "epoch", "end"]
    assert pretrained.told[0][1]["config"]["pretraining"]


class Misspelt:
    def on_epoch_end(self, row): ...


@pytest.mark.parametrize(
    ("callbacks", "word"),
    [
        (Notes(), "must be a list"),
        ([Notes], r"give an instance, Notes\(\)"),
        ([Misspelt()], "nothing calls Misspelt.on_epoch_end: did you mean 'on_epoch'"),
        ([print], "has none of the methods on_start, on_epoch, on_end, on_failure"),
    ],
    ids=["alone", "class", "misspelt", "none"],
)
def test_what_cannot_be_called_is_said_before_anything_is_written(callbacks, word, data, tmp_path):
    with pytest.raises(UserError, match=word):
        train(data, tmp_path / "run", callbacks=callbacks)
    assert not (tmp_path / "run").exists()


# Trackers


@pytest.fixture(scope="module")
def tracked(data, tmp_path_factory):
    """By tracker, the result of a run that stumbled after its second epoch and went on."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        found = {}
        for log in WATCHED:
            out = tmp_path_factory.mktemp(log) / "run"
            with pytest.raises(RuntimeError, match="is odd"):
                train(data, out, log=log, callbacks=[Stumbles(2)])
            found[log] = train(data, out, log=log)
        yield found


def told_to_tensorboard(folder):
    """Each metric's (epoch, value), and the configuration as one text."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    found = {n: [(e.step, e.value) for e in events.Scalars(n)] for n in events.Tags()["scalars"]}
    (text,) = (t.tensor_proto.string_val[0].decode() for t in events.Tensors("configuration/text_summary"))
    return found, text


def told_to_wandb(folder):
    from wandb.proto import wandb_internal_pb2 as protocol

    found, text, ids = {}, "", set()
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        for part in parts_of(path.read_bytes()):
            record = protocol.Record.FromString(part)
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
                text = "\n".join(f'"{u.key}": {u.value_json}' for u in record.run.config.update)
            row = {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in record.history.item}
            for name in row.keys() - {"_step", "_runtime", "_timestamp"}:
                found.setdefault(name, []).append((row["_step"], row[name]))
            for item in record.summary.update:
                if item.key.startswith("test_"):
                    found[item.key] = [(3, json.loads(item.value_json))]
    assert len(ids) == 1
    return found, text


def parts_of(file: bytes):
    """The records of a file in LevelDB's log format, behind wandb's header."""
    at, part = 7, b""
    while at + 7 <= len(file):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, place = struct.unpack("<IHB", file[at : at + 7])
        part += file[at + 7 : at + 7 + length]
        at += 7 + length
        if place in (1, 4):  # whole, or the last part of one
            yield part
            part = b""


def told_to_mlflow(folder, uri=None):
    from mlflow import MlflowClient

    client = MlflowClient(uri or f"sqlite:///{folder}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("zoo")
    run, *others = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{folder.name}'")
    assert (others, run.info.status) == ([], "FINISHED")
    history = {n: client.get_metric_history(run.info.run_id, n) for n in run.data.metrics}
    text = "\n".join(f'"{n}": {v}' for n, v in run.data.params.items())
    return {n: sorted((m.step, m.value) for m in rows) for n, rows in history.items()}, text


TOLD = {"tensorboard": told_to_tensorboard, "wandb": told_to_wandb, "mlflow": told_to_mlflow}


@pytest.mark.parametrize("log", WATCHED)
def test_a_tracker_has_each_epoch_once_the_test_metrics_and_the_configuration(log, tracked):
    result = tracked[log]
    found, text = TOLD[log](result.folder)
    rows = np.genfromtxt(result.folder / "log.csv", delimiter=",", names=True)
    for name in ("train_loss", "validation_loss", "lr"):
        assert [step for step, _ in found[name]] == [1, 2, 3]
        np.testing.assert_allclose([v for _, v in found[name]], rows[name], rtol=1e-6)
    for name, metric in result.metrics.items():
        values = [] if metric["value"] is None else [(3, pytest.approx(metric["value"], rel=1e-6))]
        assert found.get(f"test_{name}", []) == values
    assert "test_auroc" in found
    assert '"task": ' in text
    assert '"trainer' in text


@pytest.mark.parametrize("log", WATCHED)
def test_a_tracker_learns_nothing_of_patients_or_of_who_trains(log, tracked):
    """What was printed, and what an error says, may name patients."""
    files = [p for p in (tracked[log].folder / log).rglob("*") if p.is_file()]
    written = b"".join(p.read_bytes() for p in files)
    assert b"train_loss" in written
    for words in (b"was seen", b"is odd", b"attrition"):
        assert words not in written
    modes = {p.stat().st_mode & 0o077 for p in files}
    assert modes == {0}


def test_a_tracker_goes_where_the_environment_says(data, tracked, tmp_path, monkeypatch):
    shutil.copy(tracked["mlflow"].folder / "mlflow" / "mlflow.db", tmp_path / "shared.db")
    uri = f"sqlite:///{tmp_path}/shared.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    first = train(data, tmp_path / "first", log="mlflow", max_epochs=1)
    assert not (first.folder / "mlflow").exists()
    found, _ = told_to_mlflow(first.folder, uri)
    assert [step for step, _ in found["train_loss"]] == [1]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    second = train(data, tmp_path / "second", log="wandb", max_epochs=1)
    assert list((second.folder / "wandb").rglob("*.wandb")) == []


def test_a_tracker_that_cannot_be_reached_is_one_line_without_credentials(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"mlflow refused the run .*: look at MLFLOW_TRACKING_URI") as raised:
        train(data, tmp_path / "run", log="mlflow")
    assert "secret" not in str(raised.value)
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]  # free for another configuration
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match=r"wandb refused the run .*: log in"):
        train(data, tmp_path / "run", log="wandb")


@pytest.mark.parametrize("log", WATCHED)
def test_a_missing_package_is_said_before_anything_is_written(log, data, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"pip install 'ehr-zoo\[{log}\]'"):
        train(data, tmp_path / "run", log=log)
    assert not (tmp_path / "run").exists()
