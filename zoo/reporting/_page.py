"""A leaderboard as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from zoo.metrics.calibration import BINS
from zoo.registry import counted, kind_of
from zoo.reporting._board import Board
from zoo.reporting._charts import Line, curves, intervals, swatch
from zoo.reporting._predictions import Predictions
from zoo.reporting._styles import styles
from zoo.reporting._task_board import WHAT_CEILING, Entry, TaskBoard
from zoo.reporting._task_tables import CEILING, WHAT_TUNING, left_out, tuning_rows

POINTS = 200
"""How many points of a precision-recall curve are drawn."""
NOTHING = ("", None)
CONTEXT = (
    "Context only. These numbers were printed for other cohorts, splits and inputs than those above, so none of them "
    "is ranked or tested here; equal names do not mean equal preparation."
)


def page(board: Board) -> str:
    """The page."""
    style = styles("colours", "page", "chart")
    script = resources.files("zoo.reporting").joinpath("page.js").read_text("utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    title = f"Leaderboard: {board.dataset}"
    models = sorted({e.model for t in board.tasks for e in t.entries})
    places = {m: i for i, m in enumerate(models)}  # a model has one colour throughout
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>",
            *_head(board, title),
            *(part for task in board.tasks for part in _task(task, board, places)),
            f"<script>\n{script}</script>\n</body>\n</html>\n",
        ]
    )


def _head(board: Board, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>{escape(board.how)}</p>"
    settings = ", ".join(f"{n}={v}" for n, v in board.settings.items()) or "none"
    facts = f"{board.resamples} resamples. Settings: {settings}. ehr-zoo {board.version}."
    yield f'<p class="soft">{escape(facts)}</p>'
    if board.overall:
        yield "<h3>Mean rank over tasks</h3>"
        rows = [[(o["model"], o["model"]), (f"{o['mean_rank']:.2f}", o["mean_rank"])] for o in board.overall]
        yield _table([("model", False), ("mean rank", True)], rows)


def _task(task: TaskBoard, board: Board, places: dict[str, int]) -> Iterator[str]:
    yield f"<h2>{escape(task.task)}</h2>"
    if task.entries:
        parameters = ", ".join(f"{n}={v}" for n, v in task.parameters.items()) or "none"
        yield (
            f'<p class="soft">{counted(task.samples, "test sample")} of {counted(task.subjects, "subject")}; ranked by '
            f"{escape(task.metric)}. Parameters: {escape(parameters)}.</p>"
        )
        yield _results(task, board.seeds)
        if task.ceiling:
            yield f'<p class="soft">{escape(WHAT_CEILING)}</p>'
        yield from _tunings(task)
        if task.left_out:
            yield f'<p class="soft">{escape(left_out(task))}</p>'
        yield _key(task, places)
        yield '<div class="charts">'
        yield from _charts(task, places)
        yield "</div>"
    if task.failed:
        yield "<h3>Failed runs</h3>"
        heads = [("model", False), ("seed", True), ("reason", False)]
        yield _table(heads, [[(f["model"],) * 2, (str(f["seed"]), f["seed"]), (f["reason"],) * 2] for f in task.failed])
    yield from _context(published(board.dataset, task), task)


# Tables


def _results(task: TaskBoard, seeds: int) -> str:
    names = [task.metric, *(n for n in task.entries[0].metrics if n != task.metric)]
    heads = [("rank", True), ("model", False), ("seeds", True)]
    lower = {m.name for m in kind_of(task.kind).metrics({}) if m.lower_is_better}
    heads += [(n, True if n in lower else "best first") for n in names]
    heads += [("best less this", True), ("p", True), ("p (Holm)", True), ("parameters", True), ("training, s", True)]
    rows = [_result(entry, names, seeds) for entry in task.entries]
    if task.ceiling:
        rows.append(
            [NOTHING, (CEILING, CEILING), NOTHING, *(_measured(task.ceiling[n]) for n in names), *[NOTHING] * 5]
        )
    return _table(heads, rows, best=task.entries[0].rank is not None)


def _tunings(task: TaskBoard) -> Iterator[str]:
    heads, rows = tuning_rows(task)
    if rows:
        yield f'<p class="soft">{escape(WHAT_TUNING)}</p>'
        numeric = [(n, n not in ("model", "settings")) for n in heads]
        yield _table(numeric, [[(text, text) for text in row] for row in rows])


def _result(entry: Entry, names: Sequence[str], seeds: int) -> list[tuple]:
    done = len(entry.seeds)
    tested = entry.difference or {"value": None, "p": None, "p_holm": None}
    return [
        (_plain(entry.rank), entry.rank),
        (entry.model, entry.model),
        (str(done) if done == seeds else f"{done} of {seeds}", done),
        *(_measured(entry.metrics[n]) for n in names),
        _measured(tested) if entry.difference else ("", None),
        (_p(tested["p"]), tested["p"]),
        (_p(tested["p_holm"]), tested["p_holm"]),
        (_plain(entry.parameters), entry.parameters),
        ("" if entry.seconds is None else f"{entry.seconds:.1f}", entry.seconds),
    ]


def _measured(found: dict) -> tuple[str, float | None, str]:
    """What a cell shows, what it is sorted by, and a line below."""
    if found["value"] is None:
        return "undefined", None, found["reason"] or ""
    below = "" if found["low"] is None else f"{found['low']:.4f} to {found['high']:.4f}"
    return f"{found['value']:.4f}", found["value"], below


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _table(heads: Sequence[tuple], rows: Sequence[Sequence[tuple]], best: bool = False) -> str:
    """A table that can be sorted.

    Args:
        heads: text, and whether the column has numbers (``"best first"``: the largest first when it is sorted).
        rows: cells: text, value to sort by, and perhaps a line below the text.
        best: mark the first row.
    """
    parts = ['<div class="scroll" tabindex="0"><table class="sortable"><thead><tr>']
    for text, numeric in heads:
        first = "descending" if numeric == "best first" else "ascending"
        facts = f'data-numeric="{"yes" if numeric else "no"}" data-first="{first}"'
        parts.append(f'<th scope="col" {facts}><button type="button">{escape(text)}</button></th>')
    parts.append("</tr></thead><tbody>")
    for row in rows:
        parts.append('<tr class="best">' if best else "<tr>")
        for (_, numeric), (text, value, *below) in zip(heads, row, strict=True):
            small = "".join(f"<small>{escape(b)}</small>" for b in below if b)
            look = "number" if numeric else "text" if len(text) > 40 else ""
            parts.append(f'<td class="{look}" data-value="{escape(_plain(value))}">{escape(text)}{small}</td>')
        parts.append("</tr>")
    return "".join([*parts, "</tbody></table></div>"])


# Charts


def _key(task: TaskBoard, places: dict[str, int]) -> str:
    items = "".join(f"<li>{swatch(places[e.model])}{escape(e.model)}</li>" for e in task.entries)
    return f'<ul class="key">{items}</ul>'


def _charts(task: TaskBoard, places: dict[str, int]) -> Iterator[str]:
    known = [(e.model, places[e.model], e.metrics[task.metric]) for e in task.entries]
    known = [k for k in known if k[2]["value"] is not None]
    if known:
        ceiling = (task.ceiling or {}).get(task.metric, {}).get("value")
        caption = f"{task.metric}, 95 % interval{'' if ceiling is None else '; dashed: the ceiling'}"
        yield _figure(caption, intervals(f"{task.metric} of each model", known, ceiling))
    lines = [line for e in task.entries for line in _training(e, places[e.model])]
    if lines:
        caption = "Loss by epoch, first seed: validation thick, training thin"
        yield _figure(caption, curves(caption, lines, "epoch", "loss", whole=True))
    first = [(e, places[e.model], *known) for e in task.entries if (known := _first_seed(e, task.kind))]
    if not first:
        return
    pooled = " (all labels pooled)" if kind_of(task.kind).sets else ""
    lines = [Line(e.model, i, *precision_recall(y, p), steps=True) for e, i, y, p in first if y.any()]
    if lines:
        caption = f"Precision and recall, first seed{pooled}"
        yield _figure(caption, curves(caption, lines, "recall", "precision", unit=True))
    lines = [Line(e.model, i, *calibration(y, p), marked=True) for e, i, y, p in first]
    caption = f"Calibration in {BINS} bins, first seed{pooled}"
    yield _figure(caption, curves(caption, lines, "mean probability", "observed frequency", unit=True, diagonal=True))


def _figure(caption: str, chart: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"


def _first_seed(entry: Entry, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
    found = Predictions.read(Path(entry.folders[0]) / "predictions.parquet", kind)
    return kind_of(kind).yes_or_no(found.label, found.score)


def _training(entry: Entry, place: int) -> Iterator[Line]:
    """The losses of a run, where it has written some."""
    try:
        losses = json.loads((Path(entry.folders[0]) / "losses.json").read_text())
    except (OSError, ValueError):
        return
    for name, thin in (("validation", False), ("train", True)):
        points = [(i + 1, v) for i, v in enumerate(losses.get(name, ())) if v is not None]
        if points:
            yield Line(f"{entry.model}, {name}", place, *zip(*points, strict=True), thin=thin)


def precision_recall(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision (points,) at falling thresholds, at most `POINTS` of them; `label` (n,) bool, `score` (n,).

    Drawn as steps, each as high as its right end, their area is the average precision (``auprc``).

    >>> precision_recall(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
    (array([0. , 0.5, 1. ]), array([1.        , 1.        , 0.66666667]))
    """
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(label[order])
    last_of_tie = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    found = last_of_tie[np.diff(hits[last_of_tie], prepend=0) > 0]  # thresholds that find another positive
    recall, precision = hits[found] / hits[-1], hits[found] / (found + 1)
    if len(recall) > POINTS:
        some = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1, POINTS)))
        recall, precision = recall[some], precision[some]
    return np.append(0.0, recall), np.append(precision[0], precision)


def calibration(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability and observed frequency (bins,) of the bins that have samples; bins are those of ``ece``.

    >>> calibration(np.array([True, False, True]), np.array([0.25, 0.25, 0.75]))
    (array([0.25, 0.75]), array([0.5, 1. ]))
    """
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], score)
    count = np.bincount(bins, minlength=BINS)
    there = count > 0
    mean, share = (np.bincount(bins, v, BINS)[there] / count[there] for v in (score, label))
    return mean, share


# Published results


def published(dataset: str, task: TaskBoard) -> list[dict]:
    """Printed results for a task on a dataset whose definition has the task's parameters; see ``published.csv``.

    Only a paper's own numbers were taken, in metrics that do not hang on a threshold, and only where the label and the
    time of prediction are those of our task with certain parameters (``parameters``).
    """
    with resources.files("zoo.reporting").joinpath("published.csv").open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["dataset"], r["task"]) == (dataset, task.task)]
    ours = {f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in task.parameters.items()}
    return [r for r in rows if set(r["parameters"].split()) <= ours]


def _context(rows: Sequence[dict], task: TaskBoard) -> Iterator[str]:
    if not rows:
        return
    yield "<h3>Published results for the same question</h3>"
    yield f"<p>{escape(CONTEXT)}</p>"
    names = ("model", "metric", "value", "spread", "data", "protocol", "split", "source")
    yield _table([(n, n == "value") for n in names], [[(r[n], r[n]) for n in names] for r in rows])
    for metric in dict.fromkeys(r["metric"] for r in rows):
        ours = [(e.model, e.metrics[metric]["value"]) for e in task.entries if metric in e.metrics]
        told = ", ".join(f"{m} {v:.4f}" for m, v in ours if v is not None)
        if told:
            yield f'<p class="soft">{escape(f"Here, {metric}: {told}.")}</p>'
