"""The window test: nothing later than the prediction time reaches a feature, and all that is earlier does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from zoo.data._drug_classes import completed
from zoo.data._preparation import Preparation
from zoo.data.batch import Batch
from zoo.data.static import FACTS
from zoo.data.text import Reading, Words
from zoo.knowledge import atc, drugs
from zoo.prepare import prepare
from zoo.registry import STATIC
from zoo.tasks._task import Attrition, Cohort, Task
from zoo.testing._report import Findings
from zoo.testing._scrambled import later_events, scrambled
from zoo.testing._snapshot import Snapshot, Tables, private_cache

ALL_TRAIN = (1.0, 0.0, 0.0)
NOT_FEATURES = frozenset({"label"})

READING = Reading(Words(min_notes=1), max_tokens=64)
"""How notes are read, so that it shows what of their texts is seen."""

ORDER = ("text", "route", "ingredient")
"""The columns that tell which drug was ordered, and how."""


@dataclass(frozen=True)
class Window:
    """What is held fixed while a source changes.

    Attributes:
        task: the task that cuts the window.
        tables: the source as it is, for the subjects that are looked at.
        like: the dataset that it is of.
        folder: an empty folder to work in.
    """

    task: Task
    tables: Tables
    like: object
    folder: Path

    def data(self, tables: Tables, samples: pd.DataFrame, fitted: Mapping | None = None, max_visits: int | None = None):
        """A source prepared for fixed samples, all of them for training.

        Args:
            tables: the source.
            samples: the cohort.
            fitted: what `_fitted` found on other data; it is fitted here where there is none.
            max_visits: the newest so many are seen.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return prepare(
            Snapshot(tables, folder, self.like),
            self.task,
            Preparation(split=ALL_TRAIN, max_visits=max_visits, static=FACTS),
            cohort=Cohort(samples, Attrition()),
            **(fitted or {}),
        )


def check_window(findings: Findings, task: Task, tables: Tables, samples: pd.DataFrame, like, rounds: int):
    """The checks ``window`` and ``past``.

    Args:
        findings: where to say what was found.
        task: the task.
        tables: the canonical tables of the samples' subjects.
        samples: the cohort of these subjects.
        like: the dataset that the tables are of.
        rounds: how often each subject is looked at, each time with another of its samples while there are some.
    """
    with tempfile.TemporaryDirectory() as folder, private_cache(Path(folder) / "cache"):
        window = Window(task, tables, like, Path(folder))
        random = np.random.default_rng(0)
        whole = window.data(tables, samples)
        fitted = _fitted(whole)
        changed = dict.fromkeys(tables.events, 0)
        for place, chosen in enumerate(one_of_each(samples, rounds, random)):
            newest = None if place == 0 else 2 * place
            before = window.data(tables, chosen, fitted, newest)
            with findings.check("window"):
                _nothing_later(findings, window, before, chosen, random, newest)
            with findings.check("past"):
                if newest is None:
                    _all_that_is_earlier(findings, window, before, chosen, random)
            for concept in changed:
                changed[concept] += _later(tables.events[concept], chosen, task, concept).sum()
    told = ", ".join(f"{n} of {c}" for c, n in changed.items()) or "no concept"
    findings.note("window", f"later events that were scrambled: {told}")


def one_of_each(samples: pd.DataFrame, rounds: int, random) -> Iterator[pd.DataFrame]:
    """So many times one sample of each subject, another one each time while there are some."""
    shuffled = samples.iloc[random.permutation(len(samples))]
    shuffled = shuffled.sort_values("subject_id", kind="stable").reset_index(drop=True)
    rank = shuffled.groupby("subject_id").cumcount()
    count = shuffled.groupby("subject_id").subject_id.transform("size")
    for k in range(rounds):
        yield shuffled[rank == k % count].reset_index(drop=True)


def _later(events: pd.DataFrame, samples: pd.DataFrame, task: Task, concept: str) -> np.ndarray:
    return later_events(events, samples, concept in task.given, concept in task.label_concepts)


def _nothing_later(findings: Findings, window: Window, before, samples, random, newest) -> None:
    task = window.task
    at_start = window.like.at_start
    changed = scrambled(window.tables, samples, task.given, task.label_concepts, random, at_start)
    after = window.data(changed, samples, _fitted(before), newest)
    for name in sorted(_differences(before, after)):
        where = _changed_samples(before, after, name)
        findings.fail("window", f"{name} changes with what is later than the prediction time ({where})")


def _all_that_is_earlier(findings: Findings, window: Window, before, samples: pd.DataFrame, random) -> None:
    """Each earlier event is there, and a sample that lost one has other features."""
    for concept, events in window.tables.events.items():
        seen = visible(window.tables, concept, samples, window.task)
        counted = events.assign(counts_as=counts_as(events, window.task, concept))[seen]
        by_subject = counted.groupby("subject_id").counts_as.nunique()
        expected = samples.subject_id.map(by_subject).fillna(0).to_numpy(np.int64)
        found = _counts(before, concept, len(samples))
        findings.expect(
            "past", found == expected, f"{concept}: samples do not see all events up to the prediction time"
        )
        if not seen.any():
            findings.note("past", f"no {concept} before any prediction time")
    fewer, losers = _one_less(window.tables, samples, window.task, random)
    after = window.data(fewer, samples, _fitted(before))
    for concept, lost in losers.items():
        same = _counts(before, concept, len(samples)) == _counts(after, concept, len(samples))
        findings.expect("past", ~(same & lost), f"{concept}: features do not change with an event that is gone")


def visible(tables: Tables, concept: str, samples: pd.DataFrame, task: Task) -> np.ndarray:
    """(events,) bool: which events their subject's sample should see, told from the tables alone."""
    events, number = tables.events[concept], tables.number
    chosen = samples.set_index("subject_id").loc[events.subject_id.to_numpy()]
    visit = number.reindex(events.visit_id.fillna(-1).astype("int64").to_numpy()).fillna(np.inf).to_numpy()
    own = number.loc[chosen.visit_id].to_numpy()
    unordered = tables.visits.subject_id[~tables.visits.order_known.astype(bool)]
    reached = (visit <= own) & ~(events.subject_id.isin(unordered).to_numpy() & (visit != own))
    return reached & ~_later(events, samples, task, concept)


def counts_as(events: pd.DataFrame, task: Task, concept: str) -> pd.Series:
    """What each event is counted as: itself; or, of drugs at an ATC level, a class in a visit, null for none.

    A note of a kind that is not read counts as nothing.
    """
    if concept == "note" and task.note_kinds is not None:
        read = events.code.isin([f"NOTE//{kind}" for kind in task.note_kinds])
        return pd.Series(events.index, events.index).where(read)
    level = task.levels.get(concept)
    if level not in atc.LEVELS:
        return pd.Series(events.index, events.index)
    name, route, ingredient = (events[c].astype(object).where(events[c].notna(), None).tolist() for c in ORDER)
    names = drugs.atc(completed(name, ingredient, np.ones(len(events), int)), route, level)
    known = pd.Series(names, events.index, dtype=object)
    if task.order_types is not None:
        known = known.where(events.order_type.isna() | events.order_type.isin(task.order_types))
    return (events.visit_id.astype(str) + " " + known).where(known.notna())


def _one_less(tables: Tables, samples: pd.DataFrame, task: Task, random) -> tuple[Tables, dict[str, np.ndarray]]:
    """The tables without one visible event of each subject and concept, and which samples lost one."""
    events, losers = {}, {}
    for concept, frame in tables.events.items():
        kinds = counts_as(frame, task, concept)
        seen = frame[visible(tables, concept, samples, task) & kinds.notna()]
        gone = seen.iloc[random.permutation(len(seen))].drop_duplicates("subject_id")
        events[concept] = frame[~kinds.isin(kinds[gone.index])]
        losers[concept] = samples.subject_id.isin(gone.subject_id).to_numpy()
    return replace(tables, events=events), losers


def _fitted(data) -> dict[str, object]:
    """Vocabularies and the columns of static facts, as `prepare` takes them."""
    vocabularies = {c: data.feature(c, reading).vocabulary for c, reading in _read(data).items()}
    return {"vocabularies": vocabularies, "static": data.features.static.columns}


def _batches(data, size: int = 64) -> Iterator[Batch]:
    return data.batches("train", {**_read(data), STATIC: None}, batch_size=size)


def _read(data) -> dict[str, Reading | None]:
    return {c: READING if c == "note" else None for c in data.concepts}


def _counts(data, concept: str, samples: int) -> np.ndarray:
    """(samples,) how many events of a concept each sample has."""
    found = []
    for batch in _batches(data):
        per_visit = batch[concept].lengths
        total = torch.cat([torch.zeros(1, dtype=per_visit.dtype), per_visit.cumsum(0)])
        found.append(total[batch.row_offsets].diff()[batch.sample_row])
    counts = torch.cat(found).numpy() if found else np.zeros(0, np.int64)
    assert len(counts) == samples, "a batch lacks samples"
    return counts


def _differences(before, after) -> set[str]:
    """The names of the tensors, of all features, that differ in some batch."""
    found: set[str] = set()
    for old, new in zip(_batches(before), _batches(after), strict=True):
        found |= differences(old, new)
    return found


def _changed_samples(before, after, name: str) -> str:
    """Which samples differ by themselves, for people."""
    pairs = zip(_batches(before, 1), _batches(after, 1), strict=True)
    places = [i for i, (old, new) in enumerate(pairs) if name in differences(old, new)]
    visits = before.samples.visit_id.iloc[places[:3]].tolist()
    if not places:
        return "only where several samples share a batch"
    return f"{len(places)} of {len(before.samples)} samples; visit_id {', '.join(map(str, visits))}"


def differences(old, new) -> set[str]:
    """The names of the tensors that differ between two batches, labels aside.

    >>> from zoo.data import Ragged
    >>> a = Ragged(torch.tensor([5]), torch.tensor([0, 1]), torch.zeros(1))
    >>> b = Ragged(torch.tensor([6]), torch.tensor([0, 1]), torch.zeros(1))
    >>> differences(a, b)
    {'ids'}
    """
    before, after = dict(_tensors(old)), dict(_tensors(new))
    names = ({*before, *after}) - NOT_FEATURES
    return {n for n in names if not _same(before.get(n), after.get(n))}


def _tensors(part, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a batch, by names such as ``drug.ids``."""
    if isinstance(part, torch.Tensor):
        yield name, part
    elif is_dataclass(part):
        for f in fields(part):
            yield from _tensors(getattr(part, f.name), f"{name}.{f.name}".removeprefix("."))
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from _tensors(value, str(key))


def _same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())
