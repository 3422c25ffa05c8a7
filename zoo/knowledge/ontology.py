"""Code systems as trees: for a person as a NetworkX graph, for a model as index arrays.

A node is a canonical code (``ICD9CM//428.0``), a category or other code above it (``ICD9CM//428``), a block or chapter
named by its range (``ICD9CM//420-429``, ``ICD9CM//390-459``), or the root of its system (``ICD9CM``).

| system | from the root down |
| --- | --- |
| ``ICD9CM``, ``ICD10CM`` | chapter, block, category, subcategories (ICD-10-CM: without the placeholder X), code |
| ``ICD9PROC`` | chapter, category (two digits), code |
| ``ICD10PCS`` | section, body system, operation, body part, approach, device, qualifier: a character each |
| ``ATC`` | the five levels |
| ``CCS``, ``CCSPROC`` | the category |

`ontology` has every listed code of a system. `Ontology.for_codes` has the codes of a dataset and what is above them:
any code finds its place, dotted or not; one that is not listed hangs at the deepest of its ancestors that is, a
category that is not (newer than the tables) at the chapter of its letter, a code that resembles none at its root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from zoo.knowledge import atc, icd
from zoo.knowledge._tables import read_rows
from zoo.knowledge.names import names as names_of
from zoo.registry import UserError, nearest

if TYPE_CHECKING:
    import networkx as nx

SYSTEMS = (*icd.SYSTEMS, "ATC", "CCS", "CCSPROC")

_START = {"ICD9PROC": 2, "ICD10CM": 3, "ICD10PCS": 1}
"""Characters of the shortest code; ICD-9-CM's depends on the code."""

_STANDS_WITH = {"C4A": "C43", "M1A": "M10", "Z3A": "Z39"}
"""Categories of ICD-10-CM that the tabular list has in the middle of a block, and a neighbour of each."""


def ontology(system: str) -> nx.DiGraph:
    """The whole tree of a system of `SYSTEMS`, edges from parent to child; a `UserError` where there is none.

    Nodes that have a name in our tables (`zoo.knowledge.names`) have it as the attribute ``name``.

    >>> graph = ontology("ATC")
    >>> sorted(graph.successors("ATC//C03D")), graph.nodes["ATC//C03CA01"]["name"]
    (['ATC//C03DA', 'ATC//C03DB'], 'furosemide')
    """
    import networkx as nx

    if system not in SYSTEMS:
        raise UserError(f"unknown code system {system!r}: {nearest(system, SYSTEMS)}")
    graph = nx.DiGraph()
    graph.add_node(system)
    for code in sorted(_known(system)):
        graph.add_edges_from(pairwise(_path(system, code)))
    names = names_of(system)
    nx.set_node_attributes(graph, {node: names[node] for node in graph if node in names}, "name")
    return graph


@dataclass(frozen=True)
class Ontology:
    """The nodes of some codes and of all that is above them, as index arrays; N nodes, C codes.

    Nodes are ordered by depth, so a parent comes before its children, and the children of a node lie side by side.
    Ragged arrays are values with offsets: those of row i are ``values[offsets[i]:offsets[i + 1]]``.
    """

    nodes: tuple[str, ...]
    parent: np.ndarray
    """(N,) node above each node, -1 for a root."""
    depth: np.ndarray
    """(N,) edges between each node and its root."""
    leaf: np.ndarray
    """(C,) node of each code. A code may stand above another (a category that is billed)."""
    children: np.ndarray
    """(N - roots,) children of each node, ragged."""
    child_offsets: np.ndarray
    """(N + 1,)"""
    ancestors: np.ndarray
    """(P,) of each code its own node, its parent and so on up to the root, ragged."""
    ancestor_offsets: np.ndarray
    """(C + 1,)"""

    @classmethod
    def for_codes(cls, codes: Sequence[str]) -> Ontology:
        """The ontology of codes (C,) of one or several systems, each with its own root; equal codes share a node.

        Codes are canonical (``ICD9CM//428.0``, ``ATC//C03C``); a bare ATC code is taken as one.

        Raises:
            UserError: a code is of no system of `SYSTEMS`.

        >>> tree = Ontology.for_codes(["ICD9CM//428.0", "ICD9CM//4289", "C03C"])
        >>> [tree.nodes[n] for n in tree.ancestors_of(0)]
        ['ICD9CM//428.0', 'ICD9CM//428', 'ICD9CM//420-429', 'ICD9CM//390-459', 'ICD9CM']
        >>> tree.parent[tree.leaf].tolist(), tree.depth[tree.leaf].tolist()
        ([7, 7, 4], [4, 4, 3])
        """
        paths = [_place(code) for code in codes]
        above = {node: path[n - 1] if n else None for path in paths for n, node in enumerate(path)}
        nodes = _by_depth(above, {node: n for path in paths for n, node in enumerate(path)})
        index = {node: n for n, node in enumerate(nodes)}
        parent = np.array([index.get(above[node], -1) for node in nodes], dtype=np.int64)
        depth = np.zeros(len(nodes), dtype=np.int64)
        for n, up in enumerate(parent.tolist()):
            depth[n] = 0 if up < 0 else depth[up] + 1
        roots = int((parent < 0).sum())
        lengths = np.array([len(path) for path in paths], dtype=np.int64)
        return cls(
            nodes=tuple(nodes),
            parent=parent,
            depth=depth,
            leaf=np.array([index[path[-1]] for path in paths], dtype=np.int64),
            children=np.arange(roots, len(nodes), dtype=np.int64),
            child_offsets=_offsets(np.bincount(parent[roots:], minlength=len(nodes))),
            ancestors=np.array([index[node] for path in paths for node in reversed(path)], dtype=np.int64),
            ancestor_offsets=_offsets(lengths),
        )

    def ancestors_of(self, code: int) -> np.ndarray:
        """Nodes of one code, by its position: its own, its parent and so on up to the root."""
        return self.ancestors[self.ancestor_offsets[code] : self.ancestor_offsets[code + 1]]

    def ancestor_pairs(self) -> np.ndarray:
        """(2, P) position of a code and a node at or above it, for all such pairs in the order of codes.

        >>> Ontology.for_codes(["ATC//C03C", "ATC//C03"]).ancestor_pairs().tolist()
        [[0, 0, 0, 0, 1, 1, 1], [3, 2, 1, 0, 2, 1, 0]]
        """
        codes = np.repeat(np.arange(len(self.leaf)), np.diff(self.ancestor_offsets))
        return np.stack([codes, self.ancestors])

    def edges(self) -> np.ndarray:
        """(2, N - roots) child and parent of each edge, in the order of children.

        >>> Ontology.for_codes(["ATC//C03", "ATC//B05"]).edges().tolist()
        [[1, 2, 3, 4], [0, 0, 1, 2]]
        """
        return np.stack([self.children, self.parent[self.children]])

    def to_networkx(self) -> nx.DiGraph:
        """The same as a graph of node names, edges from parent to child.

        >>> sorted(Ontology.for_codes(["ATC//C03C"]).to_networkx().edges)
        [('ATC', 'ATC//C'), ('ATC//C', 'ATC//C03'), ('ATC//C03', 'ATC//C03C')]
        """
        import networkx as nx

        graph = nx.DiGraph()
        graph.add_nodes_from(self.nodes)
        graph.add_edges_from((self.nodes[parent], self.nodes[child]) for child, parent in self.edges().T)
        return graph


def _by_depth(above: dict[str, str | None], depth: dict[str, int]) -> list[str]:
    """Nodes by depth, those of one parent side by side, parents and siblings in alphabetical order."""
    ordered: list[str] = []
    position: dict[str | None, int] = {None: -1}
    for level in range(max(depth.values(), default=-1) + 1):
        here = sorted((node for node in above if depth[node] == level), key=lambda node: (position[above[node]], node))
        position.update({node: len(ordered) + n for n, node in enumerate(here)})
        ordered += here
    return ordered


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _place(code: str) -> list[str]:
    """Nodes from the root to a canonical code."""
    system, parted, rest = code.partition("//") if isinstance(code, str) else ("", "", "")
    if not parted and atc.bare(code):
        return _path("ATC", atc.bare(code))
    if not parted or system not in SYSTEMS:
        raise UserError(f"no ontology has a place for the code {code!r}: codes begin with {'//, '.join(SYSTEMS)}//")
    return _path(system, rest.strip().replace(".", "").upper())


def _path(system: str, code: str) -> list[str]:
    """Nodes from the root to a bare code: its ancestors that are listed, and the code itself in any case."""
    lengths = _lengths(system, code)
    listed = [code[:length] for length in lengths if code[:length] in _known(system)]
    inside = [f"{first}-{last}" for first, last in _blocks_of(system, code[: lengths[0]] if lengths else code)]
    if code and code not in listed:
        listed.append(code)
    return [system, *(f"{system}//{node}" for node in [*inside, *(_written(system, own) for own in listed)])]


def _written(system: str, code: str) -> str:
    return icd.dotted(code, system) if system in icd.SYSTEMS else code


def _lengths(system: str, code: str) -> Sequence[int]:
    """Lengths of a code's beginnings that may be codes themselves."""
    if system == "ATC":
        return [length for length in atc.LEVELS.values() if length <= len(code)]
    if system in ("CCS", "CCSPROC"):
        return [len(code)] if code else []
    start = 4 if system == "ICD9CM" and code.startswith("E") else _START.get(system, 3)
    return range(start, len(code) + 1)


@cache
def _known(system: str) -> frozenset[str]:
    """Bare codes of a system: those that are listed, and those above them."""
    if system == "ATC":
        return frozenset(atc.known_codes())
    if system in ("CCS", "CCSPROC"):
        return frozenset(_ccs_numbers(system))
    listed = icd.listed(system)
    above = {code[:length] for code in listed for length in _lengths(system, code)}
    return frozenset(listed | (_no_placeholders(above, listed) if system == "ICD10CM" else above))


def _no_placeholders(above: set[str], listed: set[str]) -> set[str]:
    """Beginnings of ICD-10-CM codes without those that only hold the place of a character with an X.

    ``W19.XXX`` is no code above ``W19.XXXA``, but ``T36.0X`` (penicillins) is one above ``T36.0X1`` (by accident).
    """
    follows: dict[str, set[str]] = {}
    for code in above | listed:
        follows.setdefault(code[:-1], set()).add(code[-1])
    return {code for code in above if not code.endswith("X") or (len(code) < 6 and len(follows[code]) > 1)}


def _ccs_numbers(system: str) -> set[str]:
    names = read_rows("ccs_names.csv")
    return {row["category"].split("//")[1] for row in names if row["category"].startswith(f"{system}//")}


@cache
def _blocks_of(system: str, category: str) -> list[tuple[str, str]]:
    """Chapter and block of a category, as far as there are any; none that is but the category itself.

    A category that is in no chapter's range (newer than the table, as ``QA0`` behind ``Q00-Q99``) is in the chapter of
    its letter.
    """
    found = []
    place = _STANDS_WITH.get(category, category) if system == "ICD10CM" else category
    for level in ("chapter", "block"):
        inside = [(first, last) for first, last in _blocks(system, level) if first <= place <= last]
        if level == "chapter" and not inside and place[:1].isalpha():
            inside = _chapter_of_letter(system, place)
        found += [(category, category)] if (category, category) in inside else inside[:1]
    return [block for block in found if block != (category, category)]


def _chapter_of_letter(system: str, category: str) -> list[tuple[str, str]]:
    """The chapter that has a category's letter: the last that ends before it, else the first; none where none has."""
    own = [block for block in _blocks(system, "chapter") if block[0][0] <= category[0] <= block[1][0]]
    return [block for block in own if block[1] < category][-1:] or own[:1]


@cache
def _blocks(system: str, level: str) -> list[tuple[str, str]]:
    rows = read_rows("icd_blocks.csv")
    return [(row["first"], row["last"]) for row in rows if (row["system"], row["level"]) == (system, level)]
