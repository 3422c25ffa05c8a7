"""A finished run, ready to be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from zoo.data import Spec
from zoo.models._model import Model
from zoo.registry import UserError, called, check_parameters, models
from zoo.result import Result
from zoo.training import Trainer
from zoo.training._checkpoint import check_fit
from zoo.training._finished import SPLIT, TRAINED_ON, Finished, read_json
from zoo.training._run import SOURCE


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        model: with its trained weights, in eval mode, on the CPU.
        result: what was found when it was trained.
        root: the folder with the tables that it was trained on, where one was given.
    """

    folder: Path
    model: Model
    result: Result
    root: Path | None

    def __repr__(self) -> str:
        return called(type(self), folder=str(self.folder), model=self.result.model, task=self.result.task)

    @property
    def spec(self) -> Spec:
        return self.model.spec

    @property
    def split(self) -> dict:
        """How subjects were split, and which of the training subjects are left, as `zoo.load` takes it."""
        return {n: self.result.config["data"][n] for n in (*SPLIT, *TRAINED_ON)}


def load_run(folder: str | Path | Result | Run) -> Run:
    """Read a finished run, from its folder or from what `zoo.train` returned.

    Raises:
        UserError: the folder is none, holds no finished run, or one that this version of zoo, or the model as it is
            now, cannot take.
    """
    if isinstance(folder, Run):
        return folder
    found = Finished.read(folder)
    folder = found.folder
    if found.result.config.get("pretraining"):
        raise UserError(f"{folder} was pre-trained only: train it with init={str(folder)!r}.")
    return Run(folder, _model(found), found.result, _root(folder / SOURCE))


def _root(path: Path) -> Path | None:
    if not path.exists():
        return None
    root = read_json(path).get("root", False)
    if root is not None and not isinstance(root, str):
        raise UserError(f"{path} does not say where the tables lie: delete it, and give root= to what asks for it.")
    return Path(root) if root else None


def _model(found: Finished) -> Model:
    name, hyperparameters = found.result.model, found.result.config["model"]
    thing = models.get(name)
    try:
        check_parameters(f"model {name!r}", thing, hyperparameters)
        with torch.random.fork_rng(devices=[]), found.bounded():
            model = thing(found.spec, **hyperparameters)
    except (
        RuntimeError,
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        ArithmeticError,
        IndexError,
        MemoryError,
    ) as error:
        raise UserError(f"{found.folder}: model {name!r} cannot be made as the run has it: {error}") from error
    if found.fitted:
        model.load(found.model_file)
    else:
        check_fit(found.model_file, found.weights, model)
        model.load_state_dict(found.weights)
    return model.eval()


def checked_loop(run: Run, batch_size: int | None, device: str) -> tuple[int, torch.device]:
    """Samples a batch, and the device."""
    if batch_size is None:
        batch_size = run.result.config.get("trainer", {}).get("batch_size", Trainer.batch_size)
    loop = Trainer(batch_size=batch_size, device=device)
    return loop.batch_size, loop.resolved_device()
