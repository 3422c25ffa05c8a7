"""Settings under dotted names, as `zoo run --set` takes them."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.registry import UserError


def shared_out(settings: Mapping[str, object]) -> dict[str, dict]:
    """Dotted settings by their part.

    >>> shared_out({"task.days": 15})["task"]
    {'days': 15}
    """
    groups: dict[str, dict] = {"task": {}, "data": {}, "model": {}, "trainer": {}}
    for name, value in settings.items():
        group, dot, key = name.partition(".")
        if not dot or group not in groups:
            raise UserError(f"setting {name!r} must begin with one of {', '.join(f'{g}.' for g in groups)}")
        groups[group][key] = value
    return groups
