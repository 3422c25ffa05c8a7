"""Labels that a user brings along as a table: a task without a class."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from zoo import cache
from zoo.cache.writing import whole
from zoo.registry import UserError, counted, kind_of, names_of, shown, tasks, whole_number
from zoo.tasks._label_column import as_labels, told_kind
from zoo.tasks._label_table import IDS, OUTCOME, TIMES, checked_table
from zoo.tasks._task import Candidates, Cohort, Relations, Task, least_age

TABLE = "table"
"""What stands for the table of labels in a run's configuration: the run folder has it as a file."""
LABEL_FILE = "labels.parquet"
"""The file of the table in the cache."""
AT = [*IDS, TIMES[0]]


def labels(
    frame: pd.DataFrame,
    kind: str | None = None,
    labels: str | Sequence[str] | None = None,
    *,
    given: str | Collection[str] = (),
    label_concepts: str | Collection[str] = (),
    needs: str | Collection[str] = (),
    outcome_time: str | None = None,
    retrospective: bool = False,
    min_age: float | None = None,
    top_k: int | None = None,
    name: str = "labels",
) -> Labels:
    """A task from labels of your own: who is predicted, when, and what came of it, one row a sample.

    A sample sees what was known at its prediction time. What the label was made from and is known by then is seen too,
    unless you say so in ``label_concepts``. The framework leaves out who is gone, dead, or whose outcome has come
    about, and counts them; so are rows whose subject, visit or stay the dataset does not have.

    Args:
        frame: a table with ``subject_id``, ``prediction_time`` (or ``time``) and ``label``; where they are known also
            ``visit_id`` and ``stay_id``, all ids being those of the dataset. A row without a visit is about the visit
            of its stay, or else the subject's visit that the time lies in, or the last one that began before it.
        kind: of the labels; where it is left out, bools are ``binary``, whole numbers or texts with ``labels``
            ``multiclass``, floats ``regression`` and lists of texts ``multilabel``.
        labels: the names of the classes, in the order of their numbers, or of the labels of a multilabel task; of the
            latter those that training samples have, where it is left out.
        given: concepts of the visit that a sample sees whole, whatever their time.
        label_concepts: concepts of the visit that a sample never sees, as the label is made from them.
        needs: concepts that a dataset must have.
        outcome_time: the column that says when the outcome came about, null where it never did; a column
            ``outcome_time`` is taken by default.
        retrospective: whether labels are assigned from what the record holds already, and are no forecast: then nobody
            is left out for being dead, or gone.
        min_age: the least age at the visit, in years; None takes all.
        top_k: of a multilabel task, how many labels there are: those of most training samples; None for all.
        name: of the task, in results and tables.

    Raises:
        UserError: the table lacks something, a value in it cannot be used, or its kind is ambiguous.

    >>> import zoo
    >>> visits = zoo.load_dataset("synthetic", patients=200).read("visits")
    >>> frame = visits.assign(time=visits.start + pd.Timedelta(hours=24), label=visits.discharge_to == "SNF")
    >>> nursing = zoo.labels(frame[["subject_id", "time", "label"]], name="nursing")
    >>> data = zoo.load("synthetic", task=nursing, patients=200)
    >>> data.task.kind, data.labels, len(data) > 300
    ('binary', ('nursing',), True)
    """
    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"labels: frame={shown(frame)} must be a DataFrame with subject_id, prediction_time and label.")
    if not isinstance(name, str) or not name or name in tasks.names():
        raise UserError(f"labels: name={shown(name)} must be a name that no task has.")
    labels = None if labels is None else tuple(names_of("labels", labels))
    if labels is not None and (not labels or len(set(labels)) < len(labels)):
        raise UserError(f"labels: labels={shown(labels)} must be names, each once.")
    concepts = {"given": given, "label_concepts": label_concepts, "needs": needs}
    concepts = {n: frozenset(names_of(n, value)) for n, value in concepts.items()}
    for concept in sorted(concepts["given"] & concepts["label_concepts"]):
        raise UserError(f"labels: {concept!r} is both given and withheld: name it in given or in label_concepts.")
    table = checked_table(frame, outcome_time)
    kind = kind_of(told_kind(table.label, labels) if kind is None else kind)
    if labels is not None and len(labels) != 1 and not kind.sets and kind.examples == 1:
        raise UserError(f"labels: a {kind.registered_name} task has one label: leave labels= out.")
    table["label"] = as_labels(table.label, kind, labels)
    further = {"retrospective": bool(retrospective), "min_age": least_age(min_age)}
    further["top_k"] = None if top_k is None else whole_number("top_k", top_k, 1)
    return Labels(table.reset_index(drop=True), name, kind.registered_name, labels, **concepts, **further)


class Labels(Task):
    """What `labels` makes.

    Args:
        table: with ``subject_id``, ``visit_id`` and ``stay_id`` (or null), ``prediction_time``, ``label``, and
            ``outcome_time`` where labels are events in time.
        name: of the task.
        kind: of its labels.
        labels, given, label_concepts, needs, retrospective, min_age, top_k: as of a `Task`.
    """

    name = ""

    def __init__(
        self,
        table: pd.DataFrame,
        name: str,
        kind: str,
        labels: Sequence[str] | None = None,
        given: Collection[str] = (),
        label_concepts: Collection[str] = (),
        needs: Collection[str] = (),
        retrospective: bool = False,
        min_age: float | None = None,
        top_k: int | None = None,
    ):
        self.table, self.name, self.kind = table, name, kind
        self.labels = None if labels is None else tuple(labels)
        self.given, self.label_concepts, self.needs = frozenset(given), frozenset(label_concepts), frozenset(needs)
        self.retrospective, self.min_age, self.top_k = retrospective, min_age, top_k

    def parameters(self) -> dict:
        """What it was made with; a digest stands for the table."""
        plain = {n: sorted(getattr(self, n)) for n in ("given", "label_concepts", "needs")}
        plain["labels"] = None if self.labels is None else list(self.labels)
        kept = {n: getattr(self, n) for n in ("kind", "retrospective", "min_age", "top_k")}
        return {**plain, **kept, TABLE: self.digest}

    def key(self) -> dict:
        return {"task": self.name, "task_parameters": self.parameters()}

    @cached_property
    def digest(self) -> str:
        """What tells the table from others; the order of its rows does not count."""
        rows = self.table.sort_values([*AT, *self.table.columns.intersection([OUTCOME])], kind="stable")
        for name in rows.columns.intersection([TIMES[0], OUTCOME]):
            rows[name] = rows[name].astype("int64")
        return hashlib.blake2b(rows.to_csv(index=False).encode(), digest_size=10).hexdigest()

    def cohort(self, relations: Relations) -> Cohort:
        rows = Candidates.all("rows of the labels", self.table)
        known = rows.frame.subject_id.isin(relations.subjects.subject_id)
        if not known.any():
            raise UserError(
                f"labels: none of their {rows.frame.subject_id.nunique()} subjects is in {relations.name}: the labels "
                f"have such as {rows.frame.subject_id.iloc[0]}, {relations.name} such as "
                f"{relations.subjects.subject_id.iloc[0]}; take ids from dataset.read('visits')."
            )
        rows.leave_out(~known, f"subject not in {relations.name}")
        self._at_stays(rows, relations)
        self._at_visits(rows, relations)
        lost = len(self.table) - len(rows.frame)
        what = counted(len(self.table), "row")
        notes = [f"labels: {lost} of {what} are of no subject, visit or stay of {relations.name}"] if lost else []
        rows.frame = _with_visits(rows.frame, relations.visits)
        rows.leave_out(rows.frame.visit_id.isna(), "no visit began before the prediction")
        rows.frame = _in_order(rows.frame, relations.visits)
        rows.leave_out(rows.frame.begin > rows.frame.prediction_time, "prediction before the visit")
        frame = rows.frame
        return rows.cohort(frame.prediction_time, frame.label, outcome_time=frame.get(OUTCOME), notes=notes)

    def _at_stays(self, rows: Candidates, relations: Relations) -> None:
        """Leave out rows of stays that there are not; those of others are at the visit of their stay."""
        if not rows.frame.stay_id.notna().any():
            return
        of_stay = relations.stays.set_index("stay_id")[["subject_id", "visit_id"]]
        rows.leave_out(rows.frame.stay_id.notna() & ~rows.frame.stay_id.isin(of_stay.index), "stay not in the dataset")
        frame = rows.frame
        found = of_stay.reindex(frame.stay_id.fillna(-1).astype("int64")).astype("Int64").set_axis(frame.index)
        wrong = (frame.subject_id != found.subject_id) | (frame.visit_id != found.visit_id)
        if wrong.fillna(False).any():
            raise UserError(f"labels: {_place(frame[wrong.fillna(False)])}: that stay is of another visit or subject.")
        rows.frame = frame.assign(visit_id=frame.visit_id.fillna(found.visit_id))

    def _at_visits(self, rows: Candidates, relations: Relations) -> None:
        """Leave out rows of visits that there are not."""
        if not rows.frame.visit_id.notna().any():
            return
        of_visit = relations.visits.set_index("visit_id").subject_id
        there = rows.frame.visit_id.isin(of_visit.index)
        rows.leave_out(rows.frame.visit_id.notna() & ~there, "visit not in the dataset")
        frame = rows.frame
        found = of_visit.reindex(frame.visit_id.fillna(-1).astype("int64")).astype("Int64").set_axis(frame.index)
        wrong = (frame.subject_id != found).fillna(False)
        if wrong.any():
            raise UserError(f"labels: {_place(frame[wrong])}: that visit is another subject's.")

    def write(self, path: Path) -> None:
        """Write the table, for its owner alone."""
        with whole(path) as unfinished:
            self.table.to_parquet(unfinished, index=False)

    @classmethod
    def read(cls, path: Path, name: str, parameters: dict) -> Labels:
        """The task of a name whose table `write` has written.

        Args:
            path: of the table.
            name: of the task.
            parameters: what `parameters` gave.

        Raises:
            UserError: the table is not there, damaged, or another one.
        """
        parameters = {**parameters}
        digest = parameters.pop(TABLE)
        try:
            table = pd.read_parquet(path)
            table["label"] = as_labels(table.label, kind_of(parameters["kind"]), parameters["labels"])
            found = cls(table.astype(IDS), name, **parameters)
            same = found.digest == digest
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"the labels in {path} are not there or damaged ({error}): give the data.") from error
        if not same:
            raise UserError(f"the labels in {path} are not those that were written there: give the data.")
        return found

    def __reduce__(self):
        """By the digest of the table, which lies in the cache."""
        cache.obtain("labels", _cached(self.digest), lambda folder: self.write(folder / LABEL_FILE))
        return _from_cache, (self.name, self.parameters())


def _cached(digest: str) -> dict:
    return {"labels": digest}


def _from_cache(name: str, parameters: dict) -> Labels:
    def gone(_: Path) -> None:
        raise UserError(f"the labels of task {name!r} are no longer in the cache {cache.folder()}: load the data anew.")

    return Labels.read(cache.obtain("labels", _cached(parameters[TABLE]), gone) / LABEL_FILE, name, parameters)


def _begin(visits: pd.DataFrame) -> pd.Series:
    """When each visit began, registration in the emergency department included."""
    return visits[["start", "arrival"]].min(axis=1)


def _with_visits(rows: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """The rows, those without a visit at the one of their subject that their time lies in, or the last one before."""
    without = rows[rows.visit_id.isna()]
    if not len(without):
        return rows
    began = visits[["subject_id", "visit_id", "end"]].assign(begin=_begin(visits))
    pairs = without[["subject_id", TIMES[0]]].assign(row=without.index).merge(began, on="subject_id")
    pairs = pairs[pairs.begin <= pairs[TIMES[0]]]
    pairs = pairs.assign(within=pairs.end >= pairs[TIMES[0]]).sort_values(["row", "within", "begin"], kind="stable")
    found = pairs.drop_duplicates("row", keep="last").set_index("row").visit_id.astype("Int64")
    return rows.assign(visit_id=rows.visit_id.fillna(found.reindex(rows.index)))


def _in_order(rows: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of visits and time, with the ``begin`` of their visits; no two of them are alike."""
    twice = rows[rows.duplicated(["visit_id", "stay_id", TIMES[0]])]
    if len(twice):
        raise UserError(f"labels: {_place(twice)} has two labels at one time: keep one of them.")
    number = pd.Index(visits.visit_id).get_indexer(rows.visit_id.astype("int64"))
    rows = rows.assign(visit=number, begin=_begin(visits).to_numpy()[number])
    return rows.sort_values(["visit", TIMES[0], "stay_id"], kind="stable")


def _place(rows: pd.DataFrame) -> str:
    """Which rows are meant, told by the first."""
    first = rows.iloc[0]
    ids = ", ".join(f"{n} {first[n]}" for n in IDS if pd.notna(first[n]))
    more = f" (and {counted(len(rows) - 1, 'other row')})" if len(rows) > 1 else ""
    return f"{ids} at {first.prediction_time}{more}"
