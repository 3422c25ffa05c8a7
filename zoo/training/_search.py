"""Where the settings of a model are searched, and how they are drawn.

Trial 0 has the defaults, so that what is found is never worse than they are on the validation split. ``"random"`` draws
the others from a scrambled Halton sequence, which leaves fewer gaps than independent draws do (Bousquet et al. 2017,
"Critical Hyper-Parameters: No Random, No Cry", arXiv:1706.03200). ``"optuna"`` has a tree-structured Parzen estimator
look at the trials before (Bergstra et al., NeurIPS 2011).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from zoo.models._model import Estimator, Model
from zoo.registry import Between, By, Choice, LogBetween, UserError, models, nearest, parameters_of
from zoo.training._trainer import Trainer

SAMPLERS = ("random", "optuna")
FIRST = 4
"""Trials that Optuna draws without looking at others."""

Space = Mapping[str, "Choice | Between | By"]


def usual_space(thing: type[Model], rate: float) -> dict[str, Choice | Between | By]:
    """Where the settings of a network are searched by default; of an estimator, nowhere.

    The rate, from a tenth to ten times what it is; ``dim`` halved and doubled; ``dropout`` 0, 0.1, 0.3 or 0.5.
    """
    known = parameters_of(thing)
    usual: dict[str, Choice | Between | By] = {}
    if not issubclass(thing, Estimator):
        usual["trainer.lr"] = LogBetween(rate / 10, rate * 10)
        width = known["dim"].default if "dim" in known else None
        if isinstance(width, int) and width > 1:
            usual["model.dim"] = Choice(width // 2, width, width * 2)
        if "dropout" in known:
            usual["model.dropout"] = Choice(0.0, 0.1, 0.3, 0.5)
    return usual


def search_space(made: Model, settings: Mapping[str, object]) -> dict[str, Choice | Between | By]:
    """Where each setting of a model is searched.

    What the model is registered with as ``search`` lies on top of `usual_space`, and takes away what is None.

    Args:
        made: the model as it is without any setting that is searched.
        settings: what is fixed, and so not searched.

    Raises:
        UserError: the model is registered with a setting that neither it nor the trainer has.
    """
    thing, name = type(made), made.registered_name
    known = parameters_of(thing)
    usual = usual_space(thing, defaults_of(made, settings, ["trainer.lr"])["trainer.lr"])
    found = usual | models.entry(thing).facts.search
    for setting in found:
        group, _, key = setting.partition(".")
        there = {"model": known, "trainer": parameters_of(Trainer)}.get(group, ())
        if key not in there:
            raise UserError(f"model {name!r} is registered with search={setting!r}: {nearest(key, there)}.")
    found = {n: r for n, r in found.items() if r is not None and n not in settings}
    settled, hanging = {}, {}
    for setting, where in found.items():
        if isinstance(where, By) and where.setting in found:
            hanging[setting] = where
        elif isinstance(where, By):
            [value] = defaults_of(made, settings, [where.setting]).values()
            settled[setting] = where.ranges.get(value, usual[setting])
        else:
            settled[setting] = where
    return settled | hanging


def defaults_of(made: Model, settings: Mapping[str, object], wanted: Sequence[str]) -> dict[str, object]:
    """What settings are where a search does not set them: the fixed ones, those of the model's paper, the defaults."""
    fixed = {n.removeprefix("trainer."): v for n, v in settings.items() if n.startswith("trainer.")}
    trainer = Trainer(**{**made.trainer_defaults(made.spec), **fixed})
    groups = {"model": made.configuration, "trainer": vars(trainer)}
    return {n: groups[n.partition(".")[0]][n.partition(".")[2]] for n in wanted}


def check_sampler(sampler: str) -> None:
    """Raises a `UserError` where a sampler is unknown or its package is not installed."""
    if sampler not in SAMPLERS:
        raise UserError(f"sampler={sampler!r} is unknown: {nearest(str(sampler), SAMPLERS)}.")
    if sampler == "optuna" and importlib.util.find_spec("optuna") is None:
        raise UserError("sampler='optuna' needs a package: pip install 'ehr-zoo[tune]', or take 'random'.")


def drawn(space: Space, number: int, seed: int) -> dict[str, object]:
    """The settings of a trial, from 1; they hang on its number and the seed alone.

    >>> space = {"trainer.lr": LogBetween(1e-4, 1e-2), "model.dim": Choice(64, 128)}
    >>> drawn(space, 1, seed=0) == drawn(space, 1, seed=0) != drawn(space, 2, seed=0)
    True
    """
    from scipy.stats import qmc

    shares = qmc.Halton(len(space), seed=seed).random(number)[-1] if space else []
    found: dict[str, object] = {}
    for (name, where), share in zip(space.items(), shares, strict=True):
        found[name] = range_at(where, found).at(share)
    return found


def suggested(space: Space, tried: Sequence[tuple[Mapping[str, object], float]], seed: int) -> dict[str, object]:
    """The settings of a trial as Optuna suggests them.

    Args:
        space: where each setting is searched.
        tried: the settings of trials before, and what each scored; more is better. One with settings outside of the
            space, as defaults may be, is not learned from.
        seed: of the draw.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for settings, value in tried:
        ranges = {n: range_at(where, settings) for n, where in space.items()}
        if all(where is not None and where.holds(settings[n]) for n, where in ranges.items()):
            names = {n: _name(n, space[n], settings) for n in space}
            study.add_trial(
                optuna.trial.create_trial(
                    params={names[n]: settings[n] for n in space},
                    distributions={names[n]: _distribution(where) for n, where in ranges.items()},
                    value=value,
                )
            )
    trial, found = study.ask(), {}
    for name, where in space.items():
        found[name] = _suggest(trial, _name(name, where, found), range_at(where, found))
    return found


def range_at(where: Choice | Between | By, settings: Mapping[str, object]) -> Choice | Between | None:
    """The range of a setting, given others; None where it hangs on a value for which there is none."""
    return where.ranges.get(settings[where.setting]) if isinstance(where, By) else where


def _name(setting: str, where: Choice | Between | By, settings: Mapping[str, object]) -> str:
    """What Optuna knows a setting by: one whose range hangs on another is another one for each of its ranges."""
    return f"{setting} with {settings[where.setting]}" if isinstance(where, By) else setting


def _distribution(where: Choice | Between):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(where, Choice):
        return CategoricalDistribution(where.options)
    kind = IntDistribution if where.whole else FloatDistribution
    return kind(where.low, where.high, log=isinstance(where, LogBetween))


def _suggest(trial, name: str, where: Choice | Between) -> object:
    if isinstance(where, Choice):
        return trial.suggest_categorical(name, where.options)
    suggest = trial.suggest_int if where.whole else trial.suggest_float
    return suggest(name, where.low, where.high, log=isinstance(where, LogBetween))
