"""Checks of what a model keeps: nothing between calls, everything in a file, and chance in its seed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from zoo.data import Spec
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._logits import copied, distance, logits, same
from zoo.testing._model._short_training import made, trained


def state(candidate: Candidate) -> Iterator[str]:
    model, task = copied(candidate.model), candidate.task
    one, another = task.batch(candidate.rows()), task.batch(task.rows(230, 240))
    kept = None if candidate.fitted else {n: w.clone() for n, w in model.state_dict().items()}
    with torch.no_grad():
        model.eval()
        first, second = (model(one).logits.float().numpy().copy() for _ in range(2))
        model(another)
        third = model(one).logits.float().numpy().copy()
    if not same(first, second):
        yield f"the same batch twice gives logits that differ by {distance(first, second):.1e}"
    elif not same(first, third):
        yield f"the same batch after another one gives logits that differ by {distance(first, third):.1e}"
    if kept is not None and any(not torch.equal(w, kept[n]) for n, w in model.state_dict().items()):
        yield "a call in eval mode changes what is saved"


def save_load(candidate: Candidate) -> Iterator[str]:
    spec = Spec.from_dict(json.loads(json.dumps(candidate.model.spec.to_dict())))
    new = made(candidate.entry, spec, candidate.hyperparameters, seed=1)
    if candidate.fitted:
        with tempfile.TemporaryDirectory() as folder:
            candidate.model.save(Path(folder) / "model.skops")
            new.load(Path(folder) / "model.skops")
    else:
        from safetensors.torch import load, save

        weights = {n: w.contiguous().cpu() for n, w in candidate.model.state_dict().items()}
        new.load_state_dict(load(save(weights)) if weights else {})
    expected, found = (logits(model, candidate.task.batch(candidate.rows())) for model in (candidate.model, new))
    if not same(found, expected):
        yield f"a new model with the saved weights has logits that differ by {distance(found, expected):.1e}"


def seed(candidate: Candidate) -> Iterator[str]:
    """The training of the candidate, once more."""
    again, _ = trained(candidate.entry, candidate.task, candidate.hyperparameters)
    weights = again.state_dict()
    for name, weight in candidate.model.state_dict().items():
        if not torch.equal(weight, weights[name]):
            yield f"two trainings with one seed differ in {name}"
            return
    batch = candidate.task.batch(candidate.rows())
    if not np.array_equal(logits(candidate.model, batch), logits(again, batch)):
        yield "two trainings with one seed differ in their logits"
