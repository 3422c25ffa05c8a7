"""MEDS: its schemas, its order, our counts; whole or not at all."""

import json

import meds
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import zoo
from zoo.meds import write_meds
from zoo.registry import UserError


@pytest.fixture(scope="module")
def dataset(intact_mimic3, session_cache):
    return zoo.load_dataset("mimic3", root=intact_mimic3.root)


@pytest.fixture(scope="module")
def written(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("meds") / "out"
    lines = list(write_meds(dataset, out))
    assert len(lines) == 1
    return out


def test_files_and_schemas(written):
    files = sorted(str(p.relative_to(written)) for p in written.rglob("*") if p.is_file())
    metadata = [f"metadata/{n}" for n in ("codes.parquet", "dataset.json", "subject_splits.parquet")]
    assert files == ["data/0.parquet", *metadata]
    meds.DataSchema.validate(pq.read_table(written / "data" / "0.parquet"))
    meds.CodeMetadataSchema.validate(pq.read_table(written / meds.code_metadata_filepath))
    meds.SubjectSplitSchema.validate(pq.read_table(written / meds.subject_splits_filepath))
    meds.DatasetMetadataSchema.validate(json.loads((written / meds.dataset_metadata_filepath).read_text()))


def test_events_are_sorted_and_as_many_as_the_relations_hold(written, dataset):
    events = pq.read_table(written / "data" / "0.parquet").to_pandas()
    assert events.subject_id.is_monotonic_increasing
    assert events.groupby("subject_id").time.is_monotonic_increasing.all()
    system = events.code.str.split("//").str[0].value_counts()
    subjects, visits, stays = (dataset.read(n) for n in ("subjects", "visits", "stays"))
    wanted = {
        meds.birth_code: subjects.birth.notna().sum(),
        meds.death_code: subjects.death.notna().sum(),
        "VISIT": 2 * len(visits),
        "STAY": 2 * len(stays),
        "ICD9CM": len(dataset.read("diagnosis")),
        "ICD9PROC": len(dataset.read("procedure")),
        "DRUG": len(dataset.read("drug")),
        "LAB": len(dataset.read("lab")),
        "VITAL": len(dataset.read("vital")),
        "NOTE": len(dataset.read("note")),
    }
    assert system.to_dict() == {n: c for n, c in wanted.items() if c}
    lab = dataset.read("lab")
    found = events[events.code.str.startswith("LAB//")]
    np.testing.assert_allclose(np.sort(found.numeric_value), np.sort(lab.value), rtol=1e-6)
    assert set(events.text_value.dropna()) >= set(dataset.read("note").text)


def test_events_of_one_time_keep_the_order_of_their_table(written, intact_mimic3):
    events = pq.read_table(written / "data" / "0.parquet").to_pandas()
    billed = events[events.code.str.startswith("ICD9CM//")]
    found = billed.code.str.split("//").str[1].str.replace(".", "").groupby(billed.visit_id).agg(list)
    table = intact_mimic3.table("diagnoses_icd").astype({"HADM_ID": int, "SEQ_NUM": int})
    told = table.sort_values("SEQ_NUM").groupby("HADM_ID").ICD9_CODE.agg(list)
    assert found.to_dict() == told.loc[found.index].to_dict()
    assert (told.map(sorted) != told).any()


def test_codes_are_counted(written):
    events = pq.read_table(written / "data" / "0.parquet").to_pandas()
    codes = pq.read_table(written / meds.code_metadata_filepath).to_pandas().set_index("code")
    pd.testing.assert_series_equal(
        codes["count"].sort_index(), events.code.value_counts().sort_index(), check_names=False
    )


def test_splits_are_those_that_tasks_get(written, dataset):
    splits = pq.read_table(written / meds.subject_splits_filepath).to_pandas().set_index("subject_id").split
    names = {"train": meds.train_split, "validation": meds.tuning_split, "test": meds.held_out_split}
    samples = zoo.load(dataset, task="readmission").samples
    assert (samples.split.map(names).astype(str).to_numpy() == splits[samples.subject_id].to_numpy()).all()


def test_only_some_concepts(dataset, tmp_path):
    list(write_meds(dataset, tmp_path / "out", ["lab", "lab"]))
    events = pq.read_table(tmp_path / "out" / "data" / "0.parquet").to_pandas()
    assert events.code.str.startswith("LAB//").sum() == len(dataset.read("lab"))
    assert not events.code.str.startswith("VITAL//").any()


def test_unknown_concepts_and_folders_that_are_there(dataset, written, tmp_path):
    with pytest.raises(UserError, match="unknown concept 'labs': did you mean 'lab'"):
        list(write_meds(dataset, tmp_path / "out", ["labs"]))
    with pytest.raises(UserError, match="exists: choose another folder"):
        list(write_meds(dataset, written))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_leaves_nothing(dataset, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        list(write_meds(dataset, tmp_path / "file" / "out"))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_command(zoo_command, intact_mimic3, own_cache, tmp_path):
    source = ("--dataset", "mimic3", "--root", intact_mimic3.root)
    done = zoo_command("events", *source, "--out", tmp_path / "out", "--concept", "lab")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "events with" in done.stdout
