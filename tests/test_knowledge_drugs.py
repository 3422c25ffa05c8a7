"""Drug names to ATC classes: rules on small cases, a hand-checked sample, and coverage of the open demos."""

import csv
import gzip
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data._drug_coverage import drug_coverage
from zoo.data._store import Order, Store
from zoo.knowledge import _drug_classes, _drug_names, atc, drugs
from zoo.knowledge._drug_routes import ROUTES, of_column
from zoo.knowledge._tables import read_rows
from zoo.registry import UserError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
reference = pytest.mark.skipif(not DATA.is_dir(), reason=f"reference data are not at {DATA}")
TABLES = {
    "mimic3": ("mimic3-demo-1.4/PRESCRIPTIONS.csv.gz", "drug", "route"),
    "mimic4": ("mimic4-demo-2.2/hosp/prescriptions.csv.gz", "drug", "route"),
    "eicu": ("eicu-demo-2.0.1/medication.csv.gz", "drugname", "routeadmin"),
}


def ordered(source):
    """Distinct (name, route) of a demo's orders, and their rows."""
    path, name, route = TABLES[source]
    with gzip.open(DATA / path, "rt", encoding="utf-8", newline="") as file:
        rows = Counter((row[name], row[route]) for row in csv.DictReader(file))
    names, routes = zip(*rows, strict=True)
    return list(names), list(routes), list(rows.values())


def sample():
    with open(ROOT / "tests" / "drug_sample.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_hand_checked_sample_is_right():
    rows = sample()
    found = drugs.atc([row["name"] for row in rows], [row["route"] for row in rows], level="atc3")
    wrong = [(row, code) for row, code in zip(rows, found, strict=True) if code != row["class"]]
    assert len(rows) >= 200
    assert len(wrong) <= 0.02 * len(rows), wrong


@reference
def test_the_sample_is_of_names_in_the_demos_and_classes_in_the_atc():
    names = {name for source in TABLES for name in ordered(source)[0]}
    with gzip.open(DATA / "knowledge/drugs/atc_coding.csv.gz", "rt", encoding="utf-8", newline="") as file:
        classes = {row["atc_code"] for row in csv.DictReader(file)}
    assert {row["name"] for row in sample()} <= names
    assert {row["class"] for row in sample()} <= classes


@reference
@pytest.mark.parametrize(("source", "goal"), [("mimic3", 0.97), ("mimic4", 0.95), ("eicu", 0.92)])
def test_nearly_all_orders_of_the_demos_have_a_class(source, goal):
    names, routes, counts = ordered(source)
    found = drugs.coverage(names, counts, routes)
    assert found.rows == found.unnamed + found.diluents + found.mapped + found.unmapped == sum(counts)
    assert found.share >= goal, found
    assert found.diluents < (0.11 if source == "eicu" else 0.27) * found.rows


@reference
@pytest.mark.parametrize("source", TABLES)
def test_a_class_from_a_normalised_name_is_the_class_of_the_name(source):
    names, routes, _ = ordered(source)
    plain = [drugs.normalised(name) for name in names]
    assert sum(drugs.normalised(name) != name for name in plain) <= 2  # lozenges named by both of their substances
    differ = [
        (name, route, old, new)
        for name, route, old, new in zip(names, routes, drugs.atc(names, routes), drugs.atc(plain, routes), strict=True)
        if old != new and of_column(route) not in (None, "oral", "iv", "injection", "skin")
    ]
    assert len(differ) <= 0.01 * len(names), differ


@pytest.mark.parametrize(
    ("name", "substances"),
    [
        ("KCl", "potassium chloride"),
        ("MgSO4 2 g", "magnesium sulfate"),
        ("LASIX 40 mg TAB", "furosemide"),
        ("FUROSEMIDE 10 MG/1 ML 2ML SDV INJ", "furosemide"),
        ("metoprolol tartrate (LOPRESSOR) tab 12.5 mg", "metoprolol"),
        ("Losartan Potassium 50 mg", "losartan"),
        ("Penicillin G Potassium", "benzylpenicillin"),
        ("Dexamethasone Sod Phosphate", "dexamethasone"),
        ("HYDROcodone-Acetaminophen (5mg-325mg)", "hydrocodone + paracetamol"),
        ("Norco 5 mg-325 mg", "hydrocodone + paracetamol"),
        ("Lidocaine/Sodium Bicarbonate", "lidocaine + sodium bicarbonate"),
        ("VANCOMYCIN HCL IN DEXTROSE 1 GM/200ML IV SOLN", "vancomycin"),
        ("potassium 20 mEq", "potassium chloride"),
        ("MVI, ADULT NO.4 WITH VIT K", "multivitamins"),
        ("piperacil-tazobact 4.5 g", "piperacillin + tazobactam"),
        ("Metocloprimide 10mg", "metoclopramide"),
        ("Acide acétylsalicylique", "acetylsalicylic acid"),
        ("sodium bicarbo", "sodium bicarbonate"),
    ],
)
def test_salts_strengths_brands_and_abbreviations(name, substances):
    assert drugs.normalised(name) == substances
    assert drugs.normalised(substances) == substances
    assert drugs.atc([name])[0] is not None


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("Vancomycin", {"IV": "J01X", "PO": "A07A", "PR": "A07A", "BOTH EYES": "S01A", None: "J01X"}),
        ("Timolol", {"OU": "S01E", "PO": "C07A"}),
        ("Dexamethasone", {"IV": "H02A", "PO": "H02A", "RIGHT EYE": "S01B", "LEFT EAR": "S02B", "TOP": "D07A"}),
        ("Fluticasone", {"INHALATION": "R03B", "EACH NARE": "R01A", "TP": "D07A"}),
        ("Budesonide", {"NEB": "R03B", "NAS": "R01A", "PO": "A07E"}),
        ("Hydrocortisone", {"IV": "H02A", "TP": "D07A", "PR": "C05A"}),
        ("Potassium Chloride", {"IV": "B05X", "CENTRAL IV": "B05X", "NG": "A12B", "PER G TUBE": "A12B"}),
        ("Lidocaine", {"IV": "C01B", "ID": "N01B", "TD": "N01B", "MT": "R02A"}),
        ("Fentanyl", {"IV": "N01A", "TD": "N02A"}),
        ("Nystatin", {"PO": "A07A", "TP": "D01A", "VA": "G01A"}),
        ("Clotrimazole", {"PO": "A01A", "TP": "D01A", "VG": "G01A"}),
        ("Mupirocin", {"NU": "R01A", "TP": "D06A"}),
        ("Acetylcysteine", {"NEB": "R05C", "IV": "V03A"}),
        ("Epinephrine", {"IM": "C01C", "INH": "R03A"}),
        ("Ciprofloxacin", {"PO": "J01M", "RIGHT EYE": "S01A", "Each affected ear": "S02A"}),
        ("Atropine 1% OP SOLN", {"BOTH EYES": "S01F", "SL": "A03B", None: "S01F"}),
        ("Nitroglycerin", {"SL": "C01D", "TP": "C01D", "PR": "C05A"}),
        ("Methotrexate", {"IV": "L01B", "PO": "L04A"}),
        ("Buprenorphine", {"SL": "N07B", "TD": "N02A", "IV": "N02A"}),
        ("Acyclovir", {"IV": "J05A", "TOP": "D06B"}),
    ],
)
def test_the_route_decides_between_classes(name, classes):
    routes = list(classes)
    assert dict(zip(routes, drugs.atc([name] * len(routes), routes, "atc3"), strict=True)) == classes


@pytest.mark.parametrize(
    ("name", "route", "code"),
    [
        ("ALBUTEROL SULFATE (2.5 MG/3ML) 0.083% IN NEBU", None, "R03AC02"),
        ("fluticasone 50 mcg/act NA SUSP", None, "R01AD08"),
        ("ERYTHROMYCIN 5 MG/GM OP OINT", None, "S01AA17"),
        ("NICOTINE 21 MG/24HR TD PT24", "MISC", "N07BA01"),
        ("BISACODYL 10 MG RE SUPP", None, "A06AG02"),
        ("Lidocaine 5% Patch", "TP", "N01BB02"),
        ("Potassium Chloride 20 mEq PO PACK", ".ROUTE", "A12BA01"),
        ("Albuterol Inhaler", "PO", "R03AC02"),
        ("Ferrous Sulfate supplement", "PO", "B03AA07"),
    ],
)
def test_the_form_in_the_name_decides_where_the_route_does_not(name, route, code):
    assert drugs.atc([name], [route]) == [code]


@pytest.mark.parametrize(
    ("name", "route", "diluent"),
    [
        ("NS", "IV", True),
        ("0.9% Sodium Chloride (Mini Bag Plus)", "IV", True),
        ("SODIUM CHLORIDE", "IV", True),
        ("D5W (EXCEL BAG)", "IV DRIP", True),
        ("Iso-Osmotic Dextrose", "IV", True),
        ("DEXTROSE 5% IN WATER (D5W) IV : 1000 ML BAG", "IV", True),
        ("SW", "IV", True),
        ("Sterile Diluent for Flolan", "IV DRIP", True),
        ("Syringe (0.9% Sodium Chloride)", "IV", True),
        ("Syringe (IV Room)", "IV", True),
        ("Yellow CADD Cassette", "ED", True),
        ("Vial", "IV", True),
        ("Heparin Flush (100 units/ml)", "IV", True),
        ("5 ML SYRINGE : HEPARIN SODIUM LOCK FLUSH 10 UNIT/ML IV SOLN", "IV", True),
        ("HEPARIN, PORCINE (PF) 10 UNIT/ML IV SYRINGE : 5 ML", "IV", True),
        ("Heparin Dwell (1000 Units/mL)", "DWELL", True),
        ("SODIUM CHLORIDE FLUSH", "PICC", True),
        ("Sodium CITRATE 4%", "DWELL", True),
        ("NSS 0.9% 500 mL bolus infusion", "IV", False),
        ("Sodium Chloride", "PO", False),
        ("Sodium Chloride Nasal", "NU", False),
        ("Sodium Chloride 3% (Hypertonic)", "IV", False),
        ("0.45% Sodium Chloride", "IV", False),
        ("Dextrose 50%", "IV", False),
        ("D10W", "IV", False),
        ("GLUCOSE 40% GEL", "ORAL", False),
        ("D5 1/2NS", "IV", False),
        ("LR", "IV", False),
        ("Heparin", "SC", False),
        ("HEPARIN (PORCINE) 1,000 UNIT/ML INJECTION : 10 ML VIAL", "IV", False),
        ("HEPARIN 25,000 unit(s) in D5W 25", "IV", False),
        ("Magnesium Sulfate in D5W", "IV", False),
        ("Syringe (Insulin)", "IV", False),
        ("Study Drug", "PO", False),
        ("", "IV", False),
        (None, "IV", False),
    ],
)
def test_diluents_flushes_and_containers_are_marked_by_rule(name, route, diluent):
    assert drugs.is_diluent([name], [route]).tolist() == [diluent]
    assert (drugs.atc([name], [route])[0] is None) == (diluent or name in ("Study Drug", "", None))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Potassium Chl 20 mEq / 1000 mL D5 1/2 NS", "B05BB02"),
        ("Potassium Chl 40 mEq / 1000 mL NS", "B05BB01"),
        ("KCL 20 MEQ/100ML STERILE WATER BAG", "B05XA01"),
        ("POTASSIUM CHLORIDE IN NACL 40 MEQ IN 250 ML (PREMIX)", "B05XA01"),
        ("1000 ML  -  DEXTROSE-NACL 5-0.45 % IV SOLN", "B05BB02"),
        ("DEXTROSE SODIUM CHLORIDE 5-0.9 %", "B05BB02"),
        ("oxytocin 10 units/LR", "H01BB02"),
        ("Amino Acids 4.25%-Dextrose 5%", "B05BA10"),
        ("Plasma-Lyte 148", "B05BB01"),
        ("23.4% Sodium Chloride", "B05XA03"),
    ],
)
def test_infusion_solutions(name, code):
    assert drugs.atc([name], ["IV"]) == [code]


@given(st.text(max_size=40), st.text(max_size=12))
def test_any_text_is_mapped_or_a_diluent_or_neither(name, route):
    (code,), (diluent,) = drugs.atc([name], [route]), drugs.is_diluent([name], [route])
    assert code is None or (atc.bare(code) == code and len(code) >= 4 and not diluent)
    assert isinstance(drugs.normalised(name), str)


def test_columns_of_a_table_may_hold_anything():
    names = ["Lasix", None, float("nan"), "", "  ", "Lasix"]
    assert drugs.atc(names, ["PO", None, "IV", float("nan"), "PO", "PO"]) == ["C03CA01", *[None] * 4, "C03CA01"]
    assert drugs.atc(np.array(["Lasix"], dtype=object), level="atc1") == ["C"]
    assert drugs.atc([]) == []
    with pytest.raises(UserError, match="2 drug names have 1 routes"):
        drugs.atc(["a", "b"], ["PO"])
    with pytest.raises(UserError, match=r"unknown ATC level 'level3'.*atc3"):
        drugs.atc([], level="level3")


def test_a_misspelling_that_fits_two_substances_is_left_alone():
    assert drugs.atc(["hydroxyzine", "hydroxyzyne", "chlorpromazin"], level="atc4") == ["N05BB", "N05BB", "N05AA"]
    assert drugs.atc(["prednis", "cef", "sulf", "tablet"]) == [None] * 4


def test_names_are_learned_from_rows_with_the_same_number():
    numbers = np.array([5, 5, 5, 5, 7, 9, 9])
    names = ["LASIX", "furosemide 40 mg", "KCl", None, "  ", "zyx tab", "qqx tab"]
    assert drugs.name_by_number(numbers, names) == {5: "furosemide", 9: "qqx"}
    assert drugs.name_by_number(numbers, names, np.array([1, 1, 9, 1, 1, 2, 1]))[5] == "potassium chloride"
    assert drugs.name_by_number(np.array([], dtype=np.int64), []) == {}
    assert drugs.name_by_number(np.array([1]), [None]) == {}


@reference
def test_most_unnamed_orders_of_eicu_take_a_name_by_their_number():
    with gzip.open(DATA / TABLES["eicu"][0], "rt", encoding="utf-8", newline="") as file:
        rows = [(row["drugname"], row["drughiclseqno"]) for row in csv.DictReader(file)]
    learned = [(int(number), name) for name, number in rows if number and name]
    by_number = drugs.name_by_number(np.array([n for n, _ in learned]), [name for _, name in learned])
    unnamed = [number for name, number in rows if not name and number]
    assert len(unnamed) > 0.35 * len(rows)
    assert np.mean([int(number) in by_number for number in unnamed]) > 0.7
    assert by_number[3660] == "furosemide"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_map_from_package_codes(tmp_path):
    rows = "00054-8297-25,furosemide,c03ca01\n0409-6102-04,furosemide,C03CA;C03C\n00054829725,again,A01A\n"
    text = "\ufeffNDC,name,ATC\n" + rows
    codes = drugs.AtcMap.from_csv(write(tmp_path / "map.csv", text))
    assert len(codes) == 2
    assert codes.atc(["NDC//00054829725", "00409610204", "NDC//00000000000", "DRUG//x", None]) == [
        *("C03CA01", "C03CA"),
        *[None] * 3,
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("code,atc\n1,C03C\n", "no column 'ndc' among 'code', 'atc'; a drug map has the columns ndc and atc"),
        ("", "no column 'ndc' and no column 'atc' among no columns"),
        ("ndc,atc\n123,C03C\n", "row 2: '123' and 'C03C' are not an NDC of eleven digits"),
        ("ndc,atc\n00054829725,C03\n", "row 2: '00054829725' and 'C03' are not"),
        ("ndc,atc\n00054829725\n", "row 2: '00054829725' and None are not"),
    ],
)
def test_a_map_with_wrong_columns_or_values_ends_in_one_clear_error(tmp_path, text, says):
    with pytest.raises(UserError) as raised:
        drugs.AtcMap.from_csv(write(tmp_path / "map.csv", text))
    assert says in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_missing_map_is_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no drug map at .*nowhere.csv: give a CSV file with the columns"):
        drugs.AtcMap.from_csv(tmp_path / "nowhere.csv")


def test_coverage_counts_every_row_once_and_lists_what_has_no_class():
    names = ["Lasix", "Zzyzx", "NS", None, "Zzyzx", "Qwerty", ""]
    found = drugs.coverage(names, [4, 2, 3, 1, 2, 9, 1], ["IV", "PO", "IV", "IV", "IV", None, "PO"], top=1)
    assert (found.rows, found.distinct, found.unnamed, found.diluents) == (22, 4, 2, 3)
    assert (found.mapped, found.unmapped, found.share) == (4, 13, 4 / 17)
    assert found.unmapped_names == (("Qwerty", 9),)
    codes = ["A01A", None, "C03CA01", "C03CA01", None, "J01FA01", None]  # the diluent stays one
    told = drugs.coverage(names, [4, 2, 3, 1, 2, 9, 1], ["IV", "PO", "IV", "IV", "IV", None, "PO"], codes=codes)
    assert (told.rows, told.unnamed, told.diluents, told.mapped, told.unmapped) == (22, 1, 3, 14, 4)
    assert drugs.coverage([]).share is None
    assert "no drug rows" in str(drugs.coverage([]))


def test_coverage_of_a_store_names_orders_by_their_ingredient_and_asks_the_users_map_first():
    orders = [
        Order("LASIX", "IV", None, "3660"),
        Order(None, "IV", None, "3660"),
        Order(None, "IV", None, "9"),
        Order("NS", "IV", None, None),
        Order("Study drug", "PO", None, None),
    ]
    codes = ["DRUG//lasix", "HICL//3660", "HICL//9", "DRUG//ns", "NDC//00054829725"]
    events = np.repeat(np.arange(5, dtype=np.int32), [3, 2, 4, 5, 1])
    store = Store(codes, np.array([0, len(events)]), events, np.zeros(len(events), np.int32), orders=orders)
    found = drug_coverage(store)
    assert (found.rows, found.completed, found.unnamed, found.diluents) == (15, 2, 4, 5)
    assert (found.mapped, found.unmapped_names) == (5, (("Study drug", 1),))
    assert "named by ingredient              2" in str(found)
    assert drug_coverage(store, drugs.AtcMap({"00054829725": "C03CA01"})).mapped == 6
    assert drug_coverage(Store([], np.array([0, 0]), events[:0], events[:0], orders=[])).rows == 0


def test_tables_of_names_and_classes_fit_together():
    known, by_hand = atc.known_codes(), _drug_classes.by_hand()
    newer = {"A02BC51", "A10BX16", "D03BA51", "J01XX55", "J05AB18", "N02AJ22", "N02AJ23", "N06BA15"}
    for substances, by_route in by_hand.items():
        assert by_route.keys() <= {"", *ROUTES}, substances
        assert all(atc.bare(code) == code and len(code) >= 4 for code in by_route.values()), substances
        assert {code for code in by_route.values() if code not in known} <= newer, substances
    combined = {part for combination in (*by_hand, *_drug_names.combinations()) for part in combination}
    for row in read_rows("drug_names.csv"):
        substances = frozenset(row["substances"].split(" + "))
        mapped = any(_drug_classes.class_of(substances, route) for route in (None, *ROUTES))
        assert mapped or substances <= combined | _drug_names.CARRIERS, row


def test_no_name_written_by_hand_means_two_things():
    meanings = {}
    for row in read_rows("drug_names.csv"):
        for name in (*row["names"].split(" | "), *row["names_alone"].split(" | ")):
            if name:
                assert meanings.setdefault(tuple(_drug_names.words(name)), row["substances"]) == row["substances"], name


def test_atc_codes_form_a_tree_and_moved_codes_have_successors_in_force():
    known = atc.known_codes()
    assert Counter(len(code) for code in known)[4] > 250
    for code, name in known.items():
        parents = [code[:length] for length in atc.LEVELS.values() if length < len(code)]
        assert all(parent in known for parent in parents), code
        assert bool(name) == (len(code) == 7), code
    moved = {row["code"]: row["successor"] for row in read_rows("atc_codes.csv.gz") if row["successor"]}
    assert all(known[code] == known[successor] and successor not in moved for code, successor in moved.items())


@reference
def test_atc_names_agree_with_another_list():
    with gzip.open(DATA / "knowledge/drugs/atc_coding.csv.gz", "rt", encoding="utf-8", newline="") as file:
        other = {row["atc_code"]: row["atc_name"] for row in csv.DictReader(file) if len(row["atc_code"]) == 7}
    known = atc.known_codes()
    shared = other.keys() & known.keys()
    assert len(shared) > 5_000
    assert np.mean([other[code].lower() == known[code] for code in shared]) > 0.97


@reference
def test_names_of_substances_map_to_a_class_of_theirs():
    with gzip.open(DATA / "knowledge/drugs/atc_coding.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if len(row["atc_code"]) == 7]
    classes = {}
    for row in rows:
        classes.setdefault(row["atc_name"].lower(), set()).add(row["atc_code"][:4])
    plain = [n for n in classes if n.isalpha() and n not in ("combinations", "various", "food", "animals", "textiles")]
    found = dict(zip(plain, drugs.atc(plain, level="atc3"), strict=True))
    right = [found[n] in classes[n] for n in plain if found[n] is not None]
    assert np.mean([code is not None for code in found.values()]) > 0.98
    assert np.mean(right) > 0.95


def test_a_hospital_full_of_names_takes_a_moment_and_no_heavy_import():
    script = """if True:
        import sys, time
        from zoo.knowledge import drugs
        names = [f"{drug} {dose} MG PO TABS" for dose in range(1000) for drug in ("furosemide", "Zosyn", "NS", "Qqx")]
        start = time.perf_counter()
        drugs.atc(names)
        print(time.perf_counter() - start, {"pandas", "networkx", "rdkit", "torch"} & set(sys.modules))
    """
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, heavy = ran.stdout.split(maxsplit=1)
    assert heavy.strip() == "set()"
    assert float(seconds) < 3
