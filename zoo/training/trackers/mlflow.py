"""A run of MLflow, in a database in the run's folder ``mlflow`` unless ``MLFLOW_TRACKING_URI`` says otherwise.

What MLflow would report of its use to its makers is not, unless the environment has ``MLFLOW_DISABLE_TELEMETRY=false``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cache.writing import make_folder, make_private
from zoo.registry import UserError
from zoo.result import Result
from zoo.training._callbacks import Callback
from zoo.training.trackers._facts import configuration, scalars, tested_scalars
from zoo.training.trackers._goes_on import Place

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 100
"""How many parameters MLflow takes at once."""


class Tracker(Callback):
    """Logs the configuration as parameters, and epochs as metrics under their number.

    ``MLFLOW_EXPERIMENT_NAME`` names the experiment, ``zoo`` by default; the run has the name of its folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._place = Place("")
        self._client: MlflowClient | None = None  # until the run has begun

    def on_start(self, run: dict) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        own = None if uri else self._folder.absolute() / "mlflow"
        if own:
            make_folder(own)
        held = Place.read(self._folder)
        with _refused():
            client = MlflowClient(uri or f"sqlite:///{own}/mlflow.db")
            if held:
                client.update_run(held.id, status="RUNNING")
            else:
                artifacts = (own / "artifacts").as_uri() if own else None
                held = Place(self._begun(client, run, artifacts))
        self._client, self._place = client, held
        held.write(self._folder)
        if own:
            make_private(own)
        for row in run["epochs"][held.epochs :]:
            self.on_epoch(row)

    def on_epoch(self, row: dict) -> None:
        self._log(scalars(row), row["epoch"])
        self._place.epochs = row["epoch"]
        self._place.write(self._folder)

    def on_end(self, result: Result) -> None:
        self._log(tested_scalars(result), result.sizes.get("epochs", 0))
        self._close("FINISHED")

    def on_failure(self, error: BaseException) -> None:
        self._close("FAILED" if isinstance(error, Exception) else "KILLED")

    def _begun(self, client: MlflowClient, run: dict, artifacts: str | None) -> str:
        """Begin a run; its id."""
        from mlflow.entities import Param

        experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", "zoo"), artifacts)
        id = client.create_run(experiment, run_name=self._folder.name).info.run_id
        params = [Param(n, str(v)) for n, v in configuration(run).items()]
        for low in range(0, len(params), BATCH):
            client.log_batch(id, params=params[low : low + BATCH])
        return id

    def _log(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        if self._client:
            with _refused():
                self._client.log_batch(self._place.id, metrics=[Metric(n, v, now, step) for n, v in values.items()])

    def _close(self, status: str) -> None:
        if self._client:
            with _refused():
                self._client.set_terminated(self._place.id, status)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The id of an experiment, which is made where there is none."""
    from mlflow import MlflowException

    found = client.get_experiment_by_name(name)
    if found:
        return found.experiment_id
    try:
        return client.create_experiment(name, artifacts)
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id  # another run has made it just now


@contextmanager
def _refused() -> Iterator[None]:
    """Say in one line what MLflow does not do, without credentials."""
    from mlflow import MlflowException

    try:
        yield
    except MlflowException as error:
        why = re.sub(r"//[^/@\s]+@", "//", str(error).strip().split("\n")[0])
        raise UserError(
            f"mlflow refused the run ({why}): look at MLFLOW_TRACKING_URI, or unset it to track in the run folder."
        ) from error
