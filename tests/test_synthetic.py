"""The synthetic patients: schemas, determinism, what is planted, and the probabilities that the generator knows.

Labels are derived here from the written tables by plain pandas, apart from the adapters and tasks of the library.
"""

import csv
import gzip
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from processes import Forked
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from zoo.datasets._facts import codes, conditions, drugs, planted_interactions
from zoo.datasets._generator import simulate_histories
from zoo.datasets._writers import FORMATS, SCHEMAS, true_probabilities, write_source

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
DEMOS = {"mimic3": "mimic3-demo-1.4", "mimic4": "mimic4-demo-2.2", "eicu": "eicu-demo-2.0.1"}
PATIENTS = 5_000
KEYS = {"mimic3": "subject_id", "mimic4": "subject_id", "eicu": "patientunitstayid"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folders with 5,000 patients in each schema, as Parquet."""
    base = tmp_path_factory.mktemp("synthetic")
    return {schema: write_source(schema, PATIENTS, 7, base / schema, format="parquet") for schema in SCHEMAS}


def read(folder: Path, name: str) -> pd.DataFrame:
    table = pq.read_table(folder / f"{name}.parquet").to_pandas()
    return table.rename(columns=str.lower)


def mimic_visits(folder: Path, name: str) -> pd.DataFrame:
    """Admissions by subject and time, with the next one's start and death."""
    visits = read(folder, name).sort_values(["subject_id", "admittime"])
    following = visits.groupby("subject_id")[["admittime", "hospital_expire_flag"]].shift(-1)
    return visits.assign(next_start=following["admittime"], next_died=following["hospital_expire_flag"])


def eicu_visits(folder: Path) -> pd.DataFrame:
    stays = read(folder, "patient")
    visits = stays.groupby("patienthealthsystemstayid").first().reset_index()
    hours = (visits["hospitaldischargeoffset"] - visits["hospitaladmitoffset"]) / 60
    visits = visits.assign(hours=hours, died=(visits["hospitaldischargestatus"] == "Expired").astype(int))
    visits = visits.sort_values(["uniquepid", "hospitaldischargeyear"])
    shared = visits.duplicated(["uniquepid", "hospitaldischargeyear"], keep=False)
    visits["ambiguous"] = visits["uniquepid"].isin(visits.loc[shared, "uniquepid"])
    return visits.assign(next_died=visits.groupby("uniquepid")["died"].shift(-1))


def labels(schema: str, folder: Path) -> dict[str, pd.Series]:
    """Labels by visit of the tasks as the design defines them."""
    if schema == "eicu":
        visits = eicu_visits(folder).set_index("patienthealthsystemstayid")
        clear = visits[~visits["ambiguous"]]
        return {
            "mortality": visits.loc[visits["hours"] >= 48, "died"],
            "mortality_next_visit": clear["next_died"].dropna(),
        }
    visits = mimic_visits(folder, "ADMISSIONS" if schema == "mimic3" else "hosp/admissions").set_index("hadm_id")
    alive = visits[visits["hospital_expire_flag"] == 0]
    hours = (visits["dischtime"] - visits["admittime"]) / pd.Timedelta(hours=1)
    soon = (alive["next_start"] - alive["dischtime"]) <= pd.Timedelta(days=30)
    return {
        "mortality": visits.loc[hours >= 48, "hospital_expire_flag"],
        "readmission": soon.astype(int),
        "mortality_next_visit": visits["next_died"].dropna(),
    }


def assert_calibrated(label: np.ndarray, probability: np.ndarray) -> None:
    """In each tenth of the probabilities, and in all, the labels are within 4 standard errors of their expectation."""
    order = np.argsort(probability, kind="stable")
    for rows in [*np.array_split(order, 10), order]:
        p = probability[rows]
        error = np.sqrt((p * (1 - p)).sum())
        assert abs(label[rows].sum() - p.sum()) <= 4 * error + 1


@pytest.mark.parametrize("schema", SCHEMAS)
def test_labels_are_draws_from_the_true_probabilities(sources, schema):
    known = pd.DataFrame(true_probabilities(schema, PATIENTS, 7)).set_index("visit_id")
    assert known.index.is_unique
    expected = {"mortality": 0.85, "readmission": 0.85, "mortality_next_visit": 0.7}
    for task, label in labels(schema, sources[schema]).items():
        probability = known.loc[label.index, task].to_numpy()
        assert np.isfinite(probability).all()
        assert_calibrated(label.to_numpy(float), probability)
        assert roc_auc_score(label, probability) > expected[task]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_true_probabilities_know_every_visit_of_the_tables(sources, schema):
    known = true_probabilities(schema, PATIENTS, 7)
    if schema == "eicu":
        stays = read(sources[schema], "patient")
        written = set(zip(stays["uniquepid"].str[4:].astype(int), stays["patienthealthsystemstayid"], strict=True))
    else:
        visits = read(sources[schema], "ADMISSIONS" if schema == "mimic3" else "hosp/admissions")
        written = set(zip(visits["subject_id"], visits["hadm_id"], strict=True))
    assert written == set(zip(known["subject_id"].tolist(), known["visit_id"].tolist(), strict=True))


def test_readmission_needs_the_order_of_visits(sources):
    """Logistic regression on counts over the history stays far below what the order tells."""
    folder = sources["mimic3"]
    visits = mimic_visits(folder, "ADMISSIONS")
    label = labels("mimic3", folder)["readmission"]
    facts = pd.concat([
        read(folder, "DIAGNOSES_ICD")[["hadm_id", "icd9_code"]].set_axis(["hadm_id", "code"], axis=1),
        read(folder, "PRESCRIPTIONS")[["hadm_id", "drug"]].set_axis(["hadm_id", "code"], axis=1),
    ]).drop_duplicates()  # fmt: skip
    counts = pd.crosstab(facts["hadm_id"], facts["code"]).reindex(visits["hadm_id"], fill_value=0)
    history = counts.groupby(visits["subject_id"].to_numpy()).cumsum().loc[label.index].to_numpy()
    probability = pd.DataFrame(true_probabilities("mimic3", PATIENTS, 7)).set_index("visit_id").loc[label.index]
    train = probability["subject_id"].to_numpy() % 5 > 0
    model = LogisticRegression(C=0.05, max_iter=300).fit(history[train], label[train])
    of_counts = roc_auc_score(label[~train], model.decision_function(history[~train]))
    ceiling = roc_auc_score(label[~train], probability["readmission"][~train])
    assert of_counts < 0.7
    assert ceiling > 0.84


def test_the_step_between_visits_is_in_the_codes(sources):
    """The last two functional statuses, read off the diagnosis codes, nearly reach the ceiling."""
    folder = sources["mimic3"]
    ladder = {"78079": 0, "7197": 1, "V463": 2, "V4984": 3}
    coded = read(folder, "DIAGNOSES_ICD")
    level = coded[coded["icd9_code"].isin(ladder)].set_index("hadm_id")["icd9_code"].map(ladder)
    assert level.index.is_unique
    visits = mimic_visits(folder, "ADMISSIONS").set_index("hadm_id")
    now = level.reindex(visits.index)
    step = now - now.groupby(visits["subject_id"]).shift()
    label = labels("mimic3", folder)["readmission"]
    assert roc_auc_score(label, step.loc[label.index].fillna(0)) > 0.78


def test_drugs_interact_as_planted(sources):
    pairs = planted_interactions()
    names = set(drugs().name)
    assert len(names) >= 120
    assert all(first < second and {first, second} <= names for first, second in pairs)
    orders = read(sources["mimic3"], "PRESCRIPTIONS")[["hadm_id", "drug"]].drop_duplicates()
    together = orders.merge(orders, on="hadm_id")
    together = together[together["drug_x"] < together["drug_y"]]
    interacting = pd.MultiIndex.from_frame(together[["drug_x", "drug_y"]]).isin(pairs)
    assert 0.12 <= interacting.mean() < 0.25


@pytest.mark.parametrize("schema", SCHEMAS)
def test_severity_shows_in_the_first_two_days(sources, schema):
    """The mean lactate of the first 48 hours tells more of death than chance."""
    folder = sources[schema]
    label = labels(schema, folder)["mortality"]
    if schema == "eicu":
        stays = read(folder, "patient").set_index("patientunitstayid")
        lab = read(folder, "lab")
        lab = lab[lab["labname"] == "lactate"].join(stays, on="patientunitstayid")
        early = lab["labresultoffset"] - lab["hospitaladmitoffset"] < 48 * 60
        mean = lab[early].groupby("patienthealthsystemstayid")["labresult"].mean()
    else:
        lab = read(folder, "LABEVENTS" if schema == "mimic3" else "hosp/labevents")
        lab = lab[(lab["itemid"] == 50813) & lab["hadm_id"].notna()]
        start = mimic_visits(folder, "ADMISSIONS" if schema == "mimic3" else "hosp/admissions").set_index("hadm_id")
        early = lab["charttime"] - start.loc[lab["hadm_id"], "admittime"].to_numpy() < pd.Timedelta(hours=48)
        mean = lab[early].groupby("hadm_id")["valuenum"].mean()
    both = mean.index.intersection(label.index)
    assert len(both) > 1_000
    assert roc_auc_score(label.loc[both], mean.loc[both]) > 0.75


def test_visits_come_one_after_the_other(sources):
    patients = read(sources["mimic3"], "PATIENTS").set_index("subject_id")
    visits = mimic_visits(sources["mimic3"], "ADMISSIONS")
    assert (visits["dischtime"] > visits["admittime"]).all()
    gap = (visits["next_start"] - visits["dischtime"]).dropna() / pd.Timedelta(days=1)
    assert ((gap >= 1) & ((gap < 29.1) | (gap > 30.9))).all()
    died = visits[visits["hospital_expire_flag"] == 1]
    assert died["next_start"].isna().all()
    assert (died["deathtime"] == died["dischtime"]).all()
    assert (patients.loc[died["subject_id"], "dod_hosp"].to_numpy() == died["deathtime"].dt.normalize()).all()
    age = visits["admittime"].dt.year - patients.loc[visits["subject_id"], "dob"].dt.year.to_numpy()
    assert age.between(17, 130).sum() + (age >= 299).sum() == len(age)
    assert (age >= 299).any()
    per_patient = visits.groupby("subject_id").size()
    assert 2.5 < per_patient.mean() < 4
    assert (per_patient >= 2).mean() > 0.5


def test_mimic4_has_both_code_versions_and_labs_without_visit(sources):
    folder = sources["mimic4"]
    for name in ("diagnoses", "procedures"):
        coded, known = read(folder, f"hosp/{name}_icd"), read(folder, f"hosp/d_icd_{name}")
        assert set(coded["icd_version"]) == {9, 10}
        used = set(zip(coded["icd_code"], coded["icd_version"], strict=True))
        assert used <= set(zip(known["icd_code"], known["icd_version"], strict=True))
    assert (read(folder, "hosp/diagnoses_icd").groupby("hadm_id")["icd_version"].nunique() == 1).all()
    lab = read(folder, "hosp/labevents")
    assert 0.18 < lab["hadm_id"].isna().mean() < 0.3
    assert (lab["storetime"] > lab["charttime"]).all()
    chart = read(folder, "icu/chartevents")
    assert (chart["storetime"] > chart["charttime"]).all()
    assert read(folder, "hosp/patients")["anchor_age"].isin([*range(18, 90), 91]).all()


def test_eicu_has_its_peculiarities(sources):
    folder = sources["eicu"]
    stays = read(folder, "patient")
    assert set(stays["unitstaytype"]) == {"admit", "readmit", "transfer", "stepdown/other"}
    assert "> 89" in set(stays["age"])
    assert stays["patientunitstayid"].is_unique
    assert (stays["hospitaladmitoffset"] <= 0).all()
    assert (stays["hospitaldischargeoffset"] >= stays["unitdischargeoffset"]).all()
    assert 0 < eicu_visits(folder)["ambiguous"].mean() < 0.1
    medication = read(folder, "medication")
    assert medication["drughiclseqno"].notna().all()
    assert 0.02 < medication["drugname"].isna().mean() < 0.3
    assert 0 < (medication["drugordercancelled"] == "Yes").mean() < 0.1
    assert read(folder, "diagnosis")["icd9code"].str.fullmatch(r"[0-9EV.]+, [A-Z0-9.]+").all()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_tables_have_no_dangling_or_duplicate_keys(sources, schema):
    folder, key = sources[schema], KEYS[schema]
    main = {"mimic3": "PATIENTS", "mimic4": "hosp/patients", "eicu": "patient"}[schema]
    known = read(folder, main)[key]
    assert known.is_unique
    for path in folder.rglob("*.parquet"):
        table = read(folder, str(path.relative_to(folder).with_suffix("")))
        if key in table:
            assert set(table[key]) <= set(known), path.name
        if "row_id" in table:
            assert table["row_id"].is_unique, path.name
    if schema != "eicu":
        name = "LABEVENTS" if schema == "mimic3" else "hosp/labevents"
        assert not read(folder, name)["subject_id"].is_monotonic_increasing


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("schema", SCHEMAS)
def test_same_arguments_same_files_and_another_seed_other_patients(tmp_path, schema):
    folders = [write_source(schema, 30, seed, tmp_path / str(i)) for i, seed in enumerate((1, 1, 2))]
    first, again, other = map(content, folders)
    assert first == again
    assert first != other
    assert first.keys() == other.keys()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path, sources, schema):
    few = write_source(schema, 1_040, 7, tmp_path / "few", format="parquet")
    for path in few.rglob("*.parquet"):
        name = str(path.relative_to(few).with_suffix(""))
        small, large = read(few, name), read(sources[schema], name)
        if KEYS[schema] in small:
            large = large[large[KEYS[schema]].isin(set(small[KEYS[schema]]))]
        pd.testing.assert_frame_equal(small, large.reset_index(drop=True))
    known = true_probabilities(schema, 1_040, 7)
    for name, values in true_probabilities(schema, PATIENTS, 7).items():
        np.testing.assert_array_equal(known[name], values[: len(known[name])])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_columns_are_those_of_the_real_release(tmp_path, schema):
    demo = SHARED / DEMOS[schema]
    if not demo.exists():
        pytest.skip(f"the open demo {demo.name} is not at hand")
    folder = write_source(schema, 3, 0, tmp_path / schema)
    compared = 0
    for path in folder.rglob("*.csv.gz"):
        official = demo / path.relative_to(folder)
        if not official.exists():
            official = demo / "subset_169_stays" / path.name
        if not official.exists():
            continue
        with gzip.open(path, "rt") as ours, gzip.open(official, "rt") as theirs:
            header, expected = next(csv.reader(ours)), next(csv.reader(theirs))
        assert [name.lower() for name in header] == [name.lower() for name in expected], path.name
        assert all(name.isupper() for name in header) == (schema == "mimic3")
        compared += 1
    assert compared >= 7


@pytest.mark.parametrize("format", FORMATS)
def test_formats_hold_the_same_rows(tmp_path, format):
    folder = write_source("mimic3", 5, 0, tmp_path / "source", format=format)
    path = folder / f"NOTEEVENTS.{format}"
    notes = pd.read_parquet(path) if format == "parquet" else pd.read_csv(path)
    assert notes["TEXT"].str.contains("\n").all()
    summaries = notes["CATEGORY"] == "Discharge summary"
    assert notes.loc[summaries, "CHARTTIME"].isna().all()
    assert notes.loc[~summaries, "CHARTTIME"].notna().all()
    patients, visits = simulate_histories(0, 0)
    assert summaries.sum() == (visits.patient < 5).sum()
    assert len(patients) == 1_000


def test_progress_counts_patients(tmp_path):
    seen = []
    write_source("eicu", 1_500, 0, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1_000, 1_500), (1_500, 1_500)]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="choose one of mimic3"):
        write_source("mimic5", 10, 0, tmp_path / "out")
    with pytest.raises(ValueError, match=r"csv\.gz"):
        write_source("mimic3", 10, 0, tmp_path / "out", format="xml")
    with pytest.raises(ValueError, match="patients"):
        write_source("mimic3", 0, 0, tmp_path / "out")
    with pytest.raises(ValueError, match="seed"):
        true_probabilities("mimic3", 10, -1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        write_source("mimic3", 10, 0, tmp_path / "full")
    assert not (tmp_path / "out").exists()


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_source("mimic3", 1_500, 0, tmp_path / "out", progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_kill_leaves_no_half_written_folder(tmp_path):
    script = (
        f"from zoo.datasets._writers import write_source; write_source('mimic3', 200_000, 0, {str(tmp_path / 'out')!r})"
    )
    process = Forked(script)
    deadline = time.monotonic() + 30
    while not list(tmp_path.rglob("CHARTEVENTS.csv.gz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.rglob("CHARTEVENTS.csv.gz"))
    assert not (tmp_path / "out").exists()
    write_source("mimic3", 5, 0, tmp_path / "out")
    assert (tmp_path / "out" / "CHARTEVENTS.csv.gz").exists()


def test_facts_hold_together():
    assert 15 <= len(conditions().names) <= 30
    for kind in ("diagnosis", "procedure"):
        assert all(codes(kind).icd9_title)
        assert all(codes(kind).icd10_title)
    known = drugs()
    assert len(set(known.name)) == len(known.name)
    assert set(known.rule_class) == set(range(len(known.classes)))


def test_importing_the_writers_is_cheap():
    script = (
        "import sys, zoo.datasets._writers; print(sorted({'pyarrow', 'pandas', 'torch', 'ibis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
