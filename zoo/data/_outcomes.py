"""The labels of samples, and what metrics take besides."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import chain

import numpy as np

from zoo.data._samples import Samples
from zoo.kinds import Kind
from zoo.kinds._kind import Labels
from zoo.kinds.multilabel import Sets
from zoo.metrics import Metric, suite
from zoo.registry import kind_of


class Outcomes:
    """What samples are labelled with.

    Attributes:
        task: whose labels they are.
        samples: which they are of.
        interactions: (labels, labels) bool, which labels are drugs that interact; None where labels are no drugs.
        strict: whether labels that training never has count as misses in the metrics of samples that have them.
    """

    def __init__(self, task, samples: Samples, names: tuple[str, ...] | None, drugs, strict: bool):
        self.task, self.samples, self.strict = task, samples, strict
        self.fixed, self._drugs = names, drugs

    @property
    def kind(self) -> Kind:
        """The kind of the task."""
        return kind_of(self.task.kind)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each output: the task's own, or else the codes that training labels hold, in order.

        Of the latter the ``top_k`` that most training samples have, where the task asks for so many.
        """
        if self.fixed is not None:
            return self.fixed
        if self.kind.sets and self.task.labels is None:
            counts = Counter(chain.from_iterable(self._column[self.samples.split == 0]))
            return tuple(sorted(sorted(counts, key=lambda c: (-counts[c], c))[: self.task.top_k]))
        return self.task.labels or (self.task.name,)

    @cached_property
    def dropped(self) -> dict[str, int]:
        """Label codes that are no outputs, since training has none or too few of them: how many samples have each."""
        if not self.kind.sets:
            return {}
        counts = Counter(chain.from_iterable(self._column))
        return {c: counts[c] for c in sorted(set(counts) - set(self.names))}

    @cached_property
    def interactions(self) -> np.ndarray | None:
        return None if self._drugs is None else self._drugs.matrix(self.names)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """The labels of the samples at these places, as a batch has them."""
        return self._labels[places]

    def of(self, split: str) -> np.ndarray:
        """The labels of a split."""
        return self[self.samples.places(split)]

    @cached_property
    def fitted(self) -> dict[str, list[float]]:
        """What the kind must know of training labels before a model is made."""
        return self.kind.fitted(self._labels, self.samples.places("train"))

    def facts(self, places: np.ndarray) -> dict:
        """What a result says of the labels of samples: ``samples`` and ``subjects``, and what there is by kind."""
        found = {"samples": len(places), "subjects": len(np.unique(self.samples.subject[places]))}
        return {**found, **self.kind.facts(self._labels, places, self.names)} if len(places) else found

    def groups(self) -> dict[str, np.ndarray]:
        """(samples,) bool for each outcome that samples are grouped by; none for kinds that have no groups."""
        return self.kind.groups(self._labels, np.arange(len(self.samples)), self.names)

    def constant(self, split: str) -> object:
        """The label that all samples of a split have; None where they differ, or there are none."""
        places = self.samples.places(split)
        return self[places[:1]][0] if self.kind.is_constant(self._labels, places) else None

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the task, by name."""
        return suite(self.task.kind, self.shared_options)

    @property
    def ranked_by(self) -> str:
        """The name of the metric that models are compared by."""
        return self.kind.ranks(self.shared_options)

    @cached_property
    def shared_options(self) -> dict[str, object]:
        """What `zoo.metrics.evaluate` takes besides, whatever the samples are."""
        found = {n: getattr(self.task, n) for n in self.kind.of_tasks}
        found |= self.kind.option(self._labels, self.samples.places("train"), self.fitted)
        return found if self.interactions is None else {**found, "interactions": self.interactions}

    def options(self, places: np.ndarray) -> dict[str, object]:
        """What `zoo.metrics.evaluate` takes for these samples besides.

        These are what the kind and the task say; ``interactions`` and ``before`` where labels are drugs; and ``missed``
        where data are strict. The label before is that of the subject's last sample at another visit.
        """
        unseen = self.unseen(places)
        found = self.shared_options | ({} if unseen is None else {"missed": self._has(places, unseen)})
        if self.interactions is None:
            return found
        earlier, there = self.samples.before(places)
        before = np.hstack([self[earlier], self._has(earlier, unseen or [])]).astype(np.float32)
        before[~there] = np.nan
        return {**found, "before": before}

    def unseen(self, places: np.ndarray) -> list[str] | None:
        """The label codes of these samples that training never has, where they count as misses; None where they do not.

        They do where data are strict and the task does not restrict its labels to the most frequent ones.
        """
        if not self.strict or not self.kind.sets or self.task.top_k is not None:
            return None
        return sorted(set(chain.from_iterable(self._column.iloc[places])) - set(self.names))

    def _has(self, places: np.ndarray, codes: list[str]) -> np.ndarray:
        """(places, codes) bool, which label codes each of these samples has."""
        return Sets.of(self._column.iloc[places], codes).all()

    @property
    def _column(self):
        return self.samples.frame.label

    @cached_property
    def _labels(self) -> Labels:
        return self.kind.labels(self._column, self.names)
