"""TensorBoard's files, in the run's folder ``tensorboard``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cache.writing import make_folder, make_private
from zoo.result import Result
from zoo.training._callbacks import Callback
from zoo.training.trackers._facts import configuration, scalars, test_scalars

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Tracker(Callback):
    """Writes the configuration as a text, and epochs as scalars, with the metrics on the test split in the last one."""

    def __init__(self, folder: Path):
        self._folder = folder / "tensorboard"
        self._writer: SummaryWriter | None = None

    def on_start(self, run: dict) -> None:
        from torch.utils.tensorboard import SummaryWriter

        make_folder(self._folder)
        self._writer = SummaryWriter(str(self._folder), purge_step=0)  # what an earlier process wrote counts no more
        if not run["epochs"]:
            text = json.dumps(configuration(run), indent=1, default=str)
            self._writer.add_text("configuration", f"```\n{text}\n```", 0)
        for row in run["epochs"]:
            self._add(scalars(row), row["epoch"])
        self._writer.flush()
        make_private(self._folder)

    def on_epoch(self, row: dict) -> None:
        self._add(scalars(row), row["epoch"])
        self._writer.flush()

    def on_end(self, result: Result) -> None:
        self._add(test_scalars(result), result.sizes.get("epochs", 0))
        self._writer.close()

    def on_failure(self, error: BaseException) -> None:
        if self._writer:
            self._writer.close()

    def _add(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
