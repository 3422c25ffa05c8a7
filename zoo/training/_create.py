"""A model for prepared data."""

from __future__ import annotations

import inspect

import torch

from zoo.data._task_data import TaskData
from zoo.models._model import Model
from zoo.registry import UserError, check_parameters, models


def create_model(name: str, data: TaskData, *, seed: int = 0, **hyperparameters) -> Model:
    """Make a model for prepared data.

    Args:
        name: a registered model; see `zoo.list_models`.
        data: what `zoo.load` returned.
        seed: of its first weights.
        **hyperparameters: the model's own.

    Raises:
        UserError: the name or a hyperparameter is unknown or of the wrong type, the model does not serve the kind of
            the task, or the data lack a concept that it needs.
    """
    entry = models.entry(name)
    kinds = entry.facts.get("kinds", ())
    if data.task.kind not in kinds:
        raise UserError(
            f"model {name!r} does not serve {data.task.kind} tasks such as {data.task.name!r}; "
            f"it serves {', '.join(sorted(kinds))}."
        )
    predicts = entry.facts.get("predicts")
    if predicts is not None and predicts != data.task.predicts:
        raise UserError(f"model {name!r} predicts a {predicts} set; task {data.task.name!r} asks for something else.")
    check_parameters(f"model {name!r}", entry.thing, hyperparameters)
    check_seed(seed)
    spec = data.spec(name, hyperparameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = entry.thing(spec, **hyperparameters)
            model.first_weights()
        except (RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, UserError) or not hyperparameters:
                raise
            raise UserError(f"model {name!r} cannot be made with {hyperparameters}: {error}") from error
    bound = inspect.signature(entry.thing.__init__).bind(model, spec, **hyperparameters)
    bound.apply_defaults()
    model.configuration = {n: v for n, v in bound.arguments.items() if n not in ("self", "spec")}
    return model


def check_seed(seed: object) -> None:
    """Raise a `UserError` where a seed is none."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise UserError(f"seed={seed!r} must be a whole number from 0 to 2147483647.")
