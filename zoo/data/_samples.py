"""Who is predicted, when, and in which split."""

from __future__ import annotations

import numpy as np
import pandas as pd

from zoo.data._splits import NAMES, Split
from zoo.data._store import VisitIndex
from zoo.registry import UserError, nearest, shown


class Samples:
    """The samples of a task, and what each of them sees of its subject's visits.

    A *place* is the number of a sample in these.

    Attributes:
        cohort: what the task returned.
        frame: the cohort's samples, with their ``split``.
        visits: all visits of the source.
        splits: who is in which split.
        subject_ids: of ``splits``, ascending.
        max_visits: how many visits a sample sees at most (the newest), or None.
        split: (samples,) a place in `NAMES`; -1 in none.
        own: (samples,) the number of the visit that each is at.
        subject: (samples,) whose it is.
        moment: (samples,) datetime64[us], when it is predicted.
    """

    def __init__(
        self, cohort, visits: VisitIndex, splits: Split, subject_ids: np.ndarray, max_visits: int | None = None
    ):
        self.cohort, self.visits, self.splits = cohort, visits, splits
        self.subject_ids, self.max_visits = subject_ids, max_visits
        found = cohort.samples
        row = np.searchsorted(subject_ids, found.subject_id.to_numpy())
        split = splits.subject[row] if len(found) else np.zeros(0, np.int8)
        if splits.listed is not None:
            split = np.where(np.isin(found.visit_id, splits.listed), split, -1)
        self.split = split
        self.frame = found.assign(split=pd.Categorical.from_codes(split, NAMES))
        self.own = visits.numbers(found.visit_id.to_numpy())
        self.subject = found.subject_id.to_numpy()
        self.moment = found.prediction_time.to_numpy("datetime64[us]")

    def __len__(self) -> int:
        return len(self.own)

    def places(self, split: str) -> np.ndarray:
        """The places of a split.

        Raises:
            UserError: there is no such split.
        """
        if not isinstance(split, str) or split not in NAMES:
            raise UserError(f"unknown split {shown(split)}: {nearest(split, NAMES)}.")
        return np.flatnonzero(self.split == NAMES.index(split))

    def first(self, places: np.ndarray) -> np.ndarray:
        """(places,) the number of the first visit that each of these samples sees."""
        own = self.own[places]
        first = self.visits.first[own]
        return first if self.max_visits is None else np.maximum(first, own - self.max_visits + 1)

    def before(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(places,) the subject's last sample at another visit before each of these, and whether there is one.

        Where the order of a subject's visits is not known, none is before another.
        """
        own = self.own
        number = np.arange(len(own))
        begins = np.r_[True, own[1:] != own[:-1]][: len(own)]  # samples in a row may be at the same visit
        first = np.maximum.accumulate(np.where(begins, number, 0))[places]
        earlier = np.maximum(first - 1, 0)
        same = (first > 0) & (self.subject[earlier] == self.subject[places])
        return earlier, same & (self.visits.first[own[places]] <= own[earlier])

    def notes(self) -> list[str]:
        """What a reader of scores must know of who was left out, and of how samples were split."""
        found = [*self.cohort.notes, *_lost_to_ignorance(self.cohort.attrition.table()), *self.splits.notes]
        listed = self.splits.listed
        if listed is not None:
            none = int((~np.isin(listed, self.frame.visit_id)).sum())
            found += [f"{none} of the {len(listed)} visits of the split are no samples of the task"] if none else []
        return found


def _lost_to_ignorance(attrition: pd.DataFrame) -> list[str]:
    """Steps that left out more than half of the candidates because a fact about them is not known."""
    found = []
    for step in attrition.itertuples():
        candidates = step.left_out + step.remaining
        if "unknown" in step.step and step.left_out > candidates / 2:
            found.append(f"{step.step}: {step.left_out} of {candidates} candidates were left out for it")
    return found
