"""A model for prepared data."""

from __future__ import annotations

import torch

from zoo.data._splits import checked_seed
from zoo.data._task_data import TaskData
from zoo.models._model import Model
from zoo.registry import UserError, check_parameters, kinds, models, shown


def create_model(name: str | type[Model], data: TaskData, *, seed: int = 0, **hyperparameters) -> Model:
    """Make a model for prepared data.

    Args:
        name: a registered model; see `zoo.list_models`. Or a class, registered or not.
        data: what `zoo.load` returned.
        seed: of its first weights.
        **hyperparameters: the model's own.

    Raises:
        UserError: the name or a hyperparameter is unknown or of the wrong type, the model does not serve the kind of
            the task, or the data lack a concept that it needs.
    """
    check_given("create_model", name, data)
    if isinstance(name, Model):
        raise UserError(f"{name.registered_name!r} is made already: give it to zoo.train.")
    entry = models.entry(name)
    name = entry.name
    served = entry.facts.kinds if entry.described else kinds.names()
    if data.task.kind not in served:
        raise UserError(
            f"model {name!r} does not serve {data.task.kind} tasks such as {data.task.name!r}; "
            f"it serves {', '.join(sorted(served))}."
        )
    predicts = entry.facts.predicts
    if predicts is not None and predicts != data.task.predicts:
        raise UserError(f"model {name!r} predicts a {predicts} set; task {data.task.name!r} asks for something else.")
    hyperparameters = check_parameters(f"model {name!r}", entry.thing, hyperparameters)
    seed = checked_seed(seed)
    spec = data.spec(name, hyperparameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = entry.thing(spec, **hyperparameters)
            model.first_weights()
        except (RuntimeError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            if isinstance(error, UserError) or not hyperparameters:
                raise
            raise UserError(f"model {name!r} cannot be made with {shown(hyperparameters)}: {error}") from error
    return model


def check_made_for(model: Model, data: TaskData) -> None:
    """Raise a `UserError` where a model was made for other data: its numbers of codes and labels mean others there."""
    spec, differs = model.spec, []
    if spec.kind != data.task.kind:
        differs.append(f"its task is {spec.kind}, that of the data {data.task.kind}")
    elif tuple(spec.labels) != tuple(data.labels):
        differs.append("its labels are others")
    absent = sorted(set(spec.vocabularies) - set(data.concepts))
    if absent:
        differs.append(f"the data have no {', '.join(absent)}")
    elif not differs:
        known = data.vocabularies(model)
        others = [c for c, own in spec.vocabularies.items() if not own.same(known[c])]
        differs += [f"its codes of {', '.join(others)} are others"] if others else []
        same = not len(spec.static) or spec.static == data.features.static.columns
        differs += [] if same else ["its static facts are others"]
    if differs:
        raise UserError(
            f"model {model.registered_name!r} was made for other data ({'; '.join(differs)}): make it with "
            "zoo.create_model and these data."
        )


def check_given(verb: str, model: object, data: object) -> None:
    """Look at what was given as a model and as data; a class that nobody registered gets a name of its own.

    Raises:
        UserError: they are swapped, or are something else.
    """
    if isinstance(model, TaskData) and not isinstance(data, TaskData):
        raise UserError(f"the arguments are swapped: it is zoo.{verb}(model, data), such as zoo.{verb}('gru', data).")
    if not isinstance(data, TaskData):
        raise UserError(f"data={shown(data)} must be what zoo.load returns.")
    thing = model if isinstance(model, type) else type(model)
    if isinstance(model, str):
        models.entry(model)
    elif not issubclass(thing, Model):
        raise UserError(
            f"model={shown(model)} must be a name, such as 'gru' (see zoo.list_models()), or a class or an instance of "
            f"zoo.models.Model."
        )
    else:
        models.entry(thing)
