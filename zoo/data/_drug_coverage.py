"""How many of a source's drug orders have a class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zoo.data._drug_classes import completed
from zoo.data._store import Store
from zoo.knowledge import drugs
from zoo.knowledge.drugs import AtcMap, Coverage


def drug_coverage(store: Store, drug_map: AtcMap | None = None, top: int = 30) -> Coverage:
    """How many of the drug orders within visits have an ATC class; see `zoo.knowledge.drugs.Coverage`.

    Args:
        store: of ``drug``.
        drug_map: from package codes to ATC codes; it decides before the name does.
        top: how many unmapped names to list.
    """
    if not store.orders:
        return drugs.coverage([])
    own, routes, _, ingredients = (list(column) for column in zip(*store.orders, strict=True))
    counts = np.bincount(store.code, minlength=len(own))
    names = completed(own, ingredients, counts)
    codes = None if drug_map is None else drug_map.atc(store.codes)
    found = drugs.coverage(names, counts, routes, top, codes)
    taken = np.array([bool(name) and not mine for name, mine in zip(names, own, strict=True)], bool)
    return replace(found, completed=int(counts[taken].sum()))
