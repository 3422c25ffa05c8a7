"""What trackers are told of a run, as they take it."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.result import Result

NAMES = ("dataset", "task", "model", "seed", "data_key")


def configuration(run: Mapping) -> dict[str, object]:
    """What tells a run from others, flat, under dotted names such as ``trainer.lr``.

    >>> run = {"dataset": "mimic3", "task": "los", "model": "gru", "seed": 0, "data_key": "a1"}
    >>> configuration({**run, "config": {"trainer": {"lr": 0.1}, "init": None}, "folder": "runs/x"})["trainer.lr"]
    0.1
    """
    return {**{n: run[n] for n in NAMES}, **_flat(run["config"], "")}


def _flat(facts: Mapping, above: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in facts.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return found


def scalars(row: Mapping[str, float | None]) -> dict[str, float]:
    """What an epoch has a value of, without its number."""
    return {n: float(v) for n, v in row.items() if n != "epoch" and v is not None}


def tested_scalars(result: Result) -> dict[str, float]:
    """The metrics on the test split that are defined, as ``test_auroc`` and so on."""
    return {f"test_{n}": m["value"] for n, m in result.metrics.items() if m["value"] is not None}
