"""What a leaderboard has done by other processes: runs, and tunings.

A worker makes one job after another, and prepares the data of a task once for all jobs of it that follow one another.
It ends with the first job that fails, whatever the reason, and a new one goes on. A run finds what it would find alone.
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
from pathlib import Path

from zoo import registry
from zoo.cache import writing
from zoo.progress import progress
from zoo.registry import UserError
from zoo.result import FILE, write_json

PREDICTIONS = "predictions.parquet"


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
        from zoo.training._tuning import Tuned

        try:
            Tuned.read(self.folder)
        except UserError:
            return False
        return True


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
                    [sys.executable, "-m", "zoo.leaderboard._worker"],
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
