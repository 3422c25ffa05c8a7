"""What a finished run predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from zoo.data._task_data import TaskData
from zoo.inference._run import Run, checked_loop, load_run
from zoo.inference._tested import Tested

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset
    from zoo.result import Result


def predict(
    run: str | Path | Result | Run,
    data: str | Dataset | TaskData | None = None,
    root: str | Path | None = None,
    *,
    split: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    **parameters,
) -> pd.DataFrame:
    """What a finished run predicts for each sample, on its own dataset or on another one.

    Args:
        run: the run folder, or what `zoo.train` returned.
        data, root, parameters: as the dataset of `evaluate`.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``; by default ``"test"`` of the run's own patients
            and ``"all"`` of others.
        batch_size, device: as of `zoo.Trainer`; the run's batches are as large as they were.

    Returns:
        The columns ``subject_id``, ``visit_id``, ``stay_id``, ``prediction_time``, ``label``, and ``score``: the
        probability, or the value of a regression; for several classes or labels one ``score_NAME`` each.
        ``attrs["notes"]`` says what a reader must know, such as how many events had unknown codes.

    Raises:
        UserError: as `evaluate`.
    """
    run = load_run(run)
    size, place = checked_loop(run, batch_size, device)
    tested = Tested.of(run, data, root, split, parameters)
    scored = tested.scored(size, place)
    names = run.model.task_kind.columns(run.spec.labels, run.spec.fitted)
    columns = pd.DataFrame(scored.score.reshape(len(scored.score), -1), columns=names)
    found = pd.concat([tested.samples.drop(columns="split"), columns], axis=1)
    found.attrs["notes"] = tested.notes(scored.unknown)
    return found
