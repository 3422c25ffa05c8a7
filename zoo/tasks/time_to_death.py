"""How long a patient lives from a day after admission on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from zoo.registry import register_task
from zoo.tasks._task import Cohort, Relations, Task, hours_after, least_age, number
from zoo.tasks._visit_class import visit_classes

DAY = np.timedelta64(1, "D")


@register_task("time_to_death")
class TimeToDeath(Task):
    """The days until the patient dies, or until nobody looks any more, predicted 24 hours after admission.

    One sample for each visit that lasts longer than ``hours``. The label is (days, 1) where a death is known, days
    after the prediction, and (days, 0) where follow-up ends without one. Follow-up is as long as the deaths of all
    patients are known: in MIMIC-IV until a year after the subject's last discharge, in MIMIC-III until 90 days after
    it. eICU knows deaths in hospital only, and there it ends with the visit. A death of which only the day is known
    counts as at the end of that day. Left out, and counted: where follow-up ends with the visit, visits of which it is
    not known whether they ended in death.

    Args:
        hours: from the start of the visit to the prediction.
        min_age: the least age at the visit, in years; None takes all.
        visit_class: only visits of these classes: some of ``inpatient``, ``emergency``, ``observation`` and
            ``outpatient``; None takes all.
    """

    kind = "survival"
    labels = ("death",)
    about = "visit"

    def __init__(
        self,
        hours: float = 24,
        min_age: float | None = 18,
        visit_class: str | Sequence[str] | None = ("inpatient",),
    ):
        number("hours", hours)
        self.hours, self.min_age, self.visit_class = hours, least_age(min_age), visit_classes(visit_class)

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates()
        candidates.leave_out_classes(self.visit_class)
        days = relations.follow_up_days[0]
        if not days:
            candidates.leave_out(candidates.frame.died.isna(), "death in hospital unknown")
        frame = candidates.frame
        moment = hours_after(frame.start, self.hours)
        if days:
            until = hours_after(frame.subject_id.map(_last_discharge(relations)), 24 * days)
            death = frame.death
        else:
            until, death = frame.end, frame.end.where(frame.died.astype(bool))
        event = (death <= until).to_numpy(bool)
        moment, until, death = (t.to_numpy("datetime64[us]") for t in (moment, until, death))
        time = np.where(event, death, until) - moment
        candidates.leave_out(
            time <= np.timedelta64(0), f"died, or not followed up, {self.hours:g} hours after the start"
        )
        left = time > np.timedelta64(0)
        label = list(zip((time[left] / DAY).tolist(), event[left].astype(float).tolist(), strict=True))
        outcome = np.where(event, death, np.datetime64("NaT"))
        return candidates.cohort(moment[left], label, outcome_time=outcome[left])


def _last_discharge(relations: Relations) -> pd.Series:
    """By subject, when the last visit ended; also of visits that are no samples but took place."""
    others = relations.left_out[relations.left_out.relation == "visits"]
    both = pd.concat([relations.visits[["subject_id", "end"]], others[["subject_id", "end"]].dropna()])
    return both.groupby(both.subject_id.astype("int64")).end.max()
