"""The diagnoses of a visit, predicted at its start from earlier visits."""

from __future__ import annotations

from zoo.knowledge import icd
from zoo.registry import register_task
from zoo.tasks._task import Cohort, Relations, Task, least_age, one_of


@register_task("diagnosis")
class Diagnosis(Task):
    """Which diagnoses a visit will have, predicted at its start from the subject's earlier visits.

    One sample for each visit that has an earlier one, by start. The label is the set of the visit's distinct diagnosis
    codes, raised to ``level``. Left out, and counted: visits without a code that the level knows.
    The cohort's ``unknown_codes`` counts the single codes of all these visits that the level does not know.

    Args:
        level: ``"ccs"`` (single-level Clinical Classifications Software, where ICD-9 and ICD-10 meet), ``"icd3"`` (the
            category of each code in its own version) or ``"code"`` (the code as it stands).
        keep_unordered: keep subjects whose visits the source does not put in order (two visits in one year of eICU):
            which is the earlier one is a guess there, and their samples see no earlier visits.
        min_age: the least age at the visit, in years; None takes all.
    """

    kind = "multilabel"
    needs = frozenset({"diagnosis"})
    label_concepts = frozenset({"diagnosis"})

    def __init__(self, level: str = "ccs", keep_unordered: bool = False, min_age: float | None = None):
        one_of("level", level, tuple(icd.LEVELS))
        self.level, self.keep_unordered, self.min_age = level, bool(keep_unordered), least_age(min_age)

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates()
        candidates.leave_out_unordered(self.keep_unordered)
        candidates.leave_out(~candidates.frame.subject_id.duplicated(), "no earlier visit")
        sets = relations.code_sets("diagnosis", self.level)
        unknown = sets.unknown[candidates.frame.visit].sum()
        empty = sets.lengths[candidates.frame.visit] == 0
        candidates.leave_out(empty, f"no diagnosis code that level {self.level!r} knows")
        labels = sets.lists(candidates.frame.visit.to_numpy())
        return candidates.cohort(candidates.frame.start, labels, unknown_codes=int(unknown))
