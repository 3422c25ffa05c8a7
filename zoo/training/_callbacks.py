"""Who is told how a run goes: the trackers that write it down, and what a user gives as ``callbacks``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zoo.registry import UserError, nearest, shown

if TYPE_CHECKING:
    from zoo.result import Result

METHODS = ("on_start", "on_epoch", "on_end", "on_failure")


class Callback:
    """What is told how a run goes. A callback derives from this, or is any object with some of these methods.

    `on_start` comes first, and `on_end` or `on_failure` last. What a callback raises ends the run, which can then go on
    from its last checkpoint. A callback is no part of the run: with another one it is the same run. Of several
    processes that train together only the main one calls it, and a finished run, which is not run again, calls none.
    """

    def on_start(self, run: dict) -> None:
        """A run begins, or goes on.

        Args:
            run: ``dataset``, ``task``, ``model``, ``seed``, ``config`` and ``data_key`` as in the `zoo.Result`;
                ``folder``, a path; and ``epochs``, the rows of those that were over before.
        """

    def on_epoch(self, row: dict) -> None:
        """An epoch of a network is over, and its checkpoint is written.

        Args:
            row: as in ``log.csv``: ``epoch`` from 1, ``train_loss``, ``validation_loss`` and the metrics on the
                validation split (None where undefined), ``lr`` and ``seconds``.
        """

    def on_end(self, result: Result) -> None:
        """The model is trained and tested, and the result is written."""

    def on_failure(self, error: BaseException) -> None:
        """Training or testing ended with an error or was interrupted; it is raised again when this returns."""


def check_callbacks(callbacks: object) -> tuple:
    """What a user gave as callbacks.

    Raises:
        UserError: they are no list, or one of them cannot be told anything.
    """
    if isinstance(callbacks, (str, Mapping)) or not isinstance(callbacks, Iterable):
        raise UserError(f"callbacks={shown(callbacks)} must be a list, such as [MyCallback()].")
    found = tuple(callbacks)
    for callback in found:
        if isinstance(callback, type):
            raise UserError(f"callback {callback.__name__} is a class: give an instance, {callback.__name__}().")
        own = [n for n in dir(callback) if n.startswith("on_") and callable(getattr(callback, n))]
        for name in set(own) - set(METHODS):
            raise UserError(f"nothing calls {type(callback).__name__}.{name}: {nearest(name, METHODS)}.")
        if not own:
            raise UserError(f"callback {shown(callback)} has none of the methods {', '.join(METHODS)}.")
    return found


class Callbacks:
    """All that are told of one run, in their order; none in a process that does not write.

    Args:
        callbacks: each has some of the methods of `Callback`.
        run: what `Callback.on_start` is told but for the epochs.
    """

    def __init__(self, callbacks: Iterable = (), run: Mapping[str, object] | None = None):
        self._callbacks = tuple(callbacks)
        self._run = dict(run or {})

    def start(self, epochs: list[dict]) -> None:
        """Tell that the run begins, or goes on after some epochs."""
        for told in self._methods("on_start"):
            told({**self._run, "epochs": [dict(row) for row in epochs]})

    def epoch(self, row: dict) -> None:
        """Tell of an epoch that is over."""
        for told in self._methods("on_epoch"):
            told(dict(row))

    def end(self, result: Result) -> None:
        """Tell what was found."""
        for told in self._methods("on_end"):
            told(result)

    @contextmanager
    def of_failure(self) -> Iterator[None]:
        """Tell all of what the block raises, also where one of them raises in turn."""
        try:
            yield
        except BaseException as error:
            _tell_all(self._methods("on_failure"), error)
            raise

    def _methods(self, name: str) -> list[Callable]:
        return [getattr(c, name) for c in self._callbacks if hasattr(c, name)]


def _tell_all(methods: list[Callable], error: BaseException) -> None:
    if methods:
        try:
            methods[0](error)
        finally:
            _tell_all(methods[1:], error)


NONE = Callbacks()
"""Nobody is told."""
