"""What values of labs and vital signs count as: units, limits, text in place of numbers."""

import fabricated
import numpy as np
import pandas as pd
import pytest

import zoo
from zoo.data._measured import Measured, usual_units
from zoo.data._store import Store
from zoo.data._vocabulary import Vocabulary
from zoo.knowledge import units
from zoo.knowledge.labs import labs

CREATININE, OTHER, RATE = "LAB//50912", "LAB//99999", "VITAL//heart_rate"


def stored(*rows: tuple[str, str | None, float]) -> Store:
    """A store of one visit with events of (code, unit, value)."""
    pairs = sorted({(code, unit) for code, unit, _ in rows}, key=str)
    code = np.array([pairs.index((code, unit)) for code, unit, _ in rows], np.int32)
    value = np.array([value for *_, value in rows], np.float32)
    return Store(
        [c for c, _ in pairs], np.array([0, len(rows)]), code, 0 * code, value, units=[unit for _, unit in pairs]
    )


def counted(*rows: tuple[str, str | None, float], training: int | None = None) -> tuple[list[float | None], list]:
    """What values of (code, unit, value) become where the first so many are training's, and what is told of it."""
    store = stored(*rows)
    usual = usual_units(store, np.bincount(store.code[:training], minlength=len(store.codes)))
    measured = Measured.of(store, [usual[code] for code in store.codes])
    found = measured.values(store.code, store.value)
    return [None if np.isnan(v) else round(float(v), 4) for v in found], measured.told()


def test_what_is_in_a_unit_that_cannot_be_converted_is_left_out_and_counted():
    found, told = counted((RATE, "bpm", 80.0), (RATE, None, 81.0), (RATE, "mmHg", 82.0), (RATE, "mmHg", np.nan))
    assert found == [80.0, 81.0, None, None]
    assert told == [(RATE, "in mmHg and not bpm, left out", 1)]


@pytest.mark.parametrize(("value", "kept"), [(0.0, True), (350.0, True), (350.5, False), (-1.0, False), (1e30, False)])
def test_what_a_body_cannot_have_is_left_out_and_counted(value, kept):
    found, told = counted((RATE, "bpm", value), (RATE, "bpm", 80.0))
    assert found == [value if kept else None, 80.0]
    assert told == ([] if kept else [(RATE, "outside 0 to 350 bpm, left out", 1)])


def test_a_number_that_is_none_is_left_out():
    found, told = counted((OTHER, None, np.inf), (OTHER, None, -np.inf), (OTHER, None, -3.0))
    assert found == [None, None, -3.0]
    assert told == []


def test_the_unit_of_what_has_limits_is_a_fact_and_not_what_a_source_has_most():
    weight = "VITAL//weight"
    found, told = counted((weight, "lbs", 150.0), (weight, "lbs", 200.0), (weight, "kg", 70.0), (weight, "lbs", 1200.0))
    assert found == [pytest.approx(68.0389, abs=1e-4), pytest.approx(90.7185, abs=1e-4), 70.0, None]
    assert told == [(weight, "converted from lbs to kg", 3), (weight, "outside 0.2 to 500 kg, left out", 1)]
    found, told = counted((CREATININE, "umol/L", 88.4), (CREATININE, "umol/L", 8840.0), (CREATININE, "ug", 1.0))
    assert found == [pytest.approx(1.0, abs=1e-4), None, None]
    assert told == [
        (CREATININE, "converted from umol/L to mg/dL", 2),
        (CREATININE, "in ug and not mg/dL, left out", 1),
        (CREATININE, "outside 0 to 60 mg/dL, left out", 1),
    ]


def test_the_unit_of_another_test_is_the_one_that_training_has_most():
    rows = [(OTHER, "g/L", 10.0), (OTHER, "G/L", 11.0), (OTHER, "g/L", 12.0), (OTHER, "mg/dL", 900.0)]
    found, told = counted(*rows, *[(OTHER, "mg/dL", 800.0)] * 5, (OTHER, "mmol/L", 3.0), training=4)
    assert found == [10.0, 11.0, 12.0, 9.0, *[8.0] * 5, None]
    assert told == [
        (OTHER, "converted from mg/dL to g/L", 6),
        (OTHER, "in mmol/L and not g/L, left out", 1),
    ]
    found, told = counted(*rows, *[(OTHER, "mg/dL", 800.0)] * 5)
    assert found == [1000.0, 1100.0, 1200.0, 900.0, *[800.0] * 5]
    assert told == [(OTHER, "converted from g/L to mg/dL", 2), (OTHER, "converted from G/L to mg/dL", 1)]


def test_spellings_of_a_unit_count_together():
    rows = [(OTHER, "mg/dL", 1.0), (OTHER, "MG/DL", 1.0), (OTHER, "mg / dl", 1.0), *[(OTHER, "g/L", 1.0)] * 2]
    assert usual_units(stored(*rows), np.bincount(stored(*rows).code)) == {OTHER: "mg/dL"}


def test_of_units_that_are_alike_in_number_the_first_by_name_counts():
    assert usual_units(stored((OTHER, "b", 1.0), (OTHER, "a", 1.0), (OTHER, " ", 1.0)), np.ones(3)) == {OTHER: "a"}
    assert usual_units(stored((OTHER, None, 1.0)), np.ones(1)) == {OTHER: None}


def test_vocabularies_keep_their_units():
    vocabulary = Vocabulary("code", ["A", "B"], np.zeros((2, 9)), np.zeros(2), np.ones(2), ["mg/dL", None])
    again = Vocabulary.from_dict(vocabulary.to_dict())
    assert again.units == ["mg/dL", None]
    assert again.wanted_units(again.table(["B", "C", "A", "A"])) == [None, None, "mg/dL", "mg/dL"]


def test_values_of_a_vocabulary_without_units_are_taken_as_they_are():
    store = stored((RATE, "mmHg", 1e4))
    assert Measured.of(store, [None]).values(store.code, store.value).tolist() == [1e4]


def test_the_table_of_units_is_spelled_as_it_is_looked_up():
    known = units._units()
    assert all(units.spelled(unit) == unit for unit in known)
    assert all(factor == 1 for unit, (base, factor) in known.items() if unit == base.lower())
    assert units.factor("g/L", "mg/dL") == pytest.approx(100)
    assert units.factor("kPa", "mm Hg") == pytest.approx(7.500617)
    assert units.factor("K/uL", "10^9/L") == 1
    assert units.factor("mEq/L", "mmol/L") is None


def test_conventional_and_si_units_of_laboratory_tests():
    """Factors that laboratories print, from conventional units to those of the SI."""
    printed = {
        ("50931", "mmol/L"): 18.016,
        ("50912", "umol/L"): 1 / 88.4,
        ("51006", "mmol/L"): 2.801,
        ("50893", "mmol/L"): 4.008,
        ("50893", "mEq/L"): 2.004,
        ("50960", "mmol/L"): 2.4305,
        ("50960", "mEq/L"): 1.2152,
        ("50970", "mmol/L"): 3.097,
        ("50885", "umol/L"): 1 / 17.1,
        ("50907", "mmol/L"): 38.67,
        ("50813", "mg/dL"): 0.111,
        ("50983", "mmol/L"): 1.0,
        ("50971", "mmol/L"): 1.0,
        ("51222", "g/L"): 0.1,
        ("51265", "10^9/L"): 1.0,
        ("51249", "%"): 1.0,
        ("50818", "kPa"): 7.5006,
        ("50861", "Units/L"): 1.0,
    }
    for (item, unit), factor in printed.items():
        assert labs()[f"LAB//{item}"].factor(unit) == pytest.approx(factor, rel=2e-3), (item, unit)
    assert labs()["LAB//51265"].factor("mg/dL") is None
    assert labs()["LAB//51222"].factor("mmol/L") is None


def source(folder, *, labs: str = "", vitals: str = ""):
    """The fabricated MIMIC-III with more laboratory and charted events."""
    tables = fabricated.frames("mimic3")
    more = {
        "labevents": "subject_id,hadm_id,itemid,charttime,valuenum,valueuom\n" + labs,
        "chartevents": "subject_id,hadm_id,icustay_id,itemid,charttime,storetime,valuenum,error\n" + vitals,
    }
    for name, text in more.items():
        tables[name] = pd.concat([tables[name], fabricated.frame_of(text)], ignore_index=True)
    return fabricated.write(tables, folder / "source")


def loaded(root, split=(1.0, 0.0, 0.0)):
    return zoo.load("mimic3", task="los", hours=0, root=root, split=split, concepts=["lab", "vital"])


def seen(data, concept: str, code: str) -> list[float]:
    """The values of a code that models get of all training samples, undone from their standardisation."""
    vocabulary = data.feature(concept).vocabulary
    place = vocabulary.codes.index(code)
    found = []
    for batch in data.batches("train", {concept}, 2):
        ragged = batch[concept]
        some = ragged.value[ragged.variable == place + 2]
        found += (some * vocabulary.scale[place] + vocabulary.mean[place]).tolist()
    return found


def test_values_of_a_source_come_to_models_as_they_count(own_cache, tmp_path):
    events = [
        "1,11,50912,2150-03-02 09:00:00,>10,mg/dL",
        "1,11,50912,2150-03-02 10:00:00,176.8,umol/L",
        "1,11,50912,2150-03-02 11:00:00,1,mg",
        "1,11,50912,2150-03-02 12:00:00,138,mg/dL",
    ]
    root = source(tmp_path, labs="\n".join(events), vitals="1,11,111,220045,2150-03-01 12:10:00,,9999,0")
    data = loaded(root)
    of_creatinine = seen(data, "lab", CREATININE)
    assert np.isnan(of_creatinine).sum() == 3
    assert any(v == pytest.approx(2.0, abs=1e-3) for v in of_creatinine)
    assert np.nanmax(of_creatinine) < 60
    told = [
        "lab LAB//50912: 1 value converted from umol/L to mg/dL",
        "lab LAB//50912: 1 value in mg and not mg/dL, left out",
        "lab LAB//50912: 1 value outside 0 to 60 mg/dL, left out",
        "vital VITAL//heart_rate: 1 value outside 0 to 350 bpm, left out",
    ]
    of_rate = seen(data, "vital", RATE)
    assert np.nanmax(of_rate) < 350
    assert np.isnan(of_rate).sum() == 1
    run = zoo.train("gru", data, out=tmp_path / "run", max_epochs=1, device="cpu")
    assert set(told) <= set(run.notes)
    assert loaded(root).feature("lab").measured.told() == data.feature("lab").measured.told()
    kept = zoo.load_run(tmp_path / "run").model.spec.vocabularies["lab"]
    assert kept.units == data.feature("lab").vocabulary.units


def test_the_usual_unit_is_no_statistic_of_what_training_does_not_see(own_cache, tmp_path):
    """A test in g/L before the prediction, and later, ten times as often, in mg/dL."""
    later = [f"4,42,99999,2153-05-02 {hour:02d}:00:00,500,mg/dL" for hour in range(10, 20)]
    root = source(tmp_path, labs="\n".join(["4,42,99999,2153-05-01 10:00:00,5,g/L", *later]))
    early = zoo.load("mimic3", task="mortality", hours=24, root=root, split=(1.0, 0.0, 0.0), concepts=["lab"])
    assert early.feature("lab").store.units.count("mg/dL")
    vocabulary = early.feature("lab").vocabulary
    assert vocabulary.units[vocabulary.codes.index(OTHER)] == "g/L"
    assert seen(early, "lab", OTHER) == [5.0]
    assert (OTHER, "converted from mg/dL to g/L", 10) in early.feature("lab").measured.told()
