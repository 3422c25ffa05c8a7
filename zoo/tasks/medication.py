"""The drugs of a visit, recommended at its start from its diagnoses and procedures and from earlier visits."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from zoo.registry import UserError, register_task
from zoo.tasks._task import CodeSets, Cohort, Relations, Task, least_age, number, one_of


@register_task("medication")
class Medication(Task):
    """Which drugs a visit will have, recommended at its start from its diagnoses and procedures and earlier visits.

    The label space of GAMENet (Shang et al., AAAI 2019), SafeDrug (Yang et al., IJCAI 2021) and G-BERT (Shang et al.,
    IJCAI 2019) at ``level="atc3"``. One sample for each visit with a drug that has a class, of subjects with at least
    ``min_visits`` such visits. The label is the set of the visit's drug classes; earlier drugs enter at the same level
    and under the same numbers. Diagnoses and procedures are those that were billed for the visit: they stand for what
    is known of the patient at its start, as in these papers, and so the task is a retrospective one. Diluents, flushes
    and containers are no drugs (`zoo.knowledge.drugs`). The cohort's ``unknown_codes`` counts orders whose class is not
    known.

    Args:
        level: ``"atc3"`` (four characters, such as ``C03C``), ``"atc4"`` or ``"atc5"``.
        hours: only drugs ordered within so many hours of the visit's start are in the label; all by default. Where the
            source has days for orders and no hours, this is the first day with a drug, whatever the number.
        min_visits: how many visits with a drug a subject must have. 2 in the papers.
        drug_types: which orders count, where the source tells them apart: ``"main"``, ``"base"`` and ``"additive"``.
        keep_unordered: keep subjects whose visits the source does not put in order (two visits in one year of eICU):
            their samples see no earlier visits.
        interactions: the table of interacting drugs behind ``ddi_rate`` and the models that avoid them; see
            `zoo.knowledge.interactions`. The dataset's own by default: the public high-priority list, or the planted
            ones of ``synthetic``.
        min_age: the least age at the visit, in years; None takes all.
    """

    kind = "multilabel"
    given = frozenset({"diagnosis", "procedure"})
    label_concepts = frozenset({"drug"})
    needs = frozenset({"drug"})
    predicts = "drug"

    def __init__(
        self,
        level: str = "atc3",
        hours: float | None = None,
        min_visits: int = 2,
        drug_types: Sequence[str] = ("base", "main"),
        keep_unordered: bool = False,
        interactions: str | None = None,
        min_age: float | None = None,
    ):
        one_of("level", level, ("atc3", "atc4", "atc5"))
        if hours is not None:
            number("hours", hours)
        number("min_visits", min_visits, 1)
        if isinstance(drug_types, str) or not isinstance(drug_types, Collection) or not drug_types:
            raise UserError(f"drug_types={drug_types!r} must be a list of types, such as ['base', 'main'].")
        for name in drug_types:
            one_of("drug_types", name, ("main", "base", "additive"))
        self.level, self.hours, self.min_visits, self.min_age = level, hours, min_visits, least_age(min_age)
        self.drug_types = self.order_types = tuple(sorted(set(drug_types)))
        self.keep_unordered, self.interactions = bool(keep_unordered), interactions
        self.levels = {"drug": level}

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates()
        candidates.leave_out_unordered(self.keep_unordered)
        sets = relations.drug_sets(self.level, self.order_types)
        if self.hours is not None:
            sets = sets.only(_early(sets, self.hours, relations.orders_by_day))
        candidates.leave_out(sets.lengths[candidates.frame.visit] == 0, "no drug with a class")
        visits = candidates.frame.groupby("subject_id").visit.transform("size")
        candidates.leave_out(visits < self.min_visits, f"fewer than {self.min_visits} visits with a drug")
        frame = candidates.frame
        unknown = int(sets.unknown[frame.visit].sum())
        return candidates.cohort(frame.start, sets.lists(frame.visit.to_numpy()), unknown_codes=unknown)


def _early(sets: CodeSets, hours: float, by_day: bool) -> np.ndarray:
    """(codes,) whether each was first ordered soon enough."""
    if not by_day:
        return sets.hours <= hours
    first = np.full(len(sets.lengths), np.inf)
    np.minimum.at(first, sets.visit, sets.hours)
    return sets.hours == first[sets.visit]  # an order by day has the time of the day's end
