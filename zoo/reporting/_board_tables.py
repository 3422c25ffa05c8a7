"""A leaderboard as Markdown, and as one long table."""

from __future__ import annotations

import pandas as pd

from zoo.registry import counted
from zoo.reporting._board import WHAT_CEILING, Board, Entry, TaskBoard

COLUMNS = ("dataset", "task", "kind", "model", "rank", "seeds", "metric", "value", "low", "high", "sd")
CEILING = "ceiling"
TESTED = ("difference_from_best", "difference_low", "difference_high", "p", "p_holm")


def long_table(board: Board) -> pd.DataFrame:
    """A row for each task, model and metric; the columns of the test stand on rows of the ranking metric; and a row for
    each failed run, with the reason."""
    rows = []
    for task in board.tasks:
        same = {"dataset": board.dataset, "task": task.task, "kind": task.kind}
        for entry in task.entries:
            whose = {**same, "model": entry.model, "rank": entry.rank, "seeds": " ".join(map(str, entry.seeds))}
            for name, found in entry.metrics.items():
                tested = _tested(entry) if name == task.metric else {}
                rows.append({**whose, "metric": name, **found, **tested})
        for name, found in (task.ceiling or {}).items():
            rows.append({**same, "model": CEILING, "metric": name, **found})
        rows += [{**same, "model": f["model"], "seeds": str(f["seed"]), "reason": f["reason"]} for f in task.failed]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *TESTED, "reason"])
    return table.astype({"rank": "Int64"})


def _tested(entry: Entry) -> dict:
    if entry.difference is None:
        return {}
    names = dict(zip(("value", "low", "high", "p", "p_holm"), TESTED, strict=True))
    return {names[n]: v for n, v in entry.difference.items()}


def markdown(board: Board) -> str:
    """For people: a table for each task, failed runs, and how values came about."""
    lines = [f"# {_cell(board.dataset)}", "", board.how, f"{board.resamples} resamples; ehr-zoo {board.version}.", ""]
    if board.settings:
        lines += ["Settings: " + ", ".join(f"`{_cell(f'{n}={v}')}`" for n, v in board.settings.items()) + ".", ""]
    if board.overall:
        rows = [[o["model"], f"{o['mean_rank']:.2f}"] for o in board.overall]
        lines += ["## Mean rank", "", *_table(["model", "mean rank"], rows), ""]
    for task in board.tasks:
        lines += _of_task(task, board.seeds)
    return "\n".join(lines).rstrip() + "\n"


def _of_task(task: TaskBoard, seeds: int) -> list[str]:
    lines = [f"## {_cell(task.task)}", ""]
    if task.entries:
        shown = [task.metric, *(n for n in task.entries[0].metrics if n != task.metric)]
        head = ["rank", "model", "seeds", *shown, "best less this", "p", "p (Holm)"]
        rows = [_row(entry, shown, seeds) for entry in task.entries]
        of = f"{counted(task.samples, 'test sample')} of {counted(task.subjects, 'subject')}"
        lines += [f"{of}, ranked by {task.metric}.", ""]
        if task.ceiling:
            rows.append(["", CEILING, "", *(_span(task.ceiling[n]) for n in shown), "", "", ""])
        lines += [*_table(head, rows), ""]
    if task.ceiling:
        lines += [WHAT_CEILING, ""]
    if task.left_out:
        lines += [_cell(left_out(task)), ""]
    if task.failed:
        rows = [[f["model"], str(f["seed"]), f["reason"]] for f in task.failed]
        lines += ["Failed:", "", *_table(["model", "seed", "reason"], rows), ""]
    return lines


def left_out(task: TaskBoard) -> str:
    """Which models do not serve the task, in a sentence."""
    return f"Not for {task.kind} tasks: {', '.join(task.left_out)}."


def _row(entry: Entry, shown: list[str], seeds: int) -> list[str]:
    done = str(seeds) if len(entry.seeds) == seeds else f"{len(entry.seeds)} of {seeds}"
    difference = entry.difference
    tested = [_span(difference), _p(difference["p"]), _p(difference["p_holm"])] if difference else ["", "", ""]
    rank = "" if entry.rank is None else str(entry.rank)
    return [rank, entry.model, done, *(_span(entry.metrics[n]) for n in shown), *tested]


def _span(found: dict) -> str:
    if found["value"] is None:
        return "undefined"
    return f"{found['value']:.4f}" + ("" if found["low"] is None else f" [{found['low']:.4f}, {found['high']:.4f}]")


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Text that cannot break a table or become markup."""
    text = " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("`", "'")
