"""Which drugs interact, as pairs of ATC codes and as a matrix over the classes of a label.

Sources:

- ``"onc"``: the high-priority list made for the Office of the National Coordinator for Health IT of the United States,
  15 pairs of groups of drugs that a panel held to be contraindicated together (Phansalkar et al., JAMIA 19:735-743,
  2012, table 2). Which drugs prolong the QT interval the list leaves open; `SOURCES.md` tells what is taken.
- ``"synthetic"``: the interactions that are planted in the synthetic dataset.
- a folder: TWOSIDES (Tatonetti et al., Science Translational Medicine 4:125ra31, 2012) in the two files that GAMENet,
  SafeDrug and MoleRec read, ``drug-DDI.csv`` and ``drug-atc.csv``.

A substance of the list stands for its ATC codes that work in the whole body, and for combinations with it: eye
ointments of erythromycin do not interact, ``lopinavir and ritonavir`` does. Two classes interact where a drug of the
one interacts with a drug of the other, as in those papers; drugs of one class do not count, so the matrix has no
diagonal.

Of a folder the papers speak of the 40 most severe kinds of side effect, and their code keeps the 40 *rarest* of the
table. So does the default here; ``effects`` keeps another number of the rarest, or all.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zoo.knowledge import atc, drugs
from zoo.knowledge._drug_classes import codes_in_the_body
from zoo.knowledge._tables import read_rows
from zoo.registry import UserError, nearest

if TYPE_CHECKING:
    import networkx as nx

SOURCES = ("onc", "synthetic")
PAIRS_FILE, CODES_FILE = "drug-DDI.csv", "drug-atc.csv"
PAIR_COLUMNS = ("STITCH 1", "STITCH 2")
EFFECT_COLUMNS = ("Polypharmacy Side Effect", "Side Effect Name")

_COMPOUND = r"^CID[ms]?\d+$"


@dataclass(frozen=True)
class Interactions:
    """Interacting drugs by ATC code; E codes, P pairs.

    Attributes:
        source: ``"onc"``, ``"synthetic"`` or the folder.
        codes: (E,) bare ATC codes, sorted.
        pairs: (P, 2) int64, places in ``codes`` of the two of a pair, the smaller first; each pair is there once.
        unmapped: pairs of the source that are left out, because a drug of theirs has no ATC code.
    """

    source: str
    codes: tuple[str, ...]
    pairs: np.ndarray
    unmapped: int = 0

    def matrix(self, classes: Sequence[str]) -> np.ndarray:
        """Which of some classes interact: bool (C, C), symmetric, nothing on the diagonal.

        Args:
            classes: (C,) ATC codes of any level, ``ATC//C03C`` or bare. A class has the codes below it; a code that is
                less deep than the class counts for all classes below it.

        Raises:
            UserError: a class is no ATC code.

        >>> interactions("onc").matrix(["ATC//B01A", "ATC//C10A", "ATC//J01F"]).astype(int).tolist()
        [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
        """
        bare = [atc.bare(name) for name in classes]
        if "" in bare:
            raise UserError(
                f"{classes[bare.index('')]!r} is no ATC code: interactions are between classes such as ATC//C03C"
            )
        has = [[name.startswith(code[: len(name)]) for code in self.codes] for name in bare]
        has = np.array(has, dtype=np.float32).reshape(len(bare), len(self.codes))
        between = np.zeros((len(self.codes), len(self.codes)), dtype=np.float32)
        between[self.pairs[:, 0], self.pairs[:, 1]] = 1
        found = has @ between @ has.T > 0
        found |= found.T
        np.fill_diagonal(found, False)
        return found

    def to_networkx(self) -> nx.Graph:
        """The same as a graph of drugs, nodes such as ``ATC//C10AA01``.

        >>> graph = interactions("onc").to_networkx()
        >>> "ATC//L01CE02" in graph["ATC//A02BA01"]
        True
        """
        import networkx as nx

        names = [f"ATC//{code}" for code in self.codes]
        graph = nx.Graph()
        graph.add_nodes_from(names)
        graph.add_edges_from((names[a], names[b]) for a, b in self.pairs.tolist())
        return graph


def interactions(source: str | Path = "onc", effects: int | None = 40) -> Interactions:
    """The interactions of a source.

    Args:
        source: ``"onc"``, ``"synthetic"``, or a folder with two files. ``drug-DDI.csv`` has a header and the columns
            ``STITCH 1``, ``STITCH 2`` (PubChem compounds, ``CID000002173``), ``Polypharmacy Side Effect`` and ``Side
            Effect Name``, a row for each pair and effect. ``drug-atc.csv`` has no header: a compound and its ATC codes
            in each row.
        effects: of a folder: keep pairs with one of so many kinds of side effect, those in the fewest rows (of equally
            frequent ones, the last by identifier); None keeps all.

    Raises:
        UserError: there is no such source, or a file of the folder is missing, empty, lacks a column, or has a value
            that is no compound or no ATC code.

    >>> table = interactions("onc")
    >>> first, second = table.pairs[0]
    >>> table.codes[first], table.codes[second]
    ('A02BA01', 'L01CE02')
    """
    if str(source) in SOURCES:
        return _onc() if str(source) == "onc" else _synthetic()
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"there are no interactions {str(source)!r}: {nearest(str(source), SOURCES)}; "
            f"or the path of a folder with {PAIRS_FILE} and {CODES_FILE}"
        )
    if effects is not None and effects < 1:
        raise UserError(f"effects={effects!r} must be at least 1, or None to keep all kinds of side effect.")
    return _twosides(folder, effects)


@cache
def _onc() -> Interactions:
    found, unmapped = set(), 0
    for row in read_rows("onc_interactions.csv"):
        first, second = row["first"].split("|"), row["second"].split("|")
        for pair in product(first, second) if row["second"] else combinations(first, 2):
            both = set(product(*map(codes_in_the_body, pair)))
            unmapped += not both
            found |= both
    return _of_pairs("onc", found, unmapped)


@cache
def _synthetic() -> Interactions:
    rows = read_rows("synthetic_drugs.csv")
    codes = drugs.atc([row["drug"] for row in rows], [row["route"] for row in rows])
    members: dict[str, list[str | None]] = {}
    for row, code in zip(rows, codes, strict=True):
        members.setdefault(row["class"], []).append(code)
        members[row["drug"]] = [code]
    pairs = {
        pair
        for row in read_rows("synthetic_interactions.csv")
        for pair in product(members[row["first"]], members[row["second"]])
    }
    known = {pair for pair in pairs if None not in pair}
    return _of_pairs("synthetic", known, len(pairs) - len(known))


def _of_pairs(source: str, pairs: Iterable[tuple[str, str]], unmapped: int) -> Interactions:
    """Interactions of pairs of codes in whatever order; a code does not interact with itself."""
    ordered = sorted({tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1]})
    codes = tuple(sorted({code for pair in ordered for code in pair}))
    place = {code: n for n, code in enumerate(codes)}
    indices = np.array([[place[code] for code in pair] for pair in ordered], dtype=np.int64).reshape(-1, 2)
    return Interactions(source, codes, indices, unmapped)


def _twosides(folder: Path, effects: int | None) -> Interactions:
    codes = _codes_of_compounds(folder / CODES_FILE)
    pairs, unmapped = set(), 0
    for first, second in _compound_pairs(folder / PAIRS_FILE, effects):
        both = set(product(codes.get(first, ()), codes.get(second, ())))
        unmapped += not both
        pairs |= both
    if not pairs:
        raise UserError(f"{folder / CODES_FILE} has no ATC code for any pair of {PAIRS_FILE}: are they of one source?")
    return _of_pairs(str(folder), pairs, unmapped)


def _codes_of_compounds(path: Path) -> dict[str, tuple[str, ...]]:
    _exists(path)
    codes: dict[str, tuple[str, ...]] = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            cells = [cell.strip() for cell in row if cell.strip()]
            if not cells:
                continue
            known = [atc.bare(cell) for cell in cells[1:]]
            if not re.match(_COMPOUND, cells[0]) or not known or min(map(len, known)) < atc.LEVELS["atc3"]:
                raise UserError(
                    f"{path}, row {number}: {','.join(row)!r} is no compound with ATC codes of level 3 to 5, such as "
                    "CID000003440,C03CA01"
                )
            codes[cells[0]] = tuple(known)
    if not codes:
        raise UserError(f"{path} is empty: each row has a compound and its ATC codes")
    return codes


def _compound_pairs(path: Path, effects: int | None) -> list[tuple[str, str]]:
    """Distinct pairs of compounds that have one of the rarest side effects."""
    columns = _pair_columns(path)
    for column in PAIR_COLUMNS:
        wrong = [value for value in columns[column].labels if not re.match(_COMPOUND, value)]
        if wrong:
            raise UserError(
                f"{path}: {wrong[0]!r} in the column {column!r} is no PubChem compound such as CID000003440"
            )
    first, second = (columns[name] for name in PAIR_COLUMNS)
    keys = first.place.astype(np.int64) * len(second.labels) + second.place
    if effects is not None:
        keys = keys[_of_rare_effects(*(columns[name] for name in EFFECT_COLUMNS), effects)]
    here, there = np.divmod(np.unique(keys), len(second.labels))
    return [(first.labels[a], second.labels[b]) for a, b in zip(here.tolist(), there.tolist(), strict=True)]


def _of_rare_effects(number: _Column, name: _Column, effects: int) -> np.ndarray:
    """Rows (bool) whose side effect has the name of one of the rarest; an effect is its identifier and its name."""
    kinds, counts = np.unique(number.place.astype(np.int64) * len(name.labels) + name.place, return_counts=True)
    of_number, of_name = np.divmod(kinds, len(name.labels))
    ranked = sorted(range(len(kinds)), key=lambda n: (-counts[n], number.labels[of_number[n]], name.labels[of_name[n]]))
    return np.isin(name.place, of_name[ranked[-effects:]])


class _Column(NamedTuple):
    """A column of texts: the distinct ones, and each row's place among them."""

    labels: list[str]
    place: np.ndarray


def _pair_columns(path: Path) -> dict[str, _Column]:
    import pyarrow as pa
    import pyarrow.csv

    _exists(path)
    names = (*PAIR_COLUMNS, *EFFECT_COLUMNS)
    types = dict.fromkeys(names, pa.dictionary(pa.int32(), pa.string()))
    try:
        with pa.csv.open_csv(path) as reader:
            found = reader.schema.names
        missing = [name for name in names if name not in found]
        if missing:
            raise UserError(
                f"{path}: no column {' and no column '.join(map(repr, missing))} among {', '.join(map(repr, found))}"
            )
        options = pa.csv.ConvertOptions(include_columns=names, column_types=types)
        table = pa.csv.read_csv(path, convert_options=options).unify_dictionaries().combine_chunks()
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} cannot be read as a table with a header: {error}") from error
    if not len(table):
        raise UserError(f"{path} has no rows: each has a pair of compounds and a side effect")
    columns = {name: table[name].chunk(0) for name in names}
    return {name: _Column(c.dictionary.to_pylist(), c.indices.to_numpy()) for name, c in columns.items()}


def _exists(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"there is no {path.name} in {path.parent}: interactions need {PAIRS_FILE} and {CODES_FILE}")
