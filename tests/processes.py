"""Processes of their own for tests, forked from one that has imported what is slow to import.

A process that starts anew pays seconds for imports; one of these is there at once, and is as apart from the tests as
any other: it has its own environment, folder and files, may be killed, and ends with its own status.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess

SLOW = ("torch", "ibis.backends.duckdb", "sklearn.metrics", "accelerate", "lightgbm", "zoo.training._run", "zoo.cli")
"""What the process that all others are forked from imports."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*SLOW, __name__])


class Forked:
    """A running process, with the part of `subprocess.Popen` that tests use; its output goes to files."""

    def __init__(self, program: str, *arguments: object, cwd: str | Path | None = None, env: dict | None = None):
        """
        Args:
            program: Python code, or ``"zoo"`` for the command.
            arguments: of the command line.
            cwd: the folder to run in.
            env: the whole environment; this process's own by default.
        """
        self._folder = tempfile.TemporaryDirectory()
        self.output, self.errors = (Path(self._folder.name) / name for name in ("output", "errors"))
        given = ([str(a) for a in arguments], str(cwd or os.getcwd()), dict(env or os.environ))
        with _importable():
            self._process = _context.Process(target=_run, args=(program, *given, str(self.output), str(self.errors)))
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its status, below 0 for the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float = 300) -> int:
        """Its status once it has ended; it is killed where that takes too long."""
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"still running after {timeout} s")
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens where the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def finished(self, timeout: float = 300) -> CompletedProcess:
        """What `subprocess.run` would give, with text."""
        status = self.wait(timeout)
        return CompletedProcess(self.pid, status, self.output.read_text(), self.errors.read_text())

    def said(self, timeout: float = 60) -> str:
        """The first line of its output, waited for."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self.output.exists() and "\n" in (text := self.output.read_text()):
                return text.splitlines()[0]
            time.sleep(0.01)
        raise TimeoutError(f"nothing said in {timeout} s: {self.errors.read_text()}")


@contextmanager
def _importable():
    """The main module of a test worker is none that a forked process could import, or needs."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    main.__spec__ = None
    if file is not None:
        del main.__file__
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


def _run(program: str, arguments: list[str], cwd: str, env: dict, output: str, errors: str) -> None:
    for descriptor, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), descriptor)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p and p not in sys.path]
    import torch

    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", 1)))
    status = 0
    try:
        if program == "zoo":
            from zoo import cli

            sys.argv = ["zoo", *arguments]
            cli.main()
        else:
            sys.argv = ["-c", *arguments]
            exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
