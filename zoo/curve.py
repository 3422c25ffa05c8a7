"""How models learn from few patients: a leaderboard for each share of the training subjects, and a curve over them.

Validation and test are the same for all shares, and a smaller share lies within a larger one. ``out`` holds a
leaderboard below ``share-0.1`` and so on, ``curve.csv`` with all that was found, and ``curve.png`` and ``curve.svg``
with the ranking metric.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from zoo.registry import UserError, path_of, shown
from zoo.result import Result

if TYPE_CHECKING:
    from zoo.reporting._board import TaskBoard

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
        UserError: as `zoo.leaderboard.leaderboard`; a fraction is none; or matplotlib is not installed.
    """
    from zoo.leaderboard import leaderboard

    _check_drawing()
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
    found.to_csv(out / "curve.csv", index=False)
    if ranked_by is not None:
        _draw(found, f"{task} on {dataset}", out)
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


def _check_drawing() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "curves are drawn with matplotlib, which is not installed: pip install 'ehr-zoo[plot]'."
        ) from None


def _draw(found: pd.DataFrame, title: str, out: Path) -> None:
    """The mean of each model over its seeds, and a band of one standard deviation."""
    import matplotlib
    from matplotlib.figure import Figure

    metric = found.attrs["metric"]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for model, rows in found[found.metric == metric].groupby("model", sort=False):
        value, spread = rows.value.astype(float), rows.sd.astype(float).fillna(0)
        (line,) = axes.plot(rows.share, value, marker="o", markersize=4, label=model)
        axes.fill_between(rows.share, value - spread, value + spread, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(title=title, xlabel="share of the training subjects", ylabel=metric, xlim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "zoo", "svg.fonttype": "none"}):
        figure.savefig(out / "curve.png", dpi=150)
        figure.savefig(out / "curve.svg", metadata={"Date": None})
