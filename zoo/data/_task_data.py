"""A task on a dataset, ready for models: samples with their splits, and batches with what a model uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from zoo import cache
from zoo.data._again import Again
from zoo.data._arrays import Arrays, arrays
from zoo.data._batches import Batches
from zoo.data._every_visit import EveryVisit, all_visits
from zoo.data._feature import Feature
from zoo.data._features import Features, OpenStore
from zoo.data._given_resources import resource
from zoo.data._inputs import check_inputs, inputs_of
from zoo.data._outcomes import Outcomes
from zoo.data._preparation import USUAL, Preparation
from zoo.data._rows import Rows
from zoo.data._samples import Samples
from zoo.data._splits import NAMES, Split
from zoo.data._store import VisitIndex
from zoo.data._vocabulary import Vocabulary
from zoo.data._wanted import Wanted
from zoo.data.batch import Batch
from zoo.data.spec import Spec
from zoo.data.static import USUAL as USUAL_FACTS
from zoo.data.static import StaticColumns
from zoo.data.text import Reading
from zoo.kinds import Kind
from zoo.knowledge.interactions import interactions
from zoo.registry import UserError, counted, html_table, printable, whole_number


class TaskData:
    """What `zoo.load` returns.

    Where a method takes a ``model``, that is a model's name, class or instance, or concepts: the name of one, a set of
    them, or a mapping from each to how its texts are read (a `Reading`, or None); ``"static"`` may be one of them.

    Attributes:
        dataset, task: what it was made of.
        samples: the cohort: ``subject_id``, ``visit_id``, ``stay_id``, ``prediction_time``, ``label``, ``split``.
        attrition: how many candidates were left out at each step, and why.
        unknown_label_codes: how many codes of the samples' label concepts have no place at the label's level.
        visits: all visits of the source.
        how: how they were prepared.
        key: what identifies them, whatever concepts are read.
        outcomes: the labels, and what metrics take besides.
        features: the concepts, cut for the samples.
    """

    def __init__(
        self,
        dataset,
        task,
        cohort,
        visits: VisitIndex,
        open_store: OpenStore,
        splits: Split,
        how: Preparation = USUAL,
        *,
        subject_ids: np.ndarray,
        vocabularies: Mapping[str, Vocabulary] | None = None,
        label_names: tuple[str, ...] | None = None,
        key: dict | None = None,
        static: StaticColumns | None = None,
        again: Again | None = None,
    ):
        self.dataset, self.task, self.visits, self.how, self.key = dataset, task, visits, how, key or {}
        self.attrition, self.unknown_label_codes = cohort.attrition.table(), cohort.unknown_codes
        self._samples = Samples(cohort, visits, splits, subject_ids, how.max_visits)
        self.samples = self._samples.frame
        drugs = interactions(task.interactions or dataset.interactions) if task.predicts == "drug" else None
        self.outcomes = Outcomes(task, self._samples, label_names, drugs, how.strict)
        self._again = again
        of_source = dataset, task, self._samples, self.outcomes, open_store
        asked = USUAL_FACTS if how.static is None else how.static
        self.features = Features(
            *of_source, how.levels or {}, vocabularies or {}, self.key or None, facts=asked, static=static
        )

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {self.size(name)}" for name in NAMES)
        return printable(f"TaskData({self.title}: {sizes})")

    def __len__(self) -> int:
        return len(self.samples)

    def __reduce__(self):
        if self._again is None:
            raise UserError("only what zoo.load returned can be pickled: load the data in the process that needs them.")
        return self._again.reduced(self.digest_for(set(self.concepts)), self.outcomes.strict)

    def _repr_html_(self) -> str:
        rows = {name: counted(self.size(name), "sample") for name in NAMES}
        steps = [f"{s.step}: {s.left_out} left out" for s in self.attrition.itertuples() if s.left_out]
        return html_table(self.title, {**rows, "concepts": ", ".join(self.concepts)}, [*steps, *self.notes])

    @property
    def title(self) -> str:
        """The task and the dataset, in words."""
        return f"{self.task.name} on {self.dataset.name}"

    # The same data, looked at otherwise

    def with_vocabularies(
        self, vocabularies: Mapping[str, Vocabulary], static: StaticColumns | None = None
    ) -> TaskData:
        """The same samples, with vocabularies that were fitted elsewhere laid over these concepts.

        Args:
            vocabularies: by concept.
            static: the columns of static facts that were fitted elsewhere; None for those of these data.
        """
        names = self.outcomes.fixed
        if self.task.predicts in vocabularies:
            names = tuple(vocabularies[self.task.predicts].codes)
        known = {**self.features.vocabularies, **vocabularies}
        static = static or self.features.columns
        return self._like(self.task, self._samples.cohort, known, names, self._samples.splits, static)

    def every_visit(self, model) -> TaskData:
        """Every visit of every subject, whole and at its end, in the same splits, for a model to be pre-trained on.

        A sample sees its visit and those before it. Vocabularies are those of these data; there is no label.
        """
        vocabularies = self.vocabularies(model)
        cohort = replace(self._samples.cohort, samples=all_visits(self.visits), outcome_time=None)
        splits = replace(self._samples.splits, listed=None)
        static = self.features.static.columns if self.wanted(model).static else None
        return self._like(EveryVisit(vocabularies, self.task), cohort, vocabularies, None, splits, static)

    def _like(self, task, cohort, vocabularies, label_names, splits: Split, static: StaticColumns | None) -> TaskData:
        return TaskData(
            self.dataset,
            task,
            cohort,
            self.visits,
            self.features.open_store,
            splits,
            replace(self.how, strict=self.outcomes.strict),
            subject_ids=self._samples.subject_ids,
            vocabularies=vocabularies,
            label_names=label_names,
            key=self.key,
            static=static,
        )

    # Samples

    @property
    def notes(self) -> list[str]:
        """What a reader of scores must know of the tables, of who was left out, and of how samples were split."""
        return [*self.dataset.misplaced(), *self._samples.notes()]

    def notes_for(self, model) -> list[str]:
        """`notes`, and what a reader must know of the static facts that a model gets."""
        static = self.features.static.notes(self._samples.own) if self.wanted(model).static else []
        return [*self.notes, *static]

    @property
    def split_table(self) -> pd.DataFrame | None:
        """The DataFrame that the split was given as; None for other ways to split."""
        return self._samples.splits.table

    def size(self, split: str) -> int:
        """How many samples a split has."""
        return len(self.places(split))

    def places(self, split: str) -> np.ndarray:
        """The places of a split in `samples`."""
        return self._samples.places(split)

    def subject(self, split: str) -> np.ndarray:
        """(samples,) the subject of each sample of a split."""
        return self._samples.subject[self.places(split)]

    # Labels

    @property
    def kind(self) -> Kind:
        """The kind of the task."""
        return self.outcomes.kind

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each output: the task's own, or else the codes that training labels hold, in order."""
        return self.outcomes.names

    def label(self, split: str) -> np.ndarray:
        """The labels of a split in the order of `samples`: (samples,), or (samples, labels) bool for multilabel."""
        return self.outcomes.of(split)

    # What a model gets

    @property
    def concepts(self) -> list[str]:
        """The concepts that models may get: those the dataset offers, or those of them that were asked for."""
        return [c for c in self.dataset.concepts if self.how.concepts is None or c in self.how.concepts]

    def wanted(self, model, hyperparameters: Mapping[str, object] | None = None) -> Wanted:
        """What a model gets of these data; see `Wanted.of`, also for errors."""
        return Wanted.of(model, self.concepts, self.dataset, hyperparameters)

    def concepts_for(self, model) -> list[str]:
        """The concepts that a model gets: those it uses, of those there are.

        Raises:
            UserError: it needs one that there is not, or none of those it uses is there.
        """
        return list(self.wanted(model).concepts)

    def feature(self, concept: str, reading: Reading | None = None) -> Feature:
        """A concept cut for the samples, with its vocabulary (fitted on the training split where none was given)."""
        return self.features.one(concept, reading)

    def vocabularies(self, model) -> dict[str, Vocabulary]:
        """What the numbers of codes mean for each concept that a model gets."""
        return {c: f.vocabulary for c, f in self.features.of(self.wanted(model)).items()}

    def spec(self, model, hyperparameters: Mapping[str, object] | None = None) -> Spec:
        """What a model is built from.

        Args:
            model: which one.
            hyperparameters: those it is to have, where they are not the defaults or those of the instance.
        """
        wanted = self.wanted(model, hyperparameters)
        features, asked = self.features.of(wanted), sorted(wanted.facts.resources)
        return Spec(
            self.task.kind,
            self.labels,
            {c: f.vocabulary for c, f in features.items()},
            frozenset(self.task.given),
            frozenset(self.task.label_concepts),
            self.task.predicts,
            {name: resource(name, self.outcomes, self.features, features) for name in asked},
            self.outcomes.fitted,
            self.features.static.columns if wanted.static else StaticColumns(),
        )

    def digest_for(self, model) -> str:
        """What stands for these data as a model learns from them: also the tables of its concepts and of the labels."""
        concepts = {*self.wanted(model).concepts, *self.task.needs, *self.task.label_concepts}
        read = sorted(concepts & set(self.dataset.concepts))
        return cache.digest({**self.key, "dataset": self.dataset.key(read)})

    def inputs(self, model) -> dict[str, dict]:
        """For each concept that a model gets what there is of it; see `zoo.data._inputs.inputs_of`."""
        return inputs_of(self, self.features.of(self.wanted(model)))

    def checked_inputs(self, model) -> dict[str, dict]:
        """What `inputs` gives; a `UserError` where a model has nothing to learn from."""
        inputs, wanted = self.inputs(model), self.wanted(model)
        check_inputs(self, wanted.name, wanted.facts.needs, inputs)
        return inputs

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
            model: whose.
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
        wanted = self.wanted(model)
        batches = self._batches(wanted)
        rows = batches.rows(self.places(split) if places is None else places, wanted.facts.causal)
        if not shuffle:
            return rows
        seed = whole_number("seed", seed, 0, 2**63 - 1)  # training has one for each epoch of each of its own
        return rows.shuffled(batches.lengths(rows), batch_size, seed)

    def batch(self, places: np.ndarray, model) -> Batch:
        """One batch with the samples at these places in `samples`, one row each."""
        return self._batches(self.wanted(model)).batch(np.asarray(places), np.arange(len(places) + 1))

    def values(self, place: int, model) -> dict[str, np.ndarray]:
        """What was measured in one sample; see `Batches.values`."""
        return self._batches(self.wanted(model)).values(place)

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
                default. ``"static"`` adds the static facts of the sample's own visit.
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

    def _batches(self, wanted: Wanted) -> Batches:
        static = self.features.static if wanted.static else None
        return Batches(self._samples, self.outcomes, self.features.of(wanted), self.task.label_concepts, static)
