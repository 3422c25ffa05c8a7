"""The samples of a task: its cohort, less those whom the framework leaves out, the same for every task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from zoo.registry import UserError
from zoo.tasks._task import Attrition, Candidates, Cohort, Relations, Task


def select(task: Task, relations: Relations) -> Cohort:
    """The samples of a task, all that are left out counted."""
    return with_something_to_predict(task, task.cohort(relations), relations)


def with_something_to_predict(task: Task, cohort: Cohort, relations: Relations) -> Cohort:
    """A task's cohort less the samples that are no forecasts, each reason a step of the attrition table.

    Left out are those below the task's ``min_age``; and, unless it is retrospective, those whose prediction time is
    after the end of their visit, or of their stay where they are about that, or at or after their subject's death or
    their outcome. A time that is not known leaves nobody out.
    """
    moment = cohort.samples.prediction_time
    left = Candidates(cohort.samples.assign(outcome=_outcome(task, cohort)), Attrition([*cohort.attrition.steps]))
    visits = relations.visits.set_index("visit_id")[["age", "end"]].reindex(cohort.samples.visit_id)
    facts = pd.DataFrame(
        {
            "age": visits.age.to_numpy(),
            "gone": (visits.end.to_numpy("datetime64[us]") < moment),
            "moved": _stay_end(cohort.samples, relations) < moment,
            "dead": relations.deaths.reindex(cohort.samples.subject_id).to_numpy("datetime64[us]") <= moment,
            "known": left.frame.outcome.to_numpy("datetime64[us]") <= moment,
        },
        index=cohort.samples.index,
    )

    def leave_out(mask: pd.Series, reason: str) -> None:
        left.leave_out(mask[left.frame.index], reason)

    if task.min_age is not None:
        leave_out(facts.age.isna(), "age unknown")
        leave_out(facts.age < task.min_age, f"younger than {task.min_age:g}")
    if not task.retrospective:
        leave_out(facts.gone, f"visit ended before {cohort.when}")
        if task.about == "stay" and cohort.samples.stay_id.notna().any():
            leave_out(facts.moved, f"stay ended before {cohort.when}")
        leave_out(facts.dead, f"died before {cohort.when}")
        if cohort.outcome_time is not None:
            leave_out(facts.known, f"outcome known before {cohort.when}")
    frame = left.frame.reset_index(drop=True)
    outcome = None if cohort.outcome_time is None else frame.outcome.to_numpy("datetime64[us]")
    return replace(cohort, samples=frame.drop(columns="outcome"), attrition=left.attrition, outcome_time=outcome)


def _outcome(task: Task, cohort: Cohort) -> np.ndarray:
    """(samples,) datetime64[us]; null where there is none."""
    count = len(cohort.samples)
    if cohort.outcome_time is None:
        return np.full(count, np.datetime64("NaT"), "datetime64[us]")
    if len(cohort.outcome_time) != count:
        raise UserError(
            f"task {task.name!r} has {len(cohort.outcome_time)} outcome times for {count} samples: give one for each."
        )
    return np.asarray(cohort.outcome_time, "datetime64[us]")


def _stay_end(samples: pd.DataFrame, relations: Relations) -> np.ndarray:
    """(samples,) when the stay of each ended; null where it has none."""
    ends = relations.stays.set_index("stay_id").end
    place = ends.index.get_indexer(samples.stay_id.fillna(-1).astype("int64"))
    found = np.append(ends.to_numpy("datetime64[us]"), np.datetime64("NaT"))[place]
    return np.where(samples.stay_id.isna(), np.datetime64("NaT"), found)
