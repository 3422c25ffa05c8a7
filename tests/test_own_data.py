"""Labels, classes and arrays of a user's own: tasks from tables, classes nobody registered, scikit-learn, Table 1."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score

import zoo
from zoo.datasets import Dataset
from zoo.registry import UserError
from zoo.tasks import Task
from zoo.testing import check_task

PATIENTS = 150
IDS = ["subject_id", "visit_id", "stay_id"]


@pytest.fixture(scope="module")
def dataset():
    return zoo.load_dataset("synthetic", patients=PATIENTS)


@pytest.fixture(scope="module")
def visits(dataset):
    return dataset.read("visits")


@pytest.fixture(scope="module")
def frame(visits):
    """A label for each visit, a day into it."""
    label = visits.discharge_to == "SNF"
    return visits[IDS[:2]].assign(time=visits.start + pd.Timedelta(hours=24), label=label)


@pytest.fixture(scope="module")
def data(dataset, frame):
    return zoo.load(dataset, task=zoo.labels(frame, name="nursing"))


# Labels


@pytest.mark.parametrize(
    ("label", "how", "kind", "first"),
    [
        ([True, False], {}, "binary", True),
        ([1, 0], {"kind": "binary"}, "binary", True),
        ([2, 0], {"labels": ("a", "b", "c")}, "multiclass", 2),
        (["home", "died"], {"labels": ("died", "home")}, "multiclass", 1),
        ([2.5, 1.0], {}, "regression", 2.5),
        ([3, 1], {"kind": "regression"}, "regression", 3.0),
        ([["x", "y"], ["z"]], {}, "multilabel", ["x", "y"]),
        ([("x",), ()], {"labels": ("x", "y")}, "multilabel", ["x"]),
        ([(3, True), (2.5, False)], {"kind": "survival"}, "survival", (3.0, 1.0)),
    ],
)
def test_the_kind_is_told_from_the_labels(frame, label, how, kind, first):
    task = zoo.labels(frame.head(2).drop(columns="label").assign(label=pd.Series(label, frame.index[:2])), **how)
    assert (task.kind, task.table.label.iloc[0]) == (kind, first)


@pytest.mark.parametrize(
    ("label", "how", "told"),
    [
        ([1, 0], {}, r"whole number.*labels=\('first', \.\.\.\), or kind='binary'"),
        ([1.0, 0.0], {}, "0.0 or 1.0 throughout.*kind='binary' or kind='regression'"),
        (["a", "b"], {}, "is a text: give the classes"),
        ([(1, 0), (2, 1)], {}, "cannot be told: give kind="),
        ([True, None], {}, "label is null in 1 row of 2, the first is row 1"),
        ([0, 3], {"labels": ("a", "b")}, r"none of the labels \(in 1 row of 2, the first is row 1 with 3\)"),
        (["a", "c"], {"labels": ("a", "b")}, "the class is none of the labels"),
        ([0, 2], {"kind": "binary"}, "label of a binary task"),
        ([["a"], []], {}, r"empty list.*With labels=\(\.\.\.\)"),
        ([(0.0, 1), (1.0, 1)], {"kind": "survival"}, "no finite number above 0"),
        ([True, False], {"kind": "binry"}, "did you mean 'binary'"),
        ([True, False], {"labels": ("a", "b")}, "a binary task has one label"),
        ([True, False], {"name": "mortality"}, "a name that no task has"),
        ([True, False], {"given": "lab", "label_concepts": ["lab"]}, "both given and withheld"),
        ([True, False], {"outcome_time": "onset"}, "no column 'onset'"),
    ],
)
def test_what_is_ambiguous_or_wrong_is_one_error(frame, label, how, told):
    with pytest.raises(UserError, match=told):
        zoo.labels(frame.head(2).drop(columns="label").assign(label=pd.Series(label, frame.index[:2])), **how)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"time": lambda f: f.time.dt.tz_localize("UTC")}, "without a time zone"),
        ({"time": lambda f: f.time.where(f.index > 3)}, "time is null in 4 rows"),
        ({"time": 3}, "time must be a time"),
        ({"subject_id": lambda f: f.subject_id.astype(str) + "x"}, "subject_id is no whole number"),
        ({"prediction_time": lambda f: f.time}, "or time, not both"),
    ],
)
def test_what_a_column_cannot_hold_is_told_with_its_rows(frame, change, told):
    with pytest.raises(UserError, match=told):
        zoo.labels(frame.assign(**change))


@pytest.mark.parametrize("task", ["mortality", "los", "diagnosis", "time_to_death"])
@pytest.mark.parametrize("columns", [IDS, IDS[:1]])
def test_the_samples_of_a_task_as_a_table_are_the_same_samples(dataset, task, columns):
    theirs = zoo.load(dataset, task=task, **({"level": "ccs"} if task == "diagnosis" else {}))
    table = theirs.samples[[*columns, "prediction_time", "label"]].sample(frac=1, random_state=0)
    ours = zoo.load(dataset, task=zoo.labels(table, theirs.task.kind, labels=theirs.task.labels))
    if columns != IDS:  # a stay is not found by its time
        theirs.samples["stay_id"] = pd.array([pd.NA] * len(theirs), dtype="Int64")
    pd.testing.assert_frame_equal(ours.samples, theirs.samples)
    assert ours.labels == theirs.labels


def test_a_row_is_about_the_visit_that_it_lies_in_or_else_the_last_one_before(dataset, visits):
    two = visits[visits.subject_id == visits.subject_id[visits.subject_id.duplicated()].iloc[0]].head(2)
    first, second = two.iloc[0], two.iloc[1]
    hour = pd.Timedelta(hours=1)
    times = [first.start + hour, first.end + hour, second.start + hour, visits.start.min() - 1e5 * hour]
    table = pd.DataFrame({"subject_id": first.subject_id, "time": times, "label": [True, False, True, False]})
    whole = zoo.load(dataset, task=zoo.labels(table, retrospective=True))
    assert whole.samples.visit_id.tolist() == [first.visit_id, first.visit_id, second.visit_id]
    lost = whole.attrition.set_index("step").left_out
    assert lost["no visit began before the prediction"] == 1
    forecast = zoo.load(dataset, task=zoo.labels(table))
    assert forecast.samples.visit_id.tolist() == [first.visit_id, second.visit_id]
    assert forecast.attrition.set_index("step").left_out["visit ended before the prediction"] == 1


def test_a_row_of_a_stay_is_about_the_visit_of_the_stay(dataset):
    stays = dataset.read("stays").head(30)
    table = stays[["subject_id", "stay_id"]].assign(
        time=stays.start + pd.Timedelta(hours=2), label=stays.unit == "MICU"
    )
    data = zoo.load(dataset, task=zoo.labels(table))
    own = stays.set_index("stay_id").visit_id.loc[data.samples.stay_id.astype("int64")]
    assert data.samples.visit_id.tolist() == own.tolist() != []
    with pytest.raises(UserError, match="that stay is of another visit or subject"):
        zoo.load(dataset, task=zoo.labels(table.assign(subject_id=table.subject_id.iloc[::-1].to_numpy())))


def test_rows_that_the_dataset_does_not_have_are_counted_and_told(dataset, frame):
    table = frame.astype({"visit_id": "Int64"}).reset_index(drop=True)
    table.loc[:2, "subject_id"] = -5
    table.loc[10:13, "visit_id"] = -7
    data = zoo.load(dataset, task=zoo.labels(table))
    lost = data.attrition.set_index("step").left_out
    assert (lost["subject not in synthetic"], lost["visit not in the dataset"]) == (3, 4)
    assert any(n.startswith(f"labels: 7 of {len(table)} rows") for n in data.notes)
    with pytest.raises(UserError, match="none of their 1 subjects is in synthetic"):
        zoo.load(dataset, task=zoo.labels(table.head(3)))


def test_rows_that_contradict_the_dataset_or_one_another_are_errors(dataset, frame):
    other = frame[frame.subject_id != frame.subject_id.iloc[0]].visit_id.iloc[0]
    with pytest.raises(UserError, match=f"visit_id {other} at .*: that visit is another subject's"):
        zoo.load(dataset, task=zoo.labels(frame.head(1).assign(visit_id=other)))
    with pytest.raises(UserError, match="two labels at one time"):
        zoo.load(dataset, task=zoo.labels(pd.concat([frame, frame.head(1).assign(label=True)])))


def test_outcomes_that_have_come_about_are_left_out_and_label_concepts_withheld(dataset, frame):
    known = frame.time.where(frame.index % 2 == 0)
    data = zoo.load(dataset, task=zoo.labels(frame.assign(onset=known), outcome_time="onset", label_concepts="lab"))
    assert data.attrition.set_index("step").left_out["outcome known before the prediction"] > 100
    assert set(data.samples.visit_id) <= set(frame.visit_id[known.isna()])
    assert check_task(data.task, dataset, concepts=["lab"], subjects=10).passed
    batch = data.batch(np.arange(len(data)), "lab")
    assert batch["lab"].lengths[batch.row_offsets[1:] - 1].sum() == 0 < batch["lab"].lengths.sum()
    with pytest.raises(UserError, match="label_concepts: unknown concept 'labs'"):
        zoo.load(dataset, task=zoo.labels(frame, label_concepts="labs"))


def test_another_table_is_another_run(dataset, frame, data):
    again = zoo.load(dataset, task=zoo.labels(frame.sample(frac=1, random_state=1), name="nursing"))
    other = zoo.load(dataset, task=zoo.labels(frame.assign(label=~frame.label), name="nursing"))
    assert again.key == data.key
    assert other.key != data.key


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return zoo.train("logistic_regression", data, out=tmp_path_factory.mktemp("own") / "run")


def test_a_run_on_own_labels_is_tested_again_from_its_folder(data, run, frame, dataset):
    tested = zoo.evaluate(run)
    assert tested.metrics == run.metrics
    assert tested.data_key == run.data_key
    assert zoo.evaluate(run, data).metrics == run.metrics
    other = zoo.load(dataset, task=zoo.labels(frame.assign(label=~frame.label), name="nursing"))
    found = zoo.evaluate(run, other)
    assert found.metrics["auroc"]["value"] == pytest.approx(1 - run.metrics["auroc"]["value"])
    assert any("not those that the run was trained on" in note for note in found.notes)
    with pytest.raises(UserError, match="labels of patients of synthetic: load synthetic with"):
        zoo.evaluate(run, zoo.load_dataset("synthetic", patients=40, seed=3))


def test_labels_of_a_run_that_are_lost_are_one_error(data, tmp_path):
    run = zoo.train("majority", data, out=tmp_path / "run")
    data.task.__class__(data.task.table.head(9), "nursing", "binary").write(tmp_path / "run" / "labels.parquet")
    with pytest.raises(UserError, match="not those that were written there"):
        zoo.evaluate(run)
    (tmp_path / "run" / "labels.parquet").write_text("no table")
    with pytest.raises(UserError, match="not there or damaged"):
        zoo.evaluate(run)


@pytest.mark.parametrize("kind", ["multilabel", "survival"])
def test_labels_that_are_lists_are_read_back_from_the_run(dataset, frame, kind, tmp_path):
    if kind == "multilabel":
        label = [["x", "y"] if yes else ["x"] for yes in frame.label]
    else:
        label = [(1.0 + place % 7, int(yes)) for place, yes in enumerate(frame.label)]
    table = frame.drop(columns="label").assign(label=pd.Series(label, frame.index))
    data = zoo.load(dataset, task=zoo.labels(table, kind))
    run = zoo.train("majority" if kind == "multilabel" else "cox", data, out=tmp_path / "run")
    assert zoo.evaluate(run).data_key == run.data_key


# Classes that nobody registered

OWN = """
import pandas as pd
from zoo.datasets.synthetic import Synthetic
from zoo.tasks import Task

class Emergency(Task):
    kind = "binary"

    def cohort(self, relations):
        candidates = relations.candidates()
        visits = candidates.frame
        label = (visits.admission_type == "EMERGENCY").to_numpy(bool)
        return candidates.cohort(visits.start + pd.Timedelta(hours=12), label)

class Ours(Synthetic):
    pass
"""
ELSEWHERE = """
import json, pickle, zoo
try:
    zoo.evaluate("run")
except zoo.UserError as error:
    print(error)
from own_classes import Emergency, Ours
print(json.dumps(zoo.evaluate("run", zoo.load(Ours, task=Emergency, patients=60)).metrics))
for name in ("data", "own"):
    print(int(next(pickle.load(open(name, "rb")).batches("test", "gru")).label.sum()))
"""


def test_classes_that_nobody_registered_and_pickles_do_here_and_elsewhere(data, tmp_path, monkeypatch):
    (tmp_path / "own_classes.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    from own_classes import Emergency, Ours

    own = zoo.load(Ours, task=Emergency, patients=60)
    run = zoo.train("majority", own, out=tmp_path / "run")
    assert zoo.evaluate(run).metrics == run.metrics
    (tmp_path / "own").write_bytes(pickle.dumps(own))
    (tmp_path / "data").write_bytes(pickle.dumps(data))
    code = [sys.executable, "-W", "ignore", "-c", ELSEWHERE]
    done = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, metrics, *sums = done.stdout.splitlines()
    assert "on dataset 'Ours', which nothing has here: load data with its class" in refused
    assert json.loads(metrics) == run.metrics
    assert sums == [str(int(next(d.batches("test", "gru")).label.sum())) for d in (data, own)]


def test_a_task_that_hides_a_parameter_or_has_no_kind_is_told_so():
    class Hiding(Task):
        kind = "binary"

        def __init__(self, hours: float = 3):
            self.since = hours

    class Kindless(Task):
        pass

    with pytest.raises(UserError, match=r"does not keep its parameter 'hours': set self.hours"):
        zoo.load("synthetic", task=Hiding, patients=40)
    with pytest.raises(UserError, match="does not say its kind"):
        zoo.load("synthetic", task=Kindless, patients=40)


# Arrays


def test_arrays_are_what_samples_see(data):
    chosen = {"diagnosis": "count", "lab": ["last", "mean", "min", "max", "count"]}
    found = data.to_arrays("test", chosen, standardised=False)
    assert found.X.dtype == np.float32
    np.testing.assert_array_equal(found.y, data.label("test"))
    table = pd.DataFrame(found.X.toarray(), columns=found.columns)
    codes, labs = (data.vocabularies({c})[c].codes for c in chosen)
    for row, place in enumerate(data.places("test")[:25]):
        batch = data.batch(np.array([place]), set(chosen))
        ids = batch["diagnosis"].ids.numpy()
        counts = np.bincount(ids, minlength=len(codes) + 2)[2:]
        np.testing.assert_array_equal(table.loc[row, [f"diagnosis {c}" for c in codes]], counts)
        lab = batch["lab"]
        time = batch.visit_start.numpy()[lab.visit.numpy()] + lab.time.numpy()
        seen = pd.DataFrame(
            {"variable": lab.variable.numpy() - 2, "time": time, "value": data.values(place, {"lab"})["lab"]}
        )
        seen = seen[(seen.variable >= 0) & seen.value.notna()].sort_values("time", kind="stable")
        told = seen.groupby("variable").value.agg(["last", "mean", "min", "max", "count"])
        told = told.reindex(range(len(labs)), fill_value=0)
        for what in told:
            np.testing.assert_allclose(
                table.loc[row, [f"lab {c} {what}" for c in labs]], told[what], rtol=1e-4, atol=1e-6
            )
    assert table.filter(like=" count").to_numpy().max() > 3


def test_columns_are_those_of_training_and_fit_a_classifier_by_subject(data):
    train, test = (data.to_arrays(split) for split in ("train", "test"))
    assert train.columns.tolist() == test.columns.tolist()
    assert (np.diff(train.X.tocsc().indptr) > 0).all()
    assert train.X.shape == (data.size("train"), len(train.columns))
    folds = GroupKFold(3)
    scores = cross_val_score(
        LogisticRegression(C=0.01, max_iter=2000), train.X, train.y, groups=train.subject, cv=folds
    )
    assert len(scores) == 3
    last = data.to_arrays("train", {"vital": "last"})
    assert all(c.endswith(" last") for c in last.columns)
    assert abs(last.X.mean()) < 3


@pytest.mark.parametrize(
    ("concepts", "told"),
    [
        ({"diagnosis": "last"}, "cannot be told of diagnosis"),
        ({"lab": "median"}, "cannot be told of lab: did you mean 'mean'"),
        (["labs"], "unknown concept 'labs'"),
        ([], "must name some concepts"),
        ({"lab": []}, "concepts of lab: name what is to be told"),
    ],
)
def test_what_cannot_be_told_is_an_error(data, concepts, told):
    with pytest.raises(UserError, match=told):
        data.to_arrays("train", concepts)


# Pickles


def test_a_pickle_says_how_to_load_and_holds_no_array(data):
    held = pickle.dumps(data)
    assert len(held) < 2000
    again = pickle.loads(held)
    assert again.key == data.key
    assert len(again) == len(data.samples)
    pd.testing.assert_frame_equal(again.samples, data.samples)


def test_what_no_other_process_could_load_is_not_pickled(dataset, data):
    class Local(zoo.load_task("los").__class__):
        pass

    with pytest.raises(UserError, match="task 'Local' is a class of a function, which another process does not have"):
        pickle.dumps(zoo.load(dataset, task=Local))
    Local.__qualname__, Local.__module__ = "Local", "__main__"
    with pytest.raises(UserError, match="task 'Local' is a class of __main__"):
        pickle.dumps(zoo.load(dataset, task=Local))
    with pytest.raises(UserError, match=r"only what zoo\.load returned"):
        pickle.dumps(data.with_vocabularies({}))


# Table 1


def test_table_one_counts_subjects_visits_and_what_is_not_known(data, dataset, visits):
    table = zoo.table_one(data, by="label")
    samples = data.samples.merge(visits.drop(columns="subject_id"), on="visit_id")
    samples = samples.merge(dataset.read("subjects"), on="subject_id")
    yes = samples[samples.label]
    subjects = yes.drop_duplicates("subject_id")
    women = int((subjects.sex == "F").sum())
    assert table.loc[("Samples", "n")].tolist() == [str(len(samples)), str(len(samples) - len(yes)), str(len(yes))]
    assert table.loc[("Sex", "F, n (%)"), "yes"] == f"{women} ({100 * women / len(subjects):.1f}%)"
    assert table.loc[("Age, years", "median [quartiles]"), "yes"].startswith(f"{yes.age.median():.1f} [")
    deaths = int(samples.died.sum())
    assert table.loc[("Died in hospital", "n (%)"), "all"].startswith(f"{deaths} (")
    by_split = zoo.table_one(data, by="split")
    assert by_split.loc[("Samples", "n"), "test"] == str(data.size("test"))


def test_small_cells_are_masked_where_that_is_asked_for(data):
    table = zoo.table_one(data, by="insurance", min_count=20)
    shown = table.map(lambda text: int(text.split()[0]) if "[" not in text and text[0].isdigit() else 99)
    assert (shown.to_numpy()[shown.to_numpy() > 0] >= 20).all()
    assert (table == "<20").any(axis=None)


@pytest.mark.parametrize(
    ("by", "told"), [("age", "no groups"), ("sx", "did you mean 'sex'"), ("label", "no groups of labels")]
)
def test_what_has_no_groups_is_an_error(dataset, by, told):
    days = zoo.load(dataset, task="los", target="days")
    with pytest.raises(UserError, match=told):
        zoo.table_one(days, by=by)


def test_a_fact_that_is_not_known_has_a_line():
    data = zoo.load("synthetic", task="los", target="days", schema="eicu", patients=60)
    table = zoo.table_one(data)
    lost = data.dataset.read("visits").set_index("visit_id").loc[data.samples.visit_id].admission_type.isna().sum()
    assert table.loc[("Admission type", "not known, n"), "all"] == str(lost)


# What a class of one's own may get wrong


class Banded(Task):
    """A class that the task does not have."""

    kind, labels = "multiclass", ("short", "long")

    def cohort(self, relations):
        candidates = relations.candidates()
        days = (candidates.frame.end - candidates.frame.start).dt.days
        return candidates.cohort(candidates.frame.end, days.clip(upper=3).astype("int64"))


class Unnamed(Banded):
    labels = None


class Counted(Banded):
    kind, labels = "binary", ("x",)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Banded, r"'Banded', \d+ samples of \d+, such as that of visit_id \d+: class number is none of the labels"),
        (Unnamed, "a multiclass task names its classes in labels"),
        (Counted, "label of a binary task is int64"),
    ],
)
def test_labels_of_another_kind_are_refused_where_data_are_made(dataset, task, message):
    with pytest.raises(UserError, match=message):
        zoo.load(dataset, task=task)


@pytest.fixture
def hospital(tmp_path, own_cache):
    """Datasets, each of a folder of its own, with visits of some columns."""
    text = "encounter,patient,admitted,discharged\nF10,1,2020-01-01,2020-01-05\nF11,2,2020-01-20,2020-01-25\n"
    folders = (tmp_path / str(number) for number in range(9))

    def made(visit_id=lambda rows: rows.encounter.substr(1).cast("int64"), **further):
        class Hospital(Dataset):
            needs, concepts_from = ("encounters",), {}

            def subjects(self, tables):
                rows = tables.table("encounters", patient="integer")
                return rows.select(subject_id=rows.patient)

            def visits(self, tables):
                rows = tables.table(
                    "encounters", encounter="text", patient="integer", admitted="time", discharged="time"
                )
                also = {name: value(rows) for name, value in further.items()}
                return rows.select(
                    subject_id=rows.patient, visit_id=visit_id(rows), start=rows.admitted, end=rows.discharged, **also
                )

        root = next(folders)
        root.mkdir()
        (root / "encounters.csv").write_text(text)
        return zoo.load_dataset(Hospital, root=root)

    return made


def test_columns_that_there_are_not_and_ids_that_are_none_are_refused(hospital):
    assert hospital().read("visits").visit_id.tolist() == [10, 11]
    with pytest.raises(UserError, match=r"cannot give 'visits': its expression has a column 'dead'"):
        hospital(dead=lambda rows: rows.patient == 1).read("visits")
    with pytest.raises(UserError, match="its visit_id is string: ids are integers"):
        hospital(visit_id=lambda rows: rows.encounter).read("visits")


def test_a_registered_class_that_was_changed_reads_its_source_anew(tmp_path, own_cache):
    """As it stands in a module of the user's own, in one process and the next."""
    (tmp_path / "stays.csv").write_text("patient,admitted,discharged\n1,2020-01-01,2020-01-05\n")
    module = """
import zoo
from zoo.datasets import Dataset
@zoo.register_dataset("changed")
class Changed(Dataset):
    needs, concepts_from = ("stays",), {}
    def subjects(self, tables):
        rows = tables.table("stays", patient="integer")
        return rows.select(subject_id=rows.patient)
    def visits(self, tables):
        rows = tables.table("stays", patient="integer", admitted="time", discharged="time")
        return rows.select(subject_id=rows.patient, visit_id=rows.patient SUM, start=rows.admitted, end=rows.discharged)
"""
    found = []
    for addend in ("+ 1", "+ 2"):
        (tmp_path / "own_hospital.py").write_text(module.replace("SUM", addend))
        told = "import own_hospital, zoo; print(zoo.load_dataset('changed', root='.').read('visits').visit_id[0])"
        run = subprocess.run(
            [sys.executable, "-B", "-c", told], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        found.append(run.stdout.strip())
    assert found == ["2", "3"]


def test_a_run_of_a_kind_that_is_not_here_says_so():
    facts = zoo.load("synthetic", task="mortality", patients=60).spec("majority").to_dict()
    with pytest.raises(ValueError, match="kind 'ordinal', which nothing has here: import the module"):
        zoo.data.Spec.from_dict({**facts, "kind": "ordinal"})
