"""Which visits a task is about, by their class: inpatient, emergency, observation or outpatient."""

from __future__ import annotations

import pandas as pd

from zoo.knowledge.visit_classes import VISIT_CLASSES
from zoo.registry import UserError, names_of, shown


def visit_classes(visit_class: object) -> tuple[str, ...] | None:
    """A task's parameter ``visit_class`` as `VISIT_CLASSES` has them, whatever their order; None for all visits.

    Raises:
        UserError: it is neither None nor one or more of the classes.

    >>> visit_classes(["observation", "inpatient"])
    ('inpatient', 'observation')
    """
    if visit_class is None:
        return None
    named = names_of("visit_class", visit_class)
    unknown = [n for n in named if n not in VISIT_CLASSES]
    if unknown or not named:
        raise UserError(
            f"visit_class={shown(visit_class)} must be None, for all visits, or some of "
            f"{', '.join(map(repr, VISIT_CLASSES))}."
        )
    return tuple(c for c in VISIT_CLASSES if c in named)


def of_classes(visits: pd.DataFrame, classes: tuple[str, ...]) -> pd.Series:
    """Whether each visit, or the visit of each stay, is of one of the classes.

    Args:
        visits: with ``visit_id`` and ``class``.
        classes: as `visit_classes` gives them.

    Raises:
        UserError: the class of some visit is not known.
    """
    unknown = visits.visit_id[visits["class"].isna()]
    if len(unknown):
        missing, total = (ids.nunique(dropna=False) for ids in (unknown, visits.visit_id))
        raise UserError(
            f"visit_class={shown(list(classes))} needs the class of every visit, and that of {missing} of {total} is "
            f"not known (such as visit_id {unknown.iloc[0]}): set visit_class to None (null on the command line), and "
            f"all visits are taken."
        )
    return visits["class"].isin(classes)
