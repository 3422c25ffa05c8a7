"""How the learning rate changes from step to step."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "linear", "cosine")


def warmup_steps(warmup: float, total: int) -> int:
    """How many steps a warm-up takes that is given in steps, or below 1 as a share of all.

    >>> warmup_steps(10, 200), warmup_steps(0.1, 200)
    (10, 20)
    """
    return min(round(warmup * total) if warmup < 1 else int(warmup), total)


def rate_share(schedule: str, step: int, total: int, warmup: int = 0) -> float:
    """What share of the full learning rate a step gets.

    It rises linearly over the warm-up, reaches 1 at its last step, and then stays, or falls to 0 just behind the last
    step of all: along a line, or along half a cosine (Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983, without
    restarts).

    Args:
        schedule: one of `SCHEDULES`.
        step: counted from 0 over all epochs.
        total: steps of all epochs.
        warmup: steps of the warm-up.

    >>> [rate_share("linear", step, 6, warmup=2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    gone = (step - warmup) / (total - warmup)
    return 1 - gone if schedule == "linear" else (1 + math.cos(math.pi * gone)) / 2
