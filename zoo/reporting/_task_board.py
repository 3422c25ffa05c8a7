"""What a leaderboard says of one task."""

from __future__ import annotations

from dataclasses import dataclass, field

WHAT_CEILING = (
    "Ceiling: what the probabilities that the generator drew the labels from score on these samples. No model can "
    "expect to rank them better; one may by chance, and what hangs on a threshold may be higher."
)


@dataclass
class Tuning:
    """How the settings of a model on a task were found.

    Attributes:
        trials, failed: how many there were, and how many of them came to no end.
        seconds: CPU time of all of them.
        metric: what was compared on the validation split.
        value: the best trial's; None where it is undefined, and then the loss decided.
        settings: the best trial's.
        at_edge: those of them that lie at the edge of their range.
        best: the number of the best trial; 0 has the defaults.
    """

    trials: int
    failed: int
    seconds: float
    metric: str
    value: float | None
    settings: dict[str, object]
    at_edge: list[str]
    best: int

    @classmethod
    def of(cls, tuned) -> Tuning:
        """From what `zoo.tune` found."""
        counts = {"trials": len(tuned.trials), "failed": len(tuned.failed), "seconds": round(tuned.seconds, 1)}
        same = {n: getattr(tuned, n) for n in ("metric", "value", "settings", "at_edge", "best")}
        return cls(**counts, **same)


@dataclass
class Entry:
    """A model on a task.

    Attributes:
        seeds: those that finished.
        rank: 1 is best; None where the ranking metric is undefined.
        metrics: name to ``{"value", "low", "high", "sd", "reason"}``; ``sd`` over seeds, None for one seed.
        difference: of the best model less this one, in the ranking metric: ``{"value", "low", "high", "p", "p_holm"}``;
            None for the best.
        tuning: how its settings were found, where it was tuned.
        folders: of the runs.
        parameters: how many the model has.
        seconds: of training, mean over seeds.
    """

    model: str
    seeds: list[int]
    metrics: dict[str, dict]
    folders: list[str]
    parameters: int | None = None
    seconds: float | None = None
    rank: int | None = None
    difference: dict | None = None
    tuning: Tuning | None = None


@dataclass
class TaskBoard:
    """A task's part: models in the order of their rank, and failed runs with ``model``, ``seed``, ``reason``.

    ``left_out`` are the models that do not serve the kind of the task; ``ceiling`` is as the ``metrics`` of an `Entry`,
    where it is known.
    """

    task: str
    kind: str
    metric: str | None
    samples: int
    subjects: int
    parameters: dict
    entries: list[Entry]
    failed: list[dict]
    left_out: list[str] = field(default_factory=list)
    ceiling: dict[str, dict] | None = None
