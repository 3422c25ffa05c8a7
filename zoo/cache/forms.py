"""Whether what was read from JSON has the form that it must have, before anything relies on it."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping

UNIONS = (types.UnionType, typing.Union)
NUMBER = 2**53
"""Numbers beyond it are no longer exact, and no fact of ours is as large."""


def check_form(value: object, form: object, where: str = "it") -> None:
    """Raise a `ValueError` where a value is not of a form, saying which part of it; the value is not repeated.

    Args:
        value: what JSON gave.
        form: `str`, `bool`, `int` (within 2^53), `float` (finite; whole numbers too), None, ``object`` for anything,
            ``list[form]``, ``dict[str, form]``, a union of forms, or a dict of names and forms, all of which a value
            must have (it may have others).
        where: what the value is called.

    >>> check_form({"a": [1, "x"]}, {"a": list[int]}, "spec")
    Traceback (most recent call last):
    ValueError: spec.a.1 is a str
    """
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {_said(value)}")
        for name, part in form.items():
            if name not in value:
                raise ValueError(f"{where} has no {name}")
            check_form(value[name], part, f"{where}.{name}")
        return
    origin = typing.get_origin(form)
    if origin in (list, dict):
        if not isinstance(value, origin):
            raise ValueError(f"{where} is {_said(value)}")
        inner = typing.get_args(form)[-1]
        if origin is list and _are_all_plain(value, inner):
            return
        for name, part in enumerate(value) if origin is list else value.items():
            check_form(part, inner, f"{where}.{name}")
    elif origin in UNIONS:
        if not any(_is_of(value, part) for part in typing.get_args(form)):
            raise ValueError(f"{where} is {_said(value)}")
    elif not _is_plain(value, form):
        raise ValueError(f"{where} is {_said(value)}")


def _are_all_plain(values: list, form: object) -> bool:
    """Whether values, of which there may be many, are of a plain form or of one of several; quick where they are."""
    forms = typing.get_args(form) if typing.get_origin(form) in UNIONS else (form,)
    kinds = set(map(type, values))
    if not kinds <= {*forms, *((int,) if float in forms else ())} - {object}:
        return False
    if int in kinds and not all(-NUMBER <= v <= NUMBER for v in values if type(v) is int):
        return False
    return float not in kinds or all(map(math.isfinite, values))


def _is_of(value: object, form: object) -> bool:
    try:
        check_form(value, form)
    except ValueError:
        return False
    return True


def _is_plain(value: object, form: object) -> bool:
    if form in (int, float):
        if isinstance(value, int) and not isinstance(value, bool):
            return abs(value) <= NUMBER
        return form is float and isinstance(value, float) and math.isfinite(value)
    return form is object or isinstance(value, types.NoneType if form is None else form)


def _said(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "a number out of place or too large"
    return "null" if value is None else f"a {type(value).__name__}"
