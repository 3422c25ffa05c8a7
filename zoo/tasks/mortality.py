"""Death in hospital, predicted some hours into the visit or into an ICU stay."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.registry import UserError, register_task
from zoo.tasks._task import Cohort, Relations, Task, hours_after, least_age, number, one_of
from zoo.tasks._visit_class import visit_classes


@register_task("mortality")
class Mortality(Task):
    """Whether the patient dies in this hospital visit, predicted 48 hours after its start.

    One sample for each visit that is not over ``hours`` after its start. The label is the source's own flag of death
    in hospital, and comes about with the death, or alive with the end of the visit. Left out, and counted: visits that
    are over, or whose subject is dead, at the prediction time (or become so at that very moment), and visits of which
    the source does not tell whether the patient died.

    Args:
        hours: from the start of the visit, or of the stay, to the prediction.
        unit: ``"stay"``: one sample for each ICU stay, predicted ``hours`` after admission to the ICU, which may be
            over by then.
        target: with ``unit="stay"``, ``"hospital"`` is death in the visit that the stay belongs to, ``"stay"`` death in
            the unit; with the latter, stays that are over at the prediction time are left out too.
        min_age: the least age at the visit, in years; None takes all.
        visit_class: only visits of these classes: some of ``inpatient``, ``emergency``, ``observation`` and
            ``outpatient``; None takes all. Those of other classes remain history.
    """

    kind = "binary"
    labels = ("death",)

    def __init__(
        self,
        hours: float = 48,
        unit: str = "visit",
        target: str = "hospital",
        min_age: float | None = None,
        visit_class: str | Sequence[str] | None = ("inpatient",),
    ):
        number("hours", hours)
        one_of("unit", unit, ("visit", "stay"))
        one_of("target", target, ("hospital", "stay"))
        if (unit, target) == ("visit", "stay"):
            raise UserError("target='stay' is death in the unit: it needs unit='stay'.")
        self.hours, self.unit, self.target, self.min_age = hours, unit, target, least_age(min_age)
        self.visit_class = visit_classes(visit_class)
        self.about = "stay" if target == "stay" else "visit"

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates(self.unit)
        candidates.leave_out_classes(self.visit_class)
        if self.unit == "stay" and self.target == "hospital":
            candidates.frame = candidates.frame.assign(died=candidates.frame.visit_died, end=candidates.frame.visit_end)
        place = "unit" if self.target == "stay" else "hospital"
        candidates.leave_out(candidates.frame.died.isna(), f"death in {place} unknown")
        frame = candidates.frame
        return candidates.cohort(
            hours_after(frame.start, self.hours),
            frame.died.astype(bool),
            outcome_time=frame[["end", "death"]].min(axis=1),
            when=f"hour {self.hours:g}",
        )
