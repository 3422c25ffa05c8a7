"""From prepared data to a tested model in a run folder."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from zoo.cache.writing import whole
from zoo.data import Batch
from zoo.data._inputs import notes_on
from zoo.data._splits import NAMES, checked_seed
from zoo.data._task_data import TaskData
from zoo.metrics import evaluate, tune_threshold
from zoo.models._model import Estimator, Model
from zoo.progress import progress
from zoo.registry import UserError, check_parameters, counted, models
from zoo.result import Result, write_json
from zoo.training._balance import training_places
from zoo.training._callbacks import NONE, Callbacks, check_callbacks
from zoo.training._checkpoint import BEST, remove_all, write_tensors
from zoo.training._create import check_given, check_made_for, create_model
from zoo.training._finished import LABEL_TABLE, PREPARED, SPLIT_TABLE
from zoo.training._initial import Initial
from zoo.training._processes import Processes
from zoo.training._run_folder import given_back, locked, made, run_folder
from zoo.training._trainer import Trainer
from zoo.training.trackers import TRACKS, trackers

TOLD = 5
"""How many lines of what became of a concept's values are spelled out."""
SOURCE = "source.json"
"""Where the tables were: nothing that tells one run from another, but a run that is tested again looks there."""
WRITTEN_FIRST = ("config.json", SOURCE, SPLIT_TABLE, LABEL_TABLE)
"""What is written before anything is learned."""
LIBRARIES = ("ehr-zoo", "torch", "numpy", "pandas", "scikit-learn", "lightgbm", "duckdb", "ibis-framework", "pyarrow")


def train(
    model: str | Model | type[Model],
    data: TaskData,
    seed: int = 0,
    out: str | Path | None = None,
    init: str | Path | Result | None = None,
    *,
    callbacks: Iterable = (),
    **trainer,
) -> Result:
    """Train a model, test it, and write the run.

    The same call goes on where it was killed. Processes that ``accelerate launch`` or ``torchrun`` started train
    together, each with batches of ``batch_size``; one of them writes.

    Args:
        model: a registered name, or what `create_model` made; or a class or an instance of `zoo.models.Model` that is
            not registered, which then has the name of its class.
        data: what `zoo.load` returned.
        seed: of first weights (where a name is given), order of batches and dropout.
        out: the run folder; a new one below ``runs`` by default. A finished run of the same configuration there is
            reported, not run again, and an unfinished one goes on from its last checkpoint.
        init: a finished run (its folder, or its `Result`), of `pretrain` or of a training, whose weights to begin
            with. Its vocabularies are laid over the data, and a model given by name gets its hyperparameters. Weights
            of another shape, such as those of the head of another task, are not taken; the result's notes name them.
        callbacks: are told of the start, of each epoch, and of the end or a failure; see `zoo.training.Callback`.
        **trainer: keywords of `Trainer`.

    Raises:
        UserError: a keyword is unknown, the folder holds another run, there is nothing to train on, or the run of
            ``init`` is of another model, or has split the same subjects otherwise.
    """
    check_given("train", model, data)
    trainer, seed = check_parameters("the trainer", Trainer, trainer), checked_seed(seed)
    callbacks = check_callbacks(callbacks)
    if isinstance(model, Model):
        check_made_for(model, data)
    initial = None if init is None else Initial.read(init)
    if initial:
        data = initial.laid_over(data, model)
    if isinstance(model, (str, type)):
        name = models.entry(model).name
        with initial.bounded() if initial else nullcontext():
            model = create_model(model, data, seed=seed, **(initial.hyperparameters(name) if initial else {}))
    loop = Trainer(**{**model.trainer_defaults(model.spec), **trainer})
    loop.check(data)
    if not data.size("train"):
        raise UserError(f"no sample of task {data.task.name!r} on {data.dataset.name} falls into the training split.")
    further = initial.begin(model) if initial else []
    if loop.balance:
        places = training_places(data, loop.balance, seed)
        further += [f"trained on {len(places)} of {data.size('train')} training samples, as many of each label"]

    config = {**configuration(model, data, loop), "pretraining": False, "init": initial and initial.identity}
    learn = partial(learned, model, data, loop, seed)
    test = partial(test_metrics, model, data, loop)
    return Job(model, data, loop, seed, data.task.name, config, learn, test, further, callbacks).run(out)


def learned(
    model: Model,
    data: TaskData,
    loop: Trainer,
    seed: int,
    report: Callable,
    folder: Path | None,
    callbacks: Callbacks = NONE,
) -> dict[str, int]:
    """Train a network, with its checkpoints in a folder, or fit an estimator; gives facts for the result's sizes."""
    if not isinstance(model, Estimator):
        return fitted(model, data, loop, seed, report, folder, callbacks)
    callbacks.start([])
    places = training_places(data, loop.balance, seed)
    model.seed = seed
    model.fit(_told(data.batches("train", model, loop.batch_size, places=places), report))
    return {}


@dataclass(frozen=True)
class Job:
    """What one run is to do; `run` does it.

    Attributes:
        model: what is trained and saved.
        data: what it is trained on.
        loop, seed: how.
        task: the name of the task.
        config: what tells the run from others, with these and the data.
        learn: from what is told of progress (see `zoo.progress.progress`), the run folder, and the callbacks, which
            it tells of the start and of epochs, to facts for the result's sizes; trains the model.
        test: gives the metrics of the trained model, and the threshold behind them.
        notes: what a reader of the metrics must know besides what the data tell.
        callbacks: what the user gave as such.
    """

    model: Model
    data: TaskData
    loop: Trainer
    seed: int
    task: str
    config: dict
    learn: Callable[[Callable, Path, Callbacks], dict[str, int]]
    test: Callable[[], tuple[dict[str, dict], float | None]]
    notes: list[str] = field(default_factory=list)
    callbacks: tuple = ()

    @property
    def identity(self) -> dict:
        """What tells one run from another, as it stands in ``config.json`` and ``result.json``."""
        facts = {
            "dataset": self.data.dataset.name,
            "task": self.task,
            "model": self.model.registered_name,
            "seed": self.seed,
            "config": self.config,
            "data_key": self.data.digest_for(self.model),
        }
        return json.loads(json.dumps(facts, default=str))

    def run(self, out: str | Path | None) -> Result:
        """Train, test, and write; a finished run of the same identity is read instead.

        Raises:
            UserError: the folder holds another run, cannot be written, or another process trains into it; or the data
                have nothing of what the model reads.
        """
        identity = self.identity
        inputs = self.data.checked_inputs(self.model)
        processes = Processes(self.loop.resolved_device())
        if processes.count > 1 and out is None:
            raise UserError("several processes train into one folder: give it as out.")
        folder, finished = run_folder(out, identity)
        processes.wait()
        if finished:
            return finished
        with ExitStack() as until_the_end:
            failure = None
            if processes.main:
                try:
                    folder = made(folder, new=out is None)
                    until_the_end.enter_context(locked(folder))
                except UserError as error:
                    failure = error
            processes.agree(failure)
            finished = None if out is None else run_folder(out, identity)[1]  # by a process that had the lock just now
            processes.wait()
            return finished or self._run(folder, identity, inputs, processes)

    def _run(self, folder: Path, identity: dict, inputs: dict, processes: Processes) -> Result:
        model, data = self.model, self.data
        if processes.main:
            for remark in model.remarks():
                warnings.warn(f"{model.registered_name}: {remark}", stacklevel=4)  # where the run was called for
            write_json(folder / "config.json", identity)
            write_json(folder / SOURCE, {"root": data.dataset.given_root})
            if data.split_table is not None:
                with whole(folder / SPLIT_TABLE) as unfinished:
                    data.split_table.to_csv(unfinished, index=False)
            if data.task.table is not None:
                data.task.write(folder / LABEL_TABLE)
        processes.wait()

        told = NONE
        if processes.main:
            told = Callbacks([*trackers(self.loop.log, folder), *self.callbacks], {**identity, "folder": folder})
        times: dict[str, float] = {}
        began = time.perf_counter()
        verb = "pre-training" if self.config["pretraining"] else "training"
        what = progress(f"{verb} {model.registered_name}", at_most=True)
        with (
            given_back(folder, *WRITTEN_FIRST, *TRACKS) if processes.main else nullcontext(),
            told.of_failure(),
            what if processes.main else nullcontext(_silent) as report,
        ):
            training = self.learn(report, folder, told)
        times["train"] = time.perf_counter() - began
        with told.of_failure():
            if processes.main:
                _save(model, folder)
            began = time.perf_counter()
            metrics, threshold = self.test()
        times["test"] = time.perf_counter() - began
        result = Result(
            **identity,
            metrics=metrics,
            attrition=data.attrition.to_dict("records"),
            versions={
                "python": platform.python_version(),
                **{n: version(n) for n in LIBRARIES},
                "threads": str(torch.get_num_threads()),
            },
            sizes={**{s: data.size(s) for s in NAMES}, "parameters": _parameters(model), **training},
            times={n: round(t, 3) for n, t in times.items()},
            notes=list(dict.fromkeys(notes_on(inputs) + notes(data, model) + self.notes)),
            threshold=threshold,
            labels=_labels(data),
            inputs=inputs,
        )
        if processes.main:
            result.write(folder)
            remove_all(folder, BEST.format("*"))  # the model's own file has these weights now
        result.folder = folder
        told.end(result)
        return result


def _labels(data: TaskData) -> dict[str, dict]:
    return {s: data.outcomes.facts(data.places(s)) for s in NAMES}


def _told(batches: Iterable[Batch], report: Callable) -> Iterator[Batch]:
    """The batches, each told of when it is read; then the model has them all."""
    for number, batch in enumerate(batches):
        report(f"reading batch {number + 1}")
        yield batch
    report("fitting")


def _silent(*_) -> None:
    """Report nothing."""


def fitted(
    model: Model, data: TaskData, loop: Trainer, seed: int, report: Callable, folder: Path, callbacks: Callbacks = NONE
) -> dict[str, int]:
    """Train a network in a run folder, and write how its losses went."""

    def epoch(number: int, line: str, share: float) -> None:
        report(f"epoch {number} of {loop.max_epochs}", line, share)

    fit = loop.fit(model, data, seed, epoch, folder, callbacks)
    if data.kind.finishes:
        data.kind.finish(model, loop.scores(model, data, "train", logits=True), data.label("train"))
    if Processes(loop.resolved_device()).main:
        write_json(folder / "losses.json", _finite({"train": fit.train_loss, "validation": fit.validation_loss}))
    return {"best_epoch": fit.best_epoch, "epochs": len(fit.train_loss)}


def test_metrics(model: Model, data: TaskData, loop: Trainer) -> tuple[dict[str, dict], float | None]:
    """The metrics of the task's kind on the test split, each with its interval or the reason why it has none.

    Also the threshold behind them: 0.5, or the one tuned on the validation split, where the task has it so.
    """
    task, options = data.task, data.outcomes.options(data.places("test"))
    tunes = task.tuned and data.size("validation")
    threshold = threshold_of(data, loop.scores(model, data, "validation") if tunes else None)
    if not data.size("test"):
        reason = "no sample falls into the test split"
        return {
            n: {"value": None, "low": None, "high": None, "reason": reason} for n in data.outcomes.metrics
        }, threshold
    options |= {} if threshold is None else {"threshold": threshold}
    found = evaluate(task.kind, data.label("test"), loop.scores(model, data, "test"), data.subject("test"), **options)
    return {n: m.to_dict() for n, m in found.items()}, threshold


def threshold_of(data: TaskData, validation: np.ndarray | None) -> float | None:
    """From which probability on a label counts as predicted, given scores of the validation split; None has none."""
    if not data.kind.thresholded:
        return None
    if not data.task.tuned or validation is None:
        return 0.5
    return tune_threshold(data.task.kind, data.label("validation"), validation)


def notes(data: TaskData, model: Model) -> list[str]:
    """What a reader of the metrics must know of the data."""
    found = data.dataset.report(data.concepts_for(model)).lines(examples=False)
    found += data.notes_for(model)
    for concept in (c for c, vocabulary in model.spec.vocabularies.items() if vocabulary.edges is not None):
        told = data.feature(concept).measured.told()
        found += [f"{concept} {code}: {counted(count, 'value')} {words}" for code, words, count in told[:TOLD]]
        if len(told) > TOLD:
            rest = sum(count for _, _, count in told[TOLD:])
            further = counted(rest, "further value")
            found.append(f"{concept}: {further} converted, or left out for unit or size")
    found += model.remarks()
    if not data.size("validation"):
        found.append("no validation samples: trained for all epochs, the last weights were tested")
    if "encoder" in model.spec.resources:
        published = model.spec.resources["encoder"]
        small = "text encoder: a small one, whose pieces of words were learned from training notes"
        may_know = "public clinical ones have read notes of MIMIC, and may have read those tested here"
        found.append(f"text encoder: {published['name']}; {may_know}" if published else small)
    for split in NAMES:
        label, size = data.outcomes.constant(split), data.size(split)
        if label is not None:
            many = f"all {size} {split} samples have" if size > 1 else f"the only {split} sample has"
            found.append(f"{many} the label {label}")
    if data.outcomes.dropped:
        occurrences = sum(data.outcomes.dropped.values())
        codes = len(data.outcomes.dropped)
        why = f"are not among the {data.task.top_k} of most training samples" if data.task.top_k else "training lacks"
        what, times = counted(codes, "label code"), counted(occurrences, "time")
        dropped = data.outcomes.unseen(data.places("test")) is None
        became = f"{'was' if codes == 1 else 'were'} dropped" if dropped else "count as misses"
        found.append(f"{what} that {why} {became} ({times})")
    return found


test_metrics.__test__ = False  # its name says what it does, not that pytest should run it


def configuration(model: Model, data: TaskData, loop: Trainer) -> dict:
    """What was set of the dataset, the task, the data, the model and the trainer."""
    key, facts = data.key, list(model.spec.static.facts)
    chosen = {"static": key["static"]} if "static" in key else {}
    return {
        "dataset": key["dataset_parameters"],
        "task": key["task_parameters"],
        "data": {n: key[n] for n in PREPARED} | chosen,
        "model": getattr(model, "configuration", {}),
        "trainer": dataclasses.asdict(loop),
        "inputs": data.concepts_for(model),
        **({"static": facts} if facts else {}),
        **models.code(type(model)),
    }


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
