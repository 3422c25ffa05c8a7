"""Interactions: the public list, the planted ones, files in the format of TWOSIDES, and matrices over classes."""

import csv
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.datasets._facts import planted_interactions
from zoo.knowledge import atc, drugs
from zoo.knowledge._tables import read_rows
from zoo.knowledge.interactions import Interactions, interactions
from zoo.registry import UserError


def pairs_of(table):
    return {(table.codes[first], table.codes[second]) for first, second in table.pairs}


def interact(source, first, second, level="atc5"):
    names = sorted({first, second})
    classes = drugs.atc(names, level=level)
    assert None not in classes
    return bool(interactions(source).matrix(classes).any())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("methylphenidate", "phenelzine"),
        ("atazanavir", "pantoprazole"),
        ("atazanavir", "dexlansoprazole"),
        ("febuxostat", "azathioprine"),
        ("sertraline", "selegiline"),
        ("venlafaxine", "tranylcypromine"),
        ("irinotecan", "voriconazole"),
        ("tramadol", "isocarboxazid"),
        ("amitriptyline", "procarbazine"),
        ("amiodarone", "haloperidol"),
        ("ondansetron", "citalopram"),
        ("ramelteon", "fluvoxamine"),
        ("rifampicin", "atazanavir"),
        ("simvastatin", "clarithromycin"),
        ("ergotamine", "ritonavir"),
        ("tizanidine", "ciprofloxacin"),
        ("tranylcypromine", "procarbazine"),
        ("sumatriptan", "moclobemide"),
    ],
)
def test_each_entry_of_the_high_priority_list_is_in(first, second):
    assert interact("onc", first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("atazanavir", "famotidine"),
        ("pravastatin", "clarithromycin"),
        ("ramelteon", "clarithromycin"),
        ("warfarin", "amiodarone"),
        ("morphine", "phenelzine"),
        ("ergotamine", "fluconazole"),
        ("sumatriptan", "selegiline"),
    ],
)
def test_pairs_that_the_panel_did_not_accept_are_not(first, second):
    assert not interact("onc", first, second)


def test_the_high_priority_list_has_its_fifteen_groups_of_drugs_with_atc_codes():
    rows = read_rows("onc_interactions.csv")
    named = {name for row in rows for side in ("first", "second") for name in row[side].split("|") if name}
    without = {name for name in named if not atc.codes_of(name)}
    assert len(rows) == 15
    assert without == {"benzphetamine", "phendimetrazine", "zileuton"}
    assert interactions("onc").unmapped == 5 + 5 + 1
    assert len(next(row for row in rows if row["number"] == "21")["first"].split("|")) == 40


def test_local_preparations_do_not_interact_and_combinations_do():
    codes = interactions("onc").codes
    assert "J01FA01" in codes
    assert not {"S01AA17", "D10AF02", "D04AX01", "S01AE03"} & set(codes)  # eye and skin
    assert interactions("onc").matrix(["J05AR10", "C10AA01"]).any()  # lopinavir and ritonavir, simvastatin


def test_planted_interactions_are_those_of_the_generator():
    rows = read_rows("synthetic_drugs.csv")
    names = [row["drug"] for row in rows]
    code = dict(zip(names, drugs.atc(names, [row["route"] for row in rows]), strict=True))
    planted = {tuple(sorted((code[first], code[second]))) for first, second in planted_interactions()}
    assert pairs_of(interactions("synthetic")) == {pair for pair in planted if pair[0] != pair[1]}
    assert interactions("synthetic").unmapped == 0
    assert interact("synthetic", "apixaban", "aspirin", level="atc5")


def test_a_class_interacts_by_its_members_and_never_with_itself():
    table = Interactions("by hand", ("A10BA02", "C03C", "C03CA01", "J01FA01"), np.array([[0, 1], [2, 3]]))
    three = ["ATC//C03C", "ATC//A10B", "ATC//J01F", "ATC//N05B"]
    assert table.matrix(three).astype(int).tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    five = ["C03CA01", "C03CB01", "A10BA02", "J01FA01"]  # C03C stands for all below it
    assert table.matrix(five).astype(int).tolist() == [[0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert table.matrix(["C03C", "C03CA"]).sum() == 0
    assert not interactions("onc").matrix(["N06A"]).any()  # although tricyclics interact with MAO inhibitors
    assert table.matrix([]).shape == (0, 0)


@pytest.mark.parametrize("name", ["ATC//X9", "NDC//1", "", None])
def test_a_class_that_is_no_atc_code_is_told(name):
    with pytest.raises(UserError, match="is no ATC code: interactions are between classes such as ATC//C03C"):
        interactions("onc").matrix(["ATC//C03C", name])


SOME_CODES = sorted(atc.known_codes())[::37]
LABELS = st.lists(st.sampled_from(SOME_CODES), max_size=12)


@given(LABELS, st.sets(st.tuples(*[st.sampled_from(SOME_CODES)] * 2), max_size=20))
def test_the_matrix_of_any_pairs_and_classes_says_what_the_definition_says(classes, pairs):
    codes = tuple(sorted({code for pair in pairs for code in pair}))
    places = sorted({tuple(sorted(codes.index(code) for code in pair)) for pair in pairs})
    table = Interactions("any", codes, np.array(places, dtype=np.int64).reshape(-1, 2))
    matrix = table.matrix(classes)

    def covers(label, code):
        return code.startswith(label) or label.startswith(code)

    for (i, one), (j, other) in product(enumerate(classes), enumerate(classes)):
        expected = any((covers(one, a) and covers(other, b)) or (covers(one, b) and covers(other, a)) for a, b in pairs)
        assert matrix[i, j] == (expected and i != j)


COMPOUNDS = ("CID000000001", "CID000000002", "CID000000003", "CID000000004")
ATC_OF = {COMPOUNDS[0]: ["C03CA01"], COMPOUNDS[1]: ["B01AC06", "N02BA01"], COMPOUNDS[2]: ["J01FA01"]}
HEADER = ["STITCH 1", "STITCH 2", "Polypharmacy Side Effect", "Side Effect Name"]


def folder(path, rows, header=HEADER, codes=ATC_OF):
    with open(path / "drug-DDI.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows] if header else rows)
    with open(path / "drug-atc.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([compound, *own] for compound, own in codes.items())
    return path


def test_a_folder_keeps_the_rarest_side_effects(tmp_path):
    one, two, three, four = COMPOUNDS
    rows = [(one, two, "C1", "fever"), (one, three, "C1", "fever"), (two, three, "C1", "fever")]
    rows += [(two, one, "C2", "rash"), (one, two, "C2", "rash"), (three, two, "C3", "fall"), (one, four, "C3", "fall")]
    path = folder(tmp_path, rows)
    every = {("B01AC06", "C03CA01"), ("C03CA01", "N02BA01"), ("C03CA01", "J01FA01"), ("B01AC06", "J01FA01")}
    every |= {("J01FA01", "N02BA01")}
    assert pairs_of(interactions(path)) == pairs_of(interactions(str(path), effects=None)) == every
    rarest = interactions(path, effects=1)  # of C2 and C3, which have two rows each, the last
    assert pairs_of(rarest) == {("B01AC06", "J01FA01"), ("J01FA01", "N02BA01")}
    assert rarest.unmapped == 1
    assert pairs_of(interactions(path, effects=2)) == every - {("C03CA01", "J01FA01")}


ROWS = st.lists(
    st.tuples(st.sampled_from(COMPOUNDS[:3]), st.sampled_from(COMPOUNDS[:3]), st.sampled_from("abcdef")), min_size=1
)


@given(rows=ROWS.filter(lambda rows: any(a != b for a, b, _ in rows)), effects=st.integers(1, 7))
def test_a_folder_keeps_what_counting_by_hand_keeps(tmp_path_factory, rows, effects):
    path = folder(tmp_path_factory.mktemp("twosides"), [(a, b, f"C{kind}", kind) for a, b, kind in rows])
    counted = sorted(Counter(kind for *_, kind in rows).items(), key=lambda item: (-item[1], item[0]))
    kept = {kind for kind, _ in counted[-effects:]}
    pairs = {pair for a, b, kind in rows if kind in kept for pair in product(ATC_OF[a], ATC_OF[b])}
    assert pairs_of(interactions(path, effects)) == {tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1]}


@pytest.mark.parametrize(
    ("rows", "header", "codes", "says"),
    [
        ([COMPOUNDS], ["a", "b", *HEADER[2:]], ATC_OF, "no column 'STITCH 1' and no column 'STITCH 2' among 'a', 'b'"),
        ([], HEADER, ATC_OF, "has no rows"),
        ([], [], ATC_OF, "cannot be read as a table"),
        (
            [("3440", COMPOUNDS[1], "C1", "fever")],
            HEADER,
            ATC_OF,
            "'3440' in the column 'STITCH 1' is no PubChem compound",
        ),
        ([(*COMPOUNDS[:2], "C1", "x"), COMPOUNDS[:2]], HEADER, ATC_OF, "cannot be read as a table"),
        ([(*COMPOUNDS[:2], "C1", "fever")], HEADER, {}, "is empty"),
        (
            [(*COMPOUNDS[:2], "C1", "x")],
            HEADER,
            {COMPOUNDS[0]: ["C03"]},
            "row 1: 'CID000000001,C03' is no compound with",
        ),
        ([(*COMPOUNDS[:2], "C1", "x")], HEADER, {"cid": ["atc"]}, "row 1: 'cid,atc' is no compound with ATC codes"),
        ([(*COMPOUNDS[2:], "C1", "x")], HEADER, ATC_OF, "has no ATC code for any pair of drug-DDI.csv"),
    ],
)
def test_bad_files_end_in_one_clear_error(tmp_path, rows, header, codes, says):
    with pytest.raises(UserError) as raised:
        interactions(folder(tmp_path, rows, header, codes))
    assert says in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_missing_source_or_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no interactions 'on': did you mean 'onc'.*drug-DDI.csv and drug-atc.csv"):
        interactions("on")
    with pytest.raises(UserError, match=r"no drug-atc.csv in .*: interactions need drug-DDI.csv and drug-atc.csv"):
        interactions(tmp_path)
    Path(tmp_path / "drug-atc.csv").write_text("CID000000001,C03CA01\n")
    with pytest.raises(UserError, match=r"no drug-DDI.csv in"):
        interactions(tmp_path)
    with pytest.raises(UserError, match=r"effects=0 must be at least 1, or None"):
        interactions(tmp_path, effects=0)


@pytest.mark.parametrize("source", ["onc", "synthetic"])
def test_pairs_are_of_known_codes_each_once(source):
    table = interactions(source)
    assert set(table.codes) <= atc.known_codes().keys()
    assert list(table.codes) == sorted(set(table.codes))
    assert (table.pairs[:, 0] < table.pairs[:, 1]).all()
    assert len(np.unique(table.pairs, axis=0)) == len(table.pairs) > 1_000
