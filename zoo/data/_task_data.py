"""A task on a dataset, ready for models: samples with their splits, and batches with what a model uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain

import numpy as np
import pandas as pd

from zoo.data._again import Again
from zoo.data._arrays import Arrays, arrays
from zoo.data._drug_classes import DrugClasses
from zoo.data._every_visit import EveryVisit, all_visits
from zoo.data._feature import Feature, tensor
from zoo.data._inputs import check_inputs, inputs_of
from zoo.data._resources import cooccurrence
from zoo.data._rows import Rows
from zoo.data._splits import NAMES, Split
from zoo.data._store import Store, VisitIndex
from zoo.data._tokens import fitted
from zoo.data._training_window import TrainingWindow
from zoo.data._vocabulary import BY_NAME, Vocabulary
from zoo.data._window import cut, spans
from zoo.data.batch import Batch
from zoo.data.spec import Spec
from zoo.data.text import Published, Reading, Tokenizer
from zoo.kinds import Kind
from zoo.kinds._kind import Labels
from zoo.knowledge.interactions import interactions
from zoo.knowledge.molecules import Molecules, molecules
from zoo.knowledge.names import name as name_of
from zoo.knowledge.ontology import Ontology
from zoo.metrics import Metric, suite
from zoo.registry import (
    Entry,
    ModelFacts,
    UserError,
    counted,
    html_table,
    kind_of,
    models,
    nearest,
    parameters_of,
    printable,
    shown,
    whole_number,
)

HOUR = 3_600_000_000
TREES = frozenset({"diagnosis", "procedure", "drug"})
"""Concepts whose codes lie in trees."""


class TaskData:
    """What `zoo.load` returns.

    Attributes:
        dataset, task: what it was made of.
        samples: the cohort: ``subject_id``, ``visit_id``, ``stay_id``, ``prediction_time``, ``label``, ``split``.
        attrition: how many candidates were left out at each step, and why.
        unknown_label_codes: how many codes of the samples' label concepts have no place at the label's level.
        levels: the level that each concept's codes are raised to, where it is not ``"code"``.
        max_visits: how many visits a sample sees at most (the newest), or None.
        strict: whether labels that training never has count as misses in the metrics of samples that have them.
    """

    def __init__(
        self,
        dataset,
        task,
        cohort,
        visits: VisitIndex,
        open_store: Callable[[str, str, tuple[str, ...] | None], Store],
        splits: Split,
        *,
        subject_ids: np.ndarray,
        concepts: Collection[str] | None = None,
        levels: Mapping[str, str] | None = None,
        max_visits: int | None = None,
        strict: bool = False,
        vocabularies: Mapping[str, Vocabulary] | None = None,
        label_names: tuple[str, ...] | None = None,
        key: dict | None = None,
        again: Again | None = None,
    ):
        self.dataset, self.task, self.visits = dataset, task, visits
        self.attrition, self.unknown_label_codes = cohort.attrition.table(), cohort.unknown_codes
        self.levels, self.max_visits, self.key = _levels(task, levels or {}), max_visits, key or {}
        self.strict, self._again = strict, again
        self._cohort, self._subject_ids, self._splits = cohort, subject_ids, splits
        self._open_store, self._asked = open_store, None if concepts is None else set(concepts)
        self._vocabularies = dict(vocabularies or {})
        self._features: dict[tuple[str, Reading | None, str], Feature] = {}
        self._fixed_label_names = label_names
        samples = cohort.samples
        row = np.searchsorted(subject_ids, samples.subject_id.to_numpy())
        split = splits.subject[row] if len(samples) else np.zeros(0, np.int8)
        if splits.listed is not None:
            split = np.where(np.isin(samples.visit_id, splits.listed), split, -1)
        self.samples = samples.assign(split=pd.Categorical.from_codes(split, NAMES))
        self._split = split
        self._own = visits.numbers(samples.visit_id.to_numpy())
        self._prediction_time = samples.prediction_time.to_numpy("datetime64[us]")
        self._subject = samples.subject_id.to_numpy()
        self._start = visits.start.astype("int64")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {self.size(name)}" for name in NAMES)
        return printable(f"TaskData({self.title}: {sizes})")

    def __len__(self) -> int:
        return len(self.samples)

    def __reduce__(self):
        if self._again is None:
            raise UserError("only what zoo.load returned can be pickled: load the data in the process that needs them.")
        return self._again.reduced(self.key, self.strict)

    def _repr_html_(self) -> str:
        rows = {name: counted(self.size(name), "sample") for name in NAMES}
        steps = [f"{s.step}: {s.left_out} left out" for s in self.attrition.itertuples() if s.left_out]
        return html_table(self.title, {**rows, "concepts": ", ".join(self.concepts)}, [*steps, *self.notes])

    @property
    def title(self) -> str:
        """The task and the dataset, in words."""
        return f"{self.task.name} on {self.dataset.name}"

    # The same data, looked at otherwise

    def with_vocabularies(self, vocabularies: Mapping[str, Vocabulary]) -> TaskData:
        """The same samples, with vocabularies that were fitted elsewhere laid over these concepts."""
        label_names = self._fixed_label_names
        if self.task.predicts in vocabularies:
            label_names = tuple(vocabularies[self.task.predicts].codes)
        return self._like(self.task, self._cohort, {**self._vocabularies, **vocabularies}, label_names)

    def every_visit(self, model) -> TaskData:
        """Every visit of every subject, whole and at its end, in the same splits, for a model to be pre-trained on.

        A sample sees its visit and those before it. Vocabularies are those of these data; there is no label.
        """
        vocabularies = self.vocabularies(model)
        cohort = replace(self._cohort, samples=all_visits(self.visits), outcome_time=None)
        splits = replace(self._splits, listed=None)
        return self._like(EveryVisit(vocabularies, self.task), cohort, vocabularies, None, splits)

    def _like(self, task, cohort, vocabularies, label_names, splits: Split | None = None) -> TaskData:
        return TaskData(
            self.dataset,
            task,
            cohort,
            self.visits,
            self._open_store,
            splits or self._splits,
            subject_ids=self._subject_ids,
            concepts=self._asked,
            levels=self.levels,
            max_visits=self.max_visits,
            strict=self.strict,
            vocabularies=vocabularies,
            label_names=label_names,
            key=self.key,
        )

    # What is in it

    @property
    def concepts(self) -> list[str]:
        """The concepts that models may get: those the dataset offers, or those of them that were asked for."""
        return [c for c in self.dataset.concepts if self._asked is None or c in self._asked]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The name of each output: the task's own, or else the codes that training labels hold, in order.

        Of the latter the ``top_k`` that most training samples have, where the task asks for so many.
        """
        if self._fixed_label_names is not None:
            return self._fixed_label_names
        if self.kind.sets and self.task.labels is None:
            counts = Counter(chain.from_iterable(self.samples.label[self._split == 0]))
            return tuple(sorted(sorted(counts, key=lambda c: (-counts[c], c))[: self.task.top_k]))
        return self.task.labels or (self.task.name,)

    @cached_property
    def dropped_labels(self) -> dict[str, int]:
        """Label codes that are no outputs, since training has none or too few of them: how many samples have each."""
        if not self.kind.sets:
            return {}
        counts = Counter(chain.from_iterable(self.samples.label))
        return {c: counts[c] for c in sorted(set(counts) - set(self.labels))}

    @property
    def notes(self) -> list[str]:
        """What a reader of scores must know of the tables, of who was left out, and of how samples were split."""
        found = [*self.dataset.misplaced(), *self._cohort.notes, *_lost_to_ignorance(self.attrition)]
        found, listed = found + list(self._splits.notes), self._splits.listed
        if listed is not None:
            none = int((~np.isin(listed, self.samples.visit_id)).sum())
            found += [f"{none} of the {len(listed)} visits of the split are no samples of the task"] if none else []
        return found

    @property
    def split_table(self) -> pd.DataFrame | None:
        """The DataFrame that the split was given as; None for other ways to split."""
        return self._splits.table

    def size(self, split: str) -> int:
        """How many samples a split has."""
        return int((self._split == _split_place(split)).sum())

    def spec(self, model, hyperparameters: Mapping[str, object] | None = None) -> Spec:
        """What a model (its name, class, instance, or a set of concepts) is built from.

        Args:
            model: which one.
            hyperparameters: those it is to have, where they are not the defaults or those of the instance.
        """
        model = self._as_asked(model)
        features = self._features_for(model, hyperparameters)
        return Spec(
            self.task.kind,
            self.labels,
            {c: f.vocabulary for c, f in features.items()},
            frozenset(self.task.given),
            frozenset(self.task.label_concepts),
            self.task.predicts,
            {name: self._resource(name, features) for name in sorted(_facts(model).resources)},
            self._fitted,
        )

    def vocabularies(self, model) -> dict[str, Vocabulary]:
        """What the numbers of codes mean for each concept that a model gets."""
        return {c: f.vocabulary for c, f in self._features_for(model).items()}

    def inputs(self, model) -> dict[str, dict]:
        """For each concept that a model gets what there is of it; see `zoo.data._inputs.inputs_of`."""
        return inputs_of(self, self._features_for(model))

    def checked_inputs(self, model) -> dict[str, dict]:
        """What `inputs` gives; a `UserError` where a model has nothing to learn from."""
        inputs = self.inputs(model)
        check_inputs(self, _entry(model).name, _facts(model).needs, inputs)
        return inputs

    def events_seen(self, feature: Feature) -> np.ndarray:
        """(samples,) how many events of a concept each sample sees."""
        offsets, cut = feature.store.offsets, feature.cut
        first = self._first(np.arange(len(self._own)))
        count = cut.own_end - offsets[first]
        within = cut.pair_visit >= first[cut.pair_sample]
        sample, visit = cut.pair_sample[within], cut.pair_visit[within]
        np.subtract.at(count, sample, offsets[visit + 1] - cut.pair_end[within])
        return count

    def drug_classes(self, level: str) -> tuple[Store, DrugClasses]:
        """All drug orders of the source, and the class of each kind of them at an ATC level."""
        return self._open_store.of("drug"), self._open_store.drug_classes(level, self.task.order_types)

    @cached_property
    def interactions(self) -> np.ndarray | None:
        """(labels, labels) bool: which labels are drugs that interact; None where the labels are no drugs."""
        if self.task.predicts != "drug":
            return None
        return interactions(self.task.interactions or self.dataset.interactions).matrix(self.labels)

    def _resource(self, name: str, features: Mapping[str, Feature]) -> object:
        if name == "ontology":
            return {c: Ontology.for_codes(f.vocabulary.codes) for c, f in features.items() if c in TREES}
        if name == "names":
            return tuple(name_of(code) for code in self.labels)
        if name == "encoder":
            reading = features["note"].reading if "note" in features else None
            return reading.tokenizer.facts() if reading and isinstance(reading.tokenizer, Published) else None
        if self.interactions is None:
            raise UserError(f"the labels of task {self.task.name!r} are no drugs: they have no {name}.")
        if name == "cooccurrence":
            return cooccurrence(self.label("train"))
        return self.interactions if name == "interactions" else self._molecules

    @cached_property
    def _molecules(self) -> Molecules:
        """Those of the drugs that training visits have."""
        store = self._open_store("drug", "atc5", self.task.order_types)
        own = self._own[self._split == 0]
        events = spans(store.offsets[own], store.offsets[own + 1] - store.offsets[own])
        return molecules(self.labels, used=[store.codes[i] for i in np.unique(store.code[events])])

    def concepts_for(self, model) -> list[str]:
        """The concepts that a model gets: those it uses, of those there are.

        Raises:
            UserError: it needs one that there is not, or none of those it uses is there.
        """
        model = self._as_asked(model)
        if _is_set(model):
            for concept in model:
                if concept not in self.concepts:
                    self.dataset.require(concept)
                    raise UserError(f"concept {concept!r} was not asked for: load the data with concepts including it.")
            return [c for c in self.concepts if c in model]
        entry = _entry(model)
        if not entry.described:  # nobody has said what it takes: all, or what it has
            spec = getattr(model, "spec", None)
            return self.concepts if spec is None else [c for c in spec.concepts if c in self.concepts]
        uses, needs = entry.facts.uses, entry.facts.needs
        for concept in sorted(needs - set(self.concepts)):
            self.dataset.require(concept)
            raise UserError(f"model {entry.name!r} needs {concept!r}: load the data with concepts including it.")
        found = [c for c in self.concepts if c in uses | needs]
        if uses and not found:
            raise UserError(
                f"model {entry.name!r} uses {', '.join(sorted(uses))}, of which the data has none; "
                f"it has {', '.join(self.concepts) or 'no concepts'}."
            )
        return found

    def _as_asked(self, model):
        """What was asked for: a concept's name stands for the set of it."""
        if not isinstance(model, str) or models.knows(model):
            return model
        if model in self.dataset.concepts:
            return {model}
        raise UserError(f"{models.unknown(model)[:-1]}; or a concept: {', '.join(self.concepts)}.")

    # Batches

    def batches(
        self,
        split: str,
        model,
        batch_size: int = 64,
        *,
        shuffle: bool = False,
        seed: int = 0,
        places: np.ndarray | None = None,
    ) -> Iterator[Batch]:
        """Batches of a split with the concepts that a model uses.

        Args:
            split: ``train``, ``validation`` or ``test``.
            model: a model's name, class or instance, or concepts: the name of one, a set of them, or a mapping from
                each to how its texts are read (a `Reading`, or None).
            batch_size: rows a batch; the last one may have fewer.
            shuffle: draw the order from the seed, with rows of like length together; else the order of `samples`.
            seed: of the shuffle.
            places: those of the split in `samples` that count, ascending; all by default.
        """
        batch_size = whole_number("batch_size", batch_size, 1)
        rows = self.rows(split, model, batch_size, shuffle=shuffle, seed=seed, places=places)
        for low in range(0, len(rows), batch_size):
            yield rows.batch(low, min(low + batch_size, len(rows)))

    def rows(
        self,
        split: str,
        model,
        batch_size: int = 64,
        *,
        shuffle: bool = False,
        seed: int = 0,
        places: np.ndarray | None = None,
    ) -> Rows:
        """The rows that `batches` goes through, in its order.

        A sample has a row of its own. For a model that is registered with ``causal=True``, which reads of a row of
        visits no more for a sample than the visits up to its own, and of its own nothing of the label concepts, the
        samples of a subject share a row as far as each sees of the row what it would see alone.
        """
        model = self._as_asked(model)
        features = self._features_for(model)
        places = self.places(split) if places is None else places
        begins = self._begins_row(places, features) if _is_causal(model) else np.ones(len(places), bool)
        offsets = np.r_[np.flatnonzero(begins), len(places)]
        rows = Rows(places, offsets, lambda some, bounds: self._batch(some, bounds, features))
        if not shuffle:
            return rows
        seed = whole_number("seed", seed, 0, 2**63 - 1)  # training has one for each epoch of each of its own
        visits = self._own[places[offsets[1:] - 1]] - self._first(places[offsets[:-1]])
        return rows.shuffled(visits, batch_size, seed)

    def batch(self, places: np.ndarray, model) -> Batch:
        """One batch with the samples at these places in `samples`, one row each."""
        features = self._features_for(model)
        return self._batch(np.asarray(places), np.arange(len(places) + 1), features)

    def values(self, place: int, model) -> dict[str, np.ndarray]:
        """What was measured in one sample: (events,) of each concept with values, as they lie in its `batch`.

        They are in the units of the vocabulary; NaN where there is none that counts.
        """
        sample = np.array([place])
        visit = np.arange(self._first(sample)[0], self._own[place] + 1)
        features = self._features_for(model).items()
        return {
            c: f.values(visit, np.array([len(visit) - 1]), sample) for c, f in features if f.store.value is not None
        }

    def places(self, split: str) -> np.ndarray:
        """The places of a split in `samples`."""
        return np.flatnonzero(self._split == _split_place(split))

    def _begins_row(self, places: np.ndarray, features: Mapping[str, Feature]) -> np.ndarray:
        """(samples,) whether a sample cannot share the row of the one before."""
        own, subject = self._own[places], self._subject[places]
        shared = np.zeros(len(places), bool)
        shared[1:] = (subject[1:] == subject[:-1]) & (own[1:] > own[:-1])
        shared[1:] &= self._first(places[1:]) == self._first(places[:-1])
        for concept, feature in features.items():
            early = feature.cut.early[places]
            shared[1:] &= ~early[1:] & ~early[:-1]
            if concept not in self.task.label_concepts:  # what is seen of a visit is all that later samples see of it
                whole = feature.cut.own_end[places] == feature.store.offsets[own + 1]
                shared[1:] &= whole[:-1]
        return ~shared

    def _first(self, places: np.ndarray) -> np.ndarray:
        own = self._own[places]
        first = self.visits.first[own]
        return first if self.max_visits is None else np.maximum(first, own - self.max_visits + 1)

    def _batch(self, places: np.ndarray, bounds: np.ndarray, features: Mapping[str, Feature]) -> Batch:
        """The samples at these places, row by row; row ``r`` has those from ``bounds[r]`` up to ``bounds[r + 1]``."""
        last = places[bounds[1:] - 1]
        first = self._first(places[bounds[:-1]])
        lengths = self._own[last] - first + 1
        visit = spans(first, lengths)
        row_offsets = np.zeros(len(first) + 1, np.int64)
        np.cumsum(lengths, out=row_offsets[1:])
        base = self._start[first]
        row = np.repeat(np.arange(len(first)), np.diff(bounds))
        return Batch(
            {c: f.ragged(visit, row_offsets[1:] - 1, last) for c, f in features.items()},
            tensor(row_offsets),
            tensor((self._start[visit] - np.repeat(base, lengths)) / HOUR),
            tensor(row),
            tensor(self._own[places] - first[row]),
            tensor((self._prediction_time[places].astype("int64") - base[row]) / HOUR),
            tensor(self._labels[places]),
            tensor(self._subject[places]),
        )

    def to_arrays(
        self,
        split: str,
        concepts: str | Collection[str] | Mapping[str, str | Collection[str]] | None = None,
        standardised: bool = True,
    ) -> Arrays:
        """A split as arrays for scikit-learn: a row a sample, in the order of `samples`.

        A code has a column with how often it occurs in the visits up to the sample's own, as far as the sample sees
        them. A variable of ``lab`` and ``vital`` has columns of its values: ``last``, ``mean``, ``min``, ``max``, and
        ``count``, how many there are. Columns are the codes that training samples see, whatever the split, and nothing
        is fitted on another split.

        Args:
            split: ``train``, ``validation`` or ``test``.
            concepts: names; or a mapping from them to what is told, such as ``{"lab": ["last", "count"]}``; all by
                default.
            standardised: values are less the training mean of their variable, over its standard deviation, so that 0,
                which stands where none was measured, is the mean. False leaves them in the units of
                `vocabularies`, and 0 still where none was measured: look at the count.

        Raises:
            UserError: there is no such split, concept or summary.

        >>> import zoo
        >>> data = zoo.load("synthetic", task="readmission", patients=200)
        >>> train = data.to_arrays("train", {"diagnosis": "count", "lab": ["last", "count"]})
        >>> train.X.shape == (data.size("train"), len(train.columns)), train.columns[-1]
        (True, 'lab LAB//51301 count')
        """
        return arrays(self, split, concepts, standardised)

    def label(self, split: str) -> np.ndarray:
        """The labels of a split in the order of `samples`: (samples,), or (samples, labels) bool for multilabel."""
        return self._labels[self.places(split)]

    def label_facts(self, places: np.ndarray) -> dict:
        """What a result says of the labels of samples: ``samples`` and ``subjects``, and what there is by kind."""
        found = {"samples": len(places), "subjects": len(np.unique(self._subject[places]))}
        return {**found, **self.kind.facts(self._labels[places], self.labels)} if len(places) else found

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the task, by name."""
        return suite(self.task.kind, self._shared_options)

    @property
    def ranked_by(self) -> str:
        """The name of the metric that models are compared by."""
        return self.kind.ranks(self._shared_options)

    @cached_property
    def _shared_options(self) -> dict[str, object]:
        """What `zoo.metrics.evaluate` takes besides, whatever the samples are."""
        found = {n: getattr(self.task, n) for n in self.kind.of_tasks}
        found |= self.kind.option(self.label("train"), self._fitted)
        return found if self.interactions is None else {**found, "interactions": self.interactions}

    def metric_options(self, places: np.ndarray) -> dict[str, object]:
        """What `zoo.metrics.evaluate` takes for these samples besides.

        These are what the kind and the task say; ``interactions`` and ``before`` where labels are drugs; and ``missed``
        where data are strict. The label before is that of the subject's last sample at another visit. Where the order
        of a subject's visits is not known, none is before another.
        """
        unseen = self.unseen_labels(places)
        found = self._shared_options | ({} if unseen is None else {"missed": self._has(places, unseen)})
        if self.interactions is None:
            return found
        first = self._first_of_visit[places]
        earlier = np.maximum(first - 1, 0)
        before = np.hstack([self._labels[earlier], self._has(earlier, unseen or [])]).astype(np.float32)
        none = (first == 0) | (self._subject[earlier] != self._subject[places])
        before[none | (self.visits.first[self._own[places]] > self._own[earlier])] = np.nan
        return {**found, "before": before}

    @cached_property
    def _first_of_visit(self) -> np.ndarray:
        """(samples,) the place of the first sample of those in a row that are at the same visit."""
        place = np.arange(len(self._own))
        return np.maximum.accumulate(np.where(np.r_[True, self._own[1:] != self._own[:-1]][: len(place)], place, 0))

    def unseen_labels(self, places: np.ndarray) -> list[str] | None:
        """The label codes of these samples that training never has, where they count as misses; None where they do not.

        They do where data are strict and the task does not restrict its labels to the most frequent ones.
        """
        if not self.strict or not self.kind.sets or self.task.top_k is not None:
            return None
        return sorted(set(chain.from_iterable(self.samples.label.iloc[places])) - set(self.labels))

    def _has(self, places: np.ndarray, codes: Sequence[str]) -> np.ndarray:
        """(places, codes) bool, which label codes each of these samples has."""
        place = {code: i for i, code in enumerate(codes)}
        found = np.zeros((len(places), len(place)), bool)
        for row, own in enumerate(self.samples.label.iloc[places] if place else ()):
            found[row, [place[code] for code in own if code in place]] = True
        return found

    def subject(self, split: str) -> np.ndarray:
        """(samples,) the subject of each sample of a split."""
        return self._subject[self._split == _split_place(split)]

    @property
    def kind(self) -> Kind:
        """The kind of the task."""
        return kind_of(self.task.kind)

    @cached_property
    def _labels(self) -> Labels:
        return self.kind.labels(self.samples.label, self.labels)

    @cached_property
    def _fitted(self) -> dict[str, list[float]]:
        return self.kind.fitted(self.label("train"))

    # Features

    def _features_for(self, model, hyperparameters: Mapping[str, object] | None = None) -> dict[str, Feature]:
        """The concepts that a model gets, as it reads them."""
        model = self._as_asked(model)
        concepts = self.concepts_for(model)
        reading = _reading(model, hyperparameters) if "note" in concepts else None
        levels = _facts(model).levels
        return {c: self.feature(c, reading if c == "note" else None, levels.get(c, "code")) for c in concepts}

    def feature(self, concept: str, reading: Reading | None = None, level: str = "code") -> Feature:
        """A concept cut for the samples, with its vocabulary (fitted on the training split where none was given).

        Args:
            concept: which one.
            reading: how its texts are read; None to leave them.
            level: of its codes, where these data do not have them at one of their own.
        """
        if concept in self._vocabularies:
            level = self._vocabularies[concept].level
        key = concept, reading, self.levels.get(concept, level)
        if key in self._features:
            return self._features[key]
        if reading is None:
            found = self._cut_for_samples(concept, key[-1])
        else:
            codes = self.feature(concept, level=level)
            tokenizer = codes.vocabulary.tokenizer or self._fit_tokenizer(reading, codes)
            vocabulary = replace(codes.vocabulary, tokenizer=tokenizer)
            found = replace(codes, vocabulary=vocabulary, reading=reading)
        self._features[key] = found
        return found

    def _fit_tokenizer(self, reading: Reading, codes: Feature) -> Tokenizer:
        seen = self._training.events(codes.store, codes.cut)
        return fitted(reading, codes.store, seen, self.key or None)

    @cached_property
    def _training(self) -> TrainingWindow:
        return TrainingWindow(self.visits, self._own, self._subject, self.places("train"))

    def _cut_for_samples(self, concept: str, level: str) -> Feature:
        fixed = self._vocabularies.get(concept)
        level = fixed.level if fixed else level
        store = self._open_store(concept, level, self.task.order_types)
        if concept == "note" and self.task.note_kinds is not None:
            store = store.only([f"NOTE//{kind}" for kind in self.task.note_kinds])
        window = cut(
            store,
            self.visits,
            self._own,
            self._prediction_time,
            given=concept in self.task.given,
            withheld=concept in self.task.label_concepts,
        )
        if fixed is None and concept == self.task.predicts:
            fixed = Vocabulary(level, list(self.labels))
        vocabulary = fixed or self._training.fit(store, window, level, self.source_codes(store, level))
        place = vocabulary.table(self.source_codes(store, vocabulary.level))
        return Feature(store, window, vocabulary, place)

    def source_codes(self, store: Store, level: str) -> list[str | None]:
        """The store's codes, as a vocabulary of a level takes them."""
        if level != BY_NAME:
            return store.codes
        names = self.dataset.drug_names()
        return [names.get(c, c if c.startswith("DRUG//") else None) for c in store.codes]


def _lost_to_ignorance(attrition: pd.DataFrame) -> list[str]:
    """Steps that left out more than half of the candidates because a fact about them is not known."""
    found = []
    for step in attrition.itertuples():
        candidates = step.left_out + step.remaining
        if "unknown" in step.step and step.left_out > candidates / 2:
            found.append(f"{step.step}: {step.left_out} of {candidates} candidates were left out for it")
    return found


def _levels(task, asked: Mapping[str, str]) -> dict[str, str]:
    """The level of each concept: the task's, where it fixes one, and else the one asked for."""
    for concept, level in task.levels.items():
        if asked.get(concept, level) != level:
            raise UserError(
                f"levels={{{concept!r}: {asked[concept]!r}}}: task {task.name!r} has {concept} at level {level!r}; set "
                f"its own parameter 'level' instead."
            )
    return {**asked, **task.levels}


def _is_causal(model) -> bool:
    return _facts(model).causal


def _is_set(model) -> bool:
    """Whether concepts were asked for, not a model."""
    return isinstance(model, Collection) and not isinstance(model, str)


def _entry(model) -> Entry:
    if isinstance(model, str):
        return models.entry(model)
    if "registered_name" in getattr(model, "__dict__", ()) and not isinstance(model, type):  # it stands for another one
        return models.entry(model.registered_name)
    thing = model if isinstance(model, type) else type(model)
    if not callable(getattr(thing, "reading", None)):
        raise UserError(
            f"{shown(model)} is no model: give a name, a class or an instance of zoo.models.Model, or concepts."
        )
    return models.entry(thing)


def _facts(model) -> ModelFacts:
    """What was said of a model when it was registered; nothing of a set of concepts."""
    return ModelFacts() if _is_set(model) else _entry(model).facts


def _reading(model, hyperparameters: Mapping[str, object] | None) -> Reading | None:
    """How a model reads notes; for a mapping from concepts what it says, and for a set of them None."""
    if _is_set(model):
        return model["note"] if isinstance(model, Mapping) else None
    thing = _entry(model).thing
    own = getattr(model, "configuration", {}) if hyperparameters is None else hyperparameters
    return thing.reading({**{n: p.default for n, p in parameters_of(thing).items()}, **own})


def _split_place(split: str) -> int:
    if not isinstance(split, str) or split not in NAMES:
        raise UserError(f"unknown split {shown(split)}: {nearest(split, NAMES)}.")
    return NAMES.index(split)
