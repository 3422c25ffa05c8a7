"""The README's lines on the open demonstration data, and the synthetic default against what can be known."""

import re
from pathlib import Path

import pandas as pd
import pytest

import zoo
from zoo.metrics import auroc

ROOT = Path(__file__).parent.parent
OPEN_DATA = ROOT.parent / "shared" / "data"
DEMOS = {"mimic3": "mimic3-demo-1.4", "mimic4": "mimic4-demo-2.2", "eicu": "eicu-demo-2.0.1"}


def readme_lines() -> str:
    return re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.mark.parametrize("dataset", DEMOS)
def test_readme_lines_run_on_the_demos(dataset, tmp_path, monkeypatch, capsys):
    root = OPEN_DATA / DEMOS[dataset]
    if not root.is_dir():
        pytest.skip("the open demonstration data are not there")
    monkeypatch.chdir(tmp_path)
    lines = readme_lines().replace('"mimic3"', repr(dataset)).replace('"path/to/mimic3"', repr(str(root)))
    scope: dict = {}
    exec(lines, scope)
    result = scope["result"]
    assert result.dataset == dataset
    assert result.sizes["train"] > result.sizes["test"] > 0
    assert (tmp_path / result.folder / "result.json").exists()
    for found in result.metrics.values():
        assert (found["value"] is None) == bool(found["reason"] and found["low"] is None and found["value"] is None)
    assert "auroc" in capsys.readouterr().out


@pytest.mark.slow
def test_visit_order_matters_and_nothing_beats_the_ceiling(tmp_path):
    data = zoo.load("synthetic", task="readmission", concepts=["diagnosis", "procedure", "drug"])
    truth = data.dataset.true_probabilities()
    test = data.samples[data.samples.split == "test"]
    known = pd.Series(truth["readmission"], index=truth["visit_id"])
    ceiling = auroc(test.label.to_numpy(bool), known[test.visit_id].to_numpy())
    found = {
        name: zoo.train(name, data, seed=0, out=tmp_path / name, **settings).metrics["auroc"]
        for name, settings in (("logistic_regression", {}), ("gru", {"max_epochs": 6}))
    }
    assert found["gru"]["low"] > found["logistic_regression"]["high"]
    assert found["gru"]["value"] > found["logistic_regression"]["value"] + 0.1
    for name, metric in found.items():
        assert metric["low"] < ceiling, f"{name} is clearly above the best reachable score"
        assert metric["value"] < ceiling + 0.02, f"{name} is above the best reachable score"
