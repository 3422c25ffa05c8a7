"""The fact tables of `zoo.knowledge` against AHRQ's own files and the open demos."""

import csv
import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo.knowledge import icd, names, units, vitals
from zoo.knowledge._tables import read_rows
from zoo.knowledge.labs import labs

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
reference = pytest.mark.skipif(not DATA.is_dir(), reason=f"reference data are not at {DATA}")


def read_gz(path, encoding="utf-8"):
    with gzip.open(DATA / path, "rt", encoding=encoding, newline="") as file:
        yield from csv.reader(file)


def listed(path, system, number):
    """Codes and CCS numbers of an AHRQ file, whose cells are quoted with apostrophes."""
    rows = [[cell.strip(" '") for cell in row] for row in read_gz(path, "latin-1")]
    pairs = [(row[0], row[number]) for row in rows if len(row) > number and re.fullmatch(r"\w+", row[0])]
    return np.array([f"{system}//{icd.dotted(code, system)}" for code, _ in pairs]), [n for _, n in pairs]


@reference
@pytest.mark.parametrize(
    ("path", "system", "at_least"),
    [
        ("knowledge/ahrq-icd9/X.dxref.2015.csv.gz", "ICD9CM", 15_000),
        ("knowledge/hcup-icd10/ccs_dx_icd10cm_2019_1.csv.gz", "ICD10CM", 72_000),
        ("knowledge/hcup-icd10/ccs_pr_icd10pcs_2019_1.csv.gz", "ICD10PCS", 79_000),
    ],
)
def test_every_listed_code_has_its_ccs_category(path, system, at_least):
    codes, numbers = listed(path, system, 1)
    kind = "CCSPROC" if system == "ICD10PCS" else "CCS"
    assert len(codes) > at_least
    assert icd.ccs(codes).tolist() == [f"{kind}//{number}" for number in numbers]


@reference
def test_every_listed_icd9_procedure_has_its_ccs_category():
    path = DATA / "knowledge/ahrq-icd9/ccs_multi_pr_tool_2014.csv.gz"
    with gzip.open(path, "rt", encoding="latin-1") as file:
        matches = [re.match(r"'(\w+)\s*',.*\[(\d+)\.", line) for line in list(file)[1:]]
    assert len(matches) > 3900
    codes = ["ICD9PROC//" + icd.dotted(match[1], "ICD9PROC") for match in matches]
    assert icd.ccs(codes).tolist() == [f"CCSPROC//{match[2]}" for match in matches]


@reference
def test_a_shortened_code_is_mapped_only_where_its_descendants_agree():
    codes, numbers = listed("knowledge/ahrq-icd9/X.dxref.2015.csv.gz", "ICD9CM", 1)
    bare = [code.removeprefix("ICD9CM//").replace(".", "") for code in codes]
    category = dict(zip(bare, numbers, strict=True))
    below = {}
    for code, number in category.items():
        for length in range(4 if code[0] == "E" else 3, len(code)):
            below.setdefault(code[:length], set()).add(number)
    for prefix in below.keys() - category.keys():
        agreed = f"CCS//{min(below[prefix])}" if len(below[prefix]) == 1 else None
        assert icd.ccs([f"ICD9CM//{prefix}"])[0] == agreed, prefix


def demo_codes():
    """Unique canonical (diagnoses, procedures) of the MIMIC-III and MIMIC-IV demos."""
    systems = {("d", "9"): "ICD9CM", ("d", "10"): "ICD10CM", ("p", "9"): "ICD9PROC", ("p", "10"): "ICD10PCS"}
    found = {"d": set(), "p": set()}
    for kind, name in (("d", "diagnoses_icd"), ("p", "procedures_icd")):
        for path in (f"mimic3-demo-1.4/{name.upper()}.csv.gz", f"mimic4-demo-2.2/hosp/{name}.csv.gz"):
            header, *rows = read_gz(path)
            for row in (dict(zip(header, row, strict=True)) for row in rows):
                system = systems[kind, row.get("icd_version", "9")]
                code = row.get("icd9_code") or row.get("icd_code")
                if code:
                    found[kind].add(f"{system}//{icd.dotted(code, system)}")
    return sorted(found["d"]), sorted(found["p"])


@reference
def test_nearly_all_codes_of_the_demos_are_mapped():
    for codes in demo_codes():
        assert len(codes) > 200
        assert np.mean([category is not None for category in icd.ccs(codes)]) >= 0.99
        assert all(category is not None for category in icd.icd3(codes))


@pytest.mark.parametrize(
    ("code", "system", "expected"),
    [
        ("4280", "ICD9CM", "428.0"),
        ("428", "ICD9CM", "428"),
        (" 428.0 ", "ICD9CM", "428.0"),
        ("e8781", "ICD9CM", "E878.1"),
        ("E878.1", "ICD9CM", "E878.1"),
        ("V4581", "ICD9CM", "V45.81"),
        ("0030", "ICD9CM", "003.0"),
        ("i509", "ICD10CM", "I50.9"),
        ("S72001A", "ICD10CM", "S72.001A"),
        ("E119", "ICD10CM", "E11.9"),
        ("I10", "ICD10CM", "I10"),
        ("3605", "ICD9PROC", "36.05"),
        ("331", "ICD9PROC", "33.1"),
        ("02703dz", "ICD10PCS", "02703DZ"),
        ("", "ICD9CM", ""),
        (None, "ICD10CM", ""),
    ],
)
def test_dotted(code, system, expected):
    assert icd.dotted(code, system) == expected
    assert icd.dotted(icd.dotted(code, system), system) == expected


def test_dotted_names_the_nearest_system():
    with pytest.raises(ValueError, match="did you mean 'ICD10CM'"):
        icd.dotted("I509", "ICD10")


@pytest.mark.parametrize(
    ("icd9", "icd10"),
    [
        ("ICD9CM//428.0", "ICD10CM//I50.9"),
        ("ICD9CM//401.9", "ICD10CM//I10"),
        ("ICD9CM//250.00", "ICD10CM//E11.9"),
        ("ICD9CM//E888.9", "ICD10CM//W19.XXXA"),
        ("ICD9CM//V58.11", "ICD10CM//Z51.11"),
        ("ICD9PROC//36.15", "ICD10PCS//02100Z9"),
        ("ICD9PROC//39.95", "ICD10PCS//5A1D70Z"),
    ],
)
def test_both_versions_meet_in_ccs(icd9, icd10):
    old, new = icd.ccs([icd9, icd10])
    assert old is not None
    assert old == new
    assert names.name(old)


def test_ccs_of_what_it_does_not_list():
    assert icd.ccs(["ICD10CM//I48.11", "ICD9CM//4280"]).tolist() == ["CCS//106", "CCS//108"]
    nothing = ["ICD10CM//U07.1", "ICD9CM//E87", "ICD9CM//", "428.0", "LAB//1", None, float("nan")]
    assert icd.ccs(nothing).tolist() == [None] * len(nothing)
    assert icd.ccs([]).shape == (0,)


def test_every_category_has_a_name():
    categories = {category for system in icd.SYSTEMS for category in icd._ccs_table(system).values()}
    assert len(categories) == 283 + 231
    assert all(names.name(category) for category in categories)


def test_to_level_keeps_order_and_length():
    codes = ["ICD9CM//E878.1", None, "ICD10PCS//02703DZ", "NDC//0002", "ICD9PROC//36.05", "ICD9CM//"]
    assert icd.to_level(codes, "code").tolist() == codes
    expected = ["ICD9CM//E878", None, "ICD10PCS//027", None, "ICD9PROC//36", None]
    assert icd.to_level(codes, "icd3").tolist() == expected
    assert icd.to_level(np.array(codes, dtype=object), "icd3").dtype == object


def test_an_unknown_level_names_the_known():
    with pytest.raises(ValueError, match=r"did you mean 'icd3'.*ccs, code, icd3"):
        icd.to_level([], "icd")


def test_twenty_thousand_codes_take_a_moment_and_no_heavy_import():
    script = """if True:
        import sys, time
        from zoo.knowledge import icd
        start = time.perf_counter()
        systems = ["ICD9CM", "ICD10CM", "ICD9PROC", "ICD10PCS"]
        codes = [f"{systems[n % 4]}//{n:05d}0A"[:14] for n in range(20_000)]
        icd.ccs(codes)
        print(time.perf_counter() - start, "pandas" in sys.modules)
    """
    times = []
    for _ in range(3):
        command = [sys.executable, "-c", script]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        seconds, pandas = ran.stdout.split()
        assert pandas == "False"
        times.append(float(seconds))
    assert min(times) < 0.3


SAYS = {
    "heart_rate": r"^heart rate$",
    "systolic_bp": r"(bp|blood pressure).*systolic",
    "diastolic_bp": r"(bp|blood pressure).*diastolic",
    "mean_bp": r"(bp|blood pressure).*mean",
    "respiratory_rate": r"^resp(iratory)? rate( \(total\))?$",
    "temperature": r"temp",
    "spo2": r"^spo2$|^o2 saturation pulseoxymetry$",
    "fio2": r"fio2|inspired o2 fraction",
    "gcs_eye": r"eye opening",
    "gcs_verbal": r"verbal response",
    "gcs_motor": r"motor response",
    "gcs_total": r"^gcs total$",
    "weight": r"weight|\bwt\b",
    "height": r"height|length|\bht\b",
    "glucose": r"finger",
    "central_venous_pressure": r"cvp|central venous pressure",
}
NEVER = r"alarm|set$|\(set\)|iabp|skin|previous|change|birth|apache"
MEDIANS = {
    "heart_rate": (70, 100),
    "systolic_bp": (100, 140),
    "diastolic_bp": (45, 75),
    "mean_bp": (65, 100),
    "respiratory_rate": (14, 24),
    "temperature": (36, 37.6),
    "spo2": (94, 100),
    "fio2": (35, 60),
    "gcs_eye": (2, 4),
    "gcs_verbal": (1, 5),
    "gcs_motor": (4, 6),
    "gcs_total": (7, 15),
    "weight": (60, 100),
    "height": (155, 180),
    "glucose": (100, 170),
    "central_venous_pressure": (4, 16),
}


@pytest.mark.parametrize("source", ["mimic3", "mimic4", "eicu"])
def test_vital_items_have_one_unit_a_variable_and_limits(source):
    items = vitals.vital_items(source)
    assert len({item.key for item in items}) == len(items)
    assert all(item.unit == vitals.limits()[item.variable].unit for item in items)
    missing = {"gcs_total"} if source == "mimic4" else set()
    assert {item.variable for item in items} == vitals.limits().keys() - missing


@reference
@pytest.mark.parametrize(
    ("source", "path"),
    [("mimic3", "mimic3-demo-1.4/D_ITEMS.csv.gz"), ("mimic4", "mimic4-demo-2.2/icu/d_items.csv.gz")],
)
def test_item_labels_say_what_the_table_says(source, path):
    header, *rows = read_gz(path)
    labels = {row[header.index("itemid")]: dict(zip(header, row, strict=True)) for row in rows}
    for item in vitals.vital_items(source):
        row = labels[item.key]
        label = row["label"].lower()
        assert row["linksto"] == "chartevents", item
        assert re.search(SAYS[item.variable], label), (item, label)
        assert not re.search(NEVER, label) or label == "fio2 set", (item, label)
        assert (item.scale == 5 / 9) == bool(re.search(r"\[?f\]?$|fahrenheit", label)), (item, label)
        if item.unit == "cm":
            inches = "inch" in (label + row["unitname"].lower()) or item.key == "920"
            assert item.scale == (2.54 if inches else 1), (item, label)


def charted(source, path):
    """Variable, item, canonical value of the rows of a MIMIC chartevents file."""
    duckdb = pytest.importorskip("duckdb")
    items = {int(item.key): item for item in vitals.vital_items(source)}
    query = f"""
        SELECT CAST(itemid AS BIGINT) AS itemid, TRY_CAST(valuenum AS DOUBLE) AS value
        FROM read_csv('{DATA / path}', all_varchar=true, header=true, delim=',', quote='"', escape='"')
        WHERE CAST(itemid AS BIGINT) IN {tuple(items)} AND TRY_CAST(valuenum AS DOUBLE) IS NOT NULL"""
    rows = duckdb.connect(config={"threads": 2}).execute(query).fetchnumpy()
    for itemid in np.unique(rows["itemid"]):
        item = items[int(itemid)]
        yield item, rows["value"][rows["itemid"] == itemid] * item.scale + item.shift


@reference
@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("mimic3", "mimic3-demo-1.4/CHARTEVENTS.csv.gz"),
        ("mimic4", "mimic4-demo-2.2/icu_derived/chartevents_from_meds.csv.gz"),
    ],
)
def test_charted_vitals_are_plausible(source, path):
    by_variable = {}
    for item, values in charted(source, path):
        by_variable.setdefault(item.variable, []).append(values)
        if len(values) >= 30:
            assert_plausible(item.variable, values, item)
    assert by_variable.keys() == {item.variable for item in vitals.vital_items(source)}
    for variable, parts in by_variable.items():
        assert_plausible(variable, np.concatenate(parts), variable)


def assert_plausible(variable, values, what):
    low, high = MEDIANS[variable]
    inside = (values >= vitals.limits()[variable].low) & (values <= vitals.limits()[variable].high)
    assert low <= np.median(values[inside]) <= high, (what, np.median(values[inside]))
    assert inside.mean() > 0.95, (what, inside.mean())


@reference
@pytest.mark.parametrize(
    ("table", "file", "name", "value"),
    [
        ("vitalaperiodic", "vitalAperiodic", None, None),
        ("patient", "patient", None, None),
        ("respiratorycharting", "respiratoryCharting", "respchartvaluelabel", "respchartvalue"),
        ("intakeoutput", "intakeOutput", "celllabel", "cellvaluenumeric"),
    ],
)
def test_eicu_vitals_are_plausible(table, file, name, value):
    duckdb = pytest.importorskip("duckdb")
    path = DATA / "eicu-demo-2.0.1" / f"{file}.csv.gz"
    rows = f"""read_csv('{path}', all_varchar=true, header=true, delim=',', quote='"', escape='"')"""
    items = [item for item in vitals.vital_items("eicu") if item.key.startswith(f"{table}.")]
    assert items
    for item in items:
        wanted = item.key.removeprefix(f"{table}.")
        column, where = (value, f"WHERE {name} = '{wanted}'") if name else (wanted, "")
        query = f"SELECT TRY_CAST({column} AS DOUBLE) AS value FROM {rows} {where}"
        values = duckdb.sql(f"SELECT value FROM ({query}) WHERE value IS NOT NULL").fetchnumpy()["value"]
        assert len(values) > 30, item
        assert_plausible(item.variable, values * item.scale + item.shift, item)


def test_an_unknown_source_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'eicu'"):
        vitals.vital_items("eICU-CRD")


def test_limits_are_ranges_with_a_source():
    for variable, limits in vitals.limits().items():
        assert limits.low < limits.high, variable
        assert limits.source, variable


def test_laboratory_tests_are_ranges_in_a_unit_with_a_source():
    rows = read_rows("labs.csv")
    keys = [key for row in rows for key in (*row["mimic"].split(";"), *row["eicu"].split(";"))]
    assert len(keys) == len(set(keys)) == len(labs())
    for code, lab in labs().items():
        assert lab.low < lab.high, code
        assert lab.source, code
        assert lab.factor(lab.unit) == 1, code
        assert units.spelled(lab.unit) in units._units() or lab.unit in ("pg", "fL", "units"), code


@reference
@pytest.mark.parametrize(
    ("events", "items"),
    [
        ("mimic3-demo-1.4/LABEVENTS.csv.gz", "mimic3-demo-1.4/D_LABITEMS.csv.gz"),
        ("mimic4-demo-2.2/hosp/labevents.csv.gz", "mimic4-demo-2.2/hosp/d_labitems.csv.gz"),
    ],
)
def test_laboratory_tests_are_in_blood_and_within_their_limits_in_known_units(events, items):
    duckdb = pytest.importorskip("duckdb")
    fluids = dict(duckdb.sql(f"SELECT itemid, fluid FROM read_csv('{DATA / items}')").fetchall())
    rows = duckdb.sql(f"""
        SELECT itemid, valueuom, valuenum FROM read_csv('{DATA / events}') WHERE valuenum IS NOT NULL""").fetchnumpy()
    value, unit = np.ma.getdata(rows["valuenum"]), rows["valueuom"].filled("")
    seen = 0
    for item in np.unique(rows["itemid"]):
        lab, some = labs().get(f"LAB//{item}"), rows["itemid"] == item
        if lab is None:
            continue
        seen += 1
        assert fluids[item] == "Blood", item
        factors = np.array([lab.factor(u) or np.nan for u in unit[some]])
        assert np.isnan(factors).mean() < 0.01, (lab, set(unit[some]))
        found = value[some] * factors
        outside = (found < lab.low) | (found > lab.high)
        assert outside.mean() <= max(0.005, 1 / some.sum()), (lab, found[outside])
    assert seen > 40


@reference
@pytest.mark.parametrize(
    ("path", "column", "version", "listed"),
    [
        ("mimic3-demo-1.4/D_ICD_DIAGNOSES.csv.gz", "icd9_code", {"9": "ICD9CM"}, 1.0),
        ("mimic3-demo-1.4/D_ICD_PROCEDURES.csv.gz", "icd9_code", {"9": "ICD9PROC"}, 1.0),
        ("mimic4-demo-2.2/hosp/d_icd_diagnoses.csv.gz", "icd_code", {"9": "ICD9CM", "10": "ICD10CM"}, 0.78),
        ("mimic4-demo-2.2/hosp/d_icd_procedures.csv.gz", "icd_code", {"9": "ICD9PROC", "10": "ICD10PCS"}, 0.95),
    ],
)
def test_names_are_those_of_the_dictionaries_of_the_demos(path, column, version, listed):
    """Of ICD-10-CM the dictionary of MIMIC-IV has the categories, too, which have no title in CMS's lists."""
    header, *rows = read_gz(path)
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    systems = [version[row.get("icd_version", "9")] for row in rows]
    ours = [names.name(f"{s}//{icd.dotted(row[column], s)}") for s, row in zip(systems, rows, strict=True)]
    found = [(our, row["long_title"]) for our, row in zip(ours, rows, strict=True) if our]
    assert len(found) >= listed * len(rows)
    same = [re.findall(r"\w+", our.lower()) == re.findall(r"\w+", theirs.lower()) for our, theirs in found]
    assert np.mean(same) > 0.999 - 0.001 * (len(version) - 1)


def test_what_has_no_name():
    assert [names.name(code) for code in ("ICD9CM//428", "ICD9CM//nothing", "LAB//1", "", "ATC//C03C")] == [""] * 5
    assert names.name("CCS//9999") == ""
