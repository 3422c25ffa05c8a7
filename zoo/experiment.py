"""What the commands do, as functions: settings have dotted names, as ``--set`` takes them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import registry
from zoo.cache.writing import whole
from zoo.registry import (
    Facts,
    ModelFacts,
    UserError,
    check_multiples,
    check_parameters,
    explained,
    nearest,
    parameters_of,
    printable,
    shown,
)

if TYPE_CHECKING:
    import pandas as pd

    from zoo.data._task_data import TaskData
    from zoo.datasets._engine import Dataset
    from zoo.knowledge.drugs import Coverage
    from zoo.result import Result
    from zoo.testing import Report
    from zoo.training._tuning import Tuned

GROUPS = ("task", "data", "model", "trainer")
TABLES = (".parquet", ".csv")
"""Endings of files that a table can be written to."""
NOUNS = {"datasets": registry.datasets, "tasks": registry.tasks, "models": registry.models}
DRUGS, TRAINER = "drugs", "trainer"
"""What `info` knows besides names."""


def run(
    dataset: str,
    task: str,
    model: str,
    root: str | Path | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    init: str | Path | Result | None = None,
    settings: Mapping[str, object] | None = None,
) -> Result:
    """Prepare, train and test in one call.

    Args:
        dataset, task, model: registered names.
        root: the folder with the dataset's tables.
        seed, out: as in `zoo.train`.
        init: as in `zoo.train`. The model has the hyperparameters of that run, and the subjects of the same dataset
            are split as it split them; settings lie over both.
        settings: further parameters under dotted names: ``task.days``, ``data.levels``, ``model.dim``, ``trainer.lr``.

    Raises:
        UserError: for whatever is unknown or missing; settings are looked at before anything is read.
    """
    from zoo.training import create_model, train
    from zoo.training._initial import Initial

    groups = _checked(model, settings or {})
    initial = None if init is None else Initial.read(init)
    if initial:
        initial.check_model(model)
        groups["data"] = {**initial.split_of(dataset), **groups["data"]}
        groups["model"] = {**initial.hyperparameters(model), **groups["model"]}
    check_multiples(f"model {model!r}", registry.models.get(model), groups["model"])
    data = prepared(dataset, task, root, groups)
    data = initial.laid_over(data, model) if initial else data
    made = create_model(model, data, seed=seed, **groups["model"])
    return train(made, data, seed=seed, out=out, init=init, **groups["trainer"])


def pretrain(
    dataset: str,
    task: str,
    model: str,
    root: str | Path | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Result:
    """Prepare, and pre-train on every visit of the training split; the run is the ``init`` of `run`.

    Args:
        dataset, task, model, root, settings: as of `run`.
        seed, out: as in `zoo.pretrain`.

    Raises:
        UserError: as `run`, and where the model is not pre-trained.
    """
    from zoo import training

    groups = _checked(model, settings or {})
    check_multiples(f"model {model!r}", registry.models.get(model), groups["model"])
    data = prepared(dataset, task, root, groups)
    made = training.create_model(model, data, seed=seed, **groups["model"])
    return training.pretrain(made, data, seed=seed, out=out, **groups["trainer"])


def tune(
    dataset: str,
    task: str,
    model: str,
    root: str | Path | None = None,
    *,
    out: str | Path,
    settings: Mapping[str, object] | None = None,
    **how,
) -> Tuned:
    """Prepare, and find the settings with which a model does best on the validation split.

    Args:
        dataset, task, model, root, settings: as of `run`; what is set is not searched.
        out, **how: as in `zoo.tune`.

    Raises:
        UserError: as `run` and `zoo.tune`.
    """
    from zoo import training

    settings = settings or {}
    groups = _checked(model, settings)
    check_multiples(f"model {model!r}", registry.models.get(model), groups["model"])
    data = prepared(dataset, task, root, groups)
    fixed = {n: v for n, v in settings.items() if n.partition(".")[0] in ("model", "trainer")}
    return training.tune(model, data, out=out, settings=fixed, **how)


def samples(
    dataset: str,
    task: str,
    root: str | Path | None = None,
    *,
    out: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """The cohort of a task, with the split of each sample.

    Args:
        dataset, task, root: as of `run`.
        out: a file to write it to as well, ``.parquet`` or ``.csv``.
        settings: further parameters under dotted names, of ``task.`` and ``data.``.

    Returns:
        A row a sample, as ``samples`` of what `zoo.load` returns. ``attrs`` has ``attrition``, how many candidates were
        left out at each step, and ``cleaning``, a line for each kind of thing that was left out while reading.

    Raises:
        UserError: for whatever is unknown or missing.
    """
    path = None if out is None else writable(out, *TABLES)
    data = prepared(dataset, task, root, only(shared_out(settings or {}), "task", "data"))
    found = data.samples.astype({"split": "str"})
    if path is not None:
        write_table(found, path)
    found.attrs = {
        "attrition": data.attrition.to_dict("records"),
        "cleaning": data.dataset.report(sorted(data.task.needs)).lines(),
    }
    return found


def events(
    dataset: str,
    out: str | Path,
    root: str | Path | None = None,
    *,
    concepts: str | Collection[str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> list[str]:
    """Write a dataset in MEDS format.

    Args:
        dataset, root: as of `run`.
        out: a folder that does not exist yet.
        concepts: only these; all that the dataset offers by default.
        settings: further parameters under dotted names, of ``data.``.

    Returns:
        A line about each part that was written, and about what was left out while reading.

    Raises:
        UserError: for whatever is unknown or missing, or the folder exists.
    """
    from zoo.meds import write_meds
    from zoo.prepare import load_dataset

    opened = load_dataset(dataset, root, **only(shared_out(settings or {}), "data")["data"])
    concepts = [concepts] if isinstance(concepts, str) else concepts
    written = list(write_meds(opened, out, concepts or None))
    return written + cleaning_lines(opened.report(concepts or opened.concepts).lines())


def synth(out: str | Path, schema: str = "mimic3", patients: int = 2000, seed: int = 0, format: str = "csv.gz") -> Path:
    """Write synthetic source tables into a folder that does not exist yet, and return it.

    Args:
        out: the folder.
        schema: ``"mimic3"``, ``"mimic4"`` or ``"eicu"``.
        patients: how many.
        seed: of the generator.
        format: ``"csv.gz"``, ``"csv"`` or ``"parquet"``.

    Raises:
        UserError: a value is none that there is, or the folder exists.
    """
    from zoo.datasets import _writers
    from zoo.progress import progress

    for name, value, known in (("schema", schema, _writers.SCHEMAS), ("format", format, _writers.FORMATS)):
        if value not in known:
            raise UserError(f"{name}={shown(value)} is unknown: {nearest(str(value), known)}.")
    given = {"patients": patients, "seed": seed}
    patients, seed = (registry.whole_number(n, v, 0) for n, v in given.items())
    out = Path(out).expanduser()
    if out.exists():
        raise UserError(f"{out} exists: choose another folder.")
    with progress(f"writing {registry.counted(patients, 'patient')}") as report:
        try:
            _writers.write_source(
                schema, patients, seed, out, format=format, progress=lambda done, total: report(share=done / total)
            )
        except ValueError as error:
            raise UserError(str(error)) from error
    return out


def check(model: str | type, **hyperparameters) -> Report:
    """Check a model with the conformance kit; see `zoo.testing.check_model`.

    Args:
        model: a registered name, or a class that is registered.
        **hyperparameters: the model's own, to check it with others than the defaults.

    Raises:
        UserError: the name or a hyperparameter is unknown, or the class is not registered.
    """
    entry = registry.models.entry(model)
    if not entry.registered:
        raise UserError(f"register {entry.name!r} first (@register_model): the kit looks at what its decorator says.")
    from zoo.testing import check_model

    return check_model(entry.name, **hyperparameters)


@dataclass(frozen=True, repr=False)
class Info:
    """What `info` tells; printed, it is for people.

    Attributes:
        facts: of each thing of the name ``noun``, ``name``, ``documentation``, ``parameters`` with their defaults, what
            is ``explained`` of these, and whatever its decorator says; of a model also what it ``embeds`` (None where
            it does not), and what it sets of the ``trainer`` where it is trained without settings, with a small text
            encoder where it has one.
    """

    facts: list[dict]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n\n".join(self._told(facts) for facts in self.facts)

    @staticmethod
    def _told(facts: dict) -> str:
        lines = [f"{facts['noun']} {facts['name']}".strip(), "", *facts["documentation"].split("\n"), ""]
        lines += [f"{n}: {_words(v)}" for n, v in facts.items() if n not in _TOLD_OTHERWISE]
        lines.append("parameters:" if facts["parameters"] else "parameters: none")
        published, search = (facts.get(n, {}) for n in ("published", "search"))

        def line(group: str, name: str, default: object) -> str:
            key = f"{group}.{name}"
            words = f"  {name} = {default!r}" if default is not inspect.Parameter.empty else f"  {name}"
            words += f"  (published: {published[key]!r})" if key in published else ""
            return words + (f"  (searched: {search[key]})" if search.get(key) is not None else "")

        for name, default in facts["parameters"].items():
            lines.append(line("model", name, default))
            lines += [f"      {facts['explained'][name]}"] if facts["explained"].get(name) else []
        if facts.get("trainer"):
            lines += ["trainer:", *(line("trainer", name, value) for name, value in facts["trainer"].items())]
        return "\n".join(printable(line) for line in lines)


EMBEDS = "the patient at each sample"
"""What is said of a model whose runs `zoo.embed` takes."""
_TOLD_OTHERWISE = ("noun", "name", "parameters", "explained", "documentation", "published", "search", "trainer")


def _words(value: object) -> str:
    if value is None or value == []:
        return "nothing"
    if isinstance(value, Mapping):
        return "; ".join(f"{n}: {_words(v)}" for n, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def info(
    name: str,
    dataset: str | None = None,
    root: str | Path | None = None,
    *,
    settings: Mapping[str, object] | None = None,
) -> Info | Coverage:
    """Tell parameters with defaults, paper and inputs.

    Args:
        name: a dataset, a task or a model; ``"trainer"``; or ``"drugs"``, how many orders of a dataset have an ATC
            class.
        dataset, root, settings: of ``"drugs"``: whose orders to look at, as of `samples`.

    Raises:
        UserError: the name is unknown.
    """
    if name == DRUGS:
        return drug_coverage_of(dataset, root, settings or {})[0]
    if dataset is not None or root is not None or settings:
        raise UserError(f"--dataset, --root and --set are for `zoo info {DRUGS}`: `zoo info {name}` takes none.")
    if name == TRAINER:
        from zoo.training import Trainer

        return Info([_facts_of(TRAINER, "", Trainer, Facts())])
    found = [r for r in NOUNS.values() if name in r.names()]
    if not found:
        known = [n for r in NOUNS.values() for n in r.names()]
        raise UserError(f"unknown name {shown(name)}: {nearest(name, [*known, DRUGS, TRAINER])}.")
    entries = {r.noun: r.entry(name) for r in found}
    return Info([_facts_of(noun, name, e.thing, e.facts) for noun, e in entries.items()])


def _facts_of(noun: str, name: str, thing: type, facts: Facts) -> dict:
    documentation = re.sub(r"\n+Args:\n(?:(?: .*)?\n)*(?: .*)?", "\n", inspect.cleandoc(thing.__doc__ or ""))
    parameters, told = parameters_of(thing), explained(thing)
    of_model = isinstance(facts, ModelFacts)
    always = {"explains": None, "uses": []} if of_model else {}
    own = {"embeds": EMBEDS if thing.has_vectors() else None, **_trained(thing, facts)} if of_model else {}
    return {
        "noun": noun,
        "name": name,
        **{k: sorted(v) if isinstance(v, frozenset) else v for k, v in (always | facts.said()).items()},
        "parameters": {n: p.default for n, p in parameters.items()},
        "explained": {n: told[n] for n in parameters if n in told},
        "documentation": documentation.strip(),
        **own,
    }


def _trained(thing: type, facts: ModelFacts) -> dict[str, dict]:
    """What a model sets of the ``trainer`` on the first kind of task that it serves; and what is searched where.

    Of the trainer's parameters also those that are published or searched.
    """
    from zoo.data.spec import Spec
    from zoo.training import Trainer
    from zoo.training._search import usual_space

    kind = min(facts.kinds or registry.kinds.names())
    spec = Spec(kind, ("label",), {}, predicts=facts.predicts)
    own = thing.trainer_defaults(spec)
    space = {**usual_space(thing, Trainer(**own).lr), **facts.search}
    space = {n: str(r) for n, r in space.items() if r is not None}
    named = {n.removeprefix("trainer.") for n in (*facts.published, *space) if n.startswith("trainer.")}
    trainer = {n: own.get(n, p.default) for n, p in parameters_of(Trainer).items() if n in {*own, *named}}
    return {"trainer": trainer, "search": space}


def drug_coverage_of(
    dataset: str | None, root: str | Path | None, settings: Mapping[str, object]
) -> tuple[Coverage, list[str]]:
    """How many drug orders of a dataset have an ATC class, and a line for each kind of thing that cleaning left out."""
    if dataset is None:
        raise UserError(f"zoo info {DRUGS} needs --dataset, and --root where its tables are: whose orders to look at.")
    from zoo.data._drug_coverage import drug_coverage
    from zoo.data._store import VisitIndex
    from zoo.knowledge.drugs import AtcMap
    from zoo.prepare import Stores, load_dataset

    opened = load_dataset(dataset, root, **only(shared_out(settings), "data")["data"])
    store = Stores(opened, VisitIndex.read(opened.folder())).of("drug")
    found = drug_coverage(store, AtcMap.from_csv(opened.drug_map) if opened.drug_map else None)
    return found, opened.report(["drug"]).lines()


def _checked(model: str, settings: Mapping[str, object]) -> dict[str, dict]:
    """Settings by their part; those of the model and the trainer are looked at."""
    from zoo.training import Trainer

    groups = shared_out(settings)
    entry = registry.models.entry(model)
    groups["model"] = check_parameters(f"model {entry.name!r}", entry.thing, groups["model"])
    groups["trainer"] = check_parameters("the trainer", Trainer, groups["trainer"])
    Trainer(**groups["trainer"])  # looks at the values
    return groups


def prepared(dataset: str, task: str, root: str | Path | None, groups: Mapping[str, dict]) -> TaskData:
    """A task on a dataset with the settings ``task`` and ``data``."""
    from zoo.prepare import load, load_task

    made = load_task(task, **groups["task"])
    opened, others = opened_dataset(dataset, root, groups["data"])
    return load(opened, made, **others)


def opened_dataset(dataset: str, root: str | Path | None, settings: Mapping[str, object]) -> tuple[Dataset, dict]:
    """A dataset with those of the settings ``data`` that are its own; and the others, which `zoo.load` takes."""
    from zoo.prepare import load_dataset

    own, others = _of_dataset(dataset, settings)
    return load_dataset(dataset, root, **own), others


def shared_out(settings: Mapping[str, object]) -> dict[str, dict]:
    """Dotted settings by their part.

    >>> shared_out({"task.days": 15})["task"]
    {'days': 15}
    """
    if not isinstance(settings, Mapping):
        raise UserError(f"settings={shown(settings)} must be a dictionary, such as {{'task.days': 15}}.")
    groups: dict[str, dict] = {group: {} for group in GROUPS}
    for name, value in settings.items():
        group, dot, key = str(name).partition(".")
        if not dot or group not in groups:
            begins = ", ".join(f"{g}." for g in GROUPS)
            raise UserError(f"setting {name!r} must begin with one of {begins}; {nearest(group, GROUPS)}.")
        groups[group][key] = value
    return groups


def _of_dataset(dataset: str, settings: Mapping[str, object]) -> tuple[dict, dict]:
    """The settings ``data``: those of the dataset, and those of `zoo.load`."""
    from zoo.prepare import load

    of_dataset = parameters_of(registry.datasets.get(dataset))
    named = inspect.signature(load).parameters.values()
    of_load = {p.name for p in named if p.kind is not p.VAR_KEYWORD} - {"dataset", "task", "root"}
    for name in settings:
        if name not in {*of_dataset, *of_load}:
            raise UserError(f"there is no setting 'data.{name}': {nearest(name, {*of_dataset, *of_load})}.")
    own = {n: v for n, v in settings.items() if n in of_dataset}
    return own, {n: v for n, v in settings.items() if n not in of_dataset}


def only(groups: dict[str, dict], *wanted: str) -> dict[str, dict]:
    """The settings, where all of them are of the wanted groups."""
    for group, settings in groups.items():
        if settings and group not in wanted:
            allowed = " or ".join(f"{w}." for w in wanted)
            raise UserError(f"--set {group}.{next(iter(settings))} has no effect here: settings begin with {allowed}")
    return groups


# Files


def writable(out: str | Path, *endings: str) -> Path:
    """A path to write to; fails early where it has another ending, or no folder to lie in."""
    out = Path(out).expanduser()
    if out.suffix not in endings:
        raise UserError(f"--out {out} must end in {' or '.join(endings)}.")
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent} to write {out.name} to.")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file.")
    return out


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Write a table as Parquet, or as CSV, where a list of codes is written as JSON."""
    with whole(out) as unfinished:
        if out.suffix == ".parquet":
            table.to_parquet(unfinished, index=False)
            return
        listed = [str(n) for n in table if len(table) and isinstance(table[n].iloc[0], list)]
        table.assign(**{n: table[n].map(list).map(json.dumps) for n in listed}).to_csv(unfinished, index=False)


def cleaning_lines(lines: list[str]) -> list[str]:
    """What was left out or nulled while reading, under a heading; nothing where nothing was."""
    return ["", "left out or set to null while reading:", *(f"  {line}" for line in lines)] if lines else []
