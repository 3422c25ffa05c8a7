"""The trainer: steps, schedule, early stopping, checkpoints, resuming, logs, processes, and what goes wrong."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import Forked
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import zoo
from zoo.data._batches import Batches
from zoo.models import Model, Output
from zoo.registry import UserError, models
from zoo.training._schedule import rate_share, warmup_steps

HERE = Path(__file__).parent
SMALL = {"max_epochs": 2, "batch_size": 16, "device": "cpu"}


@pytest.fixture(scope="module")
def data(intact_mimic3, session_cache):
    return zoo.load("mimic3", task="readmission", root=intact_mimic3.root, concepts=["diagnosis", "lab"], days=90)


@pytest.fixture
def gru(data):
    return lambda **how: zoo.create_model("gru", data, seed=5, **{"dim": 8, **how})


@pytest.fixture(scope="module")
def registered():
    """Register a model for the time of this module; gives its class back."""
    names = []

    def register(thing: type) -> type:
        names.append(thing.__name__)
        return models.register(thing.__name__, **vars(models.entry("gru").facts))(thing)

    yield register
    for name in names:
        del models._entries[name]


def log(folder: Path) -> list[dict]:
    with open(folder / "log.csv") as file:
        return list(csv.DictReader(file))


def same(first: Path, second: Path, name: str = "model.safetensors") -> bool:
    a, b = load_file(first / name), load_file(second / name)
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


# Killed and resumed


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(intact_mimic3, session_cache, tmp_path):
    """Killed at random moments within epochs and in the middle of writing checkpoints, by SIGKILL."""
    done = Forked((HERE / "killed_runs.py").read_text(), intact_mimic3.root, tmp_path, 1).finished()
    assert done.returncode == 0, done.stderr
    *kills, killed, spared = json.loads(done.stdout.splitlines()[-1])
    assert killed["status"] == spared["status"] == 0
    assert sum(k["alive"] for k in kills) >= 3
    assert any(k["alive"] and k["half_written"] for k in kills)
    assert any(k["alive"] and k["resumed"] for k in kills)
    for name in ("model.safetensors", "last.safetensors"):
        assert same(tmp_path / "killed", tmp_path / "spared", name)
    lines = [[{**row, "seconds": ""} for row in log(tmp_path / name)] for name in ("killed", "spared")]
    assert lines[0] == lines[1]
    assert {p.name for p in (tmp_path / "killed").iterdir()} == {p.name for p in (tmp_path / "spared").iterdir()}


class Stops(Model):
    """A logistic regression on code counts whose training is interrupted once, in a given step."""

    stop_in: int | None = None

    def __init__(self, spec):
        super().__init__(spec)
        self.head = nn.Linear(spec.size("diagnosis"), spec.outputs)
        self.steps = 0

    def forward(self, batch):
        self.steps += self.training
        if self.training and self.steps == Stops.stop_in:
            raise KeyboardInterrupt
        return Output(
            batch.at_samples(batch.rows(self.head(batch["diagnosis"].multi_hot(self.spec.size("diagnosis")))))
        )


def interrupted(data, out: Path, step: int, **how) -> None:
    Stops.stop_in = step
    try:
        with pytest.raises(KeyboardInterrupt):
            zoo.train(zoo.create_model("Stops", data), data, out=out, **{**SMALL, **how})
    finally:
        Stops.stop_in = None


def test_what_is_known_of_a_run_stands_in_its_checkpoint(data, registered, tmp_path):
    registered(Stops)
    interrupted(data, tmp_path / "run", step=11, max_epochs=5, batch_size=12, checkpoint_every=2)
    with safe_open(tmp_path / "run" / "last.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["facts"])
    steps = -(-data.size("train") // 12)
    assert (facts["epoch"], facts["step"]) == divmod(10, steps)
    resumed = zoo.train(
        zoo.create_model("Stops", data),
        data,
        out=tmp_path / "run",
        **{**SMALL, "max_epochs": 5, "batch_size": 12, "checkpoint_every": 2},
    )
    whole = zoo.train(
        zoo.create_model("Stops", data),
        data,
        out=tmp_path / "whole",
        **{**SMALL, "max_epochs": 5, "batch_size": 12, "checkpoint_every": 2},
    )
    assert resumed.metrics == whole.metrics
    assert same(resumed.folder, whole.folder)


@pytest.fixture
def begun(data, registered, tmp_path):
    """The folder of a run that was interrupted in its second epoch."""
    if "Stops" not in models._entries:
        registered(Stops)
    interrupted(data, tmp_path / "run", step=-(-data.size("train") // 16) + 1)
    return tmp_path / "run"


def test_a_checkpoint_that_does_not_fit_is_refused_and_left(data, begun):
    path = begun / "last.safetensors"
    with safe_open(path, "pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    cut = {**tensors, "model.head.weight": tensors["model.head.weight"][:, 1:].contiguous()}
    less = {n: t for n, t in tensors.items() if n != "model.head.bias"}
    for spoilt, word in ((cut, r"'head\.weight' has the shape \(1, \d+\)"), (less, r"'head\.bias' has no place")):
        save_file(spoilt, path, header)
        before = contents(begun)
        with pytest.raises(UserError, match=f"does not fit the model: {word}"):
            zoo.train(zoo.create_model("Stops", data), data, out=begun, **SMALL)
        assert contents(begun) == before


def test_a_checkpoint_of_another_version_or_number_of_processes_is_refused(data, begun):
    path = begun / "last.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    facts = json.dumps({**json.loads(header["facts"]), "processes": 3})
    for change, word in (({"zoo": "0.0.1"}, r"written by zoo 0\.0\.1"), ({"facts": facts}, "trained by 3 processes")):
        save_file(tensors, path, {**header, **change})
        before = contents(begun)
        with pytest.raises(UserError, match=word):
            zoo.train(zoo.create_model("Stops", data), data, out=begun, **SMALL)
        assert contents(begun) == before


def test_a_damaged_checkpoint_is_named_and_a_half_written_one_cleared_away(data, begun, tmp_path):
    whole = (begun / "last.safetensors").read_bytes()
    (begun / "last.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"last\.safetensors is damaged .*: delete it to train anew"):
        zoo.train(zoo.create_model("Stops", data), data, out=begun, **SMALL)
    (begun / "last.safetensors").write_bytes(whole)
    for name in (".last.safetensors.4711", ".tmpeG0jFY"):
        (begun / name).write_bytes(whole[:100])
    resumed = zoo.train(zoo.create_model("Stops", data), data, out=begun, **SMALL)
    plain = zoo.train(zoo.create_model("Stops", data), data, out=tmp_path / "plain", **SMALL)
    assert same(resumed.folder, plain.folder)
    assert {p.name for p in begun.iterdir()} == {p.name for p in plain.folder.iterdir()}


# Steps, schedule, early stopping


def trained(model, data, **how):
    zoo.Trainer(**{**SMALL, **how}).fit(model, data, seed=5)
    return model.state_dict()


def test_accumulated_batches_make_the_same_steps_as_large_ones(data, gru):
    how = {"optimizer": "sgd", "lr": 0.1}
    large = trained(gru(dropout=0.0), data, batch_size=16, **how)
    for accumulate in (2, 4):
        small = trained(gru(dropout=0.0), data, batch_size=16 // accumulate, accumulate=accumulate, **how)
        assert all(torch.allclose(w, small[n], atol=1e-6) for n, w in large.items())


@pytest.mark.parametrize("name", ["gru", "logistic_regression"])
def test_balanced_training_has_as_many_samples_of_each_label(name, data, tmp_path, monkeypatch):
    seen, made = set(), Batches.batch

    def spied(self, places, bounds):
        seen.update(places[data.samples.split.iloc[places] == "train"].tolist())
        return made(self, places, bounds)

    monkeypatch.setattr(Batches, "batch", spied)
    train = data.places("train")
    positive = set(train[data.label("train")].tolist())
    assert 0 < len(positive) < len(train) / 2
    drawn = []
    for seed in (0, 0, 1):
        seen.clear()
        out = tmp_path / f"{len(drawn)}"
        run = zoo.train(name, data, seed=seed, out=out, balance=True, **({} if name != "gru" else SMALL))
        assert positive <= seen
        assert len(seen) == 2 * len(positive)
        assert run.notes[-1].startswith(f"trained on {len(seen)} of {len(train)} training samples")
        assert run.config["trainer"]["balance"] is True
        assert run.sizes["train"] == len(train)
        drawn.append(set(seen))
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_cannot_be_balanced_is_said_before_anything_is_written(intact_mimic3, session_cache, tmp_path):
    never = zoo.load("mimic3", task="readmission", root=intact_mimic3.root, concepts=["diagnosis"], days=0.01)
    with pytest.raises(UserError, match=r"balance=True needs training samples of both labels; .* 0 positive"):
        zoo.train("gru", never, out=tmp_path / "run", balance=True, **SMALL)
    stay = zoo.load("synthetic", task="los", patients=30, concepts=["diagnosis"])
    with pytest.raises(UserError, match="balance=True is for tasks of yes or no, not for multiclass"):
        zoo.train("gru", stay, out=tmp_path / "run", balance=True, **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adadelta", "adagrad", "rmsprop", "sgd"])
def test_every_optimizer_trains_and_goes_on(optimizer, data, registered, tmp_path):
    if "Stops" not in models._entries:
        registered(Stops)
    how = {"optimizer": optimizer, "checkpoint_every": 1, "lr": 0.01}
    interrupted(data, tmp_path / "cut", step=4, **how)
    for name in ("cut", "whole"):
        zoo.train(zoo.create_model("Stops", data), data, out=tmp_path / name, **SMALL, **how)
    assert same(tmp_path / "cut", tmp_path / "whole")


def test_the_rate_follows_the_schedule(data, gru, tmp_path):
    assert [rate_share("constant", step, 10, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    cosine = [rate_share("cosine", step, 10) for step in range(10)]
    np.testing.assert_allclose(cosine, (1 + np.cos(np.pi * np.arange(10) / 10)) / 2)
    assert rate_share("linear", 9, 10, 0) == pytest.approx(0.1)
    assert warmup_steps(0.25, 40) == 10
    steps = 2 * -(-data.size("train") // 16)
    result = zoo.train(gru(), data, out=tmp_path / "run", schedule="linear", warmup=2, lr=0.01, **SMALL)
    assert float(log(result.folder)[-1]["lr"]) == pytest.approx(0.01 / (steps - 2))


@pytest.mark.parametrize(("monitor", "best"), [("auroc", max), ("brier", min), ("loss", min)])
def test_the_best_epoch_is_by_the_metric_in_its_direction(monitor, best, data, gru, tmp_path):
    how = {**SMALL, "max_epochs": 8, "lr": 0.05, "patience": 2}
    result = zoo.train(gru(), data, out=tmp_path / "run", monitor=monitor, **how)
    found = [float(row["validation_loss" if monitor == "loss" else monitor]) for row in log(result.folder)]
    assert result.sizes["best_epoch"] == 1 + found.index(best(found))
    assert len(found) == min(result.sizes["best_epoch"] + 2, 8)
    model = gru()
    model.load_state_dict(load_file(result.folder / "model.safetensors"))
    scores = zoo.Trainer(**SMALL).scores(model, data, "validation")
    again = zoo.metrics.evaluate("binary", data.label("validation"), scores, data.subject("validation"), resamples=0)
    if monitor != "loss":
        assert again[monitor].value == pytest.approx(best(found))


def test_bfloat16_trains_and_scores_in_single_precision(data, gru):
    plain, low = trained(gru(dropout=0.0), data), trained(gru(dropout=0.0), data, precision="bf16")
    assert all(w.dtype == torch.float32 and w.isfinite().all() for w in low.values())
    assert not all(torch.equal(w, plain[n]) for n, w in low.items())
    assert all(torch.allclose(w, plain[n], atol=0.05) for n, w in low.items())


def test_an_lstm_trains_in_bfloat16_on_any_processor(data):
    before = torch.backends.mkldnn.enabled
    low = trained(zoo.create_model("lstm", data, seed=0, dim=8), data, max_epochs=1, precision="bf16")
    assert all(w.isfinite().all() for w in low.values())
    assert torch.backends.mkldnn.enabled == before


def test_training_leaves_the_global_seed_alone(data, gru):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trained(gru(), data, max_epochs=1)
    assert torch.equal(torch.rand(3), wanted)


# Logs


def test_the_log_has_a_row_an_epoch(data, gru, tmp_path):
    rows = log(zoo.train(gru(), data, out=tmp_path / "run", **SMALL).folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_loss", "validation_loss", "auroc", "brier", "lr", "seconds"} <= set(rows[0])
    losses = json.loads((tmp_path / "run" / "losses.json").read_text())
    assert [float(row["train_loss"]) for row in rows] == losses["train"]


# What goes wrong


class Bursts(Model):
    """A model whose loss or gradient is not finite in one step."""

    how = ""

    def __init__(self, spec):
        super().__init__(spec)
        self.weight = nn.Parameter(torch.ones(spec.outputs))
        self.steps = 0

    def forward(self, batch):
        return Output(self.weight.expand(batch.samples, -1))

    def loss(self, output, batch):
        self.steps += self.training
        main = super().loss(output, batch)
        if self.training and self.steps == self.burst:
            if Bursts.how == "loss":
                return main * float("nan")
            return main + (0 * output.logits.sum()).clamp(min=0).sqrt()  # 0, with a slope that is not finite
        return main


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_is_placed(how, data, registered, tmp_path):
    if "Bursts" not in models._entries:
        registered(Bursts)
    Bursts.how = how
    steps = -(-data.size("train") // 8)
    model = zoo.create_model("Bursts", data)
    model.burst = steps + 3
    out = tmp_path / "run"
    with pytest.raises(UserError, match=rf"training loss is nan in epoch 2, step 3 of {steps}, .* visits") as caught:
        zoo.train(model, data, seed=7, out=out, max_epochs=4, batch_size=8, device="cpu", checkpoint_every=steps + 5)
    order = data.rows("train", model, 8, shuffle=True, seed=7 * 1_000_003 + 1).places
    visits = data.samples.visit_id.to_numpy()[order[16:24]].tolist()
    assert ", ".join(map(str, visits[:5])) + " and 3 more" in str(caught.value)
    said = json.loads((out / "non_finite.json").read_text())
    assert said == {"what": "training loss", "epoch": 2, "step": 3, "visit_id": visits}
    left = load_file(out / "last.safetensors")
    assert all(t.isfinite().all() for t in left.values() if t.is_floating_point())
    with safe_open(out / "last.safetensors", "pt") as file:
        assert json.loads(file.metadata()["facts"])["epoch"] == 1
    assert not (out / "model.safetensors").exists()


class Swells(Model):
    """A model that asks for more memory than there is."""

    def __init__(self, spec):
        super().__init__(spec)
        self.head = nn.Linear(1, spec.outputs)

    def forward(self, batch):
        return Output(self.head(torch.zeros(10**15, 1)))


def test_too_little_memory_names_the_batch_size(data, registered):
    registered(Swells)
    model = zoo.create_model("Swells", data)
    with pytest.raises(UserError, match=r"out of memory with batch_size=16: try batch_size=8 \(with accumulate=2"):
        zoo.Trainer(**SMALL).fit(model, data, seed=0)
    with pytest.raises(UserError, match="out of memory with batch_size=16"):
        zoo.Trainer(**SMALL).scores(model, data, "test")


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"monitor": "auroc_macro"}, "no metric of binary: did you mean 'auroc'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"precision": "fp16"}, "precision='fp16' is unknown"),
        ({"optimizer": "adamW2"}, "did you mean 'adamw'"),
        ({"log": "excel"}, "Known: csv, mlflow, tensorboard, wandb"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"checkpoint_every": "5 minutes"}, "steps, or seconds such as '300s'"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
    ],
    ids=str,
)
def test_wrong_values_are_named_before_anything_is_written(how, word, data, gru, tmp_path):
    with pytest.raises(UserError, match=word):
        zoo.train(gru(), data, out=tmp_path / "run", **how)
    assert not (tmp_path / "run").exists()


# Several processes

TRAIN = """
import os, signal, sys, zoo
from zoo.training._loop import Loop

root, out, dropout, killed_at = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
steps, step = [], Loop._step

def killed(self, number):
    steps.append(number)
    if len(steps) == killed_at and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number)

Loop._step = killed
data = zoo.load("mimic3", task="readmission", root=root, concepts=["diagnosis", "lab"], days=90)
model = zoo.create_model("gru", data, seed=5, dim=8, dropout=dropout)
class Told:
    def on_epoch(self, row):
        with open(out + ".told", "a") as file:
            print(os.environ["RANK"], row["epoch"], file=file)

zoo.train(model, data, seed=5, out=out, max_epochs=2, batch_size=5, accumulate=2,
          device="cpu", optimizer="sgd", lr=0.1, checkpoint_every=3, callbacks=[Told()])
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def in_two_processes(out: Path, root, dropout: float = 0.0, killed_at: int = 0) -> list[Forked]:
    """Train in a run folder, as ``torchrun`` would; the second process is killed before its step of that number."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    ranks = [os.environ | place | {"RANK": str(n), "LOCAL_RANK": str(n), "OMP_NUM_THREADS": "1"} for n in range(2)]
    return [Forked(TRAIN, root, out, dropout, killed_at, env=env) for env in ranks]


def assert_ended_well(processes: list[Forked]) -> None:
    for done in [p.finished() for p in processes]:
        assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_of_which_one_was_killed_go_on_together(intact_mimic3, session_cache, tmp_path):
    first, second = in_two_processes(tmp_path / "killed", intact_mimic3.root, dropout=0.3, killed_at=6)
    assert second.wait() == -signal.SIGKILL
    first.send_signal(signal.SIGKILL)  # as the launcher does; the other one would wait for it
    first.wait()
    assert (tmp_path / "killed" / "last.safetensors").exists()
    assert not (tmp_path / "killed" / "result.json").exists()
    for out in ("killed", "spared"):
        assert_ended_well(in_two_processes(tmp_path / out, intact_mimic3.root, dropout=0.3))
        assert (tmp_path / f"{out}.told").read_text().split("\n") == ["0 1", "0 2", ""]  # by the main one alone
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "spared"))
    assert all(torch.equal(w, second[n]) for n, w in first.items())
    assert [r["train_loss"] for r in log(tmp_path / "killed")] == [r["train_loss"] for r in log(tmp_path / "spared")]


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(data, gru, intact_mimic3, session_cache, tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command = [*launcher, "--master_port", free_port(), tmp_path / "train.py", intact_mimic3.root, tmp_path / "two"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command), "0", "0"], capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    how = {"max_epochs": 2, "batch_size": 20, "device": "cpu", "optimizer": "sgd", "lr": 0.1}
    one = zoo.train(gru(dropout=0.0), data, seed=5, out=tmp_path / "one", **how)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(w, second[n], atol=1e-6) for n, w in first.items())
    for a, b in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        for name in ("train_loss", "validation_loss", "brier"):
            assert float(a[name]) == pytest.approx(float(b[name]), abs=1e-6)
    two = zoo.result.Result.read(tmp_path / "two")
    assert two.metrics["brier"]["value"] == pytest.approx(one.metrics["brier"]["value"], abs=1e-6)
    assert {p.name for p in one.folder.iterdir()} == {p.name for p in two.folder.iterdir()}
    with safe_open(two.folder / "last.safetensors", "pt") as file:
        assert file.get_tensor("random.cpu").shape[0] == 2
