"""A leaderboard."""

from __future__ import annotations

from dataclasses import dataclass, field

from zoo.reporting._task_board import TaskBoard
from zoo.reporting._task_tables import cell, of_task, table

HOW = (
    "Value: mean over seeds of the point values on the test split. Interval: 95 %, from a Bayesian bootstrap that "
    "weighs test subjects by exponential draws (the same for all models) and draws, of each model, its seeds; "
    "percentiles, shifted so that the median is the value. Difference and p: the best model of the task less this one "
    "under the same weights of subjects, two-sided, Holm-corrected within the task; the best was chosen on the same "
    "samples, which favours it."
)


@dataclass
class Board:
    """A leaderboard; ``overall`` has ``{"model", "mean_rank"}`` where there are several tasks."""

    dataset: str
    seeds: int
    resamples: int
    settings: dict
    tasks: list[TaskBoard]
    overall: list[dict] = field(default_factory=list)
    how: str = HOW
    version: str = ""

    @property
    def finished(self) -> int:
        """How many runs finished."""
        return sum(len(e.seeds) for t in self.tasks for e in t.entries)

    def __str__(self) -> str:
        """For people, in Markdown: how values came about, and tables for each task."""
        lines = [f"# {cell(self.dataset)}", "", self.how, f"{self.resamples} resamples; ehr-zoo {self.version}.", ""]
        if self.settings:
            lines += ["Settings: " + ", ".join(f"`{cell(f'{n}={v}')}`" for n, v in self.settings.items()) + ".", ""]
        if self.overall:
            rows = [[o["model"], f"{o['mean_rank']:.2f}"] for o in self.overall]
            lines += ["## Mean rank", "", *table(["model", "mean rank"], rows), ""]
        for task in self.tasks:
            lines += of_task(task, self.seeds)
        return "\n".join(lines).rstrip() + "\n"
