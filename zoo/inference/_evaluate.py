"""Test a finished run."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data._task_data import TaskData
from zoo.inference._run import Run, checked_loop, load_run
from zoo.inference._subgroups import checked_by, subgroups
from zoo.inference._tested import Scored, Tested
from zoo.inference._threshold import check_thresholds, chosen_threshold
from zoo.metrics import evaluate as measured
from zoo.registry import UserError, counted, shown, whole_number
from zoo.result import Result, value_with_interval

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset


@dataclass(repr=False)
class Evaluation(Result):
    """What a finished run scores on data; a `Result` of the data tested, and more.

    Attributes:
        run: the run's folder.
        split: the samples tested: a split, or ``"all"``.
        unknown: for each concept of the model ``{"events", "unknown"}``: how many events the tested samples see, and
            how many of these have a code that the run's vocabulary lacks.
        subgroups: ``{by: {group: {"samples", "subjects", "metrics"}}}``.
    """

    run: str = ""
    split: str = ""
    unknown: dict[str, dict[str, int]] = field(default_factory=dict)
    subgroups: dict[str, dict[str, dict]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        found = [*super().lines(), f"samples tested: {self.sizes[self.split]} ({self.split})"]
        for by, groups in self.subgroups.items():
            for group, of in groups.items():
                told = f"{counted(of['samples'], 'sample')} of {counted(of['subjects'], 'subject')}"
                found.append(f"{by} {group}: {told}")
                found += [f"  {n:<22} {value_with_interval(m)}" for n, m in of["metrics"].items()]
        return [*found, f"run: {self.run}"]


def evaluate(
    run: str | Path | Result | Run,
    dataset: str | Dataset | TaskData | None = None,
    root: str | Path | None = None,
    *,
    split: str | None = None,
    by: str | Iterable[str] = (),
    thresholds: str | None = None,
    resamples: int = 200,
    average: str = "visit",
    strict: bool | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    **parameters,
) -> Evaluation:
    """Test a finished run, on its own dataset or on another one.

    Args:
        run: the run folder, or what `zoo.train` returned.
        dataset: a registered name, what `zoo.load_dataset` or `zoo.load` made, or None for the run's own. Whatever it
            is, samples and features are made with the run's task parameters, levels and vocabularies.
        root: the folder with the dataset's tables; where it was, for the run's own.
        split: ``"train"``, ``"validation"`` or ``"test"``, the default for the run's own patients; of others also
            ``"all"``, the default there.
        by: also test subgroups: ``"sex"``, ``"age"`` (under 45, 45 to 65, 65 to 80, 80 and over) or ``"ethnicity"`` (as
            the source has it), or several of them.
        thresholds: ``"tuned"`` takes the threshold with the best F1 on the run's validation split, and keeps it in the
            run folder; by default it is the one that the run was tested with.
        resamples: of the bootstrap over subjects behind the intervals.
        average: ``"patient"`` gives each subject the same weight in means over samples, as the code of the papers on
            medication does.
        strict: whether labels that the run was not trained on count as misses (see `zoo.load`); as the data say by
            default.
        batch_size, device: as of `zoo.Trainer`; the run's batches are as large as they were.
        **parameters: the dataset's own.

    Raises:
        UserError: for whatever is unknown, missing or damaged, and where training subjects would be tested.
    """
    run = load_run(run)
    by, resamples = checked_by(by), whole_number("resamples", resamples, 0)
    if average not in ("visit", "patient"):
        raise UserError(f"average={shown(average)} must be 'visit' or 'patient'.")
    check_thresholds(run, thresholds)
    size, place = checked_loop(run, batch_size, device)
    tested = Tested.of(run, dataset, root, split, parameters)
    if strict is not None:
        tested.data.outcomes.strict = strict
    if tested.own and tested.split == "all":
        raise UserError("split='all' would test the run on subjects it was trained on: choose 'test' or 'validation'.")
    threshold = chosen_threshold(run, thresholds, tested, size, place)

    kind = run.model.task_kind

    def measure(scored: Scored) -> dict[str, dict]:
        options: dict[str, Any] = {"resamples": resamples, "average": average}
        options |= {"threshold": threshold} if kind.thresholded else {}
        found = measured(run.spec.kind, scored.label, scored.score, scored.subject, **{**scored.options, **options})
        return {n: m.to_dict() for n, m in found.items()}

    began = time.perf_counter()
    scored = tested.scored(size, place)
    found = measure(scored)
    groups = {b: subgroups(tested, b, scored, measure) for b in by}
    seconds = time.perf_counter() - began
    data, result = tested.data, run.result
    return Evaluation(
        data.dataset.name,
        result.task,
        result.model,
        result.seed,
        found,
        data.attrition.to_dict("records"),
        {**result.config, "dataset": data.dataset.parameters()},
        {**result.versions, "python": platform.python_version(), "ehr-zoo": version("ehr-zoo")},
        data.digest_for(run.model),
        {tested.split: len(tested.places)},
        {"test": round(seconds, 3)},
        tested.notes(scored.unknown),
        run=str(run.folder),
        split=tested.split,
        threshold=threshold if kind.thresholded else None,
        labels={tested.split: tested.data.outcomes.facts(tested.places)},
        inputs=data.inputs(run.model),
        unknown=scored.unknown,
        subgroups=groups,
    )
