"""Train every task with every model under several seeds, in processes of their own, and report what they found.

A worker process makes one run after another, and prepares the data of a task once for all runs of it that follow one
another. It ends with the first run that fails, whatever the reason, and a new one goes on. A run finds what it would
find alone.

The folder of a leaderboard holds ``plan.json`` (what must not change when it is continued), ``runs``, and the tables
and the page. ``runs/TASK/MODEL/seed0`` is a run folder with, besides what `zoo.train` writes, the test predictions
(``predictions.parquet``); beside it lie ``seed0.log``, what the process printed, and ``seed0.failed.json`` if it
failed. A run counts as finished when ``result.json`` and the predictions are there, and is never run again; all others
are run, those that were killed or have failed among them.
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

PLAN, PREDICTIONS = "plan.json", "predictions.parquet"


@dataclass(frozen=True)
class Pair:
    """One run of a leaderboard.

    Attributes:
        task, model, seed: what is run.
        folder: the run folder.
        settings: dotted settings, those of other tasks and models left out.
    """

    task: str
    model: str
    seed: int
    folder: Path
    settings: Mapping[str, object]

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def failure(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.failed.json")

    @property
    def finished(self) -> bool:
        return (self.folder / FILE).exists() and (self.folder / PREDICTIONS).exists()


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
        report: is told a line about each run.

    Raises:
        UserError: for whatever is unknown, and where the folder holds another leaderboard. A run that fails is recorded
            with its reason and keeps no other from running.
    """
    from filelock import FileLock, Timeout

    from zoo.reporting import _board

    given = {"seeds": seeds, "jobs": jobs, "resamples": resamples}
    seeds, jobs, resamples = (registry.whole_number(name, value, 1) for name, value in given.items())
    tasks, models = _distinct("tasks", tasks, registry.tasks), _distinct("models", models, registry.models)
    registry.datasets.get(dataset)
    settings = dict(settings or {})
    out = registry.path_of("out", out)
    pairs = _pairs(tasks, models, seeds, out, settings)
    kinds = {t: _made(t, settings).kind for t in tasks}
    pairs = _served(pairs, kinds)
    _board.check_metric(metric, list(kinds.values()))
    root = None if root is None else str(Path(root).expanduser().resolve())
    _hold_to_plan(out, {"dataset": dataset, "root": root, "settings": settings})
    lock = FileLock(out / ".lock", mode=writing.FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another leaderboard is at work in {out}: wait for it, or choose another folder.") from None
    with lock:
        _run_all([p for p in pairs if not p.finished], dataset, root, jobs, report)
        outcomes = [_outcome(p, kinds[p.task]) for p in pairs]
        known = _true_probabilities(dataset, tasks, root, settings)
        found = _board.board(dataset, outcomes, settings, seeds, resamples, metric, known)
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


def _pairs(tasks: list[str], models: list[str], seeds: int, out: Path, settings: Mapping[str, object]) -> list[Pair]:
    """All runs: seed by seed, so that a leaderboard that is stopped has something of every model."""
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

    def place(task: str, model: str, seed: int) -> Path:
        return out / "runs" / task / model / f"seed{seed}"

    return [Pair(t, m, s, place(t, m, s), own(t, m)) for s in range(seeds) for t in tasks for m in models]


def _served(pairs: list[Pair], kinds: Mapping[str, str]) -> list[Pair]:
    """The runs of models on tasks that they serve; a `UserError` where none serves a task."""
    served = [p for p in pairs if kinds[p.task] in registry.models.entry(p.model).facts.get("kinds", ())]
    for task, kind in kinds.items():
        if not any(p.task == task for p in served):
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


def _run_all(pairs: list[Pair], dataset: str, root: str | None, jobs: int, report: Callable[[str], None]) -> None:
    """Run each by one of so many workers; all are ended at the end, or if this process is interrupted."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    workers = [Worker(threads) for _ in range(jobs)]
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    over: list[Pair] = []

    def run(pair: Pair) -> None:
        worker = free.get()
        try:
            reason = _run_one(pair, dataset, root, worker)
        finally:
            free.put(worker)
        if not worker.ended:
            over.append(pair)
            moved(f"{len(over)} of {registry.counted(len(pairs), 'run')}", share=len(over) / len(pairs))
            report(f"{pair.task} {pair.model} seed {pair.seed}: {f'failed: {reason}' if reason else 'done'}")

    with progress("leaderboard", in_logs=False) as moved, ThreadPoolExecutor(jobs) as pool:
        moved(f"0 of {registry.counted(len(pairs), 'run')}", share=0.0)
        try:
            for done in [pool.submit(run, p) for p in pairs]:
                done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.end()


def _run_one(pair: Pair, dataset: str, root: str | None, worker: Worker) -> str | None:
    """Run one; gives the reason where it failed, and leaves it beside the run folder."""
    writing.make_folder(pair.folder.parent)
    pair.failure.unlink(missing_ok=True)
    request = {
        "dataset": dataset,
        "root": root,
        "task": pair.task,
        "model": pair.model,
        "seed": pair.seed,
        "out": str(pair.folder),
        "settings": dict(pair.settings),
    }
    status = worker.run(request, pair.log)
    if pair.finished:
        return None
    reason = _reason(status, pair.log)
    write_json(pair.failure, {"reason": reason, "status": status})
    return reason


class Worker:
    """A process that makes one run after another, started when there is one to make.

    It is asked by a line of JSON on its standard input, and answers with a line when the run has finished; a run that
    fails ends it. As the system closes its input when this process ends, however it does, no worker is left behind.
    """

    def __init__(self, threads: int):
        self.ended = False
        self._environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self._process: subprocess.Popen | None = None
        self._guard = threading.Lock()

    def run(self, request: dict, log: Path) -> int:
        """Make a run whose output goes to a file; gives 0, or the status of the process where it ended."""
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
        """End the process; there is no run after this."""
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


def _outcome(pair: Pair, kind: str) -> dict:
    """What there is of a run, as the tables need it."""
    facts = {"task": pair.task, "kind": kind, "model": pair.model, "seed": pair.seed, "folder": pair.folder}
    if pair.finished:
        return {**facts, "reason": None, "predictions": pair.folder / PREDICTIONS}
    try:
        reason = json.loads(pair.failure.read_text())["reason"]
    except (OSError, ValueError, KeyError):
        reason = "it was not run to its end"
    return {**facts, "reason": reason, "log": pair.log}


# In the worker


def main() -> None:
    """Make the runs that standard input asks for, and say on standard output when one has finished.

    Whatever else is printed goes to the log of the run: of a user's mistake one line, else a traceback.
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
    """Run one, and write its test predictions."""
    from zoo.experiment import shared_out
    from zoo.inference import predict
    from zoo.training import create_model, train

    groups, seed, folder = shared_out(request["settings"]), request["seed"], Path(request["out"])
    data = _data(request["dataset"], request["task"], request["root"], json.dumps([groups["task"], groups["data"]]))
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
