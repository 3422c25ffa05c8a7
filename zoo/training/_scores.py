"""What a network says of a whole split, and how wrong it is."""

from __future__ import annotations

import numpy as np
import torch

from zoo.data._task_data import TaskData
from zoo.models._model import Model
from zoo.training._processes import Processes


def scores_of(
    model: Model, data: TaskData, split: str, batch_size: int, device: torch.device, processes: Processes | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and losses of a split, always in single precision, so that a run reads back with the scores it had.

    Each of several processes takes every so manieth batch, and all get everything.

    Returns:
        (samples, ...) what the model predicts, in the order of the split's samples, and (samples,) the main loss of
        each sample's batch.
    """
    order = data.sample_order(split, batch_size, shuffle=False, seed=0)
    chunks = [slice(low, low + batch_size) for low in range(0, len(order), batch_size)]
    rank, count = (processes.rank, processes.count) if processes else (0, 1)
    found, losses = None, torch.zeros(len(order), device=device)
    model.eval()
    with torch.no_grad():
        for chunk in chunks[rank::count] or chunks[:1]:  # a process without a batch must learn the scores' shape
            batch = data.batch(order[chunk], model).to(device)
            output = model(batch)
            scores = model.predict(output).float()
            if found is None:
                found = torch.zeros(len(order), *scores.shape[1:], device=device)
            if chunk in chunks[rank::count]:
                found[chunk] = scores
                losses[chunk] = model.loss(output, batch)
    if processes and len(order):
        found, losses = processes.total(found), processes.total(losses)
    return (np.zeros(0) if found is None else found.cpu().numpy()), losses.cpu().numpy()
