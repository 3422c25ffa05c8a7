"""What a network says of a whole split, and how wrong it is."""

from __future__ import annotations

import numpy as np
import torch

from zoo.data._task_data import TaskData
from zoo.models._model import Model
from zoo.progress import progress
from zoo.training._processes import Processes


def scores_of(
    model: Model,
    data: TaskData,
    split: str,
    batch_size: int,
    device: torch.device,
    processes: Processes | None = None,
    logits: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and losses of a split, always in single precision, so that a run reads back with the scores it had.

    Each of several processes takes every so manieth batch, and all get everything.

    Args:
        model, data, split, batch_size, device, processes: whose, of what, and how.
        logits: give the logits, (samples, outputs), in the place of scores.

    Returns:
        (samples, ...) what the model predicts, in the order of the split's samples, and (samples,) the main loss of
        each sample's batch.
    """
    rows, size = data.rows(split, model), data.size(split)
    chunks = [(low, min(low + batch_size, len(rows))) for low in range(0, len(rows), batch_size)]
    rank, count = (processes.rank, processes.count) if processes else (0, 1)
    found, losses = None, torch.zeros(size, device=device)
    model.eval()
    with torch.no_grad(), progress(f"predicting the {split} split") as report:
        for low, high in chunks[rank::count] or chunks[:1]:  # a process without a batch must learn the scores' shape
            report(share=low / len(rows))
            batch = rows.batch(low, high).to(device)
            output = model(batch)
            scores = (output.logits if logits else model.predict(output)).float()
            if found is None:
                found = torch.zeros(size, *scores.shape[1:], device=device)
            if chunks[rank::count]:
                own = slice(rows.offsets[low], rows.offsets[high])
                found[own] = scores
                losses[own] = model.loss(output, batch)
    if processes and found is not None and size:
        found, losses = processes.total(found), processes.total(losses)
    return (np.zeros(0) if found is None else found.cpu().numpy()), losses.cpu().numpy()
