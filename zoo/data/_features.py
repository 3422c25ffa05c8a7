"""The concepts of a source, as the samples of a task see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from zoo.data._drug_classes import DrugClasses
from zoo.data._feature import Feature
from zoo.data._outcomes import Outcomes
from zoo.data._samples import Samples
from zoo.data._store import Store
from zoo.data._tokens import fitted
from zoo.data._training_window import TrainingWindow
from zoo.data._vocabulary import BY_NAME, Vocabulary
from zoo.data._wanted import Wanted
from zoo.data._window import cut, spans
from zoo.data.static import FACTS, Static, StaticColumns, StaticFacts
from zoo.data.text import Reading, Tokenizer
from zoo.registry import UserError

OpenStore = Callable[[str, str, tuple[str, ...] | None], Store]
"""From a concept, a level of its codes and the types of drug order that count to its events."""


class Features:
    """Concepts, cut for samples and with vocabularies that are fitted on those of training.

    Attributes:
        dataset, task, samples, outcomes: of what, for which, and with which labels.
        open_store: gives a concept's events.
        levels: the level that each concept's codes are raised to, where it is not ``"code"``.
        vocabularies: those that were fitted elsewhere.
        key: of the data, under which tokens are kept; None keeps none.
        facts: the static facts that models may get.
        columns: of static facts that were fitted elsewhere; None for those of training here.
    """

    def __init__(
        self,
        dataset,
        task,
        samples: Samples,
        outcomes: Outcomes,
        open_store: OpenStore,
        levels: Mapping[str, str],
        vocabularies: Mapping[str, Vocabulary],
        key: dict | None,
        facts: Sequence[str],
        static: StaticColumns | None = None,
    ):
        self.dataset, self.task, self.samples, self.outcomes = dataset, task, samples, outcomes
        self.open_store = open_store
        self.levels, self.vocabularies, self.key = _levels(task, levels), dict(vocabularies), key
        self.facts, self.columns = tuple(facts), static
        self._found: dict[tuple[str, Reading | None, str], Feature] = {}

    def of(self, wanted: Wanted) -> dict[str, Feature]:
        """The concepts that are asked for, as they are read."""
        levels, reading = wanted.facts.levels, wanted.reading
        return {c: self.one(c, reading if c == "note" else None, levels.get(c, "code")) for c in wanted.concepts}

    def one(self, concept: str, reading: Reading | None = None, level: str = "code") -> Feature:
        """A concept cut for the samples, with its vocabulary (fitted on the training split where none was given).

        Args:
            concept: which one.
            reading: how its texts are read; None to leave them.
            level: of its codes, where these data do not have them at one of their own.
        """
        if concept in self.vocabularies:
            level = self.vocabularies[concept].level
        key = concept, reading, self.levels.get(concept, level)
        if key in self._found:
            return self._found[key]
        if reading is None:
            found = self._cut(concept, key[-1])
        else:
            codes = self.one(concept, level=level)
            tokenizer = codes.vocabulary.tokenizer or self._fit_tokenizer(reading, codes)
            vocabulary = replace(codes.vocabulary, tokenizer=tokenizer)
            found = replace(codes, vocabulary=vocabulary, reading=reading)
        self._found[key] = found
        return found

    @cached_property
    def static(self) -> Static:
        """The static facts of all visits, with columns that were fitted on those of training where none were given."""
        wanted = self.facts if self.columns is None else FACTS
        facts = StaticFacts.read(self.dataset, wanted)
        return Static(facts, facts.fit(self._training.seen_visits()) if self.columns is None else self.columns)

    def events_seen(self, feature: Feature) -> np.ndarray:
        """(samples,) how many events of a concept each sample sees."""
        offsets, window = feature.store.offsets, feature.cut
        first = self.samples.first(np.arange(len(self.samples)))
        count = window.own_end - offsets[first]
        within = window.pair_visit >= first[window.pair_sample]
        sample, visit = window.pair_sample[within], window.pair_visit[within]
        np.subtract.at(count, sample, offsets[visit + 1] - window.pair_end[within])
        return count

    def source_codes(self, store: Store, level: str) -> list[str | None]:
        """The store's codes, as a vocabulary of a level takes them."""
        if level != BY_NAME:
            return store.codes
        names = self.dataset.drug_names()
        return [names.get(c, c if c.startswith("DRUG//") else None) for c in store.codes]

    def drug_classes(self, level: str) -> tuple[Store, DrugClasses]:
        """All drug orders of the source, and the class of each kind of them at an ATC level."""
        return self.open_store.of("drug"), self.open_store.drug_classes(level, self.task.order_types)

    def drugs_of_training(self) -> list[str]:
        """The drugs, at ATC level 5, that visits of training samples have."""
        store = self.open_store("drug", "atc5", self.task.order_types)
        own = self.samples.own[self.samples.places("train")]
        events = spans(store.offsets[own], store.offsets[own + 1] - store.offsets[own])
        return [store.codes[i] for i in np.unique(store.code[events])]

    def _fit_tokenizer(self, reading: Reading, codes: Feature) -> Tokenizer:
        seen = self._training.events(codes.store, codes.cut)
        return fitted(reading, codes.store, seen, self.key or None)

    @cached_property
    def _training(self) -> TrainingWindow:
        samples = self.samples
        first = samples.first(np.arange(len(samples)))
        return TrainingWindow(samples.visits, samples.own, first, samples.places("train"))

    def _cut(self, concept: str, level: str) -> Feature:
        fixed = self.vocabularies.get(concept)
        level = fixed.level if fixed else level
        store = self.open_store(concept, level, self.task.order_types)
        if concept == "note" and self.task.note_kinds is not None:
            store = store.only([f"NOTE//{kind}" for kind in self.task.note_kinds])
        window = cut(
            store,
            self.samples.visits,
            self.samples.own,
            self.samples.moment,
            given=concept in self.task.given,
            withheld=concept in self.task.label_concepts,
        )
        if fixed is None and concept == self.task.predicts:
            fixed = Vocabulary(level, list(self.outcomes.names))
        vocabulary = fixed or self._training.fit(store, window, level, self.source_codes(store, level))
        place = vocabulary.table(self.source_codes(store, vocabulary.level))
        return Feature(store, window, vocabulary, place)


def _levels(task, asked: Mapping[str, str]) -> dict[str, str]:
    """The level of each concept: the task's, where it fixes one, and else the one asked for."""
    for concept, level in task.levels.items():
        if asked.get(concept, level) != level:
            raise UserError(
                f"levels={{{concept!r}: {asked[concept]!r}}}: task {task.name!r} has {concept} at level {level!r}; set "
                f"its own parameter 'level' instead."
            )
    return {**asked, **task.levels}
