"""Commands that look at a finished run: evaluate, predict, embed, explain."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from zoo import registry
from zoo.cli._options import AsJson, Command, Root, Settings
from zoo.cli._settings import of_other_dataset
from zoo.cli._telling import tell, tell_result

app = typer.Typer()

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
Other = Annotated[str | None, typer.Option("--dataset", help="Another dataset than the run's own.")]
Table = Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.")]
Split = Annotated[str | None, typer.Option(help="train, validation, test or all.")]


@app.command(cls=Command)
def evaluate(
    run: RunFolder,
    dataset: Other = None,
    root: Root = None,
    split: Split = None,
    by: Annotated[list[str], typer.Option(help="Subgroups too: sex, age or ethnicity; may be repeated.")] = [],  # noqa: B006
    thresholds: Annotated[str | None, typer.Option(help="tuned: on the validation split; else the run's own.")] = None,
    average: Annotated[
        str, typer.Option(help="visit; patient: the mean of each patient's mean over visits.")
    ] = "visit",
    strict: Annotated[
        bool | None, typer.Option(help="Labels that the run was not trained on count as misses; else as the data say.")
    ] = None,
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Test a finished run, on its own dataset or on another one."""
    own = of_other_dataset(dataset, settings)
    from zoo.inference import evaluate

    how = {"by": by, "thresholds": thresholds, "average": average, "strict": strict}
    found = evaluate(run, dataset, root, split=split, **how, **own)
    tell_result(found, as_json)


@app.command(cls=Command)
def predict(
    run: RunFolder,
    out: Table,
    dataset: Other = None,
    root: Root = None,
    split: Split = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write what a finished run predicts for each sample."""
    _write_rows("predict", "prediction", run, out, dataset, root, split, settings)


@app.command(cls=Command)
def embed(
    run: RunFolder,
    out: Table,
    dataset: Other = None,
    root: Root = None,
    split: Split = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write the vector that a finished run has of the patient at each sample."""
    _write_rows("embed", "vector", run, out, dataset, root, split, settings)


def _write_rows(
    verb: str,
    what: str,
    run: Path,
    out: Path,
    dataset: str | None,
    root: Path | None,
    split: str | None,
    settings: list[str],
) -> None:
    """Write what a function of `zoo.inference` finds for each sample, and tell what a reader must know."""
    from zoo.experiment import TABLES, writable, write_table

    out = writable(out, *TABLES)
    own = of_other_dataset(dataset, settings)
    from zoo import inference

    found = getattr(inference, verb)(run, dataset, root, split=split, **own)
    write_table(found, out)
    tell(f"{registry.counted(len(found), what)} lie{'s' if len(found) == 1 else ''} in {out}")
    tell(*(f"  note: {note}" for note in dict.fromkeys(found.attrs["notes"])))


@app.command(cls=Command)
def explain(
    run: RunFolder,
    sample: Annotated[int, typer.Option(help="The row of the sample in what `zoo predict` writes.")],
    out: Annotated[
        Path | None, typer.Option(help="A file to write instead of printing: .html (a heat map), .csv or .parquet.")
    ] = None,
    dataset: Other = None,
    root: Root = None,
    split: Split = None,
    output: Annotated[str | None, typer.Option(help="The class or label; the most probable one by default.")] = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Tell what a finished run looked at in one sample."""
    from zoo.cache.writing import whole
    from zoo.experiment import writable, write_table

    if out is not None:
        out = writable(out, ".html", ".csv", ".parquet")
    own = of_other_dataset(dataset, settings)
    from zoo.inference import explain

    found = explain(run, sample, dataset, root, split=split, output=output, **own)
    if out is None:
        tell(found)
    elif out.suffix == ".html":
        from zoo.reporting._explained import explained

        page = explained(found, f"What {run.name} looked at in sample {sample}")
        with whole(out) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
    else:
        write_table(found, out)
    last = "{output}: score {score:.4f}, logit {logit:.4f}, label {label}".format(**found.attrs)
    tell(*textwrap.wrap(last, shutil.get_terminal_size().columns, subsequent_indent="  "))
