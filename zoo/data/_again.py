"""How data are loaded once more, in another process: what a pickle of them holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.data._preparation import Preparation
from zoo.registry import UserError


@dataclass(frozen=True)
class Again:
    """What data were loaded with.

    Attributes:
        load: `zoo.load`.
        dataset: the class of the dataset.
        root: its folder, where it has one.
        parameters: the dataset's.
        task: the task.
        how: what was asked for besides.
    """

    load: Callable
    dataset: type
    root: Path | None
    parameters: Mapping[str, object]
    task: object
    how: Preparation

    def reduced(self, digest: str, strict: bool) -> tuple:
        """What data of a digest are pickled as: a function and its arguments, and no array.

        Raises:
            UserError: another process has not the class of the dataset or the task.
        """
        for noun, thing in (("dataset", self.dataset), ("task", type(self.task))):
            if thing.__module__ == "__main__" or "<locals>" in thing.__qualname__:
                where = "__main__" if thing.__module__ == "__main__" else "a function"
                raise UserError(
                    f"the data cannot be pickled: {noun} {thing.__name__!r} is a class of {where}, which another "
                    f"process does not have; put it into a module of its own, and import it from there."
                )
        how = vars(replace(self.how, strict=strict))
        return _loaded, (self.load, self.dataset, self.root, {**self.parameters}, self.task, how, digest)


def _loaded(load: Callable, dataset: type, root: Path | None, parameters: dict, task: object, how: dict, digest: str):
    data = load(dataset, task, root, **how, **parameters)
    if data.digest_for(set(data.concepts)) != digest:
        raise UserError(f"the tables of {data.title} have changed since the data were pickled: load them anew.")
    return data
