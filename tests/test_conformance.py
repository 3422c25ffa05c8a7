"""The conformance kit: everything registered passes it, and whatever is broken is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import zoo
from zoo.data import _feature, _features, _window
from zoo.data._store import VisitIndex
from zoo.datasets._engine import Dataset
from zoo.tasks._task import Cohort, Task
from zoo.tasks.diagnosis import Diagnosis
from zoo.tasks.los import LengthOfStay
from zoo.tasks.mortality import Mortality
from zoo.tasks.readmission import Readmission
from zoo.testing import Report, check_dataset, check_task
from zoo.testing import _task as _checked_task
from zoo.testing._snapshot import Snapshot, read_tables

SHARED = Path(__file__).parents[2] / "shared" / "data"
DEMOS = {"mimic3": "mimic3-demo-1.4", "mimic4": "mimic4-demo-2.2", "eicu": "eicu-demo-2.0.1"}
SCHEMAS = ("mimic3", "mimic4", "eicu")
CALL = {
    ("readmission", "eicu"): {"unit": "stay"},
    ("icd_coding", "eicu"): {"notes": ["comprehensive_progress", "brief_progress"]},
}
"""Parameters without which a task cannot be had on a dataset."""
VARIANTS = [
    ("mortality", {"unit": "stay", "target": "stay", "hours": 12}),
    ("mortality", {"hours": 0}),
    ("readmission", {"unit": "stay"}),
    ("los", {"target": "days", "hours": 6}),
    ("los", {"unit": "stay"}),
    ("diagnosis", {"level": "code"}),
]
NOT_TOLD = {("mortality_after_discharge", "eicu"): "does not tell deaths after discharge"}
"""Tasks that a dataset cannot have, and what is said then."""


@pytest.fixture(scope="module")
def fabricated():
    """Opens a dataset on small fabricated tables in its own schema."""
    found: dict = {}

    def open_(name: str):
        if name not in found:
            if name != "synthetic" and name not in SCHEMAS:
                pytest.fail(f"dataset {name!r} escapes the conformance kit: fabricate tables for it here")
            schema = {} if name == "synthetic" else {"schema": name}
            made = zoo.load_dataset("synthetic", patients=80, **schema)
            found[name] = made if name == "synthetic" else zoo.load_dataset(name, root=made.root)
        return found[name]

    return open_


@pytest.fixture(scope="module")
def demo():
    """Opens an open demo."""

    def open_(name: str):
        root = SHARED / DEMOS[name]
        if not root.is_dir():
            pytest.skip(f"the open demo {root.name} is not there")
        return zoo.load_dataset(name, root=root)

    return open_


def assert_passes(report: Report) -> None:
    assert report.passed, str(report)


# Everything that is registered


@pytest.mark.parametrize("name", zoo.list_datasets())
def test_every_dataset_conforms(fabricated, name):
    assert_passes(check_dataset(fabricated(name)))


@pytest.mark.parametrize("name", [n for n in zoo.list_datasets() if n != "synthetic"])  # which has tables of MIMIC-III
@pytest.mark.parametrize("task", zoo.list_tasks())
def test_every_task_conforms_on_every_dataset(fabricated, name, task):
    if (task, name) in NOT_TOLD:
        with pytest.raises(zoo.UserError, match=NOT_TOLD[task, name]):
            zoo.load(fabricated(name), task)
        return
    report = check_task(task, fabricated(name), subjects=25, rounds=2, **CALL.get((task, name), {}))
    assert_passes(report)


@pytest.mark.parametrize(("task", "parameters"), VARIANTS, ids=str)
def test_variants_conform(fabricated, task, parameters):
    assert_passes(check_task(task, fabricated("mimic3"), subjects=25, rounds=2, **parameters))


@pytest.mark.parametrize("name", DEMOS)
def test_demos_conform(demo, name):
    assert_passes(check_dataset(demo(name)))


@pytest.mark.parametrize(("name", "task"), [("mimic3", "diagnosis"), ("mimic4", "mortality"), ("eicu", "los")])
def test_tasks_conform_on_demos(demo, name, task):
    assert_passes(check_task(task, demo(name), subjects=20, rounds=2))


def test_a_name_with_its_root_and_parameters_can_be_checked(fabricated):
    root = fabricated("mimic3").root
    assert check_dataset("mimic3", root=root).passed
    report = check_task("readmission", "mimic3", root=root, concepts=["drug"], subjects=5, rounds=1, days=7)
    assert report.passed
    assert "of drug" in report.details["window"]
    assert "of lab" not in report.details["window"]


def test_a_report_can_be_read(fabricated):
    report = check_task(NoTime(), fabricated("mimic3"))
    assert isinstance(report, Report)
    assert "FAILED cohort: prediction_time is null" in str(report)
    assert "ok     declaration" in str(report)


# Datasets that are broken


def on_arrow(path: Path, change) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def on_pandas(path: Path, change) -> None:
    table = pq.read_table(path)
    frame = change(table.to_pandas())
    pq.write_table(pa.Table.from_pandas(frame, table.schema, preserve_index=False), path)


def set_row(column: str, row: int, value):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame.index[row], column] = value
        return frame

    return change


def visit_of_another(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[0, "visit_id"] = frame[frame.subject_id != frame.subject_id[0]].visit_id.dropna().iloc[0]
    return frame


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    """Two rows of one subject change places."""
    place = int(np.flatnonzero(frame.subject_id.duplicated() & (frame.time != frame.time.shift()))[0])
    order = np.arange(len(frame))
    order[[place - 1, place]] = order[[place, place - 1]]
    return frame.iloc[order]


def ranked_otherwise(frame: pd.DataFrame) -> pd.DataFrame:
    """Of two codes of one time and visit the second one takes the rank before the first."""
    together = ~frame[["subject_id", "time", "visit_id"]].ne(frame[["subject_id", "time", "visit_id"]].shift()).any(
        axis=1
    )
    place = int(np.flatnonzero(together)[0])
    return set_row("rank", place, int(frame["rank"][place - 1]) - 1)(frame)


def as_date(column: str):
    return lambda t: t.set_column(t.column_names.index(column), column, t[column].cast(pa.timestamp("ns")))


def old_without_flag(frame: pd.DataFrame) -> pd.DataFrame:
    return set_row("age_capped", 0, False)(set_row("age", 0, 95.0)(frame))


BROKEN = {
    "a column that is not there": ("schema", "visits", lambda t: t.drop(["arrival"]), on_arrow),
    "a time of another type": ("schema", "visits", as_date("start"), on_arrow),
    "an event time of another type": ("schema", "drug/events", as_date("time"), on_arrow),
    "a visit_id twice": ("keys", "visits", lambda f: pd.concat([f.iloc[:1], f]), on_pandas),
    "a subject_id twice": ("keys", "subjects", lambda f: pd.concat([f.iloc[:1], f]), on_pandas),
    "a visit without a subject": ("keys", "subjects", lambda f: f.iloc[1:], on_pandas),
    "a stay without a visit": ("keys", "stays", set_row("visit_id", 0, -5), on_pandas),
    "an event in another's visit": ("keys", "drug/events", visit_of_another, on_pandas),
    "an event in a visit that is not there": ("keys", "drug/events", set_row("visit_id", 3, -5), on_pandas),
    "an event without a code": ("keys", "drug/events", set_row("code", 3, None), on_pandas),
    "visits in another order": ("order", "visits", lambda f: f.iloc[::-1], on_pandas),
    "subjects in another order": ("order", "subjects", lambda f: f.iloc[::-1], on_pandas),
    "events in another order": ("order", "lab/events", swapped, on_pandas),
    "codes in another order than by rank": ("order", "diagnosis/events", ranked_otherwise, on_pandas),
    "a visit that ends first": ("times", "visits", set_row("end", 0, pd.Timestamp("1900-01-01")), on_pandas),
    "a stay without an end": ("times", "stays", set_row("end", 0, pd.NaT), on_pandas),
    "an impossible age": ("ages", "visits", set_row("age", 0, -3.0), on_pandas),
    "an age of 300": ("ages", "visits", set_row("age", 0, 300.0), on_pandas),
    "an old age without its flag": ("ages", "visits", old_without_flag, on_pandas),
    "a class that there is not": ("classes", "visits", set_row("class", 0, "Inpatient"), on_pandas),
    "a code without a system": ("codes", "drug/events", set_row("code", 3, "aspirin"), on_pandas),
    "a code without a code": ("codes", "drug/events", set_row("code", 3, "NDC//"), on_pandas),
}


@pytest.fixture(scope="module")
def tables(fabricated):
    dataset = fabricated("mimic3")
    ids = dataset.read("subjects").subject_id.to_numpy()
    return read_tables(dataset, ["diagnosis", "drug", "lab"], ids)


@pytest.fixture
def snapshot(tables, tmp_path):
    return Snapshot(tables, tmp_path, Dataset)


def test_a_sound_snapshot_passes(snapshot):
    assert_passes(check_dataset(snapshot))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_dataset_is_named(snapshot, name):
    check, relation, change, how = BROKEN[name]
    how(snapshot.folder() / f"{relation}.parquet", change)
    report = check_dataset(snapshot)
    assert report.failures[0] == check, str(report)
    assert relation.split("/")[0][:-1] in report.details[check] or "age" in report.details[check]


def no_events(snapshot):
    for concept in snapshot.concepts:
        on_pandas(snapshot.folder() / concept / "events.parquet", lambda f: f.iloc[:0])


def test_a_dataset_without_events_is_named(snapshot):
    no_events(snapshot)
    report = check_dataset(snapshot)
    assert report.failures == ["coverage"], str(report)
    assert "no concept has an event" in report.details["coverage"]


def test_what_there_is_little_of_is_said(snapshot):
    def nine_tenths_unknown(frame):
        return frame.assign(died=frame.died.astype("boolean").mask(np.arange(len(frame)) % 10 > 0))

    def one_of_no_class(frame):
        return frame.assign(**{"class": frame["class"].where(np.arange(len(frame)) > 0)})

    def of_another_system(frame):
        return frame.assign(code="LOCAL//" + frame.code.str.replace("//", "-"))

    on_pandas(snapshot.folder() / "visits.parquet", nine_tenths_unknown)
    on_pandas(snapshot.folder() / "visits.parquet", one_of_no_class)
    on_pandas(snapshot.folder() / "diagnosis" / "events.parquet", of_another_system)
    on_pandas(snapshot.folder() / "lab" / "events.parquet", lambda f: f.iloc[:20])
    report = check_dataset(snapshot)
    assert_passes(report)
    assert "class is unknown for 1 of" in report.details["classes"]
    told = report.details["coverage"]
    assert "died is unknown for" in told
    assert "age is unknown" not in told
    assert "level 'ccs' knows 0 of" in told
    assert "% of the visits have any lab" in told


def test_a_dataset_with_an_unknown_concept_is_named(snapshot):
    snapshot.concepts = [*snapshot.concepts, "genome"]
    assert check_dataset(snapshot).failures == ["concepts"]


def test_a_dataset_that_cannot_read_what_it_offers_is_named(snapshot):
    (snapshot.folder() / "lab" / "events.parquet").unlink()
    assert check_dataset(snapshot).failures == ["concepts"]


class Restless(Snapshot):
    """Each time its events are derived, they come in another order."""

    def events_folder(self, concept):
        folder = super().events_folder(concept)
        again = folder.with_name(f"{concept}-{np.random.default_rng().integers(1e15)}")
        again.mkdir()
        frame = pd.read_parquet(folder / "events.parquet")
        frame["value"] = np.random.default_rng().random(len(frame))
        schema = pq.read_schema(folder / "events.parquet")
        pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), again / "events.parquet")
        return again


def test_a_dataset_that_differs_when_read_again_is_named(tables, tmp_path):
    assert check_dataset(Restless(tables, tmp_path, Dataset)).failures == ["repeat"]


# Tasks that are broken


class Changed(Mortality):
    """Mortality with samples that `change` spoils."""

    registered_name = "changed"

    def __init__(self):
        super().__init__(hours=24)

    def cohort(self, relations):
        cohort = super().cohort(relations)
        return Cohort(self.change(cohort.samples, relations), cohort.attrition)

    def change(self, samples, relations):
        raise NotImplementedError


class NoTime(Changed):
    def change(self, samples, relations):
        return samples.assign(prediction_time=samples.prediction_time.where(samples.index > 0))


class NoLabel(Changed):
    def change(self, samples, relations):
        return samples.assign(label=samples.label.astype(object).where(samples.index > 0))


class OtherColumns(Changed):
    def change(self, samples, relations):
        return samples.drop(columns="stay_id")


class OtherTypes(Changed):
    def change(self, samples, relations):
        return samples.assign(visit_id=samples.visit_id.astype(str))


class NumbersForFlags(Changed):
    def change(self, samples, relations):
        return samples.assign(label=samples.label.astype(int))


class VisitOfAnother(Changed):
    def change(self, samples, relations):
        return samples.assign(visit_id=samples.visit_id.to_numpy()[::-1])


class NoSuchVisit(Changed):
    def change(self, samples, relations):
        return samples.assign(visit_id=samples.visit_id + 10**9)


class NoSuchStay(Changed):
    def change(self, samples, relations):
        return samples.assign(stay_id=pd.array([-1] * len(samples), "Int64"))


class Twice(Changed):
    def change(self, samples, relations):
        return pd.concat([samples.iloc[:-1], samples.iloc[:1]], ignore_index=True)


class TooEarly(Changed):
    def change(self, samples, relations):
        return samples.assign(prediction_time=samples.prediction_time - np.timedelta64(30, "D"))


class Fewer(Changed):
    def change(self, samples, relations):
        return samples.iloc[1:].reset_index(drop=True)


class ByChance(Changed):
    def change(self, samples, relations):
        return samples.assign(label=np.random.default_rng().random(len(samples)) < 0.5)


class InPlace(Changed):
    def change(self, samples, relations):
        relations.visits["died"] = False
        return samples


class Raising(Changed):
    def change(self, samples, relations):
        return samples.assign(label=samples.no_such_column)


class Miscounted(Mortality):
    registered_name = "miscounted"

    def cohort(self, relations):
        cohort = super().cohort(relations)
        cohort.attrition.steps[1]["left_out"] += 1
        return cohort


class TooLate(Changed):
    def change(self, samples, relations):
        return samples.assign(prediction_time=samples.prediction_time + np.timedelta64(3000, "D"))


class FewerOutcomes(Mortality):
    registered_name = "fewer outcomes"

    def cohort(self, relations):
        cohort = super().cohort(relations)
        return replace(cohort, outcome_time=cohort.outcome_time[1:])


class CallsItselfRetrospective(Mortality):
    registered_name, retrospective = "calls itself retrospective", True


class ForecastsInRetrospect(Diagnosis):
    registered_name, retrospective = "forecasts in retrospect", True

    def cohort(self, relations):
        cohort = super().cohort(relations)
        return replace(cohort, outcome_time=cohort.samples.prediction_time.to_numpy())


class AboutTheWard(Mortality):
    registered_name = "about the ward"

    def __init__(self):
        super().__init__()
        self.about = "ward"


class OtherKind(Mortality):
    registered_name, kind = "other kind", "boolean"


class GivesItsLabel(Diagnosis):
    registered_name, given = "gives its label", frozenset({"diagnosis"})


class GivesWhatItNeeds(Diagnosis):
    registered_name, given, label_concepts = "gives what it needs", frozenset({"diagnosis"}), frozenset()


class CodesForLists(Diagnosis):
    registered_name = "codes for lists"

    def cohort(self, relations):
        cohort = super().cohort(relations)
        return replace(cohort, samples=cohort.samples.assign(label=[codes[0] for codes in cohort.samples.label]))


class EmptyLists(Diagnosis):
    registered_name = "empty lists"

    def cohort(self, relations):
        cohort = super().cohort(relations)
        return replace(cohort, samples=cohort.samples.assign(label=[[] for _ in cohort.samples.label]))


class LabelsBesidesItsOwn(Diagnosis):
    registered_name = "labels besides its own"
    labels = ("CCS//108",)


class ClassOutOfRange(LengthOfStay):
    registered_name = "class out of range"

    def cohort(self, relations):
        cohort = super().cohort(relations)
        return replace(cohort, samples=cohort.samples.assign(label=cohort.samples.label + 7))


class EndlessDays(LengthOfStay):
    registered_name = "endless days"

    def __init__(self):
        super().__init__(target="days")

    def cohort(self, relations):
        cohort = super().cohort(relations)
        return replace(cohort, samples=cohort.samples.assign(label=np.inf))


class AboveTheLeastOfTheVisit(Task):
    """The first creatinine of a visit that is above the least of it, whenever that is."""

    registered_name, kind, labels = "above the least of the visit", "binary", ("risen",)
    needs = frozenset({"lab"})

    def cohort(self, relations):
        creatinine = relations.measured("creatinine")
        least = pd.Series(creatinine.value).groupby(creatinine.visit).transform("min").to_numpy()
        risen = creatinine.only(creatinine.value >= 1.2 * least)
        candidates = relations.candidates()
        onset = risen.next(candidates.frame.visit)
        return candidates.cohort(candidates.frame.start, ~np.isnat(onset), outcome_time=onset)


class DeclaresNothing(AboveTheLeastOfTheVisit):
    registered_name, needs = "declares nothing", frozenset()


class ReadsSetsUndeclared(Mortality):
    registered_name = "reads sets undeclared"

    def cohort(self, relations):
        relations.code_sets("drug", "code")
        return super().cohort(relations)


SPOILT = {
    "outcome": [AboveTheLeastOfTheVisit],
    "cohort": [NoTime, NoLabel, OtherColumns, OtherTypes, Raising, FewerOutcomes],
    "label": [NumbersForFlags, CodesForLists, EmptyLists, LabelsBesidesItsOwn, ClassOutOfRange, EndlessDays],
    "keys": [VisitOfAnother, NoSuchVisit, NoSuchStay, Twice],
    "prediction_time": [TooEarly],
    "forecast": [TooLate, ForecastsInRetrospect],
    "attrition": [Fewer, Miscounted],
    "repeat": [ByChance, InPlace],
    "declaration": [
        OtherKind,
        GivesItsLabel,
        GivesWhatItNeeds,
        CallsItselfRetrospective,
        AboutTheWard,
        DeclaresNothing,
        ReadsSetsUndeclared,
    ],
}


@pytest.mark.parametrize(
    ("check", "task"), [(c, t) for c, ts in SPOILT.items() for t in ts], ids=lambda x: getattr(x, "__name__", x)
)
def test_a_broken_task_is_named(snapshot, check, task):
    report = check_task(task(), snapshot, subjects=5, rounds=1)
    assert report.failures[0] == check, str(report)


class AnHourBeforeTheEnd(Task):
    """Predicts how visits end, some at a time when it is known, and leaves out nobody itself."""

    registered_name, kind, labels = "an hour before the end", "binary", ("death",)

    def cohort(self, relations):
        candidates = relations.candidates()
        frame = candidates.frame
        moment = frame.end - pd.Timedelta(hours=1)
        late = moment.where(frame.visit % 3 > 0, frame.end + pd.Timedelta(hours=2))
        known = frame.end.where(frame.visit % 3 < 2, moment)
        return candidates.cohort(late, frame.died.astype(bool), outcome_time=known)


def test_the_framework_leaves_out_what_is_no_forecast_and_the_kit_says_so_where_it_does_not(snapshot, monkeypatch):
    task = AnHourBeforeTheEnd()
    report = check_task(task, snapshot, subjects=5, rounds=1)
    assert_passes(report)
    count = len(snapshot.read("visits"))
    assert f"{count - (count + 1) // 3} of its {count} samples were left out" in report.details["forecast"]
    monkeypatch.setattr(_checked_task, "with_something_to_predict", lambda task, cohort, relations: cohort)
    report = check_task(task, snapshot, subjects=5, rounds=1)
    assert report.failures == ["forecast"], str(report)
    for what in ("after the end of their visit", "at or after the death", "and 1 more"):
        assert what in report.details["forecast"]


# Windows that are broken


def whole(store, visits, own, prediction_time, *, given, withheld):
    """The own visit, whatever the time."""
    found = _window.cut(store, visits, own, prediction_time, given=given, withheld=withheld)
    return replace(found, own_end=store.offsets[own + 1])


def one_more(store, visits, own, prediction_time, *, given, withheld):
    """An event too many."""
    found = _window.cut(store, visits, own, prediction_time, given=given, withheld=withheld)
    return replace(found, own_end=np.minimum(found.own_end + 1, store.offsets[own + 1]))


def the_next_visit(store, visits, own, prediction_time, *, given, withheld):
    """The visit after the own one, as if it were part of it."""
    found = _window.cut(store, visits, own, prediction_time, given=given, withheld=withheld)
    after = np.minimum(own + 1, len(visits) - 1)
    same = visits.subject_id[after] == visits.subject_id[own]
    return replace(found, own_end=np.where(same, store.offsets[after + 1], found.own_end))


def an_hour_late(store, visits, own, prediction_time, *, given, withheld):
    """A prediction time that is later than it claims to be."""
    later = prediction_time + np.timedelta64(3600, "s")
    return _window.cut(store, visits, own, later, given=given, withheld=withheld)


def earlier_visits_whole(store, visits, own, prediction_time, *, given, withheld):
    """Earlier visits, though they go on."""
    found = _window.cut(store, visits, own, prediction_time, given=given, withheld=withheld)
    return replace(found, early=np.zeros(len(own), bool))


def nothing_withheld(store, visits, own, prediction_time, *, given, withheld):
    """Label concepts by their time."""
    return _window.cut(store, visits, own, prediction_time, given=given, withheld=False)


def nothing_at_all(store, visits, own, prediction_time, *, given, withheld):
    """Nothing of the own visit."""
    return _window.cut(store, visits, own, prediction_time, given=False, withheld=True)


LEAKS = [
    (whole, Mortality(24), "window"),
    (one_more, Mortality(24), "window"),
    (the_next_visit, Mortality(24), "window"),
    (an_hour_late, Mortality(24), "window"),
    (earlier_visits_whole, Readmission(), "window"),
    (nothing_withheld, Diagnosis(), "window"),
    (nothing_at_all, Mortality(24), "past"),
]


@pytest.mark.parametrize(("leak", "task", "check"), LEAKS, ids=lambda x: getattr(x, "__name__", ""))
def test_a_window_that_leaks_is_named(snapshot, monkeypatch, leak, task, check):
    sound = check_task(task, snapshot, subjects=30, rounds=2)
    assert_passes(sound)
    monkeypatch.setattr(_features, "cut", leak)
    report = check_task(task, snapshot, subjects=30, rounds=2)
    assert check in report.failures, str(report)
    assert set(report.failures) <= {"window", "past"}
    assert "Error" not in str(report)


def test_the_text_of_a_later_note_is_named(fabricated, tmp_path, monkeypatch):
    """The events are the right ones, and each has the words of the next note."""
    dataset = fabricated("mimic3")
    ids = dataset.read("subjects").subject_id.to_numpy()
    noted = Snapshot(read_tables(dataset, ["note"], ids), tmp_path, Dataset)
    assert_passes(check_task(Mortality(24), noted, subjects=30, rounds=1))
    honest = _feature.Feature._read

    def one_too_far(self, index, offsets, own):
        return honest(self, np.minimum(index + 1, len(self.store.code) - 1), offsets, own)

    monkeypatch.setattr(_feature.Feature, "_read", one_too_far)
    report = check_task(Mortality(24), noted, subjects=30, rounds=1)
    assert report.failures == ["window"]
    assert "note.tokens changes with what is later than the prediction time" in str(report)


def test_an_order_that_knows_the_future_is_named(tables, tmp_path, monkeypatch):
    """Of two visits that start together, the order must not tell which ends first."""
    visits = tables.visits.sort_values(["subject_id", "start"])
    second = visits.subject_id.duplicated() & ~visits.subject_id.duplicated(keep="last")
    visits = visits.assign(
        start=visits.start.shift().where(second, visits.start).where(lambda s: s <= visits.end, visits.start)
    )
    assert (visits.duplicated(["subject_id", "start"])).any()
    snapshot = Snapshot(replace(tables, visits=visits), tmp_path, Dataset)
    assert_passes(check_task(LengthOfStay(hours=1), snapshot, subjects=None, rounds=2))
    read = VisitIndex.read

    def by_end(folder):
        index = read(folder)
        order = np.lexsort((index.end, index.start, index.subject_id))
        return VisitIndex(
            *(getattr(index, n)[order] for n in ("subject_id", "visit_id", "start", "end", "order_known"))
        )

    monkeypatch.setattr(VisitIndex, "read", by_end)
    assert "window" in check_task(LengthOfStay(hours=1), snapshot, subjects=None, rounds=2).failures


def test_what_could_not_be_checked_is_said(tables, tmp_path):
    events = {"drug": tables.events["drug"].iloc[:0]}
    report = check_task(Mortality(24), Snapshot(replace(tables, events=events), tmp_path, Dataset))
    assert report.passed
    assert "0 of drug" in report.details["window"]
    assert report.details["past"] == "no drug before any prediction time"


def test_a_third_party_needs_no_registration(snapshot):
    class Weekend(Task):
        registered_name, kind, labels = "weekend", "binary", ("weekend",)

        def cohort(self, relations):
            candidates = relations.candidates()
            return candidates.cohort(candidates.frame.start, candidates.frame.start.dt.day_of_week >= 5)

    assert_passes(check_task(Weekend(), snapshot, subjects=10, rounds=1))
