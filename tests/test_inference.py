"""A finished run tests, predicts and explains from its folder alone, on its own dataset and on others."""

import json
import re
import shutil
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.metrics import evaluate as measured
from zoo.registry import UserError
from zoo.result import Result
from zoo.training._checkpoint import write_tensors

PATIENTS = 150
LEVELS = {"diagnosis": "ccs", "procedure": "ccs"}
SMALL = {"max_epochs": 2, "batch_size": 32}
OTHER = {"schema": "mimic4", "patients": 60, "seed": 1}


def trained(folder, model, task, levels=LEVELS, concepts=("diagnosis", "procedure", "drug"), data=None, **hyper):
    data = data or zoo.load("synthetic", task=task, patients=PATIENTS, levels=levels, concepts=concepts)
    return zoo.train(zoo.create_model(model, data, **hyper), data, out=folder / f"{model}-{task}", **SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, session_cache):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def retain(folder):
    return trained(folder, "retain", "readmission", dim=8)


@pytest.fixture(scope="module")
def multilabel(folder):
    return trained(folder, "logistic_regression", "diagnosis", concepts=["diagnosis"])


@pytest.fixture
def copy(retain, tmp_path):
    """The run folder, to be spoilt."""
    return shutil.copytree(retain.folder, tmp_path / "copy")


# Its own dataset


def test_the_folder_alone_gives_the_metrics_of_training(retain, copy):
    found = zoo.evaluate(copy)
    assert found.metrics == retain.metrics
    assert found.data_key == retain.data_key
    assert (found.split, found.sizes["test"], found.threshold) == ("test", retain.sizes["test"], 0.5)
    assert f"{found.metrics['auroc']['value']:.4f}" in str(found)
    json.loads(found.to_line())


def test_it_gives_the_metrics_of_training_for_several_labels(multilabel):
    assert zoo.evaluate(multilabel.folder).metrics == multilabel.metrics


def test_predictions_are_in_the_order_of_the_samples_however_they_are_batched(retain):
    data = zoo.load("synthetic", task="readmission", patients=PATIENTS)
    found = zoo.predict(retain.folder, batch_size=7)
    samples = data.samples[data.samples.split == "test"].reset_index(drop=True).drop(columns="split")
    pd.testing.assert_frame_equal(found.drop(columns="score"), samples)
    np.testing.assert_allclose(found.score, zoo.predict(retain.folder, batch_size=64).score, atol=1e-5)
    auroc = measured("binary", found.label, found.score, found.subject_id)["auroc"].value
    assert auroc == pytest.approx(retain.metrics["auroc"]["value"])
    assert len(zoo.predict(retain.folder, split="all")) == len(data.samples)


def test_prepared_data_are_read_with_the_vocabularies_of_the_run(retain):
    data = zoo.load(
        "synthetic", task="readmission", patients=PATIENTS, concepts=["drug", "diagnosis", "lab", "procedure"]
    )
    assert zoo.evaluate(retain.folder, data).metrics == retain.metrics


def test_a_number_for_each_class_or_label(multilabel):
    found = zoo.predict(multilabel.folder)
    labels = zoo.load_run(multilabel.folder).spec.labels
    assert list(found.columns[5:]) == [f"score_{n}" for n in labels]
    assert all(isinstance(codes, list) for codes in found.label)


def test_the_tables_are_looked_for_where_they_were(intact_mimic3, tmp_path):
    root = shutil.copytree(intact_mimic3.root, tmp_path / "source")
    data = zoo.load("mimic3", task="readmission", root=root, concepts=["diagnosis"])
    run = zoo.train("logistic_regression", data, out=tmp_path / "run")
    assert zoo.evaluate(run.folder).metrics == run.metrics
    moved = root.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"root .*source' is no folder"):
        zoo.evaluate(run.folder)
    found = zoo.evaluate(run.folder, root=moved)
    assert (found.metrics, found.split) == (run.metrics, "test")


# Another dataset


def test_all_patients_of_another_dataset_are_tested_by_default(retain):
    data = zoo.load("synthetic", task="readmission", **OTHER)
    found = zoo.evaluate(retain.folder, "synthetic", **OTHER, resamples=5)
    assert (found.split, found.sizes["all"]) == ("all", len(data.samples))
    assert found.config["dataset"]["schema"] == "mimic4"
    tested = zoo.evaluate(retain.folder, "synthetic", split="test", **OTHER, resamples=5)
    assert tested.sizes["test"] == data.size("test") < len(data.samples)
    assert zoo.evaluate(retain.folder, data, split="test", resamples=5).metrics == tested.metrics


def test_codes_that_the_run_does_not_know_are_counted(retain):
    """Counted apart: each event of the visits up to a sample's own, looked up among the names of the vocabulary."""
    from zoo.knowledge import icd

    found = zoo.evaluate(retain.folder, "synthetic", **OTHER, resamples=0)
    known = set(zoo.load_run(retain.folder).spec.vocabularies["procedure"].codes)
    dataset = zoo.load_dataset("synthetic", **OTHER)
    samples, visits = zoo.load("synthetic", task="readmission", **OTHER).samples, dataset.read("visits")
    start = visits.set_index("visit_id").start
    codes = dataset.read("procedure")
    codes["level"] = icd.ccs(codes.code.tolist())
    pairs = samples.merge(codes.rename(columns={"visit_id": "coded"}), on="subject_id")
    seen = pairs[
        (pairs.time <= pairs.prediction_time)
        & (pairs.coded.map(start).to_numpy() <= pairs.visit_id.map(start).to_numpy())
    ]
    expected = {"events": len(seen), "unknown": int((~seen.level.isin(known)).sum())}
    assert found.unknown["procedure"] == expected
    assert any(f"{expected['unknown']} of {expected['events']} events" in note for note in found.notes)


def test_icd_9_and_10_meet_on_ccs_only(retain, folder):
    data = zoo.load("synthetic", task="readmission", patients=PATIENTS, concepts=["diagnosis"])
    coded = zoo.train("logistic_regression", data, out=folder / "coded")
    met, unmet = (zoo.evaluate(r.folder, "synthetic", **OTHER, resamples=0) for r in (retain, coded))
    share = [e.unknown["diagnosis"]["unknown"] / e.unknown["diagnosis"]["events"] for e in (met, unmet)]
    assert share[0] < 0.1 < 0.3 < share[1]
    assert any("levels={'diagnosis': 'ccs'}" in n for n in unmet.notes)
    assert not any("levels={'diagnosis'" in n for n in met.notes)


def test_a_concept_that_the_other_dataset_lacks_is_empty_and_named(retain, intact_mimic3, tmp_path):
    root = shutil.copytree(intact_mimic3.root, tmp_path / "source")
    (root / "PROCEDURES_ICD.csv").unlink()
    found = zoo.evaluate(retain.folder, "mimic3", root, resamples=0)
    assert found.unknown["procedure"] == {"events": 0, "unknown": 0}
    assert "procedure: the run uses it, but mimic3 has none; it was left empty" in found.notes


def test_labels_that_the_run_was_not_trained_on_are_counted(multilabel, intact_mimic3):
    found = zoo.evaluate(multilabel.folder, "mimic3", intact_mimic3.root, resamples=0)
    data = zoo.load("mimic3", task="diagnosis", root=intact_mimic3.root)
    known = set(zoo.load_run(multilabel.folder).spec.labels)
    strange = {c for codes in data.samples.label for c in codes} - known
    assert [n for n in found.notes if re.match(rf"{len(strange)} label codes? that", n)] or not strange


def test_the_same_simulated_patients_in_other_tables_are_named(retain):
    found = zoo.predict(retain.folder, "synthetic", schema="mimic4", patients=20)
    assert any("simulated from the seed of those trained on" in n for n in found.attrs["notes"])


# Subgroups and thresholds


def test_subgroups_are_the_metrics_of_their_samples(retain):
    found = zoo.evaluate(retain.folder, "synthetic", **OTHER, by=["sex", "age", "ethnicity"], resamples=20)
    rows = zoo.predict(retain.folder, "synthetic", **OTHER)
    dataset = zoo.load_dataset("synthetic", **OTHER)
    sex = rows.subject_id.map(dataset.read("subjects").set_index("subject_id").sex)
    age = rows.visit_id.map(dataset.read("visits").set_index("visit_id").age)
    masks = {"sex": {"F": sex == "F"}, "age": {"<45": age < 45, "65-80": (age >= 65) & (age < 80), ">=80": age >= 80}}
    for by, groups in masks.items():
        for name, mask in groups.items():
            some = rows[mask]
            expected = measured("binary", some.label, some.score, some.subject_id, resamples=20)
            assert found.subgroups[by][name]["metrics"] == {n: m.to_dict() for n, m in expected.items()}
            assert found.subgroups[by][name]["subjects"] == some.subject_id.nunique()
    for groups in found.subgroups.values():
        assert sum(g["samples"] for g in groups.values()) == len(rows)
    assert list(found.subgroups["age"]) == ["<45", "45-65", "65-80", ">=80"]


def test_a_subgroup_with_one_class_has_no_auroc_but_a_reason(folder):
    data = zoo.load("synthetic", task="mortality", patients=PATIENTS, concepts=["diagnosis"])
    run = zoo.train("logistic_regression", data, out=folder / "mortality")
    groups = zoo.evaluate(run.folder, "synthetic", **OTHER, by="ethnicity", resamples=0).subgroups["ethnicity"]
    rows = zoo.predict(run.folder, "synthetic", **OTHER)
    race = rows.subject_id.map(
        zoo.load_dataset("synthetic", **OTHER).read("subjects").set_index("subject_id").ethnicity
    )
    single = [name for name, labels in rows.label.groupby(race) if labels.nunique() == 1]
    assert single
    for name in single:
        assert groups[name]["metrics"]["auroc"]["value"] is None
        assert "no positive" in groups[name]["metrics"]["auroc"]["reason"]


def test_the_threshold_is_tuned_on_validation_and_kept(copy):
    found = zoo.evaluate(copy, thresholds="tuned", resamples=0)
    rows = zoo.predict(copy, split="validation")
    scores = {
        t: measured("binary", rows.label, rows.score, rows.subject_id, threshold=t, resamples=0) for t in rows.score
    }
    best = max(m["f1"].value for m in scores.values())
    assert scores[found.threshold]["f1"].value == best
    assert json.loads((copy / "threshold.json").read_text())["threshold"] == found.threshold
    tested = zoo.predict(copy)
    expected = measured("binary", tested.label, tested.score, tested.subject_id, threshold=found.threshold, resamples=0)
    assert found.metrics["f1"]["value"] == expected["f1"].value
    assert zoo.evaluate(copy, "synthetic", **OTHER, thresholds="tuned", resamples=0).threshold == found.threshold


# Explaining


def test_contributions_add_up_to_the_logit(retain):
    rows = zoo.predict(retain.folder)
    place = int(np.flatnonzero(rows.subject_id.duplicated())[0])
    found, row = zoo.explain(retain.folder, place), rows.iloc[place]
    assert found.concept.iloc[-1] == "rest"
    assert found.contribution.sum() == pytest.approx(found.attrs["logit"], abs=1e-5)
    assert 1 / (1 + np.exp(-found.attrs["logit"])) == pytest.approx(row.score, abs=1e-5)
    assert (found.attrs["label"], found.attrs["output"]) == (row.label, "readmission")
    events = found[:-1]
    assert events.time.is_monotonic_increasing
    assert (events.time <= row.prediction_time).all()
    assert row.visit_id in set(events.visit_id)
    assert events.visit_id.nunique() > 1


def test_an_explained_sample_has_its_own_events(retain):
    from zoo.knowledge import icd, names

    row = zoo.predict(retain.folder).iloc[2]
    found = zoo.explain(retain.folder, 2)
    codes = zoo.load_dataset("synthetic", patients=PATIENTS).read("diagnosis")
    codes = codes[codes.visit_id == row.visit_id]
    mine = found[(found.concept == "diagnosis") & (found.visit_id == row.visit_id)]
    assert sorted(mine.code) == sorted(icd.ccs(codes.code.tolist()))
    assert set(mine.time) == set(codes.time)
    assert list(mine.name) == [names.name(c) for c in mine.code]
    assert all(mine.name)


def test_attention_where_there_are_no_contributions(folder):
    run = trained(folder, "dipole", "readmission", dim=8, attention_dim=8)
    place = int(np.flatnonzero(zoo.predict(run.folder).subject_id.duplicated())[0])
    found = zoo.explain(run.folder, place)
    assert found.weight.sum() == pytest.approx(1, abs=1e-5)
    assert found.time.is_monotonic_increasing
    assert found.visit_id.iloc[-1] == zoo.predict(run.folder).visit_id[place]


def test_attention_over_something_else_is_not_taken_for_visits(folder):
    """StageNet attends to steps of time; for each sample as many steps as it has visits, to be mistaken by chance."""
    data = zoo.load("synthetic", task="readmission", patients=PATIENTS, concepts=["lab"])
    visits = data.batch(np.flatnonzero(data.samples.split == "test"), {"lab"}).row_lengths.numpy()
    run = trained(folder, "stagenet", "readmission", data=data, dim=6, max_steps=8, window=int(visits[0]))
    for place in np.flatnonzero(visits == visits[0])[:3].tolist():
        with pytest.raises(UserError, match="no attention over visits"):
            zoo.explain(run.folder, place)


def test_a_model_that_sees_nothing(folder):
    run = trained(folder, "majority", "readmission")
    assert zoo.evaluate(run.folder).metrics == run.metrics
    assert zoo.predict(run.folder, "synthetic", **OTHER).score.nunique() == 1


def test_a_model_that_tells_nothing(multilabel):
    with pytest.raises(UserError, match="tells neither contributions nor attention"):
        zoo.explain(multilabel.folder, 0)


# Bad input


@pytest.mark.parametrize(
    ("file", "trail", "value", "complaint"),
    [
        *[
            ("result.json", ("config", part), 3, "is no result of this version")
            for part in ("model", "task", "dataset")
        ],
        ("result.json", ("config", "trainer"), None, "is no result of this version"),
        ("result.json", ("config", "data"), {}, "is no result of this version"),
        ("result.json", ("model",), ["gru"], "is no result of this version"),
        ("source.json", ("root",), 3, "does not say where the tables lie"),
        ("threshold.json", ("threshold",), "x", "has no threshold"),
    ],
)
def test_facts_of_another_form(copy, file, trail, value, complaint):
    zoo.evaluate(copy, thresholds="tuned", resamples=2)
    facts = json.loads((copy / file).read_text())
    place = facts
    for name in trail[:-1]:
        place = place[name]
    place[trail[-1]] = value
    (copy / file).write_text(json.dumps(facts))
    with pytest.raises(UserError, match=complaint):
        zoo.evaluate(copy, thresholds="tuned", resamples=2)


def test_a_folder_that_is_no_finished_run(copy):
    data = zoo.load("synthetic", task="readmission", patients=PATIENTS)
    for spoil, complaint in [
        (lambda: (copy / "model.safetensors").unlink(), "half written: it has no model.safetensors"),
        (lambda: (copy / "spec.json").write_text("{"), r"spec.json cannot be read .*damaged"),
        (lambda: (copy / "result.json").unlink(), "did not finish"),
        (lambda: (copy / "config.json").unlink(), "is no run folder"),
        (lambda: shutil.rmtree(copy), "there is no run folder"),
    ]:
        spoil()
        for door in (lambda: zoo.evaluate(copy), lambda: zoo.train("retain", data, init=copy)):
            with pytest.raises(UserError, match=complaint):
                door()


def test_a_run_of_another_version(copy):
    result = Result.read(copy)
    result.versions["ehr-zoo"] = "0.0.7"
    result.write(copy)
    data = zoo.load("synthetic", task="readmission", patients=PATIENTS)
    for door in (lambda: zoo.predict(copy), lambda: zoo.train("retain", data, init=copy)):
        with pytest.raises(UserError, match=r"written by ehr-zoo 0.0.7, this is .*: install that, or train it again"):
            door()


def test_a_run_of_another_release_of_the_same_series(retain, copy, monkeypatch):
    series = version("ehr-zoo").rpartition(".")[0]
    result = Result.read(copy)
    result.versions["ehr-zoo"] = f"{series}.99"
    result.write(copy)
    with monkeypatch.context() as patch:
        patch.setattr("zoo.training._checkpoint.version", lambda _: f"{series}.99")
        write_tensors(copy / "model.safetensors", load_file(retain.folder / "model.safetensors"))
    assert zoo.evaluate(copy).metrics == retain.metrics


@pytest.mark.parametrize("part", ["model", "data"])
def test_a_result_of_another_form(part, copy):
    result = Result.read(copy)
    del result.config[part]
    result.write(copy)
    with pytest.raises(UserError, match="is no result of this version of zoo"):
        zoo.evaluate(copy)


def test_weights_that_are_not_those_of_the_configuration(copy):
    path = copy / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    write_tensors(path, {**weights, name: torch.zeros(3, 2)})
    with pytest.raises(UserError, match=rf"'{name}' has the shape \(3, 2\) in the file and"):
        zoo.evaluate(copy)
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
        zoo.evaluate(copy)


def test_a_configuration_that_the_model_does_not_have(copy):
    result = Result.read(copy)
    result.config["model"]["with"] = 3
    result.write(copy)
    with pytest.raises(UserError, match=r"cannot be made as the run has it: .* no parameter 'with'"):
        zoo.evaluate(copy)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"split": "tset"}, "unknown split 'tset': did you mean 'test'"),
        ({"split": "all"}, "would test the run on subjects it was trained on"),
        ({"by": "race"}, "by='race' is no subgroup"),
        ({"thresholds": "best"}, "must be 'tuned'"),
        ({"dataset": "mimic5"}, "unknown dataset 'mimic5'"),
        ({"dataset": "mimic4"}, "needs root="),
        ({"batch_size": 0}, "batch_size=0"),
        ({"beds": 4}, "no parameter 'beds'"),
    ],
    ids=str,
)
def test_bad_input(wrong, complaint, retain):
    with pytest.raises(UserError, match=complaint):
        zoo.evaluate(retain.folder, **wrong)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"task": "readmission", "days": 15}, "with days=30, the data have days=15: load them with days=30"),
        ({"task": "los"}, "the run predicts 'readmission', the data are of task 'los'"),
        ({"task": "readmission", "split_seed": 5}, "some tested subjects would be those trained on"),
        ({"task": "readmission", "split": (0.5, 0.2, 0.3)}, "some tested subjects would be those trained on"),
    ],
    ids=str,
)
def test_data_that_do_not_suit_the_run(how, complaint, retain):
    with pytest.raises(UserError, match=complaint):
        zoo.predict(retain.folder, zoo.load("synthetic", patients=PATIENTS, **how))


@pytest.mark.parametrize("sample", [-1, 10**6, 0.5, True])
def test_a_sample_out_of_range(sample, retain):
    with pytest.raises(UserError, match="is out of range: test has"):
        zoo.explain(retain.folder, sample)


def test_an_output_that_there_is_not(retain):
    with pytest.raises(UserError, match="no output 'readmision': did you mean 'readmission'"):
        zoo.explain(retain.folder, 0, output="readmision")


# The command


def test_the_commands(retain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = json.loads(_told("evaluate", retain.folder, "--by", "sex", "--json"))
    assert told["metrics"] == retain.metrics
    assert set(told["subgroups"]) == {"sex"}
    told = json.loads(_told("evaluate", retain.folder, "--average", "patient", "--json"))
    assert told["metrics"] == zoo.evaluate(retain.folder, average="patient").metrics
    assert "events (" in _told(
        "predict", retain.folder, "--dataset", "synthetic", *_settings(OTHER), "--out", "rows.parquet"
    )
    there = pd.read_parquet("rows.parquet")
    pd.testing.assert_frame_equal(there, zoo.predict(retain.folder, "synthetic", **OTHER), check_dtype=False)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]
    printed = _told("explain", retain.folder, "--sample", 0)
    assert "rest" in printed
    assert "readmission: score" in printed
    _told("explain", retain.folder, "--sample", 0, "--out", "sample.csv")
    assert pd.read_csv("sample.csv").contribution.notna().all()
    with pytest.raises(UserError, match=r"rows.txt must end in .parquet"):
        _told("predict", retain.folder, "--out", "rows.txt")


def test_a_mistake_ends_the_command_with_one_line(retain, zoo_command):
    told = zoo_command("explain", retain.folder, "--sample", 9999)
    assert told.returncode == 2
    assert told.stderr.startswith("zoo: sample=9999 is out of range")
    assert told.stderr.count("\n") == 1


def _with_drug_codes(source, root, first: int):
    """A copy of source tables in which each drug has a code of its own, from ``first`` on."""
    copy = type(source)(shutil.copytree(source.root, root))
    orders = copy.table("prescriptions")
    copy.put("prescriptions", orders.assign(NDC=(pd.factorize(orders.DRUG)[0] + first).astype(str)))
    return root


def _told(*arguments) -> str:
    """What the command prints, run in this process."""
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).stdout


def _settings(parameters: dict) -> list[str]:
    return [part for n, v in parameters.items() for part in ("--set", f"data.{n}={v}")]
