"""The files of a leaderboard: tables and the page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from zoo.cache.writing import whole
from zoo.reporting._board import Board
from zoo.reporting._page import page
from zoo.reporting._task_board import Entry
from zoo.reporting._task_tables import CEILING
from zoo.result import write_json

COLUMNS = ("dataset", "task", "kind", "model", "rank", "seeds", "metric", "value", "low", "high", "sd")
TESTED = ("difference_from_best", "difference_low", "difference_high", "p", "p_holm")
TUNED = ("trials", "trials_failed", "trials_seconds", "validation", "settings", "at_edge")


def write(found: Board, out: Path) -> None:
    """Write ``leaderboard.md``, ``.csv``, ``.json`` and ``.html`` into a folder."""
    _write_text(out / "leaderboard.md", str(found))
    _write_text(out / "leaderboard.csv", long_table(found).to_csv(index=False, lineterminator="\n"))
    write_json(out / "leaderboard.json", to_dict(found, out))
    _write_text(out / "leaderboard.html", page(found))


def to_dict(found: Board, out: Path) -> dict:
    """JSON-serialisable, with run folders relative to that of the leaderboard."""
    facts = json.loads(json.dumps(asdict(found), default=str))
    for task in facts["tasks"]:
        for entry in task["entries"]:
            entry["folders"] = [Path(f).relative_to(out).as_posix() for f in entry["folders"]]
    return facts


def _write_text(path: Path, text: str) -> None:
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


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
