"""Moments at equal distances before the prediction, of which measurements and notes say something."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.registry import UserError


@dataclass(frozen=True)
class Moments:
    """``points`` moments at equal distances, of which the last is the prediction.

    Args:
        points: how many.
        hours: from the first one to the prediction.

    Raises:
        UserError: there are fewer than 2, or ``hours`` is not above 0.
    """

    points: int
    hours: float

    def __post_init__(self):
        if self.points < 2 or not 0 < self.hours < float("inf"):
            raise UserError(f"points={self.points} must be at least 2, and hours={self.hours} a number above 0.")

    @property
    def step(self) -> float:
        """Hours between two."""
        return self.hours / (self.points - 1)

    def of(self, like: Tensor) -> Tensor:
        """(samples, points) from 0 to 1."""
        return torch.linspace(0, 1, self.points, device=like.device).expand(len(like), -1)

    def share(self, ago: Tensor) -> Tensor:
        """When something was, from 0 at the first moment to 1 at the prediction; below 0 before the first."""
        return 1 - ago / self.hours
