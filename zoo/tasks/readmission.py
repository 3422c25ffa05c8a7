"""Readmission after a discharge from hospital, or to the ICU within a hospital visit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from zoo.registry import UserError, register_task
from zoo.tasks._task import Cohort, Relations, Task, least_age, number, one_of
from zoo.tasks._visit_class import visit_classes

PLANNED = ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")
"""Admission types of MIMIC-III and MIMIC-IV that are planned."""
STEP_DOWN = "stepdown/other"
"""The type of eICU stays that are no intensive care."""


@register_task("readmission")
class Readmission(Task):
    """Whether the patient is back within 30 days of discharge, predicted at discharge.

    One sample for each admission that the patient left alive. The label is true if the next admission comes at most
    ``days`` × 24 hours after discharge; a subject's last one stays in, as negative. An admission is a visit of the
    classes in ``visit_class``: by default a later visit for observation, or to the emergency department alone, is no
    return. Left out, and counted: visits of other classes, and those at whose end the patient is dead, or is back
    already (admissions that overlap, or meet), unless ``min_gap_hours`` makes that a transfer. An admission that was
    left out when the tables were cleaned but has a start counts as a return; where one without a start may be it, the
    visit is left out.

    Args:
        days: the longest time between discharge and a readmission.
        min_age: the least age at the visit, in years; None takes all.
        unplanned: count only admissions that were not planned (elective, or surgery on the same day).
        min_gap_hours: an admission that comes sooner than this after discharge is a transfer and does not count.
        unit: ``"stay"``: return to the ICU within the same hospital visit, predicted at discharge from the ICU (the
            other parameters but ``min_age`` and ``visit_class`` do not apply). Moves to a step-down unit are left out,
            and so is who leaves the hospital with the stay, and cannot come back to it.
        visit_class: which visits are admissions, those that are predicted for and the returns alike: some of
            ``inpatient``, ``emergency``, ``observation`` and ``outpatient``; None takes all. Those of other classes
            remain history.
    """

    kind = "binary"
    labels = ("readmission",)

    def __init__(
        self,
        days: float = 30,
        min_age: float | None = 18,
        unplanned: bool = False,
        min_gap_hours: float = 0,
        unit: str = "visit",
        visit_class: str | Sequence[str] | None = ("inpatient",),
    ):
        one_of("unit", unit, ("visit", "stay"))
        number("days", days)
        number("min_gap_hours", min_gap_hours)
        self.days, self.min_age, self.unplanned = days, least_age(min_age), bool(unplanned)
        self.min_gap_hours, self.unit = min_gap_hours, unit
        self.visit_class = visit_classes(visit_class)

    def cohort(self, relations: Relations) -> Cohort:
        return self._of_stays(relations) if self.unit == "stay" else self._of_visits(relations)

    def _of_visits(self, relations: Relations) -> Cohort:
        if not relations.gaps_known:
            raise UserError(
                f"{relations.name} does not tell the time between hospital visits: use unit='stay' for the return to "
                "the ICU within one visit."
            )
        candidates = relations.candidates()
        candidates.leave_out_classes(self.visit_class)
        admissions = relations.with_left_out(candidates.frame, "subject_id", self.visit_class)
        back = self._readmitted(admissions)[admissions["sample"].to_numpy()]
        candidates.frame = candidates.frame.assign(back=back)
        undated = relations.undated_after(candidates.frame, "subject_id", self.visit_class)
        candidates.leave_out(candidates.frame.back.isna() & undated, "an admission without a start may be the return")
        candidates.leave_out(candidates.frame.died.isna(), "death in hospital unknown")
        candidates.leave_out(candidates.frame.died, "died in hospital")
        back = candidates.frame.back
        return candidates.cohort(candidates.frame.end, back.notna(), outcome_time=back)

    def _readmitted(self, visits: pd.DataFrame) -> np.ndarray:
        """(visits,) when the first later admission that counts is, null where it comes late; for visits in order."""
        counts = np.ones(len(visits), bool)
        if self.unplanned:
            counts = ~visits.admission_type.fillna("").str.upper().isin(PLANNED).to_numpy()
        subject = visits.subject_id.to_numpy()
        start, end = visits.start.to_numpy("datetime64[us]"), visits.end.to_numpy("datetime64[us]")
        back = np.full(len(visits), np.datetime64("NaT"), "datetime64[us]")
        pending = np.arange(len(visits))
        step = 1
        while len(pending):  # as many rounds as some subject has visits in a row that do not count
            pending = pending[pending + step < len(visits)]
            later = pending + step
            same = subject[later] == subject[pending]
            pending, later = pending[same], later[same]
            gap = start[later] - end[pending]
            valid = counts[later]
            if self.min_gap_hours:
                valid = valid & (gap >= np.timedelta64(round(self.min_gap_hours * 3600), "s"))
            soon = valid & (gap <= np.timedelta64(round(self.days * 86400), "s"))
            back[pending[soon]] = start[later[soon]]
            pending = pending[~valid]
            step += 1
        return back

    def _of_stays(self, relations: Relations) -> Cohort:
        candidates = relations.candidates("stay")
        candidates.leave_out_classes(self.visit_class)
        candidates.leave_out(candidates.frame.type == STEP_DOWN, "no intensive care (step-down unit)")
        frame = candidates.frame
        stays = relations.with_left_out(frame, "visit_id")
        returns = stays.start.where(stays.type == "readmit").groupby(stays.visit_id).bfill()
        back = returns.groupby(stays.visit_id).shift(-1)
        candidates.frame = frame = frame.assign(back=back[stays["sample"]].loc[frame.index])
        undated = relations.undated_after(frame, "visit_id")
        candidates.leave_out(frame.back.isna() & undated, "a stay without a start may be the return")
        candidates.leave_out(candidates.frame.died.isna(), "death in the unit unknown")
        candidates.leave_out(candidates.frame.died, "died in the unit")
        candidates.leave_out(candidates.frame.end >= candidates.frame.visit_end, "left the hospital with the stay")
        back = candidates.frame.back
        return candidates.cohort(candidates.frame.end, back.notna(), outcome_time=back)
