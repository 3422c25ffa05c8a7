"""The care conditions of a patient in intensive care, told at the end of the stay."""

from __future__ import annotations

import numpy as np

from zoo.registry import register_task
from zoo.tasks._task import Cohort, Relations, Task, least_age
from zoo.tasks.readmission import STEP_DOWN

CONDITIONS = (2, 49, 50, 53, 55, 98, 99, 100, 101, 105, 106, 108, 109, 122, 127, 130, 131, 133, 134, 151, 153, 157, 158)
CONDITIONS += (238, 249)
"""CCS categories, those of the published definitions."""


@register_task("phenotyping")
class Phenotyping(Task):
    """Which of 25 acute and chronic conditions a patient has, told at the end of an ICU stay.

    The task of Harutyunyan et al. (Scientific Data 6:96, 2019, arXiv:1703.07771). One sample for each ICU stay; the
    labels are the 25 of its table of phenotypes, categories of the Clinical Classifications Software (CCS) in which
    the diagnoses of the whole hospital visit are. ICD-9 and ICD-10 meet in them. Those diagnoses, which are billed
    after the stay, are withheld.

    Left out, and counted: patients who are younger than ``min_age``; visits with more than one ICU stay, and stays in
    which the patient was moved between units or wards, as in the paper; visits without a diagnosis that CCS knows. The
    published code counts the stays of a visit after those with a transfer are gone; here, as the paper has it, before.
    Conditions are assigned, not forecast: who died stays in.

    Args:
        min_age: the least age at the visit, in years; None takes all.
    """

    kind = "multilabel"
    labels = tuple(f"CCS//{n}" for n in CONDITIONS)
    needs = frozenset({"diagnosis"})
    label_concepts = frozenset({"diagnosis"})
    retrospective = True

    def __init__(self, min_age: float | None = 18):
        self.min_age = least_age(min_age)

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates("stay")
        several = candidates.frame.visit_id.duplicated(keep=False)
        others = relations.left_out[relations.left_out.relation == "stays"]
        several |= candidates.frame.visit_id.isin(others.visit_id)
        candidates.leave_out(several, "more than one ICU stay in the visit")
        candidates.leave_out(candidates.frame.type == STEP_DOWN, "no intensive care (step-down unit)")
        candidates.leave_out(candidates.frame.transferred, "moved between units within the stay")
        sets = relations.code_sets("diagnosis", "ccs")
        visit = candidates.frame.visit
        unknown = sets.unknown[visit].sum()
        candidates.leave_out(sets.lengths[visit] == 0, "no diagnosis that CCS knows")
        wanted = sets.only(np.isin(sets.names.astype(str), self.labels)[sets.ids])
        labels = wanted.lists(candidates.frame.visit.to_numpy())
        return candidates.cohort(candidates.frame.end, labels, unknown_codes=int(unknown))
