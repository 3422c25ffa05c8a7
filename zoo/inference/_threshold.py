"""From which probability on a sample counts as positive."""

from __future__ import annotations

import torch

from zoo.inference._run import Run
from zoo.inference._tested import Tested
from zoo.metrics import tune_threshold
from zoo.registry import UserError
from zoo.result import write_json
from zoo.training._finished import read_json

FILE = "threshold.json"


def check_thresholds(run: Run, thresholds: str | None) -> None:
    """Raise a `UserError` where thresholds are asked for that there are not."""
    if thresholds not in (None, "tuned"):
        raise UserError(f"thresholds={thresholds!r} must be 'tuned', or None for that of the run.")
    if thresholds and not run.model.task_kind.thresholded:
        raise UserError(f"thresholds='tuned': a {run.spec.kind} task such as {run.result.task!r} has no threshold.")


def chosen_threshold(run: Run, thresholds: str | None, tested: Tested, batch_size: int, device: torch.device) -> float:
    """The run's own threshold, or one tuned on the run's validation split, which is then kept in its folder."""
    if thresholds is None:
        return 0.5 if run.result.threshold is None else run.result.threshold
    path = run.folder / FILE
    if path.exists():
        threshold = read_json(path).get("threshold")
        if not isinstance(threshold, float):
            raise UserError(f"{path} has no threshold: delete it, and it is tuned again.")
        return threshold
    same = tested.data.dataset if tested.own else None
    own = Tested.of(run, same, None, "validation", {})
    scored = own.scored(batch_size, device)
    threshold = tune_threshold(run.spec.kind, scored.label, scored.score, "f1")
    write_json(path, {"threshold": threshold, "metric": "f1", "split": "validation", "samples": len(scored.label)})
    return threshold
