"""Length of stay, in classes or in days."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from zoo.registry import register_task
from zoo.tasks._task import Cohort, Relations, Task, hours_after, least_age, number, one_of
from zoo.tasks._visit_class import visit_classes

EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 14)
"""Days at which the classes of Harutyunyan et al. (Scientific Data 2019, doi:10.1038/s41597-019-0103-9) begin."""
CLASSES = ("<1", *(f"[{low},{high})" for low, high in pairwise(EDGES)), "≥14")
DAY = np.timedelta64(86_400_000_000, "us")


@register_task("los")
class LengthOfStay(Task):
    """How long the visit lasts, from its start to its end, predicted 24 hours after its start.

    One sample for each visit that is not over ``hours`` after its start (one that ends at that very moment stays in;
    ``hours=0`` keeps all), of patients who are alive by then. The label is a class: less than a day, each of the days
    from [1, 2) to [7, 8), [8, 14), and 14 days or more; a day has 24 hours.

    Args:
        target: ``"days"`` makes it regression: the length in days.
        hours: from the start to the prediction.
        unit: ``"stay"``: the length of each ICU stay, predicted ``hours`` after admission to the ICU.
        min_age: the least age at the visit, in years; None takes all.
        visit_class: only visits of these classes: some of ``inpatient``, ``emergency``, ``observation`` and
            ``outpatient``; None takes all. Those of other classes remain history.
    """

    def __init__(
        self,
        target: str = "bins",
        hours: float = 24,
        unit: str = "visit",
        min_age: float | None = None,
        visit_class: str | Sequence[str] | None = ("inpatient",),
    ):
        one_of("target", target, ("bins", "days"))
        number("hours", hours)
        one_of("unit", unit, ("visit", "stay"))
        self.target, self.hours, self.unit, self.min_age = target, hours, unit, least_age(min_age)
        self.visit_class = visit_classes(visit_class)
        self.kind = "multiclass" if target == "bins" else "regression"
        self.labels = CLASSES if target == "bins" else ("days",)

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates(self.unit)
        candidates.leave_out_classes(self.visit_class)
        moment = hours_after(candidates.frame.start, self.hours)
        return candidates.cohort(moment, self._label(candidates.frame), when=f"hour {self.hours:g}")

    def _label(self, frame: pd.DataFrame) -> np.ndarray:
        """(samples,) class numbers or days."""
        length = frame.end.to_numpy("datetime64[us]") - frame.start.to_numpy("datetime64[us]")
        if self.target == "days":
            return length / DAY
        return np.searchsorted(np.array(EDGES) * DAY, length, side="right").astype(np.int64)
