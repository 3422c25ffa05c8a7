"""Settings, as they are given by ``--set KEY=VALUE``."""

from __future__ import annotations

import json
import math

from zoo import registry
from zoo.cli._names import check_known
from zoo.registry import UserError


def parsed(settings: list[str]) -> dict[str, object]:
    """Keys with their values: JSON, else text.

    >>> parsed(["task.days=15", "data.split=temporal"])
    {'task.days': 15, 'data.split': 'temporal'}

    Raises:
        UserError: a setting has no ``=``, is given twice, or has a number that is none.
    """
    found: dict[str, object] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set {registry.shown(setting)} must be KEY=VALUE, such as task.days=15.")
        if key in found:
            raise UserError(f"--set {key} is given twice.")
        try:
            found[key] = json.loads(text, parse_constant=_no_number, parse_float=_number)
        except json.JSONDecodeError:
            found[key] = text
        except (RecursionError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"--set {key}: {registry.shown(text)} is too long for a number or a list.") from error
    return found


def _number(text: str) -> float:
    number = float(text)
    return _no_number(text) if math.isinf(number) else number


def _no_number(name: str) -> None:
    raise UserError(f"{name[:40]} is no number that a setting can take.")


def of_other_dataset(dataset: str | None, settings: list[str]) -> dict[str, object]:
    """A dataset's own parameters out of the settings ``data``; fails early where its name is unknown."""
    if dataset is not None:
        check_known(datasets=dataset)
    from zoo.experiment import only, shared_out

    return only(shared_out(parsed(settings)), "data")["data"]
