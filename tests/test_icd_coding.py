"""ICD coding: which visits are samples, what is read of them, which labels there are, and published splits."""

import json

import numpy as np
import pandas as pd
import pytest

import zoo
from conftest import SourceFolder
from zoo.registry import UserError

SUMMARY, ADDENDUM = "Discharge summary", "Addendum"


def note(visit: str, subject: str, text: str, **fields: str) -> dict[str, str]:
    """A row of NOTEEVENTS."""
    row = {"SUBJECT_ID": subject, "HADM_ID": visit, "CHARTDATE": "2150-01-01", "CATEGORY": SUMMARY, "TEXT": text}
    return {**row, "CHARTTIME": "", "STORETIME": "", "ISERROR": "", "DESCRIPTION": "Report", **fields}


def written(folder, notes: list[dict[str, str]]) -> None:
    folder.put("noteevents", pd.DataFrame(notes))


@pytest.fixture(scope="module")
def noted(tmp_path_factory, session_cache):
    """Visits with a summary; with two and an addendum; with a nursing note only; and all others with none."""
    mimic3 = SourceFolder.write(tmp_path_factory.mktemp("noted") / "source")
    visits = mimic3.table("admissions")
    ids = visits.HADM_ID.tolist()
    subjects = dict(zip(ids, visits.SUBJECT_ID, strict=True))
    ends = dict(zip(ids, visits.DISCHTIME, strict=True))
    notes = [note(v, subjects[v], f"summary of {v}") for v in ids[:100]]
    notes += [note(ids[1], subjects[ids[1]], "a second one")]
    late = f"{pd.Timestamp(ends[ids[1]]) + pd.Timedelta(days=3):%F}"
    notes += [note(ids[1], subjects[ids[1]], "written later", CHARTDATE=late, DESCRIPTION=ADDENDUM)]
    notes += [note(ids[2], subjects[ids[2]], "slept", CATEGORY="Nursing")]
    notes += [note(ids[110], subjects[ids[110]], "slept", CATEGORY="Nursing")]
    written(mimic3, notes)
    mimic3.ids = ids
    return mimic3


def test_samples_are_the_visits_with_a_summary_and_labels_their_codes(noted):
    data = zoo.load("mimic3", task="icd_coding", root=noted.root, top_k=None)
    diagnoses, procedures = noted.table("diagnoses_icd"), noted.table("procedures_icd")
    assert sorted(data.samples.visit_id) == sorted(map(int, noted.ids[:100]))
    ends = noted.table("admissions").set_index("HADM_ID").DISCHTIME
    for row in data.samples.itertuples():
        visit = str(row.visit_id)
        own = diagnoses.ICD9_CODE[visit == diagnoses.HADM_ID]
        expected = {f"ICD9CM//{c[:4] if c[0] == 'E' else c[:3]}{'.' + r if (r := c[4 if c[0] == 'E' else 3 :]) else ''}"
                    for c in own}  # fmt: skip
        assert set(row.label) == expected | {"ICD9PROC//38.93"}
        assert len(procedures[visit == procedures.HADM_ID]) == 1
        assert row.prediction_time == pd.Timestamp(ends[visit])
    only = zoo.load("mimic3", task="icd_coding", root=noted.root, codes="diagnosis")
    assert all(code.startswith("ICD9CM//") for codes in only.samples.label for code in codes)
    assert only.task.needs == {"diagnosis"}
    nursing = zoo.load("mimic3", task="icd_coding", root=noted.root, notes=["nursing"])
    assert sorted(nursing.samples.visit_id) == sorted(int(noted.ids[n]) for n in (2, 110))


def test_own_codes_are_withheld_and_all_notes_of_the_kinds_are_given(noted):
    data = zoo.load("mimic3", task="icd_coding", root=noted.root)
    place = int(np.flatnonzero(data.samples.visit_id == int(noted.ids[1]))[0])
    batch = data.batch(np.array([place]), {"diagnosis", "procedure", "drug", "note"})
    own = int(batch.sample_visit[0])
    assert batch["diagnosis"].lengths[own] == batch["procedure"].lengths[own] == 0
    assert batch["drug"].lengths[own] > 0
    feature = data.feature("note")
    assert feature.store.codes == ["NOTE//discharge_summary", "NOTE//discharge_addendum"]
    number = data.visits.numbers(np.array([int(noted.ids[1])]))[0]
    events = np.arange(feature.store.offsets[number], feature.store.offsets[number + 1])
    *summaries, addendum = feature.store.text.of(events)
    assert sorted(summaries) == ["a second one", f"summary of {noted.ids[1]}"]
    assert addendum == "written later"
    assert batch["note"].lengths[own] == 3
    assert zoo.load("mimic3", task="mortality", root=noted.root).feature("note").store.codes.count("NOTE//nursing") == 1


def test_labels_are_those_of_most_training_samples(noted):
    every = zoo.load("mimic3", task="icd_coding", root=noted.root, top_k=None)
    data = zoo.load("mimic3", task="icd_coding", root=noted.root, top_k=3)
    counts = every.label("train").sum(axis=0)
    order = sorted(range(len(counts)), key=lambda i: (-counts[i], every.labels[i]))
    assert data.labels == tuple(sorted(every.labels[i] for i in order[:3]))
    assert set(data.outcomes.dropped) == set(every.labels) - set(data.labels)
    assert data.outcomes.dropped[every.labels[order[3]]] == sum(every.labels[order[3]] in s for s in data.samples.label)
    assert len(every.labels) == 9
    assert (data.label("test").sum(axis=1) < 3).any()


def test_metrics_are_the_fields_and_the_threshold_is_tuned_and_kept(noted, tmp_path):
    data = zoo.load("mimic3", task="icd_coding", root=noted.root, split=(0.5, 0.25, 0.25))
    result = zoo.train("logistic_regression", data, out=tmp_path / "run")
    assert {f"precision_at_{k}" for k in (5, 8, 15)} <= set(result.metrics)
    assert "precision_at_10" not in result.metrics
    assert 0 < result.threshold < 1
    assert result.threshold != 0.5
    assert json.loads((tmp_path / "run" / "result.json").read_text())["threshold"] == result.threshold
    again = zoo.evaluate(tmp_path / "run")
    assert again.threshold == result.threshold
    assert again.metrics == result.metrics
    f1, jaccard = (result.metrics[f"{m}_micro"]["value"] for m in ("f1", "jaccard"))
    assert jaccard == pytest.approx(f1 / (2 - f1))
    with pytest.raises(UserError, match="monitor='precision_at_10'"):
        zoo.train("gru", data, out=tmp_path / "other", monitor="precision_at_10")
    zoo.train("gru", data, out=tmp_path / "gru", monitor="precision_at_8", max_epochs=1)


def test_the_version_that_more_visits_are_coded_in_is_taken(tmp_path, own_cache):
    from zoo.datasets._writers import write_source

    write_source("mimic4", 120, 3, tmp_path / "tables")
    data = zoo.load("mimic4", task="icd_coding", root=tmp_path / "tables", top_k=None)
    codes = pd.read_csv(tmp_path / "tables" / "hosp" / "diagnoses_icd.csv.gz", dtype=str)
    coded = codes.groupby("icd_version").hadm_id.nunique()
    assert len(coded) == 2
    chosen = "ICD9" if coded["9"] > coded["10"] else "ICD10"
    assert {c.split("//")[0] for c in data.labels} <= {f"{chosen}CM", "ICD9PROC", "ICD10PCS"}
    for system, version in (("icd9", "9"), ("icd10", "10")):
        own = zoo.load("mimic4", task="icd_coding", root=tmp_path / "tables", system=system, codes="diagnosis")
        assert {str(v) for v in own.samples.visit_id} <= set(codes[codes.icd_version == version].hadm_id)
        assert {c.split("//")[0] for c in own.labels} == {f"ICD{version}CM"}


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"top_k": 0}, "top_k=0 must be a whole number of at least 1, or None"),
        ({"system": "icd11"}, "system='icd11' must be one of"),
        ({"codes": "procedure"}, "codes='procedure' must be one of 'both', 'diagnosis'"),
        ({"notes": "discharge_summary"}, "must be a list of kinds"),
        ({"notes": []}, "must be a list of kinds"),
    ],
)
def test_parameters_that_are_none(parameters, complaint):
    with pytest.raises(UserError, match=complaint):
        zoo.load_task("icd_coding", **parameters)


def test_a_source_without_such_notes_says_so(mimic3, own_cache):
    mimic3.put("noteevents", mimic3.table("noteevents").assign(CATEGORY="Nursing"))
    with pytest.raises(
        UserError, match=r"has no notes of kind discharge_addendum or discharge_summary.*it has are nurs"
    ):
        zoo.load("mimic3", task="icd_coding", root=mimic3.root)
    mimic3.file("noteevents").unlink()
    with pytest.raises(UserError, match="offers no 'note': that needs the table 'noteevents'"):
        zoo.load("mimic3", task="icd_coding", root=mimic3.root)


def test_demos_without_summaries_say_so(open_data, own_cache):
    with pytest.raises(UserError, match=r"eicu has no notes of kind .*the kinds it has are admission, "):
        zoo.load("eicu", task="icd_coding", root=open_data / "eicu-demo-2.0.1")
    with pytest.raises(UserError, match=r"mimic3 has no notes of kind .*the kinds it has are none"):
        zoo.load("mimic3", task="icd_coding", root=open_data / "mimic3-demo-1.4")


def test_other_notes_of_eicu_serve_too(open_data, own_cache):
    root = open_data / "eicu-demo-2.0.1"
    data = zoo.load("eicu", task="icd_coding", root=root, notes=["admission"], top_k=20)
    notes, stays = (pd.read_csv(root / f"{n}.csv.gz", low_memory=False) for n in ("note", "patient"))
    of_stay = stays.set_index("patientunitstayid").patienthealthsystemstayid
    having = set(notes[notes.notetype.str.lower().str.strip() == "admission"].patientunitstayid.map(of_stay))
    assert len(data.labels) == 20
    assert set(data.samples.visit_id) <= having
    assert len(data.samples) > 500


# Splits of visits


def listed(folder, tmp_path, parts: dict[str, list[str]], heading: str | None = None) -> dict[str, str]:
    found = {}
    for name, visits in parts.items():
        found[name] = str(tmp_path / f"{name}_ids.csv")
        lines = [*([heading] if heading else []), *visits]
        (tmp_path / f"{name}_ids.csv").write_text("\n".join(lines) + "\n")
    return found


def parted(folder) -> dict[str, list[str]]:
    """Visits of the first 60 with a summary, whole subjects, in three parts."""
    visits = folder.table("admissions")
    chosen = visits[visits.HADM_ID.isin(folder.ids[:60])]
    subjects = chosen.SUBJECT_ID.unique()
    bounds = {"train": subjects[:14], "validation": subjects[14:18], "test": subjects[18:]}
    return {n: chosen[chosen.SUBJECT_ID.isin(s)].HADM_ID.tolist() for n, s in bounds.items()}


@pytest.mark.parametrize("heading", [None, "hadm_id"])
def test_published_splits_are_lists_of_visits(noted, tmp_path, heading):
    parts = parted(noted)
    dropped = parts["test"].pop()  # a visit of a tested subject that is not listed
    split = listed(noted, tmp_path, parts, heading)
    data = zoo.load("mimic3", task="icd_coding", root=noted.root, split=split)
    for name, visits in parts.items():
        assert sorted(data.samples.visit_id[data.samples.split == name]) == sorted(map(int, visits))
    assert data.samples.split[data.samples.visit_id == int(dropped)].isna().all()
    table = pd.DataFrame([(v, n) for n, visits in parts.items() for v in visits], columns=["hadm_id", "split"])
    table.to_csv(tmp_path / "split.csv", index=False)
    other = zoo.load("mimic3", task="icd_coding", root=noted.root, split=tmp_path / "split.csv")
    pd.testing.assert_frame_equal(other.samples, data.samples)


def test_a_run_keeps_the_split_it_was_given(noted, tmp_path):
    split = listed(noted, tmp_path, parted(noted))
    data = zoo.load("mimic3", task="icd_coding", root=noted.root, split=split)
    run = zoo.train("majority", data, out=tmp_path / "run")
    assert run.config["data"]["split"] == split
    assert zoo.evaluate(run.folder).metrics == run.metrics
    (tmp_path / "test_ids.csv").write_text("\n".join(parted(noted)["test"][1:]))
    assert zoo.load("mimic3", task="icd_coding", root=noted.root, split=split).key != data.key


def test_visits_that_are_not_there_are_counted(noted, tmp_path):
    parts = parted(noted)
    parts["train"] += ["999999", noted.ids[105]]  # unknown, and without a summary
    data = zoo.load("mimic3", task="icd_coding", root=noted.root, split=listed(noted, tmp_path, parts))
    assert data.notes == [
        "1 of the 62 visits that the split names are not in the data",
        "1 of the 61 visits of the split are no samples of the task",
    ]
    assert data.notes[0] in zoo.train("majority", data, out=tmp_path / "run").notes


def test_split_files_that_cannot_be_meant(noted, tmp_path):
    parts = parted(noted)

    def refused(changed: dict, complaint: str) -> None:
        with pytest.raises(UserError, match=complaint):
            zoo.load("mimic3", task="icd_coding", root=noted.root, split=changed)

    first = parts["train"][0]
    refused(listed(noted, tmp_path, {**parts, "test": [*parts["test"], first]}), f"visit_id {first} stands there more")
    one, other = (
        noted.table("admissions").groupby("SUBJECT_ID").HADM_ID.agg(list).loc[lambda s: s.str.len() > 1].iloc[0][:2]
    )
    moved = {n: [v for v in visits if v not in (one, other)] for n, visits in parts.items()}
    moved["train"], moved["test"] = [*moved["train"], one], [*moved["test"], other]
    refused(listed(noted, tmp_path, moved), r"subject_id \d+ has visits in more than one split")
    refused(listed(noted, tmp_path, {**parts, "test": ["12", "x7"]}), r"test_ids.csv, line 2: an id must be a whole")
    refused(listed(noted, tmp_path, {n: [] for n in parts} | {"test": ["5"]}), "none of the 1 visits that the split")
    refused({"train": "a", "test": "b"}, "must name a file of visits for each of train, validation, test")
    gone = {**listed(noted, tmp_path, parts), "test": str(tmp_path / "gone.csv")}
    refused(gone, r"gone.csv cannot be read as a list of visits")
