"""How models learn from few patients: a leaderboard for each share of the training subjects, and a curve over them.

Validation and test are the same for all shares, and a smaller share lies within a larger one. ``out`` holds a
leaderboard below ``share-0.1`` and so on, ``curve.csv`` with all that was found, and ``curve.svg`` with the ranking
metric.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from zoo.cache.writing import whole
from zoo.registry import UserError, path_of, shown
from zoo.reporting._charts import Line, curves, picture
from zoo.result import Result

if TYPE_CHECKING:
    from zoo.reporting._task_board import TaskBoard

SHARE = "data.train_share"


def curve(
    dataset: str,
    task: str,
    models: str | Sequence[str],
    fractions: float | Sequence[float],
    root: str | Path | None = None,
    *,
    seeds: int = 5,
    out: str | Path,
    jobs: int = 1,
    settings: Mapping[str, object] | None = None,
    metric: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Run what is missing of a curve, and write it.

    Args:
        dataset, task, models: registered names.
        fractions: shares of the training subjects, such as 0.1, 0.5 and 1.
        root: the folder with the dataset's tables.
        seeds: how many: 0, 1, ... of training; the subjects of a share stay, and so does the split.
        out: the folder; the same call goes on where it was stopped.
        jobs, settings, report: as of `zoo.leaderboard.leaderboard`.
        metric: what is drawn; the first of the kind by default.

    Returns:
        One row for each share, model and metric: ``share``, ``train_samples``, ``model``, ``metric``, ``seeds``,
        ``value`` (the mean over seeds), ``sd`` (over seeds; null for one), and ``low`` and ``high``, the interval over
        seeds and subjects.

    Raises:
        UserError: as `zoo.leaderboard.leaderboard`; or a fraction is none.
    """
    from zoo.leaderboard import leaderboard

    shares = _checked(fractions)
    settings = dict(settings or {})
    if SHARE in settings:
        raise UserError(f"setting {SHARE!r} is what a curve goes through: give fractions instead.")
    out = path_of("out", out)
    rows, ranked_by = [], None
    for share in shares:
        board = leaderboard(
            dataset,
            [task],
            models,
            root,
            seeds=seeds,
            out=out / f"share-{share:g}",
            jobs=jobs,
            settings={**settings, SHARE: share},
            metric=metric,
            report=lambda line, share=share: report(f"share {share:g}: {line}"),
        )
        rows += _rows(board.tasks[0], share)
        ranked_by = ranked_by or board.tasks[0].metric
    columns = ["share", "train_samples", "model", "metric", "seeds", "value", "sd", "low", "high"]
    found = pd.DataFrame(rows, columns=columns)
    found.attrs["metric"] = ranked_by
    with whole(out / "curve.csv") as unfinished:
        found.to_csv(unfinished, index=False)
    if found.value[found.metric == ranked_by].notna().any():
        with whole(out / "curve.svg") as unfinished:
            unfinished.write_text(_drawn(found, f"{task} on {dataset}"), encoding="utf-8")
    return found


def _checked(fractions: Sequence[float]) -> list[float]:
    found = []
    for share in [fractions] if isinstance(fractions, numbers.Real) else fractions:
        if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0 < share <= 1:
            raise UserError(f"fractions={shown(fractions)} must be numbers above 0 and at most 1.")
        found.append(float(share))
    if not found:
        raise UserError("no fractions are given: name shares of the training subjects, such as 0.1, 0.5 and 1.")
    return sorted(set(found))


def _rows(task: TaskBoard, share: float) -> list[dict]:
    return [
        {
            "share": share,
            "train_samples": Result.read(entry.folders[0]).sizes["train"],
            "model": entry.model,
            "metric": name,
            "seeds": len(entry.seeds),
            **{n: of[n] for n in ("value", "sd", "low", "high")},
        }
        for entry in task.entries
        for name, of in entry.metrics.items()
    ]


def _drawn(found: pd.DataFrame, title: str) -> str:
    """A line for each model, the mean over its seeds, with the interval of each point."""
    rows = found[(found.metric == found.attrs["metric"]) & found.value.notna()]
    places = {model: place for place, model in enumerate(sorted(found.model.unique()))}
    lines = []
    for model, own in sorted(rows.groupby("model"), key=lambda each: -each[1].value.iloc[-1]):  # as lines end
        x, y, low, high = (own[n].astype(float).to_numpy() for n in ("share", "value", "low", "high"))
        lines.append(Line(model, places[model], 100 * x, y, marked=True, low=low, high=high))
    chart = curves(title, lines, "share of the training subjects, %", found.attrs["metric"], from_zero=True)
    seeds = rows.seeds.max()
    below = "one seed" if seeds == 1 else f"mean over {seeds} seeds"
    below += ", with 95 % intervals" if rows.low.notna().any() else ""
    return picture(title, below, chart, [(line.name, line.place) for line in lines])
