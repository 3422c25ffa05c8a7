"""TensorBoard's files, in the run's folder ``tensorboard``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cache.writing import make_folder, make_private
from zoo.result import Result
from zoo.training._callbacks import Callback
from zoo.training.trackers._facts import configuration, scalars, tested_scalars

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
        # what an earlier process wrote counts no more
        self._writer = writer = SummaryWriter(str(self._folder), purge_step=0)
        if not run["epochs"]:
            text = json.dumps(configuration(run), indent=1, default=str)
            writer.add_text("configuration", f"```\n{text}\n```", 0)
        for row in run["epochs"]:
            self._add(scalars(row), row["epoch"])
        make_private(self._folder)

    def on_epoch(self, row: dict) -> None:
        self._add(scalars(row), row["epoch"])

    def on_end(self, result: Result) -> None:
        self._add(tested_scalars(result), result.sizes.get("epochs", 0))
        self._close()

    def on_failure(self, error: BaseException) -> None:
        self._close()

    def _add(self, values: dict[str, float], step: int) -> None:
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def _close(self) -> None:
        if self._writer:
            self._writer.close()
