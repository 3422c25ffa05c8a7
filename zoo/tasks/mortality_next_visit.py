"""Death in the next visit, predicted at the end of this one."""

from __future__ import annotations

from zoo.registry import register_task
from zoo.tasks._task import Cohort, Relations, Task


@register_task("mortality_next_visit")
class MortalityNextVisit(Task):
    """Whether the patient dies in hospital in the next visit, predicted at the end of this one.

    One sample for each visit that has a next one: the subject's next by start. The label is the source's own flag of
    death in hospital of that next visit; where the source does not tell, or that visit was left out when the tables
    were cleaned, the sample is left out, and counted.

    Args:
        keep_unordered: keep subjects whose visits the source does not put in order (two visits in one year of eICU):
            which is the next one is a guess there, and their samples see no earlier visits.
    """

    kind = "binary"
    labels = ("death in the next visit",)

    def __init__(self, keep_unordered: bool = False):
        self.keep_unordered = bool(keep_unordered)

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates()
        candidates.leave_out_unordered(self.keep_unordered)
        visits = candidates.frame
        admissions = relations.with_left_out(visits, "subject_id")
        of_subject = admissions.groupby("subject_id")
        following, usable = of_subject.visit.shift(-1), of_subject["sample"].shift(-1).astype("boolean")
        mine = admissions["sample"].to_numpy()
        visits = visits.assign(following=following[mine].to_numpy())
        unusable = ~usable[mine].fillna(True).to_numpy(bool) | relations.undated_after(visits, "subject_id")
        candidates.frame = visits
        candidates.leave_out(unusable, "next visit left out when the tables were cleaned")
        following = candidates.frame.following
        candidates.leave_out(following.isna(), "no next visit")
        died = relations.visits.died.iloc[candidates.frame.following.astype("int64")]
        candidates.frame = candidates.frame.assign(label=died.to_numpy())
        candidates.leave_out(candidates.frame.label.isna(), "death in the next visit unknown")
        return candidates.cohort(candidates.frame.end, candidates.frame.label.astype(bool))
