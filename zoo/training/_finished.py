"""A finished run, as its folder has it."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from zoo.cache.forms import check_form
from zoo.data import Spec
from zoo.data._split_files import read_split
from zoo.data._splits import NAMES, TABLE
from zoo.models._model import Estimator
from zoo.registry import UserError, models
from zoo.result import FILE, Result, run_path
from zoo.training._bounds import BoundedBy
from zoo.training._checkpoint import read_tensors

SPLIT = ("split", "split_seed")
"""What tells how subjects are split."""
TRAINED_ON = ("train_share", "train_seed")
"""And which of the training subjects are left."""
PREPARED = ("concepts", "levels", *SPLIT, *TRAINED_ON, "max_visits", "strict")
"""What the configuration of a run holds of how its data were prepared; and ``static``, where facts were chosen."""
CONFIG = {
    "dataset": dict[str, object],
    "task": dict[str, object],
    "data": {
        "concepts": list[str] | None,
        "levels": dict[str, str] | None,
        "split": list[float] | dict[str, str] | str | None,
        "split_seed": int,
        "train_share": float,
        "train_seed": int,
        "max_visits": int | None,
    },
    "model": dict[str, object],
    "inputs": list[str],
}
"""What the configuration of a run must hold for it to be used; what is set is looked at by what it is set of."""


SPLIT_TABLE = "split.csv"
"""The DataFrame that a split was given as."""
LABEL_TABLE = "labels.parquet"
"""The DataFrame that labels were given as."""


def split_held(held: object, folder: Path) -> object:
    """A split as `zoo.load` takes it, from what the configuration of the run in a folder says of it.

    Raises:
        UserError: the run was split by a table, and that is missing or damaged.
    """
    if isinstance(held, dict) and TABLE in held:
        try:
            return read_split(folder / SPLIT_TABLE, NAMES)
        except UserError as error:
            raise UserError(f"the run was split by a table, which is not there or damaged: {error}") from error
    return tuple(held) if isinstance(held, list) else held


@dataclass(frozen=True)
class Finished:
    """A run that was trained, or pre-trained, to its end.

    Attributes:
        folder: where it lies.
        result: what was found when it was trained.
        spec: what its model was built from.
    """

    folder: Path
    result: Result
    spec: Spec

    @classmethod
    def read(cls, folder: str | Path | Result) -> Finished:
        """Read the run in a folder, or the one whose result is given.

        Raises:
            UserError: the folder is none, or holds no finished run, one that is half written or damaged, or one of
                another version.
        """
        folder = run_path(folder)
        if not folder.is_dir():
            raise UserError(f"there is no run folder {folder}: give the folder that a run was written to.")
        if not (folder / "config.json").exists():
            raise UserError(f"{folder} is no run folder: it has no config.json.")
        if not (folder / FILE).exists():
            raise UserError(f"{folder} holds a run that did not finish: train it to its end first.")
        result = Result.read(folder)
        _check_version(result, folder)
        found = cls(folder, result, _spec(folder / "spec.json"))
        if not found.model_file.exists():
            raise UserError(f"{folder} is half written: it has no {found.model_file.name}; train the run again.")
        return found

    @property
    def fitted(self) -> bool:
        """Whether its model is no network.

        Raises:
            UserError: its model is not registered.
        """
        name = self.result.model
        if not models.knows(name):
            raise UserError(
                f"{self.folder} is a run of model {name!r}, which nothing has here: register its class under that name "
                f"(zoo.register_model), and import its module."
            )
        try:
            return issubclass(models.get(name), Estimator)
        except UserError as error:
            raise UserError(f"{self.folder} has a model that is not here: {error}") from error

    @property
    def model_file(self) -> Path:
        """The file that holds what its model learned."""
        return self.folder / ("model.skops" if self.fitted else "model.safetensors")

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The weights of its network, by the names that they have now, on the CPU.

        Raises:
            UserError: the file is damaged.
        """
        weights, _ = read_tensors(self.model_file, any_release=True)  # `read` has looked at the version
        return models.get(self.result.model).by_present_names(weights)

    def bounded(self) -> AbstractContextManager:
        """Within the block a model is made as the run says, which may be a stranger's."""
        return nullcontext() if self.fitted else BoundedBy(self.weights)

    @property
    def digest(self) -> str:
        """Of the file that holds what its model learned."""
        return hashlib.sha256(self.model_file.read_bytes()).hexdigest()


def read_json(path: Path) -> dict:
    """What a file of a run holds.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): the run is damaged; train it again.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: train the run again.")
    return found


def _check_version(result: Result, folder: Path) -> None:
    """Raise a `UserError` where a run was written by another series of versions than the one installed."""
    try:
        check_form(result.config, CONFIG, "config")
        check_form(result.config.get("trainer", {}), dict[str, object], "config.trainer")
        check_form(result.config["data"].get("static"), list[str] | None, "config.data.static")
        seeds = [result.config["data"][n] for n in ("split_seed", "train_seed")]
        if min(seeds) < 0 or not 0 < result.config["data"]["train_share"] <= 1:
            raise ValueError("config.data splits subjects in no way that there is")
        if (result.config["data"]["max_visits"] or 1) < 1:
            raise ValueError("config.data.max_visits is below 1")
    except ValueError as error:
        raise UserError(
            f"{folder / FILE} is no result of this version of zoo ({error}): train the run again."
        ) from None
    wrote, here = str(result.versions.get("ehr-zoo", "an unknown version")), version("ehr-zoo")
    if _series(wrote) != _series(here):
        raise UserError(f"{folder} was written by ehr-zoo {wrote}, this is {here}: install that, or train it again.")


def _series(release: str) -> list[str]:
    """The part of a version that changes when runs do: ``0.x``, later the first number."""
    parts = release.split(".")
    return parts[:2] if parts[0] == "0" else parts[:1]


def _spec(path: Path) -> Spec:
    facts = read_json(path)
    try:
        return Spec.from_dict(facts)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path} is no specification of this version of zoo: {error!r}.") from error
