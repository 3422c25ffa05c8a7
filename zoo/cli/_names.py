"""Names of datasets, tasks and models that are given to commands."""

from __future__ import annotations

from zoo import registry
from zoo.registry import UserError

NOUNS = {
    "datasets": registry.datasets,
    "kinds": registry.kinds,
    "tasks": registry.tasks,
    "models": registry.models,
}


def check_known(**names: str) -> None:
    """Fail early, before anything heavy is imported, where the name of a noun is unknown.

    >>> check_known(tasks="los", models="gru")

    Raises:
        UserError: a name is unknown; it tells the nearest.
    """
    for noun, name in names.items():
        holder = NOUNS[noun]
        if name not in holder.names():
            raise UserError(f"unknown {holder.noun} {name!r}: {registry.nearest(name, holder.names())}.")


def several(noun: str, given: list[str]) -> list[str]:
    """Names that were given one by one or with commas between them; ``all`` stands for all there are.

    >>> several("models", ["gru,mlp", "retain"])
    ['gru', 'mlp', 'retain']

    Raises:
        UserError: a name is unknown.
    """
    found = [n for text in given for n in text.split(",") if n]
    if found == ["all"]:
        return NOUNS[noun].names()
    for name in found:
        check_known(**{noun: name})
    return found
