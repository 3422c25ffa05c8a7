"""Options and arguments that several commands have, and the class of all commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

Dataset = Annotated[str, typer.Option("--dataset", help="A dataset; see `zoo list datasets`.")]
Root = Annotated[Path | None, typer.Option("--root", help="The folder with the dataset's tables.")]
Task = Annotated[str, typer.Option("--task", help="A task; see `zoo list tasks`.")]
Settings = Annotated[
    list[str],
    typer.Option("--set", help="KEY=VALUE with a key of task., data., model. or trainer. and a value of JSON or text."),
]
Model = Annotated[str, typer.Option("--model", help="A model; see `zoo list models`.")]
Seed = Annotated[int, typer.Option("--seed", help="Seeds training.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Command(TyperCommand):
    """A command that takes ``--debug`` too, as ``zoo`` itself does."""

    def get_params(self, ctx):
        shared = [p for p in ctx.parent.command.params if p.name == "debug"] if ctx.parent else []
        return [*super().get_params(ctx), *shared]
