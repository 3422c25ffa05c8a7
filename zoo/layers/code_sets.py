"""The codes of visits as sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.data.batch import Ragged


def code_sets(events: Ragged) -> tuple[Tensor, Tensor]:
    """(visits, longest) the ids of each visit, ascending, and at which places each id comes for the first time.

    >>> from zoo.data.batch import Ragged
    >>> code_sets(Ragged(torch.tensor([5, 3, 5]), torch.tensor([0, 3, 3]), torch.zeros(3)))[1].tolist()
    [[True, True, False], [False, False, False]]
    """
    ids = events.padded()[0].sort(dim=1).values
    new = torch.ones_like(ids, dtype=torch.bool)
    new[:, 1:] = ids[:, 1:] != ids[:, :-1]
    return ids, new & (ids > 0)
