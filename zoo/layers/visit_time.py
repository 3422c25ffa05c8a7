"""When visits were, as numbers that a network can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.data.batch import Batch


def log_days_since(batch: Batch) -> Tensor:
    """(visits,) float32: log(1 + days) from the start of the visit before; 0 for the first of a row."""
    start = batch.visit_start
    since = torch.diff(start, prepend=start[:1]).clamp(min=0).index_fill(0, batch.row_offsets[:-1], 0)
    return torch.log1p(since / 24).float()


def log_days_until(batch: Batch) -> Tensor:
    """(samples,) float32: log(1 + days) from the start of a sample's own visit to its prediction time."""
    own = batch.row_offsets[batch.sample_row] + batch.sample_visit
    return torch.log1p((batch.sample_time - batch.visit_start[own]).clamp(min=0) / 24).float()


def sinusoids(place: Tensor, dim: int) -> Tensor:
    """The encoding of places by sines and cosines (Vaswani et al., NeurIPS 2017, section 3.5).

    Args:
        place: (...,) where in the sequence; any real number, such as days.
        dim: the width, even.

    Returns:
        (..., dim) float32: sin(place / 10000^(2i / dim)) at 2i, the cosine at 2i + 1.
    """
    rate = 10_000.0 ** (-torch.arange(0, dim, 2, device=place.device, dtype=torch.float64) / dim)
    angle = place.double()[..., None] * rate  # in float32 an angle of 10,000 days would be off by 0.001
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).float()
