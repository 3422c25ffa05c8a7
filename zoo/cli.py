"""The command ``zoo``."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from zoo import registry
from zoo.registry import UserError

app = typer.Typer(
    help="Predictive modelling on electronic health records.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
NOUNS = {"datasets": registry.datasets, "tasks": registry.tasks, "models": registry.models}

Dataset = Annotated[str, typer.Option("--dataset", help="A dataset; see `zoo list datasets`.")]
Root = Annotated[Path | None, typer.Option("--root", help="The folder with the dataset's tables.")]
Task = Annotated[str, typer.Option("--task", help="A task; see `zoo list tasks`.")]
Settings = Annotated[
    list[str],
    typer.Option("--set", help="KEY=VALUE with a key of task., data., model. or trainer. and a value of JSON or text."),
]
Model = Annotated[str, typer.Option("--model", help="A model; see `zoo list models`.")]
Seed = Annotated[int, typer.Option("--seed", help="Seeds training.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder; a new one below runs by default.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(asked: bool) -> None:
    if asked:
        import zoo

        tell(f"zoo {zoo.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Predictive modelling on electronic health records."""


@app.command("list")
def list_(
    noun: Annotated[str, typer.Argument(help="datasets, tasks or models")],
    task: Annotated[str | None, typer.Option("--task", help="Only models that serve this task.")] = None,
    concepts: Annotated[
        list[str], typer.Option("--concept", help="Only models that can take this concept; may be repeated.")
    ] = [],  # noqa: B006
    kind: Annotated[str | None, typer.Option("--kind", help="Only models for this kind of task.")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Only models of this family.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what there is, a line each; of models with their family, and with what they explain a prediction."""
    if noun not in NOUNS:
        raise UserError(f"unknown noun {noun!r}: {registry.nearest(noun, NOUNS)}.")
    if noun == "models":
        names = registry.models_that_serve(task, concepts, kind, family)
    elif task or concepts or kind or family:
        raise UserError(
            f"--task, --concept, --kind and --family are for `zoo list models`: `zoo list {noun}` has none."
        )
    else:
        names = NOUNS[noun].names()
    found = {name: NOUNS[noun].summary(name) for name in names}
    families, explaining = (
        {n: _fact_of_model(n, fact) if noun == "models" else "" for n in found} for fact in ("family", "explains")
    )
    if as_json:
        told = {n: {"family": families[n] or None, "explains": explaining[n] or None} for n in found}
        more = {n: told[n] if noun == "models" else {} for n in found}
        print(json.dumps([{"name": n, "summary": s, **more[n]} for n, s in found.items()]))
        return
    width, wide = (max(map(len, column), default=0) for column in (found, families.values()))
    for name, summary in found.items():
        middle = f"  {families[name]:<{wide}}" if wide else ""
        explains = f" [explains by {explaining[name]}]" if explaining[name] else ""
        tell(f"{name:<{width}}{middle}  {summary}{explains}".rstrip())


def _fact_of_model(model: str, fact: str) -> str:
    try:
        return getattr(registry.models.facts(model), fact) or ""
    except UserError:  # somebody's package that cannot be imported is listed like the others
        return ""


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="a dataset, task or model; `trainer`; or `drugs`, with --dataset")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Whose drug orders to look at.")] = None,
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Tell parameters with defaults, paper and inputs; of `drugs`, how many orders of a dataset have an ATC class."""
    from zoo import experiment

    parsed = _parsed(settings)
    if name == experiment.DRUGS:
        found, cleaning = experiment.drug_coverage_of(dataset, root, parsed)
        if as_json:
            print(json.dumps({"dataset": dataset, **dataclasses.asdict(found), "share": found.share}))
            return
        tell(found, *experiment.cleaning_lines(cleaning))
        return
    told = experiment.info(name, dataset, root, settings=parsed)
    if as_json:
        print(json.dumps(told.facts if len(told.facts) > 1 else told.facts[0], default=str))
    else:
        tell(told)


@app.command()
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
    _known(datasets=dataset, tasks=task, models=model)
    from zoo import experiment

    result = experiment.run(dataset, task, model, root, seed=seed, out=out, init=init, settings=_parsed(settings))
    _tell_result(result, as_json)


@app.command()
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
    _known(datasets=dataset, tasks=task, models=model)
    from zoo import experiment

    result = experiment.pretrain(dataset, task, model, root, seed=seed, out=out, settings=_parsed(settings))
    _tell_result(result, as_json)


Other = Annotated[str | None, typer.Option("--dataset", help="Another dataset than the run's own.")]
Split = Annotated[str | None, typer.Option(help="train, validation, test or all.")]


@app.command()
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
    own = _of_other_dataset(dataset, settings)
    from zoo.inference import evaluate

    how = {"by": by, "thresholds": thresholds, "average": average, "strict": strict}
    found = evaluate(run, dataset, root, split=split, **how, **own)
    _tell_result(found, as_json)


@app.command()
def predict(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.")],
    dataset: Other = None,
    root: Root = None,
    split: Split = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write what a finished run predicts for each sample."""
    from zoo.experiment import TABLES, writable, write_table

    out = writable(out, *TABLES)
    own = _of_other_dataset(dataset, settings)
    from zoo.inference import predict

    found = predict(run, dataset, root, split=split, **own)
    write_table(found, out)
    tell(f"{registry.counted(len(found), 'prediction')} lie{'s' if len(found) == 1 else ''} in {out}")
    tell(*(f"  note: {note}" for note in dict.fromkeys(found.attrs["notes"])))


@app.command()
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
    own = _of_other_dataset(dataset, settings)
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


@app.command()
def samples(
    dataset: Dataset,
    task: Task,
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .csv.")],
    root: Root = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write the cohort, and print its attrition table."""
    _known(datasets=dataset, tasks=task)
    from zoo import experiment

    experiment.writable(out, *experiment.TABLES)
    found = experiment.samples(dataset, task, root, out=out, settings=_parsed(settings))
    import pandas as pd

    tell(pd.DataFrame(found.attrs["attrition"]).to_string(index=False))
    tell(*experiment.cleaning_lines(found.attrs["cleaning"]))


@app.command()
def events(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    root: Root = None,
    concepts: Annotated[list[str], typer.Option("--concept", help="Only this concept; may be repeated.")] = [],  # noqa: B006
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write the dataset in MEDS format."""
    _known(datasets=dataset)
    from zoo import experiment

    tell(*experiment.events(dataset, out, root, concepts=concepts or None, settings=_parsed(settings)))


@app.command()
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


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A model; see `zoo list models`.")],
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Check a model with the conformance kit; exit 1 with the failed checks by name."""
    _known(models=model)
    from zoo import experiment

    report = experiment.check(model, **experiment.only(experiment.shared_out(_parsed(settings)), "model")["model"])
    if as_json:
        facts = {"passed": report.passed, "failures": report.failures, "details": report.details}
        print(json.dumps({"model": model, "checks": report.checks, **facts}))
    else:
        tell(report)
    if not report.passed:
        raise typer.Exit(1)


Metric = Annotated[str | None, typer.Option(help="What ranks; the first of the task's kind by default.")]
Sampler = Annotated[str, typer.Option(help="How settings are drawn: random, or optuna, which needs that package.")]


@app.command()
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
    _known(datasets=dataset, tasks=task, models=model)
    from zoo import experiment

    how = {"trials": trials, "metric": metric, "sampler": sampler, "seed": seed, "settings": _parsed(settings)}
    found = experiment.tune(dataset, task, model, root, out=out, **how)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        tell(found)


@app.command()
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
    _known(datasets=dataset)
    names = {n: _names(n, given) for n, given in (("tasks", tasks), ("models", models))}
    import zoo

    how = {"seeds": seeds, "jobs": jobs, "resamples": resamples, "metric": metric, "settings": _parsed(settings)}
    how |= {"tune": tune, "sampler": sampler}
    found = zoo.leaderboard(dataset, **names, root=root, out=out, **how, report=lambda line: tell(line, err=True))
    if as_json:
        print(json.dumps(json.loads((out.expanduser() / "leaderboard.json").read_text())))
    else:
        tell(found)
    if not found.finished:
        raise typer.Exit(1)


@app.command()
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
    _known(datasets=dataset, tasks=task)
    models = _names("models", model)
    import zoo

    try:
        shares = [float(f) for f in fractions.split(",") if f.strip()]
    except ValueError:
        raise UserError(
            f"fractions {fractions!r} must be numbers with commas between them, such as 0.1,0.5,1."
        ) from None
    how = {"seeds": seeds, "jobs": jobs, "metric": metric, "settings": _parsed(settings)}
    found = zoo.curve(dataset, task, models, shares, root, out=out, **how, report=lambda line: tell(line, err=True))
    tell(found[found.metric == found.attrs["metric"]].to_string(index=False))
    if not len(found):
        raise typer.Exit(1)


def _names(noun: str, given: list[str]) -> list[str]:
    """Names that were given one by one or with commas between them; ``all`` stands for all there are."""
    found = [n for text in given for n in text.split(",") if n]
    if found == ["all"]:
        return NOUNS[noun].names()
    for name in found:
        _known(**{noun: name})
    return found


def _spread(arguments: list[str]) -> list[str]:
    """``--tasks a b`` as ``--tasks a --tasks b``, and so for models."""
    found: list[str] = []
    option = None
    for argument in arguments:
        if option and not argument.startswith("-"):
            found += [option, argument]
            continue
        option = argument if argument in ("--tasks", "--models") else None
        found += [] if option else [argument]
    return found


def tell(*texts: object, err: bool = False) -> None:
    """Print for people: names in others' tables cannot steer the terminal. JSON escapes them by itself."""
    for text in texts:
        print(*(registry.printable(line) for line in str(text).split("\n")), sep="\n", file=sys.stderr if err else None)


def _tell_result(result, as_json: bool) -> None:
    if as_json:
        print(result.to_line())
    else:
        tell(result)


def main() -> None:
    """Run the command; a user's mistake ends with status 2 and a line that tells how to mend it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal may know fewer characters than names have
            stream.reconfigure(errors="backslashreplace")
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    spread = _spread(arguments) if arguments[:1] == ["leaderboard"] else arguments
    try:
        app(spread, standalone_mode=True)
    except (UserError, OSError) as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        tell(f"zoo: {error if isinstance(error, UserError) else _file_trouble(error)}", err=True)
        sys.exit(2)


def _file_trouble(error: OSError) -> str:
    where = " and ".join(str(n) for n in (error.filename, error.filename2) if n is not None)
    return f"{error.strerror or error}{f': {where}' if where else ''} (with --debug the traceback is shown)."


def _known(**names: str) -> None:
    """Fail early, before anything heavy is imported, where a name is unknown."""
    for noun, name in names.items():
        holder = NOUNS[noun]
        if name not in holder.names():
            raise UserError(f"unknown {holder.noun} {name!r}: {registry.nearest(name, holder.names())}.")


def _parsed(settings: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set {registry.shown(setting)} must be KEY=VALUE, such as task.days=15.")
        if key in found:
            raise UserError(f"--set {key} is given twice.")
        try:
            found[key] = json.loads(text, parse_constant=_no_number, parse_float=_number)
        except json.JSONDecodeError:
            found[key] = text
        except (RecursionError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"--set {key}: {registry.shown(text)} is too long for a number or a list.") from error
    return found


def _number(text: str) -> float:
    number = float(text)
    return _no_number(text) if math.isinf(number) else number


def _no_number(name: str) -> None:
    raise UserError(f"{name[:40]} is no number that a setting can take.")


def _of_other_dataset(dataset: str | None, settings: list[str]) -> dict[str, object]:
    """A dataset's own parameters out of the settings ``data``; fails early where its name is unknown."""
    if dataset is not None:
        _known(datasets=dataset)
    from zoo.experiment import only, shared_out

    return only(shared_out(_parsed(settings)), "data")["data"]


if __name__ == "__main__":
    main()
