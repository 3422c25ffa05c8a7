"""Commands that tell what there is: list, info."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from zoo import registry
from zoo.cli._names import NOUNS
from zoo.cli._options import AsJson, Command, Root, Settings
from zoo.cli._settings import parsed
from zoo.cli._telling import tell
from zoo.registry import ModelFacts, UserError

app = typer.Typer()


@app.command("list", cls=Command)
def list_(
    noun: Annotated[str, typer.Argument(help="datasets, kinds, tasks or models")],
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
    facts = {name: _facts_of_model(name) if noun == "models" else ModelFacts() for name in found}
    if as_json:
        columns = ("family", "explains") if noun == "models" else ()
        told = {n: {c: getattr(facts[n], c) for c in columns} for n in found}
        print(json.dumps([{"name": n, "summary": s, **told[n]} for n, s in found.items()]))
        return
    families, explaining = ({n: getattr(facts[n], f) or "" for n in found} for f in ("family", "explains"))
    width, wide = (max(map(len, column), default=0) for column in (found, families.values()))
    for name, summary in found.items():
        middle = f"  {families[name]:<{wide}}" if wide else ""
        explains = f" [explains by {explaining[name]}]" if explaining[name] else ""
        tell(f"{name:<{width}}{middle}  {summary}{explains}".rstrip())


def _facts_of_model(model: str) -> ModelFacts:
    try:
        return registry.models.facts(model)
    except UserError:  # somebody's package that cannot be imported is listed like the others
        return ModelFacts()


@app.command(cls=Command)
def info(
    name: Annotated[str, typer.Argument(help="a dataset, kind, task or model; `trainer`; or `drugs`, with --dataset")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Whose drug orders to look at.")] = None,
    root: Root = None,
    settings: Settings = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Tell parameters with defaults, paper and inputs; of `drugs`, how many orders of a dataset have an ATC class."""
    from zoo import experiment

    if name == experiment.DRUGS:
        found, cleaning = experiment.drug_coverage_of(dataset, root, parsed(settings))
        if as_json:
            print(json.dumps({"dataset": dataset, **dataclasses.asdict(found), "share": found.share}))
            return
        tell(found, *experiment.cleaning_lines(cleaning))
        return
    told = experiment.info(name, dataset, root, settings=parsed(settings))
    if as_json:
        print(json.dumps(told.facts if len(told.facts) > 1 else told.facts[0], default=str))
    else:
        tell(told)
