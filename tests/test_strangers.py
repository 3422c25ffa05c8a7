"""Run folders of strangers: whatever stands in their files, they are read as they were meant or refused in one line."""

import copy
import json
import os
import shutil
import signal
import stat
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import skops.io
import torch

import zoo
from zoo.data import Spec
from zoo.data._vocabulary import Vocabulary
from zoo.layers import TextEncoder
from zoo.models._texts import made_encoder
from zoo.registry import UserError
from zoo.training import _bounds, _run_folder

PATIENTS = 40
MISSING = object()
VALUES = (None, [], {}, "x", -1, 1e308, 10**30, 10**9, float("nan"), True, [["x"]], MISSING)
RUNS = {
    "gru": ("readmission", ["diagnosis", "lab"], {"dim": 4}),
    "random_forest": ("los", ["diagnosis"], {"trees": 2}),
    "gbert": ("medication", ["diagnosis", "drug"], {}),
    "caml": ("diagnosis", ["note"], {"filters": 4}),
}
SMALL = {"max_epochs": 1}


def data_of(name):
    task, concepts, _ = RUNS[name]
    return zoo.load("synthetic", task=task, patients=PATIENTS, concepts=concepts, levels={"diagnosis": "ccs"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory, session_cache):
    """A finished run of each, and the data that it was trained on; made when it is asked for."""
    made = {}

    def run(name):
        if name not in made:
            data = data_of(name)
            model = zoo.create_model(name, data, **RUNS[name][2])
            made[name] = zoo.train(model, data, out=tmp_path_factory.mktemp("runs") / name, **SMALL).folder, data
        return made[name]

    return run


@pytest.fixture
def spoilt(runs, tmp_path):
    """A copy of a run, to be spoilt."""
    return lambda name: (shutil.copytree(runs(name)[0], tmp_path / name), runs(name)[1])


@contextmanager
def soon(seconds: int = 20):
    """Fail where the block goes on and on."""

    def ring(*_):
        pytest.fail(f"no end in {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trails(facts, trail=()):
    """The way to each value in JSON; of what is alike (the items of a list, the metrics, the codes) only to the first.

    >>> list(trails({"sizes": {"a": 1, "b": 2}, "x": [[1, 2], [3, 4]]}))
    [(), ('sizes',), ('sizes', 'a'), ('x',), ('x', 0), ('x', 0, 0)]
    """
    yield trail
    alike = isinstance(facts, list) or (trail and trail[-1] in ("metrics", "sizes", "times", "versions"))
    names = range(len(facts)) if isinstance(facts, list) else facts if isinstance(facts, dict) else ()
    for name in list(names)[: 1 if alike else None]:
        yield from trails(facts[name], (*trail, name))


def changed(facts, trail, value):
    """The facts with another value at the end of a trail."""
    if not trail:
        return {} if value is MISSING else value
    first, *rest = trail
    facts = copy.copy(facts)
    if rest or value is not MISSING:
        facts[first] = changed(facts[first], rest, value)
    else:
        del facts[first]
    return facts


@pytest.mark.parametrize("name", RUNS)
def test_whatever_stands_in_the_files_of_a_run(name, spoilt):
    """Each value of each file becomes some of `VALUES`: one clear error, or where it only informs, a prediction."""
    folder, data = spoilt(name)
    each = 6 if name == "gru" else 12
    wanted, count, refused, longest = zoo.predict(folder, data).columns.tolist(), 0, 0, 0
    for file in ("result.json", "spec.json", "source.json"):
        facts = json.loads((folder / file).read_text())
        for turn, trail in enumerate(trails(facts)):
            for value in (VALUES[(turn + step) % len(VALUES)] for step in range(0, len(VALUES), each)):
                (folder / file).write_text(json.dumps(changed(facts, trail, value)))
                count += 1
                with soon():
                    try:
                        found = zoo.load_run(folder)
                        assert zoo.predict(found, data).columns.tolist()[:5] == wanted[:5]
                        assert str(found.result)
                    except UserError as error:
                        refused += 1
                        longest = max(longest, len(str(error)))
                    except Exception as error:
                        raise AssertionError(f"{file} {trail} {value!r}: {error!r}") from error
        (folder / file).write_text(json.dumps(facts))
    assert count > 50
    assert refused > count / 3
    assert longest < 1000


@pytest.mark.parametrize(("name", "value"), [("patients", 0), ("patients", 10**9), ("seed", -1), ("lab_delay", 1e308)])
def test_a_dataset_that_the_run_cannot_have_had(name, value, spoilt):
    folder, _ = spoilt("gru")
    facts = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(changed(facts, ("config", "dataset", name), value)))
    with soon(), pytest.raises(UserError, match=name):
        zoo.predict(folder)


@pytest.mark.parametrize(("name", "value"), [("layers", 10**9), ("dim", 10**6), ("dim", 10**15)])
def test_a_model_far_larger_than_its_weights(name, value, spoilt):
    folder, data = spoilt("gru")
    facts = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(changed(facts, ("config", "model", name), value)))
    with soon(), pytest.raises(UserError, match="far larger than the weights in its file"):
        zoo.load_run(folder)
    with soon(), pytest.raises(UserError, match=r"far larger than the weights in its file|cannot be made with"):
        zoo.train("gru", data, init=folder, out=folder.parent / "next", **SMALL)


def test_what_bounds_a_model_leaves_room_for_every_one_that_is_true_to_its_file(runs):
    """Ten times as many numbers and operations as there are remain of what is allowed besides."""
    folder, _ = runs("gbert")
    weights = zoo.load_run(folder).model.state_dict()
    with _bounds.BoundedBy(weights) as bound:
        zoo.load_run(folder)
    assert bound._steps > _bounds.STEPS
    assert bound._numbers > 0.9 * _bounds.NUMBERS


# Records and arrays of a specification


def test_records_of_a_specification_are_looked_at(session_cache):
    """Molecules, ontologies and matrices of drugs: every index, offset and length, without a prediction."""
    data = zoo.load("synthetic", task="medication", patients=PATIENTS, concepts=["diagnosis", "procedure", "drug"])
    facts = {}
    for name in ("safedrug", "gbert", "gamenet"):
        facts["resources"] = {**facts.get("resources", {}), **data.spec(name).to_dict()["resources"]}
        facts = {**data.spec(name).to_dict(), "resources": facts["resources"]}
    assert {"molecules", "ontology", "interactions", "cooccurrence"} <= set(facts["resources"])
    Spec.from_dict(facts)
    kept = []
    for turn, trail in enumerate(trails(facts["resources"])):
        for value in (VALUES[(turn + step) % len(VALUES)] for step in range(0, len(VALUES), 6)):
            with soon(), np.errstate(all="ignore"):
                try:
                    Spec.from_dict(changed(facts, ("resources", *trail), value))
                    kept.append((trail, value))
                except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
                    pass
    free = {"names", "smiles", "substructures", "without", "nodes"}  # texts, of which any will do
    kept = [(t, v) for t, v in kept if not free & set(t) and not _counts_as_such(t, v)]
    assert kept == []


def _counts_as_such(trail, value) -> bool:
    """Whether a value is as good as the one that was there: NumPy reads a number for a boolean, -1 for a length."""
    if len(trail) < 2:  # which resources there must be, the model knows
        return value is MISSING
    if (
        value is True
        or trail[-2] == "shape"
        or (trail[-1] == "mapping" and value == {})
        or (trail[-2] == "mapping" and value is MISSING)
    ):
        return True
    return "values" in trail and bool({"interactions", "cooccurrence", "mask"} & set(trail))


def test_a_regular_expression_that_is_not_ours(spoilt):
    folder, data = spoilt("caml")
    facts = json.loads((folder / "spec.json").read_text())
    trail = ("vocabularies", "note", "tokenizer")
    tokenizer = json.loads(facts["vocabularies"]["note"]["tokenizer"])
    assert "Regex" in json.dumps(tokenizer)
    for normalizer in tokenizer["normalizer"]["normalizers"]:
        if "Regex" in normalizer.get("pattern", {}):
            normalizer["pattern"]["Regex"] = "harmless"
    (folder / "spec.json").write_text(json.dumps(changed(facts, trail, json.dumps(tokenizer))))
    with pytest.raises(UserError, match="has a regular expression that is not known here"):
        zoo.predict(folder, data)


# What estimators were fitted to


def tree(**other):
    """A tree of three nodes: a root and two leaves."""
    plain = {
        "feature": np.zeros(3, np.int32),
        "threshold": np.zeros(3),
        "left": np.array([1, 1, 2], np.int32),
        "right": np.array([2, 1, 2], np.int32),
        "value": np.ones((3, 3)),
        "root": np.zeros(1, np.int32),
        "depth": 1,
    }
    return {**plain, **other}


@pytest.mark.parametrize(
    "other",
    [
        {"left": np.array([0, 1, 2], np.int32)},  # the root leads to itself on one side
        {"left": np.array([1, 0, 2], np.int32)},  # and back
        {"left": np.array([2, 1, 2], np.int32)},  # one child of both sides
        {"left": np.array([10**9, 1, 2], np.int32)},
        {"left": np.array([-1, 1, 2], np.int32)},
        {"root": np.array([3], np.int32)},
        {"root": np.array([1], np.int32)},
        {"root": np.zeros(0, np.int32)},
        {"feature": np.full(3, 10**6, np.int32)},
        {"feature": np.zeros(4, np.int32)},
        {"value": np.ones((3, 2))},
        {"value": np.full((3, 3), np.nan)},
        {"threshold": "x"},
        {"threshold": None},
        {"right": [2, 1, 2]},
    ],
    ids=lambda other: f"{next(iter(other))}",
)
def test_trees_that_are_none(other, runs, tmp_path):
    model = copy.copy(zoo.load_run(runs("random_forest")[0]).model)
    skops.io.dump(tree(**other), tmp_path / "model.skops")
    with soon(5), pytest.raises(UserError, match=r"model\.skops cannot be read as what a model was fitted to"):
        model.load(tmp_path / "model.skops")


def test_the_depth_of_trees_is_theirs_not_what_a_file_says(spoilt):
    folder, data = spoilt("random_forest")
    wanted = zoo.predict(folder, data)
    fitted = skops.io.load(folder / "model.skops")
    assert fitted["depth"] > 2
    for depth in (10**9, 0, -1, "x", [], 1e308):
        skops.io.dump({**fitted, "depth": depth}, folder / "model.skops")
        with soon():
            assert zoo.predict(folder, data).equals(wanted)


@pytest.mark.parametrize("name", ["majority", "logistic_regression", "gradient_boosting", "random_forest"])
def test_what_was_fitted_is_looked_at(name, runs, tmp_path):
    """Each part of it missing, of another type, too short, not finite; and no part at all."""
    _, data = runs("random_forest")
    path, model = tmp_path / "model.skops", zoo.create_model(name, data)
    model.fit(data.batches("train", model, 64))
    model.save(path)
    whole = skops.io.load(path)
    for part in whole:
        others = [None, "x", -1, [], 10**30, np.array("x")]
        if isinstance(whole[part], np.ndarray):
            others += [whole[part][:-1], whole[part][None], whole[part].astype(str)]
            others += [np.full_like(whole[part], np.nan)] if whole[part].dtype.kind == "f" else []
        spoilt = [{**whole, part: other} for other in others] + [{n: v for n, v in whole.items() if n != part}]
        for fitted in [*spoilt, None, [], "x"] if part != "depth" else []:
            skops.io.dump(fitted, path)
            with soon(5), pytest.raises(UserError, match="train the run again"):
                model.load(path)
    model.fitted = whole
    model.save(path)
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed:
        for part in file.namelist():
            packed.writestr(part, file.read(part))
    for spoilt in (path.read_bytes()[:100], b"", (tmp_path / "packed").read_bytes()):
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match="cannot be read"):
            model.load(path)


# Encoders


ENCODER = {
    "model_type": "bert",
    "vocab_size": 20,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 4,
    "max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"model_type": "gpt2"}, "is not built as BERT is"),
        ({"model_type": ["bert"]}, "is not built as BERT is"),
        ({"model_type": None}, "is not built as BERT is"),
        ({"auto_map": {"AutoModel": "theirs.Model"}}, "has 'auto_map', which is not known here"),
        ({"trust_remote_code": True}, "has 'trust_remote_code', which is not known here"),
        ({"return_dict": False}, "which is not known here"),
        ({"hidden_act": "theirs"}, "hidden_act is none of"),
        ({"hidden_size": "4"}, "hidden_size is a str"),
        ({"hidden_size": 10**30}, "hidden_size is a number out of place or too large"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is below 1"),
        ({"hidden_dropout_prob": float("nan")}, "hidden_dropout_prob"),
        ({"pad_token_id": 20}, "pad_token_id is no token"),
        ({"position_embedding_type": "relative_key"}, "positions are not absolute"),
    ],
    ids=lambda other: next(iter(other)) if isinstance(other, dict) else None,
)
def test_only_what_is_known_of_an_encoder_reaches_the_package_that_makes_it(other, complaint, monkeypatch):
    def spec(config):
        encoder = {"name": "theirs", "config": config}
        return Spec("binary", ("died",), {"note": Vocabulary("code", [])}, resources={"encoder": encoder})

    def made(config):
        return made_encoder(
            replace(spec(config), vocabularies={"note": SimpleNamespace(tokenizer=fixed)}), 4, 1, 2, 0.1
        )

    fixed = SimpleNamespace(size=20)
    assert made(ENCODER).width == 4
    assert Spec.from_dict(spec(ENCODER).to_dict()).resources["encoder"]["config"] == ENCODER
    import transformers

    monkeypatch.setattr(transformers.AutoConfig, "for_model", lambda *_, **__: pytest.fail("it was reached"))
    with pytest.raises(UserError, match=f"encoder='theirs' cannot be used.*{complaint}"):
        made({**ENCODER, **other})
    with pytest.raises(ValueError, match="|".join((complaint, "is no mapping"))):
        Spec.from_dict(json.loads(json.dumps(spec({**ENCODER, **other}).to_dict())))


def test_an_encoder_with_layers_without_end():
    weights = TextEncoder(20, 4, 1, 2, published=ENCODER).state_dict()
    for other in ({"num_hidden_layers": 10**9}, {"hidden_size": 10**7, "num_attention_heads": 1}):
        with soon(), pytest.raises(ValueError, match="far larger"), _bounds.BoundedBy(weights):
            TextEncoder(20, 4, 1, 2, published={**ENCODER, **other})


# Whose files they are, and how equal


def test_all_that_a_run_writes_is_its_owners_alone(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from zoo.cli import app

    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "new" / "cache"))
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o022)
    try:
        data = zoo.load("synthetic", task="readmission", patients=PATIENTS, concepts=["diagnosis", "note"])
        gru = zoo.train(zoo.create_model("gru", data, dim=4), data, **SMALL)
        zoo.train("logistic_regression", data, out=tmp_path / "given" / "below")
        zoo.evaluate(gru.folder, thresholds="tuned", resamples=2)
        source = ["--dataset", "synthetic", "--set", f"data.patients={PATIENTS}"]
        for command in (
            ["predict", str(gru.folder), "--out", "rows.parquet"],
            ["explain", str(gru.folder), "--sample", "0", "--out", "sample.csv"],
            ["samples", *source, "--task", "readmission", "--out", "samples.parquet"],
            ["events", *source, "--concept", "note", "--out", "meds"],
        ):
            done = CliRunner().invoke(app, command)
            if not isinstance(done.exception, UserError):  # not every model explains
                assert done.exit_code == 0, done.output
    finally:
        os.umask(before)
    found = list(tmp_path.rglob("*"))
    names = {p.name for p in found}
    assert {"runs", "cache", "below", "rows.parquet", "samples.parquet", "meds", "0.parquet"} <= names
    assert {"model.safetensors", "model.skops", "threshold.json", "log.csv", "last.safetensors", ".lock"} <= names
    wrong = [str(p) for p in found if stat.S_IMODE(p.stat().st_mode) != (0o700 if p.is_dir() else 0o600)]
    assert wrong == []


@pytest.mark.parametrize("name", ["gru", "random_forest", "logistic_regression", "gradient_boosting"])
def test_equal_runs_write_equal_bytes(name, runs, tmp_path):
    """But for times, which are told: those of the result and of the log, and the seconds in a checkpoint."""
    _, data = runs("gru" if name == "gru" else "random_forest")
    hyper = {"dim": 4} if name == "gru" else {}
    folders = [
        zoo.train(zoo.create_model(name, data, **hyper), data, out=tmp_path / n, **SMALL).folder for n in ("a", "b")
    ]
    held = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders]
    assert set(held[0]) == set(held[1])
    differ = {n for n in held[0] if held[0][n] != held[1][n]}
    assert differ <= {"result.json", "log.csv", "last.safetensors"}
    results = [json.loads(h["result.json"]) | {"times": None} for h in held]
    assert results[0] == results[1]
    if name == "gru":
        import pandas as pd

        logs = [pd.read_csv(folder / "log.csv").drop(columns="seconds") for folder in folders]
        assert logs[0].equals(logs[1])


def test_the_header_of_weights_is_in_order(tmp_path):
    from safetensors.torch import load_file

    from zoo.training._checkpoint import read_tensors, write_tensors

    facts, tensors = {"é": 'a "quoted" \\ text', "b": [1.5, None]}, {"w": torch.arange(6.0), "é\n": torch.ones(2, 3)}
    for number in range(8):
        write_tensors(tmp_path / f"{number}.safetensors", tensors, facts)
    assert len({(tmp_path / f"{n}.safetensors").read_bytes() for n in range(8)}) == 1
    found, told = read_tensors(tmp_path / "0.safetensors")
    assert told == facts
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert torch.equal(load_file(tmp_path / "0.safetensors")[name], tensor)


# Two at once


def test_two_runs_do_not_share_a_folder(runs, tmp_path):
    _, data = runs("random_forest")
    out = tmp_path / "run"
    out.mkdir()
    with _run_folder.locked(out):
        for name in ("majority", "random_forest"):
            with pytest.raises(UserError, match=rf"another process trains into {out}: wait for it, or choose another"):
                zoo.train(name, data, out=out)
        assert [p.name for p in out.iterdir()] == [".lock"]
    (out / ".config.json.4711").write_text("{")  # what a killed run leaves besides its lock
    (out / ".model.skops.4711").write_text("half")
    zoo.train("majority", data, out=out)
    assert not [p.name for p in out.iterdir() if p.name.endswith(".4711")]
    with _run_folder.locked(out):
        assert zoo.train("majority", data, out=out).metrics  # a finished one is read, whoever is at work there


def test_a_folder_that_cannot_be_made_is_named(runs, tmp_path):
    _, data = runs("random_forest")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=rf"{tmp_path}/file/run cannot be made"):
        zoo.train("majority", data, out=tmp_path / "file" / "run")
