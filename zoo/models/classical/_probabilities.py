"""From probabilities to the logits that give them back."""

from __future__ import annotations

import numpy as np

FLOOR = 1e-6
"""The least probability that a logit stands for, and one less the greatest: logits stay finite."""


def logits_of(probability: np.ndarray, kind: str) -> np.ndarray:
    """Logarithms of class probabilities for ``multiclass``, logarithms of odds for ``binary`` and ``multilabel``.

    Args:
        probability: (..., outputs), from 0 to 1.
        kind: of the task.

    >>> logits_of(np.array([0.5, 1.0]), "binary").round(2).tolist()
    [0.0, 13.82]
    """
    if kind == "multiclass":
        return np.log(np.maximum(probability, FLOOR))
    clipped = np.clip(probability, FLOOR, 1 - FLOOR)
    return np.log(clipped) - np.log1p(-clipped)
