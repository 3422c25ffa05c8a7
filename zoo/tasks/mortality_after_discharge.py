"""Death in the weeks or months after a discharge from hospital."""

from __future__ import annotations

import numpy as np

from zoo.registry import UserError, register_task
from zoo.tasks._task import Cohort, Relations, Task, hours_after, least_age, number


@register_task("mortality_after_discharge")
class MortalityAfterDischarge(Task):
    """Whether the patient dies within 30 days of discharge, predicted at discharge.

    One sample for each visit that the patient left alive. The label is true if the patient dies, wherever, at most
    ``days`` × 24 hours after discharge; a death of which only the day is known counts as at the end of that day. Left
    out, and counted: visits that end in death, or of which that is not known.

    How long deaths are known differs. MIMIC-IV has those of the year after a patient's last discharge, and more than
    ``days=365`` is an error there. MIMIC-III has those of 90 days for all of its patients, and of up to four years for
    those of the older of its two systems: with more than 90 days some of the negatives have died, and a note of the
    result says so. eICU knows deaths in hospital only, and is an error.

    Args:
        days: from the discharge; 30, 90 and 365 are usual.
        min_age: the least age at the visit, in years; None takes all.
    """

    kind = "binary"
    labels = ("death after discharge",)

    def __init__(self, days: float = 30, min_age: float | None = None):
        number("days", days)
        self.days, self.min_age = days, least_age(min_age)

    def cohort(self, relations: Relations) -> Cohort:
        notes = self._follow_up(relations)
        candidates = relations.candidates()
        candidates.leave_out(candidates.frame.died.isna(), "death in hospital unknown")
        candidates.leave_out(candidates.frame.died, "died in hospital")
        frame = candidates.frame
        label = (frame.death <= hours_after(frame.end, 24 * self.days)).to_numpy()
        death = frame.death.to_numpy("datetime64[us]")
        return candidates.cohort(
            frame.end, label, outcome_time=np.where(label, death, np.datetime64("NaT")), notes=notes
        )

    def _follow_up(self, relations: Relations) -> list[str]:
        """What is to be said of how long deaths are known; raises a `UserError` where that is not long enough."""
        of_all, of_most = relations.follow_up_days
        if not of_most:
            raise UserError(
                f"{relations.name} does not tell deaths after discharge: take task 'mortality', or 'readmission'."
            )
        if self.days > of_most:
            raise UserError(
                f"{relations.name} tells deaths until {of_most:g} days after a patient's last discharge, so those "
                f"within {self.days:g} days are not known: set days to {of_most:g} or less."
            )
        if self.days <= of_all:
            return []
        return [
            f"deaths later than {of_all:g} days after a patient's last discharge are known of a part of the patients: "
            f"some who count as alive after {self.days:g} days are not"
        ]
