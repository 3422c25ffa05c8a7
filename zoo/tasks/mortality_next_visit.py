"""Death in the next visit, predicted at the end of this one."""

from __future__ import annotations

from zoo.registry import register_task
from zoo.tasks._task import Cohort, Relations, Task, least_age


@register_task("mortality_next_visit")
class MortalityNextVisit(Task):
    """Whether the patient dies in hospital in the next visit, predicted at the end of this one.

    One sample for each visit that has a next one: the subject's next by start. The label is the source's own flag of
    death in hospital of that next visit, and comes about with the death, or alive with its end. Left out, and counted:
    samples of which the source does not tell, those whose next visit was left out when the tables were cleaned, and
    those of visits that go on beyond that (visits may overlap).

    Args:
        keep_unordered: keep subjects whose visits the source does not put in order (two visits in one year of eICU):
            which is the next one is a guess there, and their samples see no earlier visits.
        min_age: the least age at the visit, in years; None takes all.
    """

    kind = "binary"
    labels = ("death in the next visit",)

    def __init__(self, keep_unordered: bool = False, min_age: float | None = None):
        self.keep_unordered, self.min_age = bool(keep_unordered), least_age(min_age)

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
        following = relations.visits[["died", "end"]].iloc[candidates.frame.following.astype("int64")]
        candidates.frame = candidates.frame.assign(label=following.died.to_numpy(), until=following.end.to_numpy())
        candidates.leave_out(candidates.frame.label.isna(), "death in the next visit unknown")
        frame = candidates.frame
        return candidates.cohort(
            frame.end, frame.label.astype(bool), outcome_time=frame[["until", "death"]].min(axis=1)
        )
