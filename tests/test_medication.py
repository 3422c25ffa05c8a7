"""Medication recommendation: drug orders by class, the metrics of drug sets, and what models are built from."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.data import Spec
from zoo.data._drug_classes import drug_classes
from zoo.data._store import Order, Store
from zoo.knowledge.drugs import AtcMap
from zoo.knowledge.interactions import interactions
from zoo.metrics import evaluate, resampled
from zoo.registry import UserError, models
from zoo.training import Trainer


@pytest.fixture(scope="module")
def data(session_cache):
    return zoo.load("synthetic", task="medication", patients=120, concepts=["diagnosis", "procedure", "drug"])


@pytest.fixture
def asking():
    """Registers a model that asks for resources."""

    def register(*resources):
        facts = {"uses": {"diagnosis", "drug"}, "kinds": {"multilabel"}, "resources": set(resources)}
        models.register("asking", **facts)(type("Asking", (), {}))
        return "asking"

    yield register
    models._entries.pop("asking", None)


# Drug orders by class


def orders(*rows) -> Store:
    """A store of orders in two visits: code, name, route, type, ingredient, visit, seconds."""
    kinds = list(dict.fromkeys(row[:5] for row in rows))
    visit = np.array([row[5] for row in rows])
    return Store(
        [kind[0] for kind in kinds],
        np.r_[0, np.cumsum(np.bincount(visit, minlength=2))].astype(np.int64),
        np.array([kinds.index(row[:5]) for row in rows], np.int32),
        np.array([row[6] for row in rows], np.int32),
        orders=[Order(*kind[1:]) for kind in kinds],
    )


STORE = orders(
    ("NDC//1", "Furosemide", "IV", "main", None, 0, 50),
    ("NDC//2", "Lasix", "PO", "main", None, 0, 70),
    ("NDC//3", "NS", "IV", "base", None, 0, 70),
    ("NDC//4", "Vancomycin", "PO", "additive", None, 0, 80),
    ("HICL//9", None, "IV", None, "HICL//9", 1, 10),
    ("DRUG//x", "Study drug", "IV", "main", None, 1, 11),
    ("DRUG//k", "Ondansetron", "IV", None, "HICL//9", 1, 12),
)


def test_orders_are_classified_by_name_route_type_and_ingredient():
    found = drug_classes(STORE, "atc3")
    expected = ["ATC//C03C", "ATC//C03C", None, "ATC//A07A", "ATC//A04A", None, "ATC//A04A"]
    assert found.names == expected
    assert found.unmapped.tolist() == [False] * 5 + [True, False]
    assert drug_classes(STORE, "atc3", ("base", "main")).names == [n if n != "ATC//A07A" else None for n in expected]


def test_a_map_of_the_user_decides_before_the_name_but_not_over_a_diluent():
    given_ = AtcMap({"00000000002": "N02BE01", "00000000003": "N02BE01"})
    codes = ["NDC//00000000001", "NDC//00000000002", "NDC//00000000003", *STORE.codes[3:]]
    store = Store(codes, STORE.offsets, STORE.code, STORE.time, orders=STORE.orders)
    assert drug_classes(store, "atc4", drug_map=given_).names[:3] == ["ATC//C03CA", "ATC//N02BE", None]


def test_each_class_is_once_a_visit_at_its_first_order():
    classes = STORE.once(drug_classes(STORE, "atc3").names)
    seen = np.repeat([0, 1], np.diff(classes.offsets))
    assert [(v, classes.codes[c], int(t)) for v, c, t in zip(seen, classes.code, classes.time, strict=True)] == [
        (0, "ATC//C03C", 50),
        (0, "ATC//A07A", 80),
        (1, "ATC//A04A", 10),
    ]


def test_a_wrong_map_is_named_before_anything_is_read(tmp_path):
    (tmp_path / "map.csv").write_text("code,atc\n1,C03CA01\n")
    with pytest.raises(UserError, match=r"map\.csv: no column 'ndc'"):
        zoo.load("synthetic", task="medication", patients=20, drug_map=str(tmp_path / "map.csv"))


# The task


def test_earlier_drugs_have_the_numbers_of_the_labels(data):
    assert data.feature("drug").vocabulary.codes == list(data.labels)
    (batch,) = data.batches("test", "gru", batch_size=10_000)
    own = batch.row_offsets[batch.sample_row] + batch.sample_visit
    assert batch["drug"].lengths[own].sum() == 0
    assert batch["diagnosis"].lengths[own].min() > 0
    before = own - 1
    label = data.label("test")
    earlier = batch["drug"].multi_hot(2 + len(data.labels))[:, 2:]
    samples = data.samples[data.samples.split == "test"].reset_index(drop=True)
    place = {visit: n for n, visit in enumerate(samples.visit_id)}
    ordered = data.dataset.read("visits").groupby("subject_id").visit_id.apply(list)
    compared = 0
    for n, row in samples.iterrows():
        visits = ordered[row.subject_id]
        position = visits.index(row.visit_id)
        if position and visits[position - 1] in place:
            assert earlier[before[n]].bool().tolist() == label[place[visits[position - 1]]].tolist()
            compared += 1
    assert compared > 10


def test_another_level_for_drugs_is_refused(data):
    with pytest.raises(UserError, match=r"has drug at level 'atc3'; set its own parameter 'level'"):
        zoo.load(data.dataset, "medication", levels={"drug": "name"})
    with pytest.raises(UserError, match=r"drug_types=.* must be one of 'main', 'base', 'additive'"):
        zoo.load_task("medication", drug_types=["mains"])


def test_a_run_reports_drug_sets_beside_the_true_ones(data, tmp_path):
    how = {"max_epochs": 2, "batch_size": 32, "device": "cpu", "monitor": "ddi_rate"}
    result = zoo.train("gru", data, out=tmp_path / "run", **how)
    label = data.label("test")
    pairs = [
        data.outcomes.interactions[a, b] for row in label for a, b in itertools.combinations(np.flatnonzero(row), 2)
    ]
    assert result.metrics["ddi_rate_true"]["value"] == pytest.approx(np.mean(pairs))
    assert result.metrics["drugs_per_visit_true"]["value"] == pytest.approx(label.sum(axis=1).mean())
    assert np.mean(pairs) >= 0.12
    assert zoo.evaluate(result.folder, data).metrics == result.metrics
    by_patient = zoo.evaluate(result.folder, data, average="patient", resamples=0).metrics
    score = zoo.predict(result.folder, data).filter(like="score_").to_numpy()
    each = evaluate("multilabel", label, score, data.subject("test"), resamples=0, average="patient")
    assert by_patient["jaccard_samples"]["value"] == pytest.approx(each["jaccard_samples"].value)
    with pytest.raises(UserError, match="average='mean' must be 'visit' or 'patient'"):
        zoo.evaluate(result.folder, data, average="mean")


# Metrics


sets = st.integers(1, 12).flatmap(
    lambda n: st.integers(1, 6).flatmap(
        lambda k: st.tuples(
            st.lists(st.lists(st.floats(0, 1), min_size=k, max_size=k), min_size=n, max_size=n),
            st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=n, max_size=n),
            st.lists(st.integers(0, 3), min_size=n, max_size=n),
            st.lists(st.booleans(), min_size=k * k, max_size=k * k),
        )
    )
)


def rate(chosen, among):
    pairs = [among[a, b] for row in chosen for a, b in itertools.combinations(np.flatnonzero(row), 2)]
    return np.mean(pairs) if pairs else None


@settings(deadline=None)
@given(sets)
def test_metrics_of_drug_sets_are_what_a_plain_count_gives(drawn):
    score, label, subject, among = (np.array(part) for part in drawn)
    among = np.triu(among.reshape(label.shape[1], -1), 1)
    among = among | among.T
    found = evaluate("multilabel", label, score, subject, resamples=0, interactions=among)
    assert found["ddi_rate"].value == pytest.approx(rate(score >= 0.5, among))
    assert found["ddi_rate_true"].value == pytest.approx(rate(label, among))
    assert found["drugs_per_visit"].value == pytest.approx((score >= 0.5).sum(axis=1).mean())
    by_patient = evaluate("multilabel", label, score, subject, resamples=0, average="patient")
    means = []
    for one in np.unique(subject):
        rows = zip(label[subject == one], score[subject == one] >= 0.5, strict=True)
        means.append(np.mean([(y & p).sum() / max((y | p).sum(), 1) for y, p in rows]))
    if label.any():
        assert by_patient["jaccard_samples"].value == pytest.approx(np.mean(means))
    for name in ("jaccard_micro", "f1_macro"):
        assert by_patient[name] == evaluate("multilabel", label, score, subject, resamples=0)[name]


@settings(deadline=None)
@given(sets)
def test_errors_of_change_are_differences_of_the_changes(drawn):
    score, label, subject, _ = (np.array(part) for part in drawn)
    subject = np.sort(subject)
    before = np.full(label.shape, np.nan)
    expected = {"addition_error": [], "removal_error": []}
    for n in range(1, len(label)):
        if subject[n] == subject[n - 1]:
            before[n] = label[n - 1]
            had, has, said = (set(np.flatnonzero(row)) for row in (label[n - 1], label[n], score[n] >= 0.5))
            expected["addition_error"].append(len((said - had) ^ (has - had)))
            expected["removal_error"].append(len((had - said) ^ (had - has)))
    among = np.zeros((label.shape[1],) * 2, bool)
    options = {"resamples": 0, "interactions": among, "metrics": list(expected)}
    found = evaluate("multilabel", label, score, subject, before=before, **options)
    for name, counts in expected.items():
        assert found[name].value == (pytest.approx(np.mean(counts)) if counts else None)
        without = len(label) - len(counts)
        assert f"{without} of {len(label)} samples without a visit before" in found[name].reason
    assert evaluate("multilabel", label, score, subject, **options)["addition_error"].value is None


def test_the_set_before_is_that_of_the_sample_before(data):
    for split in ("train", "test"):
        places = data.places(split)
        before, label, subject = data.outcomes.options(places)["before"], data.label(split), data.subject(split)
        last = {}
        for n, one in enumerate(subject):
            if one in last:
                assert before[n].tolist() == last[one].astype(float).tolist()
            else:
                assert np.isnan(before[n]).all()
            last[one] = label[n]
        assert len(last) < len(subject)


def test_an_empty_prediction_counts_nothing():
    label, score = [[1, 1, 0], [1, 0, 0]], [[0.1, 0.2, 0.3], [0.9, 0.1, 0.1]]
    found = evaluate("multilabel", label, score, [1, 2], resamples=0)
    assert found["jaccard_samples"].value == 0.5
    assert found["f1_samples"].value == 0.5


def test_resamples_of_the_rate_draw_subjects():
    among = np.array([[0, 1], [1, 0]], bool)
    label, score = np.ones((3, 2), bool), np.array([[0.9, 0.9], [0.9, 0.1], [0.9, 0.9]])
    drawn = resampled("multilabel", label, score, [1, 1, 2], interactions=among, resamples=50, metrics=["ddi_rate"])
    assert set(drawn["ddi_rate"]) == {1.0}
    whole = evaluate("multilabel", label, score, [1, 1, 2], interactions=among)["ddi_rate_true"]
    assert (whole.value, whole.low, whole.high) == (1, 1, 1)


@pytest.mark.parametrize(
    ("among", "word"),
    [(np.zeros((3, 3)), "shape"), ([[0, 1], [0, 0]], "symmetric"), ([[1, 0], [0, 0]], "itself")],
)
def test_wrong_interactions_are_named(among, word):
    with pytest.raises(ValueError, match=word):
        evaluate("multilabel", [[1, 0]], [[0.2, 0.3]], [1], interactions=among)


# Resources


def test_a_model_gets_what_it_asks_for_and_nothing_from_other_splits(data, asking):
    name = asking("cooccurrence", "interactions", "ontology")
    spec = data.spec(name)
    assert set(spec.resources) == {"cooccurrence", "interactions", "ontology"}
    label = data.label("train")
    a, b = np.unravel_index(spec.resources["cooccurrence"].argmax(), (len(data.labels),) * 2)
    assert spec.resources["cooccurrence"][a, b] == (label[:, a] & label[:, b]).sum() > 0
    assert (spec.resources["interactions"] == interactions("synthetic").matrix(data.labels)).all()
    tree = spec.resources["ontology"]["drug"]
    assert [tree.nodes[leaf] for leaf in tree.leaf] == list(data.labels)


def test_a_specification_reads_back_with_its_resources(data, asking):
    spec = data.spec(asking("cooccurrence", "interactions", "ontology", "molecules"))
    again = Spec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.to_dict() == spec.to_dict()
    assert again.predicts == "drug"
    assert again.resources["interactions"].dtype == bool
    for name in ("average", "mask"):
        assert (getattr(again.resources["molecules"], name) == getattr(spec.resources["molecules"], name)).all()


def test_resources_of_drugs_are_refused_where_labels_are_none(data, asking):
    other = zoo.load(data.dataset, "readmission", concepts=["diagnosis", "drug"])
    with pytest.raises(UserError, match="the labels of task 'readmission' are no drugs: they have no interactions"):
        other.spec(asking("interactions"))


def test_an_array_of_objects_is_not_read_back():
    facts = {"kind": "binary", "labels": [], "vocabularies": {}, "given": [], "label_concepts": [], "predicts": None}
    with pytest.raises(ValueError, match="no type of numbers"):
        Spec.from_dict({**facts, "resources": {"x": {"array": "|O", "shape": [1], "values": [None]}}})


# Samples that lack something


@pytest.fixture(scope="module")
def lacking(session_cache):
    """Data with one-visit patients, and a vocabulary that leaves out what few training patients have."""
    concepts = ["diagnosis", "procedure", "drug"]
    return zoo.load("synthetic", task="medication", patients=60, concepts=concepts, min_visits=1, split=(0.3, 0.1, 0.6))


DRUG_MODELS = [n for n in models.names() if n == "gbert" or models.entry(n).facts.predicts == "drug"]


@pytest.mark.parametrize("name", DRUG_MODELS)
def test_first_visits_visits_without_a_procedure_and_unknown_codes_have_predictions(lacking, name):
    model = zoo.create_model(name, lacking, seed=0)
    if name == "nearest":
        model.fit(lacking.batches("train", model))
    places = lacking.places("test")
    batch = lacking.batch(places, model)
    assert (batch.row_lengths == 1).sum() > 3  # patients with no earlier visit
    for concept in set(batch) & {"diagnosis", "procedure"}:
        assert (batch[concept].ids == 1).sum() > 3  # codes that no training patient has
    if "procedure" in batch:
        assert (batch["procedure"].lengths == 0).sum() > 3
    for training in (True, False):
        output = model.train(training)(batch)
        assert torch.isfinite(output.logits).all()
        assert torch.isfinite(model.loss(output, batch))
    chances = model.predict(output)
    assert chances.shape == (len(places), len(lacking.labels))
    assert ((chances >= 0) & (chances <= 1)).all()


# Defaults

PUBLISHED = [n for n in DRUG_MODELS if models.entry(n).facts.published]


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_of_drug_sets_train_with_the_published_optimiser_and_rate(name):
    entry = models.entry(name)
    trainer = Trainer(**entry.thing.trainer_defaults(None))
    published = {n.removeprefix("trainer."): v for n, v in entry.facts.published.items() if "trainer." in n}
    assert {"optimizer", "lr", "batch_size"} <= set(published)
    for setting in {"optimizer", "lr", "weight_decay"} & set(published):
        assert getattr(trainer, setting) == published[setting]
    assert trainer.batch_size <= 16


def test_a_target_that_the_data_rule_out_is_no_default(session_cache, tmp_path):
    """With the published one, whoever is prescribed a quarter of interacting pairs is recommended one drug or none."""
    data = zoo.load("synthetic", task="medication", patients=200, concepts=["diagnosis", "procedure", "drug"])
    how = {"max_epochs": 8, "device": "cpu"}
    found, before = (zoo.train(n, data, out=tmp_path / n, **how).metrics for n in ("safedrug", "nearest"))
    assert found["jaccard_samples"]["value"] > before["jaccard_samples"]["value"] + 0.05
    assert found["drugs_per_visit"]["value"] > 4


def test_there_are_models_of_drug_sets():
    assert {"nearest", "gamenet", "safedrug", "leap", "micron", "cognet", "molerec"} <= set(DRUG_MODELS)
    assert set(DRUG_MODELS) - set(PUBLISHED) == {"nearest"}
