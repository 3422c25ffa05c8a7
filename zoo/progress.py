"""A line on a terminal for what takes longer than two seconds; nothing where there is no terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PATIENCE = 2.0
_shown: ContextVar[Callable[[str], None] | None] = ContextVar("_shown", default=None)
"""Changes the line of the outermost block, while there is one: a terminal has room for one line that moves."""


@contextmanager
def progress(what: str) -> Iterator[Callable]:
    """Show what is being done while the block runs, once it has run for two seconds.

    Yields:
        A function that takes the number of the step and a line to show beside it.
    """
    outer = _shown.get()  # asked first: what Rich puts in the place of stderr may not say that it is a terminal
    if outer:
        outer(f"{what} ...")
        yield lambda step, line="": outer(f"{what}: {step}  {line}")
        return
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.status import Status

    status = Status(f"{what} ...", console=Console(stderr=True))
    timer = threading.Timer(PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    token = _shown.set(status.update)
    try:
        yield lambda step, line="": status.update(f"{what}: {step}  {line}")
    finally:
        _shown.reset(token)
        timer.cancel()
        timer.join()
        status.stop()
