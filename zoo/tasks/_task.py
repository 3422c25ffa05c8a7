"""What a task is, and the cohort it returns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

from zoo.knowledge.variables import Variable, variable
from zoo.registry import UserError, called, html_table, names_of, parameters_of, shown, summary, tasks
from zoo.tasks._events import Events
from zoo.tasks._visit_class import of_classes, visit_classes


@dataclass(frozen=True)
class CodeSets:
    """The distinct codes of each visit.

    Attributes:
        names: (codes,) code strings.
        offsets: (visits + 1,) int64, in the order of `Relations.visits`.
        ids: int64 places in ``names``, ascending within a visit.
        unknown: (visits,) how many codes of each visit the level does not know, repeats included.
        hours: from the visit's start to when each code was first known; None where that was not asked for.
    """

    names: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    unknown: np.ndarray
    hours: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """(visits,) how many distinct codes each visit has."""
        return np.diff(self.offsets)

    @property
    def visit(self) -> np.ndarray:
        """The number of the visit that each code is of."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def only(self, mask: np.ndarray) -> CodeSets:
        """The sets with those of their codes for which the mask holds."""
        kept = np.r_[0, np.cumsum(mask)]
        hours = None if self.hours is None else self.hours[mask]
        return CodeSets(self.names, kept[self.offsets], self.ids[mask], self.unknown, hours)

    def lists(self, visits: np.ndarray) -> list[list[str]]:
        """The code strings of the visits with these numbers."""
        names = self.names[self.ids]
        return [names[a:b].tolist() for a, b in zip(self.offsets[visits], self.offsets[visits + 1], strict=True)]


_RELATION_OF = {"subject_id": "visits", "visit_id": "stays"}


@dataclass(frozen=True)
class Relations:
    """What a task sees of a dataset: small canonical tables, and events of a concept when it asks for them.

    Attributes:
        name: the dataset's.
        subjects, visits, stays: the canonical relations; visits and stays are ordered by subject and start.
        deaths: by ``subject_id`` when each died: in the visit that ended so, else as the source tells; null for the
            living, and where it is not known.
        follow_up_days: for how many days after a subject's last discharge deaths are known: of all subjects, and of
            those of whom most is known; 0 where only deaths in hospital are.
        gaps_known: whether the time between two visits is known.
        orders_by_day: whether of a drug order only the day is known.
        code_sets: from a concept and a level to the code sets of all visits.
        drug_sets: from an ATC level and the types of order that count (None: all) to the drug classes of all visits,
            with their hours.
        read_events, read_measured: what `events` and `measured` read with.
        left_out: visits and stays (``relation``) that are no samples but did take place: those without an id, a start
            or an end, and those that end before they start; ordered by subject and start.
        elsewhere: what to say of tables that were looked for and lie beside the root.
    """

    name: str
    subjects: pd.DataFrame
    visits: pd.DataFrame
    stays: pd.DataFrame
    deaths: pd.Series
    follow_up_days: tuple[float, float]
    gaps_known: bool
    orders_by_day: bool
    code_sets: Callable[[str, str], CodeSets] = field(repr=False)
    drug_sets: Callable[[str, tuple[str, ...] | None], CodeSets] = field(repr=False)
    read_events: Callable[[str, Collection[str] | None], Events] = field(repr=False)
    read_measured: Callable[[Variable], Events] = field(repr=False)
    left_out: pd.DataFrame
    elsewhere: tuple[str, ...] = ()

    def events(self, concept: str, codes: str | Collection[str] | None = None) -> Events:
        """The events of a concept, or of some of its codes, with their values as the source has them.

        Each call reads them anew, and only what is asked for.

        Args:
            concept: such as ``"lab"``.
            codes: such as ``["LAB//50912"]``; one that the source does not have has no events. None for all.

        Raises:
            UserError: the dataset does not have the concept, or a code has no system.

        >>> from zoo.prepare import load_dataset, relations
        >>> seen = relations(load_dataset("synthetic", patients=50))
        >>> found = seen.events("lab", ["LAB//50912", "LAB//50971"])
        >>> found.names.tolist(), found.value.dtype, bool((found.visit >= -1).all())
        (['LAB//50912', 'LAB//50971'], dtype('float64'), True)
        """
        codes = None if codes is None else names_of("codes", codes)
        for code in codes or ():
            if "//" not in code:
                raise UserError(f"codes: {shown(code)} names no system: a code is such as 'LAB//50912'.")
        return self.read_events(concept, codes)

    def measured(self, name: str, concept: str | None = None) -> Events:
        """All that was measured of a laboratory test or a vital sign, in one unit, under whatever codes.

        Values are converted, and left out where a body cannot have them or their unit is not known, just as those that
        models get; `Events.notes` counts them, for `Candidates.cohort`. Each event has a value.

        Args:
            name: such as ``"creatinine"`` or ``"heart_rate"``.
            concept: ``"lab"`` or ``"vital"``, where both have the name.

        Raises:
            UserError: nothing has the name (the nearest are given), or the dataset does not have its concept.

        >>> from zoo.prepare import load_dataset, relations
        >>> creatinine = relations(load_dataset("synthetic", patients=50)).measured("creatinine")
        >>> creatinine.unit, creatinine.names.tolist(), bool((creatinine.value < 60).all())
        ('mg/dL', ['LAB//50912'], True)
        """
        return self.read_measured(variable(name, concept))

    def with_left_out(self, candidates: pd.DataFrame, key: str, visit_class: object = None) -> pd.DataFrame:
        """Candidates, and what was left out when the tables were cleaned but has a start, by key and start.

        Args:
            candidates: visits or stays, ordered by the key and start.
            key: ``"subject_id"`` for visits, ``"visit_id"`` for stays.
            visit_class: of which classes the visits are that were left out; None for all.

        Returns:
            The frame's columns, and ``sample``: false for what was left out.
        """
        others = self._left_out(key, visit_class)
        others = others[others.start.notna()].astype({key: candidates[key].dtype})
        if not len(others):
            return candidates.assign(sample=True).sort_values([key, "start"], kind="stable")
        told = [c for c in candidates.columns if c in others and others[c].notna().any()]
        others = others[told].assign(sample=False).set_axis(-1 - np.arange(len(others)))
        both = pd.concat([candidates.assign(sample=True), others])
        return both.sort_values([key, "start"], kind="stable")

    def undated_after(self, candidates: pd.DataFrame, key: str, visit_class: object = None) -> np.ndarray:
        """(candidates,) whether something without a start that shares the key may have followed: it ended later.

        Arguments are those of `with_left_out`.
        """
        others = self._left_out(key, visit_class)
        others = others[others.start.isna()]
        last = others.end.fillna(pd.Timestamp.max.as_unit("us")).groupby(others[key].astype("int64")).max()
        return last.reindex(candidates[key]).to_numpy() > candidates.end.to_numpy()

    def _left_out(self, key: str, visit_class: object) -> pd.DataFrame:
        others, classes = self.left_out[self.left_out.relation == _RELATION_OF[key]], visit_classes(visit_class)
        return others if classes is None else others[of_classes(others, classes)]

    def candidates(self, unit: str = "visit") -> Candidates:
        """All visits, or all ICU stays, as candidates for samples.

        The frame has the relation's columns, the subject's ``death`` (of `deaths`), and ``visit``, the number of the
        visit; that of stays also has its visit's ``class``, ``age``, ``visit_died`` and ``visit_end``.
        """
        visits = self.visits.assign(visit=np.arange(len(self.visits)))
        if unit == "visit":
            frame = visits.assign(stay_id=pd.array([pd.NA] * len(visits), dtype="Int64"))
            return Candidates.all("visits", frame.assign(death=frame.subject_id.map(self.deaths)))
        known = visits[["visit_id", "visit", "class", "age", "died", "end"]]
        known = known.rename(columns={"died": "visit_died", "end": "visit_end"})
        frame = self.stays.merge(known, on="visit_id", how="left", validate="many_to_one")
        if not len(frame):
            why = "; ".join(["its table of ICU stays is absent or empty", *self.elsewhere])
            raise UserError(f"{self.name} has no stays ({why}): use unit='visit'.")
        return Candidates.all("stays", frame.assign(death=frame.subject_id.map(self.deaths)))


@dataclass
class Attrition:
    """How many candidates were left out at each step, and why."""

    steps: list[dict] = field(default_factory=list)

    def add(self, step: str, left_out: int, remaining: int, repeated: bool = False) -> None:
        """A step; ``repeated`` where it made several candidates of one, so that more remain than there were."""
        counts = {"left_out": int(left_out), "remaining": int(remaining)}
        self.steps.append({"step": step, **counts, "repeated": repeated})

    def table(self) -> pd.DataFrame:
        """Columns ``step``, ``left_out``, ``remaining``."""
        return pd.DataFrame(self.steps, columns=["step", "left_out", "remaining"])


class Candidates:
    """The candidates that are left.

    Attributes:
        frame: one row a candidate.
        attrition: what was left out so far.
    """

    def __init__(self, frame: pd.DataFrame, attrition: Attrition):
        self.frame, self.attrition = frame, attrition

    @classmethod
    def all(cls, what: str, frame: pd.DataFrame) -> Candidates:
        """Those that nothing was left out of yet."""
        found = cls(frame, Attrition())
        found.attrition.add(f"all {what}", 0, len(frame))
        return found

    def __repr__(self) -> str:
        return f"Candidates({len(self.frame)} left of {self.attrition.steps[0]['remaining']})"

    def leave_out(self, mask: pd.Series | np.ndarray, reason: str) -> None:
        """Leave out the candidates for which the mask holds; null counts as not."""
        mask = pd.Series(mask, index=self.frame.index).astype("boolean").fillna(False).astype(bool)
        self.frame = self.frame[~mask]
        self.attrition.add(reason, mask.sum(), len(self.frame))

    def leave_out_classes(self, visit_class: object) -> None:
        """Leave out visits, and stays in visits, that are of none of the classes that are asked for.

        Args:
            visit_class: the task's parameter: one or more of `zoo.knowledge.visit_classes.VISIT_CLASSES`; None keeps
                all.

        Raises:
            UserError: it is something else, or the class of some visit is not known.
        """
        classes = visit_classes(visit_class)
        if classes is not None:
            self.leave_out(~of_classes(self.frame, classes), f"visit is not {' or '.join(classes)}")

    def every(self, hours: float, until: pd.Series | None = None) -> None:
        """Repeat each candidate at ``hours``, 2 × ``hours``, ... after its start, as long as that is before its end.

        The frame then has a row for each of these moments, in order, and in ``prediction_time`` the moment. Who is gone
        by the first of them is left out, and counted.

        Args:
            hours: from the start to the first, and from each to the next.
            until: (candidates,) the end of each; the frame's ``end`` by default.

        Raises:
            UserError: ``hours`` is no number, or under a tenth.

        >>> start, end = (pd.Series(pd.to_datetime([f"2100-01-0{day}"])) for day in (1, 4))
        >>> candidates = Candidates.all("visits", pd.DataFrame({"start": start, "end": end}))
        >>> candidates.every(24)
        >>> candidates.frame.prediction_time.astype(str).tolist()
        ['2100-01-02', '2100-01-03']
        >>> candidates.attrition.table().step.tolist()
        ['all visits', 'over within 24 hours', 'every 24 hours']
        """
        number("hours", hours, 0.1)
        step = np.timedelta64(round(hours * 3600), "s").astype("timedelta64[us]")
        until = self.frame.end if until is None else until
        length = until.to_numpy("datetime64[us]") - self.frame.start.to_numpy("datetime64[us]")
        known = np.where(np.isnat(length), np.timedelta64(0, "us"), length)
        count = ((known - np.timedelta64(1, "us")) // step).clip(min=0)
        self.leave_out(count == 0, f"over within {hours:g} hours")
        count = count[count > 0]
        turn = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + 1
        frame = self.frame.iloc[np.repeat(np.arange(len(count)), count)].reset_index(drop=True)
        moment = frame.start.to_numpy("datetime64[us]") + turn * step
        self.frame = frame.assign(prediction_time=moment)
        self.attrition.add(f"every {hours:g} hours", 0, len(frame), repeated=True)

    def leave_out_unordered(self, keep: bool) -> None:
        """Leave out visits of subjects whose visits cannot be ordered in time, unless they are asked for."""
        if not keep and not self.frame.order_known.all():
            unordered = self.frame.subject_id[~self.frame.order_known]
            self.leave_out(self.frame.subject_id.isin(unordered), "order of the subject's visits unknown")

    def cohort(
        self,
        prediction_time: pd.Series,
        label: pd.Series | np.ndarray | list,
        unknown_codes: int = 0,
        *,
        outcome_time: pd.Series | np.ndarray | None = None,
        when: str = "the prediction",
        notes: Sequence[str] = (),
    ) -> Cohort:
        """The samples, when all that the task leaves out is; the framework leaves out more (`zoo.tasks._selection`).

        Args:
            prediction_time: of each candidate.
            label: of each.
            unknown_codes, when, notes: as of `Cohort`.
            outcome_time: when the outcome of each comes about, whatever it is; null for one that never does. None where
                no label of the task is an event in time (sets of codes or drugs).
        """
        samples = self.frame[["subject_id", "visit_id", "stay_id"]].reset_index(drop=True)
        samples = samples.astype({"subject_id": "int64", "visit_id": "int64", "stay_id": "Int64"})
        samples["prediction_time"] = np.asarray(prediction_time).astype("datetime64[us]")
        samples["label"] = pd.Series(label, dtype=object) if isinstance(label, list) else np.asarray(label)
        if outcome_time is not None:
            outcome_time = np.asarray(outcome_time).astype("datetime64[us]")
        return Cohort(samples, self.attrition, unknown_codes, outcome_time, when, tuple(notes))


@dataclass(frozen=True)
class Cohort:
    """Samples and how they were arrived at.

    Attributes:
        samples: columns ``subject_id``, ``visit_id``, ``stay_id`` (or null), ``prediction_time``, ``label``.
        attrition: what was left out.
        unknown_codes: how many codes of the label concepts have no place at the label's level.
        outcome_time: (samples,) datetime64[us], when the outcome of each comes about; null where it never does. None
            where no label is an event in time.
        when: how the attrition table calls the prediction time.
        notes: what a reader of scores must know of the labels.
    """

    samples: pd.DataFrame
    attrition: Attrition
    unknown_codes: int = 0
    outcome_time: np.ndarray | None = None
    when: str = "the prediction"
    notes: tuple[str, ...] = ()


class Task:
    """A prediction task. A subclass states its kind and returns a cohort; the framework does the rest.

    It cuts the features, and leaves out samples that are too young, or that are predicted when nothing is left to be
    predicted (`zoo.tasks._selection`).

    Attributes:
        kind: ``binary``, ``multiclass``, ``multilabel``, ``regression``, ``survival``, or your own, by name or class.
        labels: names of the classes of a multiclass task, or of the labels of a multilabel one; where the latter has
            none they are fitted on the training split.
        given: concepts of the target visit that a sample sees whole, whatever their time.
        label_concepts: concepts of the target visit that a sample never sees.
        needs: concepts that the label is made from.
        predicts: the concept whose codes the labels are, where earlier ones of them are given to a model under the same
            numbers: id ``2 + n`` of the concept is label ``n``.
        levels: of concepts, where the task fixes them.
        order_types: the types of drug order that count; None for all.
        note_kinds: the kinds of notes that are read, such as ``discharge_summary``; None for all.
        top_k: of a multilabel task, how many labels there are: those of most training samples; None for all.
        ks: of a multilabel task, of ``precision_at_k`` and ``recall_at_k``.
        min_age: the least age at the start of the visit, in years; visits of unknown age are left out with those below
            it. None for all.
        about: what samples that have a stay are about, so that none is predicted after its end: the ``stay``, or the
            whole ``visit``.
        retrospective: whether the labels are assigned from what the record holds already, and are no forecast: then
            nobody is left out for being dead, or gone.
        table: the DataFrame that the labels come from, where the user gave one (`zoo.labels`).
        tuned: whether probabilities count as positive from the threshold on that has the best (micro) F1 on the
            validation split, instead of 0.5.
    """

    registered_name: ClassVar[str]
    kind: str
    labels: tuple[str, ...] | None = None
    given: frozenset[str] = frozenset()
    label_concepts: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    predicts: str | None = None
    levels: Mapping[str, str] = {}
    order_types: tuple[str, ...] | None = None
    note_kinds: tuple[str, ...] | None = None
    top_k: int | None = None
    ks: tuple[int, ...] = (5, 10)
    tuned: bool = False
    min_age: float | None = None
    about: str = "stay"
    retrospective: bool = False
    table: pd.DataFrame | None = None

    def cohort(self, relations: Relations) -> Cohort:
        """Who is predicted, when, and with what label."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return tasks.entry(type(self)).name

    def __repr__(self) -> str:
        return called(type(self), **self.parameters())

    def _repr_html_(self) -> str:
        return html_table(self.name, {"kind": self.kind, **self.parameters()}, [summary(type(self))])

    def parameters(self) -> dict:
        """The constructor's arguments that this task was made with.

        Raises:
            UserError: the task does not keep one of them as an attribute of its name.
        """
        names = [*parameters_of(type(self))]
        for name in names:
            if not hasattr(self, name):
                raise UserError(
                    f"task {self.name!r} does not keep its parameter {name!r}: set self.{name} = {name} in __init__."
                )
        return {n: getattr(self, n) for n in names}

    def key(self) -> dict:
        """What tells its cohort from those of other tasks on the same dataset."""
        return {**tasks.code(type(self)), "task": self.name, "task_parameters": self.parameters()}


def one_of(name: str, value: object, choices: tuple) -> None:
    """Raise a `UserError` where a task's parameter is none of its choices."""
    if value not in choices:
        raise UserError(f"{name}={shown(value)} must be one of {', '.join(map(repr, choices))}.")


LONGEST = 1_000_000
"""What a number of hours or days can be at most: some 100 years of hours."""


def number(name: str, value: object, low: float = 0) -> None:
    """Raise a `UserError` where a task's parameter is no number, under its least value, or too large to be a time."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= LONGEST:
        raise UserError(f"{name}={shown(value)} must be a number of at least {low} and at most {LONGEST}.")


def least_age(min_age: object) -> float | None:
    """A task's parameter ``min_age``; raises a `UserError` where it is neither None nor a number of years."""
    if min_age is not None:
        number("min_age", min_age)
    return min_age


def hours_after(start: pd.Series, hours: float) -> pd.Series:
    """Times moved by a number of hours."""
    return start + pd.Timedelta(seconds=round(hours * 3600))
