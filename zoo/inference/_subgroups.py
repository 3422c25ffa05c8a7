"""Metrics of subgroups."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from zoo.inference._tested import Scored, Tested
from zoo.registry import UserError, names_of, nearest

SUBGROUPS = ("sex", "age", "ethnicity")
AGE_BANDS = {"<45": 0, "45-65": 45, "65-80": 65, ">=80": 80}
"""Each band and the years at which it begins; it ends where the next one begins."""
NO_GROUP = "unknown"


def checked_by(by: str | Iterable[str]) -> list[str]:
    """What to tell subgroups by, a list; a `UserError` where it is unknown."""
    found = names_of("by", by)
    for name in found:
        if name not in SUBGROUPS:
            raise UserError(f"by={name!r} is no subgroup: {nearest(name, SUBGROUPS)}.")
    return found


def subgroups(tested: Tested, by: str, scored: Scored, measure: Callable[[Scored], dict]) -> dict[str, dict]:
    """Each group of the samples with its metrics."""
    group = _groups(tested, by)
    order = list(AGE_BANDS) if by == "age" else sorted(set(group) - {NO_GROUP})
    parts = {name: scored.of(group == name) for name in [*order, NO_GROUP]}
    return {
        name: {"samples": len(s.label), "subjects": len(np.unique(s.subject)), "metrics": measure(s)}
        for name, s in parts.items()
        if len(s.label)
    }


def _groups(tested: Tested, by: str) -> np.ndarray:
    """(samples,) the name of the group that each sample is in."""
    samples, dataset = tested.samples, tested.data.dataset
    if by == "age":
        age = samples.visit_id.map(dataset.read("visits").set_index("visit_id").age).to_numpy(float)
        band = np.searchsorted(list(AGE_BANDS.values()), age, side="right") - 1
        return np.where(np.isnan(age), NO_GROUP, np.array(list(AGE_BANDS))[band])
    known = dataset.read("subjects").set_index("subject_id")[by]
    return samples.subject_id.map(known).astype(object).fillna(NO_GROUP).astype(str).to_numpy(object)
