"""Samples that a run is tested on, their batches and scores, and what a reader of these must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from zoo.data import Batch, Ragged, Spec
from zoo.data._inputs import notes_on
from zoo.data._task_data import TaskData
from zoo.data._vocabulary import UNKNOWN, Vocabulary
from zoo.inference._data import SPLITS, check_split, check_task, dataset_of, prepared, same_patients, same_seed, task_of
from zoo.inference._run import Run
from zoo.models._model import Model
from zoo.progress import progress
from zoo.registry import UserError, counted, nearest
from zoo.training._finished import SPLIT

MEETING_LEVEL = {"diagnosis": "ccs", "procedure": "ccs", "drug": "name"}
"""The level on which codes of several sources meet."""


@dataclass(frozen=True)
class Scored:
    """What a run says of samples.

    Attributes:
        label: (samples,), or (samples, labels) bool for multilabel.
        score: what the model predicts for them.
        subject: (samples,) whose they are.
        unknown: for each concept how many ``events`` the samples see, and how many of these are ``unknown``.
        options: what metrics hang on, besides.
        by_sample: those of them that have a row for each sample.
    """

    label: np.ndarray
    score: np.ndarray
    subject: np.ndarray
    unknown: dict[str, dict[str, int]]
    options: dict[str, Any]
    by_sample: tuple[str, ...]

    def of(self, mask: np.ndarray) -> Scored:
        """Some of the samples."""
        options = {n: a[mask] if n in self.by_sample else a for n, a in self.options.items()}
        own = {n: getattr(self, n)[mask] for n in ("label", "score", "subject")}
        return replace(self, options=options, **own)


@dataclass(frozen=True)
class Tested:
    """Samples that a run is tested on.

    Attributes:
        run: the run.
        data: with the run's vocabularies and labels.
        split: a split, or ``"all"``.
        own: whether the patients are those of the run's own dataset.
    """

    run: Run
    data: TaskData
    split: str
    own: bool

    @classmethod
    def of(cls, run: Run, data, root, split: str | None, parameters: Mapping) -> Tested:
        if split is not None and split not in SPLITS:
            raise UserError(f"unknown split {split!r}: {nearest(split, SPLITS)}.")
        if isinstance(data, TaskData):
            check_task(run, data)
        dataset = dataset_of(run, data, root, parameters)
        own = same_patients(run, dataset)
        split = split or ("test" if own else "all")
        how = run.split
        if isinstance(data, TaskData):
            how = {n: data.key[n] for n in how}
            if own:
                check_split(run, how)
            if data.split_table is not None:
                how["split"] = data.split_table
        elif not own:
            # where all are tested nobody is kept apart: ways to split that need more than ids do not matter
            how = {"split": (0, 0, 1)} if split == "all" else {n: how[n] for n in SPLIT}
        task = data.task if isinstance(data, TaskData) else task_of(run)
        if task.table is not None and not own and not isinstance(data, TaskData):
            raise UserError(
                f"the run was trained with labels of patients of {run.result.dataset}: load {dataset.name} with "
                f"task=zoo.labels(...) of its own patients, and give these data."
            )
        tested = cls(run, prepared(run, dataset, how, task), split, own)
        if isinstance(data, TaskData):
            tested.data.outcomes.strict = data.outcomes.strict
        if not len(tested.places):
            raise UserError(f"no sample of task {run.result.task!r} on {dataset.name} falls into split {split!r}.")
        return tested

    @cached_property
    def places(self) -> np.ndarray:
        """The places of the samples in those of the data."""
        if self.split == "all":
            return np.arange(len(self.data.samples))
        return self.data.places(self.split)

    @cached_property
    def samples(self) -> pd.DataFrame:
        return self.data.samples.iloc[self.places].reset_index(drop=True)

    def batch(self, places: np.ndarray) -> Batch:
        """The samples at these places of the data; a concept that the data lack has no events."""
        return _completed(self.data.batch(places, self.run.model), self.run.spec)

    def measured(self, sample: int) -> dict[str, np.ndarray]:
        """(events,) the values of one of `samples`, for each concept with values, in the order of its batch."""
        return self.data.values(self.places[sample], self.run.model)

    def scored(self, batch_size: int, device: torch.device) -> Scored:
        """What the run says of the samples, in rows of as many as when it was tested: bit by bit the same scores."""
        labels, scores, unknown = self._told("predicting", lambda m, b: m.predict(m(b)), batch_size, device)
        subject, options = self.samples.subject_id.to_numpy(), self.data.outcomes.options(self.places)
        return Scored(labels, scores, subject, unknown, options, self.data.kind.by_sample)

    def embedded(self, batch_size: int, device: torch.device) -> tuple[np.ndarray, dict[str, dict[str, int]]]:
        """(samples, dim) the vectors that the run has of the samples, and the ``unknown`` of `Scored`."""
        _, vectors, unknown = self._told("embedding", _vectors, batch_size, device)
        return vectors, unknown

    def _told(
        self, doing: str, tell: Callable[[Model, Batch], Tensor], batch_size: int, device: torch.device
    ) -> tuple[np.ndarray, np.ndarray, dict[str, dict[str, int]]]:
        """The labels of the samples, what the model tells of them, and the ``unknown`` of `Scored`."""
        model = self.run.model.to(device)
        rows = self.data.rows(self.split, model, places=self.places)
        counts = {c: {"events": 0, "unknown": 0} for c in self.run.spec.concepts}
        labels, told = [], []
        with progress(f"{doing} with {self.run.result.model}") as report:
            for low in range(0, len(rows), batch_size):
                report(share=low / len(rows))
                batch = _completed(rows.batch(low, min(low + batch_size, len(rows))), self.run.spec)
                for concept, count in counts.items():
                    count["events"] += len(batch[concept].ids)
                    count["unknown"] += int((batch[concept].ids == UNKNOWN).sum())
                labels.append(batch.label.numpy())
                told.append(_array(tell, model, batch.to(device)))
        model.to("cpu")
        return np.concatenate(labels), np.concatenate(told), counts

    def notes(self, unknown: Mapping[str, Mapping[str, int]]) -> list[str]:
        """What a reader of scores must know of the data."""
        data, spec = self.data, self.run.spec
        found = notes_on({c: facts for c, facts in data.inputs(self.run.model).items() if c in spec.concepts})
        found += data.dataset.report(data.concepts).lines(examples=False) + data.notes_for(self.run.model)
        if self.own and data.digest_for(self.run.model) != self.run.result.data_key:
            found.append("the tables, or how they are read, are not those that the run was trained on")
        if not self.own and same_seed(self.run, data.dataset):
            found.append("these patients are simulated from the seed of those trained on: choose another seed")
        for concept in spec.concepts:
            if concept not in data.concepts:
                found.append(f"{concept}: the run uses it, but {data.dataset.name} has none; it was left empty")
            elif unknown[concept]["unknown"]:
                found.append(_unknown_note(concept, spec.vocabularies[concept], **unknown[concept], own=self.own))
        if data.outcomes.dropped:
            codes, times = len(data.outcomes.dropped), sum(data.outcomes.dropped.values())
            what, were = counted(codes, "label code"), "was" if codes == 1 else "were"
            became = "count as misses" if data.outcomes.unseen(self.places) is not None else f"{were} dropped"
            found.append(f"{what} that the run was not trained on {became} ({counted(times, 'time')})")
        if data.unknown_label_codes:
            have = "has" if data.unknown_label_codes == 1 else "have"
            found.append(f"{counted(data.unknown_label_codes, 'label code')} {have} no place at the label's level")
        return found


def _completed(batch: Batch, spec: Spec) -> Batch:
    """A batch that has all concepts of a specification, in its order."""
    none = {c: _no_events(v, len(batch.visit_start)) for c, v in spec.vocabularies.items() if c not in batch}
    return replace(batch, concepts={c: batch[c] if c in batch else none[c] for c in spec.concepts})


def _no_events(vocabulary: Vocabulary, visits: int) -> Ragged:
    ids, numbers = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    none = torch.zeros(visits + 1, dtype=torch.int64)
    of_values = {"variable": ids, "value": numbers} if vocabulary.bins else {}
    of_texts = {"tokens": ids, "token_offsets": none[:1]} if vocabulary.tokenizer else {}
    return Ragged(ids, none, numbers, **of_values, **of_texts)


def _vectors(model: Model, batch: Batch) -> Tensor:
    found = model.embed(batch)
    assert found is not None, "zoo.embed refuses a model without vectors"
    return found


def _array(tell: Callable[[Model, Batch], Tensor], model: Model, batch: Batch) -> np.ndarray:
    try:
        with torch.no_grad():
            return tell(model, batch).float().cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise UserError(f"out of memory with a batch of {batch.samples} samples: make batch_size smaller.") from error


def _unknown_note(concept: str, vocabulary: Vocabulary, events: int, unknown: int, own: bool) -> str:
    note = f"{concept}: {unknown} of {events} events ({unknown / events:.1%}) have codes that the run does not know"
    meeting = MEETING_LEVEL.get(concept)
    if own or meeting is None or vocabulary.level != "code":
        return note
    return f"{note}; sources meet better when it is trained with levels={{{concept!r}: {meeting!r}}}"
