"""Commands that compare many runs: tune, leaderboard, curve."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli._names import check_known, several
from zoo.cli._options import AsJson, Command, Dataset, Model, Root, Settings, Task
from zoo.cli._settings import parsed
from zoo.cli._telling import tell
from zoo.registry import UserError

app = typer.Typer()

Metric = Annotated[str | None, typer.Option(help="What ranks; the first of the task's kind by default.")]
Sampler = Annotated[str, typer.Option(help="How settings are drawn: random, or optuna, which needs that package.")]


@app.command(cls=Command)
def tune(
    dataset: Dataset,
    task: Task,
    model: Model,
    out: Annotated[Path, typer.Option(help="The folder to write; the same command goes on where it was stopped.")],
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    trials: Annotated[int, typer.Option(min=1, help="How many; the first one has the defaults.")] = 8,
    metric: Metric = None,
    sampler: Sampler = "random",
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Find the settings with which a model does best on the validation split."""
    check_known(datasets=dataset, tasks=task, models=model)
    from zoo import experiment

    how = {"trials": trials, "metric": metric, "sampler": sampler, "seed": seed, "settings": parsed(settings)}
    found = experiment.tune(dataset, task, model, root, out=out, **how)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        tell(found)


class LeaderboardCommand(Command):
    """``zoo leaderboard``, which takes ``--tasks a b`` for ``--tasks a --tasks b``, and so ``--models``."""

    def parse_args(self, ctx, args):
        return super().parse_args(ctx, spread(args, ("--tasks", "--models")))


def spread(arguments: list[str], options: Container[str]) -> list[str]:
    """Each value of these options with the option before it.

    >>> spread(["--tasks", "a", "b", "--seeds", "1"], ["--tasks"])
    ['--tasks', 'a', '--tasks', 'b', '--seeds', '1']
    """
    found: list[str] = []
    option = None
    for argument in arguments:
        if option and not argument.startswith("-"):
            found += [option, argument]
            continue
        option = argument if argument in options else None
        found += [] if option else [argument]
    return found


@app.command(cls=LeaderboardCommand)
def leaderboard(
    dataset: Dataset,
    tasks: Annotated[list[str], typer.Option("--tasks", help="Tasks: a,b or several; `all` of them.")],
    models: Annotated[list[str], typer.Option("--models", help="Models: a,b or several; `all` of them.")],
    out: Annotated[Path, typer.Option(help="The folder to write; the same command goes on where it was stopped.")],
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="How many: 0, 1, ...")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap behind intervals and tests.")] = 1000,
    metric: Metric = None,
    tune: Annotated[int, typer.Option(min=0, help="Trials of `zoo tune` that each model has before its runs.")] = 0,
    sampler: Sampler = "random",
    as_json: AsJson = False,
) -> None:
    """Train every task with every model, and compare them in tables and on a page."""
    check_known(datasets=dataset)
    names = {n: several(n, given) for n, given in (("tasks", tasks), ("models", models))}
    import zoo

    how = {"seeds": seeds, "jobs": jobs, "resamples": resamples, "metric": metric, "settings": parsed(settings)}
    how |= {"tune": tune, "sampler": sampler}
    found = zoo.leaderboard(dataset, **names, root=root, out=out, **how, report=lambda line: tell(line, err=True))
    if as_json:
        print(json.dumps(json.loads((out.expanduser() / "leaderboard.json").read_text())))
    else:
        tell(found)
    if not found.finished:
        raise typer.Exit(1)


@app.command(cls=Command)
def curve(
    dataset: Dataset,
    task: Task,
    model: Annotated[list[str], typer.Option("--model", help="Models: a,b or several.")],
    out: Annotated[Path, typer.Option(help="The folder to write; the same command goes on where it was stopped.")],
    fractions: Annotated[str, typer.Option(help="Shares of the training subjects.")] = "0.1,0.2,0.5,1",
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="How many: 0, 1, ...")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    metric: Annotated[str | None, typer.Option(help="What is drawn; the first of the task's kind by default.")] = None,
) -> None:
    """Train models on shares of the training subjects, and draw how they learn."""
    check_known(datasets=dataset, tasks=task)
    models = several("models", model)
    import zoo

    try:
        shares = [float(f) for f in fractions.split(",") if f.strip()]
    except ValueError:
        raise UserError(
            f"fractions {fractions!r} must be numbers with commas between them, such as 0.1,0.5,1."
        ) from None
    how = {"seeds": seeds, "jobs": jobs, "metric": metric, "settings": parsed(settings)}
    found = zoo.curve(dataset, task, models, shares, root, out=out, **how, report=lambda line: tell(line, err=True))
    tell(found[found.metric == found.attrs["metric"]].to_string(index=False))
    if not len(found):
        raise typer.Exit(1)
