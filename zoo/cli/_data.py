"""Commands that write data, or check what would read them: samples, events, synth, check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zoo import registry
from zoo.cli._names import check_known
from zoo.cli._options import AsJson, Command, Dataset, Root, Settings, Task
from zoo.cli._settings import parsed
from zoo.cli._telling import tell

app = typer.Typer()


@app.command(cls=Command)
def samples(
    dataset: Dataset,
    task: Task,
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.")],
    root: Root = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write the cohort, and print its attrition table."""
    check_known(datasets=dataset, tasks=task)
    from zoo import experiment

    experiment.writable(out, *experiment.TABLES)
    found = experiment.samples(dataset, task, root, out=out, settings=parsed(settings))
    import pandas as pd

    tell(pd.DataFrame(found.attrs["attrition"]).to_string(index=False))
    tell(*experiment.cleaning_lines(found.attrs["cleaning"]))


@app.command(cls=Command)
def events(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    root: Root = None,
    concepts: Annotated[list[str], typer.Option("--concept", help="Only this concept; may be repeated.")] = [],  # noqa: B006
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write the dataset in MEDS format."""
    check_known(datasets=dataset)
    from zoo import experiment

    tell(*experiment.events(dataset, out, root, concepts=concepts or None, settings=parsed(settings)))


@app.command(cls=Command)
def synth(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    schema: Annotated[str, typer.Option(help="mimic3, mimic4 or eicu")] = "mimic3",
    patients: Annotated[int, typer.Option(min=1, help="How many.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the generator.")] = 0,
    format: Annotated[str, typer.Option(help="csv.gz, csv or parquet")] = "csv.gz",
) -> None:
    """Write synthetic source tables."""
    from zoo import experiment

    written = experiment.synth(out, schema, patients, seed, format)
    tell(f"{registry.counted(patients, 'patient')} in the tables of {schema} lie in {written}")


@app.command(cls=Command)
def check(
    model: Annotated[str, typer.Argument(help="A model; see `zoo list models`.")],
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Check a model with the conformance kit; exit 1 with the failed checks by name."""
    check_known(models=model)
    from zoo import experiment

    report = experiment.check(model, **experiment.only(experiment.shared_out(parsed(settings)), "model")["model"])
    if as_json:
        facts = {"passed": report.passed, "failures": report.failures, "details": report.details}
        print(json.dumps({"model": model, "checks": report.checks, **facts}))
    else:
        tell(report)
    if not report.passed:
        raise typer.Exit(1)
