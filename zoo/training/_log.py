"""What is written about the epochs of a training: a table, and TensorBoard on request."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

from zoo.cache.writing import make_folder, make_private, whole
from zoo.registry import UserError

LOGS = ("csv", "tensorboard")
FILE = "log.csv"
EVENTS = "tensorboard"
"""The folder of what TensorBoard reads."""


def check_log(log: str) -> None:
    """Look whether a log can be written.

    Raises:
        UserError: the package for it is not installed.
    """
    if log == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise UserError("trainer log='tensorboard' needs a package: pip install 'ehr-zoo[tensorboard]'.")


def write_table(folder: Path, epochs: list[dict]) -> None:
    """Write ``log.csv``, a row an epoch, whole or not at all; what is undefined is an empty field."""
    with whole(folder / FILE) as unfinished, open(unfinished, "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(n for row in epochs for n in row)))
        writer.writeheader()
        writer.writerows(epochs)


class Events:
    """TensorBoard's files of a run, in its folder ``tensorboard``; epochs from the given one on count anew."""

    def __init__(self, folder: Path, epoch: int):
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder / EVENTS
        make_folder(self._folder)
        self._writer = SummaryWriter(str(self._folder), purge_step=epoch)
        make_private(self._folder)

    def add(self, row: dict) -> None:
        """Add an epoch."""
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
