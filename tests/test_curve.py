"""Curves over shares of the training subjects."""

import builtins
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

import zoo
from zoo import cli
from zoo.curve import curve
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
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    drawing = (out / "curve.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(drawing)
    for told in ("majority", "mlp", "auroc", "readmission on synthetic", "share of the training subjects"):
        assert f">{told}</text>" in drawing


def test_it_goes_on_where_it_was_stopped(made, monkeypatch):
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


def test_what_cannot_be_drawn_is_told_before_anything_is_run(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"'data.train_share' is what a curve goes through"):
        curve("synthetic", "readmission", ["mlp"], [1], out=tmp_path / "out", settings={"data.train_share": 0.5})
    ordinary = builtins.__import__

    def without(name, *rest, **more):
        if name == "matplotlib":
            raise ImportError(name)
        return ordinary(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'ehr-zoo\[plot\]'"):
        curve("synthetic", "readmission", ["mlp"], [1], out=tmp_path / "out")
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
