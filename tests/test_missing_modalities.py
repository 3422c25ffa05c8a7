"""Real tables in which whole splits, stays and variables lack what other have, through training and evaluation."""

import numpy as np
import pandas as pd
import pytest

import zoo
from conftest import SourceFolder

TABLES = {
    "signals": ("labevents", "chartevents"),
    "notes": ("noteevents",),
    "codes": ("diagnoses_icd", "procedures_icd", "prescriptions"),
}
SMALL = {
    "encoder_dim": 8,
    "encoder_layers": 1,
    "vocabulary_size": 200,
    "max_length": 14,
    "dim": 8,
    "time_dim": 8,
    "points": 4,
    "heads": 2,
}
HOW = {"max_epochs": 1, "batch_size": 16, "device": "cpu"}
TASK = {"task": "readmission", "days": 90, "split": (0.5, 0.25, 0.25)}


def without(source: SourceFolder, folder, tables, subjects) -> SourceFolder:
    """The tables, some of them without the rows of some subjects."""
    other = SourceFolder(folder)
    other.root.mkdir()
    for path in source.root.iterdir():
        (other.root / path.name).write_bytes(path.read_bytes())
    for name in tables:
        rows = other.table(name)
        other.put(name, rows[~rows.SUBJECT_ID.isin(list(map(str, subjects)))])
    return other


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Writes tables for the first test that asks for them by a name, and gives them to all."""
    found = {}

    def made(name, write):
        if name not in found:
            found[name] = write(tmp_path_factory.mktemp(name) / "tables")
        return found[name]

    return made


@pytest.mark.parametrize(
    ("name", "split", "modality"),
    [
        *(("fusemoe", "train", m) for m in TABLES),
        ("fusemoe", "test", "notes"),
        ("fusemoe", "validation", "signals"),
        ("early_fusion", "train", "signals"),
        ("late_fusion", "train", "codes"),
        ("mult", "train", "notes"),
    ],
)
def test_a_whole_split_without_one_modality(session_cache, intact_mimic3, tmp_path, name, split, modality):
    samples = zoo.load("mimic3", root=intact_mimic3.root, **TASK).samples
    subjects = samples.subject_id[samples.split == split].unique()
    source = without(intact_mimic3, tmp_path / "tables", TABLES[modality], subjects)
    data = zoo.load("mimic3", root=source.root, **TASK)
    concept = {"signals": "vital", "notes": "note", "codes": "diagnosis"}[modality]
    batches = list(data.batches(split, {concept}))
    assert sum(len(b[concept].ids) for b in batches) == 0
    run = zoo.train(zoo.create_model(name, data, seed=0, **SMALL), data, out=tmp_path / "run", **HOW)
    assert np.isfinite(run.metrics["brier"]["value"])
    assert zoo.evaluate(run.folder, data).metrics == run.metrics


@pytest.mark.parametrize("name", ["gru_d", "mtand", "raindrop", "strats", "tcn", "fusemoe"])
def test_stays_without_a_measurement_and_variables_that_training_never_saw(intact_mimic3, tmp_path, once, name):
    samples = zoo.load("mimic3", root=intact_mimic3.root, **TASK).samples
    tested = samples.subject_id[samples.split == "test"].unique()

    def unmeasured(folder):
        source = without(intact_mimic3, folder, TABLES["signals"], [*samples.subject_id.unique()[:4], tested[0]])
        rows = source.table("labevents")
        unseen = rows[str(tested[1]) == rows.SUBJECT_ID].assign(ITEMID="51006", VALUENUM="240")
        source.put("labevents", unseen if name == "fusemoe" else pd.concat([rows, unseen], ignore_index=True))
        return source

    source = once("unseen" if name == "fusemoe" else "some_unseen", unmeasured)
    data = zoo.load("mimic3", root=source.root, **TASK, concepts=["lab", "vital"])
    settings = {n: v for n, v in SMALL.items() if name == "fusemoe"}
    model = zoo.create_model(name, data, seed=0, **settings)
    assert not any("51006" in code for code in model.spec.vocabularies["lab"].codes)
    run = zoo.train(model, data, out=tmp_path / "run", **HOW)
    assert np.isfinite(run.metrics["brier"]["value"])
    predicted = zoo.predict(run.folder, data=data)
    assert set(tested) <= set(predicted.subject_id)


def test_a_batch_says_which_sample_has_which(session_cache, intact_mimic3, tmp_path):
    samples = zoo.load("mimic3", root=intact_mimic3.root, **TASK).samples
    some = samples.subject_id.unique()[::3]
    source = without(intact_mimic3, tmp_path / "tables", ("noteevents",), some)
    data = zoo.load("mimic3", root=source.root, **TASK)
    seen = set()
    for batch in data.batches("train", {"note", "drug"}, 8):
        subject = batch.subject.numpy()
        assert batch.has("note").tolist() == (~np.isin(subject, some)).tolist()
        for sample, (row, own) in enumerate(zip(batch.sample_row.tolist(), batch.sample_visit.tolist(), strict=True)):
            visits = int(batch.row_offsets[row]) + np.arange(own + 1)
            assert batch.has("drug")[sample] == bool(batch["drug"].lengths.numpy()[visits].sum() > 0)
        assert not batch.has("lab").any()
        seen |= set(batch.has("note").tolist())
    assert seen == {True, False}


@pytest.mark.parametrize("name", ["gru_d", "mtand", "raindrop", "strats", "tcn", "fusemoe"])
def test_measurements_dated_before_admission_or_after_discharge(intact_mimic3, tmp_path, once, name):
    """Rows of a visit with a slip in their date: what was known before counts as that, what came later is unseen."""
    task = {"task": "mortality", "hours": 24, "split": TASK["split"], "concepts": ["lab", "vital"]}
    samples = zoo.load("mimic3", root=intact_mimic3.root, **task).samples
    first, second = (samples[samples.split == s].iloc[0] for s in ("train", "test"))
    rows = intact_mimic3.table("labevents")
    slip = rows.iloc[[0]]

    def misdated(folder):
        source = without(intact_mimic3, folder, (), ())
        dated = [
            slip.assign(SUBJECT_ID=str(s.subject_id), HADM_ID=str(s.visit_id), CHARTTIME=when, VALUENUM=value)
            for s in (first, second)
            for when, value in (("2090-01-01 00:00:00", "1.5"), ("2290-01-01 00:00:00", "777"))
        ]
        source.put("labevents", pd.concat([rows, *dated], ignore_index=True))
        return source

    data = zoo.load("mimic3", root=once("misdated", misdated).root, **task)
    vocabulary = data.feature("lab").vocabulary
    place = vocabulary.codes.index(f"LAB//{slip.ITEMID.iloc[0]}") + 2
    for split, sample in (("train", first), ("test", second)):
        batch = data.batch(np.flatnonzero(data.samples.visit_id == sample.visit_id), {"lab"})
        some = (batch["lab"].variable == place).numpy()
        times, values = batch["lab"].time.numpy()[some], batch["lab"].value.numpy()[some]
        values = values * vocabulary.scale[place - 2] + vocabulary.mean[place - 2]
        assert times.min() < -40 * 365 * 24, split
        assert values[times.argmin()] == pytest.approx(1.5, abs=1e-4)
        assert times.max() <= 24
        assert values.max() < 700
    settings = {n: v for n, v in SMALL.items() if name == "fusemoe"}
    run = zoo.train(zoo.create_model(name, data, seed=0, **settings), data, out=tmp_path / "run", **HOW)
    assert np.isfinite(run.metrics["brier"]["value"])
    assert np.isfinite(zoo.predict(run.folder, data=data).filter(like="prob").to_numpy()).all()
