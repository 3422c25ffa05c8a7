"""What a leaderboard says: values with intervals, ranks and tests, from the test predictions of its runs.

**Value.** The mean over seeds of a metric's point values on the whole test split.

**Interval.** 95 %, over subjects and seeds together: each resample weighs the test subjects by exponential draws
(Bayesian bootstrap, Rubin 1981; the same weights for all models and seeds), and draws of each model as many of its
seeds with replacement as it has; its value is the mean over the drawn seeds. The interval is that of
`zoo.metrics.bootstrap`: percentiles of these values, shifted so that their median is the value. With one seed it is
over subjects alone. Seeds drawn from few vary less than seeds do: with three, the part of the seeds in the variance is
two thirds of what it should be.

**Rank.** Within a task, by the value of one metric (`zoo.metrics.ranked_by` unless another is asked for); over tasks
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

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.cache.writing import whole
from zoo.metrics import Metric, evaluate, higher_is_better, limits, metric_names, ranked_by, resampled
from zoo.metrics.bootstrap import centred, interval
from zoo.registry import UserError, nearest
from zoo.result import Result, write_json

HOW = (
    "Value: mean over seeds of the point values on the test split. Interval: 95 %, from a Bayesian bootstrap that "
    "weighs test subjects by exponential draws (the same for all models) and draws, of each model, its seeds; "
    "percentiles, shifted so that the median is the value. Difference and p: the best model of the task less this one "
    "under the same weights of subjects, two-sided, Holm-corrected within the task; the best was chosen on the same "
    "samples, which favours it."
)
WHAT_CEILING = (
    "Ceiling: what the probabilities that the generator drew the labels from score on these samples. No model can "
    "expect to rank them better; one may by chance, and what hangs on a threshold may be higher."
)


@dataclass
class Tuning:
    """How the settings of a model on a task were found.

    Attributes:
        trials, failed: how many there were, and how many of them came to no end.
        seconds: CPU time of all of them.
        metric: what was compared on the validation split.
        value: the best trial's; None where it is undefined, and then the loss decided.
        settings: the best trial's.
        at_edge: those of them that lie at the edge of their range.
        best: the number of the best trial; 0 has the defaults.
    """

    trials: int
    failed: int
    seconds: float
    metric: str
    value: float | None
    settings: dict[str, object]
    at_edge: list[str]
    best: int

    @classmethod
    def of(cls, tuned) -> Tuning:
        """From what `zoo.tune` found."""
        counts = {"trials": len(tuned.trials), "failed": len(tuned.failed), "seconds": round(tuned.seconds, 1)}
        same = {n: getattr(tuned, n) for n in ("metric", "value", "settings", "at_edge", "best")}
        return cls(**counts, **same)


@dataclass
class Entry:
    """A model on a task.

    Attributes:
        seeds: those that finished.
        rank: 1 is best; None where the ranking metric is undefined.
        metrics: name to ``{"value", "low", "high", "sd", "reason"}``; ``sd`` over seeds, None for one seed.
        difference: of the best model less this one, in the ranking metric: ``{"value", "low", "high", "p", "p_holm"}``;
            None for the best.
        tuning: how its settings were found, where it was tuned.
        folders: of the runs.
        parameters: how many the model has.
        seconds: of training, mean over seeds.
    """

    model: str
    seeds: list[int]
    metrics: dict[str, dict]
    folders: list[str]
    parameters: int | None = None
    seconds: float | None = None
    rank: int | None = None
    difference: dict | None = None
    tuning: Tuning | None = None


@dataclass
class TaskBoard:
    """A task's part: models in the order of their rank, and failed runs with ``model``, ``seed``, ``reason``.

    ``left_out`` are the models that do not serve the kind of the task; ``ceiling`` is as the ``metrics`` of an `Entry`,
    where it is known.
    """

    task: str
    kind: str
    metric: str | None
    samples: int
    subjects: int
    parameters: dict
    entries: list[Entry]
    failed: list[dict]
    left_out: list[str] = field(default_factory=list)
    ceiling: dict[str, dict] | None = None


@dataclass
class Board:
    """A leaderboard; ``overall`` has ``{"model", "mean_rank"}`` where there are several tasks."""

    dataset: str
    seeds: int
    resamples: int
    settings: dict
    tasks: list[TaskBoard]
    overall: list[dict] = field(default_factory=list)
    how: str = HOW
    version: str = ""

    @property
    def finished(self) -> int:
        """How many runs finished."""
        return sum(len(e.seeds) for t in self.tasks for e in t.entries)

    def __str__(self) -> str:
        from zoo.reporting._board_tables import markdown

        return markdown(self)


@dataclass(frozen=True)
class Predictions:
    """Test predictions of a run, as `zoo.metrics.evaluate` takes them.

    Attributes:
        kind: of the task.
        samples: what tells samples apart: the id of the visit, that of the stay (-1 for none), and the prediction time.
        label, score, subject, options: of `zoo.metrics.evaluate`.
    """

    kind: str
    samples: tuple[np.ndarray, np.ndarray, np.ndarray]
    label: np.ndarray
    score: np.ndarray
    subject: np.ndarray
    options: dict[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, kind: str) -> Predictions:
        table = pd.read_parquet(path)
        names = [n for n in table.columns if n.startswith("score_")]
        score = table[names or "score"].to_numpy(np.float64)
        label, unseen = table.label, []
        if kind == "multilabel":
            labels = [n.removeprefix("score_") for n in names]
            if table.attrs.get("strict"):
                unseen = sorted(set(chain.from_iterable(label)) - set(labels))
            missed, label = _hot(label, unseen), _hot(label, labels)
        times = table.prediction_time.to_numpy("datetime64[us]").astype(np.int64)
        key = (table.visit_id.to_numpy(), table.stay_id.fillna(-1).to_numpy(np.int64), times)
        options = {"threshold": table.attrs.get("threshold", 0.5), "ks": tuple(table.attrs.get("ks", (5, 10)))}
        options |= _of_drugs(table, labels, unseen) if "before" in table else {}
        options |= {"missed": missed} if unseen else {}
        return cls(kind, key, np.asarray(label), score, table.subject_id.to_numpy(), options)

    def evaluate(self, resamples: int) -> dict[str, Metric]:
        """Metrics with their intervals."""
        return evaluate(self.kind, self.label, self.score, self.subject, resamples=resamples, **self.options)

    def resampled(self, resamples: int) -> dict[str, np.ndarray]:
        """Metrics under each resample of subjects."""
        return resampled(self.kind, self.label, self.score, self.subject, resamples=resamples, **self.options)

    def same_samples(self, other: Predictions) -> bool:
        """Whether another run was tested on the very same samples with the same labels."""
        mine, others = (*self.samples, self.label), (*other.samples, other.label)
        return all(np.array_equal(a, b) for a, b in zip(mine, others, strict=True))


def _hot(lists: Sequence[Sequence[str]], names: list[str]) -> np.ndarray:
    """(samples, names) bool, from lists of codes and the names of those that count."""
    place = {n: i for i, n in enumerate(names)}
    sets = [[place[c] for c in codes if c in place] for codes in lists]
    found = np.zeros((len(sets), len(names)), bool)
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    found[rows, [i for s in sets for i in s]] = True
    return found


def _of_drugs(table: pd.DataFrame, labels: list[str], unseen: list[str]) -> dict[str, np.ndarray]:
    """Interactions, and the drugs of the visits before, as `zoo.metrics.evaluate` takes them."""
    interactions = np.zeros((len(labels), len(labels)), bool)
    interactions[tuple(np.array(table.attrs["interactions"], np.int64).reshape(-1, 2).T)] = True
    first = table.before.isna().to_numpy()
    codes = [() if own is None else own for own in table.before]
    before = np.where(first[:, None], np.nan, _hot(codes, [*labels, *unseen]))
    return {"interactions": interactions, "before": before}


def check_metric(metric: str | None, kinds: Sequence[str]) -> None:
    """Raise a `UserError` where no kind of task has a metric."""
    known = {n for kind in kinds for n in metric_names(kind, drugs=True)}
    at_k = "multilabel" in kinds and re.fullmatch(r"(precision|recall)_at_\d+", metric or "")
    if metric is not None and metric not in known and not at_k:
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
    drugs = "before" in first.options
    there = metric_names(kind, first.options["ks"], drugs)
    by = metric if metric in there else ranked_by(kind, drugs)
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
            entries.append(_entry(model, own, points, drawn[model]))
    ordered = _ranked(entries, by)
    _compare(ordered, by, drawn)
    return TaskBoard(
        task,
        kind,
        by,
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


def _entry(model: str, own: list, points: list[dict], drawn: dict[str, np.ndarray]) -> Entry:
    metrics = {}
    for name in points[0]:
        values = [p[name].value for p in points]
        reasons = [p[name].reason for p in points if p[name].reason]
        if None in values:
            metrics[name] = {"value": None, "low": None, "high": None, "sd": None, "reason": reasons[0]}
            continue
        value = float(np.mean(values))
        low, high = interval(drawn[name], value, limits(name))
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


def _ranked(entries: list[Entry], metric: str) -> list[Entry]:
    """Best first, those without a value last; equal values share a rank."""
    sign = -1 if higher_is_better(metric) else 1
    known = [e for e in entries if e.metrics[metric]["value"] is not None]
    known.sort(key=lambda e: sign * e.metrics[metric]["value"])
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


def write(found: Board, out: Path) -> None:
    """Write ``leaderboard.md``, ``.csv``, ``.json`` and ``.html`` into a folder."""
    from zoo.reporting import _board_tables, _page

    _write_text(out / "leaderboard.md", _board_tables.markdown(found))
    _write_text(out / "leaderboard.csv", _board_tables.long_table(found).to_csv(index=False, lineterminator="\n"))
    write_json(out / "leaderboard.json", to_dict(found, out))
    _write_text(out / "leaderboard.html", _page.page(found))


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
