"""What tasks see of events and their values, samples at many moments of a visit, and the task of the docs with both."""

import doctest
import re
from pathlib import Path

import fabricated
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.prepare import load_dataset, prepare, relations
from zoo.registry import UserError, tasks
from zoo.tasks import Candidates, Cohort, Events, Task
from zoo.tasks._selection import select
from zoo.testing import check_task

HOUR = pd.Timedelta(hours=1)
START = np.datetime64("2100-01-01", "us")


# Events, against what pandas makes of the canonical table


def expected_events(dataset, concept: str, codes=None) -> pd.DataFrame:
    frame, visits, stays = (dataset.read(name) for name in (concept, "visits", "stays"))
    frame = frame if codes is None else frame[frame.code.isin(codes)]
    number = pd.Series(range(len(visits)), visits.visit_id)
    stay = pd.Series(range(len(stays)), stays.stay_id)
    frame = frame.assign(
        visit=frame.visit_id.map(number).fillna(-1).astype("int64"),
        stay=frame.stay_id.map(stay).fillna(-1).astype("int64"),
    )
    return frame.sort_values(["subject_id", "visit", "time"], kind="stable")


@pytest.mark.parametrize("source", ["mimic3", "mimic4", "eicu"])
def test_events_are_those_of_the_canonical_table_in_the_order_of_visits(tmp_path, source):
    dataset = load_dataset(source, fabricated.write(fabricated.frames(source), tmp_path))
    seen = relations(dataset)
    some = dataset.read("lab").code.unique()[:1].tolist()
    for concept, codes in [("lab", None), ("lab", some), ("vital", None), ("diagnosis", None)]:
        found, expected = seen.events(concept, codes), expected_events(dataset, concept, codes)
        assert len(found) == len(expected) > 0
        columns = {"subject": "subject_id", "visit": "visit", "stay": "stay", "time": "time", "value": "value"}
        for name, column in columns.items():
            np.testing.assert_array_equal(getattr(found, name), expected[column].to_numpy(getattr(found, name).dtype))
        assert found.names[found.code].tolist() == expected.code.tolist()
        assert found.names.tolist() == sorted(set(expected.code))
        assert (found.time.dtype, found.value.dtype) == ("datetime64[us]", "float64")


def test_events_lie_in_visits_in_stays_and_in_none(tmp_path):
    charted = "1,11,111,220045,2150-03-01 12:10:00,2150-03-01 12:11:00,77.5,0"
    between = "1,,50912,2150-04-01 09:00:00,2.75,mg/dL"
    seen = relations(load_dataset("mimic3", more_events(tmp_path, labs=between, vitals=charted)))
    rate = seen.measured("heart_rate")
    at = np.flatnonzero(rate.value == 77.5)
    assert seen.visits.visit_id.iloc[rate.visit[at]].tolist() == [11]
    assert seen.stays.stay_id.iloc[rate.stay[at]].tolist() == [111]
    creatinine = seen.measured("creatinine")
    at = np.flatnonzero(creatinine.value == 2.75)
    assert (creatinine.visit[at].tolist(), creatinine.stay[at].tolist()) == ([-1], [-1])
    assert creatinine.subject[at].tolist() == [1]


def more_events(folder: Path, labs: str = "", vitals: str = "") -> Path:
    tables = fabricated.frames("mimic3")
    more = {
        "labevents": "subject_id,hadm_id,itemid,charttime,valuenum,valueuom\n" + labs,
        "chartevents": "subject_id,hadm_id,icustay_id,itemid,charttime,storetime,valuenum,error\n" + vitals,
    }
    for name, text in more.items():
        tables[name] = pd.concat([tables[name], fabricated.frame_of(text)], ignore_index=True)
    return fabricated.write(tables, folder / "source")


def test_what_was_measured_is_in_one_unit_and_what_cannot_be_is_left_out_and_counted(tmp_path):
    labs = [
        "1,11,50912,2150-03-02 10:00:00,176.8,umol/L",
        "1,11,50912,2150-03-02 11:00:00,1,mg",
        "1,11,50912,2150-03-02 12:00:00,138,mg/dL",
        "1,11,50912,2150-03-02 13:00:00,1.25,mg/dL",
        "1,11,50971,2150-03-02 13:00:00,4,mEq/L",
        "1,11,50822,2150-03-02 14:00:00,5,mEq/L",
    ]
    seen = relations(load_dataset("mimic3", more_events(tmp_path, labs="\n".join(labs))))
    creatinine, raw = seen.measured("creatinine"), seen.events("lab", "LAB//50912")
    ours = creatinine.only((creatinine.visit >= 0) & (creatinine.time >= np.datetime64("2150-03-02T10")))
    assert ours.value[:2] == pytest.approx([2.0, 1.25], abs=1e-3)
    assert creatinine.unit == "mg/dL"
    assert len(raw) - len(creatinine) == 2 + np.isnan(raw.value).sum()
    assert set(creatinine.notes) >= {
        "creatinine of labels, LAB//50912: 1 value in mg and not mg/dL, left out",
        "creatinine of labels, LAB//50912: 1 value outside 0 to 60 mg/dL, left out",
        "creatinine of labels, LAB//50912: 1 value converted from umol/L to mg/dL",
    }
    potassium = seen.measured("potassium")
    assert {"LAB//50822", "LAB//50971"} <= set(potassium.names[potassium.code])
    assert len(seen.events("lab", ["LAB//none"])) == len(seen.events("lab", [])) == 0
    assert len(seen.events("lab", []).past(hours=2)) == 0


def test_what_cannot_be_asked_for_is_named(tmp_path):
    tables = {n: t for n, t in fabricated.frames("mimic3").items() if n != "labevents"}
    seen = relations(load_dataset("mimic3", fabricated.write(tables, tmp_path)))
    for asked, words in [
        (lambda: seen.measured("creatinin"), "unknown variable 'creatinin': did you mean 'creatinine'"),
        (lambda: seen.measured("heart_rate", "lab"), "unknown variable 'heart_rate'"),
        (lambda: seen.measured("glucose"), "is a lab and a vital: name one of them"),
        (lambda: seen.measured("glucose", "vitals"), "concept='vitals' has no variables: did you mean 'vital'"),
        (lambda: seen.measured("creatinine"), "offers no 'lab': that needs the table 'labevents'"),
        (lambda: seen.events("lab"), "offers no 'lab': that needs the table 'labevents'"),
        (lambda: seen.events("labs"), "unknown concept 'labs': did you mean 'lab'"),
        (lambda: seen.events("vital", ["heart_rate"]), "codes: 'heart_rate' names no system"),
        (lambda: seen.measured("heart_rate").past(2, "median"), "what='median' is nothing that a window has"),
        (lambda: seen.candidates().every("day"), "hours='day' must be a number of at least 0.1"),
        (lambda: seen.candidates().every(0), "hours=0 must be a number of at least 0.1"),
    ]:
        with pytest.raises(UserError) as told:
            asked()
        assert words in str(told.value)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hours=st.integers(0, 30), gaps=st.booleans())
def test_past_and_next_are_what_a_plain_reading_gives(seed, hours, gaps):
    random = np.random.default_rng(seed)
    visits = pd.DataFrame({"subject": random.integers(0, 4, 8) * 10**17}).sort_values("subject").subject.to_numpy()
    visit = random.integers(-1, 8, 30)
    subject = np.where(visit < 0, random.choice(visits, 30), visits[visit])
    time = START + random.integers(0, 40, 30) * np.timedelta64(1, "h")
    order = np.lexsort((time, visit, subject))
    value = np.where(random.random(30) < 0.2, np.nan, random.integers(0, 9, 30))
    none = np.zeros(30, np.int64)
    rows = [a[order] for a in (subject, visit, none, time, none)]
    events = Events(*rows, value[order], np.array(["LAB//1"], object), gaps_known=gaps)
    for what, function in (("min", np.nanmin), ("max", np.nanmax), ("mean", np.nanmean), ("count", len)):
        for n, found in enumerate(events.past(hours, what)):
            near = (events.time <= events.time[n]) & (events.time >= events.time[n] - np.timedelta64(hours, "h"))
            near &= (events.subject == events.subject[n]) & (gaps | (events.visit == events.visit[n]))
            there = events.value[near & ~np.isnan(events.value)]
            assert found == pytest.approx(function(there) if len(there) or what == "count" else np.nan, nan_ok=True)
    asked = random.integers(-1, 8, 12)
    moment = START + random.integers(-1, 41, 12) * np.timedelta64(1, "h")
    for after in (None, moment):
        for n, found in enumerate(events.next(asked, after)):
            later = (events.visit == asked[n]) & (asked[n] >= 0)
            later &= after is None or events.time > moment[n]
            assert np.isnat(found) if not later.any() else found == events.time[later].min()


# Many moments of a visit


def visits_of(*hours: float | None) -> Candidates:
    start = pd.Series([pd.Timestamp(START)] * len(hours), dtype="datetime64[us]")
    end = pd.Series([pd.NaT if h is None else pd.Timestamp(START) + h * HOUR for h in hours], dtype="datetime64[us]")
    return Candidates.all("visits", pd.DataFrame({"start": start, "end": end, "visit": range(len(hours))}))


def moments(candidates: Candidates) -> list[tuple[int, float]]:
    frame = candidates.frame
    return list(zip(frame.visit, (frame.prediction_time - pd.Timestamp(START)) / HOUR, strict=True))


def test_a_candidate_comes_back_as_often_as_its_visit_has_moments():
    candidates = visits_of(12, 24, 24.001, 60, None)
    candidates.every(12)
    assert moments(candidates) == [(1, 12), (2, 12), (2, 24), (3, 12), (3, 24), (3, 36), (3, 48)]
    assert candidates.frame.index.is_unique
    assert candidates.attrition.table().to_dict("records") == [
        {"step": "all visits", "left_out": 0, "remaining": 5},
        {"step": "over within 12 hours", "left_out": 2, "remaining": 3},
        {"step": "every 12 hours", "left_out": 0, "remaining": 7},
    ]
    until = visits_of(12, 60)
    until.every(12, until=until.frame.start + 30 * HOUR)
    assert moments(until) == [(0, 12), (0, 24), (1, 12), (1, 24)]
    none = visits_of(1, 2)
    none.every(5)
    assert len(none.frame) == 0


class DeathWithin(Task):
    """Death in the next day, every six hours; ``late`` goes on long after the visit or the stay."""

    registered_name, kind, labels = "death within a day", "binary", ("death",)

    def __init__(self, unit: str = "visit", late: bool = False):
        self.unit, self.late = unit, late

    def cohort(self, relations) -> Cohort:
        candidates = relations.candidates(self.unit)
        candidates.leave_out(candidates.frame.died.isna(), "death unknown")
        candidates.every(6, until=candidates.frame.end + 100 * HOUR if self.late else None)
        frame = candidates.frame
        outcome = frame.death.where(frame.subject_id % 3 > 0, frame.start + 24 * HOUR)
        label = (outcome - frame.prediction_time) <= 24 * HOUR
        return candidates.cohort(frame.prediction_time, label, outcome_time=outcome, when="the moment")


@pytest.mark.parametrize("unit", ["visit", "stay"])
def test_the_framework_leaves_out_moments_that_are_no_forecast(intact_mimic3, unit):
    dataset = load_dataset("mimic3", intact_mimic3.root)
    seen = relations(dataset)
    honest, late = (select(DeathWithin(unit, late), seen) for late in (False, True))
    steps = late.attrition.table().set_index("step").left_out
    for step in (f"{unit} ended before the moment", "outcome known before the moment"):
        assert steps[step] > 0
    ends = (seen.visits if unit == "visit" else seen.stays).set_index(f"{unit}_id").end
    for cohort in (honest, late):
        samples = cohort.samples
        assert samples.visit_id.duplicated().any()
        assert not samples.duplicated(["visit_id", "stay_id", "prediction_time"]).any()
        assert (samples.prediction_time <= ends.loc[samples[f"{unit}_id"]].to_numpy()).all()
        died = seen.deaths.reindex(samples.subject_id).to_numpy()
        assert not (samples.prediction_time.to_numpy() >= died).any()
        assert not (samples.prediction_time.to_numpy() >= cohort.outcome_time).any()
        assert len(cohort.outcome_time) == len(samples)
    at_the_end = late.samples.prediction_time == ends.loc[late.samples[f"{unit}_id"]].to_numpy()
    assert len(honest.samples) == len(late.samples) - at_the_end.sum()  # only they may be predicted when all is over
    assert check_task(DeathWithin(unit, True), dataset, subjects=15, rounds=3).passed


def test_samples_of_one_visit_share_its_split_and_see_what_each_may(intact_mimic3, tmp_path):
    dataset = load_dataset("mimic3", intact_mimic3.root)
    ids = dataset.read("visits").visit_id.to_numpy()
    table = pd.DataFrame({"visit_id": ids[::2], "split": "train"})
    data = zoo.load(dataset, DeathWithin, split=table, concepts=["lab"])
    known = data.samples[data.samples.split.notna()]
    assert set(known.visit_id) <= set(ids[::2])
    assert data.size("train") == len(known) > 2 * known.visit_id.nunique()
    (batch,) = data.batches("train", {"lab"}, batch_size=len(known))
    lab = dataset.read("lab")
    order = dataset.read("visits").set_index("visit_id").start
    for n, sample in enumerate(known.itertuples()):
        mine = lab[(lab.subject_id == sample.subject_id) & (lab.time <= sample.prediction_time)]
        mine = mine[order.loc[mine.visit_id.astype("int64")].to_numpy() <= order.loc[sample.visit_id]]
        row = slice(*batch.row_offsets[n : n + 2].tolist())
        assert int(batch["lab"].lengths[row].sum()) == len(mine)


class DrugsEverySixHours(Task):
    """Which drugs a visit has, recommended again every twelve hours; of no use but to look at what is before."""

    registered_name, kind, predicts = "drugs every twelve hours", "multilabel", "drug"
    label_concepts = needs = frozenset({"drug"})
    levels, interactions = {"drug": "atc3"}, None

    def __init__(self):
        pass

    def cohort(self, relations) -> Cohort:
        candidates = relations.candidates()
        sets = relations.drug_sets("atc3", None)
        candidates.leave_out(sets.lengths == 0, "no drug")
        candidates.every(12)
        frame = candidates.frame
        return candidates.cohort(frame.prediction_time, sets.lists(frame.visit.to_numpy()))


def test_the_drugs_before_are_those_of_the_visit_before(own_cache):
    data = zoo.load("synthetic", DrugsEverySixHours, patients=40, split=(1, 0, 0))
    places = data.places("train")
    before, label = data.outcomes.options(places)["before"], data.label("train")
    samples = data.samples
    last: dict[int, tuple[int, np.ndarray]] = {}
    earlier = follows = 0
    for n, (subject, visit) in enumerate(zip(samples.subject_id, samples.visit_id, strict=True)):
        if n and samples.visit_id[n - 1] != visit and samples.subject_id[n - 1] == subject:
            last[subject] = (visit, label[n - 1])
        if subject in last:
            assert before[n].tolist() == last[subject][1].astype(float).tolist()
            follows += 1
        else:
            assert np.isnan(before[n]).all()
            earlier += 1
    assert follows > samples.visit_id.nunique()
    assert earlier > samples.subject_id.nunique()


def test_a_run_and_a_board_tell_samples_of_one_visit_apart(intact_mimic3, tmp_path):
    from zoo.reporting._predictions import Predictions

    data = zoo.load(load_dataset("mimic3", intact_mimic3.root), DeathWithin, split=(0.5, 0.2, 0.3))
    folder = tmp_path / "run"
    zoo.train(zoo.create_model("retain", data, dim=8), data, out=folder, max_epochs=1, device="cpu")
    predicted = zoo.predict(folder, data)
    assert len(predicted) == data.size("test")
    assert not predicted.duplicated(["visit_id", "prediction_time"]).any()
    assert predicted.visit_id.duplicated().any()
    assert predicted.groupby("visit_id").score.nunique().max() > 1  # a later sample sees more of its visit
    predicted.attrs.clear()
    predicted.to_parquet(tmp_path / "predictions.parquet")
    read = Predictions.read(tmp_path / "predictions.parquet", "binary")
    assert read.samples[0].tolist() == predicted.visit_id.tolist()
    assert read.score == pytest.approx(predicted.score.to_numpy(), abs=1e-6)
    moved = predicted.assign(stay_id=pd.array(range(len(predicted)), "Int64"))
    moved.to_parquet(tmp_path / "moved.parquet")
    assert read.same_samples(read)
    assert not read.same_samples(Predictions.read(tmp_path / "moved.parquet", "binary"))


# The task of the docs


@pytest.fixture(scope="module")
def kidney_injury():
    """The class that `docs/add_a_task.md` shows, just as it stands there."""
    page = (Path(__file__).parent.parent / "docs" / "add_a_task.md").read_text(encoding="utf-8")
    examples = [e.source for e in doctest.DocTestParser().get_examples(page)]
    names: dict = {}
    for source in examples:
        if source.startswith(("import", "from")) or "class KidneyInjury" in source:
            exec(source, names)
    (shown,) = [source for source in examples if "class KidneyInjury" in source]
    assert len(shown.splitlines()) < 40
    yield names["KidneyInjury"]
    del tasks._entries["kidney_injury"]


@pytest.fixture(scope="module")
def source_with_labs(open_data, tmp_path_factory):
    """Opens an open demo, with its laboratory tests where its tables should be."""

    found: dict = {}

    def opened(name: str):
        return found[name] if name in found else found.setdefault(name, load(name))

    def load(name: str):
        if name == "synthetic":
            return load_dataset("synthetic", patients=80)
        root = open_data / {"mimic3": "mimic3-demo-1.4", "mimic4": "mimic4-demo-2.2", "eicu": "eicu-demo-2.0.1"}[name]
        if name == "eicu":
            linked = tmp_path_factory.mktemp("eicu")
            for path in [p for p in root.iterdir() if p.is_file()] + [root / "subset_169_stays" / "lab.csv.gz"]:
                (linked / path.name).symlink_to(path)
            root = linked
        return load_dataset(name, root)

    return opened


@pytest.mark.parametrize(
    ("name", "unit"),
    [("synthetic", "visit"), ("mimic3", "visit"), ("mimic3", "stay"), ("mimic4", "stay"), ("eicu", "visit")],
)
def test_the_task_of_the_docs_conforms_everywhere(kidney_injury, source_with_labs, name, unit):
    dataset = source_with_labs(name)
    report = check_task(kidney_injury(unit=unit), dataset, concepts=["lab", "diagnosis"], subjects=12, rounds=2)
    assert report.passed, str(report)
    assert "outcome" in report.checks
    assert re.search(r"\b[1-9]\d* of lab", report.details["window"])


@pytest.mark.parametrize("name", ["mimic3", "eicu"])
def test_kidney_injury_is_what_a_plain_reading_of_its_definition_gives(kidney_injury, source_with_labs, name):
    dataset = source_with_labs(name)
    codes = {"mimic3": "LAB//50912", "eicu": "LAB//creatinine"}
    lab = dataset.read("lab")
    lab = lab[(lab.code == codes[name]) & (lab.value > 0) & (lab.value <= 60)]
    onset: dict[int, pd.Timestamp] = {}
    measured: dict[int, list[pd.Timestamp]] = {}
    for _, mine in lab.sort_values("time").groupby("subject_id" if name == "mimic3" else "visit_id"):
        for row in mine[mine.visit_id.notna()].itertuples():
            measured.setdefault(row.visit_id, []).append(row.time)
            past = mine[mine.time <= row.time]
            days2, days7 = (past.value[past.time >= row.time - h * HOUR].min() for h in (48, 168))
            if row.value - days2 >= 0.3 - 1e-6 or row.value / days7 >= 1.5 - 1e-6:
                onset.setdefault(row.visit_id, row.time)
    expected = {}
    for visit in dataset.read("visits").itertuples():
        first, moment = onset.get(visit.visit_id), visit.start + 24 * HOUR
        while moment < visit.end:
            ahead = [t for t in measured.get(visit.visit_id, []) if moment < t <= moment + 48 * HOUR]
            if visit.age >= 18 and ahead and not (first is not None and first <= moment):
                expected[visit.visit_id, moment] = first is not None and first <= moment + 48 * HOUR
            moment += 24 * HOUR
    data = prepare(dataset, kidney_injury())
    keys = zip(data.samples.visit_id, data.samples.prediction_time, strict=True)
    assert dict(zip(keys, data.samples.label, strict=True)) == expected
    assert {True, False} == set(expected.values())
