"""Kinds of task: nothing but their own files names them; survival; one that somebody else installs."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw, integrated_brier_score
from sksurv.util import Surv

import zoo
from zoo.kinds import Kind
from zoo.kinds.survival import log_hazard, partial_loss
from zoo.metrics import evaluate, suite
from zoo.metrics.survival import Curve, c_index
from zoo.registry import kind_of, kinds

PACKAGE = Path(zoo.__file__).parent
OWN_ROOMS = ("kinds", "tasks")


def named_in(tree: ast.AST, names: set[str]) -> list[int]:
    """Lines where a kind's name is compared with or matched, is the key of a mapping, or something is looked up by it.

    Registrations (keywords of decorators) are left out.
    """
    registered = {id(n) for f in ast.walk(tree) for d in getattr(f, "decorator_list", ()) for n in ast.walk(d)}

    def holds(node: ast.AST | None) -> bool:
        return node is not None and any(
            isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value in names for n in ast.walk(node)
        )

    found = []
    for node in ast.walk(tree):
        if id(node) in registered:
            continue
        compared = isinstance(node, ast.Compare) and any(map(holds, [node.left, *node.comparators]))
        mapped = isinstance(node, ast.Dict) and any(isinstance(k, ast.Constant) and holds(k) for k in node.keys)
        matched = isinstance(node, ast.MatchValue) and holds(node)
        looked_up = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and holds(node.slice)
        if compared or mapped or matched or looked_up:
            found.append(node.lineno)
    return found


def test_no_file_outside_of_kinds_and_tasks_asks_for_the_name_of_a_kind():
    names = set(kinds.names())
    found = {}
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).parts[0]
        lines = [] if room in OWN_ROOMS else named_in(ast.parse(file.read_text()), names)
        if lines:
            found[str(file.relative_to(PACKAGE))] = lines
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "if task.kind == 'binary': pass",
        "if task.kind in ('multiclass', 'multilabel'): pass",
        "RATES = {'binary': 2e-5}",
        "RATES['regression']",
        "match kind:\n    case 'survival': pass",
    ],
)
def test_the_search_finds_a_kind_that_is_named(code):
    assert named_in(ast.parse(code), set(kinds.names()))


@pytest.mark.parametrize("name", kinds.names())
def test_metrics_of_a_kind_have_distinct_names_and_ranges(name):
    kind = kind_of(name)
    found = kind.metrics({})
    assert len({m.name for m in found}) == len(found)
    assert all(m.low < m.high for m in found)
    assert kind.ranked_by in {m.name for m in found}
    assert {n for m in found for n in m.needs} <= kind.options


# Survival


@pytest.fixture(scope="module")
def followed():
    """Times with ties, events and inputs of 200 samples to fit on, and of 150 to measure on."""
    random = np.random.default_rng(3)
    inputs = random.normal(size=(350, 3))
    time = np.ceil(8 * random.exponential(np.exp(-inputs @ [0.8, -0.5, 0.0]))) + 0.5
    event = (random.random(350) < 0.6) & (time < 30)
    time = np.minimum(time, 30.5)
    return {"train": (inputs[:200], time[:200], event[:200]), "test": (inputs[200:], time[200:], event[200:])}


def efron(logit, time, event):
    """The loss by its definition, one event after the other."""
    total = 0.0
    for moment in np.unique(time[event]):
        tied = np.flatnonzero((time == moment) & event)
        risk, of_ties = np.exp(logit[time >= moment]).sum(), np.exp(logit[tied]).sum()
        total += sum(np.log(risk - place / len(tied) * of_ties) - logit[i] for place, i in enumerate(tied))
    return total / event.sum()


def test_the_partial_likelihood_is_efrons(followed):
    inputs, time, event = followed["train"]
    logit = inputs @ [1.0, 0.3, -2.0]
    label = torch.from_numpy(np.column_stack([time, event]).astype(np.float32))
    assert float(partial_loss(torch.from_numpy(logit), label)) == pytest.approx(efron(logit, time, event), rel=1e-9)
    assert float(partial_loss(torch.from_numpy(logit + 700), label)) == pytest.approx(efron(logit, time, event))


def test_a_batch_without_an_event_has_no_loss():
    logit = torch.ones(3, requires_grad=True)
    loss = partial_loss(logit, torch.tensor([[1.0, 0], [2, 0], [3, 0]]))
    loss.backward()
    assert loss == 0
    assert not logit.grad.any()


def test_the_least_loss_is_where_scikit_survivals_is(followed):
    inputs, time, event = followed["train"]
    known = CoxPHSurvivalAnalysis(ties="efron").fit(inputs, Surv.from_arrays(event, time))
    weights = torch.from_numpy(known.coef_.copy()).requires_grad_()
    label = torch.from_numpy(np.column_stack([time, event]).astype(np.float32))
    partial_loss(torch.from_numpy(inputs) @ weights, label).backward()
    assert weights.grad.abs().max() < 1e-6


def test_the_baseline_is_breslows(followed):
    inputs, time, event = followed["train"]
    logit, times = inputs @ [0.8, -0.5, 0.1], np.unique(time[event])
    expected, total = [], 0.0
    for moment in times:
        total += (event & (time == moment)).sum() / np.exp(logit[time >= moment]).sum()
        expected.append(total)
    assert np.exp(log_hazard(logit, time, event, times)) == pytest.approx(expected)
    assert np.exp(log_hazard(logit + 900, time, event, times) + 900) == pytest.approx(expected)


def test_metrics_equal_scikit_survivals(followed):
    train, (inputs, time, event) = followed["train"], followed["test"]
    times = np.array([2.5, 4.5, 6.5, 9.5])
    known = CoxPHSurvivalAnalysis(ties="efron").fit(train[0], Surv.from_arrays(train[2], train[1]))
    survival = np.stack([f(times) for f in known.predict_survival_function(inputs)])
    curve = Curve.of_censoring(train[1], train[2])
    options = {"times": times, "censoring": {"times": curve.times, "values": curve.values}}
    label = np.column_stack([time, event])
    found = evaluate("survival", label, survival, np.arange(len(time)), resamples=20, **options)
    fitted, tested = (Surv.from_arrays(e, t) for _, t, e in followed.values())
    risk = 1 - survival[:, -1]
    assert found["c_index"].value == pytest.approx(concordance_index_censored(event, time, risk)[0], abs=1e-12)
    assert c_index(time, event, np.round(risk, 1)) == pytest.approx(
        concordance_index_censored(event, time, np.round(risk, 1))[0], abs=1e-12
    )
    uno = concordance_index_ipcw(fitted, tested, risk, tau=times[-1])[0]
    assert found["c_index_uno"].value == pytest.approx(uno, abs=1e-12)
    expected = integrated_brier_score(fitted, tested, survival, times)
    assert found["integrated_brier"].value == pytest.approx(expected, abs=1e-12)
    assert all(m.low < m.value < m.high for m in found.values())


def test_weights_are_repeated_samples(followed):
    _, time, event = followed["test"]
    risk, weight = np.random.default_rng(0).random(len(time)), np.random.default_rng(1).integers(1, 4, len(time))
    again = [np.repeat(x, weight) for x in (time, event, risk)]
    assert c_index(time, event, risk, weight) == pytest.approx(c_index(*again), abs=1e-12)


def test_what_survival_lacks_is_said():
    with pytest.raises(ValueError, match="kind 'survival' has no option 'threshold'; it has censoring, times"):
        evaluate("survival", [[1, 1]], [[0.5]], [1], threshold=0.5)
    with pytest.raises(ValueError, match="needs censoring and times"):
        evaluate("survival", [[1, 1]], [[0.5]], [1], metrics=["c_index"])
    assert list(suite("survival")) == ["c_index"]


def test_cox_and_deep_surv_tell_who_dies_first(tmp_path):
    data = zoo.load("synthetic", task="time_to_death", patients=300, concepts=["diagnosis"], split=(0.5, 0.2, 0.3))
    assert data.samples.label.map(lambda v: v[0]).min() > 0
    for name, how in {"cox": {}, "deep_surv": {"max_epochs": 3}}.items():
        result = zoo.train(name, data, out=tmp_path / name, **how)
        assert set(result.metrics) == {"c_index", "c_index_uno", "integrated_brier"}
        again = zoo.evaluate(tmp_path / name)
        assert again.metrics == result.metrics
        survival = zoo.predict(tmp_path / name).filter(like="score_").to_numpy()
        assert (np.diff(survival, axis=1) <= 0).all()


# A kind of somebody else's

PLUGIN = '''
import numpy as np
from zoo import register_model, register_task
from zoo.registry import register_kind
from zoo.kinds.regression import Regression
from zoo.models.visits.mlp import MLP
from zoo.tasks.los import LengthOfStay


@register_kind("log_number")
class LogNumber(Regression):
    """A number above 0, whose logarithm is predicted."""

    def loss(self, logits, label):
        return super().loss(logits, label.log1p())

    def predict(self, logits, model):
        return logits[:, 0].expm1()


@register_task("log_days")
class LogDays(LengthOfStay):
    """The days of a stay, whose logarithm is predicted."""

    def __init__(self, hours: float = 24):
        super().__init__(target="days", hours=hours)
        self.kind = "log_number"


@register_model("log_mlp", uses={"diagnosis"}, kinds={"log_number"})
class LogMLP(MLP):
    """A perceptron."""
'''
SETUP = """
[metadata]
name = log-number
version = 1
[options]
py_modules = log_number
[options.entry_points]
zoo.kinds =
    log_number = log_number
zoo.tasks =
    log_days = log_number
zoo.models =
    log_mlp = log_number
"""


def test_an_installed_kind_is_trained_measured_and_read_back(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "log_number.py").write_text(PLUGIN)
    (source / "setup.cfg").write_text(SETUP)
    (source / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        site,
        source,
    ]
    subprocess.run(install, check=True)
    script = f"""
import sys
sys.path.insert(0, {str(site)!r})
import zoo
from zoo.registry import kinds
from zoo.testing import check_task
assert "log_number" in kinds.names()
data = zoo.load("synthetic", task="log_days", patients=60, concepts=["diagnosis", "drug"], split=(0.5, 0.2, 0.3))
result = zoo.train("log_mlp", data, out={str(tmp_path / "run")!r}, max_epochs=2)
assert zoo.evaluate(result.folder).metrics == result.metrics and "mae" in result.metrics
assert check_task("log_days", "synthetic", patients=40).passed
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_kind_without_a_name_serves_the_tasks_that_give_it():
    class Sure(kind_of("binary").__class__):
        """As sure as can be."""

    assert kind_of(Sure).ranked_by == "auroc"
    assert isinstance(kind_of(Sure), Kind)
