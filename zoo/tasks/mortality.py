"""Death in hospital, predicted some hours into the visit or into an ICU stay."""

from __future__ import annotations

from zoo.registry import UserError, register_task
from zoo.tasks._task import Candidates, Cohort, Relations, Task, hours_after, number, one_of


@register_task("mortality")
class Mortality(Task):
    """Whether the patient dies in this hospital visit, predicted 48 hours after its start.

    One sample for each visit that is not over ``hours`` after its start. The label is the source's own flag of death
    in hospital. Left out, and counted: visits that end, or whose subject dies, before the prediction time (a visit
    that ends at that very moment stays in), and visits of which the source does not tell whether the patient died.

    Args:
        hours: from the start of the visit, or of the stay, to the prediction.
        unit: ``"stay"``: one sample for each ICU stay, predicted ``hours`` after admission to the ICU, which may be
            over by then.
        target: with ``unit="stay"``, ``"hospital"`` is death in the visit that the stay belongs to, ``"stay"`` death in
            the unit; with the latter, stays that end before the prediction time are left out too.
    """

    kind = "binary"
    labels = ("death",)

    def __init__(self, hours: float = 48, unit: str = "visit", target: str = "hospital"):
        number("hours", hours)
        one_of("unit", unit, ("visit", "stay"))
        one_of("target", target, ("hospital", "stay"))
        if (unit, target) == ("visit", "stay"):
            raise UserError("target='stay' is death in the unit: it needs unit='stay'.")
        self.hours, self.unit, self.target = hours, unit, target

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates(self.unit)
        frame = candidates.frame
        if self.unit == "visit":
            frame = frame.assign(visit_end=frame.end, visit_died=frame.died)
        label = frame.died if self.target == "stay" else frame.visit_died
        candidates.frame = frame.assign(prediction_time=hours_after(frame.start, self.hours), label=label)
        self._leave_out_over(candidates)
        place = "unit" if self.target == "stay" else "hospital"
        candidates.leave_out(candidates.frame.label.isna(), f"death in {place} unknown")
        frame = candidates.frame
        return candidates.cohort(frame.prediction_time, frame.label.astype(bool))

    def _leave_out_over(self, candidates: Candidates) -> None:
        def before(column: str):
            return candidates.frame[column] < candidates.frame.prediction_time

        candidates.leave_out(before("visit_end"), f"visit ended before hour {self.hours:g}")
        if self.target == "stay":
            candidates.leave_out(before("end"), f"stay ended before hour {self.hours:g}")
        candidates.leave_out(before("death"), f"died before hour {self.hours:g}")
