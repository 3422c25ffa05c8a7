"""Static facts: what is known of a patient at the start of a visit, told anew from the tables, and what it is worth."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import zoo
from zoo.data.static import FACTS, USUAL, StaticColumns, StaticFacts, known_at_start
from zoo.datasets._engine import Dataset
from zoo.datasets.mimic4 import ADMITTED, MIMIC4, OBSERVED
from zoo.registry import UserError, datasets, models
from zoo.testing import check_model, check_task

DEMOS = {"mimic3": "mimic3-demo-1.4", "mimic4": "mimic4-demo-2.2", "eicu": "eicu-demo-2.0.1"}
AGE = ["age", "age_capped", "age (unknown)"]


def told(data) -> pd.DataFrame:
    """The facts of all visits, read from the relations, in their order."""
    subjects, visits = data.dataset.read("subjects").set_index("subject_id"), data.dataset.read("visits")
    for fact in ("sex", "ethnicity"):
        visits[fact] = subjects[fact].reindex(visits.subject_id).to_numpy()
    observed = visits.admission_type.str.upper().isin([*OBSERVED, "OBSERVATION ADMIT"])
    visits["admission_type"] = visits.admission_type.mask(observed, "OBSERVATION")
    return visits


def seen_in_training(data, visits: pd.DataFrame) -> pd.DataFrame:
    """The visits that some training sample looks at."""
    own, known = data.samples.visit_id[data.samples.split == "train"], []
    for _, mine in visits.groupby("subject_id"):
        theirs = np.flatnonzero(mine.visit_id.isin(own))
        if len(theirs):
            in_order = mine.order_known.all()
            known += mine.visit_id.iloc[: theirs[-1] + 1 if in_order else 0].tolist()
            known += [] if in_order else mine.visit_id.iloc[theirs].tolist()
    return visits[visits.visit_id.isin(known)]


def expected(names, visits: pd.DataFrame, training: pd.DataFrame) -> np.ndarray:
    """(visits, columns) by what each column is called."""
    ages, found = training.age.dropna().astype(float), []
    for name in names:
        fact, _, value = name.partition(" ")
        column = visits[fact]
        if name == "age":
            scaled = (column.astype(float) - ages.mean()) / ages.std(ddof=0)
            found.append(scaled.fillna(0))
        elif name == "age_capped":
            found.append(visits.age_capped.fillna(False) & visits.age.notna())
        elif value == "(unknown)":
            found.append(column.isna() | (column.astype(str).str.strip() == ""))
        elif value == "(unseen)":
            found.append(column.notna() & ~column.isin(training[fact]))
        else:
            found.append(column.str.strip() == value)
    return np.column_stack([np.asarray(c, dtype=np.float32) for c in found])


def batches_of(data, split: str):
    """The visits of a split's batches, as places among all visits, and ``batch.static``."""
    starts = {v: i for i, v in enumerate(data.visits.visit_id.tolist())}
    own = data.samples.visit_id[data.samples.split == split].tolist()
    for batch in data.batches(split, {data.concepts[0], "static"}, batch_size=17):
        last = [starts[v] for v in own[: batch.samples]]
        own = own[batch.samples :]
        lengths = batch.row_lengths.tolist()
        yield [i for end, n in zip(last, lengths, strict=True) for i in range(end - n + 1, end + 1)], batch


def check(data) -> None:
    visits = told(data)
    training = seen_in_training(data, visits)
    columns = data.features.static.columns
    for fact in columns.categories:
        values = training[fact].dropna().str.strip()
        assert columns.categories[fact] == tuple(sorted({v for v in values if v}))
    rows = 0
    for split in ("train", "validation", "test"):
        for places, batch in batches_of(data, split):
            wanted = expected(columns, visits.iloc[places], training)
            np.testing.assert_allclose(batch.static.numpy(), wanted, atol=1e-5)
            assert torch.equal(batch.own_static, batch.static[batch.row_offsets[1:] - 1])
            rows += len(places)
    assert rows


@pytest.mark.parametrize("schema", ["mimic3", "mimic4", "eicu"])
def test_every_column_is_what_its_name_says(own_cache, schema):
    data = zoo.load("synthetic", task="mortality", patients=60, schema=schema, static=FACTS)
    assert list(data.features.static.columns[:3]) == AGE
    check(data)


@pytest.mark.parametrize("name", DEMOS)
def test_every_column_is_what_its_name_says_on_real_tables(own_cache, open_data, name):
    data = zoo.load(name, root=open_data / DEMOS[name], task="mortality", static=FACTS)
    check(data)


@pytest.fixture
def odd(mimic3):
    """Tables in which facts are missing, strange in some subjects alone, and padded with blanks."""
    patients, admissions = mimic3.table("PATIENTS"), mimic3.table("ADMISSIONS")
    patients.loc[patients.index % 5 == 0, "GENDER"] = ""
    patients.loc[patients.index % 7 == 0, "DOB"] = ""
    admissions.loc[admissions.index % 9 == 0, "ADMISSION_TYPE"] = "  "
    admissions.loc[admissions.index % 9 == 1, "ADMISSION_TYPE"] = " URGENT "
    admissions["INSURANCE"] = ""
    for name, frame in (("PATIENTS", patients), ("ADMISSIONS", admissions)):
        mimic3.put(name, frame)
    return mimic3


def test_what_is_not_known_is_told_apart_from_a_mean(own_cache, odd):
    data = zoo.load("mimic3", root=odd.root, task="mortality", static=FACTS)
    check(data)
    columns = data.features.static.columns
    batch = next(data.batches("train", {"diagnosis", "static"}, batch_size=100))
    assert batch.static[:, columns.index("age (unknown)")].any()
    assert not batch.static[batch.static[:, columns.index("age (unknown)")] == 1][:, :2].any()
    assert "admission_type URGENT" in columns
    assert not any(name.startswith("insurance") for name in columns)  # no visit tells it


def test_no_fact_of_other_splits_is_fitted(own_cache, odd):
    usual = zoo.load("mimic3", root=odd.root, task="mortality")
    test = usual.samples.subject_id[usual.samples.split != "train"]
    admissions = odd.table("ADMISSIONS")
    theirs = admissions.SUBJECT_ID.astype(int).isin(test)
    admissions.loc[theirs, ["ADMISSION_TYPE", "ADMISSION_LOCATION"]] = "STRANGE"
    odd.put("ADMISSIONS", admissions)
    patients = odd.table("PATIENTS")
    patients.loc[patients.SUBJECT_ID.astype(int).isin(test), "DOB"] = "2060-01-01 00:00:00"
    odd.put("PATIENTS", patients)
    changed = zoo.load("mimic3", root=odd.root, task="mortality")
    assert changed.features.static.columns == usual.features.static.columns
    columns = changed.features.static.columns
    for split in ("validation", "test"):
        for batch in changed.batches(split, {"diagnosis", "static"}):
            assert batch.own_static[:, columns.index("admission_type (unseen)")].all()


def test_the_synthetic_source_is_like_that_of_its_schema(own_cache):
    told = [
        n
        for n, form in Dataset.__annotations__.items()
        if "ClassVar" in str(form) and n not in ("registered_name", "interactions")
    ]
    assert "at_start" in told
    for schema in ("mimic3", "mimic4", "eicu"):
        made, adapter = zoo.load_dataset("synthetic", patients=20, schema=schema), datasets.get(schema)
        assert {n: getattr(made, n) for n in told} == {n: getattr(adapter, n) for n in told}


def test_facts_are_chosen(own_cache):
    load = lambda **how: zoo.load("synthetic", task="mortality", patients=60, **how)  # noqa: E731
    usual = load()
    assert {name.split()[0] for name in usual.features.static.columns} == {*USUAL, "age_capped"}
    assert usual.key == load(static=None).key == load(static=sorted(USUAL)).key
    assert usual.key != load(static=["age"]).key
    assert list(load(static="age").features.static.columns) == AGE
    assert (
        load(static=["insurance", "age"]).features.static.columns
        == load(static=["age", "insurance"]).features.static.columns
    )
    none = load(static=[])
    assert len(none.spec("tlstm").static) == 0 < len(usual.spec("tlstm").static)
    assert len(usual.spec("gru").static) == 0 < len(usual.spec("gru", {"static": True}).static)
    assert next(usual.batches("train", "transformer")).static is None
    with pytest.raises(UserError, match=r"static=\['ages'\] has 'ages': did you mean 'age'"):
        load(static=["ages"])
    with pytest.raises(UserError, match="static"):
        load(static=3)


def test_an_observation_is_one_whatever_came_of_it(own_cache, open_data, monkeypatch):
    names = MIMIC4.at_start["admission_type"]
    assert set(names) == {*OBSERVED, "OBSERVATION ADMIT"}
    assert set(names) <= {*OBSERVED, *ADMITTED}
    assert set(names.values()) == {"OBSERVATION"}
    data = zoo.load("mimic4", root=open_data / DEMOS["mimic4"], task="mortality")
    types = data.features.static.columns.categories["admission_type"]
    assert [t for t in types if "OBSERVATION" in t] == ["OBSERVATION"]
    how = {"root": open_data / DEMOS["mimic4"], "concepts": ["diagnosis"], "subjects": None, "rounds": 1}
    assert check_task("mortality", "mimic4", **how).passed
    read = StaticFacts.read

    def as_told(dataset, wanted):
        return read(SimpleNamespace(folder=dataset.folder, at_start={}), wanted)

    monkeypatch.setattr(StaticFacts, "read", as_told)
    window = check_task("mortality", "mimic4", **how)
    assert window.failures == ["window"]
    assert "static changes with what is later" in str(window)


TAKING = sorted(n for n in models.names() if "static" in models.entry(n).facts.uses)
CHOSEN = [n for n in TAKING if "static" in zoo.registry.parameters_of(models.entry(n).thing)]


def test_which_models_take_them():
    always = {"concare", "tlstm", "adacare", "stagenet", "strats", "raindrop"}
    assert set(TAKING) - set(CHOSEN) == always
    assert set(CHOSEN) >= {"cox", "deep_surv", "logistic_regression", "random_forest", "gradient_boosting", "gru"}


@pytest.mark.parametrize("name", [n for n in CHOSEN if n not in ("cox", "deep_surv", "rnn", "lstm")])
def test_models_that_may_take_them_keep_their_promises_with_them(name):
    settings = {"c": 100.0} if name == "logistic_regression" else {}
    report = check_model(name, static=True, **settings)
    assert report.passed, report


@pytest.mark.parametrize("name", ["cox", "deep_surv"])
def test_models_that_take_them_keep_their_promises_without(name):
    report = check_model(name, static=False)
    assert report.passed, report


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield zoo.load("synthetic", task="mortality", patients=60)


def test_a_run_is_read_with_its_columns(small, tmp_path):
    run = zoo.train(zoo.create_model("gru", small, static=True, dim=8), small, out=tmp_path / "run", max_epochs=1)
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    assert StaticColumns.from_dict(spec["static"]) == small.features.static.columns
    here = zoo.load("synthetic", task="mortality", patients=80, split_seed=5, schema="mimic4")
    there = zoo.predict(run.folder, here, split="test")
    wanted = zoo.evaluate(run.folder, small).metrics["auroc"]["value"]
    assert wanted == pytest.approx(run.metrics["auroc"]["value"])
    assert np.isfinite(there.score).all()


def test_a_run_of_before_is_read(small, tmp_path):
    """Its specification says nothing of static facts, and its model has none."""
    data = zoo.load("synthetic", task="mortality", patients=60, static=[])
    model = zoo.create_model("concare", data, dim=8, heads=2, attention=3, feedforward=5, max_steps=9)
    run = zoo.train(model, data, out=tmp_path / "run", max_epochs=1)
    path = tmp_path / "run" / "spec.json"
    spec = json.loads(path.read_text())
    del spec["static"]
    path.write_text(json.dumps(spec))
    again = zoo.evaluate(run.folder, small)
    assert again.metrics["auroc"]["value"] == pytest.approx(run.metrics["auroc"]["value"])


@pytest.mark.parametrize(
    "static",
    [
        {"age": [60.0, 0.0], "categories": {}},
        {"age": [60.0], "categories": {}},
        {"age": None, "categories": {"weight": ["F"]}},
        {"age": None, "categories": {"sex": "F"}},
        {"age": "old", "categories": {}},
        [],
    ],
)
def test_columns_that_cannot_be_are_refused(static):
    with pytest.raises(ValueError, match="static"):
        StaticColumns.from_dict(static)


def test_columns_go_with_weights_to_another_training(small, tmp_path):
    sizes = {"dim": 8, "heads": 2, "layers": 1, "max_triples": 40}
    before = zoo.pretrain(zoo.create_model("strats", small, **sizes), small, out=tmp_path / "before", max_epochs=1)
    data = zoo.load("synthetic", task="mortality", patients=60, train_share=0.5)
    assert data.features.static.columns != small.features.static.columns
    run = zoo.train("strats", data, out=tmp_path / "run", init=before, max_epochs=1)
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    assert StaticColumns.from_dict(spec["static"]) == small.features.static.columns
    assert not any("demographics" in note for note in run.notes)


def test_age_and_sex_are_worth_what_was_planted(own_cache):
    """Of death out of hospital nothing else tells the sex, and only disease, in part, the age."""
    data = zoo.load("synthetic", task="time_to_death", patients=2000, schema="mimic4", concepts={"diagnosis", "drug"})
    found, score = {}, {}
    for static in (True, False):
        model = zoo.create_model("cox", data, static=static)
        model.fit(data.batches("train", model))
        found[static] = model
        prediction = np.concatenate([model(b).logits[:, 0].numpy() for b in data.batches("test", model)])
        score[static] = concordance(data.label("test"), prediction)
    facts = dict(
        zip(found[True].spec.static, found[True].fitted["weights"][-len(found[True].spec.static) :], strict=True)
    )
    assert facts["sex M"] - facts["sex F"] > 0.3
    assert facts["age"] > 0.3
    assert score[True] > score[False] + 0.05


def concordance(label: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's: of pairs of which it is known who died first, how often that one had the higher risk."""
    time, event = label[:, 0], label[:, 1].astype(bool)
    first = event[:, None] & (time[:, None] < time[None])
    return float(np.mean(np.where(risk[:, None] == risk[None], 0.5, risk[:, None] > risk[None])[first]))


def test_arrays_have_them_beside(small):
    alone, beside = small.to_arrays("test", {"static": "own"}), small.to_arrays("test", ["diagnosis", "static"])
    columns = [f"static {name}" for name in small.features.static.columns]
    assert alone.columns.tolist() == columns == beside.columns[-len(columns) :].tolist()
    batch = next(small.batches("test", {"diagnosis", "static"}, batch_size=1000))
    np.testing.assert_array_equal(alone.X.toarray(), batch.own_static.numpy())
    np.testing.assert_array_equal(beside.X.toarray()[:, -len(columns) :], batch.own_static.numpy())
    with pytest.raises(UserError, match="cannot be told of static"):
        small.to_arrays("test", {"static": "count"})


def test_a_model_is_trained_with_the_facts_that_it_was_made_for(own_cache, tmp_path):
    load = lambda facts: zoo.load("synthetic", task="mortality", patients=60, static=facts)  # noqa: E731
    data, others, usual = load(["admission_type"]), load(["sex", "age"]), load(None)
    model = zoo.create_model("mlp", data, static=True, dim=8)
    with pytest.raises(UserError, match="its static facts are others"):
        zoo.train(model, others, out=tmp_path / "wrong", max_epochs=1)
    run = zoo.train(model, data, out=tmp_path / "run", max_epochs=1)
    assert run.config["data"]["static"] == run.config["static"] == ["admission_type"]
    told = zoo.evaluate(run.folder)
    assert told.metrics["auroc"]["value"] == pytest.approx(run.metrics["auroc"]["value"])
    assert not any("not those that the run" in note for note in told.notes)
    with pytest.raises(UserError, match=r"has the static facts admission_type: load the data with static="):
        zoo.train("mlp", others, init=run, out=tmp_path / "wrong")
    with pytest.raises(UserError, match="made for other static facts"):
        zoo.train(zoo.create_model("mlp", usual, static=True, dim=8), usual, init=run, out=tmp_path / "wrong")
    with pytest.raises(UserError, match="another run"):
        zoo.train(zoo.create_model("mlp", others, static=True, dim=8), others, out=tmp_path / "run", max_epochs=1)


def test_what_training_never_has_is_noted(own_cache, tmp_path):
    data = zoo.load("synthetic", task="mortality", patients=60)
    run = zoo.train(zoo.create_model("mlp", data, static=True, dim=8), data, out=tmp_path / "run", max_epochs=1)
    assert not any("none that training has" in note for note in run.notes)
    there = zoo.load("synthetic", task="mortality", patients=60, schema="eicu")
    notes = zoo.evaluate(run.folder, there).notes
    assert any(n.startswith("admission_type: of 100.0% of the samples not known") for n in notes), notes


def test_odd_values_do_not_break_columns():
    place = np.arange(300) % 150
    values = tuple(f"v{i:03d}" for i in range(150))
    facts = StaticFacts(np.full(300, 22.8), np.zeros(300, bool), {"sex": place}, {"sex": values})
    columns = facts.fit(np.arange(300))
    assert columns.age == (pytest.approx(22.8), 1.0)
    assert len(columns.categories["sex"]) == 100
    assert columns.facts == ("age", "sex")
    assert known_at_start({"admission_type": {"Eu observation": "O"}}, "admission_type") == {"EU OBSERVATION": "O"}


def test_words_for_what_is_not_known_are_no_values(own_cache, mimic3):
    admissions = mimic3.table("ADMISSIONS")
    admissions.loc[admissions.index % 3 == 0, "ADMISSION_TYPE"] = "(unseen)"
    admissions.loc[admissions.index % 3 == 1, "ADMISSION_TYPE"] = "(unknown)"
    mimic3.put("ADMISSIONS", admissions)
    columns = zoo.load("mimic3", root=mimic3.root, task="mortality").features.static.columns
    assert len(set(columns)) == len(columns)
    assert columns.categories["admission_type"] == ("EMERGENCY",)
