"""The check of the vectors that a model has of patients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from zoo.data import Batch
from zoo.models import Model, Output
from zoo.testing._model import _patients as patients
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._logits import copied
from zoo.testing._model._sample import batch_independence, causal, future, label
from zoo.training._precision import bfloat16


class Vectors(nn.Module):
    """A model whose logits are the vectors of another one: what is checked of logits can be checked of them."""

    def __init__(self, model: Model):
        super().__init__()
        self.model, self.spec = model, model.spec

    def forward(self, batch: Batch) -> Output:
        return Output(self.model.embed(batch))


def embeds(candidate: Candidate) -> Iterator[str]:
    task, rows = candidate.task, [*candidate.rows(), candidate.task.row(patients.long_patient())]
    batch = task.batch(rows)
    model = copied(candidate.model).eval()
    with torch.no_grad():
        found = model.embed(batch)
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != batch.samples or not found.shape[1]:
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        yield f"vectors are {shape}, not ({batch.samples}, dim)"
        return
    with torch.no_grad(), bfloat16("cpu"):
        half = model.embed(batch)
    for vectors, where in ((found, ""), (half, " in bfloat16")):
        if not vectors.is_floating_point() or not torch.isfinite(vectors).all():
            yield f"vectors are not finite{where}"
    alike = _alike(found.float().numpy())
    if alike > len(rows) // 2:
        yield f"{alike} of {len(rows)} patients have the vector of the one before"
    of_vectors = replace(candidate, model=Vectors(candidate.model))
    checks = [batch_independence, label, *([future, causal] if candidate.causal else [])]
    for check in checks:
        yield from (problem.replace("logits", "vectors") for problem in check(of_vectors))


def _alike(vectors: np.ndarray) -> int:
    """How many rows are the same as the row before, of which the first one's is the last."""
    return int((np.abs(vectors - np.roll(vectors, 1, axis=0)).max(axis=1) <= 1e-7).sum())
