"""A dataset and a task become data that models can be trained on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo import registry
from zoo.data._drug_classes import DrugClasses, drug_classes
from zoo.data._splits import Given, keep_share, plain, split_files, split_subjects
from zoo.data._store import Store, VisitIndex, open_store
from zoo.data._task_data import TaskData
from zoo.data._vocabulary import BY_NAME
from zoo.datasets._canonical import CONCEPTS
from zoo.datasets._source import identity
from zoo.knowledge import atc, icd
from zoo.knowledge.drugs import AtcMap
from zoo.registry import UserError, check_parameters, nearest, parameters_of
from zoo.tasks._task import CodeSets, Relations, Task

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset


def load_dataset(name: str, root: str | Path | None = None, **parameters) -> Dataset:
    """Open a dataset; nothing is read before it is asked for.

    Args:
        name: a registered dataset, such as ``"mimic3"``; see `zoo.list_datasets`.
        root: the folder with its tables.
        **parameters: the dataset's own.

    Raises:
        UserError: the name, a parameter, the root or a table that is always needed is unknown or missing.
    """
    thing = registry.datasets.get(name)
    check_parameters(f"dataset {name!r}", thing, parameters)
    return thing(root=root, **parameters)


def load_task(name: str, **parameters) -> Task:
    """Make a task.

    >>> load_task("readmission", days=15).days
    15
    """
    thing = registry.tasks.get(name)
    check_parameters(f"task {name!r}", thing, parameters)
    return thing(**parameters)


def load(
    dataset: str | Dataset,
    task: str | Task,
    root: str | Path | None = None,
    concepts: Collection[str] | None = None,
    levels: Mapping[str, str] | None = None,
    split: Given = None,
    split_seed: int = 0,
    train_share: float = 1.0,
    train_seed: int = 0,
    max_visits: int | None = None,
    **parameters,
) -> TaskData:
    """Prepare a task on a dataset.

    Args:
        dataset: a registered name, or what `load_dataset` made.
        task: a registered name, or what `load_task` made.
        root: the folder with the dataset's tables.
        concepts: the concepts that models may get; all that the dataset offers by default. Each is extracted when a
            model first asks for it.
        levels: the level to raise a concept's codes to, such as ``{"diagnosis": "ccs"}``. For ``drug`` it is
            ``"name"``, the name that most orders of the code have, or ``"atc3"`` (also 1 to 5), its ATC class, each
            once a visit and diluents left out; sources with other drug codes meet on both.
        split: shares of subjects, 0.8, 0.1, 0.1 by default; ``"temporal"``; ``"hospital"``; a CSV or Parquet file with
            ``subject_id`` (or ``visit_id``) and ``split``; or for each of ``train``, ``validation`` and ``test`` a file
            with the ids of its visits, one a line, such as the published splits of MIMIC-III. Where visits are named,
            others are not used.
        split_seed: seed of the hash that splits subjects.
        train_share: share of the training subjects to train on, such as 0.1; the others are left out, and validation
            and test are what they are with all. Smaller shares lie within larger ones.
        train_seed: seed of the hash that draws these subjects.
        max_visits: the newest so many visits are seen; all by default.
        **parameters: the task's, and the dataset's.

    Raises:
        UserError: for whatever is unknown or missing, saying how to mend it.
    """
    _check_choices(concepts, levels, max_visits)
    _check_share(train_share)
    dataset_own, task_own = share_out(dataset, task, parameters)
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, root, **dataset_own)
    if isinstance(task, str):
        task = load_task(task, **task_own)
    for concept in [*(concepts or ()), *task.needs]:
        dataset.require(concept)
    splitting = {"split": split, "split_seed": split_seed, "train_share": train_share, "train_seed": train_seed}
    how = {"concepts": concepts, "levels": levels, "max_visits": max_visits, **splitting}
    return prepare(dataset, task, key=key_of(dataset, task, **how), **how)


def key_of(
    dataset: Dataset,
    task: Task,
    *,
    concepts,
    levels,
    max_visits,
    split,
    split_seed: int = 0,
    train_share: float = 1.0,
    train_seed: int = 0,
) -> dict:
    """What identifies prepared data: the source, the task, and how they were prepared."""
    return {
        "dataset": dataset.key(),
        "dataset_parameters": dataset.parameters(),
        "task": task.name,
        "task_parameters": task.parameters(),
        "concepts": sorted(concepts) if concepts is not None else None,
        "levels": dict(levels or {}),
        "split": plain(split),
        "split_file": identity(split_files(split)) or None,
        "drug_map": identity([Path(dataset.drug_map)]) if dataset.drug_map else None,
        "split_seed": split_seed,
        "train_share": train_share,
        "train_seed": train_seed,
        "max_visits": max_visits,
    }


def prepare(
    dataset: Dataset,
    task: Task,
    *,
    split=None,
    split_seed: int = 0,
    train_share: float = 1.0,
    train_seed: int = 0,
    cohort=None,
    **keywords,
) -> TaskData:
    """The data of a task on an opened dataset; ``cohort`` fixes the samples where they are known already."""
    visits = VisitIndex.read(dataset.folder())
    store = Stores(dataset, visits)
    if cohort is None:
        cohort = task.cohort(relations(dataset, store))
        if not len(cohort.samples):
            steps = "; ".join(f"{s['step']}: {s['left_out']} left out" for s in cohort.attrition.steps)
            raise UserError(f"task {task.name!r} has no sample on {dataset.name} ({steps}).")
    subjects = dataset.read("subjects")
    ids = subjects.subject_id.to_numpy()
    found = split_subjects(subjects, dataset.read("visits"), split, split_seed)
    found = replace(found, subject=keep_share(found.subject, ids, train_share, train_seed))
    return TaskData(dataset, task, cohort, visits, store, found, subject_ids=ids, **keywords)


class Stores:
    """The stores of a dataset, each opened when it is first asked for.

    Args:
        dataset: whose events they hold.
        visits: all of its visits.
    """

    def __init__(self, dataset: Dataset, visits: VisitIndex):
        self._dataset, self._visits = dataset, visits
        self.of = cache(self._open)
        self.drug_classes = cache(self._classify)

    def __call__(self, concept: str, level: str = "code", order_types: tuple[str, ...] | None = None) -> Store:
        """The store of a concept; of drugs at an ATC level, each class once a visit, at its first order."""
        if concept != "drug" or level not in atc.LEVELS:
            return self.of(concept)
        return self.of(concept).once(self.drug_classes(level, order_types).names)

    def _open(self, concept: str) -> Store:
        events = self._dataset.events_folder(concept) / "events.parquet"
        return open_store(events, self._dataset.events_key(concept), self._visits, concept)

    def _classify(self, level: str, order_types: tuple[str, ...] | None) -> DrugClasses:
        given = self._dataset.drug_map
        return drug_classes(self.of("drug"), level, order_types, None if given is None else AtcMap.from_csv(given))


def relations(dataset: Dataset, store: Stores) -> Relations:
    """What a task sees of a dataset."""
    tables = {name: dataset.read(name) for name in ("subjects", "visits", "stays", "left_out")}
    return Relations(
        name=dataset.name,
        **tables,
        gaps_known=dataset.gaps_known,
        orders_by_day=dataset.orders_by_day,
        code_sets=lambda concept, level: code_sets(store(concept), level),
        drug_sets=lambda level, order_types: drug_sets(store, level, order_types),
    )


def drug_sets(store: Stores, level: str, order_types: tuple[str, ...] | None) -> CodeSets:
    """The drug classes of each visit; treatments whose class is not known are left out, and counted."""
    orders, classes = store.of("drug"), store("drug", level, order_types)
    visit = np.repeat(np.arange(len(classes.offsets) - 1), np.diff(classes.offsets))
    order = np.lexsort((classes.code, visit))
    ordered_in = np.repeat(np.arange(len(orders.offsets) - 1), np.diff(orders.offsets))
    unmapped = store.drug_classes(level, order_types).unmapped[orders.code]
    unknown = np.bincount(ordered_in[unmapped], minlength=len(orders.offsets) - 1)
    ids, hours = classes.code[order].astype(np.int64), classes.time[order] / 3600
    return CodeSets(np.array(classes.codes, object), classes.offsets, ids, unknown, hours)


def code_sets(store: Store, level: str) -> CodeSets:
    """The distinct codes of each visit at a level; codes that the level does not know are left out, and counted."""
    raised = icd.to_level(store.codes, level)
    names, place = np.unique([c for c in raised if c is not None], return_inverse=True)
    table = np.full(len(store.codes), -1)
    table[[i for i, c in enumerate(raised) if c is not None]] = place
    visits = len(store.offsets) - 1
    ids = table[store.code].astype(np.int64)
    visit = np.repeat(np.arange(visits), np.diff(store.offsets))
    unknown = np.bincount(visit[ids < 0], minlength=visits)
    pairs = pd.unique((visit * max(len(names), 1) + ids)[ids >= 0])
    pairs.sort()
    visit, ids = np.divmod(pairs, max(len(names), 1))
    offsets = np.r_[0, np.cumsum(np.bincount(visit, minlength=visits))].astype(np.int64)
    return CodeSets(names.astype(object), offsets, ids, unknown)


def _check_choices(concepts: object, levels: object, max_visits: object) -> None:
    if concepts is not None and (isinstance(concepts, str) or not isinstance(concepts, Collection)):
        raise UserError(f"concepts={concepts!r} must be a list or a set of names, such as ['diagnosis'].")
    check_levels(levels or {})
    whole = isinstance(max_visits, int) and not isinstance(max_visits, bool)
    if max_visits is not None and (not whole or max_visits < 1):
        raise UserError(f"max_visits={max_visits!r} must be a whole number of at least 1, or None.")


def check_levels(levels: Mapping[str, str]) -> None:
    """Raise a `UserError` where codes of a concept cannot be raised to the level that is named for it."""
    if not isinstance(levels, Mapping):
        raise UserError(f"levels={levels!r} must name the level of each concept, such as {{'diagnosis': 'ccs'}}.")
    for concept, level in levels.items():
        if concept not in CONCEPTS:
            raise UserError(f"levels: unknown concept {concept!r}: {nearest(concept, CONCEPTS)}.")
        if concept != "drug" or level not in (BY_NAME, *atc.LEVELS):
            icd.to_level([], level)


def _check_share(train_share: object) -> None:
    number = isinstance(train_share, (int, float)) and not isinstance(train_share, bool)
    if not number or not 0 < train_share <= 1:
        raise UserError(f"train_share={train_share!r} must be a number above 0 and at most 1.")


def share_out(dataset: str | Dataset, task: str | Task, parameters: Mapping) -> tuple[dict, dict]:
    """A user's keyword parameters parted into the dataset's and the task's, where these are given by name."""
    of_dataset = parameters_of(registry.datasets.get(dataset)) if isinstance(dataset, str) else {}
    of_task = parameters_of(registry.tasks.get(task)) if isinstance(task, str) else {}
    for name in parameters:
        if name not in {**of_dataset, **of_task}:
            raise UserError(
                f"neither task nor dataset has a parameter {name!r}: {nearest(name, {**of_dataset, **of_task})}."
            )
    return (
        {n: v for n, v in parameters.items() if n in of_dataset},
        {n: v for n, v in parameters.items() if n in of_task},
    )
