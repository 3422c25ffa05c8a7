"""Molecules of drug classes: graphs for a message-passing encoder, and BRICS substructures.

For the classes of a label, `molecules` gives what SafeDrug (Yang et al., IJCAI 2021) and MoleRec (Yang et al., WWW
2023) need: the molecules of each class as graphs, whose atoms carry the fingerprints of Tsubaki et al. (Bioinformatics
35:309-318, 2019), a matrix that averages them by class, and the mask of classes and substructures. A molecule and its
mirror image have the same fingerprints; chirality and the sides of double bonds stand beside them, for MoleRec.

A class has the molecules of its substances; a class of combinations alone those of their parts. A salt keeps its
active part: of the parts that are no counter-ion the largest; where all are (potassium chloride), all stay. Proteins,
polymers, vaccines and mixtures have no structure. A class without any has a *stand-in*, one atom with a fingerprint of
its own, so that an encoder learns a vector for it. So has a drug whose SMILES cannot be read; a warning names it.

Three things that the published code does are not done here: atoms without a bond get lost, so that atoms after them
carry the neighbours of others; a class without a readable molecule gets a vector of zeros (SafeDrug) or a division by
zero (MoleRec); and substructures have no fixed order. All BRICS bonds (Degen et al., ChemMedChem 3:1503-1507, 2008) are
cut at once, in milliseconds; that code cuts one after the other, which takes a minute for a peptide and keeps a few
more pieces of rings.

RDKit reads the molecules; it is loaded when it is used.
"""

from __future__ import annotations

import difflib
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from zoo.knowledge import atc
from zoo.knowledge._drug_classes import by_hand
from zoo.knowledge._drug_names import combinations
from zoo.knowledge._tables import read_rows
from zoo.registry import UserError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "DATIVE")
"""Kinds of bonds, as RDKit calls them."""

CHIRALITIES = ("", "R", "S")
"""Configurations of an atom by the rules of Cahn, Ingold and Prelog; empty where it has or is known to have none."""

SIDES = ("", "E", "Z")
"""Configurations of a double bond by the same rules."""

_COUNTER_IONS = frozenset(
    (
        *("Na", "K", "Ca", "Mg", "F", "Cl", "Br", "I", "N", "O", "O4S", "O4P", "NO3", "CO3", "CO2", "CHO2"),
        *("CO3S", "C2O4S", "C2O6S2", "C6O3S", "C7O3S", "C10O3S", "C10O6S2"),  # mesilate to napadisilate
        *("C2O2", "C2O4", "C2F3O2", "C3O3", "C4O4", "C4O5", "C4O6", "C6O7"),  # acetate to citrate and gluconate
        *("C11O3", "C23O6", "C76O46"),  # xinafoate, embonate, tannate
        *("C2N2", "C4NO3", "C5NO", "C7NO5"),  # ethylenediamine, trometamol, choline, meglumine
    )
)
"""Counter-ions and solvents by their heavy atoms, in the order of Hill."""


@dataclass(frozen=True)
class Graphs:
    """Molecular graphs, laid end to end; G graphs, A atoms, B bonds.

    Attributes:
        atoms: (A,) int64, fingerprint of each atom.
        offsets: (G + 1,) int64, the atoms of graph g are ``offsets[g]:offsets[g + 1]``.
        bonds: (2, 2 * B) int64, the two atoms of each bond in both directions, by their places in ``atoms``.
        bond_kinds: (2 * B,) int64, places in `BONDS`.
        chirality: (A,) int64, places in `CHIRALITIES`.
        sides: (2 * B,) int64, places in `SIDES`.
    """

    atoms: np.ndarray
    offsets: np.ndarray
    bonds: np.ndarray
    bond_kinds: np.ndarray
    chirality: np.ndarray
    sides: np.ndarray

    @property
    def graph(self) -> np.ndarray:
        """(A,) int64, graph of each atom."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class Molecules:
    """The molecules and substructures of some classes; C classes, M molecules, S substructures.

    Attributes:
        classes: (C,) as they were given.
        names: (M,) substance of each molecule, or the class that it stands in for. A substance of several classes is
            there once.
        smiles: (M,) canonical SMILES of the active part; empty for a stand-in.
        graphs: the M molecules, with hydrogen atoms.
        average: (C, M) float32, each row sums to 1: ``average @ encoded`` gives a class the mean of its molecules.
        substructures: (S,) SMILES of BRICS fragments, sorted; ``[3*]`` marks a cut bond.
        fragments: the S substructures as graphs, with the same fingerprints; a cut bond is an atom of its own kind.
        mask: (C, S) bool, whether a molecule of the class has the substructure (SafeDrug's H). The row of a class
            without a structure is empty.
        fingerprints: number of distinct fingerprints, of molecules and substructures.
        without: classes that have nothing but a stand-in.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    smiles: tuple[str, ...]
    graphs: Graphs
    average: np.ndarray
    substructures: tuple[str, ...]
    fragments: Graphs
    mask: np.ndarray
    fingerprints: int
    without: tuple[str, ...]


def molecules(
    classes: Sequence[str],
    radius: int = 1,
    used: Sequence[str] | None = None,
    smiles: Mapping[str, str] | None = None,
) -> Molecules:
    """Molecules and substructures of ATC classes; the same classes give the same order of everything.

    Args:
        classes: (C,) ATC codes of any level, ``ATC//C03C`` or bare, each once.
        radius: of the fingerprints. 0 tells atoms apart by element and aromaticity, 1 (as in SafeDrug) also by their
            neighbours, and so on.
        used: ATC codes of the drugs that occur: a class has the molecules of these, or all of its own where none of
            these has a structure. All by default.
        smiles: SMILES by substance (its name in the ATC), before those of `drug_molecules.csv.gz`.

    Raises:
        UserError: ``radius`` is negative, a class is no ATC code or is there twice, or a
            substance of ``smiles`` is in no class.

    >>> found = molecules(["ATC//C03C", "ATC//A10A"], used=["C03CA01"])
    >>> found.names, found.average.tolist(), found.without
    (('furosemide', 'ATC//A10A'), [[1.0, 0.0], [0.0, 1.0]], ('ATC//A10A',))
    >>> found.substructures
    ('[14*]c1ccco1', '[16*]c1cc(Cl)c(S(N)(=O)=O)cc1[16*]', '[4*]C[8*]', '[5*]N[5*]', '[6*]C(=O)O')
    """
    if radius < 0:
        raise UserError(f"radius={radius!r} of fingerprints must be 0 or more.")
    single, combined = _substances_by_code()
    named = {name for names in (*single.values(), *combined.values()) for name in names}
    for name in smiles or {}:
        if name not in named:
            raise UserError(f"smiles: {name!r} is no substance of the ATC: {_near(name, named)}.")
    known = {**_known_smiles(), **(smiles or {})}
    wanted = None if used is None else frozenset(map(atc.bare, used))
    own = [_members(code, known, wanted) for code in _bare(classes)]
    structures = {name: _active_part(known[name]) for name in sorted({name for names in own for name in names})}
    unread = [name for name, molecule in structures.items() if molecule is None]
    if unread:
        warnings.warn(f"no molecule can be read from the SMILES of {', '.join(unread)}", stacklevel=2)
    structures.update({name: None for names, name in zip(own, classes, strict=True) if not names})
    own = [names or [name] for names, name in zip(own, classes, strict=True)]
    return _assembled(tuple(classes), own, structures, radius)


def _near(name: str, named: set[str]) -> str:
    """Say which substances have names like this one."""
    near = difflib.get_close_matches(name.lower(), named)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "names are in English and lower case"


def _assembled(classes: tuple[str, ...], own: list[list[str]], found: dict[str, Mol | None], radius: int) -> Molecules:
    """Put together the classes, the names of the molecules of each, and the molecules (None: a stand-in) by name."""
    from rdkit import Chem

    average = _membership(own, list(found)).astype(np.float32)
    cut = {name: _fragments(molecule) if molecule else {} for name, molecule in found.items()}
    pieces = dict(sorted({text: piece for each in cut.values() for text, piece in each.items()}.items()))
    graphs, fingerprints = _graphs([*found.values(), *pieces.values()], radius)
    return Molecules(
        classes=classes,
        names=tuple(found),
        smiles=tuple(Chem.MolToSmiles(molecule) if molecule else "" for molecule in found.values()),
        graphs=_some(graphs, 0, len(found)),
        average=average / average.sum(axis=1, keepdims=True),
        substructures=tuple(pieces),
        fragments=_some(graphs, len(found), len(found) + len(pieces)),
        mask=_membership([[text for name in names for text in cut[name]] for names in own], list(pieces)),
        fingerprints=fingerprints,
        without=tuple(name for name, names in zip(classes, own, strict=True) if all(not found[n] for n in names)),
    )


def _membership(own: list[list[str]], names: list[str]) -> np.ndarray:
    """Which of some names each row has: bool (rows, names)."""
    place = {name: n for n, name in enumerate(names)}
    has = np.zeros((len(own), len(names)), dtype=bool)
    for row, mine in enumerate(own):
        has[row, [place[name] for name in mine]] = True
    return has


def _bare(classes: Sequence[str]) -> list[str]:
    bare = [atc.bare(name) for name in classes]
    for name, code in zip(classes, bare, strict=True):
        if not code:
            raise UserError(f"{name!r} is no ATC code: molecules are of classes such as ATC//C03C")
        if bare.count(code) > 1:
            raise UserError(f"the class {name!r} is there twice: give each class once")
    return bare


def _members(code: str, known: Mapping[str, str], used: frozenset[str] | None) -> list[str]:
    """Substances of a class that have a SMILES: those that occur, else all; single ones, else parts of combinations."""
    single, combined = _substances_by_code()
    below = [other for other in {*single, *combined} if other.startswith(code)]
    for codes in (below if used is None else used.intersection(below), below):
        for table in (single, combined):
            if names := {name for other in codes for name in table.get(other, ()) if known.get(name)}:
                return sorted(names)
    return []


@cache
def _substances_by_code() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """ATC codes to the substances they stand for: single ones, and the parts of combinations."""
    single = {code: {name} for code, name in atc.known_codes().items() if name}
    combined = {code: set(parts) for parts, code in combinations().items()}
    for substances, by_route in by_hand().items():
        for code in by_route.values():
            (combined if len(substances) > 1 else single).setdefault(code, set()).update(substances)
    return single, combined


@cache
def _known_smiles() -> dict[str, str]:
    return {row["substance"]: row["smiles"] for row in read_rows("drug_molecules.csv.gz")}


def _active_part(smiles: str) -> Mol | None:
    """The molecule of a SMILES without counter-ions, its atoms in canonical order; None where it cannot be read."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            return None
        parts = {Chem.MolToSmiles(part): part for part in Chem.GetMolFrags(molecule, asMols=True)}
        active = [text for text, part in sorted(parts.items()) if _heavy_atoms(part) not in _COUNTER_IONS]
        largest = max(active, key=lambda text: parts[text].GetNumHeavyAtoms(), default=".".join(sorted(parts)))
        return Chem.MolFromSmiles(largest)


def _heavy_atoms(molecule: Mol) -> str:
    """The formula of a molecule without its hydrogen."""
    counts = Counter(atom.GetSymbol() for atom in molecule.GetAtoms() if atom.GetAtomicNum() > 1)
    ordered = sorted(counts, key=lambda symbol: (symbol != "C", symbol))
    return "".join(symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in ordered)


def _fragments(molecule: Mol) -> dict[str, Mol]:
    """BRICS fragments by canonical SMILES; of a molecule without a BRICS bond, itself."""
    from rdkit import Chem
    from rdkit.Chem import BRICS

    pieces = Chem.GetMolFrags(BRICS.BreakBRICSBonds(molecule), asMols=True)
    return {text: Chem.MolFromSmiles(text) for text in map(Chem.MolToSmiles, pieces)}


def _graphs(molecules: Sequence[Mol | None], radius: int) -> tuple[Graphs, int]:
    """Graphs of molecules and the number of distinct fingerprints; None is one atom that is like no other."""
    from rdkit import Chem

    kinds: list[object] = []
    offsets, bonds, bond_kinds, chirality, sides = [0], [], [], [], []
    for number, molecule in enumerate(molecules):
        if molecule is None:
            kinds.append(number)
            chirality.append(0)
        else:
            Chem.AssignStereochemistry(molecule, cleanIt=True, force=True)
            whole = Chem.AddHs(molecule)
            kinds += [(atom.GetSymbol(), atom.GetIsAromatic()) for atom in whole.GetAtoms()]
            for atom in whole.GetAtoms():
                chirality.append(CHIRALITIES.index(atom.GetPropsAsDict(includePrivate=True).get("_CIPCode", "")))
            for bond in whole.GetBonds():
                ends = offsets[-1] + bond.GetBeginAtomIdx(), offsets[-1] + bond.GetEndAtomIdx()
                bonds += [ends, ends[::-1]]
                bond_kinds += [BONDS.index(bond.GetBondType().name)] * 2
                sides += [SIDES.index({"STEREOE": "E", "STEREOZ": "Z"}.get(bond.GetStereo().name, ""))] * 2
        offsets.append(len(kinds))
    atoms = _fingerprints(kinds, bonds, bond_kinds, radius)
    pairs = np.array(bonds, dtype=np.int64).reshape(-1, 2).T
    atoms, offsets, bond_kinds, chirality, sides = (
        np.array(values, dtype=np.int64) for values in (atoms, offsets, bond_kinds, chirality, sides)
    )
    return Graphs(atoms, offsets, pairs, bond_kinds, chirality, sides), len(np.unique(atoms))


def _fingerprints(kinds: list, bonds: list[tuple[int, int]], bond_kinds: list[int], radius: int) -> list[int]:
    """Fingerprint of each atom: numbers of subgraphs of a radius around it (Tsubaki et al. 2019).

    At each step an atom is numbered anew by its number and those of its neighbours and bonds, and a bond by its number
    and those of its ends.
    """
    nodes, edges = _numbered(kinds), bond_kinds
    for _ in range(radius):
        around: list[list[tuple[int, int]]] = [[] for _ in nodes]
        for (here, there), edge in zip(bonds, edges, strict=True):
            around[here].append((nodes[there], edge))
        edges = _numbered(
            (*sorted((nodes[here], nodes[there])), edge) for (here, there), edge in zip(bonds, edges, strict=True)
        )
        nodes = _numbered((node, *sorted(own)) for node, own in zip(nodes, around, strict=True))
    return nodes


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    """Equal keys get equal numbers, from 0 in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _some(graphs: Graphs, first: int, last: int) -> Graphs:
    """Graphs from the first up to the last, numbered from 0."""
    offsets = graphs.offsets[first : last + 1]
    inside = (graphs.bonds[0] >= offsets[0]) & (graphs.bonds[0] < offsets[-1])
    return Graphs(
        atoms=graphs.atoms[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
        bonds=graphs.bonds[:, inside] - offsets[0],
        bond_kinds=graphs.bond_kinds[inside],
        chirality=graphs.chirality[offsets[0] : offsets[-1]],
        sides=graphs.sides[inside],
    )
