"""A line on a terminal for what takes longer than two seconds; nothing where there is no terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 2.0


@contextmanager
def progress(what: str) -> Iterator[Callable]:
    """Show what is being done while the block runs, once it has run for two seconds.

    Yields:
        A function that takes the number of the step and a line to show beside it.
    """
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.status import Status

    status = Status(f"{what} ...", console=Console(stderr=True))
    timer = threading.Timer(PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda step, line="": status.update(f"{what}: {step}  {line}")
    finally:
        timer.cancel()
        timer.join()
        status.stop()
