"""Table 1: who the samples of a task are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo.data._splits import NAMES
from zoo.registry import UserError, nearest, shown, whole_number

if TYPE_CHECKING:
    from zoo.data._task_data import TaskData

LEVELS = 10
"""How many groups of a fact have a line of their own, the largest; those beyond share one."""
UNKNOWN = "unknown"
DAY = pd.Timedelta(days=1)


def table_one(data: TaskData, by: str | None = None, min_count: int = 0) -> pd.DataFrame:
    """The usual Table 1 of a paper: who the samples are, all of them and by group.

    Medians stand with their quartiles, counts with their share of those of whom the fact is known; of how many it is
    not known is a line of its own. What is of a subject (sex, ethnicity, number of visits in the source) counts each
    subject of a column once, what is of a visit (age, admission type, length, death in hospital) each visit; a subject
    may be in several columns.

    Args:
        data: what `zoo.load` returned.
        by: ``"label"``, the outcome; ``"split"``; or a column of the subjects or visits with groups, such as ``"sex"``,
            ``"insurance"`` or ``"hospital"``. None for all alone.
        min_count: counts from 1 up to below this are masked, and medians of as few. What is masked may still follow
            from what is not, by subtraction: look at the table before you show it.

    Returns:
        A frame of texts: a line a fact, a column a group.

    Raises:
        UserError: there are no such groups.

    >>> import zoo
    >>> data = zoo.load("synthetic", task="readmission", patients=200)
    >>> table = zoo.table_one(data, by="label", min_count=5)
    >>> table.columns.tolist(), table.loc[("Samples", "n"), "all"] == str(len(data))
    (['all', 'no', 'yes'], True)
    """
    min_count = whole_number("min_count", min_count, 0)
    facts = _facts(data)
    groups = {"all": np.ones(len(data.samples), bool), **({} if by is None else _groups(data, facts, by))}
    parts = {name: Part(facts[mask], min_count) for name, mask in groups.items()}
    lines = {name: dict(part.lines(facts)) for name, part in parts.items()}
    found = pd.DataFrame(lines)
    found.index = pd.MultiIndex.from_tuples(found.index, names=["fact", ""])
    return found


def _facts(data: TaskData) -> pd.DataFrame:
    """One row a sample, with the facts of its subject and its visit."""
    subjects, visits = (data.dataset.read(name) for name in ("subjects", "visits"))
    number = visits.groupby("subject_id").size().rename("visits")
    subjects = subjects.set_index("subject_id").join(number)
    visits = visits.set_index("visit_id").drop(columns="subject_id")
    visits = visits.assign(days=(visits.end - visits.start) / DAY)
    samples = data.samples[["subject_id", "visit_id"]]
    return samples.join(subjects, on="subject_id").join(visits, on="visit_id")


def _groups(data: TaskData, facts: pd.DataFrame, by: str) -> dict[str, np.ndarray]:
    """(samples,) bool of each group."""
    if by == "split":
        split = data.samples.split.to_numpy(object)
        found = {name: split == name for name in NAMES}
        return {**found, **({"in no split": pd.isna(split)} if pd.isna(split).any() else {})}
    if by == "label":
        found = data.outcomes.groups()
        if not found:
            raise UserError(f"by='label': a {data.task.kind} task such as {data.task.name!r} has no groups of labels.")
        return found
    grouping = [c for c in facts.columns if facts[c].dtype.kind in "Ob" or isinstance(facts[c].dtype, pd.StringDtype)]
    if by not in grouping:
        raise UserError(f"by={shown(by)} has no groups: {nearest(str(by), ['label', 'split', *grouping])}.")
    values = _named(facts[by])
    order = [v for v in values.value_counts().index if v != UNKNOWN]
    return {v: (values == v).to_numpy() for v in [*order, *([UNKNOWN] if (values == UNKNOWN).any() else [])]}


def _named(values: pd.Series) -> pd.Series:
    """Values as texts; those not known have a name too."""
    named = values.map({True: "yes", False: "no"}) if values.dropna().isin([True, False]).all() else values
    return named.astype(object).where(named.notna(), UNKNOWN).astype(str)


@dataclass(frozen=True)
class Part:
    """The samples of one column.

    Attributes:
        samples: with their facts, one row each.
        min_count: counts below it are masked.
    """

    samples: pd.DataFrame
    min_count: int

    def lines(self, everyone: pd.DataFrame) -> Iterator[tuple[tuple[str, str], str]]:
        """The text of each line, under the fact and what is told of it.

        Args:
            everyone: all samples, which say what lines there are.
        """
        subjects, visits = (self.samples.drop_duplicates(key) for key in ("subject_id", "visit_id"))
        for fact, rows in (("Subjects", subjects), ("Visits", visits), ("Samples", self.samples)):
            yield (fact, "n"), self._count(len(rows))
        yield from self._median("Age, years", "age", visits, everyone)
        yield from self._shares("Sex", "sex", subjects, everyone)
        yield from self._shares("Ethnicity", "ethnicity", subjects, everyone)
        yield from self._shares("Admission type", "admission_type", visits, everyone)
        yield from self._median("Length of visit, days", "days", visits, everyone)
        died = visits.died.dropna().astype(bool)
        yield ("Died in hospital", "n (%)"), self._share(int(died.sum()), len(died))
        yield from self._missing("Died in hospital", "died", visits, everyone)
        yield from self._median("Visits of the subject", "visits", subjects, everyone)

    def _median(self, fact: str, column: str, rows: pd.DataFrame, everyone: pd.DataFrame) -> Iterator:
        known = rows[column].dropna().to_numpy(float)
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else (np.nan,) * 3
        shown_ = f"{middle:.1f} [{low:.1f}, {high:.1f}]" if len(known) >= max(self.min_count, 1) else "–"
        yield (fact, "median [quartiles]"), shown_
        yield from self._missing(fact, column, rows, everyone)

    def _shares(self, fact: str, column: str, rows: pd.DataFrame, everyone: pd.DataFrame) -> Iterator:
        levels = _named(everyone[column].dropna()).value_counts().index.tolist()
        own, beyond = levels[:LEVELS], levels[LEVELS:]
        values = _named(rows[column].dropna())
        for level in own:
            yield (fact, f"{level}, n (%)"), self._share(int((values == level).sum()), len(values))
        if beyond:
            yield (fact, f"{len(beyond)} others, n (%)"), self._share(int(values.isin(beyond).sum()), len(values))
        yield from self._missing(fact, column, rows, everyone)

    def _missing(self, fact: str, column: str, rows: pd.DataFrame, everyone: pd.DataFrame) -> Iterator:
        """A line where the fact of anybody is not known."""
        if everyone[column].isna().any():
            yield (fact, "not known, n"), self._count(int(rows[column].isna().sum()))

    def _count(self, number: int) -> str:
        return f"<{self.min_count}" if 0 < number < self.min_count else str(number)

    def _share(self, number: int, of: int) -> str:
        if 0 < number < self.min_count or not of:
            return self._count(number)
        return f"{number} ({100 * number / of:.1f}%)"
