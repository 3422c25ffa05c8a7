"""A model that is checked, on a fabricated task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zoo.data._wanted import takes_static
from zoo.datasets._canonical import CONCEPTS
from zoo.kinds import Kind
from zoo.models import Estimator, Model
from zoo.registry import Entry, kind_of, parameters_of
from zoo.testing._model._logits import logits
from zoo.testing._model._patients import FabricatedTask, Patient
from zoo.testing._model._short_training import Training


@dataclass
class Candidate:
    """The model that is checked, on a fabricated task of one kind.

    Attributes:
        entry: the model as it is registered.
        kind: of the task.
        hyperparameters: of the model.
        model: after a short training.
        training: what trained it; None for a model that is fitted.
    """

    entry: Entry
    kind: str
    hyperparameters: dict
    model: Model | None = None
    training: Training | None = None

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts that it gets where all are there."""
        return tuple(c for c in CONCEPTS if c in self.entry.facts.concepts)

    @cached_property
    def task(self) -> FabricatedTask:
        """The task, with all concepts that it uses."""
        return self.task_with(self.concepts)

    def task_with(self, concepts: tuple[str, ...]) -> FabricatedTask:
        """The task with some concepts."""
        facts = self.entry.facts
        resources = tuple(sorted(facts.resources))
        reading = self.entry.thing.reading(self.settings) if "note" in concepts else None
        return FabricatedTask(self.kind, concepts, self.causal, facts.predicts, resources, reading, self.static)

    @cached_property
    def settings(self) -> dict[str, object]:
        """All hyperparameters."""
        return {**{n: p.default for n, p in parameters_of(self.entry.thing).items()}, **self.hyperparameters}

    @property
    def static(self) -> bool:
        """Whether it takes static facts."""
        return takes_static(self.entry.facts, self.settings)

    @property
    def task_kind(self) -> Kind:
        """The kind of the task."""
        return kind_of(self.kind)

    @property
    def causal(self) -> bool:
        """Whether it says that a sample is the same alone in its row and beside others."""
        return self.entry.facts.causal

    @property
    def fitted(self) -> bool:
        """Whether it is no network."""
        return issubclass(self.entry.thing, Estimator)

    @property
    def first(self) -> bool:
        """Whether this is the first kind that the model serves."""
        return self.kind == min(self.entry.facts.kinds)

    @property
    def thorough(self) -> bool:
        """Whether checks are run here that need not be run for every kind."""
        return self.first or self.task_kind.sets

    def rows(self, count: int = 8) -> list[Patient]:
        """Patients that it was not trained on."""
        return self.task.rows(200, 200 + count)

    def logits(self, rows: list[Patient]) -> np.ndarray:
        """(rows, outputs) of the last visit of each."""
        return logits(self.model, self.task.batch(rows))
