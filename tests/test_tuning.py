"""Tuning: where settings are searched, what decides, what is not looked at, and going on with what was killed."""

import copy
import json
import math
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import Forked
from smallest import sizes

import zoo
from zoo.metrics import suite
from zoo.models import Estimator, Output
from zoo.registry import (
    Between,
    By,
    Choice,
    LogBetween,
    UserError,
    check_multiples,
    check_parameters,
    kinds,
    models,
    parameters_of,
)
from zoo.testing._model._candidate import Candidate
from zoo.training import Trainer, tune
from zoo.training._search import drawn, search_space, suggested
from zoo.training._tuning import SEEDS, Trial, Tuned, chosen

SHORT = {"trainer.max_epochs": 2, "trainer.batch_size": 32}


@pytest.fixture(scope="module")
def data(intact_mimic3, session_cache):
    return zoo.load("mimic3", task="readmission", root=intact_mimic3.root, concepts=["diagnosis"], days=90)


@pytest.fixture(scope="module")
def registered():
    """Register models for the time of this module."""
    names = []

    def register(thing: type, **facts) -> type:
        names.append(thing.__name__)
        return models.register(thing.__name__, paper="", uses={"diagnosis"}, kinds=set(kinds.names()), **facts)(thing)

    yield register
    for name in names:
        del models._entries[name]


class Told(Estimator):
    """Predicts the probability that it is told, and keeps whom it was shown."""

    shown: set = set()

    def __init__(self, spec, p: float = 0.5, bad: bool = False):
        super().__init__(spec)
        self.p = p
        if bad:
            raise UserError("it is bad")

    def fit(self, batches):
        self.shown.update(s for b in batches for s in b.subject.tolist())
        self.fitted = 0

    def forward(self, batch):
        self.shown.update(batch.subject.tolist())
        return Output(torch.full((batch.samples, 1), math.log(self.p / (1 - self.p))))


# Ranges


def test_ranges_give_values_and_know_their_edges():
    assert [Choice(8, 16, 32).at(s) for s in (0, 0.34, 0.999)] == [8, 16, 32]
    assert [Choice(8, 16, 32).at_edge(v) for v in (8, 16, 32)] == [True, False, True]
    assert not Choice("adam", "sgd").at_edge("sgd")
    assert not Choice(False, True).at_edge(True)
    assert [Between(1, 3).at(s) for s in (0, 0.5, 1)] == [1, 2, 3]
    assert Between(0.0, 0.5).at(0.5) == 0.25
    assert LogBetween(1e-4, 1e-2).at(0.5) == pytest.approx(1e-3)
    assert LogBetween(8, 512).at(0.5) == 64
    assert [LogBetween(1e-4, 1e-2).at_edge(v) for v in (1.1e-4, 2e-4, 9.9e-3, 1)] == [True, False, True, True]
    assert LogBetween(1e-4, 1e-2).holds(1e-3)
    assert not Between(0.1, 0.2).holds("a")


@pytest.mark.parametrize("wrong", [lambda: Choice(), lambda: Between(2, 1), lambda: LogBetween(0.0, 1.0)])
def test_ranges_that_hold_nothing_are_an_error(wrong):
    with pytest.raises(ValueError, match=r"Choice|Between"):
        wrong()


# The space


def test_a_network_has_rate_width_and_dropout_and_what_it_says_itself(data):
    made = zoo.create_model("gru", data)
    space = search_space(made, {})
    assert space == {
        "trainer.lr": LogBetween(1e-4, 1e-2),
        "model.dim": Choice(64, 128, 256),
        "model.dropout": Choice(0.0, 0.1, 0.3, 0.5),
    } | {n: r for n, r in models.entry("gru").facts.search.items() if r is not None}
    assert "trainer.lr" not in search_space(made, {"trainer.lr": 0.1})


def test_what_a_model_says_comes_on_top_and_takes_away(data, registered):
    rates = {"adadelta": LogBetween(0.1, 2.0), "adamw": LogBetween(1e-4, 1e-3)}
    search = {
        "trainer.lr": By("trainer.optimizer", rates),
        "trainer.optimizer": Choice("adadelta", "adamw"),
        "model.dim": None,
        "model.layers": Choice(1, 2),
    }
    gru = models.entry("gru")
    thing = registered(type("Searched", (gru.thing,), {"__doc__": "One."}), search=search)
    made = zoo.create_model(thing, data)
    space = search_space(made, {})
    assert list(space)[-1] == "trainer.lr"  # behind what it hangs on
    assert {n: space[n] for n in search if search[n] is not None} == {n: r for n, r in search.items() if r is not None}
    assert "model.dim" not in space
    for number in range(1, 20):
        found = drawn(space, number, seed=0)
        assert rates[found["trainer.optimizer"]].holds(found["trainer.lr"])
    assert search_space(made, {"trainer.optimizer": "adadelta"})["trainer.lr"] == rates["adadelta"]
    assert search_space(made, {"trainer.optimizer": "sgd"})["trainer.lr"] == LogBetween(1e-4, 1e-2)


def test_a_setting_that_there_is_not_is_an_error(data, registered):
    thing = registered(type("Misspelt", (Told,), {"__doc__": "One."}), search={"model.q": Choice(1, 2)})
    with pytest.raises(UserError, match=r"model 'Misspelt' is registered with search='model.q'"):
        search_space(zoo.create_model(thing, data), {})


@pytest.mark.parametrize("name", models.names())
def test_every_corner_of_the_space_of_a_model_can_be_made(name):
    entry = models.entry(name)
    task = Candidate(entry, max(entry.facts.kinds), {}).task
    made = entry.thing(task.spec, **sizes(name))
    made.configuration = {n: p.default for n, p in parameters_of(entry.thing).items()}
    space = search_space(made, {})
    assert isinstance(made, Estimator) or "trainer.lr" in space
    for low in (True, False):
        for setting, where in space.items():
            ranges = where.ranges.values() if isinstance(where, By) else [where]
            for one in ranges:
                values = one.options if isinstance(one, Choice) else [one.at(0), one.at(1)]
                others = {n: r.at(0 if low else 0.999) for n, r in space.items() if not isinstance(r, By)}
                for value in values:
                    settings = {**others, setting: value}
                    own = {n.removeprefix("model."): v for n, v in settings.items() if n.startswith("model.")}
                    check_multiples(name, entry.thing, check_parameters(name, entry.thing, own))
                    Trainer(**{n.removeprefix("trainer."): v for n, v in settings.items() if n.startswith("trainer.")})


# Drawing


@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_trials_are_the_same_again_and_go_on(sampler, data, tmp_path):
    how = {"sampler": sampler, "settings": {**SHORT, "model.dim": 8}}
    three = tune("mlp", data, 3, out=tmp_path / "a", **how)
    six = tune("mlp", data, 6, out=tmp_path / "a", **how)
    again = tune("mlp", data, 6, out=tmp_path / "b", **how)
    assert six.trials[:3] == three.trials
    told = [[(t.settings, t.value, t.loss) for t in found.trials] for found in (six, again)]
    assert told[0] == told[1]
    assert len({str(t.settings) for t in six.trials}) == 6
    space = search_space(zoo.create_model("mlp", data, dim=8), how["settings"])
    assert all(space[n].holds(v) for t in six.trials[1:] for n, v in t.settings.items())
    assert Tuned.read(tmp_path / "a") == six


def test_optuna_looks_at_what_went_before():
    space = {"trainer.lr": LogBetween(1e-4, 1e-1), "trainer.optimizer": Choice("adam", "sgd")}
    random = np.random.default_rng(0)
    tried = []
    for number in range(30):
        settings = suggested(space, tried, seed=number)
        right = settings["trainer.optimizer"] == "sgd"
        tried.append((settings, right - abs(math.log10(settings["trainer.lr"]) + 2) + 0.01 * random.normal()))
    late = [s for s, _ in tried[-10:]]
    assert sum(s["trainer.optimizer"] == "sgd" for s in late) >= 8
    assert np.median([abs(math.log10(s["trainer.lr"]) + 2) for s in late]) < 0.4


def test_an_unknown_sampler_is_an_error(data, tmp_path):
    with pytest.raises(UserError, match="sampler='grid' is unknown"):
        tune("mlp", data, sampler="grid", out=tmp_path)


# What decides


def test_the_metric_decides_and_where_it_has_no_value_the_loss():
    trials = [Trial(0, {}, 0.5, 0.9), Trial(1, {}, 0.7, 0.8), Trial(2, {}, 0.7, 0.7), Trial(3, {}, None, None)]
    auroc, mae = suite("binary")["auroc"], suite("regression")["mae"]
    assert chosen(trials, auroc) == (2, "auroc")
    assert chosen(trials, mae) == (0, "mae")
    assert chosen([Trial(0, {}, 0.7, 0.7), Trial(1, {}, 0.7, 0.7)], auroc) == (0, "auroc")
    undefined = [Trial(0, {}, None, 0.9, reason="one class"), Trial(1, {}, None, 0.8, reason="one class")]
    assert chosen(undefined, auroc) == (1, "loss")
    with pytest.raises(UserError, match="all of 1 trial failed; the first one: out of memory"):
        chosen([Trial(0, {}, reason="out of memory")], auroc)


def test_a_trial_is_worth_what_the_run_scores_on_the_validation_split(data, tmp_path):
    tuned = tune("gru", data, 2, out=tmp_path / "t", settings={**SHORT, "model.dim": 8})
    trial = tuned.trials[1]
    model = zoo.create_model("gru", data, seed=SEEDS, dim=8, dropout=trial.settings["model.dropout"])
    how = {"lr": trial.settings["trainer.lr"], "max_epochs": 2, "batch_size": 32}
    run = zoo.train(model, data, seed=SEEDS, out=tmp_path / "r", **how)
    own = zoo.evaluate(run, split="validation")
    assert trial.value == pytest.approx(own.metrics["auroc"]["value"], abs=1e-9)
    assert trial.seconds > 0
    assert trial.epochs == run.sizes["epochs"]


def test_test_samples_are_not_looked_at(data, registered, tmp_path):
    thing = registered(type("Looking", (Told,), {"__doc__": "One.", "shown": set()}))
    tune(thing, data, out=tmp_path)
    of = {s: set(data.samples.subject_id[data.samples.split == s]) for s in ("train", "validation", "test")}
    assert thing.shown == of["train"] | of["validation"]
    assert of["test"]


def test_trials_train_with_seeds_of_their_own(data, registered, tmp_path):
    seeds = []
    fit = lambda self, batches: (seeds.append(self.seed), setattr(self, "fitted", 0))  # noqa: E731
    thing = registered(type("Seeded", (Told,), {"__doc__": "One.", "fit": fit}), search={"model.p": Choice(0.2, 0.3)})
    tune(thing, data, 3, out=tmp_path)
    assert seeds == [SEEDS] * 3


def test_a_trial_that_fails_takes_no_other_with_it(data, registered, tmp_path):
    search = {"model.p": Between(0.1, 0.4), "model.bad": Choice(True)}
    thing = registered(type("Failing", (Told,), {"__doc__": "One."}), search=search)
    tuned = tune(thing, data, 3, metric="brier", out=tmp_path)
    assert tuned.best == 0
    assert [t.reason for t in tuned.failed] == ["it is bad"] * 2
    assert "no value: it is bad" in str(tuned)


def test_a_rate_at_which_the_loss_is_no_number_fails_the_trial(data, registered, tmp_path):
    thing = models.entry("mlp").thing
    search = {"trainer.lr": LogBetween(1e14, 1e15), "trainer.optimizer": Choice("sgd"), "trainer.clip": Choice(None)}
    thing = registered(type("Diverging", (thing,), {"__doc__": "One."}), search=search)
    tuned = tune(thing, data, 2, out=tmp_path, settings=SHORT)
    assert tuned.best == 0
    assert re.search(r"loss is (nan|inf)|weight is nan", tuned.trials[1].reason)
    assert sorted(p.name for p in (tmp_path / "trial-1").iterdir()) == ["non_finite.json", "trial.json"]
    assert str(tmp_path / "trial-1" / "non_finite.json") in tuned.trials[1].reason


def test_a_model_of_which_nothing_is_searched_has_one_trial(data, tmp_path):
    tuned = tune("majority", data, 8, out=tmp_path)
    assert len(tuned.trials) == 1
    assert tuned.settings == {}


def test_a_best_value_at_the_edge_of_its_range_is_marked(data, registered, tmp_path):
    share = data.label("validation").mean()
    near = float(np.clip(share, 0.05, 0.95))
    thing = registered(type("Edged", (Told,), {"__doc__": "One."}), search={"model.p": Choice(near, 0.999)})
    tuned = tune(thing, data, 6, metric="brier", out=tmp_path)
    assert tuned.settings == {"model.p": near}
    assert tuned.at_edge == ["model.p"]
    assert "note: model.p is at the edge of its range" in str(tuned)


def test_below_the_least_that_a_value_can_be_there_is_nothing(data, registered, tmp_path):
    thing = models.entry("mlp").thing
    search = {"model.dropout": Choice(0.0, 0.999), "model.dim": None, "trainer.lr": None}
    thing = registered(type("Bounded", (thing,), {"__doc__": "One."}), search=search)
    tuned = tune(thing, data, 6, metric="brier", out=tmp_path, settings={**SHORT, "model.dim": 8, "trainer.lr": 0.01})
    assert {t.settings["model.dropout"] for t in tuned.trials[1:]} == {0.0, 0.999}
    at_zero = tuned.settings["model.dropout"] == 0.0
    assert tuned.at_edge == ([] if at_zero or not tuned.best else ["model.dropout"])


# Folders


def test_another_tuning_in_the_same_folder_is_an_error(data, tmp_path):
    how = {"settings": {**SHORT, "model.dim": 8}, "out": tmp_path}
    tune("mlp", data, 1, **how)
    with pytest.raises(UserError, match=r"holds another tuning \(it differs in metric\)"):
        tune("mlp", data, 1, metric="auprc", **how)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("Dear all")
    with pytest.raises(UserError, match="is no folder of a tuning"):
        tune("mlp", data, 1, settings=how["settings"], out=tmp_path / "other")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"trials": 0}, "trials=0"),
        ({"metric": "auroc_macro"}, "metric 'auroc_macro' is none of binary tasks"),
        ({"settings": {"task.days": 3}}, "must begin with model. or trainer."),
        ({"settings": {"trainer.lrr": 3}}, "did you mean 'lr'"),
        ({"settings": {"model.dimm": 3}}, "did you mean 'dim'"),
        ({"settings": {"model.seed": 3}}, "has no parameter 'seed'"),
        ({"settings": {"model": 3}}, "must begin with model. or trainer."),
        ({"settings": {5: 3}}, "must begin with model. or trainer."),
        ({"settings": 5}, "must be a dictionary"),
        ({"seed": 2**31 - 1}, "seed=2147483647"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(how, words, data, tmp_path):
    with pytest.raises(UserError, match=words):
        tune("mlp", data, out=tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


def test_without_validation_samples_there_is_nothing_to_tune_on(intact_mimic3, session_cache, tmp_path):
    data = zoo.load(
        "mimic3", task="readmission", root=intact_mimic3.root, concepts=["diagnosis"], days=90, split=(0.8, 0, 0.2)
    )
    with pytest.raises(UserError, match="tuning needs validation samples"):
        tune("mlp", data, out=tmp_path)


def test_a_model_that_is_made_already_is_not_tuned(data, tmp_path):
    with pytest.raises(UserError, match="'mlp' is made already"):
        tune(zoo.create_model("mlp", data, dim=8), data, out=tmp_path)


def test_a_disk_that_is_full_ends_a_tuning_and_fails_no_trial(data, small_disk):
    how = {"settings": {**SHORT, "model.dim": 512}, "out": small_disk / "t"}
    with pytest.raises(UserError, match="make room"):
        tune("mlp", data, 2, **how)
    assert json.loads((small_disk / "t" / "trial-0" / "trial.json").read_text())["seconds"] is None


def test_a_damaged_checkpoint_ends_a_tuning_and_fails_no_trial(data, tmp_path):
    how = {"settings": {**SHORT, "model.dim": 8}, "out": tmp_path}
    whole = tune("mlp", data, 2, **how)
    path = tmp_path / "trial-1" / "trial.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": None, "value": None, "loss": None}))
    (tmp_path / "trial-1" / "last.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"is damaged .* delete it to train anew"):
        tune("mlp", data, 2, **how)
    (tmp_path / "trial-1" / "last.safetensors").unlink()
    again = tune("mlp", data, 2, **how)
    assert [(t.settings, t.value) for t in again.trials] == [(t.settings, t.value) for t in whole.trials]


@pytest.mark.parametrize(
    "forged",
    [
        {"number": 7},
        {"settings": {}},
        {"settings": {"model.q": 1}},
        {"loss": None},
        {"seconds": -1.0},
        {"value": "high"},
    ],
)
def test_what_cannot_stand_of_a_trial_is_told(forged, data, tmp_path):
    how = {"settings": {**SHORT, "model.dim": 8, "trainer.max_epochs": 1}, "out": tmp_path, "metric": "brier"}
    tune("mlp", data, 1, **how)
    path = tmp_path / "trial-0" / "trial.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | forged))
    with pytest.raises(UserError, match=r"trial.json is damaged"):
        tune("mlp", data, 1, **how)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[" * 100_000, '{"best": NaN}'])
def test_a_result_that_is_damaged_is_made_anew(text, data, tmp_path):
    how = {"settings": {**SHORT, "model.dim": 8, "trainer.max_epochs": 1}, "out": tmp_path}
    whole = tune("mlp", data, 1, **how)
    (tmp_path / "tuned.json").write_text(text)
    with pytest.raises(UserError, match="tune again"):
        Tuned.read(tmp_path)
    assert tune("mlp", data, 1, **how) == whole == Tuned.read(tmp_path)


def test_a_damaged_file_is_told(data, tmp_path):
    tune("majority", data, out=tmp_path)
    (tmp_path / "tuned.json").write_text('{"best": 7}')
    with pytest.raises(UserError, match="cannot be read"):
        Tuned.read(tmp_path)
    (tmp_path / "trial-0" / "trial.json").write_text("{")
    with pytest.raises(UserError, match=r"trial.json is damaged"):
        tune("majority", data, out=tmp_path)
    with pytest.raises(UserError, match="holds no finished tuning"):
        Tuned.read(tmp_path / "trial-0")


PROGRAM = """
import sys, zoo
root, out, epochs = sys.argv[1:]
data = zoo.load("mimic3", task="readmission", root=root, concepts=["diagnosis"], days=90)
settings = {"trainer.max_epochs": int(epochs), "trainer.patience": int(epochs), "model.dim": 8, "trainer.batch_size": 4}
print(zoo.tune("gru", data, 3, out=out, settings=settings))
"""


def test_a_tuning_that_is_killed_goes_on_and_finds_the_same(intact_mimic3, session_cache, tmp_path):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = Forked(PROGRAM, intact_mimic3.root, killed, 15, env=env)
    until = time.monotonic() + 120
    while not (killed / "trial-1" / "last.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (killed / "trial-0" / "trial.json").exists()
    assert not (killed / "tuned.json").exists()
    before = json.loads((killed / "trial-0" / "trial.json").read_text())
    for place in (killed, whole):
        done = Forked(PROGRAM, intact_mimic3.root, place, 15, env=env).finished()
        assert done.returncode == 0, done.stderr
    ours, theirs = Tuned.read(killed), Tuned.read(whole)
    assert ours.trials[0] == Trial(**before)
    told = [[(t.settings, t.value, t.loss, t.epochs) for t in found.trials] for found in (ours, theirs)]
    assert told[0] == told[1]


# The command, and boards


def test_the_command_says_what_was_found(zoo_command, tmp_path):
    given = (
        "--dataset",
        "synthetic",
        "--task",
        "mortality",
        "--model",
        "mlp",
        "--trials",
        "2",
        "--out",
        tmp_path / "t",
    )
    settings = ("data.patients=60", "trainer.max_epochs=1", "model.dim=8", 'data.concepts=["diagnosis"]')
    settings = tuple(a for s in settings for a in ("--set", s))
    done = zoo_command("tune", *given, *settings)
    assert done.returncode == 0, done.stderr
    assert "mlp on mortality of synthetic, 2 trials" in done.stdout
    again = zoo_command("tune", *given, *settings, "--json")
    facts = json.loads(again.stdout.splitlines()[-1])
    assert facts == Tuned.read(tmp_path / "t").to_dict()
    wrong = zoo_command("tune", *given, *settings, "--sampler", "grid")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


@pytest.fixture(scope="module")
def board(tmp_path_factory, session_cache):
    """A board of two tuned models."""
    out = tmp_path_factory.mktemp("board") / "out"

    settings = {"data.patients": 80, "trainer.max_epochs": 2, "model.dim": 8, "data.concepts": ["diagnosis"]}
    told = []
    names = ["gru", "majority"]
    found = zoo.leaderboard(
        "synthetic", "mortality", names, seeds=2, out=out, settings=settings, resamples=20, tune=3, report=told.append
    )
    return out, found, told


def test_the_runs_of_a_board_have_the_settings_that_were_found(board):
    out, found, told = board
    tuned = Tuned.read(out / "tunings" / "mortality" / "gru")
    assert len(tuned.trials) == 3
    for seed in (0, 1):
        config = json.loads((out / "runs" / "mortality" / "gru" / f"seed{seed}" / "result.json").read_text())["config"]
        for name, value in tuned.settings.items():
            group, _, key = name.partition(".")
            assert config[group][key] == value
        assert (config["trainer"]["max_epochs"], config["trainer"]["patience"]) == (2, Trainer.patience)
    assert told[:2] == ["mortality gru tuning: done", "mortality majority tuning: done"]
    entry = next(e for e in found.tasks[0].entries if e.model == "gru")
    assert entry.tuning.value == tuned.value
    assert entry.tuning.seconds == pytest.approx(tuned.seconds, abs=0.1)
    assert found.settings["trainer.patience"] == Trainer.patience


def test_a_board_shows_trials_time_and_validation_beside_test(board):
    out, found = board[0], copy.deepcopy(board[1])
    entry = next(e for e in found.tasks[0].entries if e.model == "gru")
    entry.tuning.at_edge[:] = ["trainer.lr"]
    text = str(found)
    value = "undefined: the loss decided" if entry.tuning.value is None else f"{entry.tuning.value:.4f}"
    row = next(r for r in text.splitlines() if r.startswith("| gru | 3 | 0 |"))
    assert f"| {value} |" in row
    assert f"trainer.lr={entry.tuning.settings['trainer.lr']}*" in row
    page = (out / "leaderboard.html").read_text()
    assert "validation auroc" in page
    table = (out / "leaderboard.csv").read_text().splitlines()
    assert "trials,trials_failed,trials_seconds,validation,settings,at_edge" in table[0]
    facts = json.loads((out / "leaderboard.json").read_text())["tasks"][0]["entries"]
    assert {f["model"]: f["tuning"]["trials"] for f in facts} == {"gru": 3, "majority": 1}


def test_a_board_that_is_tuned_otherwise_is_another_one(board):
    settings = {"data.patients": 80, "trainer.max_epochs": 2, "model.dim": 8, "data.concepts": ["diagnosis"]}
    for how in ({"tune": 4}, {"tune": 3, "metric": "auprc"}, {"tune": 0}):
        with pytest.raises(UserError, match="holds another leaderboard"):
            zoo.leaderboard("synthetic", "mortality", ["gru"], seeds=2, out=board[0], settings=settings, **how)


def test_a_board_makes_a_damaged_tuning_anew_and_tells_of_one_that_fails(board):
    out, found, _ = board
    settings = {"data.patients": 80, "trainer.max_epochs": 2, "model.dim": 8, "data.concepts": ["diagnosis"]}
    how = {"seeds": 2, "out": out, "settings": settings, "resamples": 20, "tune": 3}
    (out / "tunings" / "mortality" / "gru" / "tuned.json").write_text("{}")
    again = zoo.leaderboard("synthetic", "mortality", ["gru", "majority"], **how)
    assert str(again) == str(found)
    (out / "tunings" / "mortality" / "gru" / "tuned.json").unlink()
    trial = out / "tunings" / "mortality" / "gru" / "trial-1" / "trial.json"
    text = trial.read_text()
    trial.write_text("{}")
    [task] = zoo.leaderboard("synthetic", "mortality", ["gru", "majority"], **how).tasks
    trial.write_text(text)
    assert [e.model for e in task.entries] == ["majority"]
    assert ["trial.json is damaged" in f["reason"] for f in task.failed] == [True, True]


def test_a_model_that_cannot_be_tuned_is_recorded_with_its_reason(tmp_path):
    settings = {"data.patients": 60, "trainer.lr": 1e15, "trainer.optimizer": "sgd", "trainer.clip": None}
    settings |= {"model.dim": 8, "data.concepts": ["diagnosis"], "trainer.max_epochs": 2}
    names = ["mlp", "majority"]
    found = zoo.leaderboard(
        "synthetic", "mortality", names, seeds=1, out=Path(tmp_path), settings=settings, resamples=20, tune=1
    )
    [task] = found.tasks
    assert [e.model for e in task.entries] == ["majority"]
    [failed] = task.failed
    assert failed["model"] == "mlp"
    assert failed["reason"].startswith("it could not be tuned: all of 1 trial failed")


def test_info_tells_what_is_published_beside_the_default(registered):
    facts = {"published": {"model.p": 0.25, "trainer.lr": 0.5}, "search": {"model.p": Choice(0.1, 0.2)}}
    registered(type("Printed", (Told,), {"__doc__": "One."}), **facts)
    told = str(zoo.info("Printed"))
    assert "p = 0.5  (published: 0.25)  (searched: 0.1 or 0.2)" in told
    assert "lr = 0.001  (published: 0.5)" in told
    assert "dim = 128  (searched: 64 or 128 or 256)" in str(zoo.info("gru"))
    assert "lr = 0.001  (searched: 0.0001 to 0.01)" in str(zoo.info("gru"))


def test_the_rates_of_parts_are_those_of_the_optimizer(data):
    from zoo.training._optimizer import make_optimizer, set_share

    made = zoo.create_model("gru", data, dim=8)
    made.learning_rates = lambda: {"recur": 0.5}
    optimizer = make_optimizer(Trainer(lr=0.01), made)
    rates = {id(w): g["lr"] for g in optimizer.param_groups for w in g["params"]}
    assert rates == {id(w): 0.5 if n.startswith("recur.") else 0.01 for n, w in made.named_parameters()}
    set_share(optimizer, 0.5)
    assert sorted({g["lr"] for g in optimizer.param_groups}) == [0.005, 0.25]
    made.learning_rates = lambda: {"nothing": 0.5}
    with pytest.raises(ValueError, match="names 'nothing', which has no weights"):
        make_optimizer(Trainer(), made)


def test_the_largest_seed_trains(data, tmp_path):
    assert zoo.train("mlp", data, seed=2**31 - 1, out=tmp_path / "run", max_epochs=2).sizes["epochs"] == 2
