"""Drug orders by the class of what is given: the level on which drugs of several sources meet."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from zoo.data._store import Store
from zoo.knowledge import atc, drugs
from zoo.knowledge.drugs import AtcMap

PREFIX = "ATC//"


@dataclass(frozen=True)
class DrugClasses:
    """What the codes of a store of ``drug`` are.

    Attributes:
        names: (codes,) ``ATC//C03C`` at the level asked for; None for what has none.
        unmapped: (codes,) bool; a treatment whose class is not known.
    """

    names: list[str | None]
    unmapped: np.ndarray


def drug_classes(
    store: Store, level: str, order_types: Collection[str] | None = None, drug_map: AtcMap | None = None
) -> DrugClasses:
    """The ATC class of each kind of order.

    An order without a name takes the one that most orders with its ingredient number have. The user's own map decides
    before the name does. Diluents, flushes (see `zoo.knowledge.drugs`) and orders of other types have no class.

    Args:
        store: of ``drug``.
        level: one of `zoo.knowledge.atc.LEVELS`; a class known less deeply is given as deep as it is known.
        order_types: those that count; all by default. An order whose source names no type counts always.
        drug_map: from package codes to ATC codes.
    """
    names, routes, types, ingredients = (list(c) for c in zip(*store.orders, strict=True)) if store.orders else [[]] * 4
    names = completed(names, ingredients, np.bincount(store.code, minlength=len(names)))
    classes = drugs.atc(names, routes, level)
    if drug_map is not None:
        length = atc.LEVELS[level]
        classes = [own[:length] if own else c for own, c in zip(drug_map.atc(store.codes), classes, strict=True)]
    counts = np.array([order_types is None or t is None or t in order_types for t in types], bool)
    counts &= ~drugs.is_diluent(names, routes)
    found = [PREFIX + c if c and some else None for c, some in zip(classes, counts, strict=True)]
    return DrugClasses(found, counts & np.array([c is None for c in classes], bool))


def completed(names: list[str | None], ingredients: list[str | None], counts: np.ndarray) -> list[str | None]:
    """The names of orders, each without one named as most orders with its ingredient number are.

    Args:
        names, ingredients: (orders,) what the source says, None where it is silent.
        counts: (orders,) how many orders each stands for.
    """
    numbered = np.flatnonzero([i is not None for i in ingredients])
    if not len(numbered):
        return names
    _, number = np.unique([ingredients[i] for i in numbered], return_inverse=True)
    name_of = drugs.name_by_number(number, [names[i] for i in numbered], counts[numbered])
    completed = list(names)
    for place, own in zip(numbered.tolist(), number.tolist(), strict=True):
        completed[place] = names[place] or name_of.get(own)
    return completed
