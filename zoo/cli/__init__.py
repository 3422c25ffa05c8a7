"""The command ``zoo``: a file for each group of commands.

Their heavy imports stand inside functions, so that ``zoo list`` and a mistake take no time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from zoo.cli import _comparisons, _data, _finished_runs, _listing, _runs
from zoo.cli._telling import tell
from zoo.registry import UserError

app = typer.Typer(
    help="Predictive modelling on electronic health records.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@dataclass
class Errors:
    """How errors are told: with their traceback, or in a line."""

    traceback: bool = False


def _version(asked: bool) -> None:
    if asked:
        import zoo

        tell(f"zoo {zoo.__version__}")
        raise typer.Exit


def _debug(context: typer.Context, asked: bool) -> None:
    if asked:
        context.ensure_object(Errors).traceback = True


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", callback=_debug, hidden=True, expose_value=False, help="Show the traceback of an error."
        ),
    ] = False,
) -> None:
    """Predictive modelling on electronic health records."""


for _group in (_listing, _runs, _finished_runs, _data, _comparisons):
    app.add_typer(_group.app)


def main() -> None:
    """Run the command; a user's mistake ends with status 2 and a line that tells how to mend it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal may know fewer characters than names have
            stream.reconfigure(errors="backslashreplace")
    errors = Errors()
    try:
        app(obj=errors)
    except (UserError, OSError) as error:
        if errors.traceback:
            raise
        tell(f"zoo: {error if isinstance(error, UserError) else _file_trouble(error)}", err=True)
        sys.exit(2)


def _file_trouble(error: OSError) -> str:
    where = " and ".join(str(n) for n in (error.filename, error.filename2) if n is not None)
    return f"{error.strerror or error}{f': {where}' if where else ''} (with --debug the traceback is shown)."
