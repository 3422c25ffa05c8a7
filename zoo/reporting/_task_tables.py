"""A task's part of a leaderboard as Markdown."""

from __future__ import annotations

from zoo.registry import as_setting, counted
from zoo.reporting._task_board import WHAT_CEILING, Entry, TaskBoard

CEILING = "ceiling"
WHAT_TUNING = (
    "Tuning: the best of so many trials on the validation split, the first of which has the defaults; CPU time of all "
    "of them together. A setting marked with * lies at the edge of its range: a better one may lie beyond."
)


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


def of_task(task: TaskBoard, seeds: int) -> list[str]:
    """Lines for people: results in the order of ranks, tunings, what was left out, and failed runs."""
    lines = [f"## {cell(task.task)}", ""]
    if task.entries:
        shown = [task.metric, *(n for n in task.entries[0].metrics if n != task.metric)]
        head = ["rank", "model", "seeds", *shown, "best less this", "p", "p (Holm)"]
        rows = [_row(entry, shown, seeds) for entry in task.entries]
        of = f"{counted(task.samples, 'test sample')} of {counted(task.subjects, 'subject')}"
        lines += [f"{of}, ranked by {task.metric}.", ""]
        if task.ceiling:
            rows.append(["", CEILING, "", *(_span(task.ceiling[n]) for n in shown), "", "", ""])
        lines += [*table(head, rows), ""]
    if task.ceiling:
        lines += [WHAT_CEILING, ""]
    head, rows = tuning_rows(task)
    if rows:
        lines += [WHAT_TUNING, "", *table(head, rows), ""]
    if task.left_out:
        lines += [cell(left_out(task)), ""]
    if task.failed:
        rows = [[f["model"], str(f["seed"]), f["reason"]] for f in task.failed]
        lines += ["Failed:", "", *table(["model", "seed", "reason"], rows), ""]
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


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(map(cell, cells)) + " |"


def cell(text: str) -> str:
    """Text that cannot break a table or become markup."""
    text = " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("`", "'")
