"""Prepare, train and test in one call, with settings under dotted names as ``zoo run --set`` takes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import registry
from zoo.registry import UserError, check_multiples, check_parameters, nearest, parameters_of

if TYPE_CHECKING:
    from zoo.data._task_data import TaskData
    from zoo.datasets._engine import Dataset
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
    init: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Result:
    """Prepare, train and test in one call.

    Args:
        dataset, task, model: registered names.
        root: the folder with the dataset's tables.
        seed, out: as in `zoo.train`.
        init: as in `zoo.train`. The model has the hyperparameters of that run, and the subjects of the same dataset
            are split as it split them; settings lie over both.
        settings: further parameters under dotted names: ``task.days``, ``data.levels``, ``model.dim``, ``trainer.lr``.

    Raises:
        UserError: for whatever is unknown or missing; settings are looked at before anything is read.
    """
    from zoo.training import create_model, train
    from zoo.training._initial import Initial

    groups = _checked(model, settings or {})
    initial = None if init is None else Initial.read(init)
    if initial:
        initial.check_model(model)
        groups["data"] = {**initial.split_of(dataset), **groups["data"]}
        groups["model"] = {**initial.hyperparameters(model), **groups["model"]}
    check_multiples(f"model {model!r}", registry.models.get(model), groups["model"])
    data = prepared(dataset, task, root, groups)
    data = initial.laid_over(data, model) if initial else data
    made = create_model(model, data, seed=seed, **groups["model"])
    return train(made, data, seed=seed, out=out, init=init, **groups["trainer"])


def pretrain(
    dataset: str,
    task: str,
    model: str,
    root: str | Path | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Result:
    """Prepare, and pre-train on every visit of the training split; the run is the ``init`` of `run`.

    Args:
        dataset, task, model, root, settings: as of `run`.
        seed, out: as in `zoo.pretrain`.

    Raises:
        UserError: as `run`, and where the model is not pre-trained.
    """
    from zoo import training

    groups = _checked(model, settings or {})
    check_multiples(f"model {model!r}", registry.models.get(model), groups["model"])
    data = prepared(dataset, task, root, groups)
    made = training.create_model(model, data, seed=seed, **groups["model"])
    return training.pretrain(made, data, seed=seed, out=out, **groups["trainer"])


def _checked(model: str, settings: Mapping[str, object]) -> dict[str, dict]:
    """Settings by their part; those of the model and the trainer are looked at."""
    from zoo.training import Trainer

    groups = shared_out(settings)
    check_parameters(f"model {model!r}", registry.models.get(model), groups["model"])
    check_parameters("the trainer", Trainer, groups["trainer"])
    Trainer(**groups["trainer"])  # looks at the values
    return groups


def prepared(dataset: str, task: str, root: str | Path | None, groups: Mapping[str, dict]) -> TaskData:
    """A task on a dataset with the settings ``task`` and ``data``."""
    from zoo.prepare import load, load_task

    made = load_task(task, **groups["task"])
    opened, others = opened_dataset(dataset, root, groups["data"])
    return load(opened, made, **others)


def opened_dataset(dataset: str, root: str | Path | None, settings: Mapping[str, object]) -> tuple[Dataset, dict]:
    """A dataset with those of the settings ``data`` that are its own; and the others, which `zoo.load` takes."""
    from zoo.prepare import load_dataset

    own, others = _of_dataset(dataset, settings)
    return load_dataset(dataset, root, **own), others


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
