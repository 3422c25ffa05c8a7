"""A column of labels that a user brings along: of which kind they are, and as a cohort has them."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo.registry import UserError, counted, shown

if TYPE_CHECKING:
    from zoo.kinds import Kind

BY_DTYPE = {"b": "bool", "i": "whole", "u": "whole", "f": "number"}
SEQUENCES = (list, tuple, set, frozenset, np.ndarray)


def told_kind(column: pd.Series, names: Sequence[str] | None) -> str:
    """The name of the kind that labels are of, where their type leaves no doubt.

    >>> told_kind(pd.Series([True, False]), None), told_kind(pd.Series([["a"], []]), None)
    ('binary', 'multilabel')
    >>> told_kind(pd.Series([0, 1]), None)
    Traceback (most recent call last):
    zoo.registry.UserError: labels: the label is a whole number, which may be a class, a yes or no, or an amount: give
    the classes as labels=('first', ...), or kind='binary' or kind='regression'.

    Args:
        column: one a row, none null.
        names: of the classes or labels, where they are given.

    Raises:
        UserError: they may be of several kinds, or are of none that is told from the type.
    """
    kinds = _types(column)
    if kinds == {"bool"}:
        return "binary"
    if kinds == {"codes"}:
        return "multilabel"
    if names is not None and kinds in ({"whole"}, {"text"}):
        return "multiclass"
    if "number" in kinds <= {"number", "whole"}:
        if np.isin(column.to_numpy(float), (0, 1)).all():
            raise UserError(
                "labels: the label is 0.0 or 1.0 throughout, which may be a yes or no, or an amount: give "
                "kind='binary' or kind='regression'."
            )
        return "regression"
    if kinds == {"whole"}:
        raise UserError(
            "labels: the label is a whole number, which may be a class, a yes or no, or an amount: give the classes as "
            "labels=('first', ...), or kind='binary' or kind='regression'."
        )
    if kinds == {"text"}:
        raise UserError(
            "labels: the label is a text: give the classes as labels=('first', ...), or, for several codes a row, a "
            "list of texts in each."
        )
    raise UserError(
        f"labels: of which kind the label {shown(column.iloc[0])} is cannot be told: give kind=, one of "
        "zoo.list_kinds(), and labels as that kind has them."
    )


def _types(column: pd.Series) -> set[str]:
    """Of which types the values of a column are."""
    kind = getattr(column.dtype, "kind", "O")
    return {BY_DTYPE[kind]} if kind in BY_DTYPE else {_type_of(value) for value in column}


def _type_of(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, numbers.Integral):
        return "whole"
    if isinstance(value, numbers.Real):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, SEQUENCES) and all(isinstance(code, str) for code in value):
        return "codes"
    return "other"


def as_labels(column: pd.Series, kind: Kind, names: Sequence[str] | None) -> pd.Series:
    """Labels as a cohort has them: bools, numbers of classes, floats, lists of codes, or tuples of floats.

    >>> from zoo.registry import kind_of
    >>> as_labels(pd.Series(["home", "died"]), kind_of("multiclass"), ("died", "home")).tolist()
    [1, 0]

    Args:
        column: one a row, none null.
        kind: what they are to be.
        names: of the classes or labels, where they are given.

    Raises:
        UserError: some are no labels of that kind; says how many, and the first.
    """
    found = _converted(column, kind, names)
    for what, wrong in kind.problems(found, names):
        _refuse(column, np.asarray(wrong, bool), what, kind, names)
    return found


def _converted(column: pd.Series, kind: Kind, names: Sequence[str] | None) -> pd.Series:
    """The labels in the type that the kind has, as far as nothing is lost by it."""
    types = _types(column)
    if "codes" in types or "other" in types:
        inside = _codes if kind.sets else _numbers
        return pd.Series([inside(v) for v in column], index=column.index, dtype=object)
    if kind.exclusive and names and types == {"text"}:
        place = {name: i for i, name in enumerate(names)}
        _refuse(column, ~column.isin(place).to_numpy(bool), "the class is none of the labels", kind, names)
        return column.map(place).astype("int64")
    if "text" in types or kind.sets:
        return column
    values = column.to_numpy(np.float64)
    if kind.dtype is bool and np.isin(values, (0, 1)).all():
        return pd.Series(values == 1, index=column.index)
    if kind.exclusive and (values == np.floor(values)).all():
        return pd.Series(values.astype(np.int64), index=column.index)
    return column if kind.dtype is bool or kind.exclusive else pd.Series(values, index=column.index)


def _codes(value: object) -> object:
    if not isinstance(value, SEQUENCES):
        return value
    return sorted(value) if isinstance(value, (set, frozenset)) else list(value)


def _numbers(value: object) -> object:
    """A tuple of floats, whether it was a tuple, or a list as files have it."""
    real = isinstance(value, SEQUENCES) and all(isinstance(v, (numbers.Real, np.bool_)) for v in value)
    return tuple(float(v) for v in value) if real else value


def _refuse(column: pd.Series, wrong: np.ndarray, what: str, kind: Kind, names: Sequence[str] | None) -> None:
    if not wrong.any():
        return
    first = int(np.flatnonzero(wrong)[0])
    value = column.iloc[[first]].tolist()[0]
    named = " With labels=(...) it may be empty." if kind.sets and names is None else ""
    raise UserError(
        f"labels: {what} (in {counted(int(wrong.sum()), 'row')} of {len(column)}, the first is row "
        f"{shown(column.index[first])} with {shown(value)}): mend the table, or give another kind than "
        f"{kind.registered_name!r}.{named}"
    )
