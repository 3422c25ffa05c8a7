"""Molecules of drug classes: active parts of salts, fingerprints, substructures, and what has no structure."""

import csv
import gzip
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from zoo.knowledge import atc
from zoo.knowledge._build_agreed import key
from zoo.knowledge._tables import read_rows
from zoo.knowledge.molecules import (
    BONDS,
    CHIRALITIES,
    SIDES,
    Graphs,
    _active_part,
    _fragments,
    _heavy_atoms,
    molecules,
)
from zoo.registry import UserError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
reference = pytest.mark.skipif(not DATA.is_dir(), reason=f"reference data are not at {DATA}")


def canonical(smiles):
    return Chem.MolToSmiles(Chem.MolFromSmiles(smiles))


def of_one(smiles, radius=1):
    """Molecules of a class whose only substance has this SMILES."""
    return molecules(["C03CA01"], radius, smiles={"furosemide": smiles})


@pytest.mark.parametrize(
    ("smiles", "active"),
    [
        ("O=C([O-])Cc1ccccc1Nc1c(Cl)cccc1Cl.[Na+]", "O=C([O-])Cc1ccccc1Nc1c(Cl)cccc1Cl"),
        ("CN(C)CCO.Cl", "CN(C)CCO"),
        ("CN(C)CCO.CS(=O)(=O)O.O.O", "CN(C)CCO"),
        ("C1CNCCN1.OC(=O)C(O)C(O)C(O)=O", "C1CNCCN1"),
        (
            "Cc1cc2c(s1)Nc1ccccc1N=C2N1CCN(C)CC1.OC(=O)c1cc2ccccc2c(Cc2c(O)c(cc3ccccc23)C(O)=O)c1O",
            "Cc1cc2c(s1)Nc1ccccc1N=C2N1CCN(C)CC1",
        ),
        ("CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O.c1ccc(CNCCNCc2ccccc2)cc1", None),
        ("CCO.CCO.OS(=O)(=O)O", "CCO"),
        ("[Li+].[Li+].[O-]C([O-])=O", "[Li+]"),
        ("[Fe+2].[O-]S(=O)(=O)[O-]", "[Fe+2]"),
        ("[K+].[Cl-]", "[Cl-].[K+]"),
        ("[Ca+2].[O-]C([O-])=O", "[Ca+2].O=C([O-])[O-]"),
        ("[Mg+2].CC(=O)[O-].CC(=O)[O-]", "[Mg+2].CC(=O)[O-]"),
        ("CC(=O)O", "CC(=O)O"),
    ],
)
def test_a_salt_keeps_its_active_part(smiles, active):
    active = smiles.split(".")[0] if active is None else active
    found = of_one(smiles)
    assert found.smiles == (canonical(active),)
    assert len(found.graphs.atoms) == Chem.AddHs(Chem.MolFromSmiles(active)).GetNumAtoms()


def test_graphs_and_fingerprints_of_ethanol_by_hand():
    found = of_one("OCC")
    graphs = found.graphs
    carbon, methylene, oxygen, on_carbon, on_oxygen = range(5)
    assert graphs.atoms.tolist() == [carbon, methylene, oxygen, *[on_carbon] * 5, on_oxygen]
    assert graphs.offsets.tolist() == [0, 9]
    assert graphs.graph.tolist() == [0] * 9
    assert graphs.bonds[:, ::2].T.tolist() == [[0, 1], [1, 2], [0, 3], [0, 4], [0, 5], [1, 6], [1, 7], [2, 8]]
    assert graphs.bonds[:, 1::2].tolist() == graphs.bonds[::-1, ::2].tolist()
    assert graphs.bond_kinds.tolist() == [BONDS.index("SINGLE")] * 16
    assert found.substructures == ("CCO",)
    assert [of_one("OCC", radius).graphs.atoms.max() + 1 for radius in (0, 1, 2, 3)] == [3, 5, 6, 6]


def subgraphs(molecule, radius):
    """What is around each atom within a radius, written out."""
    whole = Chem.AddHs(molecule)
    nodes = [(atom.GetSymbol(), atom.GetIsAromatic()) for atom in whole.GetAtoms()]
    edges = {bond.GetIdx(): bond.GetBondType().name for bond in whole.GetBonds()}
    for _ in range(radius):
        told = [
            (nodes[n], tuple(sorted((nodes[b.GetOtherAtomIdx(n)], edges[b.GetIdx()]) for b in atom.GetBonds())))
            for n, atom in enumerate(whole.GetAtoms())
        ]
        edges = {
            bond.GetIdx(): (tuple(sorted((nodes[bond.GetBeginAtomIdx()], nodes[bond.GetEndAtomIdx()]))), old)
            for bond, old in zip(whole.GetBonds(), edges.values(), strict=True)
        }
        nodes = told
    return nodes


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_atoms_have_one_fingerprint_where_they_have_one_surrounding(radius):
    found = molecules(["C03C", "B01AA", "M01AE", "A12BA"], radius)
    written = [around for text in found.smiles for around in subgraphs(Chem.MolFromSmiles(text), radius)]
    pairs = set(zip(written, found.graphs.atoms.tolist(), strict=True))
    assert len(pairs) == len({w for w, _ in pairs}) == len({f for _, f in pairs})
    assert len(pairs) > (8, 30, 100)[radius]


@pytest.mark.parametrize(
    ("smiles", "chirality", "sides"),
    [
        ("C[C@H](N)C(=O)O", ["S"], []),
        ("C[C@@H](N)C(=O)O", ["R"], []),
        ("CC(N)C(=O)O", [], []),
        ("OC(=O)/C=C/C(=O)O", [], ["E"]),
        ("OC(=O)/C=C\\C(=O)O", [], ["Z"]),
        ("OC(=O)C=CC(=O)O", [], []),
        ("C[C@@H](O)[C@H](C)/C=C/Cl", ["R", "R"], ["E"]),
    ],
)
def test_chirality_and_sides_stand_beside_fingerprints(smiles, chirality, sides):
    graphs, flat = (
        of_one(smiles).graphs,
        of_one(Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False)).graphs,
    )
    assert sorted(filter(None, (CHIRALITIES[n] for n in graphs.chirality))) == chirality
    assert list(filter(None, (SIDES[n] for n in graphs.sides[::2]))) == sides
    assert (graphs.sides[::2] == graphs.sides[1::2]).all()
    assert np.bincount(graphs.atoms).tolist() == np.bincount(flat.atoms).tolist()


def test_chirality_does_not_hang_on_how_a_molecule_is_written():
    molecule = Chem.MolFromSmiles("CCOC(=O)[C@H](CCc1ccccc1)N[C@@H](C)C(=O)N1CCC[C@H]1C(=O)O")
    written = {Chem.MolToSmiles(molecule, doRandom=True) for _ in range(5)}
    assert {tuple(of_one(text).graphs.chirality) for text in written} == {tuple(of_one(min(written)).graphs.chirality)}
    assert np.bincount(of_one(min(written)).graphs.chirality).tolist()[2:] == [3]  # enalapril is S, S, S


def test_atoms_without_a_bond_stay_in_their_places():
    found = molecules(["A12BA01", "C03CA01"], smiles={"potassium chloride": "[K+].[Cl-]", "furosemide": "CCO"})
    assert found.names == ("furosemide", "potassium chloride")
    assert np.diff(found.graphs.offsets).tolist() == [9, 2]
    assert found.graphs.bonds.max() == 8
    assert len(set(found.graphs.atoms[9:].tolist()) - set(found.graphs.atoms[:9].tolist())) == 2


def test_brics_fragments_and_the_mask():
    found = molecules(["C03CA01", "N02BE01"], smiles={"furosemide": "CCOC(=O)c1ccccc1", "paracetamol": "CCO"})
    assert found.substructures == ("CCO", "[1*]C([6*])=O", "[16*]c1ccccc1", "[3*]O[3*]", "[4*]CC")
    assert found.mask.astype(int).tolist() == [[0, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
    assert len(found.fragments.offsets) == 6
    assert np.diff(found.fragments.offsets).tolist() == [
        Chem.AddHs(Chem.MolFromSmiles(text)).GetNumAtoms() for text in found.substructures
    ]


def test_a_class_has_the_mean_of_its_molecules_and_shares_them_with_other_classes():
    found = molecules(["ATC//H02A", "ATC//S01B", "ATC//H02AB02"])
    dexamethasone = found.names.index("dexamethasone")
    assert (found.average[:, dexamethasone] > 0).all()
    assert found.average[2, dexamethasone] == 1
    assert found.names.count("dexamethasone") == 1
    assert (found.mask[2] <= found.mask[0]).all()


def test_only_drugs_that_occur_where_they_have_a_structure():
    every = molecules(["C03C"]).names
    assert {"furosemide", "bumetanide", "torasemide"} < set(every)
    assert molecules(["C03C"], used=["ATC//C03CA02", "C03CA01", "A01AB03"]).names == ("bumetanide", "furosemide")
    assert molecules(["C03C"], used=["A01AB03"]).names == every
    assert molecules(["A10A"], used=["A10AB01"]).names == ("A10A",)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("J01CR05", ("piperacillin", "tazobactam")),
        ("N02AJ17", ("oxycodone", "paracetamol")),
        ("C10BA02", ("ezetimibe", "simvastatin")),
        ("J01EE01", ("sulfamethoxazole", "trimethoprim")),
    ],
)
def test_a_combination_has_the_molecules_of_its_parts(code, names):
    assert molecules([code]).names == names


def test_a_class_without_a_structure_has_a_stand_in_that_is_like_no_other():
    found = molecules(["ATC//A10A", "ATC//C03C", "ATC//J07A"])
    assert found.without == ("ATC//A10A", "ATC//J07A")
    assert found.names[-2:] == found.without
    assert found.smiles[-2:] == ("", "")
    assert np.diff(found.graphs.offsets)[-2:].tolist() == [1, 1]
    first, second = found.graphs.atoms[-2:]
    others = [*found.graphs.atoms[:-2].tolist(), *found.fragments.atoms.tolist()]
    assert first != second
    assert not {first, second} & set(others)
    assert found.mask.any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("smiles", ["C1CC", "not a molecule", "C(C)(C)(C)(C)C", "[Xx]"])
def test_a_drug_whose_smiles_fails_is_named_and_still_has_a_vector(smiles):
    given = {"furosemide": smiles, "bumetanide": "CCO"}
    with pytest.warns(UserWarning, match="no molecule can be read from the SMILES of furosemide$"):
        found = molecules(["C03CA01", "C03CA"], used=["C03CA01", "C03CA02"], smiles=given)
    assert found.names == ("bumetanide", "furosemide")
    assert found.average.tolist() == [[0, 1], [0.5, 0.5]]
    assert found.without == ("C03CA01",)
    assert np.diff(found.graphs.offsets).tolist() == [9, 1]


@pytest.mark.parametrize(
    ("classes", "options", "says"),
    [
        (["ATC//C03C", "X9"], {}, "'X9' is no ATC code: molecules are of classes such as ATC//C03C"),
        (["ATC//C03C", "c03c"], {}, "'ATC//C03C' is there twice"),
        (["ATC//C03C"], {"radius": -1}, "radius=-1 of fingerprints must be 0 or more"),
        (["ATC//C03C"], {"smiles": {"Furosemid": "C"}}, "smiles: 'Furosemid' is no substance.*mean 'furosemide'"),
        (["ATC//C03C"], {"smiles": {"qqqqqqqqq": "C"}}, "no substance of the ATC: names are in English and lower case"),
    ],
)
def test_a_mistake_ends_in_one_clear_error(classes, options, says):
    with pytest.raises(UserError, match=says):
        molecules(classes, **options)


def test_rdkit_loads_when_it_is_used():
    script = "import sys, zoo.knowledge.molecules; print('rdkit' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "False"


CLASSES = sorted({code[:4] for code in atc.known_codes() if len(code) >= 4})


def arrays(found):
    graphs = [getattr(g, name) for g in (found.graphs, found.fragments) for name in Graphs.__annotations__]
    return [*graphs, found.average, found.mask]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(CLASSES), unique=True, max_size=6))
def test_arrays_of_any_classes_fit_together(classes):
    found = molecules(classes)
    assert found.average.shape == (len(classes), len(found.names))
    assert found.mask.shape == (len(classes), len(found.substructures))
    np.testing.assert_allclose(found.average.sum(axis=1), 1, rtol=1e-5)
    assert (found.average.sum(axis=0) > 0).all()
    assert found.mask.any(axis=0).all()
    assert found.mask.any(axis=1).tolist() == [name not in found.without for name in classes]
    for graphs, size in ((found.graphs, len(found.names)), (found.fragments, len(found.substructures))):
        assert len(graphs.offsets) == size + 1
        assert (np.diff(graphs.offsets) > 0).all()
        assert graphs.offsets[-1] == len(graphs.atoms) == len(graphs.graph)
        assert (graphs.graph[graphs.bonds[0]] == graphs.graph[graphs.bonds[1]]).all()
        assert sorted(zip(*graphs.bonds.tolist(), strict=True)) == sorted(
            zip(*graphs.bonds[::-1].tolist(), strict=True)
        )
        assert graphs.bonds.shape == (2, len(graphs.bond_kinds))
    used = np.unique(np.concatenate([found.graphs.atoms, found.fragments.atoms]))
    assert used.tolist() == list(range(found.fingerprints))
    again = molecules(classes)
    assert (again.names, again.substructures) == (found.names, found.substructures)
    assert all((a == b).all() for a, b in zip(arrays(found), arrays(again), strict=True))


@pytest.fixture(scope="module")
def keys():
    """InChIKey of each substance's structure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {row["substance"]: key(row["smiles"]) for row in read_rows("drug_molecules.csv.gz")}


@pytest.fixture(scope="module")
def testimony():
    """What other sources say: how many of them give each InChIKey of a substance."""
    said = defaultdict(dict)
    with gzip.open(ROOT / "tests" / "drug_inchikeys.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            said[row["substance"]][row["inchikey"]] = row["witnesses"].count("+") + 1
    return said


@pytest.mark.parametrize(
    ("substance", "inchikey"),
    [
        ("enalapril", "GBXSMTUPTTWBMN-XIRDDKMYSA-N"),
        ("abacavir", "MCGSCOLBFJQGHM-SCZZXKLOSA-N"),
        ("hydrocortisone", "JYGXADMDTFJGBT-VWUMJDOOSA-N"),
        ("azithromycin", "MQTOSJVFKKJCRP-BICOPXKESA-N"),
        ("rosuvastatin", "BPRHUIZQVSMCRT-VEUZHWNKSA-N"),
        ("oxycodone", "BRUQQQPBMZOVGD-XFKAJCMBSA-N"),
        ("meropenem", "DMJNNHOOLUXYBV-PQTSNVLCSA-N"),
        ("verapamil", "SGTNSNPWRIOYBX-UHFFFAOYSA-N"),  # both mirror images
        ("promethazine", "PWWVAXIEGOYWEE-UHFFFAOYSA-N"),  # not the isomer with the chain the other way round
        ("aminophylline", "ZFXYFBGIUFBOJW-UHFFFAOYSA-N"),  # theophylline, not phenobarbital
        ("trandolapril", "VXFJYXUZANRPDJ-WTNASJBWSA-N"),  # without deuterium
    ],
)
def test_well_known_structures_are_those_of_their_names(keys, substance, inchikey):
    assert keys[substance] == inchikey


OTHERWISE = {
    "aluminium oxide": "ours is the oxide, theirs its ion",
    "anecortave": "theirs is the acetate",
    "ceftolozane": "the same, charged otherwise",
    "chlormadinone": "theirs is the acetate",
    "citicoline": "the same, charged otherwise",
    "etynodiol": "theirs is the diacetate",
    "indocyanine green": "the same, charged otherwise",
    "macrogol": "ours is the trimer, theirs glycol",
    "polidocanol": "a mixture of chains",
    "tixocortol": "theirs is the pivalate",
}
"""Substances for which we have another structure than most."""


def test_no_structure_of_the_table_is_contradicted_by_two_sources_or_more(keys, testimony):
    assert len(keys) == 2_674
    assert testimony.keys() <= keys.keys()
    agree, against = 0, set()
    for substance, told in testimony.items():
        own, others = told.get(keys[substance], 0), [n for other, n in told.items() if other != keys[substance]]
        agree += own >= max(others, default=0)
        most = max(others, default=0)
        if most >= 2 and most > own and others.count(most) == 1:
            against.add(substance)
    assert against == OTHERWISE.keys()
    assert agree > 2_430
    assert len(testimony) > 2_570


def test_agreed_structures_are_in_the_table_with_their_keys(keys):
    agreed = read_rows("drug_agreed.csv")
    assert {row["substance"]: row["inchikey"] for row in agreed} == {
        row["substance"]: keys[row["substance"]] for row in agreed
    }
    assert all(row["witnesses"].count("+") for row in agreed)


def test_every_structure_of_the_tables_can_be_read_and_cut():
    known = {row["substance"]: row["smiles"] for row in read_rows("drug_molecules.csv.gz")}
    assert len(known) > 2_600
    for substance, smiles in known.items():
        molecule = _active_part(smiles)
        assert molecule is not None, substance
        assert 0 < molecule.GetNumHeavyAtoms() < 220, substance
        assert all(_fragments(molecule).values()), substance
    by_hand = {row["substance"]: row["smiles"] for row in read_rows("drug_structures.csv")}
    assert {name: known.get(name, "") for name in by_hand} == by_hand


@reference
def test_structures_agree_with_those_of_another_list():
    names = atc.known_codes()
    known = {row["substance"]: row["smiles"] for row in read_rows("drug_molecules.csv.gz")}
    drugs = DATA / "knowledge" / "drugs"
    with gzip.open(drugs / "cid_to_smiles.csv.gz", "rt") as file:
        smiles = {row["cid"]: row["smiles"] for row in csv.DictReader(file)}
    with gzip.open(drugs / "cid_to_atc.csv.gz", "rt") as file:
        codes = {row[0]: row[1:] for row in csv.reader(file) if row[0] in smiles}
    agree = []
    for compound, own in codes.items():
        substances = {names[code] for code in own if code in names} & known.keys()
        if len(substances) == 1:
            formulas = [_heavy_atoms(_active_part(text)) for text in (smiles[compound], known[substances.pop()])]
            agree.append(formulas[0] == formulas[1])
    assert len(agree) > 400
    assert np.mean(agree) > 0.97
