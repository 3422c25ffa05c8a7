"""Training without labels, on every visit, before a model is trained on a task."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from zoo.data import Batch
from zoo.data._splits import checked_seed
from zoo.data._task_data import TaskData
from zoo.models._model import Model, Output
from zoo.registry import UserError, check_parameters
from zoo.result import Result
from zoo.training._callbacks import check_callbacks
from zoo.training._create import check_given, check_made_for, create_model
from zoo.training._processes import Processes, launched
from zoo.training._run import Job, configuration, fitted
from zoo.training._scores import scores_of
from zoo.training._trainer import Trainer

SEED = 20_190_603
"""Of what is drawn at random where a pre-training is looked at, so that each epoch is looked at in the same way."""


class Pretraining(Model):
    """A model as the loop sees it that pre-trains it: its loss is the sum of what `Model.pretrain` gives."""

    def __init__(self, model: Model):
        super().__init__(model.spec)
        self.model = model
        self.registered_name = model.registered_name
        self.configuration = getattr(model, "configuration", {})

    def forward(self, batch: Batch) -> Output:
        """The loss stands in for logits, (1, 1), so that it goes the way that logits go among processes."""
        if self.training:
            return self._loss(batch)
        with torch.random.fork_rng([batch.label.device] if batch.label.is_cuda else []):
            torch.manual_seed(SEED)
            return self._loss(batch)

    def _loss(self, batch: Batch) -> Output:
        found = self.model.pretrain(batch)
        return Output(torch.stack([loss.float() for loss in found.losses.values()]).sum().reshape(1, 1))

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The sum of the losses, a scalar."""
        return output.logits.sum()

    def predict(self, output: Output) -> Tensor:
        """(1, 1), the loss of the batch."""
        return output.logits


def pretrain(
    model: str | Model | type[Model],
    data: TaskData,
    seed: int = 0,
    out: str | Path | None = None,
    *,
    callbacks: Iterable = (),
    **trainer,
) -> Result:
    """Pre-train a model on every visit of the training split, whatever the task, and write the run.

    Subjects that the task leaves out are learned from too; those of the validation and test splits are not. The run
    is the ``init`` of `zoo.train`. The same call goes on where it was killed.

    Args:
        model: a registered name, or what `create_model` made; or a class or an instance that is not registered.
        data: what `zoo.load` returned.
        seed: of first weights (where a name is given), order of batches, and what is masked or dropped.
        out: the run folder; a new one below ``runs`` by default.
        callbacks: as in `zoo.train`.
        **trainer: keywords of `Trainer`; what is monitored is the loss on the visits of the validation split.

    Returns:
        With one metric, ``loss``: on the visits of the test split.

    Raises:
        UserError: the model is not pre-trained, a keyword is unknown, or the folder holds another run.
    """
    check_given("pretrain", model, data)
    trainer, seed = check_parameters("the trainer", Trainer, trainer), checked_seed(seed)
    callbacks = check_callbacks(callbacks)
    if isinstance(model, (str, type)):
        model = create_model(model, data, seed=seed)
    else:
        check_made_for(model, data)
    if type(model).pretrain is Model.pretrain:
        raise UserError(f"model {model.registered_name!r} is not pre-trained: train it.")
    loop = Trainer(**{**model.pretraining_defaults(model.spec), "monitor": "loss", **trainer})
    if loop.monitor != "loss":
        raise UserError(f"trainer monitor={loop.monitor!r} cannot be had in pre-training: leave it at 'loss'.")
    visits, trained = data.every_visit(model), Pretraining(model)
    if not visits.size("train"):
        raise UserError(f"no visit of {data.dataset.name} falls into the training split.")
    job = Job(
        model,
        visits,
        loop,
        seed,
        data.task.name,
        {**configuration(model, visits, loop), "pretraining": True, "init": None},
        partial(fitted, trained, visits, loop, seed),
        lambda: (loss_on(trained, visits, "test", loop), None),
        callbacks=callbacks,
    )
    return job.run(out)


def loss_on(model: Pretraining, data: TaskData, split: str, loop: Trainer) -> dict[str, dict]:
    """The metric of a pre-training."""
    if not data.size(split):
        return {"loss": {"value": None, "low": None, "high": None, "reason": f"no visit falls into the {split} split"}}
    device = loop.resolved_device()
    losses = scores_of(model, data, split, loop.batch_size, device, Processes(device) if launched() else None)[1]
    return {"loss": {"value": float(losses.mean(dtype="float64")), "low": None, "high": None, "reason": None}}
