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

from zoo.knowledge.molecules import Graphs, Molecules
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
        dtype = np.dtype(facts["array"])
        if dtype.kind not in "biuf":
            raise ValueError(f"{facts['array']!r} is no type of numbers")
        return np.array(facts["values"], dtype).reshape(facts["shape"])
    if "record" in facts:
        return RECORDS[facts["record"]](**{n: from_plain(v) for n, v in facts["fields"].items()})
    return {n: from_plain(v) for n, v in facts["mapping"].items()}
