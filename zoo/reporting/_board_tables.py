"""A leaderboard as Markdown, and as one long table."""

from __future__ import annotations

import json

import pandas as pd

from zoo.registry import as_setting, counted
from zoo.reporting._board import WHAT_CEILING, Board, Entry, TaskBoard

COLUMNS = ("dataset", "task", "kind", "model", "rank", "seeds", "metric", "value", "low", "high", "sd")
CEILING = "ceiling"
TESTED = ("difference_from_best", "difference_low", "difference_high", "p", "p_holm")
TUNED = ("trials", "trials_failed", "trials_seconds", "validation", "settings", "at_edge")
WHAT_TUNING = (
    "Tuning: the best of so many trials on the validation split, the first of which has the defaults; CPU time of all "
    "of them together. A setting marked with * lies at the edge of its range: a better one may lie beyond."
)


def long_table(board: Board) -> pd.DataFrame:
    """A row for each task, model and metric, and for each failed run, with the reason.

    The columns of the test and of the tuning stand on rows of the ranking metric.
    """
    rows = []
    for task in board.tasks:
        same = {"dataset": board.dataset, "task": task.task, "kind": task.kind}
        for entry in task.entries:
            whose = {**same, "model": entry.model, "rank": entry.rank, "seeds": " ".join(map(str, entry.seeds))}
            for name, found in entry.metrics.items():
                more = {**_tested(entry), **_tuned(entry)} if name == task.metric else {}
                rows.append({**whose, "metric": name, **found, **more})
        for name, found in (task.ceiling or {}).items():
            rows.append({**same, "model": CEILING, "metric": name, **found})
        rows += [{**same, "model": f["model"], "seeds": str(f["seed"]), "reason": f["reason"]} for f in task.failed]
    tuned = TUNED if any(e.tuning for t in board.tasks for e in t.entries) else ()
    table = pd.DataFrame(rows, columns=[*COLUMNS, *TESTED, *tuned, "reason"])
    return table.astype({"rank": "Int64", **dict.fromkeys(tuned[:2], "Int64")})


def _tested(entry: Entry) -> dict:
    if entry.difference is None:
        return {}
    names = dict(zip(("value", "low", "high", "p", "p_holm"), TESTED, strict=True))
    return {names[n]: v for n, v in entry.difference.items()}


def _tuned(entry: Entry) -> dict:
    tuning = entry.tuning
    if tuning is None:
        return {}
    told = (tuning.trials, tuning.failed, tuning.seconds, tuning.value, json.dumps(tuning.settings))
    return dict(zip(TUNED, (*told, " ".join(tuning.at_edge)), strict=True))


def tuning_rows(task: TaskBoard) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of tunings, in the order of ranks; no rows where nothing was tuned."""
    tuned = [(e, e.tuning) for e in task.entries if e.tuning]
    metric = tuned[0][1].metric if tuned else ""
    head = ["model", "trials", "failed", "CPU s", f"validation {metric}", f"test {metric}", "best trial", "settings"]
    return head, [
        [
            entry.model,
            str(tuning.trials),
            str(tuning.failed),
            f"{tuning.seconds:.0f}",
            "undefined: the loss decided" if tuning.value is None else f"{tuning.value:.4f}",
            "undefined" if entry.metrics[metric]["value"] is None else f"{entry.metrics[metric]['value']:.4f}",
            f"{tuning.best}{'' if tuning.best else ' (defaults)'}",
            ", ".join(f"{n}={as_setting(v)}{'*' * (n in tuning.at_edge)}" for n, v in tuning.settings.items()),
        ]
        for entry, tuning in tuned
    ]


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
    head, rows = tuning_rows(task)
    if rows:
        lines += [WHAT_TUNING, "", *_table(head, rows), ""]
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
