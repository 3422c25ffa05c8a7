"""A model that is made as a file says is no larger than the file's own weights allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

STEPS_EACH, STEPS = 40, 4_000
"""How many operations the making of a model takes at most, for each of its tensors and besides."""
NUMBERS_EACH, NUMBERS = 10, 1 << 28
"""How many numbers it asks memory for at most, for each that it has in the end and besides: other heads, masks."""


class BoundedBy(TorchDispatchMode):
    """Within the block torch makes no more than a model of some weights needs, which are many times what there are.

    So one that is said to have a billion layers, or a layer as wide, is refused before memory or patience ends.

    Args:
        weights: the model's, as they were read.

    Raises:
        ValueError: within the block: it is more.
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        self._steps = STEPS + STEPS_EACH * len(weights)
        self._numbers = NUMBERS + NUMBERS_EACH * sum(w.numel() for w in weights.values())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self._steps -= 1
        self._numbers -= _asked_for(function, args)
        if self._steps < 0 or self._numbers < 0:
            raise ValueError("it would be far larger than the weights in its file")
        return function(*args, **(kwargs or {}))


def _asked_for(function, args: tuple) -> int:
    """How many numbers an operation makes room for, as far as its arguments tell."""
    size, name = _place_of_size(function)
    if size is not None and size < len(args):
        return math.prod(args[size])
    if name == "aten::clone":
        return args[0].numel()
    if name in ("aten::arange", "aten::eye"):
        return math.prod(int(n) for n in args if isinstance(n, (int, float)) and n > 0)
    return 0


@cache
def _place_of_size(function) -> tuple[int | None, str]:
    """Which argument of an operation is the size of what it makes, None where it makes nothing; and its name."""
    names = [a.name for a in function._schema.arguments]
    return (names.index("size") if "size" in names and not function.is_view else None), function._schema.name
