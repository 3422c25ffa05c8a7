"""A run of Weights & Biases, offline in the run's folder ``wandb`` unless ``WANDB_MODE`` says otherwise.

What wandb adds of its own accord is left out: what is printed may name patients, and the command line, the host, the
user and the repository are nobody's business. Its own errors are not reported to its makers, unless the environment
has ``WANDB_ERROR_REPORTING=true``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from zoo.cache.writing import make_folder, make_private
from zoo.registry import UserError
from zoo.result import Result
from zoo.training._callbacks import Callback
from zoo.training.trackers._facts import configuration, scalars, tested_scalars
from zoo.training.trackers._goes_on import Place

if TYPE_CHECKING:
    import wandb

NOTHING_ELSE: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
}


class Tracker(Callback):
    """Logs epochs under their number, and the metrics on the test split in the summary.

    ``WANDB_PROJECT`` names the project, ``zoo`` by default; the run has the name of its folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._place = Place("")
        self._run: wandb.Run | None = None

    def on_start(self, run: dict) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")  # wandb says which there are
        self._place = Place.read(self._folder) or Place(uuid4().hex[:8])
        make_folder(self._folder / "wandb")
        with _refused():
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "zoo"),
                name=self._folder.name,
                id=self._place.id,
                resume="allow",
                dir=os.environ.get("WANDB_DIR", str(self._folder.absolute())),
                mode=mode,
                config=configuration(run),
                settings=wandb.Settings(**NOTHING_ELSE, silent=mode == "offline"),
            )
        self._place.write(self._folder)
        for row in run["epochs"][self._place.epochs :]:
            self.on_epoch(row)

    def on_epoch(self, row: dict) -> None:
        if self._run:
            with _refused():
                self._run.log(scalars(row), step=row["epoch"])
        self._place.epochs = row["epoch"]
        self._place.write(self._folder)

    def on_end(self, result: Result) -> None:
        if self._run:
            with _refused():
                self._run.summary.update(tested_scalars(result))
        self._close(0)

    def on_failure(self, error: BaseException) -> None:
        self._close(1)

    def _close(self, status: int) -> None:
        if self._run:
            with _refused():
                self._run.finish(exit_code=status)
            make_private(self._folder / "wandb")


@contextmanager
def _refused() -> Iterator[None]:
    """Say in one line what wandb does not do."""
    import wandb

    try:
        yield
    except wandb.errors.Error as error:
        why = str(error).strip().split("\n")[0]
        raise UserError(f"wandb refused the run ({why}): log in, or unset WANDB_MODE to track offline.") from error
