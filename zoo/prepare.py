"""A dataset and a task become data that models can be trained on."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo import registry
from zoo.data._again import Again
from zoo.data._drug_classes import DrugClasses, drug_classes
from zoo.data._event_values import EventValues
from zoo.data._measured import Measured
from zoo.data._preparation import USUAL, Preparation
from zoo.data._splits import Given, keep_share, split_files, split_subjects
from zoo.data._store import Store, VisitIndex, open_store
from zoo.data._task_data import TaskData
from zoo.data._vocabulary import BY_NAME
from zoo.datasets._canonical import CONCEPTS, SCHEMAS, UNPARSABLE, deaths
from zoo.datasets._source import identity
from zoo.knowledge import atc, icd
from zoo.knowledge.drugs import AtcMap
from zoo.knowledge.variables import Variable
from zoo.registry import UserError, check_parameters, counted, kind_of, nearest, parameters_of, shown
from zoo.tasks._events import Events
from zoo.tasks._selection import select
from zoo.tasks._task import CodeSets, Cohort, Relations, Task

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset

DATES = "YYYY-MM-DD or YYYY-MM-DD HH:MM:SS"
DATE = re.compile("9[/.-][9a]|[9a][/.-]9|9:9")
"""What the shape of a date or a time has in it."""


def load_dataset(name: str | type[Dataset], root: str | Path | None = None, **parameters) -> Dataset:
    """Open a dataset; nothing is read before it is asked for.

    Args:
        name: a registered dataset, such as ``"mimic3"``; see `zoo.list_datasets`. Or a class, registered or not.
        root: the folder with its tables.
        **parameters: the dataset's own.

    Raises:
        UserError: the name, a parameter, the root or a table that is always needed is unknown or missing.
    """
    entry = registry.datasets.entry(name)
    if root is not None and not isinstance(root, (str, os.PathLike)):
        raise UserError(f"root={shown(root)} must be the folder with the tables of dataset {entry.name!r}.")
    return _made(f"dataset {entry.name!r}", entry.thing, parameters, root=root)


def load_task(name: str | type[Task], **parameters) -> Task:
    """Make a task.

    Args:
        name: a registered task; see `zoo.list_tasks`. Or a class, registered or not.
        **parameters: the task's own.

    Raises:
        UserError: the name or a parameter is unknown, or its value is none that the task takes.

    >>> load_task("readmission", days=15).days
    15
    """
    entry = registry.tasks.entry(name)
    return _made(f"task {entry.name!r}", entry.thing, parameters)


def _made(what: str, thing: type, parameters: Mapping[str, object], **further):
    parameters = check_parameters(what, thing, parameters)
    try:
        return thing(**further, **parameters)
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        if isinstance(error, UserError) or not parameters:
            raise
        raise UserError(f"{what} cannot be made with {shown(parameters)}: {error}") from error


def load(
    dataset: str | Dataset | type[Dataset],
    task: str | Task | type[Task] | None = None,
    root: str | Path | None = None,
    concepts: str | Collection[str] | None = None,
    levels: Mapping[str, str] | None = None,
    split: Given = None,
    split_seed: int = 0,
    train_share: float = 1.0,
    train_seed: int = 0,
    max_visits: int | None = None,
    strict: bool = False,
    static: str | Collection[str] | None = None,
    **parameters,
) -> TaskData:
    """Prepare a task on a dataset.

    Args:
        dataset: a registered name, or what `load_dataset` made; or a class, registered or not.
        task: a registered name, or what `load_task` made; or a class, registered or not.
        root: the folder with the dataset's tables.
        concepts: the concepts that models may get, or the name of the only one; all that the dataset offers by default.
            Each is extracted when a model first asks for it.
        levels: the level to raise a concept's codes to, such as ``{"diagnosis": "ccs"}``. For ``drug`` it is
            ``"name"``, the name that most orders of the code have, or ``"atc3"`` (also 1 to 5), its ATC class, each
            once a visit and diluents left out; sources with other drug codes meet on both.
        split: shares of subjects, 0.8, 0.1, 0.1 by default, also by name (``{"train": 0.7, "validation": 0.1, "test":
            0.2}``); ``"temporal"``; ``"hospital"``; a DataFrame, or a CSV or Parquet file, with ``subject_id`` (or
            ``visit_id``) and ``split``; or for each of ``train``, ``validation`` and ``test`` a file with the ids of
            its visits, one a line, such as the published splits of MIMIC-III. Where visits are named, others are not
            used.
        split_seed: seed of the hash that splits subjects.
        train_share: share of the training subjects to train on, such as 0.1; the others are left out, and validation
            and test are what they are with all. Smaller shares lie within larger ones.
        train_seed: seed of the hash that draws these subjects.
        max_visits: the newest so many visits are seen; all by default.
        strict: of a multilabel task, labels that no training sample has are dropped, and counted; True lets them count
            as misses in the metrics, as if each had been given the probability 0. A task that takes the ``top_k`` most
            frequent labels has no others to miss.
        static: the facts that models which take static facts get of each visit: of ``age``, ``sex``,
            ``admission_type`` and ``admission_source``, which are the default, ``ethnicity`` (which a source may tell
            of a later admission only) and ``insurance``; ``[]`` for none.
        **parameters: the task's, and the dataset's.

    Raises:
        UserError: for whatever is unknown or missing, saying how to mend it.
    """
    given = Preparation(concepts, levels, split, split_seed, train_share, train_seed, max_visits, strict, static)
    how = given.checked()
    check_levels({} if levels is None else levels)
    _check_given(dataset, task)
    dataset_own, task_own = share_out(dataset, task, parameters)
    if isinstance(dataset, (str, type)):
        dataset = load_dataset(dataset, root, **dataset_own)
    elif root is not None:
        raise UserError(f"root={shown(root)}: the dataset is opened already, at {dataset.given_root}; leave root out.")
    if isinstance(task, (str, type)):
        task = load_task(task, **task_own)
    _check_declared(task)
    for concept in [*(how.concepts or ()), *task.needs]:
        dataset.require(concept)
    again = Again(load, type(dataset), dataset.given_root, dataset.parameters(), task, how)
    return prepare(dataset, task, how, key=key_of(dataset, task, how), again=again)


def key_of(dataset: Dataset, task: Task, how: Preparation) -> dict:
    """What identifies prepared data: the source, the task, and how they were prepared."""
    return {
        **task.key(),
        "dataset": dataset.key(),
        "dataset_parameters": dataset.parameters(),
        "split_file": identity(split_files(how.split)) or None,
        "drug_map": identity([Path(dataset.drug_map)]) if dataset.drug_map else None,
        **how.key,
    }


def prepare(
    dataset: Dataset, task: Task, how: Preparation = USUAL, *, cohort: Cohort | None = None, **fixed
) -> TaskData:
    """The data of a task on an opened dataset.

    Args:
        dataset, task, how: of what.
        cohort: the samples, where they are known already.
        **fixed: what else is, of `TaskData`.
    """
    visits = VisitIndex.read(dataset.folder())
    store = Stores(dataset, visits)
    if cohort is None:
        cohort = select(task, relations(dataset, store))
        if not len(cohort.samples):
            raise UserError(_why_none(dataset, task, cohort))
        _check_labels(task, cohort.samples)
    subjects = dataset.read("subjects")
    ids = subjects.subject_id.to_numpy()
    found = split_subjects(subjects, dataset.read("visits"), how.split, how.split_seed)
    found = replace(found, subject=keep_share(found.subject, ids, how.train_share, how.train_seed))
    return TaskData(dataset, task, cohort, visits, store, found, how, subject_ids=ids, **fixed)


def _check_labels(task: Task, samples: pd.DataFrame) -> None:
    """Raise a `UserError` where labels are none of the task's kind; sets are not gone through, which takes long."""
    kind = kind_of(task.kind)
    if kind.sets:
        return
    for what, wrong in kind.problems(samples.label, task.labels):
        places = np.flatnonzero(wrong)
        if len(places):
            raise UserError(
                f"task {task.name!r}, {counted(len(places), 'sample')} of {len(samples)}, such as that of visit_id "
                f"{samples.visit_id.iloc[places[0]]}: {what}; zoo.testing.check_task says what labels must be."
            )


def _why_none(dataset: Dataset, task: Task, cohort: Cohort) -> str:
    """What to say where a task has no sample: the steps that left candidates out, and what reading the tables did."""
    first, *steps = cohort.attrition.steps
    lost = [f"{first['step']}: {first['remaining']}"]
    lost += [f"{s['step']}: {s['left_out']} left out" for s in steps if s["left_out"]]
    read = read_with_loss(dataset, sorted(task.needs & set(dataset.concepts)))
    told = f" Of the tables much could not be read: {'; '.join(read)}." if read else ""
    return f"task {task.name!r} has no sample on {dataset.name} ({'; '.join(lost)}).{told}"


def read_with_loss(dataset: Dataset, concepts: Collection[str] = ()) -> list[str]:
    """A line for each reason for which half of a relation's rows, or more, were left out or lost a value.

    Args:
        dataset: whose relations were read.
        concepts: those of which the events count too.
    """
    import pyarrow.parquet as pq

    report, found = dataset.report(concepts), []
    for relation, counts in report.counts.items():
        if relation in SCHEMAS:
            kept = pq.read_metadata(dataset.folder() / f"{relation}.parquet").num_rows
            total = kept + sum(n for reason, n in counts.items() if not reason.startswith(UNPARSABLE))
        else:
            total = pq.read_metadata(dataset.events_folder(relation) / "events.parquet").num_rows
        for reason, count in counts.items():
            if 2 * count >= total and reason.startswith(UNPARSABLE):
                column = reason.removeprefix(UNPARSABLE)
                shape = report.examples[relation][reason][0].rpartition(f"{column}: ")[2]
                mend = f"mend the dates (as {DATES})" if DATE.search(shape) else "mend the values"
                found.append(f"{column}: {count} of {total} values do not parse, shape {shape}; {mend}")
            elif 2 * count >= total and not reason.startswith("kept"):
                found.append(f"{relation}: {count} of {total} left out, {reason}")
    return found


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


def relations(dataset: Dataset, store: Stores | None = None) -> Relations:
    """What a task sees of a dataset; its stores are opened unless they are given."""
    store = store or Stores(dataset, VisitIndex.read(dataset.folder()))
    tables = {name: dataset.read(name) for name in ("subjects", "visits", "stays", "left_out")}
    return Relations(
        name=dataset.name,
        **tables,
        deaths=deaths(tables["visits"], tables["subjects"], tables["left_out"]),
        follow_up_days=dataset.follow_up_days,
        gaps_known=dataset.gaps_known,
        orders_by_day=dataset.orders_by_day,
        code_sets=lambda concept, level: code_sets(store(concept), level),
        drug_sets=lambda level, order_types: drug_sets(store, level, order_types),
        read_events=lambda concept, codes: events(dataset, event_values(dataset, tables, concept, codes)),
        read_measured=lambda wanted: measured(dataset, tables, wanted),
        elsewhere=tuple(dataset.misplaced()),
    )


def event_values(
    dataset: Dataset, tables: Mapping[str, pd.DataFrame], concept: str, codes: Collection[str] | None
) -> EventValues:
    """The events of a concept that have some codes (None: all), with the numbers of visits and stays in the tables."""
    path = dataset.events_folder(concept) / "events.parquet"
    visits, stays = tables["visits"].visit_id.to_numpy(), tables["stays"].stay_id.to_numpy()
    return EventValues.read(path, visits, stays, codes)


def events(dataset: Dataset, found: EventValues) -> Events:
    """Events for a task, with values as the source has them."""
    names, place = np.unique(np.array(found.codes, object), return_inverse=True)
    code = place.astype(np.int32)[found.code]
    when = found.subject, found.visit, found.stay, found.time
    return Events(*when, code, found.value, names, gaps_known=dataset.gaps_known)


def measured(dataset: Dataset, tables: Mapping[str, pd.DataFrame], wanted: Variable) -> Events:
    """Those events of a variable that have a value in its unit and within its limits."""
    found = event_values(dataset, tables, wanted.concept, wanted.codes)
    how = Measured.of(found, [wanted.unit] * len(found.codes))
    notes = [f"{wanted.name} of labels, {code}: {counted(n, 'value')} {words}" for code, words, n in how.told()]
    value = how.values(found.code, found.value)
    told = replace(events(dataset, found), value=value, unit=wanted.unit, notes=tuple(notes))
    return told.only(np.isfinite(value))


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


def _check_given(dataset: object, task: object) -> None:
    """Raise a `UserError` where what was given as a dataset or a task is none."""
    from zoo.datasets._engine import Dataset

    if task is None:
        raise UserError(f"name a task, such as task='readmission': {', '.join(registry.tasks.names())}.")
    if isinstance(task, str) and not registry.tasks.knows(task) and Path(task).is_dir():
        raise UserError(f"{shown(task)} is a folder, no task: give it as root={shown(task)}, and a task.")
    for value, kind, holder in ((dataset, Dataset, registry.datasets), (task, Task, registry.tasks)):
        if isinstance(value, str) and holder is registry.datasets:
            holder.entry(value)  # before the task is looked at: arguments may be swapped
        ours = issubclass(value, kind) if isinstance(value, type) else isinstance(value, (str, kind))
        if not ours:
            raise UserError(
                f"{shown(value)} is no {holder.noun}: give a name ({', '.join(holder.names())}), or a class or an "
                f"instance of zoo.{holder.noun}s.{kind.__name__}."
            )


def _check_declared(task: Task) -> None:
    """Raise a `UserError` where a task does not say its kind, or names a concept that nothing has."""
    if getattr(task, "kind", None) is None:
        known = ", ".join(registry.kinds.names())
        raise UserError(f"task {task.name!r} does not say its kind: set kind to one of {known}.")
    registry.kind_of(task.kind)
    for what in ("given", "label_concepts", "needs"):
        for concept in getattr(task, what):
            if concept not in CONCEPTS:
                which = f"{what}: unknown concept {shown(concept)}"
                raise UserError(f"task {task.name!r}: {which}: {nearest(concept, CONCEPTS)}.")


def check_levels(levels: Mapping[str, str]) -> None:
    """Raise a `UserError` where codes of a concept cannot be raised to the level that is named for it."""
    if not isinstance(levels, Mapping):
        raise UserError(f"levels={shown(levels)} must name the level of each concept, such as {{'diagnosis': 'ccs'}}.")
    for concept, level in levels.items():
        if concept not in CONCEPTS:
            raise UserError(f"levels: unknown concept {shown(concept)}: {nearest(concept, CONCEPTS)}.")
        if not isinstance(level, str):
            raise UserError(f"levels={{{concept!r}: {shown(level)}}}: a level is a name, such as 'code' or 'ccs'.")
        if concept != "drug" or level not in (BY_NAME, *atc.LEVELS):
            icd.to_level([], level)


def share_out(dataset: str | type | Dataset, task: str | type | Task, parameters: Mapping) -> tuple[dict, dict]:
    """A user's keyword parameters parted into the dataset's and the task's, where these are yet to be made."""
    of_dataset = parameters_of(registry.datasets.get(dataset)) if isinstance(dataset, (str, type)) else {}
    of_task = parameters_of(registry.tasks.get(task)) if isinstance(task, (str, type)) else {}
    for name in parameters:
        if name not in {**of_dataset, **of_task}:
            raise UserError(
                f"neither task nor dataset has a parameter {name!r}: {nearest(name, {**of_dataset, **of_task})}."
            )
    return (
        {n: v for n, v in parameters.items() if n in of_dataset},
        {n: v for n, v in parameters.items() if n in of_task},
    )
