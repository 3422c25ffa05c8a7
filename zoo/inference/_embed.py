"""The vectors that a finished run has of patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from zoo.data._task_data import TaskData
from zoo.inference._run import Run, checked_loop, load_run
from zoo.inference._tested import Tested
from zoo.registry import UserError, models, models_that_serve

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset
    from zoo.result import Result

SAMPLE = ["subject_id", "visit_id", "stay_id", "prediction_time"]
NAMED = 5
"""How many models with vectors are named where one has none."""


def embed(
    run: str | Path | Result | Run,
    data: str | Dataset | TaskData | None = None,
    root: str | Path | None = None,
    *,
    split: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    **parameters,
) -> pd.DataFrame:
    """The vector that a finished run has of the patient at each sample, on its own dataset or on another one.

    Args:
        run: the run folder, or what `zoo.train` returned.
        data, root, parameters: as the dataset of `evaluate`.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``; by default ``"test"`` of the run's own patients
            and ``"all"`` of others.
        batch_size, device: as of `zoo.Trainer`; the run's batches are as large as they were.

    Returns:
        The columns ``subject_id``, ``visit_id``, ``stay_id``, ``prediction_time``, and ``embedding_0``,
        ``embedding_1``, ... (float32): what ``Model.embed`` gives. The rows are those of `predict` in the same order.
        ``attrs["notes"]`` says what a reader must know, as there.

    Raises:
        UserError: as `evaluate`, and where the run's model has no one vector a sample.
    """
    run = load_run(run)
    if not run.model.has_vectors():
        raise UserError(f"model {run.result.model!r} has no one vector of a patient{_others(run)}.")
    batch_size, device = checked_loop(run, batch_size, device)
    tested = Tested.of(run, data, root, split, parameters)
    vectors, unknown = tested.embedded(batch_size, device)
    columns = pd.DataFrame(vectors, columns=[f"embedding_{n}" for n in range(vectors.shape[1])])
    found = pd.concat([tested.samples[SAMPLE], columns], axis=1)
    found.attrs["notes"] = tested.notes(unknown)
    return found


def _others(run: Run) -> str:
    """Which models with vectors can learn the run's task from its concepts."""
    serving = models_that_serve(uses=run.spec.concepts, kind=run.spec.kind)
    serving = [n for n in serving if models.facts(n).predicts in (None, run.spec.predicts)]
    some = [n for n in serving if models.get(n).has_vectors()][:NAMED]
    return f": train one that has, such as {', '.join(some)}" if some else ""
