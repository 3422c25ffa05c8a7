"""Test, predict and explain with a finished run, from its folder alone, on its own dataset or on another one.

The run's vocabularies, label names, task parameters, levels and scalers are laid over the data, whatever they are: what
has no place in them is unknown to the model, and counted.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from zoo import cache, registry
from zoo.data import Batch, Ragged, Spec
from zoo.data._splits import NAMES
from zoo.data._task_data import TaskData
from zoo.data._vocabulary import UNKNOWN, Vocabulary
from zoo.knowledge import icd
from zoo.metrics import evaluate as measured
from zoo.metrics import tune_threshold
from zoo.models._model import Estimator, Model
from zoo.prepare import key_of, load_dataset, load_task, prepare
from zoo.registry import UserError, check_parameters, nearest, parameters_of
from zoo.result import FILE, Result, value_with_interval, write_json
from zoo.training import Trainer
from zoo.training._checkpoint import check_fit, read_tensors
from zoo.training._run import SOURCE

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset

PARTS = ("dataset", "task", "data", "model", "inputs")
"""What the configuration of a run must hold for it to be used."""
PREPARED = ("concepts", "levels", "split", "split_seed", "max_visits")
"""And what it must hold of how its data were prepared."""
HOW_READ = frozenset({"lab_delay", "memory_limit", "patients", "drug_map"})
"""Parameters of a dataset that leave its patients who they are."""
SPLITS = (*NAMES, "all")
SUBGROUPS = ("sex", "age", "ethnicity")
AGE_BANDS = {"<45": 0, "45-65": 45, "65-80": 65, ">=80": 80}
"""Each band and the years at which it begins; it ends where the next one begins."""
MEETING_LEVEL = {"diagnosis": "ccs", "procedure": "ccs", "drug": "name"}
"""The level on which codes of several sources meet."""
NO_GROUP = "unknown"
THRESHOLD = "threshold.json"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        model: with its trained weights, in eval mode, on the CPU.
        result: what was found when it was trained.
        root: the folder with the tables that it was trained on, where one was given.
    """

    folder: Path
    model: Model
    result: Result
    root: Path | None

    @property
    def spec(self) -> Spec:
        return self.model.spec

    @property
    def split(self) -> tuple:
        """How subjects were split: the way, and the seed."""
        return self.result.config["data"]["split"], self.result.config["data"]["split_seed"]


@dataclass
class Evaluation(Result):
    """What a finished run scores on data; a `Result` of the data tested, and more.

    Attributes:
        run: the run's folder.
        split: the samples tested: a split, or ``"all"``.
        threshold: probabilities of at least this count as positive; None where the kind has none.
        unknown: for each concept of the model ``{"events", "unknown"}``: how many events the tested samples see, and
            how many of these have a code that the run's vocabulary lacks.
        subgroups: ``{by: {group: {"samples", "subjects", "metrics"}}}``.
    """

    run: str = ""
    split: str = ""
    threshold: float | None = None
    unknown: dict[str, dict[str, int]] = field(default_factory=dict)
    subgroups: dict[str, dict[str, dict]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [super().__str__(), f"  samples tested: {self.sizes[self.split]} ({self.split})"]
        for by, groups in self.subgroups.items():
            for group, found in groups.items():
                lines.append(f"  {by} {group}: {found['samples']} samples of {found['subjects']} subjects")
                lines += [f"    {n:<18} {value_with_interval(m)}" for n, m in found["metrics"].items()]
        return "\n".join([*lines, f"  run: {self.run}"])


def load_run(folder: str | Path | Run) -> Run:
    """Read a finished run.

    Raises:
        UserError: the folder is none, holds no finished run, or one that this version of zoo, or the model as it is
            now, cannot take.
    """
    if isinstance(folder, Run):
        return folder
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no run folder {folder}: give the folder that a run was written to.")
    if not (folder / "config.json").exists():
        raise UserError(f"{folder} is no run folder: it has no config.json.")
    if not (folder / FILE).exists():
        raise UserError(f"{folder} holds a run that did not finish: train it to its end first.")
    result = Result.read(folder)
    _check_version(result, folder)
    if result.config.get("pretraining"):
        raise UserError(f"{folder} was pre-trained only: train it with init={str(folder)!r}.")
    spec = _spec(folder)
    root = _json(folder / SOURCE)["root"] if (folder / SOURCE).exists() else None
    return Run(folder, _model(result, spec, folder), result, Path(root) if root else None)


def evaluate(
    run: str | Path | Run,
    dataset: str | Dataset | TaskData | None = None,
    root: str | Path | None = None,
    *,
    split: str | None = None,
    by: str | Iterable[str] = (),
    thresholds: str | None = None,
    resamples: int = 200,
    batch_size: int | None = None,
    device: str = "auto",
    **parameters,
) -> Evaluation:
    """Test a finished run, on its own dataset or on another one.

    Args:
        run: the run folder.
        dataset: a registered name, what `zoo.load_dataset` or `zoo.load` made, or None for the run's own. Whatever it
            is, samples and features are made with the run's task parameters, levels and vocabularies.
        root: the folder with the dataset's tables; where it was, for the run's own.
        split: ``"train"``, ``"validation"`` or ``"test"``, the default for the run's own patients; of others also
            ``"all"``, the default there.
        by: also test subgroups: ``"sex"``, ``"age"`` (under 45, 45 to 65, 65 to 80, 80 and over) or ``"ethnicity"`` (as
            the source has it), or several of them.
        thresholds: ``"tuned"`` takes the threshold with the best F1 on the run's validation split, and keeps it in the
            run folder; 0.5 by default.
        resamples: of the bootstrap over subjects behind the intervals.
        batch_size, device: as of `zoo.Trainer`; the run's batches are as large as they were.
        **parameters: the dataset's own.

    Raises:
        UserError: for whatever is unknown, missing or damaged, and where training subjects would be tested.
    """
    run = load_run(run)
    by = _checked_by(by)
    _check_thresholds(run, thresholds)
    batch_size, device = _checked_loop(run, batch_size, device)
    tested = Tested.of(run, dataset, root, split, parameters)
    if tested.own and tested.split == "all":
        raise UserError("split='all' would test the run on subjects it was trained on: choose 'test' or 'validation'.")
    threshold = _threshold(run, thresholds, tested, batch_size, device)

    def measure(scored: Scored) -> dict[str, dict]:
        options = {"threshold": threshold, "resamples": resamples}
        found = measured(run.spec.kind, scored.label, scored.score, scored.subject, **options)
        return {n: m.to_dict() for n, m in found.items()}

    began = time.perf_counter()
    scored = tested.scored(batch_size, device)
    found = measure(scored)
    groups = {b: tested.subgroups(b, scored, measure) for b in by}
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
        cache.digest(data.key),
        {tested.split: len(tested.places)},
        {"test": round(seconds, 3)},
        tested.notes(scored.unknown),
        run=str(run.folder),
        split=tested.split,
        threshold=threshold if run.spec.kind in ("binary", "multilabel") else None,
        unknown=scored.unknown,
        subgroups=groups,
    )


def predict(
    run: str | Path | Run,
    data: str | Dataset | TaskData | None = None,
    root: str | Path | None = None,
    *,
    split: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    **parameters,
) -> pd.DataFrame:
    """What a finished run predicts for each sample, on its own dataset or on another one.

    Args:
        run: the run folder.
        data, root, **parameters: as the dataset of `evaluate`.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``; by default ``"test"`` of the run's own patients
            and ``"all"`` of others.
        batch_size, device: as of `zoo.Trainer`; the run's batches are as large as they were.

    Returns:
        The columns ``subject_id``, ``visit_id``, ``stay_id``, ``prediction_time``, ``label``, and ``score``: the
        probability, or the value of a regression; for several classes or labels one ``score_NAME`` each.
        ``attrs["notes"]`` says what a reader must know, such as how many events had unknown codes.

    Raises:
        UserError: as `evaluate`.
    """
    run = load_run(run)
    batch_size, device = _checked_loop(run, batch_size, device)
    tested = Tested.of(run, data, root, split, parameters)
    scored = tested.scored(batch_size, device)
    names = ["score"] if scored.score.ndim == 1 else [f"score_{n}" for n in run.spec.labels]
    columns = pd.DataFrame(scored.score.reshape(len(scored.score), -1), columns=names)
    found = pd.concat([tested.samples.drop(columns="split"), columns], axis=1)
    found.attrs["notes"] = tested.notes(scored.unknown)
    return found


def explain(
    run: str | Path | Run,
    sample: int,
    data: str | Dataset | TaskData | None = None,
    root: str | Path | None = None,
    *,
    split: str | None = None,
    output: str | None = None,
    **parameters,
) -> pd.DataFrame:
    """What a finished run looked at in one sample.

    Args:
        run: the run folder.
        sample: the row of the sample in what `predict` returns for the same data and split.
        data, root, split, **parameters: as of `predict`.
        output: the name of the class or label to explain; by default the most probable one.

    Returns:
        For a model that tells contributions, one row an event with ``concept``, ``visit_id``, ``time``, ``code``,
        ``name`` (of the code, where we have one) and ``contribution`` to the logit of the output (the value, of a
        regression); the last row, of the concept ``rest``, is what no event adds, and together they are the logit.
        For a model with attention only, one row a visit: ``attention`` (which one), ``visit_id``, ``time`` and
        ``weight``. ``attrs`` has ``output``, ``logit``, ``score`` and ``label``.

    Raises:
        UserError: as `evaluate`; there is no such sample or output; or the model tells neither.
    """
    run = load_run(run)
    tested = Tested.of(run, data, root, split, parameters)
    if not isinstance(sample, (int, np.integer)) or isinstance(sample, bool) or not 0 <= sample < len(tested.places):
        raise UserError(
            f"sample={sample!r} is out of range: {tested.split} has {len(tested.places)} samples, from 0 on."
        )
    batch = tested.batch(tested.places[[sample]])
    with torch.no_grad():
        told = run.model(batch)
        score = run.model.predict(told).reshape(-1)
        contributions = run.model.contributions(batch)
    place = _output_place(run.spec, score, output)
    if contributions is not None:
        found = _contribution_rows(run.spec, tested, sample, batch, contributions, place)
    elif told.attention:
        found = _attention_rows(tested, sample, batch, told.attention)
    else:
        raise UserError(f"model {run.result.model!r} tells neither contributions nor attention: explain another model.")
    found.attrs = {
        "output": run.spec.labels[place],
        "logit": float(told.logits[0, place]),
        "score": float(score[place]),
        "label": _plain(tested.samples.label[sample]),
    }
    return found


# Reading a run


def _check_version(result: Result, folder: Path) -> None:
    """Raise a `UserError` where a run was written by another series of versions than the one installed."""
    config = result.config
    dictionaries = isinstance(config, dict) and isinstance(result.versions, dict)
    if not dictionaries or not set(PARTS) <= set(config) or not set(PREPARED) <= set(config["data"] or ()):
        raise UserError(f"{folder / FILE} is no result of this version of zoo: train the run again.")
    wrote, here = str(result.versions.get("ehr-zoo", "an unknown version")), version("ehr-zoo")
    if _series(wrote) != _series(here):
        raise UserError(f"{folder} was written by ehr-zoo {wrote}, this is {here}: install that, or train it again.")


def _series(release: str) -> list[str]:
    """The part of a version that changes when runs do: ``0.x``, later the first number."""
    parts = release.split(".")
    return parts[:2] if parts[0] == "0" else parts[:1]


def _json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): the run is damaged; train it again.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: train the run again.")
    return found


def _spec(folder: Path) -> Spec:
    try:
        return Spec.from_dict(_json(folder / "spec.json"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder / 'spec.json'} is no specification of this version of zoo: {error!r}.") from error


def _model(result: Result, spec: Spec, folder: Path) -> Model:
    entry = registry.models.entry(result.model)
    hyperparameters = result.config["model"]
    try:
        check_parameters(f"model {result.model!r}", entry.thing, hyperparameters)
        with torch.random.fork_rng(devices=[]):
            model = entry.thing(spec, **hyperparameters)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: model {result.model!r} cannot be made as the run has it: {error}") from error
    model.configuration = dict(hyperparameters)
    path = folder / ("model.skops" if isinstance(model, Estimator) else "model.safetensors")
    if not path.exists():
        raise UserError(f"{folder} is half written: it has no {path.name}; train the run again.")
    if isinstance(model, Estimator):
        model.load(path)
    else:
        weights, _ = read_tensors(path)
        check_fit(path, weights, model)
        model.load_state_dict(weights)
    return model.eval()


# What is tested


@dataclass(frozen=True)
class Scored:
    """What a run says of samples.

    Attributes:
        label: (samples,), or (samples, labels) bool for multilabel.
        score: what the model predicts for them.
        subject: (samples,) whose they are.
        unknown: for each concept how many ``events`` the samples see, and how many of these are ``unknown``.
    """

    label: np.ndarray
    score: np.ndarray
    subject: np.ndarray
    unknown: dict[str, dict[str, int]]

    def of(self, mask: np.ndarray) -> Scored:
        """Some of the samples."""
        return replace(self, label=self.label[mask], score=self.score[mask], subject=self.subject[mask])


@dataclass(frozen=True)
class Tested:
    """Samples that a run is tested on.

    Attributes:
        run: the run.
        data: with the run's vocabularies and labels.
        split: a split, or ``"all"``.
        own: whether the patients are those of the run's own dataset.
    """

    run: Run
    data: TaskData
    split: str
    own: bool

    @classmethod
    def of(cls, run: Run, data, root, split: str | None, parameters: Mapping) -> Tested:
        if split is not None and split not in SPLITS:
            raise UserError(f"unknown split {split!r}: {nearest(split, SPLITS)}.")
        if isinstance(data, TaskData):
            _check_task(run, data)
        dataset = _dataset(run, data, root, parameters)
        own = _same_patients(run, dataset)
        split = split or ("test" if own else "all")
        how = run.split
        if isinstance(data, TaskData):
            how = data.key.get("split"), data.key.get("split_seed", 0)
            if own:
                _check_split(run, *how)
        elif split == "all" and not own:
            how = (0, 0, 1), 0  # nobody is kept apart, so that ways to split which need more than ids do not matter
        tested = cls(run, _prepared(run, dataset, *how), split, own)
        if not len(tested.places):
            raise UserError(f"no sample of task {run.result.task!r} on {dataset.name} falls into split {split!r}.")
        return tested

    @cached_property
    def places(self) -> np.ndarray:
        """The places of the samples in those of the data."""
        if self.split == "all":
            return np.arange(len(self.data.samples))
        return self.data.places(self.split)

    @cached_property
    def samples(self) -> pd.DataFrame:
        return self.data.samples.iloc[self.places].reset_index(drop=True)

    def batch(self, places: np.ndarray) -> Batch:
        """The samples at these places of the data; a concept that the data lack has no events."""
        return _completed(self.data.batch(places, set(self.data.concepts)), self.run.spec)

    def scored(self, batch_size: int, device: torch.device) -> Scored:
        """What the run says of the samples."""
        model = self.run.model.to(device)
        counts = {c: {"events": 0, "unknown": 0} for c in self.run.spec.concepts}
        labels, scores = [], []
        for low in range(0, len(self.places), batch_size):
            batch = self.batch(self.places[low : low + batch_size])
            for concept, count in counts.items():
                count["events"] += len(batch[concept].ids)
                count["unknown"] += int((batch[concept].ids == UNKNOWN).sum())
            labels.append(batch.label.numpy())
            scores.append(_predicted(model, batch.to(device)))
        model.to("cpu")
        return Scored(np.concatenate(labels), np.concatenate(scores), self.samples.subject_id.to_numpy(), counts)

    def subgroups(self, by: str, scored: Scored, measure: Callable[[Scored], dict]) -> dict[str, dict]:
        """Each group of samples with its metrics."""
        group = _groups(self.data, self.samples, by)
        order = list(AGE_BANDS) if by == "age" else sorted(set(group) - {NO_GROUP})
        parts = {name: scored.of(group == name) for name in [*order, NO_GROUP]}
        return {
            name: {"samples": len(s.label), "subjects": len(np.unique(s.subject)), "metrics": measure(s)}
            for name, s in parts.items()
            if len(s.label)
        }

    def notes(self, unknown: Mapping[str, Mapping[str, int]]) -> list[str]:
        """What a reader of scores must know of the data."""
        data, spec = self.data, self.run.spec
        found = data.dataset.report(data.concepts).lines(examples=False)
        if self.own and cache.digest(data.key) != self.run.result.data_key:
            found.append("the tables, or how they are read, are not those that the run was trained on")
        if not self.own and _same_seed(self.run, data.dataset):
            found.append("these patients are simulated from the seed of those trained on: choose another seed")
        for concept in spec.concepts:
            if concept not in data.concepts:
                found.append(f"{concept}: the run uses it, but {data.dataset.name} has none; it was left empty")
            elif unknown[concept]["unknown"]:
                found.append(_unknown_note(concept, spec.vocabularies[concept], **unknown[concept], own=self.own))
        if data.dropped_labels:
            codes, times = len(data.dropped_labels), sum(data.dropped_labels.values())
            found.append(f"{codes} label codes that the run was not trained on were dropped ({times} times)")
        if data.unknown_label_codes:
            found.append(f"{data.unknown_label_codes} label codes have no place at the label's level")
        return found


def _dataset(run: Run, data, root: str | Path | None, parameters: Mapping) -> Dataset:
    """The dataset to test on, read as the run's was as far as it has the same parameters."""
    if data is not None and not isinstance(data, str):
        if root is not None or parameters:
            given = ", ".join([*(["root"] if root is not None else []), *parameters])
            raise UserError(f"{given}: the dataset is opened already; give its name to open it otherwise.")
        return data.dataset if isinstance(data, TaskData) else data
    name = data or run.result.dataset
    known = parameters_of(registry.datasets.get(name))
    kept = {n: v for n, v in run.result.config["dataset"].items() if n in known}
    if root is None and name == run.result.dataset:
        root = run.root
    return load_dataset(name, root, **{**kept, **parameters})


def _same_patients(run: Run, dataset: Dataset) -> bool:
    held = run.result.config["dataset"]
    differs = [n for n, v in dataset.parameters().items() if n not in HOW_READ and held.get(n) != v]
    return dataset.name == run.result.dataset and not differs


def _same_seed(run: Run, dataset: Dataset) -> bool:
    """Whether a generator made the patients of the run, perhaps in other tables."""
    seed = dataset.parameters().get("seed")
    return dataset.name == run.result.dataset and seed is not None and seed == run.result.config["dataset"].get("seed")


def _check_task(run: Run, data: TaskData) -> None:
    result = run.result
    if data.task.name != result.task:
        raise UserError(f"the run predicts {result.task!r}, the data are of task {data.task.name!r}.")
    wanted, there = result.config["task"], json.loads(json.dumps(data.task.parameters(), default=str))
    for name, value in wanted.items():
        if there.get(name) != value:
            raise UserError(
                f"the run predicts {result.task!r} with {name}={value!r}, the data have {name}={there.get(name)!r}: "
                f"load them with {name}={value!r}."
            )


def _check_split(run: Run, split: object, seed: int) -> None:
    wanted = run.split
    if json.loads(json.dumps([split, seed], default=str)) != list(wanted):
        raise UserError(
            f"the data are split by split={split!r}, split_seed={seed}, the run by split={wanted[0]!r}, "
            f"split_seed={wanted[1]}: some tested subjects would be those trained on; load the data as the run did."
        )


def _prepared(run: Run, dataset: Dataset, split: object, split_seed: int) -> TaskData:
    """The run's task on a dataset, with the run's vocabularies, as many of its concepts as there are."""
    config, spec = run.result.config, run.spec
    task = load_task(run.result.task, **config["task"])
    concepts = [c for c in spec.concepts if c in dataset.concepts]
    needs = set(registry.models.entry(run.result.model).facts.get("needs", ()))
    missing = sorted(set(spec.concepts) - set(concepts))
    for concept in [*task.needs, *(c for c in missing if c in needs or dataset.name == run.result.dataset)]:
        dataset.require(concept)
    if spec.concepts and not concepts:
        raise UserError(f"{dataset.name} has none of the concepts that the run uses: {', '.join(spec.concepts)}.")
    how = {"levels": config["data"]["levels"], "max_visits": config["data"]["max_visits"]}
    split = tuple(split) if isinstance(split, list) else split
    key = key_of(dataset, task, concepts=config["data"]["concepts"], split=split, split_seed=split_seed, **how)
    fixed = {"vocabularies": spec.vocabularies, "label_names": spec.labels, "concepts": concepts}
    return prepare(dataset, task, split=split, split_seed=split_seed, key=key, **how, **fixed)


def _completed(batch: Batch, spec: Spec) -> Batch:
    """A batch that has all concepts of a specification, in its order."""
    none = {c: _no_events(v, len(batch.visit_start)) for c, v in spec.vocabularies.items() if c not in batch}
    return replace(batch, concepts={c: batch[c] if c in batch else none[c] for c in spec.concepts})


def _no_events(vocabulary: Vocabulary, visits: int) -> Ragged:
    ids, numbers = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    of_values = (ids, numbers) if vocabulary.bins else ()
    return Ragged(ids, torch.zeros(visits + 1, dtype=torch.int64), numbers, *of_values)


def _predicted(model: Model, batch: Batch) -> np.ndarray:
    try:
        with torch.no_grad():
            return model.predict(model(batch)).float().cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise UserError(f"out of memory with a batch of {batch.samples} samples: make batch_size smaller.") from error


def _unknown_note(concept: str, vocabulary: Vocabulary, events: int, unknown: int, own: bool) -> str:
    note = f"{concept}: {unknown} of {events} events ({unknown / events:.1%}) have codes that the run does not know"
    meeting = MEETING_LEVEL.get(concept)
    if own or meeting is None or vocabulary.level != "code":
        return note
    return f"{note}; sources meet better when it is trained with levels={{{concept!r}: {meeting!r}}}"


# Thresholds and subgroups


def _checked_loop(run: Run, batch_size: int | None, device: str) -> tuple[int, torch.device]:
    """Samples a batch, and the device."""
    if batch_size is None:
        batch_size = run.result.config.get("trainer", {}).get("batch_size", Trainer.batch_size)
    loop = Trainer(batch_size=batch_size, device=device)
    return loop.batch_size, loop.resolved_device()


def _check_thresholds(run: Run, thresholds: str | None) -> None:
    if thresholds not in (None, "tuned"):
        raise UserError(f"thresholds={thresholds!r} must be 'tuned', or None for 0.5.")
    if thresholds and run.spec.kind not in ("binary", "multilabel"):
        raise UserError(f"thresholds='tuned': a {run.spec.kind} task such as {run.result.task!r} has no threshold.")


def _threshold(run: Run, thresholds: str | None, tested: Tested, batch_size: int, device: torch.device) -> float:
    """0.5, or the threshold tuned on the run's own validation split, which is then kept in its folder."""
    if thresholds is None:
        return 0.5
    path = run.folder / THRESHOLD
    if path.exists():
        return float(_json(path)["threshold"])
    same = tested.data.dataset if tested.own else None
    own = Tested.of(run, same, None, "validation", {})
    scored = own.scored(batch_size, device)
    threshold = tune_threshold(run.spec.kind, scored.label, scored.score, "f1")
    write_json(path, {"threshold": threshold, "metric": "f1", "split": "validation", "samples": len(scored.label)})
    return threshold


def _checked_by(by: str | Iterable[str]) -> list[str]:
    found = [by] if isinstance(by, str) else list(by)
    for name in found:
        if name not in SUBGROUPS:
            raise UserError(f"by={name!r} is no subgroup: {nearest(name, SUBGROUPS)}.")
    return found


def _groups(data: TaskData, samples: pd.DataFrame, by: str) -> np.ndarray:
    """(samples,) the name of the group that each sample is in."""
    if by == "age":
        age = samples.visit_id.map(data.dataset.read("visits").set_index("visit_id").age).to_numpy(float)
        band = np.searchsorted(list(AGE_BANDS.values()), age, side="right") - 1
        return np.where(np.isnan(age), NO_GROUP, np.array(list(AGE_BANDS))[band])
    known = data.dataset.read("subjects").set_index("subject_id")[by]
    return samples.subject_id.map(known).astype(object).fillna(NO_GROUP).astype(str).to_numpy(object)


# Explaining one sample


def _output_place(spec: Spec, score: torch.Tensor, output: str | None) -> int:
    if output is None:
        return int(score.argmax())
    if output not in spec.labels:
        raise UserError(f"the run has no output {output!r}: {nearest(output, spec.labels)}.")
    return spec.labels.index(output)


def _contribution_rows(spec: Spec, tested: Tested, sample: int, batch: Batch, told, place: int) -> pd.DataFrame:
    visits = _visits(tested, sample, batch)
    parts = []
    for concept in spec.concepts:
        events, names = batch[concept], np.array(spec.vocabularies[concept].names, object)
        visit = events.visit.numpy()
        since = pd.to_timedelta(np.round(events.time.numpy().astype(np.float64) * 3600), unit="s")
        codes = names[events.ids.numpy()]
        parts.append(
            pd.DataFrame(
                {
                    "concept": concept,
                    "visit_id": visits.visit_id.to_numpy()[visit],
                    "time": visits.start.to_numpy()[visit] + since,
                    "code": codes,
                    "name": [_code_name(c) for c in codes],
                    "contribution": told.events[concept][:, place].double().numpy(),
                }
            )
        )
    found = pd.concat(parts, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)
    rest = {"concept": "rest", "code": "", "name": "", "contribution": float(told.rest[0, place])}
    return pd.concat([found.astype({"visit_id": "Int64"}), _row(rest, found)], ignore_index=True)


def _row(values: dict, like: pd.DataFrame) -> pd.DataFrame:
    """One row with the columns of a table, null where there is no value."""
    types = like.dtypes.to_dict() | {"visit_id": "Int64"}
    return pd.DataFrame({n: pd.Series([values.get(n)], dtype=t) for n, t in types.items()})


def _code_name(code: str) -> str:
    try:
        return icd.ccs_name(code) if code.startswith("CCS") else ""
    except UserError:
        return ""


def _visits(tested: Tested, sample: int, batch: Batch) -> pd.DataFrame:
    """The visits of a batch of one sample, oldest first: ``visit_id`` and ``start``."""
    index = tested.data.visits
    own = index.numbers(tested.samples.visit_id.to_numpy()[[sample]])[0]
    numbers = own - int(batch.sample_visit[0]) + np.arange(len(batch.visit_start))
    return pd.DataFrame({"visit_id": index.visit_id[numbers], "start": index.start[numbers]})


def _attention_rows(tested: Tested, sample: int, batch: Batch, attention: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    visits = _visits(tested, sample, batch).rename(columns={"start": "time"})
    own = int(batch.sample_visit[0])
    weights = {n: w for n, w in attention.items() if w.ndim and w.shape[-1] == len(visits)}
    weights = {n: _per_visit(w, own) for n, w in weights.items() if _grows_with_visits(tested, n, len(visits))}
    parts = [visits.assign(attention=n, weight=w) for n, w in weights.items()]
    if not parts:
        raise UserError(f"model {tested.run.result.model!r} has no attention over visits: explain another model.")
    return pd.concat(parts, ignore_index=True)[["attention", "visit_id", "time", "weight"]]


def _grows_with_visits(tested: Tested, attention: str, visits: int) -> bool:
    """Whether an attention has a place for each visit, and not as many places by chance: another sample tells."""
    lengths = tested.batch(tested.places[:256]).row_lengths
    others = tested.places[:256][(lengths != visits).numpy()]
    if not len(others):
        return True
    batch = tested.batch(others[:1])
    with torch.no_grad():
        return tested.run.model(batch).attention[attention].shape[-1] == len(batch.visit_start)


def _per_visit(weights: torch.Tensor, own: int) -> np.ndarray:
    """(visits,) of an attention (..., visits), seen from the sample's own visit, averaged over heads and the like."""
    while weights.ndim > 1:
        seen_from_each = weights.ndim > 2 and weights.shape[-2] == weights.shape[-1]
        weights = weights[..., own, :] if seen_from_each else weights.mean(dim=0)
    return weights.double().numpy()


def _plain(label: object) -> object:
    return label.item() if isinstance(label, np.generic) else label
