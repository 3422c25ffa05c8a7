"""Training on as many samples of one label as of the other."""

from __future__ import annotations

import numpy as np

from zoo.data._task_data import TaskData
from zoo.registry import UserError


def training_places(data: TaskData, balance: bool, seed: int) -> np.ndarray:
    """The places in ``data.samples`` that are trained on, in their order.

    Args:
        data: of a binary task, where it is balanced.
        balance: keep all samples of the rarer label, and draw as many of the other; else keep all.
        seed: of the draw.

    Raises:
        UserError: a label has no training sample.
    """
    places = data.places("train")
    if not balance:
        return places
    label = data.label("train")
    positive, negative = places[label], places[~label]
    count = min(len(positive), len(negative))
    if not count:
        raise UserError(
            f"trainer balance=True needs training samples of both labels; of {data.task.name} there are "
            f"{len(positive)} positive and {len(negative)} negative ones."
        )
    draw = np.random.default_rng(seed)
    kept = [draw.choice(some, count, replace=False) for some in (positive, negative)]
    return np.sort(np.concatenate(kept))
