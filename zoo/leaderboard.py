"""Train every task with every model under several seeds, in processes of their own, and report what they found.

A worker process makes one run after another, and prepares the data of a task once for all runs of it that follow one
another. It ends with the first run that fails, whatever the reason, and a new one goes on. A run finds what it would
find alone.

The folder of a leaderboard holds ``plan.json`` (what must not change when it is continued), ``runs``, where models are
tuned ``tunings``, and the tables and the page. ``runs/TASK/MODEL/seed0`` is a run folder with, besides what `zoo.train`
writes, the test predictions (``predictions.parquet``); beside it lie ``seed0.log``, what the process printed, and
``seed0.failed.json`` if it failed. A run counts as finished when ``result.json`` and the predictions are there, and is
never run again; all others are run, those that were killed or have failed among them. ``tunings/TASK/MODEL`` is in the
same way a folder of `zoo.tune`. A model is tuned before its runs, which have the settings that were found.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo import registry
from zoo.cache import writing
from zoo.progress import progress
from zoo.registry import UserError, check_multiples, check_parameters, nearest, parameters_of
from zoo.result import FILE, write_json

if TYPE_CHECKING:
    import pandas as pd

    from zoo.data._task_data import TaskData
    from zoo.reporting._board import Board
    from zoo.tasks._task import Task

PLAN, PREDICTIONS, TUNED = "plan.json", "predictions.parquet", "tuned.json"
SHARED = ("max_epochs", "patience")
"""What all models have alike where they are tuned: the budget of a trial and of a run."""
Pair = tuple[str, str]
"""A task and a model."""


@dataclass(frozen=True)
class Job:
    """What a worker does for a leaderboard.

    Attributes:
        task, model: what is run.
        folder: of the run, or the tuning.
        settings: dotted settings, those of other tasks and models left out.
    """

    task: str
    model: str
    folder: Path
    settings: Mapping[str, object]

    @property
    def name(self) -> str:
        """What it is called in reports."""
        raise NotImplementedError

    @property
    def request(self) -> dict[str, object]:
        """What the worker must know besides."""
        raise NotImplementedError

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def failure(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.failed.json")

    @property
    def finished(self) -> bool:
        raise NotImplementedError

    @property
    def reason(self) -> str:
        """Why it did not come to its end."""
        try:
            return json.loads(self.failure.read_text())["reason"]
        except (OSError, ValueError, KeyError):
            return "it was not run to its end"


@dataclass(frozen=True)
class Run(Job):
    """A run under a seed of training."""

    seed: int

    @property
    def name(self) -> str:
        return f"{self.task} {self.model} seed {self.seed}"

    @property
    def request(self) -> dict[str, object]:
        return {"seed": self.seed}

    @property
    def finished(self) -> bool:
        return (self.folder / FILE).exists() and (self.folder / PREDICTIONS).exists()


@dataclass(frozen=True)
class Tuning(Job):
    """The tuning of a model on a task, by so many trials; other attributes are as in `zoo.tune`."""

    trials: int
    sampler: str
    metric: str | None

    @property
    def name(self) -> str:
        return f"{self.task} {self.model} tuning"

    @property
    def request(self) -> dict[str, object]:
        return {"trials": self.trials, "sampler": self.sampler, "metric": self.metric}

    @property
    def finished(self) -> bool:
        return (self.folder / TUNED).exists()


def leaderboard(
    dataset: str,
    tasks: str | Sequence[str],
    models: str | Sequence[str],
    root: str | Path | None = None,
    *,
    seeds: int = 3,
    out: str | Path,
    jobs: int = 1,
    settings: Mapping[str, object] | None = None,
    resamples: int = 1000,
    metric: str | None = None,
    tune: int = 0,
    sampler: str = "random",
    report: Callable[[str], None] = lambda line: None,
) -> Board:
    """Run what is missing of a leaderboard, and write its tables and its page.

    Args:
        dataset: a registered name.
        tasks, models: registered names: one, several, or ``"all"``. A model is left out of tasks of a kind that it does
            not serve.
        root: the folder with the dataset's tables.
        seeds: how many: 0, 1, ... of training; the split stays.
        out: the folder of the leaderboard; the same call goes on where it was stopped.
        jobs: runs at a time.
        settings: as of `zoo.run`; one of ``task.`` or ``model.`` goes to those that have such a parameter.
        resamples: of the bootstrap behind intervals and tests.
        metric: what ranks; the first of the kind by default (see `zoo.reporting._board`).
        tune: how many trials each model has to find its settings for a task, by the same metric on the validation split
            (see `zoo.tune`); 0 leaves all at their defaults. All trials and runs of all models then have the same
            ``max_epochs`` and ``patience``: those of ``settings``, else the trainer's.
        sampler: as of `zoo.tune`.
        report: is told a line about each run.

    Raises:
        UserError: for whatever is unknown, and where the folder holds another leaderboard. A run that fails is recorded
            with its reason and keeps no other from running.
    """
    from filelock import FileLock, Timeout

    from zoo.reporting import _board
    from zoo.training import Trainer
    from zoo.training._search import check_sampler
    from zoo.training._tuning import Tuned

    given = {"seeds": seeds, "jobs": jobs, "resamples": resamples}
    seeds, jobs, resamples = (registry.whole_number(name, value, 1) for name, value in given.items())
    trials = registry.whole_number("tune", tune, 0)
    tasks, models = _distinct("tasks", tasks, registry.tasks), _distinct("models", models, registry.models)
    registry.datasets.get(dataset)
    settings = dict(settings or {})
    plan: dict[str, object] = {"dataset": dataset, "settings": settings}
    if trials:
        settings = {f"trainer.{n}": getattr(Trainer, n) for n in SHARED} | settings
        plan = {"dataset": dataset, "settings": settings, "tune": trials, "sampler": sampler, "metric": metric}
        check_sampler(sampler)
    out = registry.path_of("out", out)
    own = _own_settings(tasks, models, settings)
    kinds = {t: _made(t, settings).kind for t in tasks}
    own = _served(own, kinds)
    _board.check_metric(metric, list(kinds.values()))
    plan["root"] = root = None if root is None else str(Path(root).expanduser().resolve())
    _hold_to_plan(out, plan)
    lock = FileLock(out / ".lock", mode=writing.FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another leaderboard is at work in {out}: wait for it, or choose another folder.") from None
    with lock, Workers(jobs, dataset, root, report) as workers:
        tunings = [
            Tuning(*pair, out / "tunings" / "/".join(pair), s, trials, sampler, metric) for pair, s in own.items()
        ]
        tunings = tunings if trials else []
        workers.make([t for t in tunings if not t.finished])
        tuned = {(t.task, t.model): Tuned.read(t.folder) for t in tunings if t.finished}
        runs = [  # seed by seed, so that a leaderboard that is stopped has something of every model
            Run(
                *pair,
                out / "runs" / "/".join(pair) / f"seed{seed}",
                {**s, **(tuned[pair].settings if pair in tuned else {})},
                seed,
            )
            for seed in range(seeds)
            for pair, s in own.items()
        ]
        untuned = {(t.task, t.model): f"it could not be tuned: {t.reason}" for t in tunings if not t.finished}
        workers.make([r for r in runs if not r.finished and (r.task, r.model) not in untuned])
        outcomes = [_outcome(r, kinds[r.task], untuned.get((r.task, r.model))) for r in runs]
        known = _true_probabilities(dataset, tasks, root, settings)
        found = _board.board(dataset, outcomes, settings, seeds, resamples, metric, known, tuned)
        _board.write(found, out)
    return found


def _distinct(what: str, names: Sequence[str], holder: registry.Registry) -> list[str]:
    names = list(dict.fromkeys(registry.names_of(what, names)))
    names = holder.names() if names == ["all"] else names
    if not names:
        raise UserError(f"name at least one of the {what}: {', '.join(holder.names())}.")
    for name in names:
        holder.entry(name)
    return names


def _own_settings(tasks: list[str], models: list[str], settings: Mapping[str, object]) -> dict[Pair, dict]:
    """The settings of each model on each task, those of other tasks and models left out."""
    from zoo.experiment import shared_out
    from zoo.training import Trainer

    groups = shared_out(settings)
    _check_someone_has("task", groups["task"], [registry.tasks.get(t) for t in tasks])
    _check_someone_has("model", groups["model"], [registry.models.get(m) for m in models])
    check_parameters("the trainer", Trainer, groups["trainer"])
    Trainer(**groups["trainer"])  # looks at the values

    def own(task: str, model: str) -> dict[str, object]:
        known = {"task": parameters_of(registry.tasks.get(task)), "model": parameters_of(registry.models.get(model))}
        found = {}
        for name, value in settings.items():
            group, _, key = name.partition(".")
            if key in known.get(group, {key}):
                found[name] = value
        return found

    return {(t, m): own(t, m) for t in tasks for m in models}


def _served(own: dict[Pair, dict], kinds: Mapping[str, str]) -> dict[Pair, dict]:
    """Models on tasks that they serve; a `UserError` where none serves a task."""
    served = {(t, m): s for (t, m), s in own.items() if kinds[t] in registry.models.entry(m).facts.get("kinds", ())}
    for task, kind in kinds.items():
        if not any(t == task for t, _ in served):
            raise UserError(f"none of the models serves {kind} tasks such as {task!r}: name another model, or task.")
    return served


def _check_someone_has(group: str, settings: Mapping[str, object], things: list[type]) -> None:
    known = {n for thing in things for n in parameters_of(thing)}
    for name in settings:
        if name not in known:
            raise UserError(f"none of the {group}s has a parameter {name!r}: {nearest(name, known)}.")
    for thing in things:
        what, own = f"{group} {thing.registered_name!r}", parameters_of(thing)
        taken = {n: v for n, v in settings.items() if n in own}
        check_parameters(what, thing, taken)
        check_multiples(what, thing, taken)


def _made(task: str, settings: Mapping[str, object]) -> Task:
    thing = registry.tasks.get(task)
    known = parameters_of(thing)
    parts = {n.removeprefix("task."): v for n, v in settings.items() if n.startswith("task.")}
    return thing(**{n: v for n, v in parts.items() if n in known})


def _true_probabilities(
    dataset: str, tasks: list[str], root: str | None, settings: Mapping[str, object]
) -> dict[str, pd.Series]:
    """For tasks whose labels a generator has drawn from probabilities that it knows: these, by ``visit_id``."""
    from zoo.experiment import opened_dataset, shared_out

    if not hasattr(registry.datasets.get(dataset), "true_probability"):
        return {}
    opened, _ = opened_dataset(dataset, root, shared_out(settings)["data"])
    found = {t: opened.true_probability(_made(t, settings)) for t in tasks}
    return {t: known for t, known in found.items() if known is not None}


def _hold_to_plan(out: Path, plan: dict) -> None:
    """Write the plan, or raise a `UserError` where the folder holds another one."""
    plan = json.loads(json.dumps(plan, default=str))
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: choose another folder.")
    if not (out / PLAN).exists():
        if out.is_dir() and any(p.name != ".lock" for p in out.iterdir()):
            raise UserError(f"{out} exists and is no folder of a leaderboard: choose another one.")
        writing.make_folder(out)
        write_json(out / PLAN, plan)
        return
    try:
        held = json.loads((out / PLAN).read_text())
    except ValueError:
        raise UserError(f"{out / PLAN} is damaged: choose another folder.") from None
    if held != plan:
        differs = ", ".join(sorted(n for n in {*held, *plan} if held.get(n) != plan.get(n)))
        raise UserError(f"{out} holds another leaderboard (it differs in {differs}): choose another folder.")


# Running


class Workers:
    """So many processes that make what they are given; all are ended with the block, or if this process is interrupted.

    Args:
        count: how many.
        dataset, root: whose tables.
        report: is told a line about each job.
    """

    def __init__(self, count: int, dataset: str, root: str | None, report: Callable[[str], None]):
        threads = max(1, (os.cpu_count() or 1) // count)
        self._all = [Worker(threads) for _ in range(count)]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._free.put(worker)
        self._source, self._report = {"dataset": dataset, "root": root}, report

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def end(self) -> None:
        """End all processes."""
        for worker in self._all:
            worker.end()

    def make(self, jobs: Sequence[Job]) -> None:
        """Make jobs, each by a worker that is free."""
        over: list[Job] = []

        def one(job: Job) -> None:
            worker = self._free.get()
            try:
                reason = self._made(job, worker)
            finally:
                self._free.put(worker)
            if not worker.ended:
                over.append(job)
                moved(f"{len(over)} of {registry.counted(len(jobs), what)}", share=len(over) / len(jobs))
                self._report(f"{job.name}: {f'failed: {reason}' if reason else 'done'}")

        what = "tuning" if jobs and isinstance(jobs[0], Tuning) else "run"
        with progress("leaderboard", in_logs=False) as moved, ThreadPoolExecutor(len(self._all)) as pool:
            moved(f"0 of {registry.counted(len(jobs), what)}", share=0.0)
            try:
                for done in [pool.submit(one, j) for j in jobs]:
                    done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.end()
                raise

    def _made(self, job: Job, worker: Worker) -> str | None:
        """Make one; gives the reason where it failed, and leaves it beside its folder."""
        writing.make_folder(job.folder.parent)
        job.failure.unlink(missing_ok=True)
        own = {"task": job.task, "model": job.model, "out": str(job.folder), "settings": dict(job.settings)}
        status = worker.run({**self._source, **own, **job.request}, job.log)
        if job.finished:
            return None
        reason = _reason(status, job.log)
        write_json(job.failure, {"reason": reason, "status": status})
        return reason


class Worker:
    """A process that makes one job after another, started when there is one to make.

    It is asked by a line of JSON on its standard input, and answers with a line when that has finished; a job that
    fails ends it. As the system closes its input when this process ends, however it does, no worker is left behind.
    """

    def __init__(self, threads: int):
        self.ended = False
        self._environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self._process: subprocess.Popen | None = None
        self._guard = threading.Lock()

    def run(self, request: dict, log: Path) -> int:
        """Do what is asked for, with what it prints in a file; gives 0, or the status of the process where it ended."""
        log.unlink(missing_ok=True)
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, writing.FILE), "wb") as file, self._guard:
            if self.ended:
                return -signal.SIGTERM
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "zoo.leaderboard"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,  # until its first run begins
                    env=self._environment,
                )
        with suppress(BrokenPipeError):  # it has ended: there will be no answer either
            self._process.stdin.write(json.dumps({**request, "log": str(log)}).encode() + b"\n")
            self._process.stdin.flush()
        return 0 if self._process.stdout.readline() else self._process.wait()

    def end(self) -> None:
        """End the process; there is no job after this."""
        with self._guard:
            self.ended = True
            if self._process is not None:
                self._process.terminate()
                self._process.wait()


def _reason(status: int, log: Path) -> str:
    if status < 0:
        return f"the process was ended by {signal.Signals(-status).name}"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else f"the process ended with status {status} and printed nothing"


def _outcome(run: Run, kind: str, untuned: str | None) -> dict:
    """What there is of a run, as the tables need it."""
    facts = {"task": run.task, "kind": kind, "model": run.model, "seed": run.seed, "folder": run.folder}
    if run.finished:
        return {**facts, "reason": None, "predictions": run.folder / PREDICTIONS}
    return {**facts, "reason": untuned or run.reason, "log": run.log}


# In the worker


def main() -> None:
    """Make what standard input asks for, and say on standard output when something has finished.

    Whatever else is printed goes to the log of the job: of a user's mistake one line, else a traceback.
    """
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        import torch

        random, threads = torch.get_rng_state(), torch.get_num_threads()
        while True:
            request = json.loads(requests.get())
            _print_into(request["log"])
            torch.set_rng_state(random)
            torch.set_num_threads(threads)
            _make(request)
            sys.stdout.flush()
            os.write(answers, b"finished\n")
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _listen(requests: queue.SimpleQueue[bytes]) -> None:
    with open(0, "rb", buffering=0) as lines:  # not sys.stdin, whose lock would be held when this process ends
        for line in lines:
            requests.put(line)
    os._exit(1)


def _print_into(log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _make(request: dict) -> None:
    """Tune a model; or make a run, and write its test predictions."""
    from zoo.experiment import shared_out
    from zoo.inference import predict
    from zoo.metrics import metric_names
    from zoo.training import create_model, train, tune

    groups, folder = shared_out(request["settings"]), Path(request["out"])
    data = _data(request["dataset"], request["task"], request["root"], json.dumps([groups["task"], groups["data"]]))
    if "trials" in request:
        settings = {n: v for n, v in request["settings"].items() if n.partition(".")[0] in ("model", "trainer")}
        metric = request["metric"]
        metric = metric if metric in metric_names(data.task.kind, data.task.ks, data.interactions is not None) else None
        how = {"metric": metric, "sampler": request["sampler"], "settings": settings, "out": folder}
        tune(request["model"], data, request["trials"], **how)
        return
    seed = request["seed"]
    model = create_model(request["model"], data, seed=seed, **groups["model"])
    result = train(model, data, seed=seed, out=folder, **groups["trainer"])
    found = predict(folder, data, split="test")
    found.attrs = {"threshold": result.threshold or 0.5, "ks": list(data.task.ks)}  # notes are in the result
    found.attrs["strict"] = data.unseen_labels(data.places("test")) is not None
    if data.interactions is not None:
        found.attrs["interactions"] = np.argwhere(data.interactions).tolist()
        found["before"] = _codes(data)
    with writing.whole(folder / PREDICTIONS) as unfinished:
        found.to_parquet(unfinished, index=False)


def _codes(data: TaskData) -> list[list[str] | None]:
    """The drugs of the visit before each test sample, None where there is none."""
    places = data.places("test")
    names = np.array([*data.labels, *(data.unseen_labels(places) or ())], object)
    before = data.metric_options(places)["before"]
    return [None if np.isnan(row).any() else names[row > 0].tolist() for row in before]


@lru_cache(maxsize=1)
def _data(dataset: str, task: str, root: str | None, settings: str) -> TaskData:
    """The data of a task, kept until another one is asked for: those of a whole hospital are large."""
    from zoo.experiment import prepared

    of_task, of_data = json.loads(settings)
    return prepared(dataset, task, root, {"task": of_task, "data": of_data})


if __name__ == "__main__":
    main()
