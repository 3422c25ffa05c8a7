"""The leaderboard, as a person uses it: runs in processes of their own, tables, tests, and the page in a browser."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import in_browser
from filelock import FileLock
from processes import Forked
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score

from zoo import load_dataset, load_task
from zoo.leaderboard import leaderboard
from zoo.metrics import auprc, evaluate
from zoo.registry import UserError
from zoo.reporting import _charts, _page, _ranking
from zoo.reporting._board import Board
from zoo.reporting._task_board import Entry, TaskBoard

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "leaderboard.py"
SMALL = ("--set", "data.patients=100", "--set", "trainer.max_epochs=2", "--set", "model.dim=8")
CRASHING = '''
import os, signal, torch
from zoo import register_model
from zoo.models import Estimator, Model, Output

@register_model("crashing", paper="", uses={"diagnosis"}, kinds={"binary"})
class Crashing(Model):
    """Ends its process."""
    def __init__(self, spec):
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def forward(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)

@register_model("raising", paper="", uses={"diagnosis"}, kinds={"binary"})
class Raising(Crashing):
    """Cannot be trained."""
    def forward(self, batch):
        raise RuntimeError("no <b>forward</b> | here")

@register_model("talking", paper="", uses={"diagnosis"}, kinds={"binary"})
class Talking(Estimator):
    """Prints."""
    def __init__(self, spec, dim: int = 1):
        super().__init__(spec)
    def fit(self, batches):
        print("printed by the model", flush=True)
        self.fitted = 0
        os.system(f"echo printed by a program that it starts, in {os.getpid()}")
    def forward(self, batch):
        return Output(torch.zeros(batch.samples, 1))
'''
POINTS = "[zoo.models]\ncrashing = crashing_models\nraising = crashing_models\ntalking = crashing_models\n"


@pytest.fixture(scope="module")
def crashing(tmp_path_factory) -> Path:
    """A folder with an installed package whose models fail."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "crashing_models.py").write_text(CRASHING)
    facts = folder / "crashing_models-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing-models\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(POINTS)
    return folder


def run_script(out, *arguments, path="", program=None):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(path)}
    program = program or SCRIPT.read_text()
    return Forked(program, *arguments, "--dataset", "synthetic", "--out", out, *SMALL, env=environment).finished()


@pytest.fixture(scope="module")
def made(tmp_path_factory, crashing):
    """A leaderboard of two models that work and two that do not; gives its folder and what the process printed."""
    out = tmp_path_factory.mktemp("board") / "out"
    models = ("raising", "crashing", "logistic_regression", "gru")
    done = run_script(out, "--tasks", "readmission", "--models", *models, "--seeds", "1", "--jobs", "2", path=crashing)
    assert done.returncode == 0, done.stderr
    return out, done


def test_a_failed_run_is_recorded_with_its_reason_and_takes_no_other_with_it(made):
    out, done = made
    task = json.loads((out / "leaderboard.json").read_text())["tasks"][0]
    assert {e["model"]: e["seeds"] for e in task["entries"]} == {"gru": [0], "logistic_regression": [0]}
    reasons = {f["model"]: f["reason"] for f in task["failed"]}
    assert reasons["raising"] == "RuntimeError: no <b>forward</b> | here"
    assert "SIGKILL" in reasons["crashing"]
    assert "&lt;b>forward" in done.stdout
    table = pd.read_csv(out / "leaderboard.csv")
    assert set(table.model[table.reason.fillna("").str.contains("SIGKILL")]) == {"crashing"}


def test_values_are_those_of_the_runs_and_intervals_those_of_their_test_predictions(made):
    out, _ = made
    for entry in json.loads((out / "leaderboard.json").read_text())["tasks"][0]["entries"]:
        folder = out / entry["folders"][0]
        result = json.loads((folder / "result.json").read_text())
        table = pd.read_parquet(folder / "predictions.parquet")
        assert len(table) == result["sizes"]["test"]
        own = evaluate("binary", table.label, table.score, table.subject_id, resamples=1000)
        for name, found in entry["metrics"].items():
            assert found["value"] == pytest.approx(result["metrics"][name]["value"], abs=1e-6)
            assert (found["low"], found["high"]) == pytest.approx((own[name].low, own[name].high))


def test_the_ceiling_is_what_the_true_probabilities_score_on_the_same_samples(made):
    out, done = made
    task = json.loads((out / "leaderboard.json").read_text())["tasks"][0]
    tested = pd.read_parquet(out / task["entries"][0]["folders"][0] / "predictions.parquet")
    known = load_dataset("synthetic", patients=100).true_probabilities()
    probability = dict(zip(known["visit_id"], known["readmission"], strict=True))
    expected = roc_auc_score(tested.label, tested.visit_id.map(probability))
    assert task["ceiling"]["auroc"]["value"] == pytest.approx(expected)
    assert f"|  | ceiling |  | {expected:.4f} [" in done.stdout
    table = pd.read_csv(out / "leaderboard.csv")
    assert table[(table.model == "ceiling") & (table.metric == "auroc")].value.tolist() == pytest.approx([expected])


def test_metrics_of_drug_sets_are_those_of_the_runs(tmp_path, session_cache):
    made = ("synthetic", ["medication"], ["nearest", "logistic_regression"])
    settings = {"data.patients": 60, "task.interactions": "onc"}
    board = leaderboard(*made, seeds=1, out=tmp_path, settings=settings, resamples=20)
    task = board.tasks[0]
    assert task.metric == "jaccard_samples"
    for entry in task.entries:
        result = json.loads((tmp_path / entry.folders[0] / "result.json").read_text())["metrics"]
        for name in ("ddi_rate", "ddi_rate_true", "drugs_per_visit_true", "addition_error", "removal_error"):
            assert entry.metrics[name]["value"] == pytest.approx(result[name]["value"])
    known = {e.model: e.metrics for e in task.entries}["nearest"]
    assert known["addition_error"]["value"] > known["removal_error"]["low"] > 0
    assert 0 < known["ddi_rate"]["value"] < 1


@pytest.mark.parametrize(
    ("task", "parameters"), [("readmission", {"days": 15}), ("mortality", {"unit": "stay"}), ("los", {})]
)
def test_there_is_no_ceiling_where_the_label_is_another_one(task, parameters):
    assert load_dataset("synthetic", patients=100).true_probability(load_task(task, **parameters)) is None


def test_it_goes_on_where_it_was_stopped(made, crashing):
    out, _ = made
    kept, killed = (out / "runs" / "readmission" / m / "seed0" for m in ("gru", "logistic_regression"))
    before = {p: p.stat().st_mtime_ns for p in kept.iterdir()}
    (killed / "predictions.parquet").unlink()
    (killed / "result.json").unlink()
    models = "logistic_regression,gru"
    done = run_script(out, "leaderboard", "--tasks", "readmission", "--models", models, "--seeds", "1", program="zoo")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["readmission logistic_regression seed 0: done"]
    assert {p: p.stat().st_mtime_ns for p in kept.iterdir()} == before
    assert (killed / "result.json").exists()


def test_a_run_finds_the_same_in_a_used_process_as_alone(tmp_path):
    board, alone = tmp_path / "board", tmp_path / "alone"
    done = run_script(board, "--tasks", "readmission", "--models", "mlp", "gru", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    command = ("run", "--task", "readmission", "--model", "gru", "--seed", "1")
    done = run_script(alone, *command, program="zoo")
    assert done.returncode == 0, done.stderr
    used = board / "runs" / "readmission" / "gru" / "seed1"
    ours, theirs = (json.loads((f / "result.json").read_text()) for f in (used, alone))
    assert ours["metrics"] == theirs["metrics"]
    ours, theirs = (load_file(f / "model.safetensors") for f in (used, alone))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(w, theirs[n]) for n, w in ours.items())


def test_runs_of_one_process_have_logs_of_their_own(tmp_path, crashing):
    done = run_script(tmp_path, "--tasks", "readmission", "--models", "talking", "--seeds", "2", path=crashing)
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / "runs/readmission/talking" / f"seed{s}.log").read_text() for s in (0, 1))
    process = first.split()[-1]
    assert first == f"printed by the model\nprinted by a program that it starts, in {process}\n"
    assert second == first


def test_a_leaderboard_that_is_killed_leaves_no_process_and_loses_nothing(tmp_path):
    out = tmp_path / "out"
    arguments = [
        "--tasks",
        "readmission",
        "--models",
        "gru",
        "--seeds",
        "1",
        "--dataset",
        "synthetic",
        "--out",
        str(out),
    ]
    slow = ["--set", "trainer.max_epochs=5000", "--set", "trainer.patience=5000", "--set", "data.patients=100"]
    parent = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments, *slow], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    config = out / "runs" / "readmission" / "gru" / "seed0" / "config.json"
    assert within(120, config.exists)
    [child] = children(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert within(30, lambda: not alive(child))
    assert not (config.parent / "result.json").exists()


def within(seconds: float, holds) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():
        pytest.skip("this system has no /proc to find child processes in")
    return [int(c) for t in tasks.iterdir() for c in (t / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_another_leaderboard_in_the_same_folder_is_an_error(made):
    with pytest.raises(UserError, match=r"differs in settings"):
        leaderboard("synthetic", ["readmission"], ["gru"], out=made[0], settings={"data.patients": 120})


def test_two_leaderboards_do_not_work_in_one_folder_at_a_time(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="another leaderboard is at work"):
        leaderboard("synthetic", ["readmission"], ["gru"], out=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tasks": ["readmision"]}, "did you mean 'readmission'"),
        ({"models": ["grru"]}, "did you mean 'gru'"),
        ({"models": []}, "name at least one of the models"),
        ({"seeds": 0}, "seeds=0"),
        ({"settings": {"task.dayz": 3}}, "did you mean 'days'"),
        ({"metric": "auroc_macro"}, "metric 'auroc_macro' is none"),
        ({"tasks": ["diagnosis"], "models": ["random_forest"]}, "none of the models serves multilabel tasks"),
    ],
)
def test_a_mistake_is_told_before_anything_is_run(arguments, words, tmp_path):
    usual = {"dataset": "synthetic", "tasks": ["readmission"], "models": ["gru"], "out": tmp_path / "out"}
    with pytest.raises(UserError, match=words):
        leaderboard(**{**usual, **arguments})
    assert not (tmp_path / "out").exists()


# Statistics


def outcomes(folder: Path, scores: dict[str, list[np.ndarray]], label: np.ndarray, subject: np.ndarray) -> list[dict]:
    """Finished runs of models with these scores, one array a seed."""
    found = []
    for model, seeds in scores.items():
        for seed, score in enumerate(seeds):
            place = folder / model / f"seed{seed}"
            place.mkdir(parents=True)
            facts = {"dataset": "d", "task": "t", "model": model, "seed": seed, "metrics": {"auroc": {}, "auprc": {}}}
            facts |= {
                "attrition": [],
                "config": {},
                "versions": {},
                "data_key": "",
                "sizes": {},
                "times": {"train": 1.0},
            }
            (place / "result.json").write_text(json.dumps(facts))
            table = pd.DataFrame({"subject_id": subject, "visit_id": np.arange(len(label))})
            table["stay_id"] = pd.array([None] * len(label), "Int64")
            if label.ndim == 1:
                table = table.assign(label=label, score=score)
            else:
                table["label"] = [[f"c{i}" for i in np.flatnonzero(row)] for row in label]
                table = table.join(pd.DataFrame(score).add_prefix("score_c"))
            table["prediction_time"] = pd.Timestamp("2100-01-01")
            table.to_parquet(place / "predictions.parquet")
            kind = "binary" if label.ndim == 1 else "multilabel"
            found.append({"task": "t", "kind": kind, "model": model, "seed": seed, "folder": place, "reason": None})
            found[-1]["predictions"] = place / "predictions.parquet"
    return found


@pytest.fixture
def simulated(tmp_path):
    """A good, a bad, and an equal-to-good model on 400 samples of 150 subjects, under three seeds."""
    random = np.random.default_rng(1)
    subject = np.sort(random.integers(0, 150, 400))
    label = random.random(400) < 0.4
    noise = [random.normal(size=400) for _ in range(6)]

    def scores(strength, noises):
        return [1 / (1 + np.exp(-(strength * label + n))) for n in noises]

    models = {"bad": scores(0.2, noise[:3]), "good": scores(2, noise[3:]), "same": scores(2, noise[3:])}
    return outcomes(tmp_path, models, label, subject)


def test_ranks_and_tests_against_the_best(simulated):
    [task] = _ranking.board("d", simulated, {}, 3, 500, None).tasks
    assert [(e.model, e.rank) for e in task.entries] == [("good", 1), ("same", 1), ("bad", 3)]
    best, same, bad = task.entries
    assert best.difference is None
    assert same.difference["value"] == 0
    assert same.difference["p_holm"] > 0.3
    assert bad.difference["p"] == pytest.approx(2 / 501)
    assert bad.difference["p_holm"] == pytest.approx(2 * bad.difference["p"])
    assert 0 < bad.difference["low"] < bad.difference["value"] < bad.difference["high"]


def test_of_one_subject_there_is_neither_an_interval_nor_a_test(tmp_path):
    random = np.random.default_rng(0)
    label, subject = np.arange(20) % 2 == 0, np.full(20, 7)
    models = {"one": [random.random(20)], "two": [random.random(20)]}
    [task] = _ranking.board("d", outcomes(tmp_path, models, label, subject), {}, 1, 50, None).tasks
    for entry in task.entries:
        found = entry.metrics["auroc"]
        assert found["value"] is not None
        assert (found["low"], found["high"], found["reason"]) == (None, None, "no interval: one subject")
        assert entry.difference is None


def test_the_interval_is_over_seeds_as_well_as_subjects(simulated):
    [task] = _ranking.board("d", simulated, {}, 3, 500, None).tasks
    [one] = _ranking.board("d", [o for o in simulated if o["seed"] == 0], {}, 1, 500, None).tasks
    three, alone = (next(e for e in t.entries if e.model == "bad").metrics["auroc"] for t in (task, one))
    assert alone["sd"] is None
    assert three["sd"] > 0
    points = [evaluate_auroc(o) for o in simulated if o["model"] == "bad"]
    assert three["value"] == pytest.approx(np.mean(points))
    assert three["low"] < min(points) or three["high"] > max(points)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_holds_its_own_value(tmp_path, seeds):
    """Also where resampling shifts it, as the AUPRC of labels with one to three positives; so does the difference."""
    random = np.random.default_rng(2)
    subject = np.repeat(np.arange(40), 2)
    score = random.beta(1, 3, (2 * seeds, 80))
    label = random.random(80) < score.mean(axis=0)
    order = random.permuted(np.tile(np.arange(80), (100, 1)), axis=1).T
    chosen = order < random.integers(1, 4, 100)
    scores = {"auroc": (label, score), "auprc_macro": (chosen, random.random((2 * seeds, *chosen.shape)))}
    for metric, (label, score) in scores.items():
        made = outcomes(tmp_path / metric, {"one": score[:seeds], "other": score[seeds:]}, label, subject)
        first, second = _ranking.board("d", made, {}, seeds, 60, metric).tasks[0].entries
        for entry in (first, second):
            for name, found in entry.metrics.items():
                assert found["low"] <= found["value"] <= found["high"], name
        apart = second.difference
        assert apart["low"] <= apart["value"] <= apart["high"]


def test_p_goes_with_the_interval_of_the_difference(tmp_path):
    random = np.random.default_rng(3)
    label, subject = random.random(120) < 0.4, np.arange(120)
    noise = random.normal(size=(9, 120))
    strengths = np.linspace(2, 0.5, 9)
    scores = 1 / (1 + np.exp(-strengths[:, None] * label - noise))
    models = {f"m{i}": [score] for i, score in enumerate(scores)}
    best, *others = _ranking.board("d", outcomes(tmp_path, models, label, subject), {}, 1, 400, None).tasks[0].entries
    assert {e.difference["p"] < 0.05 for e in others} == {True, False}
    for entry in others:
        own = entry.difference
        assert own["value"] == pytest.approx(best.metrics["auroc"]["value"] - entry.metrics["auroc"]["value"])
        if abs(own["low"]) > 0.005:
            assert (own["p"] < 0.05) == (own["low"] > 0)


def evaluate_auroc(outcome: dict) -> float:
    table = pd.read_parquet(outcome["predictions"])
    return evaluate("binary", table.label, table.score, table.subject_id, resamples=0)["auroc"].value


def test_a_run_on_other_samples_is_not_compared(simulated):
    path = simulated[-1]["predictions"]
    pd.read_parquet(path).assign(visit_id=7).to_parquet(path)
    [task] = _ranking.board("d", simulated, {}, 3, 50, None).tasks
    [failed] = task.failed
    assert "other samples" in failed["reason"]
    assert {e.model: len(e.seeds) for e in task.entries} == {"good": 3, "same": 2, "bad": 3}


def test_p_has_the_level_it_claims_where_models_do_not_differ():
    random = np.random.default_rng(0)
    # The bootstrap distribution of a mean difference of 0 around its estimate.
    p = [_ranking.p_value(random.normal(random.normal(), 1, 400)) for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_holm_never_lowers_p_and_keeps_its_order():
    p = np.random.default_rng(0).random(8)
    corrected = np.array(_ranking.holm(p))
    assert (corrected >= p).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


def test_mean_rank_is_over_models_that_are_in_every_task():
    def task(name, order):
        entries = [Entry(m, [0], {}, [], rank=i + 1) for i, m in enumerate(order)]
        return TaskBoard(name, "binary", "auroc", 1, 1, {}, entries, [])

    found = _ranking._overall([task("a", ["x", "y", "z"]), task("b", ["z", "x"])])
    assert found == [{"model": "x", "mean_rank": 1.5}, {"model": "z", "mean_rank": 1.5}]


def test_models_that_do_not_serve_a_task_are_named(simulated):
    other = [{**o, "task": "other"} for o in simulated if o["model"] != "bad"]
    board = _ranking.board("d", [*simulated, *other], {}, 3, 50, None)
    assert [t.left_out for t in board.tasks] == [[], ["bad"]]
    for shown in (str(board), _page.page(board)):
        assert shown.count("Not for binary tasks: bad.") == 1


def test_markdown_cannot_be_broken_by_a_name():
    failed = [{"model": "a|b", "seed": 0, "reason": "<script>\n| x"}]
    board = Board("d", 1, 10, {}, [TaskBoard("t", "binary", None, 0, 0, {}, [], failed)])
    assert "| a\\|b | 0 | &lt;script> \\| x |" in str(board)


# The page

HOSTILE = "<script>document.title = 'taken'</script><b>bold</b>"
PROBE = """
const page = document.querySelector("iframe").contentDocument;
const view = page.defaultView;
const table = page.querySelectorAll("table.sortable")[0];
const press = (text) => [...table.tHead.querySelectorAll("button")].find((b) => b.textContent === text).click();
const column = (number) => [...table.tBodies[0].rows].map((row) => row.cells[number].firstChild?.data ?? "");
const found = { orders: [column(1)] };
for (const text of ["auroc", "auroc", "model"]) { press(text); found.orders.push(column(1)); }
found.sorted = table.tHead.querySelectorAll("[aria-sort]").length;
found.width = page.documentElement.scrollWidth;
found.loaded = view.performance.getEntriesByType("resource").length;
found.scripts = page.querySelectorAll("script").length;
found.bold = page.querySelectorAll("b").length;
found.charts = page.querySelectorAll("svg[role=img]").length;
found.flat = [...page.querySelectorAll("svg[role=img]")].filter((s) => s.getBoundingClientRect().height < 50).length;
found.colours = ["color", "backgroundColor"].map((n) => view.getComputedStyle(page.body)[n]);
document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
"""


@pytest.fixture
def page(simulated) -> str:
    failed = {"task": "t", "kind": "binary", "model": HOSTILE, "seed": 0, "folder": None, "reason": HOSTILE}
    (Path(simulated[0]["folder"]) / "losses.json").write_text('{"train": [1.0, 0.5], "validation": [1.1, null]}')
    return _page.page(_ranking.board("d", [*simulated, failed], {"model.dim": HOSTILE}, 3, 50, None))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_works_in_a_browser(page, scheme, tmp_path):
    option = f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"
    found = in_browser(page, PROBE, tmp_path, option)
    as_ranked, best_first, worst_first, by_name = found["orders"]
    assert as_ranked == best_first == ["good", "same", "bad"]
    assert worst_first[0] == "bad"
    assert by_name == ["bad", "good", "same"]
    assert found["sorted"] == 1
    assert found["width"] <= 390
    assert found["loaded"] == 0
    assert (found["scripts"], found["bold"]) == (1, 0)
    assert (found["charts"], found["flat"]) == (4, 0)
    ink, ground = (luminance(c) for c in found["colours"])
    assert (ink > ground) == (scheme == "dark")
    assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) > 7  # WCAG 2.1, enhanced contrast


def luminance(colour: str) -> float:
    """The relative luminance of a CSS colour (WCAG 2.1)."""
    parts = np.array([int(n) for n in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_page_shows_the_ceiling_in_the_table_and_the_chart(simulated):
    ranked = pd.read_parquet(simulated[0]["predictions"])
    known = {"t": pd.Series(0.2 + 0.6 * ranked.label.to_numpy(), ranked.visit_id)}
    shown = _page.page(_ranking.board("d", simulated, {}, 3, 50, None, known))
    assert shown.count('<td class="" data-value="ceiling">ceiling</td>') == 1
    assert "<title>ceiling: 1.0000</title>" in shown
    assert "dashed: the ceiling" in shown


def test_the_page_needs_nothing_else_and_shows_text_as_text(page):
    assert re.findall(r"(?:src|href)=|url\(|@import|https?:", page) == []
    assert HOSTILE not in page
    assert page.count(escape(HOSTILE)) >= 3


def test_the_steps_of_the_curve_have_the_area_that_the_table_says():
    random = np.random.default_rng(3)
    label, score = random.random(90) < 0.3, np.round(random.random(90), 1)
    recall, precision = _page.precision_recall(label, score)
    assert np.diff(recall) @ precision[1:] == pytest.approx(auprc(label, score))
    long_label, long_score = random.random(9000) < 0.3, random.random(9000)
    assert len(_page.precision_recall(long_label, long_score)[0]) <= _page.POINTS + 1


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (-3, 4000), (0.5, 0.5), (0.81231, 0.81239)])
def test_an_axis_holds_its_values_with_a_few_round_ticks(low, high):
    first, last, ticks = _charts._scale(low, high)
    assert first <= low <= high <= last
    assert 2 <= len(ticks) <= 8


def board_of(parameters: dict, task: str = "mortality") -> TaskBoard:
    return TaskBoard(task, "binary", "auroc", 1, 1, parameters, [], [])


def test_published_results_are_shown_only_for_the_same_question():
    ours = {"hours": 24.0, "unit": "stay", "target": "stay"}
    shown = _page.published("mimic4", board_of(ours))
    assert {r["model"] for r in shown} >= {"LGBM", "GRU"}
    assert all(r["source"] and r["protocol"] and r["data"] for r in shown)
    assert all(0 < float(r["value"]) < 1 for r in shown)
    assert _page.published("synthetic", board_of(ours)) == []
    assert _page.published("mimic4", board_of({**ours, "hours": 48})) == []


def test_published_results_are_in_no_table_with_ranks():
    parts = list(
        _page._context(_page.published("mimic3", board_of({"days": 30, "unit": "visit"}, "readmission")), board_of({}))
    )
    assert "Context only" in parts[1]
    assert "rank</button>" not in "".join(parts)
