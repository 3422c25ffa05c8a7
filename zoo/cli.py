"""The command ``zoo``."""

from __future__ import annotations

import dataclasses
import json
import sys
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
DRUGS = "drugs"
"""What `zoo info` knows besides names."""
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


@app.command("list")
def list_(noun: Annotated[str, typer.Argument(help="datasets, tasks or models")], as_json: AsJson = False) -> None:
    """List what there is, a line each."""
    if noun not in NOUNS:
        raise UserError(f"unknown noun {noun!r}: {registry.nearest(noun, NOUNS)}.")
    found = {name: NOUNS[noun].summary(name) for name in NOUNS[noun].names()}
    if as_json:
        print(json.dumps([{"name": n, "summary": s} for n, s in found.items()]))
        return
    width = max(map(len, found), default=0)
    for name, summary in found.items():
        print(f"{name:<{width}}  {summary}".rstrip())


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="a dataset, task or model; or `drugs`, with --dataset")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Whose drug orders to look at.")] = None,
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Tell parameters with defaults, paper and inputs; of `drugs`, how many orders of a dataset have an ATC class."""
    if name == DRUGS:
        _info_drugs(dataset, root, settings, as_json)
        return
    if dataset is not None or root is not None or settings:
        raise UserError(f"--dataset, --root and --set are for `zoo info {DRUGS}`: `zoo info {name}` takes none.")
    found = [r for r in NOUNS.values() if name in r.names()]
    if not found:
        known = [n for r in NOUNS.values() for n in r.names()]
        raise UserError(f"unknown name {name!r}: {registry.nearest(name, [*known, DRUGS])}.")
    facts = []
    for holder in found:
        entry = holder.entry(name)
        parameters = {n: p.default for n, p in registry.parameters_of(entry.thing).items()}
        said = {k: sorted(v) if isinstance(v, (set, frozenset)) else v for k, v in entry.facts.items()}
        documentation = _clean(entry.thing.__doc__)
        facts.append(
            {"noun": holder.noun, "name": name, **said, "parameters": parameters, "documentation": documentation}
        )
    if as_json:
        print(json.dumps(facts if len(facts) > 1 else facts[0], default=str))
        return
    for fact in facts:
        print(f"{fact['noun']} {name}\n\n{fact['documentation']}\n")
        for key, value in fact.items():
            if key not in ("noun", "name", "parameters", "documentation"):
                print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
        print("parameters:" if fact["parameters"] else "parameters: none")
        for key, default in fact["parameters"].items():
            print(f"  {key} = {default!r}")


def _info_drugs(dataset: str | None, root: Path | None, settings: list[str], as_json: bool) -> None:
    if dataset is None:
        raise UserError(f"zoo info {DRUGS} needs --dataset, and --root where its tables are: whose orders to look at.")
    own = _of_other_dataset(dataset, settings)
    from zoo.data._drug_coverage import drug_coverage
    from zoo.data._store import VisitIndex
    from zoo.knowledge.drugs import AtcMap
    from zoo.prepare import Stores, load_dataset

    opened = load_dataset(dataset, root, **own)
    store = Stores(opened, VisitIndex.read(opened.folder())).of("drug")
    found = drug_coverage(store, opened.drug_map and AtcMap.from_csv(opened.drug_map))
    if as_json:
        print(json.dumps({"dataset": dataset, **dataclasses.asdict(found), "share": found.share}))
        return
    print(found)
    _print_cleaning(opened.report(["drug"]))


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
    print(result.to_line() if as_json else result)


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
    print(result.to_line() if as_json else result)


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
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Test a finished run, on its own dataset or on another one."""
    own = _of_other_dataset(dataset, settings)
    from zoo.inference import evaluate

    found = evaluate(run, dataset, root, split=split, by=by, thresholds=thresholds, average=average, **own)
    print(found.to_line() if as_json else found)


@app.command()
def predict(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    dataset: Other = None,
    root: Root = None,
    split: Split = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write what a finished run predicts for each sample."""
    _writable(out, ".parquet")
    own = _of_other_dataset(dataset, settings)
    from zoo.inference import predict

    found = predict(run, dataset, root, split=split, **own)
    _write(out, lambda path: found.to_parquet(path, index=False))
    print(f"{len(found)} predictions lie in {out}")
    for note in found.attrs["notes"]:
        print(f"  note: {note}")


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
    if out is not None:
        _writable(out, ".html", ".csv", ".parquet")
    own = _of_other_dataset(dataset, settings)
    from zoo.inference import explain

    found = explain(run, sample, dataset, root, split=split, output=output, **own)
    if out is None:
        print(found)
    elif out.suffix == ".html":
        from zoo.reporting._explained import explained

        page = explained(found, f"What {run.name} looked at in sample {sample}")
        _write(out, lambda path: path.write_text(page, encoding="utf-8"))
    else:
        write = found.to_csv if out.suffix == ".csv" else found.to_parquet
        _write(out, lambda path: write(path, index=False))
    print("{output}: score {score:.4f}, logit {logit:.4f}, label {label}".format(**found.attrs))


@app.command()
def samples(
    dataset: Dataset,
    task: Task,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    root: Root = None,
    settings: Settings = [],  # noqa: B006
) -> None:
    """Write the cohort, and print its attrition table."""
    _known(datasets=dataset, tasks=task)
    _writable(out, ".parquet")
    from zoo.experiment import prepared, shared_out

    data = prepared(dataset, task, root, _only(shared_out(_parsed(settings)), "task", "data"))
    _write(out, lambda path: data.samples.astype({"split": "str"}).to_parquet(path, index=False))
    print(data.attrition.to_string(index=False))
    _print_cleaning(data.dataset.report(sorted(data.task.needs)))


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
    from zoo.experiment import shared_out
    from zoo.meds import write_meds
    from zoo.prepare import load_dataset

    opened = load_dataset(dataset, root, **_only(shared_out(_parsed(settings)), "data")["data"])
    for line in write_meds(opened, out, concepts or None):
        print(line)
    _print_cleaning(opened.report(concepts or opened.concepts))


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    schema: Annotated[str, typer.Option(help="mimic3, mimic4 or eicu")] = "mimic3",
    patients: Annotated[int, typer.Option(min=1, help="How many.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the generator.")] = 0,
    format: Annotated[str, typer.Option(help="csv.gz, csv or parquet")] = "csv.gz",
) -> None:
    """Write synthetic source tables."""
    from zoo.datasets import _writers
    from zoo.progress import progress

    for name, value, known in (("schema", schema, _writers.SCHEMAS), ("format", format, _writers.FORMATS)):
        if value not in known:
            raise UserError(f"--{name} {value!r} is unknown: {registry.nearest(value, known)}.")
    if out.exists():
        raise UserError(f"{out} exists: choose another folder.")
    with progress(f"writing {patients} patients") as report:
        try:
            _writers.write_source(
                schema, patients, seed, out, format=format, progress=lambda done, total: report(f"{done} of {total}")
            )
        except ValueError as error:
            raise UserError(str(error)) from error
    print(f"{patients} patients in the tables of {schema} lie in {out}")


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A model; see `zoo list models`.")],
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Check a model with the conformance kit; exit 1 with the failed checks by name."""
    _known(models=model)
    from zoo.experiment import shared_out
    from zoo.testing import check_model

    report = check_model(model, **_only(shared_out(_parsed(settings)), "model")["model"])
    if as_json:
        facts = {"passed": report.passed, "failures": report.failures, "details": report.details}
        print(json.dumps({"model": model, "checks": report.checks, **facts}))
    else:
        print(report)
    if not report.passed:
        raise typer.Exit(1)


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
    metric: Annotated[str | None, typer.Option(help="What ranks; the first of the task's kind by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train every task with every model, and compare them in tables and on a page."""
    _known(datasets=dataset)
    names = {n: _names(n, given) for n, given in (("tasks", tasks), ("models", models))}
    from zoo import leaderboard as runs

    how = {"seeds": seeds, "jobs": jobs, "resamples": resamples, "metric": metric, "settings": _parsed(settings)}
    found = runs.leaderboard(
        dataset, **names, root=root, out=out, **how, report=lambda line: typer.echo(line, err=True)
    )
    print(json.dumps(json.loads((out.expanduser() / "leaderboard.json").read_text())) if as_json else found)
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
    from zoo.curve import curve as drawn

    try:
        shares = [float(f) for f in fractions.split(",") if f.strip()]
    except ValueError:
        raise UserError(
            f"fractions {fractions!r} must be numbers with commas between them, such as 0.1,0.5,1."
        ) from None
    how = {"seeds": seeds, "jobs": jobs, "metric": metric, "settings": _parsed(settings)}
    found = drawn(dataset, task, models, shares, root, out=out, **how, report=lambda line: typer.echo(line, err=True))
    print(found[found.metric == found.attrs["metric"]].to_string(index=False))
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


def main() -> None:
    """Run the command; a user's mistake ends with status 2 and a line that tells how to mend it."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    spread = _spread(arguments) if arguments[:1] == ["leaderboard"] else arguments
    try:
        app(spread, standalone_mode=True)
    except (UserError, OSError) as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        print(f"zoo: {error if isinstance(error, UserError) else _file_trouble(error)}", file=sys.stderr)
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
            raise UserError(f"--set {setting!r} must be KEY=VALUE, such as task.days=15.")
        if key in found:
            raise UserError(f"--set {key} is given twice.")
        try:
            found[key] = json.loads(text, parse_constant=_no_number)
        except json.JSONDecodeError:
            found[key] = text
    return found


def _no_number(name: str) -> None:
    raise UserError(f"{name} is no number that a setting can take.")


def _only(groups: dict[str, dict], *wanted: str) -> dict[str, dict]:
    """The settings, where all of them are of the wanted groups."""
    for group, settings in groups.items():
        if settings and group not in wanted:
            allowed = " or ".join(f"{w}." for w in wanted)
            raise UserError(f"--set {group}.{next(iter(settings))} has no effect here: settings begin with {allowed}")
    return groups


def _of_other_dataset(dataset: str | None, settings: list[str]) -> dict[str, object]:
    """A dataset's own parameters out of the settings ``data``; fails early where its name is unknown."""
    if dataset is not None:
        _known(datasets=dataset)
    from zoo.experiment import shared_out

    return _only(shared_out(_parsed(settings)), "data")["data"]


def _writable(out: Path, *endings: str) -> None:
    """Fail early where a file has another ending, or no folder to lie in."""
    if out.suffix not in endings:
        raise UserError(f"--out {out} must end in {' or '.join(endings)}.")
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent} to write {out.name} to.")


def _print_cleaning(cleaning) -> None:
    """Say what was left out or nulled while reading, if anything was."""
    lines = cleaning.lines()
    if lines:
        print("\nleft out or set to null while reading:")
    for line in lines:
        print(f"  {line}")


def _write(out: Path, write) -> None:
    """Write a file under a temporary name and rename it."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        write(unfinished)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def _clean(documentation: str | None) -> str:
    import inspect

    return inspect.cleandoc(documentation or "")


if __name__ == "__main__":
    main()
