"""Prepare, train and test in one call, with settings under dotted names as ``zoo run --set`` takes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import registry
from zoo.registry import UserError, check_parameters, nearest, parameters_of

if TYPE_CHECKING:
    from zoo.data._task_data import TaskData
    from zoo.result import Result

GROUPS = ("task", "data", "model", "trainer")


def run(
    dataset: str,
    task: str,
    model: str,
    root: str | Path | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Result:
    """Prepare, train and test in one call.

    Args:
        dataset, task, model: registered names.
        root: the folder with the dataset's tables.
        seed, out: as in `zoo.train`.
        settings: further parameters under dotted names: ``task.days``, ``data.levels``, ``model.dim``, ``trainer.lr``.

    Raises:
        UserError: for whatever is unknown or missing; settings are looked at before anything is read.
    """
    from zoo.training import Trainer, create_model, train

    groups = shared_out(settings or {})
    check_parameters(f"model {model!r}", registry.models.get(model), groups["model"])
    check_parameters("the trainer", Trainer, groups["trainer"])
    Trainer(**groups["trainer"])  # looks at the values
    data = prepared(dataset, task, root, groups)
    made = create_model(model, data, seed=seed, **groups["model"])
    return train(made, data, seed=seed, out=out, **groups["trainer"])


def prepared(dataset: str, task: str, root: str | Path | None, groups: Mapping[str, dict]) -> TaskData:
    """A task on a dataset with the settings ``task`` and ``data``."""
    from zoo.prepare import load, load_dataset, load_task

    made = load_task(task, **groups["task"])
    own, others = _of_dataset(dataset, groups["data"])
    return load(load_dataset(dataset, root, **own), made, **others)


def shared_out(settings: Mapping[str, object]) -> dict[str, dict]:
    """Dotted settings by their part.

    >>> shared_out({"task.days": 15})["task"]
    {'days': 15}
    """
    groups: dict[str, dict] = {group: {} for group in GROUPS}
    for name, value in settings.items():
        group, dot, key = name.partition(".")
        if not dot or group not in groups:
            begins = ", ".join(f"{g}." for g in GROUPS)
            raise UserError(f"setting {name!r} must begin with one of {begins}; {nearest(group, GROUPS)}.")
        groups[group][key] = value
    return groups


def _of_dataset(dataset: str, settings: Mapping[str, object]) -> tuple[dict, dict]:
    """The settings ``data``: those of the dataset, and those of `zoo.load`."""
    from zoo.prepare import load

    of_dataset = parameters_of(registry.datasets.get(dataset))
    named = inspect.signature(load).parameters.values()
    of_load = {p.name for p in named if p.kind is not p.VAR_KEYWORD} - {"dataset", "task", "root"}
    for name in settings:
        if name not in {*of_dataset, *of_load}:
            raise UserError(f"there is no setting 'data.{name}': {nearest(name, {*of_dataset, *of_load})}.")
    own = {n: v for n, v in settings.items() if n in of_dataset}
    return own, {n: v for n, v in settings.items() if n not in of_dataset}
