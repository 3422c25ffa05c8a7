"""Train every task with every model under several seeds, in processes of their own, and report what they found.

The folder of a leaderboard holds ``plan.json`` (what must not change when it is continued), ``runs``, where models are
tuned ``tunings``, and the tables and the page. ``runs/TASK/MODEL/seed0`` is a run folder with, besides what `zoo.train`
writes, the test predictions (``predictions.parquet``); beside it lie ``seed0.log``, what the process printed, and
``seed0.failed.json`` if it failed. A run counts as finished when ``result.json`` and the predictions are there, and is
never run again; all others are run, those that were killed or have failed among them. ``tunings/TASK/MODEL`` is in the
same way a folder of `zoo.tune`. A model is tuned before its runs, which have the settings that were found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import registry
from zoo.cache import writing
from zoo.leaderboard._jobs import PREDICTIONS, Run, Tuning, Workers
from zoo.registry import UserError, check_multiples, check_parameters, nearest, parameters_of
from zoo.result import hold_to_plan

if TYPE_CHECKING:
    import pandas as pd

    from zoo.reporting._board import Board
    from zoo.tasks._task import Task

PLAN = "plan.json"
SHARED = ("max_epochs", "patience")
"""What all models have alike where they are tuned: the budget of a trial and of a run."""
Pair = tuple[str, str]
"""A task and a model."""


def leaderboard(
    dataset: str,
    tasks: str | Sequence[str],
    models: str | Sequence[str],
    root: str | Path | None = None,
    *,
    seeds: int = 3,
    out: str | Path,
    jobs: int = 1,
    settings: Mapping[str, object] | None = None,
    resamples: int = 1000,
    metric: str | None = None,
    tune: int = 0,
    sampler: str = "random",
    report: Callable[[str], None] = lambda line: None,
) -> Board:
    """Run what is missing of a leaderboard, and write its tables and its page.

    Args:
        dataset: a registered name.
        tasks, models: registered names: one, several, or ``"all"``. A model is left out of tasks of a kind that it does
            not serve.
        root: the folder with the dataset's tables.
        seeds: how many: 0, 1, ... of training; the split stays.
        out: the folder of the leaderboard; the same call goes on where it was stopped.
        jobs: runs at a time.
        settings: as of `zoo.run`; one of ``task.`` or ``model.`` goes to those that have such a parameter.
        resamples: of the bootstrap behind intervals and tests.
        metric: what ranks; the first of the kind by default (see `zoo.reporting._ranking`).
        tune: how many trials each model has to find its settings for a task, by the same metric on the validation split
            (see `zoo.tune`); 0 leaves all at their defaults. All trials and runs of all models then have the same
            ``max_epochs`` and ``patience``: those of ``settings``, else the trainer's.
        sampler: as of `zoo.tune`.
        report: is told a line about each run.

    Raises:
        UserError: for whatever is unknown, and where the folder holds another leaderboard. A run that fails is recorded
            with its reason and keeps no other from running.
    """
    from filelock import FileLock, Timeout

    from zoo.reporting import _board_files, _ranking
    from zoo.training import Trainer
    from zoo.training._search import check_sampler
    from zoo.training._tuning import Tuned

    given = {"seeds": seeds, "jobs": jobs, "resamples": resamples}
    seeds, jobs, resamples = (registry.whole_number(name, value, 1) for name, value in given.items())
    trials = registry.whole_number("tune", tune, 0)
    tasks, models = _distinct("tasks", tasks, registry.tasks), _distinct("models", models, registry.models)
    registry.datasets.get(dataset)
    settings = dict(settings or {})
    plan: dict[str, object] = {"dataset": dataset, "settings": settings}
    if trials:
        settings = {f"trainer.{n}": getattr(Trainer, n) for n in SHARED} | settings
        plan = {"dataset": dataset, "settings": settings, "tune": trials, "sampler": sampler, "metric": metric}
    check_sampler(sampler)
    out = registry.path_of("out", out)
    own = _own_settings(tasks, models, settings)
    kinds = {t: _made(t, settings).kind for t in tasks}
    own = _served(own, kinds)
    _ranking.check_metric(metric, list(kinds.values()))
    plan["root"] = root = None if root is None else str(Path(root).expanduser().resolve())
    if not out.is_dir() and out.exists():
        raise UserError(f"{out} is a file: choose another folder.")
    hold_to_plan(out, PLAN, plan, "leaderboard")
    lock = FileLock(out / ".lock", mode=writing.FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another leaderboard is at work in {out}: wait for it, or choose another folder.") from None
    with lock, Workers(jobs, dataset, root, report) as workers:
        tunings = [
            Tuning(*pair, out / "tunings" / "/".join(pair), s, trials, sampler, metric) for pair, s in own.items()
        ]
        tunings = tunings if trials else []
        workers.make([t for t in tunings if not t.finished])
        tuned = {(t.task, t.model): Tuned.read(t.folder) for t in tunings if t.finished}
        runs = [  # seed by seed, so that a leaderboard that is stopped has something of every model
            Run(
                *pair,
                out / "runs" / "/".join(pair) / f"seed{seed}",
                {**s, **(tuned[pair].settings if pair in tuned else {})},
                seed,
            )
            for seed in range(seeds)
            for pair, s in own.items()
        ]
        untuned = {(t.task, t.model): f"it could not be tuned: {t.reason}" for t in tunings if not t.finished}
        workers.make([r for r in runs if not r.finished and (r.task, r.model) not in untuned])
        outcomes = [_outcome(r, kinds[r.task], untuned.get((r.task, r.model))) for r in runs]
        known = _true_probabilities(dataset, tasks, root, settings)
        found = _ranking.board(dataset, outcomes, settings, seeds, resamples, metric, known, tuned)
        _board_files.write(found, out)
    return found


def _distinct(what: str, names: Sequence[str], holder: registry.Registry) -> list[str]:
    names = list(dict.fromkeys(registry.names_of(what, names)))
    names = holder.names() if names == ["all"] else names
    if not names:
        raise UserError(f"name at least one of the {what}: {', '.join(holder.names())}.")
    for name in names:
        holder.entry(name)
    return names


def _own_settings(tasks: list[str], models: list[str], settings: Mapping[str, object]) -> dict[Pair, dict]:
    """The settings of each model on each task, those of other tasks and models left out."""
    from zoo.experiment import shared_out
    from zoo.training import Trainer

    groups = shared_out(settings)
    _check_someone_has("task", groups["task"], [registry.tasks.get(t) for t in tasks])
    _check_someone_has("model", groups["model"], [registry.models.get(m) for m in models])
    check_parameters("the trainer", Trainer, groups["trainer"])
    Trainer(**groups["trainer"])  # looks at the values

    def own(task: str, model: str) -> dict[str, object]:
        known = {"task": parameters_of(registry.tasks.get(task)), "model": parameters_of(registry.models.get(model))}
        found = {}
        for name, value in settings.items():
            group, _, key = name.partition(".")
            if key in known.get(group, {key}):
                found[name] = value
        return found

    return {(t, m): own(t, m) for t in tasks for m in models}


def _served(own: dict[Pair, dict], kinds: Mapping[str, str]) -> dict[Pair, dict]:
    """Models on tasks that they serve; a `UserError` where none serves a task."""
    served = {(t, m): s for (t, m), s in own.items() if kinds[t] in registry.models.entry(m).facts.kinds}
    for task, kind in kinds.items():
        if not any(t == task for t, _ in served):
            raise UserError(f"none of the models serves {kind} tasks such as {task!r}: name another model, or task.")
    return served


def _check_someone_has(group: str, settings: Mapping[str, object], things: list[type]) -> None:
    known = {n for thing in things for n in parameters_of(thing)}
    for name in settings:
        if name not in known:
            raise UserError(f"none of the {group}s has a parameter {name!r}: {nearest(name, known)}.")
    for thing in things:
        what, own = f"{group} {thing.registered_name!r}", parameters_of(thing)
        taken = {n: v for n, v in settings.items() if n in own}
        check_parameters(what, thing, taken)
        check_multiples(what, thing, taken)


def _made(task: str, settings: Mapping[str, object]) -> Task:
    thing = registry.tasks.get(task)
    known = parameters_of(thing)
    parts = {n.removeprefix("task."): v for n, v in settings.items() if n.startswith("task.")}
    return thing(**{n: v for n, v in parts.items() if n in known})


def _true_probabilities(
    dataset: str, tasks: list[str], root: str | None, settings: Mapping[str, object]
) -> dict[str, pd.Series]:
    """For tasks whose labels a generator has drawn from probabilities that it knows: these, by ``visit_id``."""
    from zoo.experiment import opened_dataset, shared_out

    if not hasattr(registry.datasets.get(dataset), "true_probability"):
        return {}
    opened, _ = opened_dataset(dataset, root, shared_out(settings)["data"])
    found = {t: opened.true_probability(_made(t, settings)) for t in tasks}
    return {t: known for t, known in found.items() if known is not None}


def _outcome(run: Run, kind: str, untuned: str | None) -> dict:
    """What there is of a run, as the tables need it."""
    facts = {"task": run.task, "kind": kind, "model": run.model, "seed": run.seed, "folder": run.folder}
    if run.finished and untuned is None:
        return {**facts, "reason": None, "predictions": run.folder / PREDICTIONS}
    return {**facts, "reason": untuned or run.reason, "log": run.log}
