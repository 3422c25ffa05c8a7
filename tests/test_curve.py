"""Curves over shares of the training subjects."""

import base64
from xml.etree import ElementTree

import pandas as pd
import pytest
from browser import in_browser

import zoo
from zoo import cli
from zoo.curve import _drawn, curve
from zoo.registry import UserError

HOW = {"seeds": 2, "settings": {"data.patients": 80, "data.concepts": ["diagnosis"], "trainer.max_epochs": 1}}


@pytest.fixture(scope="module")
def made(tmp_path_factory, session_cache):
    out, lines = tmp_path_factory.mktemp("curve"), []
    models = ["majority", "mlp"]
    found = curve("synthetic", "readmission", models, [1, 0.25, 0.5], out=out, report=lines.append, **HOW)
    return out, found, lines


def test_each_share_is_a_leaderboard_on_the_same_test_subjects(made):
    out, found, lines = made
    assert len(lines) == 12
    assert lines[0] == "share 0.25: readmission majority seed 0: done"
    assert sorted(found.share.unique()) == [0.25, 0.5, 1]
    samples = found.groupby("share").train_samples.unique().str[0]
    assert samples.is_monotonic_increasing
    whole = zoo.load("synthetic", "readmission", patients=80, concepts=["diagnosis"])
    assert samples[1] == whole.size("train")
    tested = [
        pd.read_parquet(out / f"share-{s:g}" / "runs" / "readmission" / "mlp" / "seed0" / "predictions.parquet")
        for s in (0.25, 0.5, 1)
    ]
    assert all(t.visit_id.tolist() == tested[0].visit_id.tolist() for t in tested)
    assert not tested[0].score.equals(tested[2].score)


def test_the_table_has_mean_and_spread_and_the_drawings_what_it_says(made):
    out, found, _ = made
    there = pd.read_csv(out / "curve.csv")
    pd.testing.assert_frame_equal(there, found, check_dtype=False)
    network = there[(there.model == "mlp") & (there.metric == "auroc")]
    assert (network.seeds == 2).all()
    assert (network.sd > 0).all()
    assert ((network.low <= network.value) & (network.value <= network.high)).all()
    drawing = (out / "curve.svg").read_text(encoding="utf-8")
    told = [text.text for text in ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]
    assert told[:2] == ["readmission on synthetic", "mean over 2 seeds, with 95 % intervals"]
    assert {"auroc", "share of the training subjects, %", "0", "20", "100"} <= set(told)
    last = network.value.iloc[-1] > there[(there.model == "majority") & (there.metric == "auroc")].value.iloc[-1]
    assert told[-2:] == (["mlp", "majority"] if last else ["majority", "mlp"])


PROBE = """
const page = document.querySelector("iframe").contentDocument;
const box = (thing) => thing.getBoundingClientRect();
const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const drawing = page.querySelector("svg"), texts = [...drawing.querySelectorAll("text")];
const style = (thing, name) => page.defaultView.getComputedStyle(thing)[name];
const within = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
const told = {
  over: texts.flatMap((a, i) => texts.slice(i + 1).filter((b) => meet(box(a), box(b))).map((b) => [a, b]))
    .map((pair) => pair.map((text) => text.textContent)),
  cut: texts.filter((text) => !within(box(text), box(drawing))).map((text) => text.textContent),
  lines: [...drawing.querySelectorAll(".curve title")].map((t) => style(t.parentNode, "stroke")),
  bands: [...drawing.querySelectorAll(".band")].map((b) => [style(b, "fill"), Math.round(box(b).height)]),
  bars: [...drawing.querySelectorAll(".bar")].map((b) => b.getTotalLength()),
  ground: style(drawing.querySelector("rect"), "fill"),
  alone: page.querySelector("img").naturalWidth,
};
document.body.textContent = "FOUND" + JSON.stringify(told) + "END";
"""


@pytest.mark.parametrize(("shares", "unit"), [([0.01, 0.02, 0.05, 0.1], 1e-5), ([0.1, 0.2, 0.5, 1], 1), ([1], 1e6)])
def test_the_drawing_in_a_browser(shares, unit, tmp_path):
    models = ["med_bert_clinical_bert", "logistic_regression", "a & <b>", *"cdefghij"]
    values = [unit * (10 + i + (i / 10 + 1) * share) for share in shares for i in range(len(models))]
    found = pd.DataFrame({"share": pd.Series(shares).repeat(len(models)).to_numpy(), "model": models * len(shares)})
    found = found.assign(metric="jaccard_samples", seeds=3, value=values)
    found = found.assign(low=found.value - unit, high=found.value + unit)
    found.loc[found.model == "c", ["low", "high"]] = None
    found.attrs["metric"] = "jaccard_samples"
    drawing = _drawn(found, "mortality_after_discharge on a & <b>")
    image = base64.b64encode(drawing.encode()).decode()
    page = f'<!doctype html>{drawing}<img src="data:image/svg+xml;base64,{image}">'
    told = in_browser(page, PROBE, tmp_path)
    assert (told["over"], told["cut"]) == ([], [])
    assert len(set(told["lines"])) == 8  # colours; dashes tell the others apart
    assert len(told["lines"]) == len(models) == len(told["bands"]) + 1
    assert {fill for fill, _ in told["bands"]} <= set(told["lines"])
    assert all(height > 20 for _, height in told["bands"])
    assert all(length > 20 * len(shares) for length in told["bars"])
    assert told["ground"] == "rgb(255, 255, 255)"
    assert told["alone"] > 700  # as a file of its own it is sound XML


def test_it_goes_on_where_it_was_stopped(made):
    out, found, _ = made
    lines: list[str] = []
    again = curve("synthetic", "readmission", ["majority", "mlp"], [0.25, 0.5, 1], out=out, report=lines.append, **HOW)
    pd.testing.assert_frame_equal(again, found)
    assert lines == []


@pytest.mark.parametrize("fractions", [[], [0], [1.5], [True], ["half"]])
def test_fractions_that_are_none(fractions, tmp_path):
    with pytest.raises(UserError, match="fractions"):
        curve("synthetic", "readmission", ["mlp"], fractions, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_share_is_no_setting_of_a_curve(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"'data.train_share' is what a curve goes through"):
        curve("synthetic", "readmission", ["mlp"], [1], out=tmp_path / "out", settings={"data.train_share": 0.5})
    assert not (tmp_path / "out").exists()


def test_the_command(made, capsys):
    out, _, _ = made
    settings = [f"{n}={v}" for n, v in HOW["settings"].items()]
    settings = [s.replace("'", '"') for s in settings]
    asked = ["--dataset", "synthetic", "--task", "readmission", "--model", "majority,mlp", "--fractions", "0.25,0.5,1"]
    arguments = ["curve", *asked, "--seeds", "2", "--out", str(out), *(a for s in settings for a in ("--set", s))]
    cli.app(arguments, standalone_mode=False)
    assert capsys.readouterr().out.count("auroc") == 6
    with pytest.raises(UserError, match="must be numbers with commas"):
        cli.app(["curve", *asked[:-1], "a,b", "--out", str(out)], standalone_mode=False)
