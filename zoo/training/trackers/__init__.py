"""Where a run is written down as it goes, one tracker a file.

A tracker is a `zoo.training.Callback` that zoo makes itself, from the run folder alone, and that has all four methods:
it is told the configuration, each epoch, the metrics on the test split, and a failure. It writes no path of the data
and nothing of patients: no id, no text of an error, no attrition. A run that goes on, goes on in its tracker.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from zoo.registry import UserError
from zoo.training._callbacks import Callback
from zoo.training.trackers._goes_on import PLACE
from zoo.training.trackers.table import FILE, Table

PACKAGES = {
    "csv": (),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""What a tracker needs."""
LOGS = tuple(PACKAGES)
TRACKS = (FILE, PLACE, *(log for log in LOGS if log != "csv"))
"""What trackers write into a run folder: files, and a folder each that has the tracker's name."""


def check_log(log: str) -> None:
    """Look whether a tracker can be had.

    Raises:
        UserError: a package for it is not installed.
    """
    if any(importlib.util.find_spec(package) is None for package in PACKAGES[log]):
        raise UserError(f"trainer log={log!r} needs a package: pip install 'ehr-zoo[{log}]'.")


def trackers(log: str, folder: Path) -> list[Callback]:
    """The trackers of a run: its table, and the one that is asked for."""
    table = Table(folder)
    if log == "csv":
        return [table]
    return [table, importlib.import_module(f"zoo.training.trackers.{log}").Tracker(folder)]
