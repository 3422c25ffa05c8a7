"""What a leaderboard says: values with intervals, ranks and tests, from the test predictions of its runs.

**Value.** The mean over seeds of a metric's point values on the whole test split.

**Interval.** 95 %, over subjects and seeds together: each resample weighs the test subjects by exponential draws
(Bayesian bootstrap, Rubin 1981; the same weights for all models and seeds), and draws of each model as many of its
seeds with replacement as it has; its value is the mean over the drawn seeds. The interval is that of
`zoo.metrics.bootstrap`: percentiles of these values, shifted so that their median is the value. With one seed it is
over subjects alone. Seeds drawn from few vary less than seeds do: with three, the part of the seeds in the variance is
two thirds of what it should be.

**Rank.** Within a task, by the value of one metric (that of its kind unless another is asked for); over tasks
the mean of ranks, among models that have a rank in every task.

**Test.** Within a task the best model against each other one: the difference of their values under the same weights of
subjects, seeds drawn for each model apart, shifted so that its median is the difference of the values. The two-sided p
is twice the smaller share of resamples on either side of zero, so it is below 0.05 where the 95 % interval of the
difference leaves zero out; one is added to both counts, so that it is never 0 (Davison and Hinkley 1997, section 4.2).
Without the shift this is the Bayesian bootstrap's probability that the difference has the other sign, doubled; for many
subjects it is that of a bootstrap with replacement too (Hjort 1991, arXiv:2605.11677). Holm's correction (Scand. J.
Stat. 1979) is over the comparisons of a task. The best model is chosen on the same samples, which favours it: a p near
the level is weak evidence.

**Ceiling.** Where a generator has drawn the labels from probabilities that it knows, what these score on the same test
samples. No model can expect to rank samples better, though one may by chance; what hangs on a threshold may be higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd

from zoo.metrics import Metric, suite
from zoo.metrics.bootstrap import centred, interval
from zoo.registry import UserError, kind_of, nearest
from zoo.reporting._board import Board
from zoo.reporting._predictions import Predictions
from zoo.reporting._task_board import Entry, TaskBoard, Tuning
from zoo.result import Result


def check_metric(metric: str | None, kinds: Sequence[str]) -> None:
    """Raise a `UserError` where no kind of task has a metric."""
    if metric is not None and not any(kind_of(kind).knows(metric) for kind in kinds):
        known = {m.name for kind in kinds for m in kind_of(kind).metrics({})}
        raise UserError(f"metric {metric!r} is none of these tasks': {nearest(metric, known)}.")


def board(
    dataset: str,
    outcomes: list[dict],
    settings: Mapping,
    seeds: int,
    resamples: int,
    metric: str | None,
    known: Mapping[str, pd.Series] | None = None,
    tuned: Mapping[tuple[str, str], object] | None = None,
) -> Board:
    """A leaderboard of runs.

    Args:
        dataset: its name.
        outcomes: for each run ``task``, its ``kind``, ``model``, ``seed``, ``folder``, and ``predictions`` (a file),
            or the ``reason`` why it failed.
        settings, seeds, resamples, metric: as of `zoo.leaderboard.leaderboard`.
        known: of tasks whose labels were drawn from known probabilities, these by ``visit_id``.
        tuned: what `zoo.tune` found, by task and model.
    """
    names = list(dict.fromkeys(o["task"] for o in outcomes))
    models = list(dict.fromkeys(o["model"] for o in outcomes))
    tasks = []
    for name in names:
        own = [o for o in outcomes if o["task"] == name]
        tasks.append(_task_board(name, own, (known or {}).get(name), resamples, metric))
        tasks[-1].left_out = [m for m in models if not any(o["model"] == m for o in own)]
        for entry in tasks[-1].entries:
            found = (tuned or {}).get((name, entry.model))
            entry.tuning = None if found is None else Tuning.of(found)
    return Board(dataset, seeds, resamples, dict(settings), tasks, _overall(tasks), version=version("ehr-zoo"))


def _task_board(
    task: str, outcomes: list[dict], known: pd.Series | None, resamples: int, metric: str | None
) -> TaskBoard:
    runs, failed = _read(outcomes)
    kind = outcomes[0]["kind"]
    if not runs:
        return TaskBoard(task, kind, None, 0, 0, {}, [], failed)
    first_result, first = runs[0][1:]
    metrics = suite(kind, first.options)
    by = metrics[metric if metric in metrics else kind_of(kind).ranks(first.options)]
    subjects = len(np.unique(first.subject))
    resamples = resamples if subjects > 1 else 0  # of one subject nothing tells how much others would differ
    models = list(dict.fromkeys(o["model"] for o in outcomes))
    drawn: dict[str, dict[str, np.ndarray]] = {}
    entries = []
    for place, model in enumerate(models):
        own = [(o, r, p) for o, r, p in runs if o["model"] == model]
        if own:
            points, draws = _measured([p for _, _, p in own], resamples)
            drawn[model] = _over_seeds(draws, place)
            entries.append(_entry(model, own, points, drawn[model], metrics))
    ordered = _ranked(entries, by)
    _compare(ordered, by.name, drawn)
    return TaskBoard(
        task,
        kind,
        by.name,
        len(first.label),
        subjects,
        first_result.config.get("task", {}),
        ordered,
        failed,
        ceiling=None if known is None else _ceiling(first, known, resamples),
    )


def _ceiling(tested: Predictions, known: pd.Series, resamples: int) -> dict[str, dict]:
    """What the probabilities that the labels were drawn from score on the samples of a run."""
    score = known.loc[tested.samples[0]].to_numpy()
    found = replace(tested, score=score).evaluate(resamples)
    return {n: {**m.to_dict(), "sd": None} for n, m in found.items()}


def _read(outcomes: list[dict]) -> tuple[list[tuple[dict, Result, Predictions]], list[dict]]:
    """Finished runs with their predictions, and failures; a run on other samples than the first one is among these."""
    runs, failed = [], []
    for outcome in outcomes:
        reason = outcome["reason"]
        if reason is None:
            result = Result.read(outcome["folder"])
            try:
                found = Predictions.read(outcome["predictions"], outcome["kind"])
            except (OSError, ValueError, KeyError, AttributeError) as error:
                reason = f"its predictions cannot be read: {error}"
            else:
                if not runs or found.same_samples(runs[0][2]):
                    runs.append((outcome, result, found))
                    continue
                reason = "it was tested on other samples than the first run: the data changed; remove its folder"
        failed.append({"model": outcome["model"], "seed": outcome["seed"], "reason": reason})
    return runs, failed


def _measured(runs: list[Predictions], resamples: int) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Point values of each seed, and values of each metric under each resample, (seeds, resamples)."""
    points, draws, known = [], [], []
    for run in runs:
        same = next((i for i, other in enumerate(known) if np.array_equal(other.score, run.score)), None)
        if same is None:  # a model without randomness predicts the same under every seed
            points.append(run.evaluate(resamples=0))
            draws.append(run.resampled(resamples))
        else:
            points.append(points[same])
            draws.append(draws[same])
        known.append(run)
    return points, {n: np.stack([d[n] for d in draws]) for n in draws[0]}


def _over_seeds(draws: dict[str, np.ndarray], place: int) -> dict[str, np.ndarray]:
    """The mean over seeds drawn with replacement, (resamples,) for each metric."""
    seeds, resamples = next(iter(draws.values())).shape
    chosen = np.random.default_rng([place, seeds]).integers(seeds, size=(seeds, resamples))
    return {n: np.take_along_axis(values, chosen, axis=0).mean(axis=0) for n, values in draws.items()}


def _entry(
    model: str, own: list, points: list[dict], drawn: dict[str, np.ndarray], known: Mapping[str, Metric]
) -> Entry:
    metrics = {}
    for name in points[0]:
        values = [p[name].value for p in points]
        reasons = [p[name].reason for p in points if p[name].reason]
        if None in values:
            metrics[name] = {"value": None, "low": None, "high": None, "sd": None, "reason": reasons[0]}
            continue
        value = float(np.mean(values))
        low, high = interval(drawn[name], value, known[name].limits)
        metrics[name] = {
            "value": value,
            "low": low,
            "high": high,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "reason": "; ".join([*reasons[:1], *(["no interval: one subject"] if low is None else [])]) or None,
        }
    results = [r for _, r, _ in own]
    seconds = [r.times["train"] for r in results if "train" in r.times]
    return Entry(
        model,
        [o["seed"] for o, _, _ in own],
        metrics,
        [str(o["folder"]) for o, _, _ in own],
        results[0].sizes.get("parameters"),
        float(np.mean(seconds)) if seconds else None,
    )


def _ranked(entries: list[Entry], by: Metric) -> list[Entry]:
    """Best first, those without a value last; equal values share a rank."""
    metric = by.name
    known = [e for e in entries if e.metrics[metric]["value"] is not None]
    known.sort(key=lambda e: -by.sign * e.metrics[metric]["value"])
    for place, entry in enumerate(known):
        before = known[place - 1] if place else None
        equal = before is not None and before.metrics[metric]["value"] == entry.metrics[metric]["value"]
        entry.rank = before.rank if equal else place + 1
    return known + [e for e in entries if e.metrics[metric]["value"] is None]


def _compare(entries: list[Entry], metric: str, drawn: dict[str, dict[str, np.ndarray]]) -> None:
    """Test the first against all others that have a value, where there are resamples."""
    others = [e for e in entries[1:] if e.rank is not None]
    if not others or entries[0].rank is None or not len(drawn[entries[0].model][metric]):
        return
    best = entries[0]
    for entry in others:
        value = best.metrics[metric]["value"] - entry.metrics[metric]["value"]
        difference = centred(drawn[best.model][metric] - drawn[entry.model][metric], value)
        low, high = interval(difference, value)
        entry.difference = {"value": value, "low": low, "high": high, "p": p_value(difference), "p_holm": None}
    for entry, corrected in zip(others, holm([e.difference["p"] for e in others]), strict=True):
        entry.difference["p_holm"] = corrected


def p_value(difference: np.ndarray) -> float:
    """Two-sided p of resampled differences (resamples,) against zero.

    >>> p_value(np.ones(99)), p_value(np.array([-1.0, 1.0]))
    (0.02, 1.0)
    """
    tail = min((difference <= 0).sum(), (difference >= 0).sum()) + 1
    return float(min(1.0, 2 * tail / (len(difference) + 1)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction.

    >>> holm([0.25, 0.125, 0.5])
    [0.5, 0.375, 0.5]
    """
    order = np.argsort(p, kind="stable")
    stepped = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(stepped)) if len(p) else []
    return corrected.tolist()


def _overall(tasks: list[TaskBoard]) -> list[dict]:
    """Models by the mean of their ranks, among those that have a rank in every task."""
    if len(tasks) < 2:
        return []
    ranks = [{e.model: e.rank for e in t.entries if e.rank is not None} for t in tasks]
    models = [m for m in ranks[0] if all(m in r for r in ranks)]
    # Ranks count again among these models alone: others were not in every task.
    among = [{m: 1 + sum(r[o] < r[m] for o in models) for m in models} for r in ranks]
    found = [{"model": m, "mean_rank": float(np.mean([r[m] for r in among]))} for m in models]
    return sorted(found, key=lambda f: f["mean_rank"])
