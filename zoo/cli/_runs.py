"""Commands that make a run: run, pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli._names import check_known
from zoo.cli._options import AsJson, Command, Dataset, Model, Root, Seed, Settings, Task
from zoo.cli._settings import parsed
from zoo.cli._telling import tell_result

app = typer.Typer()

Out = Annotated[Path | None, typer.Option("--out", help="The run folder; a new one below runs by default.")]


@app.command(cls=Command)
def run(
    dataset: Dataset,
    task: Task,
    model: Model,
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    seed: Seed = 0,
    out: Out = None,
    init: Annotated[Path | None, typer.Option(help="A finished run with whose weights to begin.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prepare, train and test."""
    check_known(datasets=dataset, tasks=task, models=model)
    from zoo import experiment

    result = experiment.run(dataset, task, model, root, seed=seed, out=out, init=init, settings=parsed(settings))
    tell_result(result, as_json)


@app.command(cls=Command)
def pretrain(
    dataset: Dataset,
    task: Task,
    model: Model,
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Prepare, and pre-train on every visit without labels; train with `zoo run --init RUN` then."""
    check_known(datasets=dataset, tasks=task, models=model)
    from zoo import experiment

    result = experiment.pretrain(dataset, task, model, root, seed=seed, out=out, settings=parsed(settings))
    tell_result(result, as_json)
