"""What a model may be built from besides sizes and names: knowledge about codes, and counts of the training split.

A model asks by name (``register_model(..., resources={"interactions"})``) and finds them in ``spec.resources``:

| name | what it is |
| --- | --- |
| ``cooccurrence`` | int64 (labels, labels): in how many training samples two labels occur together; 0 with itself |
| ``encoder`` | ``name`` and ``config`` of a published text encoder that the model was asked to have; else None |
| ``interactions`` | bool (labels, labels): which labels are drugs that interact |
| ``molecules`` | `zoo.knowledge.molecules.Molecules` of the labels, drug classes |
| ``names`` | what each label stands for (`zoo.knowledge.names`), empty where there is no name |
| ``ontology`` | `zoo.knowledge.ontology.Ontology` of each concept with a tree: its codes are the vocabulary's |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from zoo.cache.forms import check_form
from zoo.data._encoder_config import check_encoder
from zoo.knowledge.molecules import BONDS, CHIRALITIES, SIDES, Graphs, Molecules
from zoo.knowledge.ontology import Ontology

RESOURCES = ("cooccurrence", "encoder", "interactions", "molecules", "names", "ontology")
RECORDS = {c.__name__: c for c in (Graphs, Molecules, Ontology)}


def cooccurrence(label: np.ndarray) -> np.ndarray:
    """(labels, labels) int64 how many samples have both labels, from (samples, labels) bool; the diagonal is 0.

    >>> cooccurrence(np.array([[1, 1, 0], [1, 1, 1]], bool)).tolist()
    [[0, 2, 1], [2, 0, 1], [1, 1, 0]]
    """
    hot = label.astype(np.float32)
    together = np.rint(hot.T @ hot).astype(np.int64)
    np.fill_diagonal(together, 0)
    return together


def to_plain(value: object) -> object:
    """A resource as JSON holds it; `from_plain` gives it back.

    >>> from_plain(to_plain({"a": np.arange(4).reshape(2, 2)}))["a"].tolist()
    [[0, 1], [2, 3]]
    """
    if isinstance(value, np.ndarray):
        return {"array": value.dtype.str, "shape": list(value.shape), "values": value.ravel().tolist()}
    if is_dataclass(value):
        held = {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
        return {"record": type(value).__name__, "fields": held}
    if isinstance(value, Mapping):
        return {"mapping": {n: to_plain(v) for n, v in value.items()}}
    return list(value) if isinstance(value, tuple) else value


def from_plain(facts: object) -> object:
    """What `to_plain` was given; of numbers and booleans, and of records that are known here, nothing else."""
    if isinstance(facts, list):
        return tuple(facts)
    if not isinstance(facts, dict):
        return facts
    if "array" in facts:
        check_form(facts["array"], str, "array")
        dtype = np.dtype(facts["array"])
        if dtype.kind not in "biuf":
            raise ValueError(f"{facts['array']!r} is no type of numbers")
        check_form(facts, {"shape": list[int], "values": list[float | bool]}, "array")
        return np.array(facts["values"], dtype).reshape(facts["shape"])
    if "record" in facts:
        record = RECORDS[facts["record"]]
        found = record(**{f.name: from_plain(facts["fields"][f.name]) for f in fields(record)})
        CHECKS[record](found)
        return found
    return {n: from_plain(v) for n, v in facts["mapping"].items()}


def check_resources(resources: Mapping[str, object], labels: tuple[str, ...], codes: Mapping[str, list[str]]) -> None:
    """Raise a `ValueError` where resources that were read are not those of labels and of the codes of concepts."""
    square = (len(labels), len(labels))
    for name, found in resources.items():
        if name in ("cooccurrence", "interactions"):
            _check_array(found, name, "i" if name == "cooccurrence" else "b", square)
        elif name == "molecules":
            if not isinstance(found, Molecules) or found.classes != labels:
                raise ValueError("resources.molecules are not those of the labels")
        elif name == "names":
            if not _are_texts(found) or len(found) != len(labels):
                raise ValueError("resources.names are not those of the labels")
        elif name == "ontology":
            if not isinstance(found, Mapping) or not all(isinstance(tree, Ontology) for tree in found.values()):
                raise ValueError("resources.ontology is none")
            if any(len(tree.leaf) != len(codes.get(concept, ())) for concept, tree in found.items()):
                raise ValueError("resources.ontology is not that of the codes")
        elif name == "encoder":
            if found is not None:
                check_form(found, {"name": str, "config": dict[str, object]}, "resources.encoder")
                check_encoder(found["config"])
        else:
            raise ValueError(f"resources has {name!r}, which is not known here")


def _check_graphs(found: Graphs) -> None:
    atoms = _check_array(found.atoms, "atoms", "i", (None,))
    _check_offsets(found.offsets, "offsets", len(atoms))
    bonds = _check_array(found.bonds, "bonds", "i", (2, None), len(atoms))
    _check_array(found.bond_kinds, "bond_kinds", "i", (bonds.shape[1],), len(BONDS))
    _check_array(found.chirality, "chirality", "i", (len(atoms),), len(CHIRALITIES))
    _check_array(found.sides, "sides", "i", (bonds.shape[1],), len(SIDES))


def _check_molecules(found: Molecules) -> None:
    texts = (found.classes, found.names, found.smiles, found.substructures, found.without)
    if not all(map(_are_texts, texts)):
        raise ValueError("molecules have names that are none")
    if not isinstance(found.graphs, Graphs) or not isinstance(found.fragments, Graphs):
        raise ValueError("molecules have no graphs")
    if (
        len(found.graphs.offsets) != len(found.names) + 1
        or len(found.fragments.offsets) != len(found.substructures) + 1
    ):
        raise ValueError("molecules are not as many as their graphs")
    _check_array(found.average, "average", "f", (len(found.classes), len(found.names)))
    if found.average.dtype != np.float32:
        raise ValueError("average is of another precision")
    _check_array(found.mask, "mask", "b", (len(found.classes), len(found.substructures)))
    atoms = np.concatenate([found.graphs.atoms, found.fragments.atoms])
    if type(found.fingerprints) is not int or not len(atoms) or found.fingerprints > len(atoms):
        raise ValueError("molecules have more fingerprints than atoms")
    _check_array(atoms, "atoms", "i", (None,), found.fingerprints)


def _check_ontology(found: Ontology) -> None:
    if not _are_texts(found.nodes):
        raise ValueError("an ontology has nodes without a name")
    nodes = len(found.nodes)
    parent = _check_array(found.parent, "parent", "i", (nodes,), nodes, least=-1)
    depth = _check_array(found.depth, "depth", "i", (nodes,), nodes)
    above = np.maximum(parent, 0)
    if nodes and ((parent >= np.arange(nodes)) | (depth != np.where(parent < 0, 0, depth[above] + 1))).any():
        raise ValueError("an ontology has a node above itself")
    leaf = _check_array(found.leaf, "leaf", "i", (None,), nodes)
    children = _check_array(found.children, "children", "i", (int((parent >= 0).sum()),), nodes)
    _check_offsets(found.child_offsets, "child_offsets", len(children), nodes)
    ancestors = _check_array(found.ancestors, "ancestors", "i", (None,), nodes)
    _check_offsets(found.ancestor_offsets, "ancestor_offsets", len(ancestors), len(leaf))


def _check_array(
    found: object, name: str, kind: str, shape: tuple[int | None, ...], below: int | None = None, least: int = 0
) -> np.ndarray:
    """Raise a `ValueError` where something is no array of a kind of numbers and a shape (None for any length).

    Real numbers must be finite; integers from ``least`` on, and below a bound where one is given.
    """
    if type(found) is not np.ndarray or found.dtype.kind != kind or found.ndim != len(shape):
        raise ValueError(f"{name} is no array of {len(shape)} dimensions")
    if any(wanted not in (None, length) for wanted, length in zip(shape, found.shape, strict=True)):
        raise ValueError(f"{name} has the shape {found.shape}")
    if kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"{name} has numbers that are not finite")
    if kind == "i" and found.size and (found.min() < least or (below is not None and found.max() >= below)):
        raise ValueError(f"{name} has numbers out of range")
    return found


def _check_offsets(found: object, name: str, values: int, rows: int | None = None) -> None:
    offsets = _check_array(found, name, "i", (None if rows is None else rows + 1,), values + 1)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != values or (np.diff(offsets) < 0).any():
        raise ValueError(f"{name} do not lead through all values")


def _are_texts(found: object) -> bool:
    return isinstance(found, tuple) and all(isinstance(text, str) for text in found)


CHECKS = {Graphs: _check_graphs, Molecules: _check_molecules, Ontology: _check_ontology}
"""What is looked at in a record that was read."""
