"""What a run found, as one file that reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from zoo.cache.forms import check_form
from zoo.cache.writing import whole
from zoo.registry import UserError

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
}
"""What a result is as JSON."""


@dataclass
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
        if not isinstance(facts, dict) or not known - {"notes", "threshold"} <= set(facts):
            raise UserError(f"{path} is no result of this version of zoo.")
        try:
            check_form({**facts, "notes": facts.get("notes", []), "threshold": facts.get("threshold")}, FORM, "result")
            facts["metrics"] = {n: {**dict.fromkeys(METRIC), **found} for n, found in facts["metrics"].items()}
            check_form(facts["metrics"], dict.fromkeys(facts["metrics"], METRIC), "result.metrics")
        except ValueError as error:
            raise UserError(f"{path} is no result of this version of zoo: {error}.") from None
        return cls(**{n: v for n, v in facts.items() if n in known}, folder=Path(folder))

    def __str__(self) -> str:
        lines = [f"{self.model} on {self.task} of {self.dataset}, seed {self.seed}"]
        for name, found in self.metrics.items():
            reason = f"  ({found['reason']})" if found["reason"] and found["value"] is not None else ""
            lines.append(f"  {name:<18} {value_with_interval(found)}{reason}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines + ([f"  run folder: {self.folder}"] if self.folder else []))


def value_with_interval(metric: Mapping) -> str:
    """A metric as people read it.

    >>> value_with_interval({"value": 0.5, "low": 0.25, "high": 0.75, "reason": None})
    '0.5000  [0.2500, 0.7500]'
    """
    if metric["value"] is None:
        return f"undefined: {metric['reason']}"
    span = "" if metric["low"] is None else f"  [{metric['low']:.4f}, {metric['high']:.4f}]"
    return f"{metric['value']:.4f}{span}"


def write_json(path: Path, facts: object) -> None:
    """Write JSON, so that no reader sees half a file (`zoo.cache.writing.whole`)."""
    text = json.dumps(facts, indent=1, allow_nan=False, default=str) + "\n"
    with whole(path) as unfinished:
        unfinished.write_text(text)
