"""A worker of a leaderboard, a process of its own: ``python -m zoo.leaderboard._worker``."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cache import writing
from zoo.leaderboard._jobs import PREDICTIONS
from zoo.registry import UserError

if TYPE_CHECKING:
    from zoo.data._task_data import TaskData


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
    from zoo.training import create_model, train, tune

    groups, folder = shared_out(request["settings"]), Path(request["out"])
    data = _data(request["dataset"], request["task"], request["root"], json.dumps([groups["task"], groups["data"]]))
    if "trials" in request:
        settings = {n: v for n, v in request["settings"].items() if n.partition(".")[0] in ("model", "trainer")}
        metric = request["metric"]
        metric = metric if metric in data.outcomes.metrics else None
        how = {"metric": metric, "sampler": request["sampler"], "settings": settings, "out": folder}
        tune(request["model"], data, request["trials"], **how)
        return
    seed = request["seed"]
    model = create_model(request["model"], data, seed=seed, **groups["model"])
    result = train(model, data, seed=seed, out=folder, **groups["trainer"])
    found = predict(folder, data, split="test")
    options = data.outcomes.options(data.places("test"))
    options |= {} if result.threshold is None else {"threshold": result.threshold}
    found.attrs, columns = data.kind.stored(options, found.label, data.labels)  # notes are in the result
    found = found.assign(**columns)
    with writing.whole(folder / PREDICTIONS) as unfinished:
        found.to_parquet(unfinished, index=False)


@lru_cache(maxsize=1)
def _data(dataset: str, task: str, root: str | None, settings: str) -> TaskData:
    """The data of a task, kept until another one is asked for: those of a whole hospital are large."""
    from zoo.experiment import prepared

    of_task, of_data = json.loads(settings)
    return prepared(dataset, task, root, {"task": of_task, "data": of_data})


if __name__ == "__main__":
    main()
