"""What a run found, as one file that reads back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from zoo.cache.forms import check_form
from zoo.cache.writing import make_folder, whole
from zoo.progress import duration
from zoo.registry import UserError, counted, html_table, printable, shown

FILE = "result.json"
METRIC = {"value": float | None, "low": float | None, "high": float | None, "reason": str | None}
FORM = {
    **dict.fromkeys(("dataset", "task", "model", "data_key"), str),
    "seed": int,
    "metrics": dict[str, dict[str, object]],
    "attrition": list[dict[str, object]],
    "config": dict[str, object],
    "versions": dict[str, str],
    "sizes": dict[str, int],
    "times": dict[str, float],
    "notes": list[str],
    "threshold": float | None,
    "labels": dict[str, dict[str, object]],
    "inputs": dict[str, dict[str, object]],
}
"""What a result is as JSON."""
LABELS = {"samples": int, "subjects": int}
LABELS_BY_KIND = {"positives": int, "classes": dict[str, int], "labels": float, "mean": float}
"""What is said of the labels of a split, and what besides where it has samples."""
INPUT = {"samples": float | None, "codes_known": float | None}
"""What is told to people of a concept that a model had."""
LATER = {"notes": [], "threshold": None, "labels": {}, "inputs": {}}
"""What a file may lack, and what it has then."""


@dataclass(repr=False)
class Result:
    """What a run found.

    Attributes:
        dataset, task, model, seed: what was run.
        metrics: name to ``{"value", "low", "high", "reason"}``, on the test split; a value is None where it is
            undefined, and then ``reason`` says why. The interval is a 95 % bootstrap over subjects.
        attrition: steps with how many candidates were left out and how many remained.
        config: parameters of dataset, task, data, model and trainer.
        versions: of this package, Python and the libraries that numbers depend on, and ``threads``, on how many torch
            computed: sums over many numbers, and so the last digits of weights, depend on it.
        data_key: stands for the data and how they were prepared.
        sizes: samples by split, parameters of the model, and so on.
        times: seconds by part of the run.
        notes: what a reader of the metrics must know, such as a split with one class.
        threshold: probabilities of at least this count as positive; None where the kind has none.
        labels: split to what its labels are: ``samples`` and ``subjects``, and by kind ``positives``, ``classes`` (how
            many of each), ``labels`` (the mean number a sample) or ``mean``.
        inputs: what the model had of each concept: ``level`` of its codes; ``samples`` and ``training_samples``, the
            shares of all and of training samples with anything of it; ``codes_known``, the share of the source's events
            whose code the level knows; ``vocabulary``, how many codes are told apart.
        folder: where the run lies; not part of the file.
    """

    dataset: str
    task: str
    model: str
    seed: int
    metrics: dict[str, dict]
    attrition: list[dict]
    config: dict
    versions: dict[str, str]
    data_key: str
    sizes: dict[str, int]
    times: dict[str, float]
    notes: list[str] = field(default_factory=list)
    threshold: float | None = None
    labels: dict[str, dict] = field(default_factory=dict)
    inputs: dict[str, dict] = field(default_factory=dict)
    folder: Path | None = None

    def to_dict(self) -> dict:
        """As it stands in the file."""
        facts = asdict(self)
        del facts["folder"]
        return facts

    def to_line(self) -> str:
        """The file on one line of strict JSON."""
        return json.dumps(self.to_dict(), allow_nan=False, default=str)

    def write(self, folder: Path) -> None:
        """Write ``result.json`` into a folder, whole or not at all."""
        write_json(folder / FILE, self.to_dict())
        self.folder = folder

    @classmethod
    def read(cls, folder: str | Path) -> Result:
        """Read a run's ``result.json``.

        Raises:
            UserError: it is missing or of another form.
        """
        path = Path(folder) / FILE
        try:
            facts = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{folder} holds no finished run: there is no {FILE}.") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): run it again into another folder.") from None
        known = {f.name for f in fields(cls)} - {"folder"}
        try:
            check_form({**LATER, **facts} if isinstance(facts, dict) else facts, FORM, "result")
            facts["metrics"] = {n: {**dict.fromkeys(METRIC), **found} for n, found in facts["metrics"].items()}
            check_form(facts["metrics"], dict.fromkeys(facts["metrics"], METRIC), "result.metrics")
            check_form(facts["config"].get("inputs", []), list[str], "result.config.inputs")
            for split, found in facts.get("labels", {}).items():
                of_kind = {n: form for n, form in LABELS_BY_KIND.items() if n in found}
                check_form(found, LABELS | of_kind, f"result.labels.{split}")
            for concept, found in facts.get("inputs", {}).items():
                check_form(found, {n: form for n, form in INPUT.items() if n in found}, f"result.inputs.{concept}")
        except ValueError as error:
            raise UserError(f"{path} is no result of this version of zoo: {error}.") from None
        return cls(**{n: v for n, v in facts.items() if n in known}, folder=Path(folder))

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in [self.title, *(f"  {line}" for line in self.lines())])

    def __repr__(self) -> str:
        first = next(iter(self.metrics), None)
        told = f", {first}={value_with_interval(self.metrics[first])}" if first else ""
        return printable(
            f"{type(self).__name__}({self.title}{told}, folder={str(self.folder) if self.folder else None!r})"
        )

    def _repr_html_(self) -> str:
        rows = {name: value_with_interval(metric) for name, metric in self.metrics.items()}
        return html_table(self.title, rows, [*self.about(), *self.remarks()])

    @property
    def title(self) -> str:
        """What was run, on a line."""
        return f"{self.model} on {self.task} of {self.dataset}, seed {self.seed}"

    def lines(self) -> list[str]:
        """What people read of a run, a line each."""
        found = []
        for name, metric in self.metrics.items():
            reason = f"  ({metric['reason']})" if metric["reason"] and metric["value"] is not None else ""
            found.append(f"{name:<22} {value_with_interval(metric)}{reason}")
        return [*found, *self.about(), *self.remarks()]

    def about(self) -> list[str]:
        """What the metrics are of: samples and labels, concepts, threshold, epochs and time."""
        found = [f"{split}: {_told_of_labels(facts)}" for split, facts in self.labels.items() if facts["samples"]]
        concepts = self.config.get("inputs") or []
        if concepts:
            found.append(f"concepts: {', '.join(_told_of_input(c, self.inputs.get(c, {})) for c in concepts)}")
        if self.threshold is not None:
            found.append(f"threshold: {self.threshold:.4g}")
        if "epochs" in self.sizes:
            best = f", the best was {self.sizes['best_epoch']}" if "best_epoch" in self.sizes else ""
            found.append(f"epochs: {self.sizes['epochs']}{best}")
        if self.times:
            found.append("time: " + ", ".join(f"{part} {duration(seconds)}" for part, seconds in self.times.items()))
        return found

    def remarks(self) -> list[str]:
        """Notes, each once; a hint where a threshold is of no use; and where the run lies."""
        found = [f"note: {note}" for note in dict.fromkeys(self.notes)]
        found += [f"hint: {hint}" for hint in filter(None, [self._hint()])]
        return [*found, *([f"run folder: {self.folder}"] if self.folder else [])]

    def _hint(self) -> str | None:
        """What to do where no probability reaches the threshold."""
        none = [n for n in ("f1", "f1_micro") if self.metrics.get(n, {}).get("value") == 0]
        none_to_find = self.labels.get("test", {}).get("positives") == 0  # false alarms make the score 0 then
        if not none or self.threshold is None or none_to_find:
            return None
        return (
            f"{none[0]} is 0 since no probability of a true label reaches {self.threshold:.4g}: "
            f"thresholds='tuned' of zoo.evaluate (--thresholds tuned) takes the best one on the validation split"
        )


def run_path(run: str | Path | Result) -> Path:
    """The folder of a run that is given as a folder, as a `Result`, or as another object that has its ``folder``.

    Raises:
        UserError: it is none of these, or was not written to a folder.
    """
    if isinstance(run, (str, os.PathLike)):
        return Path(run).expanduser()
    if getattr(run, "run", ""):  # of an evaluation
        return Path(run.run)
    folder = getattr(run, "folder", None)
    if not isinstance(folder, Path):
        raise UserError(f"{shown(run)} is no run: give the folder of a finished run, or what zoo.train returned.")
    return folder


def _told_of_labels(facts: Mapping) -> str:
    told = f"{counted(facts['samples'], 'sample')} of {counted(facts['subjects'], 'subject')}"
    if "positives" in facts:
        share = facts["positives"] / facts["samples"]
        return f"{told}, {facts['positives']} positive (prevalence {share:.1%})"
    if "classes" in facts:
        name = max(facts["classes"], key=facts["classes"].get)
        return f"{told}, the most frequent class is {name} ({facts['classes'][name] / facts['samples']:.1%})"
    if "labels" in facts:
        return f"{told}, {facts['labels']:.1f} labels each"
    return f"{told}, mean {facts['mean']:.4g}" if "mean" in facts else told


def _told_of_input(concept: str, facts: Mapping) -> str:
    told = [f"{facts['samples']:.0%} of samples"] if facts.get("samples") is not None else []
    told += [f"{facts['codes_known']:.0%} of codes known"] if facts.get("codes_known") is not None else []
    return f"{concept} ({', '.join(told)})" if told else concept


def value_with_interval(metric: Mapping) -> str:
    """A metric as people read it.

    >>> value_with_interval({"value": 0.5, "low": 0.25, "high": 0.75, "reason": None})
    '0.5000  [0.2500, 0.7500]'
    >>> value_with_interval({"value": None, "low": None, "high": None, "reason": "undefined: no positive"})
    'undefined: no positive'
    """
    if metric["value"] is None:
        reason = (metric["reason"] or "").removeprefix("undefined").removeprefix(": ")
        return f"undefined: {reason}" if reason else "undefined"
    span = "" if metric["low"] is None else f"  [{metric['low']:.4f}, {metric['high']:.4f}]"
    return f"{metric['value']:.4f}{span}"


def write_json(path: Path, facts: object) -> None:
    """Write JSON, so that no reader sees half a file (`zoo.cache.writing.whole`)."""
    text = json.dumps(facts, indent=1, allow_nan=False, default=str) + "\n"
    with whole(path) as unfinished:
        unfinished.write_text(text)


def hold_to_plan(folder: Path, name: str, plan: dict, what: str) -> None:
    """Write into a folder what it is for, or look whether it is for the same.

    Args:
        folder: is made where it is not there.
        name: of the file.
        plan: what JSON can hold; other values become text.
        what: the folder is of, such as ``"leaderboard"``.

    Raises:
        UserError: the folder has other things in it, is for another plan, or the file is damaged.
    """
    path, plan = folder / name, json.loads(json.dumps(plan, default=str))
    if not path.exists():
        if folder.is_dir() and any(p.name != ".lock" for p in folder.iterdir()):
            raise UserError(f"{folder} exists and is no folder of a {what}: choose another one.")
        make_folder(folder)
        write_json(path, plan)
        return
    try:
        held = json.loads(path.read_text())
        check_form(held, dict[str, object], name)
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path} is damaged: choose another folder.") from None
    differs = ", ".join(sorted(n for n in {*held, *plan} if held.get(n) != plan.get(n)))
    if differs:
        raise UserError(f"{folder} holds another {what} (it differs in {differs}): choose another folder.")
