"""The settings with which a model does best on the validation split.

A folder of a tuning holds ``tuning.json``, what must not change when it is continued; ``trial-0`` and so on, with
``trial.json`` and, while a network is trained, its checkpoints; and at the end ``tuned.json``.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from zoo.cache.forms import check_form
from zoo.data._task_data import TaskData
from zoo.metrics import Metric, evaluate
from zoo.models._model import Model
from zoo.progress import progress
from zoo.registry import (
    UserError,
    as_setting,
    check_parameters,
    counted,
    html_table,
    is_at_limit,
    models,
    nearest,
    path_of,
    printable,
    shown,
    whole_number,
)
from zoo.result import hold_to_plan, write_json
from zoo.training._create import check_given, create_model
from zoo.training._loop import NON_FINITE, NotFinite
from zoo.training._processes import launched
from zoo.training._run import configuration, learned, threshold_of
from zoo.training._run_folder import locked, made
from zoo.training._scores import scores_of
from zoo.training._search import Space, check_sampler, defaults_of, drawn, range_at, search_space, suggested
from zoo.training._trainer import OutOfMemory, Trainer

PLAN, FILE, TRIAL = "tuning.json", "tuned.json", "trial.json"
SEEDS = 1_000_000
"""Trials train with this seed and those above it, runs that are tested usually with 0, 1, ..."""
FORM = {
    **dict.fromkeys(("dataset", "task", "model", "metric", "decided_by", "sampler"), str),
    "best": int,
    "at_edge": list[str],
    "space": dict[str, str],
    "trials": list[dict[str, object]],
}
TRIAL_FORM = {
    "number": int,
    "settings": dict[str, object],
    "value": float | None,
    "loss": float | None,
    "seconds": float,
    "epochs": int | None,
    "reason": str | None,
}


@dataclass(frozen=True)
class Trial:
    """One set of settings, and how it did.

    Attributes:
        number: from 0, which has the defaults.
        settings: those that were searched, by their dotted names.
        value: of the metric, on the validation split; None where it is undefined or the trial failed.
        loss: on the validation split, the mean over samples; None where the trial failed.
        seconds: of computing (CPU time of all threads) for training and validation, of a trial that was killed those
            since it went on.
        epochs: of a network.
        reason: why there is no value.
    """

    number: int
    settings: dict[str, object]
    value: float | None = None
    loss: float | None = None
    seconds: float = 0.0
    epochs: int | None = None
    reason: str | None = None


@dataclass(frozen=True, repr=False)
class Tuned:
    """What a tuning found.

    Attributes:
        dataset, task, model: what was tuned.
        metric: what is compared, on the validation split.
        decided_by: the metric, or ``"loss"`` where no trial has a value of it.
        sampler: how settings were drawn.
        best: the number of the best trial; among equal ones that with the lower loss, then the first.
        at_edge: settings whose best value is at the edge of its range, so that a better one may lie beyond; not where
            nothing can lie there, as below a dropout of 0.
        space: in words, where each setting was searched, given the others of the best trial.
        trials: all of them.
        folder: where it lies; not part of the file.
    """

    dataset: str
    task: str
    model: str
    metric: str
    decided_by: str
    sampler: str
    best: int
    at_edge: list[str]
    space: dict[str, str]
    trials: list[Trial]
    folder: Path | None = field(default=None, compare=False)

    @property
    def settings(self) -> dict[str, object]:
        """Those of the best trial, by their dotted names: ``settings`` of `zoo.run`."""
        return self.trials[self.best].settings

    @property
    def hyperparameters(self) -> dict[str, object]:
        """Those of the settings that `zoo.create_model` takes."""
        return _below("model.", self.settings)

    @property
    def trainer(self) -> dict[str, object]:
        """Those of the settings that `zoo.train` takes."""
        return _below("trainer.", self.settings)

    @property
    def value(self) -> float | None:
        """Of the metric, of the best trial."""
        return self.trials[self.best].value

    @property
    def seconds(self) -> float:
        """CPU time of all trials."""
        return sum(t.seconds for t in self.trials)

    @property
    def failed(self) -> list[Trial]:
        """The trials that came to no end."""
        return [t for t in self.trials if t.loss is None]

    def to_dict(self) -> dict:
        """As it stands in the file."""
        facts = asdict(replace(self, folder=None))
        del facts["folder"]
        return facts

    @classmethod
    def read(cls, folder: str | Path) -> Tuned:
        """Read ``tuned.json``.

        Raises:
            UserError: it is missing or of another form.
        """
        path = Path(folder) / FILE
        try:
            facts = json.loads(path.read_text())
            check_form(facts, FORM, FILE)
            for number, trial in enumerate(facts["trials"]):
                _check_trial(trial, number, facts["space"].keys())
            over = [t["number"] for t in facts["trials"] if t["loss"] is not None]
            if facts["best"] not in over or not set(facts["at_edge"]) <= facts["space"].keys():
                raise ValueError("what it says of its best trial cannot be")
        except FileNotFoundError:
            raise UserError(f"{folder} holds no finished tuning: there is no {FILE}.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} cannot be read ({error}): tune again to write it anew.") from None
        facts["trials"] = [Trial(**{n: t[n] for n in TRIAL_FORM}) for t in facts["trials"]]
        return cls(**{n: facts[n] for n in FORM}, folder=Path(folder))

    @property
    def title(self) -> str:
        return f"{self.model} on {self.task} of {self.dataset}, {counted(len(self.trials), 'trial')}"

    def __repr__(self) -> str:
        value = "None" if self.value is None else f"{self.value:.4f}"
        return printable(f"{type(self).__name__}({self.title}, {self.metric}={value}, settings={self.settings!r})")

    def __str__(self) -> str:
        lines = [self.title, *(f"  {self._told(t)}" for t in self.trials), *(f"  {line}" for line in self._remarks())]
        return "\n".join(printable(line) for line in lines)

    def _repr_html_(self) -> str:
        rows = {f"trial {t.number}{' (best)' * (t.number == self.best)}": self._told(t, False) for t in self.trials}
        return html_table(self.title, rows, self._remarks())

    def _told(self, trial: Trial, numbered: bool = True) -> str:
        found = [f"{self.metric} {trial.value:.4f}" if trial.value is not None else f"no value: {trial.reason}"]
        found += [f"loss {trial.loss:.4f}"] if trial.loss is not None else []
        found += [", ".join(f"{n}={as_setting(v)}" for n, v in trial.settings.items()) or "nothing to set"]
        mark = ("* " if trial.number == self.best else "  ") + f"trial {trial.number}: " if numbered else ""
        return mark + "  ".join(found)

    def _remarks(self) -> list[str]:
        found = [f"best: trial {self.best}{' (the defaults)' * (not self.best)}, on the validation split"]
        if self.decided_by != self.metric:
            found.append(f"note: {self.metric} has no value on the validation split, so the loss decided")
        found += [f"note: {n} is at the edge of its range ({self.space[n]})" for n in self.at_edge]
        found.append(f"CPU time: {self.seconds:.1f} s")
        return [*found, *([f"folder: {self.folder}"] if self.folder else [])]


def tune(
    model: str | type[Model],
    data: TaskData,
    trials: int = 8,
    *,
    metric: str | None = None,
    seed: int = 0,
    sampler: str = "random",
    settings: Mapping[str, object] | None = None,
    out: str | Path,
) -> Tuned:
    """Find the settings with which a model does best on the validation split; the test split is not looked at.

    The first trial has the defaults. A model of which nothing is searched has no other one.

    >>> import tempfile, zoo
    >>> data = zoo.load("synthetic", task="mortality", patients=120, concepts=["diagnosis"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tuned = zoo.tune("logistic_regression", data, trials=2, out=folder)
    >>> [trial.number for trial in tuned.trials]
    [0, 1]

    Args:
        model: a registered name, or a class; see `zoo.registry.Choice` for where it says what is searched.
        data: what `zoo.load` returned.
        trials: how many. More of them later go on with those that are there.
        metric: what is compared; by default what a leaderboard ranks by.
        seed: of the draws; trials train with seeds far from those that runs usually have.
        sampler: ``"random"``, or ``"optuna"``, which needs that package.
        settings: what is fixed, of ``model.`` and ``trainer.``, by dotted names as in `zoo.run`.
        out: the folder; the same call goes on where it was killed.

    Raises:
        UserError: whatever is unknown, there is no validation sample, the folder holds another tuning, or every trial
            failed.
    """
    check_given("tune", model, data)
    if isinstance(model, Model):
        raise UserError(f"{model.registered_name!r} is made already: give its name, or its class, to zoo.tune.")
    trials, seed = whole_number("trials", trials, 1), whole_number("seed", seed, 0, 2**31 - 1 - SEEDS)
    check_sampler(sampler)
    if launched():
        raise UserError("a tuning has one process: start it without accelerate launch or torchrun.")
    name = models.entry(model).name
    if not isinstance(settings or {}, Mapping):
        raise UserError(f"settings={shown(settings)} must be a dictionary, such as {{'model.dim': 64}}.")
    fixed = dict(settings or {})
    for setting in fixed:
        if not str(setting).startswith(("model.", "trainer.")):
            raise UserError(f"setting {shown(setting)} must begin with model. or trainer.: data are given prepared.")
    check_parameters(f"model {name!r}", models.get(name), _below("model.", fixed))
    fixed_trainer = check_parameters("the trainer", Trainer, _below("trainer.", fixed))
    if not data.size("validation"):
        raise UserError("tuning needs validation samples, and there are none: load the data with another split.")
    metric = data.outcomes.ranked_by if metric is None else metric
    if metric not in data.outcomes.metrics:
        raise UserError(
            f"metric {metric!r} is none of {data.kind.name} tasks: {nearest(metric, data.outcomes.metrics)}."
        )
    first = create_model(name, data, **_below("model.", fixed))
    loop = Trainer(**{**first.trainer_defaults(first.spec), **fixed_trainer})
    loop.check(data)
    space = search_space(first, fixed)
    data.checked_inputs(first)
    folder = made(path_of("out", out), new=False)
    plan = {
        "dataset": data.dataset.name,
        "task": data.task.name,
        "model": name,
        "config": configuration(first, data, loop),
        "data_key": data.digest_for(first),
        "settings": fixed,
        "space": {n: str(r) for n, r in space.items()},
        "metric": metric,
        "seed": seed,
        "sampler": sampler,
    }
    with locked(folder), progress(f"tuning {name}") as report:
        hold_to_plan(folder, PLAN, plan, "tuning")
        search = Search(name, data, fixed, space, data.outcomes.metrics[metric], seed, sampler, folder)
        found = search.run(trials if space else 1, report, defaults_of(first, fixed, list(space)))
        write_json(folder / FILE, found.to_dict())
    return found


class Unmakeable(UserError):
    """A model cannot be made with some settings."""


@dataclass(frozen=True)
class Search:
    """The trials of one model; `run` makes them.

    Attributes:
        model, data, seed, sampler, folder: as in `tune`.
        metric: what decides.
        fixed: settings that are not searched.
        space: where the others are.
    """

    model: str
    data: TaskData
    fixed: Mapping[str, object]
    space: Space
    metric: Metric
    seed: int
    sampler: str
    folder: Path

    def run(self, count: int, report: Callable, defaults: Mapping[str, object]) -> Tuned:
        """Make the trials that are missing, and choose."""
        trials: list[Trial] = []
        for number in range(count):
            report(f"trial {number + 1} of {count}", share=number / count)
            place = self.folder / f"trial-{number}"
            held = _held(place / TRIAL, number, self.space.keys())
            if held is None or held["seconds"] is None:
                settings = held["settings"] if held else self._settings(number, trials, defaults)
                trials.append(self._try(number, settings, place))
            else:
                trials.append(Trial(**{n: held[n] for n in TRIAL_FORM}))
        best, by = chosen(trials, self.metric)
        settings = trials[best].settings
        edge = [n for n in self.space if self._is_at_edge(n, settings)]
        space = {n: str(range_at(r, settings) or r) for n, r in self.space.items()}
        names = self.data.dataset.name, self.data.task.name, self.model
        return Tuned(*names, self.metric.name, by, self.sampler, best, edge, space, trials, self.folder)

    def _settings(self, number: int, trials: Sequence[Trial], defaults: Mapping[str, object]) -> dict[str, object]:
        if number == 0:
            return dict(defaults)
        if self.sampler == "random":
            return drawn(self.space, number, self.seed)
        tried = [(t.settings, self.metric.sign * t.value) for t in trials if t.value is not None]
        return suggested(self.space, tried, self.seed + number)

    def _is_at_edge(self, name: str, settings: Mapping[str, object]) -> bool:
        """Whether a value lies at the edge of its range, and there can be others beyond."""
        where, value = range_at(self.space[name], settings), settings[name]
        group, _, key = name.partition(".")
        if where is None or not where.holds(value) or not where.at_edge(value):
            return False
        return not is_at_limit(models.get(self.model) if group == "model" else Trainer, key, value)

    def _try(self, number: int, settings: dict[str, object], place: Path) -> Trial:
        """Train with some settings and look at the validation split.

        Settings that a model cannot be made with, that make a loss infinite or take too much memory fail the trial.
        Whatever else goes wrong, such as a full disk, ends the tuning, and the trial is made again.
        """
        made(place, new=False)
        begun = {"number": number, "settings": settings}
        write_json(place / TRIAL, {**begun, **dict.fromkeys(TRIAL_FORM.keys() - begun.keys())})
        began = time.process_time()
        try:
            value, loss, epochs, reason = self._scored({**self.fixed, **settings}, place)
        except (Unmakeable, NotFinite, OutOfMemory) as error:
            value, loss, epochs, reason = None, None, None, str(error)
        seconds = round(time.process_time() - began, 3)
        for path in place.iterdir():  # a trial is not gone back to: checkpoints are large
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (TRIAL, NON_FINITE):
                path.unlink()
        found = Trial(number, settings, value, loss, seconds, epochs, reason)
        write_json(place / TRIAL, asdict(found))
        return found

    def _scored(
        self, settings: Mapping[str, object], place: Path
    ) -> tuple[float | None, float, int | None, str | None]:
        data, seed = self.data, SEEDS + self.seed
        try:
            model = create_model(self.model, data, seed=seed, **_below("model.", settings))
        except UserError as error:
            raise Unmakeable(error) from error
        loop = Trainer(**{**model.trainer_defaults(model.spec), **_below("trainer.", settings)})
        with progress(f"training {self.model}", at_most=True) as report:
            sizes = learned(model, data, loop, seed, report, place)
        scores, losses = scores_of(model, data, "validation", loop.batch_size, loop.resolved_device())
        options = data.outcomes.options(data.places("validation"))
        threshold = threshold_of(data, scores)
        options |= {} if threshold is None else {"threshold": threshold}
        label, subject = data.label("validation"), data.subject("validation")
        found = evaluate(data.task.kind, label, scores, subject, resamples=0, metrics=[self.metric.name], **options)
        loss = float(losses.mean(dtype="float64"))
        if not math.isfinite(loss):
            raise NotFinite(f"the validation loss is {loss}.")
        value = found[self.metric.name]
        return value.value, loss, sizes.get("epochs"), None if value.value is not None else value.reason


def chosen(trials: Sequence[Trial], metric: Metric) -> tuple[int, str]:
    """The number of the best trial, and what decided: the metric, or the loss where it has no value.

    >>> from zoo.metrics import suite
    >>> auroc = suite("binary")["auroc"]
    >>> chosen([Trial(0, {}, 0.5, 0.9), Trial(1, {}, 0.7, 0.8), Trial(2, {}, 0.7, 0.7)], auroc)
    (2, 'auroc')
    >>> chosen([Trial(0, {}, None, 0.9), Trial(1, {}, None, 0.8)], auroc)
    (1, 'loss')

    Raises:
        UserError: all of them failed.
    """
    over = [t for t in trials if t.loss is not None]
    if not over:
        raise UserError(f"all of {counted(len(trials), 'trial')} failed; the first one: {trials[0].reason}")
    valued = [t for t in over if t.value is not None]
    best = min(valued or over, key=lambda t: (-metric.sign * (t.value or 0), t.loss, t.number))
    return best.number, metric.name if valued else "loss"


def _below(prefix: str, settings: Mapping[str, object]) -> dict[str, object]:
    return {n.removeprefix(prefix): v for n, v in settings.items() if n.startswith(prefix)}


def _check_trial(facts: object, number: int, space: Collection[str]) -> None:
    """Raise a `ValueError` where what stands of a trial is not of it."""
    check_form(facts, TRIAL_FORM, TRIAL)
    own = facts["number"] == number and facts["settings"].keys() == set(space) and facts["seconds"] >= 0
    if not own or (facts["loss"] is None and facts["value"] is not None):
        raise ValueError("it is of another trial")


def _held(path: Path, number: int, space: Collection[str]) -> dict | None:
    """What stands in ``trial.json``; ``seconds`` is None of one that was not brought to its end."""
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text())
        check_form(facts, {"seconds": float | None}, path.name)
        over = facts["seconds"] is not None
        _check_trial(facts if over else {**facts, "seconds": 0.0}, number, space)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): remove its folder to make that trial again.") from None
    return facts
