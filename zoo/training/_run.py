"""From prepared data to a tested model in a run folder."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import platform
import time
from contextlib import nullcontext, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from zoo import cache
from zoo.data._splits import NAMES
from zoo.data._task_data import TaskData
from zoo.metrics import evaluate, metric_names
from zoo.models._model import Estimator, Model
from zoo.progress import progress
from zoo.registry import UserError, check_parameters, models
from zoo.result import FILE, Result, is_unfinished, write_json
from zoo.training._checkpoint import BEST, remove_all, write_tensors
from zoo.training._processes import Processes
from zoo.training._trainer import Trainer

SOURCE = "source.json"
"""Where the tables were: nothing that tells one run from another, but a run that is tested again looks there."""
LIBRARIES = ("ehr-zoo", "torch", "numpy", "pandas", "scikit-learn", "lightgbm", "duckdb", "ibis-framework", "pyarrow")


def create_model(name: str, data: TaskData, *, seed: int = 0, **hyperparameters) -> Model:
    """Make a model for prepared data.

    Args:
        name: a registered model; see `zoo.list_models`.
        data: what `zoo.load` returned.
        seed: of its first weights.
        **hyperparameters: the model's own.

    Raises:
        UserError: the name or a hyperparameter is unknown or of the wrong type, the model does not serve the kind of
            the task, or the data lack a concept that it needs.
    """
    entry = models.entry(name)
    kinds = entry.facts.get("kinds", ())
    if data.task.kind not in kinds:
        raise UserError(
            f"model {name!r} does not serve {data.task.kind} tasks such as {data.task.name!r}; "
            f"it serves {', '.join(sorted(kinds))}."
        )
    check_parameters(f"model {name!r}", entry.thing, hyperparameters)
    _check_seed(seed)
    spec = data.spec(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = entry.thing(spec, **hyperparameters)
        except (RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, UserError) or not hyperparameters:
                raise
            raise UserError(f"model {name!r} cannot be made with {hyperparameters}: {error}") from error
    bound = inspect.signature(entry.thing.__init__).bind(model, spec, **hyperparameters)
    bound.apply_defaults()
    model.configuration = {n: v for n, v in bound.arguments.items() if n not in ("self", "spec")}
    return model


def train(model: str | Model, data: TaskData, seed: int = 0, out: str | Path | None = None, **trainer) -> Result:
    """Train a model, test it, and write the run.

    The same call goes on where it was killed. Processes that ``accelerate launch`` or ``torchrun`` started train
    together, each with batches of ``batch_size``; one of them writes.

    Args:
        model: a registered name, or what `create_model` made.
        data: what `zoo.load` returned.
        seed: of first weights (where a name is given), order of batches and dropout.
        out: the run folder; a new one below ``runs`` by default. A finished run of the same configuration there is
            reported, not run again, and an unfinished one goes on from its last checkpoint.
        **trainer: keywords of `Trainer`.

    Raises:
        UserError: a keyword is unknown, the folder holds another run, or there is nothing to train on.
    """
    check_parameters("the trainer", Trainer, trainer)
    _check_seed(seed)
    if isinstance(model, str):
        model = create_model(model, data, seed=seed)
    loop = Trainer(**{**model.trainer_defaults(model.spec), **trainer})
    loop.check(data.task.kind)
    config = _config(model, data, loop)
    identity = _identity(model, data, seed, config)
    processes = Processes(loop.resolved_device())
    if processes.count > 1 and out is None:
        raise UserError("several processes train into one folder: give it as out.")
    folder, finished = _run_folder(out, identity)
    processes.wait()
    if finished:
        return finished
    if not data.size("train"):
        raise UserError(f"no sample of task {data.task.name!r} on {data.dataset.name} falls into the training split.")
    if processes.main:
        folder = _made(folder, new=out is None)
        write_json(folder / "config.json", identity)
        write_json(folder / SOURCE, {"root": data.dataset.given_root})
    processes.wait()

    times: dict[str, float] = {}
    began = time.perf_counter()
    with progress(f"training {model.registered_name}") if processes.main else nullcontext(_silent) as report:
        if isinstance(model, Estimator):
            model.seed = seed
            model.fit(data.batches("train", model, loop.batch_size))
            training: dict = {}
        else:
            fit = loop.fit(model, data, seed, report, folder)
            training = {"best_epoch": fit.best_epoch, "epochs": len(fit.train_loss)}
            losses = _finite({"train": fit.train_loss, "validation": fit.validation_loss})
            if processes.main:
                write_json(folder / "losses.json", losses)
    times["train"] = time.perf_counter() - began
    if processes.main:
        _save(model, folder)
    began = time.perf_counter()
    metrics = test_metrics(model, data, loop)
    times["test"] = time.perf_counter() - began
    result = Result(
        **identity,
        metrics=metrics,
        attrition=data.attrition.to_dict("records"),
        versions={"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
        sizes={**{s: data.size(s) for s in NAMES}, "parameters": _parameters(model), **training},
        times={n: round(t, 3) for n, t in times.items()},
        notes=notes(data, model),
    )
    if processes.main:
        result.write(folder)
        remove_all(folder, BEST.format("*"))  # the model's own file has these weights now
    result.folder = folder
    return result


def _silent(*_) -> None:
    """Report nothing."""


def test_metrics(model: Model, data: TaskData, loop: Trainer) -> dict[str, dict]:
    """The metrics of the task's kind on the test split, each with its interval or the reason why it has none."""
    if not data.size("test"):
        reason = "no sample falls into the test split"
        return {n: {"value": None, "low": None, "high": None, "reason": reason} for n in metric_names(data.task.kind)}
    scores = loop.scores(model, data, "test")
    found = evaluate(data.task.kind, data.label("test"), scores, data.subject("test"))
    return {n: m.to_dict() for n, m in found.items()}


def notes(data: TaskData, model: Model) -> list[str]:
    """What a reader of the metrics must know of the data."""
    found = data.dataset.report(data.concepts_for(model)).lines(examples=False)
    if not data.size("validation"):
        found.append("no validation samples: trained for all epochs, the last weights were tested")
    if data.task.kind in ("binary", "multiclass"):
        for split in NAMES:
            label = data.label(split)
            if len(label) and len(np.unique(label)) == 1:
                found.append(f"all {len(label)} {split} samples have the label {label[0]}")
    if data.dropped_labels:
        occurrences = sum(data.dropped_labels.values())
        codes = len(data.dropped_labels)
        found.append(f"{codes} label codes that training has not seen were dropped ({occurrences} times)")
    return found


test_metrics.__test__ = False  # its name says what it does, not that pytest should run it


def _config(model: Model, data: TaskData, loop: Trainer) -> dict:
    key = data.key
    return {
        "dataset": key["dataset_parameters"],
        "task": key["task_parameters"],
        "data": {n: key[n] for n in ("concepts", "levels", "split", "split_seed", "max_visits")},
        "model": getattr(model, "configuration", {}),
        "trainer": dataclasses.asdict(loop),
        "inputs": data.concepts_for(model),
    }


def _identity(model: Model, data: TaskData, seed: int, config: dict) -> dict:
    """What tells one run from another, as it stands in ``config.json`` and ``result.json``."""
    facts = {
        "dataset": data.dataset.name,
        "task": data.task.name,
        "model": model.registered_name,
        "seed": seed,
        "config": config,
        "data_key": cache.digest(data.key),
    }
    return json.loads(json.dumps(facts, default=str))


def _run_folder(out: str | Path | None, identity: dict) -> tuple[Path, Result | None]:
    """Where a run goes, and its result where it is there already."""
    if out is None:
        return Path("runs") / "{dataset}-{task}-{model}-seed{seed}".format(**identity), None
    folder = Path(out).expanduser()
    if not (folder / "config.json").exists():
        if folder.exists() and (not folder.is_dir() or any(not is_unfinished(p) for p in folder.iterdir())):
            raise UserError(f"{folder} exists and is no run folder: choose another one.")
        return folder, None
    try:
        held = json.loads((folder / "config.json").read_text())
    except ValueError:
        raise UserError(f"{folder}/config.json is damaged: choose another folder.") from None
    if held != identity:
        raise UserError(
            f"{folder} holds another run (it differs in {_differences(held, identity)}): choose another folder."
        )
    return folder, Result.read(folder) if (folder / FILE).exists() else None


def _differences(held: dict, wanted: dict) -> str:
    """The names of the facts in which two runs differ, such as ``seed, config.trainer``."""
    held, wanted = ({**f, **{f"config.{n}": v for n, v in f.pop("config", {}).items()}} for f in ({**held}, {**wanted}))
    return ", ".join(sorted(n for n in {*held, *wanted} if held.get(n) != wanted.get(n)))


def _made(folder: Path, new: bool) -> Path:
    """The folder, made; where it must be new and is not, the first free one with a number behind its name."""
    if not new:
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    for place in itertools.count(1):
        free = folder if place == 1 else folder.with_name(f"{folder.name}-{place}")
        with suppress(FileExistsError):
            free.mkdir(parents=True)
            return free


def _check_seed(seed: object) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise UserError(f"seed={seed!r} must be a whole number from 0 to 2147483647.")


def _save(model: Model, folder: Path) -> None:
    write_json(folder / "spec.json", model.spec.to_dict())
    if isinstance(model, Estimator):
        model.save(folder / "model.skops")
        return
    write_tensors(folder / "model.safetensors", model.state_dict())


def _parameters(model: Model) -> int:
    return sum(p.numel() for p in model.parameters())


def _finite(losses: dict[str, list[float]]) -> dict:
    return {n: [None if np.isnan(v) else v for v in values] for n, values in losses.items()}
