"""What is being done, how much of it, and for how long: on a terminal, in a notebook, and as sparse lines in a log.

A terminal has a line that moves, and a notebook one of its own, once something has run for two seconds. Elsewhere, as
in a file or a pipe, a line is printed to standard error after ten seconds, and further ones ever more rarely, up to one
a minute: nobody watches, but whoever looks finds how far it is.
"""

from __future__ import annotations

import html
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

from zoo.registry import printable

PATIENCE = 2.0
"""Seconds after which somebody who watches is told."""
SPARSE = (10.0, 60.0)
"""Seconds after which a log is told first, and the longest time between two lines."""
BAR = 16
"""Width of what shows the share on a terminal."""
TICK = 1.0
"""Seconds between two looks of a notebook."""


def duration(seconds: float) -> str:
    """A time as people read it.

    >>> duration(3.21), duration(75), duration(7503)
    ('3.2 s', '1:15 min', '2:05 h')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


@dataclass
class Stage:
    """One of the blocks that are running.

    Attributes:
        what: is being done.
        at_most: whether it may be over before its share is whole.
        step, line: what was last told of it.
        share: from 0 to 1, how much of it is over; None where nobody knows.
    """

    what: str
    at_most: bool = False
    step: object = ""
    line: str = ""
    share: float | None = None
    first: tuple[float, float] | None = None
    begun: float = field(default_factory=time.monotonic)

    def report(self, step: object = "", line: str = "", share: float | None = None) -> None:
        """Take what is told of it."""
        self.step, self.line = step, line
        if share is not None:
            self.share = min(max(float(share), 0.0), 1.0)
            self.first = self.first or (time.monotonic(), self.share)

    @property
    def told(self) -> str:
        """What is being done, in words."""
        words = "  ".join(str(w) for w in (self.step, self.line) if w != "")
        return printable(f"{self.what}: {words}" if words else f"{self.what} ...")

    @property
    def left(self) -> str:
        """How long it may still take, from how long the share that is over took since the first was told."""
        if self.first is None or self.share <= self.first[1]:
            return ""
        seconds = (time.monotonic() - self.first[0]) * (1 - self.share) / (self.share - self.first[1])
        return f"{'at most' if self.at_most else 'about'} {duration(seconds)} left"

    @property
    def gone(self) -> str:
        """For how long it has been done."""
        return duration(time.monotonic() - self.begun)


class Shown:
    """The blocks that are running, one within another: the innermost is told, and the time left of the outermost."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    @property
    def measured(self) -> Stage | None:
        """The outermost block of which a share is known."""
        return next((s for s in self.stages if s.share is not None), None)

    @property
    def times(self) -> str:
        """Share, time gone and time left."""
        stage = self.measured or self.stages[0]
        share = [] if stage.share is None else [f"{stage.share:.0%}"]
        return ", ".join([*share, stage.gone, *filter(None, [stage.left])])

    def __str__(self) -> str:
        return f"{self.stages[-1].told}  [{self.times}]"


_shown: ContextVar[Shown | None] = ContextVar("_shown", default=None)
"""What is shown of the blocks that are running, while there are any."""


@contextmanager
def progress(what: str, at_most: bool = False) -> Iterator[Callable]:
    """Show what is being done while the block runs, once it has run for some time.

    Args:
        what: is being done.
        at_most: whether it may be over before the share that is told is whole.

    Yields:
        A function that takes the name or the number of the step, a line to show beside it, and the share of the whole
        that is over (0 to 1); all of them may be left out.
    """
    stage, outer = Stage(what, at_most), _shown.get()
    if outer:
        outer.stages.append(stage)
        try:
            yield stage.report
        finally:
            outer.stages.remove(stage)
        return
    shown = Shown()
    shown.stages.append(stage)
    token = _shown.set(shown)
    end = (_on_terminal if sys.stderr.isatty() else _in_notebook if _notebook() else _in_log)(shown)
    finished = False
    try:
        yield stage.report
        finished = True
    finally:
        _shown.reset(token)
        end(finished)


def _on_terminal(shown: Shown) -> Callable[[bool], None]:
    """A line that moves; gives what ends it."""
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    console, spinner = Console(stderr=True), Spinner("dots")

    def line() -> Text:
        stage = shown.measured
        full = 0 if stage is None else round(BAR * stage.share)
        bar = "" if stage is None else f"[{'#' * full}{'.' * (BAR - full)}] "
        text = f" {bar}{shown.times}  {shown.stages[-1].told}"
        return Text.assemble(spinner.render(console.get_time()), text, no_wrap=True, overflow="ellipsis")

    live = Live(get_renderable=line, console=console, transient=True, refresh_per_second=8)
    timer = threading.Timer(PATIENCE, live.start)
    timer.daemon = True
    timer.start()

    def end(finished: bool) -> None:
        timer.cancel()
        timer.join()
        live.stop()

    return end


def _notebook() -> bool:
    """Whether this is the kernel of a notebook, whose standard error is no terminal but which somebody watches."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


def _in_notebook(shown: Shown) -> Callable[[bool], None]:
    """A line below the cell; gives what ends it."""
    display, handles = importlib.import_module("IPython.display").display, []

    def show(text: str, share: float | None = None) -> None:
        bar = "" if share is None else f"<progress value='{share:.4f}' max='1'></progress> "
        looks = {"text/plain": text, "text/html": f"<small>{bar}{html.escape(text)}</small>"}
        if handles:
            handles[0].update(looks, raw=True)
        else:
            handles.append(display(looks, raw=True, display_id=True))

    def tell(_: int) -> float:
        show(str(shown), getattr(shown.measured, "share", None))
        return TICK

    stop = _ticking(PATIENCE, tell)

    def end(finished: bool) -> None:
        stop()
        if handles:
            stage = shown.stages[0]
            show(f"{printable(stage.what)}: {'done' if finished else 'stopped'} after {stage.gone}")

    return end


def _in_log(shown: Shown) -> Callable[[bool], None]:
    """Lines on standard error; gives what ends them."""
    lines = []

    def tell(number: int) -> float:
        lines.append(str(shown))
        _print(lines[-1])
        return min(SPARSE[0] * 2**number, SPARSE[1])

    stop = _ticking(SPARSE[0], tell)

    def end(finished: bool) -> None:
        stop()
        if lines and finished:
            _print(f"{printable(shown.stages[0].what)}: done after {shown.stages[0].gone}")

    return end


def _print(line: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it any more
        print(line, file=sys.stderr, flush=True)


def _ticking(first: float, tell: Callable[[int], float]) -> Callable[[], None]:
    """Call a function after so many seconds, and again after as many as it returns; gives what ends that."""
    over = threading.Event()

    def run() -> None:
        wait, number = first, 0
        while not over.wait(wait):
            wait, number = tell(number), number + 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def stop() -> None:
        over.set()
        thread.join()

    return stop
