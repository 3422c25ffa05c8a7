"""What values of labs and vital signs count as: units, limits, text in place of numbers."""

import fabricated
import numpy as np
import pandas as pd
import pytest

import zoo
from zoo.data._measured import Measured
from zoo.knowledge import units

LAB, VITAL = "LAB//50912", "VITAL//heart_rate"


def counted(*rows: tuple[str, str | None, float]) -> tuple[list[float], list[tuple]]:
    """What values of (code, unit, value) become, and what is told of it."""
    measured = Measured()
    pairs = sorted({(code, unit) for code, unit, _ in rows}, key=str)
    pair = np.array([pairs.index((code, unit)) for code, unit, _ in rows])
    found = measured.values(pairs, pair, np.array([value for *_, value in rows]))
    return [None if np.isnan(v) else round(float(v), 6) for v in found], measured.lines()


def test_what_is_in_a_unit_that_cannot_be_converted_is_left_out_and_counted():
    found, told = counted((VITAL, "bpm", 80.0), (VITAL, None, 81.0), (VITAL, "mmHg", 82.0), (VITAL, "mmHg", np.nan))
    assert found == [80.0, 81.0, None, None]
    assert told == [(VITAL, "in mmHg and not bpm, left out", 1)]


def test_laboratory_values_are_left_as_they_are():
    """Which unit is the usual one would be told from more than the training split."""
    found, told = counted((LAB, "mg/dL", 1.1), (LAB, "mmol/L", 88.0), (LAB, None, -3.0))
    assert found == [1.1, 88.0, -3.0]
    assert told == []


@pytest.mark.parametrize(("value", "kept"), [(0.0, True), (350.0, True), (350.5, False), (-1.0, False), (1e30, False)])
def test_what_a_body_cannot_have_is_left_out_and_counted(value, kept):
    found, told = counted((VITAL, "bpm", value), (VITAL, "bpm", 80.0), (LAB, None, value))
    assert found == [value if kept else None, 80.0, value]
    assert told == ([] if kept else [(VITAL, "outside 0 to 350 bpm, left out", 1)])


def test_the_unit_of_a_vital_sign_is_a_fact_and_not_what_a_source_has_most():
    weight = "VITAL//weight"
    found, told = counted((weight, "lbs", 150.0), (weight, "lbs", 200.0), (weight, "kg", 70.0), (weight, "lbs", 1200.0))
    assert found == [pytest.approx(68.038856), pytest.approx(90.718474), 70.0, None]
    assert told == [(weight, "converted from lbs to kg", 3), (weight, "outside 0.2 to 500 kg, left out", 1)]


def test_the_table_of_units_is_spelled_as_it_is_looked_up():
    known = units._units()
    assert all(units.spelled(unit) == unit for unit in known)
    assert all(factor == 1 for unit, (base, factor) in known.items() if unit == base.lower())
    assert units.factor("g/L", "mg/dL") == pytest.approx(100)
    assert units.factor("kPa", "mm Hg") == pytest.approx(7.500617)
    assert units.factor("K/uL", "10^9/L") == 1
    assert units.factor("mEq/L", "mmol/L") is None


def test_values_of_a_source_come_to_the_store_as_they_count(own_cache, tmp_path):
    tables = fabricated.frames("mimic3")
    more = {
        "labevents": """
subject_id,hadm_id,itemid,charttime,valuenum,valueuom
1,11,50912,2150-03-02 09:00:00,>10,mg/dL
""",
        "chartevents": """
subject_id,hadm_id,icustay_id,itemid,charttime,storetime,valuenum,error
1,11,111,220045,2150-03-01 12:10:00,,9999,0
""",
    }
    for name, text in more.items():
        tables[name] = pd.concat([tables[name], fabricated.frame_of(text)], ignore_index=True)
    root = fabricated.write(tables, tmp_path / "source")
    data = zoo.load("mimic3", task="los", hours=0, root=root, split=(1.0, 0.0, 0.0), concepts=["lab", "vital"])
    lab, vital = (data.feature(c).store for c in ("lab", "vital"))
    creatinine = lab.value[lab.code == lab.codes.index("LAB//50912")]
    assert np.isnan(creatinine).sum() == 1  # one that is no number
    assert list(lab.told) == []
    rate = vital.value[vital.code == vital.codes.index("VITAL//heart_rate")]
    assert np.nanmax(rate) < 350
    assert np.isnan(rate).sum() == 1
    assert vital.told == [("VITAL//heart_rate", "outside 0 to 350 bpm, left out", 1)]
    scale = data.feature("vital").vocabulary
    assert scale.mean[scale.codes.index("VITAL//heart_rate")] < 200
    run = zoo.train("gru", data, out=tmp_path / "run", max_epochs=1, device="cpu")
    assert "vital VITAL//heart_rate: 1 values outside 0 to 350 bpm, left out" in run.notes
    again = zoo.load("mimic3", task="los", hours=0, root=root, split=(1.0, 0.0, 0.0), concepts=["lab", "vital"])
    assert list(again.feature("vital").store.told) == list(vital.told)
