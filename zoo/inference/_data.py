"""The data that a run is tested on: its own or others, with its task, levels, vocabularies and label names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from zoo.data._preparation import Preparation
from zoo.data._splits import NAMES
from zoo.data._task_data import TaskData
from zoo.datasets._engine import Dataset
from zoo.inference._run import Run
from zoo.prepare import key_of, load_dataset, load_task, prepare
from zoo.registry import Registry, UserError, datasets, models, parameters_of, shown, tasks
from zoo.tasks._labels import TABLE, Labels
from zoo.tasks._task import Task
from zoo.training._finished import LABEL_TABLE, SPLIT, split_held

SPLITS = (*NAMES, "all")
"""What of the data can be tested."""
HOW_READ = frozenset({"lab_delay", "memory_limit", "patients", "drug_map"})
"""Parameters of a dataset that leave its patients who they are."""


def dataset_of(run: Run, data, root: str | Path | None, parameters: Mapping) -> Dataset:
    """The dataset to test on, read as the run's was as far as it has the same parameters."""
    if data is not None and not isinstance(data, str):
        if root is not None or parameters:
            given = ", ".join([*(["root"] if root is not None else []), *parameters])
            raise UserError(f"{given}: the dataset is opened already; give its name to open it otherwise.")
        if not isinstance(data, (TaskData, Dataset)):
            raise UserError(f"{shown(data)} is no dataset: give a name, or what zoo.load_dataset or zoo.load returned.")
        return data.dataset if isinstance(data, TaskData) else data
    if data in SPLITS and data not in datasets.names():
        raise UserError(f"{data!r} is a split, no dataset: give it as split={data!r}.")
    name = data or run.result.dataset
    if not data:
        _check_here(run, datasets, name)
    known = parameters_of(datasets.get(name))
    kept = {n: v for n, v in run.result.config["dataset"].items() if n in known}
    if root is None and name == run.result.dataset:
        root = run.root
    return load_dataset(name, root, **{**kept, **parameters})


def same_patients(run: Run, dataset: Dataset) -> bool:
    """Whether the patients are those of the run's own dataset."""
    held = run.result.config["dataset"]
    differs = [n for n, v in dataset.parameters().items() if n not in HOW_READ and held.get(n) != v]
    return dataset.name == run.result.dataset and not differs


def same_seed(run: Run, dataset: Dataset) -> bool:
    """Whether a generator made the patients of the run, perhaps in other tables."""
    seed = dataset.parameters().get("seed")
    return dataset.name == run.result.dataset and seed is not None and seed == run.result.config["dataset"].get("seed")


def check_task(run: Run, data: TaskData) -> None:
    """Raise a `UserError` where data are of another task than the run."""
    result = run.result
    if data.task.name != result.task:
        raise UserError(f"the run predicts {result.task!r}, the data are of task {data.task.name!r}.")
    wanted, there = result.config["task"], json.loads(json.dumps(data.task.parameters(), default=str))
    for name, value in wanted.items():
        if there.get(name) != value and not (name == TABLE and data.task.table is not None):
            raise UserError(
                f"the run predicts {result.task!r} with {name}={value!r}, the data have {name}={there.get(name)!r}: "
                f"load them with {name}={value!r}."
            )


def check_split(run: Run, how: Mapping) -> None:
    """Raise a `UserError` where subjects were split in another way than the run split them."""
    wanted, there = ({n: of[n] for n in SPLIT} for of in (run.split, how))
    if json.loads(json.dumps(there, default=str)) != wanted:
        said, own = (", ".join(f"{n}={v!r}" for n, v in of.items()) for of in (there, wanted))
        raise UserError(
            f"the data are split by {said}, the run by {own}: some tested subjects would be those trained on; load the "
            f"data as the run did."
        )


def task_of(run: Run) -> Task:
    """The task of a run, as it was; one that the user's labels made is made from those in the run folder.

    Raises:
        UserError: the labels are not there or damaged, or the class of the task is not known in this process.
    """
    name, parameters = run.result.task, run.result.config["task"]
    if TABLE in parameters and not tasks.knows(name):
        return Labels.read(run.folder / LABEL_TABLE, name, parameters)
    _check_here(run, tasks, name)
    return load_task(name, **parameters)


def _check_here(run: Run, registry: Registry, name: str) -> None:
    if not registry.knows(name):
        raise UserError(
            f"{run.folder} is a run on {registry.noun} {name!r}, which nothing has here: load data with its class, and "
            f"give them, such as zoo.evaluate(run, data); or register the class under that name, and import its module."
        )


def prepared(run: Run, dataset: Dataset, splitting: Mapping, task: Task) -> TaskData:
    """A task on a dataset, with the run's vocabularies, as many of its concepts as there are."""
    config, spec = run.result.config, run.spec
    concepts = [c for c in spec.concepts if c in dataset.concepts]
    needs = models.entry(run.result.model).facts.needs
    missing = sorted(set(spec.concepts) - set(concepts))
    for concept in [*task.needs, *(c for c in missing if c in needs or dataset.name == run.result.dataset)]:
        dataset.require(concept)
    if spec.concepts and not concepts:
        raise UserError(f"{dataset.name} has none of the concepts that the run uses: {', '.join(spec.concepts)}.")
    held = {n: config["data"][n] for n in ("levels", "max_visits")} | dict(splitting)
    held["split"] = split_held(held["split"], run.folder)
    held["static"] = config["data"].get("static")
    how = Preparation(concepts, strict=bool(config["data"].get("strict")), **held)
    key = key_of(dataset, task, replace(how, concepts=config["data"]["concepts"]))
    fixed = {"vocabularies": spec.vocabularies, "label_names": spec.labels, "static": spec.static}
    return prepare(dataset, task, how, key=key, **fixed)
