"""What a model had of each concept is said, and labels that training never has can count as misses."""

import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

import zoo
from conftest import SourceFolder
from zoo.leaderboard._worker import _make
from zoo.metrics import evaluate, resampled
from zoo.registry import UserError
from zoo.reporting._predictions import Predictions
from zoo.result import Result

SPLIT = (0.5, 0.25, 0.25)


@pytest.fixture
def source(intact_mimic3, tmp_path) -> SourceFolder:
    """The small tables of MIMIC-III, to be spoilt."""
    shutil.copytree(intact_mimic3.root, tmp_path / "spoilt")
    return SourceFolder(tmp_path / "spoilt")


def loaded(source: SourceFolder, task="readmission", **how):
    return zoo.load("mimic3", root=source.root, task=task, split=SPLIT, **how)


def fitted(data, tmp_path, model="logistic_regression", name="run"):
    return zoo.train(model, data, out=tmp_path / name)


# What there is of each concept


def test_a_result_says_what_the_model_had(intact_mimic3, tmp_path):
    data = loaded(intact_mimic3, "mortality", hours=24, levels={"diagnosis": "ccs", "drug": "atc3"})
    result = fitted(data, tmp_path)
    assert list(result.inputs) == result.config["inputs"] == ["diagnosis", "procedure", "drug", "lab", "vital"]
    for concept, facts in result.inputs.items():  # counted anew, from batches of one sample
        batches = [b for split in ("train", "validation", "test") for b in data.batches(split, {concept}, batch_size=1)]
        some = np.array([len(b[concept].ids) > 0 for b in batches])
        assert facts["samples"] == pytest.approx(some.mean(), abs=1e-6), concept
        assert facts["training_samples"] == pytest.approx(some[: data.size("train")].mean(), abs=1e-6)
        assert facts["vocabulary"] == len(data.feature(concept).vocabulary.codes)
    assert 0 < result.inputs["diagnosis"]["samples"] < 1  # those with an earlier visit
    assert [result.inputs[c]["level"] for c in ("diagnosis", "procedure", "drug")] == ["ccs", "code", "atc3"]
    assert result.inputs["drug"]["codes_known"] == result.inputs["lab"]["codes_known"] == 1
    assert Result.read(result.folder).inputs == result.inputs
    assert zoo.evaluate(result.folder).inputs == result.inputs


def test_samples_of_visits_that_overlap_see_what_is_earlier(source):
    admissions = source.table("admissions")
    admissions["DISCHTIME"] = admissions.DISCHTIME.where(admissions.index > 3, "2190-01-01 00:00:00")
    source.put("admissions", admissions)
    data = loaded(source, "mortality", hours=24)
    assert data.feature("diagnosis").cut.early.any()
    for concept in ("diagnosis", "lab"):
        batches = [data.batch(np.array([place]), {concept}) for place in range(len(data.samples))]
        seen = data.features.events_seen(data.feature(concept))
        assert seen.tolist() == [len(b[concept].ids) for b in batches]


def test_a_text_model_without_a_single_note_is_not_trained(source, tmp_path):
    source.put("noteevents", source.table("noteevents").iloc[:0])
    told = "no sample of task 'readmission' on mimic3 has anything of note .*the source has no event"
    with pytest.raises(UserError, match=told):
        fitted(loaded(source), tmp_path, "text_cnn")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=told):
        fitted(loaded(source, concepts=["note"]), tmp_path, "early_fusion")
    result = fitted(loaded(source), tmp_path)
    assert "note" not in result.inputs


def test_events_that_come_too_late_for_all_samples_are_no_input(source, tmp_path):
    data = loaded(source, "mortality", hours=1, concepts=["note"])
    alone = source.table("admissions").drop_duplicates("SUBJECT_ID")
    source.put("admissions", alone)
    data = loaded(source, "mortality", hours=1, concepts=["note"])
    with pytest.raises(UserError, match=r"note: of its \d+ events none may be seen"):
        fitted(data, tmp_path, "text_cnn")


def test_little_is_a_note(source, tmp_path):
    some = source.table("procedures_icd").iloc[:2]
    source.put("procedures_icd", some)
    codes = source.table("diagnoses_icd")
    codes["ICD9_CODE"] = codes.ICD9_CODE.where(codes.index % 4 == 0, "XYZ1")
    source.put("diagnoses_icd", codes)
    source.put("chartevents", source.table("chartevents").iloc[:0])
    result = fitted(loaded(source, levels={"diagnosis": "ccs"}), tmp_path)
    told = " | ".join(result.notes)
    assert "vital: no sample has anything of it" in told
    assert result.inputs["vital"] == {
        "level": "code", "samples": 0, "training_samples": 0, "codes_known": None, "vocabulary": 0
    }  # fmt: skip
    assert "procedure: 2.2% of the samples have anything of it" in told
    assert "diagnosis: level 'ccs' knows 25.0% of the source's codes" in told
    assert result.inputs["diagnosis"]["codes_known"] == 0.25


def test_a_level_that_knows_no_code_is_an_error(source, tmp_path):
    """A vocabulary would have padding and the unknown code only."""
    source.put("diagnoses_icd", source.table("diagnoses_icd").assign(ICD9_CODE="QQQ1"))
    source.put("prescriptions", source.table("prescriptions").assign(DRUG="Study medication"))
    for concept, level in {"diagnosis": "ccs", "drug": "atc3"}.items():
        data = loaded(source, levels={concept: level}, concepts=["diagnosis", "drug"])
        told = f"level '{level}' knows none of the codes that mimic3 has for '{concept}'"
        with pytest.raises(UserError, match=told):
            fitted(data, tmp_path)
    assert fitted(loaded(source), tmp_path).inputs["diagnosis"]["codes_known"] == 1


def test_a_root_at_the_wrong_level_is_said(tmp_path):
    made = zoo.load_dataset("synthetic", schema="mimic4", patients=10)
    shutil.copytree(made.root, tmp_path / "mimiciv" / "2.2")
    root = tmp_path / "mimiciv" / "2.2"
    assert zoo.load_dataset("mimic4", root=root).misplaced() == []
    deep = zoo.load_dataset("mimic4", root=root / "hosp")
    (told,) = deep.misplaced()
    assert "icu/chartevents, icu/icustays, note/discharge" in told
    assert str(root) not in told  # results are shared
    assert told in zoo.load(deep, "mortality").notes
    with pytest.raises(UserError, match="root 'hosp' lies too deep"):
        deep.require("note")
    with pytest.raises(UserError, match=r"has no stays .*root 'hosp' lies too deep"):
        zoo.load(deep, "los", unit="stay")
    for wrong in (root / "icu", root.parent, root.parent.parent):
        with pytest.raises(UserError, match="no table 'hosp/patients'") as error:
            zoo.load_dataset("mimic4", root=wrong)
        assert f"It lies in {root}: set root to that." in str(error.value)


# Labels that training never has


def test_missed_labels_count_as_scored_nought():
    random = np.random.default_rng(0)
    label, score = random.random((40, 5)) < 0.4, random.random((40, 5))
    missed = random.random((40, 2)) < 0.3
    wide, nought = np.hstack([label, missed]), np.hstack([score, np.zeros((40, 2))])
    subject = np.arange(40) // 2
    found = evaluate("multilabel", label, score, subject, missed=missed, resamples=4)
    assert found == evaluate("multilabel", wide, nought, subject, resamples=4)
    hit = nought >= 0.5
    assert found["f1_micro"].value == pytest.approx(f1_score(wide, hit, average="micro"))
    assert found["jaccard_samples"].value == pytest.approx(jaccard_score(wide, hit, average="samples"))
    assert found["auprc_micro"].value == pytest.approx(average_precision_score(wide, nought, average="micro"))
    assert found["f1_micro"].value < evaluate("multilabel", label, score, subject, resamples=0)["f1_micro"].value
    drawn = resampled("multilabel", label, score, subject, missed=missed, resamples=4, metrics=["f1_micro"])
    assert found["f1_micro"].low <= drawn["f1_micro"].max()
    with pytest.raises(ValueError, match="missed"):
        evaluate("binary", label[:, 0], score[:, 0], subject, missed=missed)


def test_missed_drugs_are_omissions():
    label, score = np.array([[1, 0], [1, 1]], bool), np.array([[0.9, 0.1], [0.9, 0.8]])
    interactions = np.array([[0, 1], [1, 0]], bool)
    missed, before = np.array([[1], [0]], bool), np.array([[np.nan] * 2, [1, 0]])
    wide = np.array([[np.nan] * 3, [1, 0, 1]])
    plain = evaluate("multilabel", label, score, [1, 2], interactions=interactions, before=before)
    for known in (before, wide):
        found = evaluate("multilabel", label, score, [1, 2], interactions=interactions, before=known, missed=missed)
        assert found["drugs_per_visit_true"].value == plain["drugs_per_visit_true"].value + 0.5
        assert found["drugs_per_visit"].value == plain["drugs_per_visit"].value
        assert found["ddi_rate"].value == plain["ddi_rate"].value


def test_strict_data_count_unseen_labels_as_misses_from_training_to_the_leaderboard(intact_mimic3, tmp_path):
    """Half of the tested visits have a diagnosis that no other visit has."""
    shutil.copytree(intact_mimic3.root, tmp_path / "tables")
    source = SourceFolder(tmp_path / "tables")
    tested = loaded(source, "diagnosis", level="code").samples.query("split == 'test'").visit_id.astype(str)
    codes = source.table("diagnoses_icd")
    rare = codes[codes.HADM_ID.isin(tested[::2])].drop_duplicates("HADM_ID").assign(ICD9_CODE="2720")
    source.put("diagnoses_icd", pd.concat([codes, rare], ignore_index=True))
    lenient, strict = (loaded(source, "diagnosis", level="code", strict=s) for s in (False, True))
    assert lenient.labels == strict.labels
    assert list(strict.outcomes.dropped) == ["ICD9CM//272.0"]
    runs = {name: fitted(data, tmp_path, name=name) for name, data in {"l": lenient, "s": strict}.items()}
    value = {name: run.metrics["f1_micro"]["value"] for name, run in runs.items()}
    assert value["s"] < value["l"]
    assert any("count as misses" in note for note in runs["s"].notes)
    assert any(" dropped (" in note for note in runs["l"].notes)
    assert runs["s"].config["data"]["strict"]
    nothing_new = loaded(intact_mimic3, "diagnosis", level="code")
    known = fitted(nothing_new, tmp_path, name="known")
    assert zoo.evaluate(known.folder, strict=True).metrics == known.metrics
    for name, other in (("s", "l"), ("l", "s")):
        run = runs[name].folder
        assert zoo.evaluate(run).metrics == runs[name].metrics
        assert zoo.evaluate(run, strict=name == "l").metrics == runs[other].metrics
    assert zoo.evaluate(runs["l"].folder, strict, by="sex").metrics == runs["s"].metrics
    request = {"dataset": "mimic3", "task": "diagnosis", "root": str(source.root), "model": "logistic_regression"}
    settings = {"task.level": "code", "data.split": list(SPLIT), "data.strict": True}
    _make({**request, "settings": settings, "seed": 0, "out": str(tmp_path / "board")})
    read = Predictions.read(tmp_path / "board" / "predictions.parquet", "multilabel")
    assert read.evaluate(0)["f1_micro"].value == pytest.approx(value["s"])
    assert read.resampled(3)["f1_micro"].shape == (3,)


def test_most_frequent_labels_have_no_others_to_miss(intact_mimic3, tmp_path):
    data = loaded(intact_mimic3, "icd_coding", top_k=2, strict=True)
    assert data.outcomes.dropped
    assert data.outcomes.unseen(data.places("test")) is None
    with pytest.raises(UserError, match="strict='yes' must be True or False"):
        loaded(intact_mimic3, strict="yes")
