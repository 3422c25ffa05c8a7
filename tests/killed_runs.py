"""Trains one run in processes that are killed one after another, and once more in a process that is let live.

    python killed_runs.py ROOT FOLDER SEED

The data are prepared once; every process is a fork. Prints how each one ended, a line of JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

HOW = {
    "max_epochs": 4,
    "patience": 3,
    "batch_size": 4,
    "schedule": "cosine",
    "warmup": 0.1,
    "checkpoint_every": 3,
    "device": "cpu",
}


def forked(data, out: Path, slow: bool) -> int:
    """A process that trains, on a disk that takes its time if ``slow``; its id."""
    import zoo

    pid = os.fork()
    if pid:
        return pid
    if slow:
        flush = os.fsync
        os.fsync = lambda handle: (time.sleep(0.15), flush(handle))
    zoo.train(zoo.create_model("gru", data, seed=5, dim=8), data, seed=5, out=out, **HOW)
    os._exit(0)


def killed(pid: int) -> bool:
    """Kill a process, and tell whether it was still running."""
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def wait(pid: int, out: Path, slow: bool) -> None:
    """Wait until the process is writing a checkpoint, or has written one; and then a random while."""
    last = out / "last.safetensors"
    before = last.stat().st_mtime_ns if last.exists() else 0
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.001)
        if slow and (out / f".last.safetensors.{pid}").exists():
            break
        if not slow and last.exists() and last.stat().st_mtime_ns != before:
            break
    time.sleep(random.uniform(0, 0.1))


def main(root: str, folder: Path, seed: int) -> None:
    import torch

    import zoo

    torch.set_num_threads(1)
    random.seed(seed)
    data = zoo.load("mimic3", task="readmission", root=root, concepts=["diagnosis", "lab"], days=90)
    list(data.batches("train", "gru", 64))
    import zoo.training._run  # what all processes need is imported once

    found = []
    for slow in (True, False, False, True, False):
        before = (folder / "killed" / "last.safetensors").exists()
        pid = forked(data, folder / "killed", slow)
        wait(pid, folder / "killed", slow)
        alive = killed(pid)
        left = len(list((folder / "killed").glob(".last.safetensors.*")))
        found.append({"slow": slow, "alive": alive, "resumed": before, "half_written": left})
        if not alive:
            break
    for name in ("killed", "spared"):
        status = os.waitpid(forked(data, folder / name, slow=False), 0)[1]
        found.append({"name": name, "status": status})
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
