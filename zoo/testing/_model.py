"""Checks of a model on fabricated patients, for each kind of task that it serves."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from zoo.data import Batch, Spec
from zoo.data.spec import KINDS
from zoo.datasets._canonical import CONCEPTS
from zoo.models import Estimator, Model, Output
from zoo.registry import Entry, check_parameters, models, parameters_of
from zoo.testing import _patients as patients
from zoo.testing._patients import FabricatedTask, Patient
from zoo.testing._report import Findings, Report
from zoo.testing._short_training import (
    Training,
    answer,
    copied,
    logits,
    loss_of_a_constant,
    made,
    main_loss,
    trained,
    whole_loss,
)
from zoo.training import Trainer

TOLERANCE = 1e-5
"""How far logits may differ, relative to 1 or to the largest of them, and count as the same."""
NEVER_WAIVED = ("batch_independence", "future", "save_load")
FITS = 0.25
"""Eight samples are fitted where the loss is below this part of a constant's."""
ATTEMPTS = ((3e-3, 60), (1e-3, 200), (1e-2, 150), (1e-1, 150))
"""Learning rates, and how many steps at most, with which eight samples are tried to be fitted."""


def check_model(name: str, **hyperparameters) -> Report:
    """Check that a model keeps what every model of `zoo` promises.

    It is trained for a few steps (or fitted) on fabricated patients, for each kind of task that it serves. The checks,
    in eval mode unless said:

    - ``declaration``: kinds, concepts and waivers, as registered, make sense.
    - ``hyperparameters``: the constructor takes keyword arguments with defaults of their annotated types, and the
      trainer knows the model's trainer defaults.
    - ``output_shape``: logits are (samples, outputs), and predictions have the shape and range of their kind.
    - ``loss_finite``: the loss is one finite number, in training too.
    - ``batch_independence``: a sample gives the same output alone and in any batch (1e-5).
    - ``code_order``: the order of codes at the same time within a visit does not matter.
    - ``uses_inputs``: every concept that it uses changes the output where there is some.
    - ``label``: neither the label nor the subject's number in a batch reaches the logits.
    - ``future``: later visits change no earlier logits.
    - ``empty_history``, ``missing_concept``, ``single_sample``: patients without events, a concept that is absent from
      the data or from a batch, and batches of one work, in training too.
    - ``state``: the same batch gives the same once more, also after another one.
    - ``save_load``: a new model that reads the saved weights predicts the same.
    - ``seed``: one seed, one result, bitwise.
    - ``overfits``: the main loss falls on eight samples until it fits them.
    - ``gradients``: each trainable parameter gets a gradient within a few batches, or in ``pretrain``.
    - ``bf16``: loss, logits and gradients stay finite in bfloat16.

    A model that is fitted is spared the last two. A model may waive a check with a reason, as in
    ``register_model(..., waives={"code_order": "positions are part of the input"})``, and the report says it; never
    ``batch_independence``, ``future`` or ``save_load``.

    Args:
        name: a registered model.
        **hyperparameters: the model's own, to check it with others than the defaults.

    Raises:
        UserError: the name is unknown, its module cannot be imported, or a hyperparameter is unknown.

    >>> check_model("logistic_regression").failures
    []
    """
    entry = models.entry(name)
    check_parameters(f"model {name!r}", entry.thing, hyperparameters)
    findings = Findings(f"model {name!r}")
    with findings.check("declaration"):
        _declaration(findings, entry)
    with findings.check("hyperparameters"):
        _hyperparameters(findings, entry)
    waived = {c: r for c, r in dict(entry.facts.get("waives", {})).items() if c in CHECKS and c not in NEVER_WAIVED}
    if findings.failed("declaration") or findings.failed("hyperparameters"):
        findings.note("declaration", "the other checks were not run")
        return findings.report()
    with _alone():
        for kind in (k for k in KINDS if k in entry.facts["kinds"]):
            _check_kind(findings, Subject(entry, kind, hyperparameters), waived)
    for check, reason in waived.items():
        findings.note(check, f"waived: {reason}")
    return findings.report()


@contextmanager
def _alone() -> Iterator[None]:
    """One thread, and random numbers of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class Subject:
    """The model that is checked, on a fabricated task of one kind."""

    entry: Entry
    kind: str
    hyperparameters: dict
    model: Model | None = None
    training: Training | None = None

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts that it gets where all are there."""
        wanted = {*self.entry.facts.get("uses", ()), *self.entry.facts.get("needs", ())}
        return tuple(c for c in CONCEPTS if c in wanted)

    @property
    def task(self) -> FabricatedTask:
        """The task, with all concepts that it uses."""
        return FabricatedTask(self.kind, self.concepts)

    @property
    def fitted(self) -> bool:
        """Whether it is no network."""
        return issubclass(self.entry.thing, Estimator)

    @property
    def first(self) -> bool:
        """Whether this is the first kind that the model serves; what does not hang on the kind is checked there."""
        return self.kind == next(k for k in KINDS if k in self.entry.facts["kinds"])

    def rows(self, count: int = 12) -> list[Patient]:
        """Patients that it was not trained on."""
        return self.task.rows(200, 200 + count)

    def batch(self, rows: list[Patient]) -> Batch:
        """A batch of these, and of one who is longer than all, so that all are padded alike."""
        return self.task.batch([*rows, self.task.row(patients.long_patient())])

    def logits(self, rows: list[Patient]) -> np.ndarray:
        """(rows, outputs) of the last visit of each."""
        return logits(self.model, self.batch(rows))[: len(rows)]


def _check_kind(findings: Findings, subject: Subject, waived: dict[str, str]) -> None:
    with _check(findings, "loss_finite", subject):
        subject.model, subject.training = trained(subject.entry, subject.task, subject.hyperparameters)
    if subject.model is None:
        findings.note("loss_finite", f"{subject.kind}: it could not be trained, the other checks were not run")
        return
    for name, check in CHECKS.items():
        if name in waived:
            findings.note(name, f"waived: {waived[name]}") if subject.first else None
        elif not (subject.fitted and name in OF_NETWORKS) and (subject.first or name not in ONCE):
            with _check(findings, name, subject):
                for problem in check(subject):
                    findings.fail(name, f"{subject.kind}: {problem}")


@contextmanager
def _check(findings: Findings, name: str, subject: Subject) -> Iterator[None]:
    with findings.check(name):
        try:
            yield
        except Exception as error:
            lines = str(error).splitlines() or [""]
            findings.fail(name, f"{subject.kind}: {type(error).__name__}: {lines[0]}")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    return bool(_distance(one, other) <= TOLERANCE)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, relative to the largest logit where that is above 1; NaN where one is."""
    if not one.size:
        return 0.0
    return float(np.max(np.abs(one - other)) / max(1.0, np.max(np.abs(one)), np.max(np.abs(other))))


# Declarations


def _declaration(findings: Findings, entry: Entry) -> None:
    kinds = set(entry.facts.get("kinds", ()))
    findings.expect("declaration", bool(kinds), "kinds are not registered")
    for kind in sorted(kinds - set(KINDS)):
        findings.fail("declaration", f"kind {kind!r} is none of {', '.join(KINDS)}")
    for fact in ("uses", "needs"):
        for concept in sorted(set(entry.facts.get(fact, ())) - set(CONCEPTS)):
            findings.fail("declaration", f"{fact} {concept!r}, which is none of {', '.join(CONCEPTS)}")
    findings.expect("declaration", issubclass(entry.thing, Model), "the class is no zoo.models.Model")
    for check, reason in dict(entry.facts.get("waives", {})).items():
        if check in NEVER_WAIVED:
            findings.fail("declaration", f"{check} cannot be waived")
        elif check not in CHECKS:
            findings.fail("declaration", f"waives {check!r}, which is none of {', '.join(CHECKS)}")
        findings.expect("declaration", isinstance(reason, str) and bool(reason.strip()), f"no reason to waive {check}")


def _hyperparameters(findings: Findings, entry: Entry) -> None:
    signature = inspect.signature(entry.thing.__init__).parameters
    names = list(signature)
    findings.expect("hyperparameters", names[1:2] == ["spec"], "the constructor's first argument is not spec")
    for name, parameter in signature.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            findings.fail("hyperparameters", f"{name} of any name or number are no configuration")
    defaults = {n: p.default for n, p in parameters_of(entry.thing).items()}
    for name, default in defaults.items():
        findings.expect("hyperparameters", default is not inspect.Parameter.empty, f"{name} has no default")
    if findings.failed("hyperparameters"):
        return
    check_parameters("the constructor", entry.thing, defaults)
    json.dumps(defaults)  # a run writes them down
    if not set(entry.facts.get("kinds", ())) <= set(KINDS):
        return
    for kind in sorted(entry.facts.get("kinds", ())):
        chosen = entry.thing.trainer_defaults(Subject(entry, kind, {}).task.spec)
        check_parameters("the trainer", Trainer, chosen)


# What comes out


def _output_shape(subject: Subject) -> Iterator[str]:
    task, model = subject.task, copied(subject.model)
    batch = subject.batch(subject.rows())
    with torch.no_grad():
        output = model(batch)
        prediction = model.predict(output)
    if not isinstance(output, Output):
        yield f"forward gives a {type(output).__name__}, not an Output"
        return
    expected = (batch.samples, task.spec.outputs)
    if tuple(output.logits.shape) != expected:
        yield f"logits are {tuple(output.logits.shape)}, not {expected}"
    if not output.logits.is_floating_point() or not torch.isfinite(output.logits).all():
        yield "logits are not finite"
    expected = expected if task.kind in ("multiclass", "multilabel") else expected[:1]
    if tuple(prediction.shape) != expected:
        yield f"predictions are {tuple(prediction.shape)}, not {expected}"
    if task.kind != "regression" and not ((prediction >= 0) & (prediction <= 1)).all():
        yield "predictions are no probabilities"
    if task.kind == "multiclass" and not torch.allclose(prediction.sum(-1).double(), torch.ones(1).double(), atol=1e-4):
        yield "predictions do not add up to 1 over classes"


def _loss_finite(subject: Subject) -> Iterator[str]:
    yield from _runs(subject, subject.task, subject.rows())


def _runs(subject: Subject, task: FabricatedTask, rows: list[Patient], model: Model | None = None) -> Iterator[str]:
    """Problems with logits and loss of rows, in eval mode and, for a network, in training."""
    model, batch = copied(model or subject.model), task.batch(rows)
    if not np.isfinite(answer(model, batch)).all():
        yield "logits are not finite"
    for training in (False,) if subject.fitted else (False, True):
        model.train(training)
        where = " in training" if training else ""
        output = model(batch)
        main = model.loss(output, batch)
        if main.shape != ():
            yield f"the loss is {tuple(main.shape)}, not one number{where}"
            return
        total = main + sum(output.losses.values())
        if not torch.isfinite(total):
            yield f"the loss is not finite{where}"
        elif training and total.requires_grad:
            total.backward()
            if not all(torch.isfinite(w.grad).all() for w in model.parameters() if w.grad is not None):
                yield "a gradient is not finite"


# What a sample's output may hang on


def _batch_independence(subject: Subject) -> Iterator[str]:
    rows, task, model = subject.rows(), subject.task, subject.model
    alone = np.concatenate([logits(model, task.batch([row])) for row in rows])
    long, bare = task.row(patients.long_patient()), [r.changed(patients.empty, since=1) for r in rows[6:]]
    batches = {  # rows, and of those at their beginning the places among all
        "in a batch": (rows, range(len(rows))),
        "in another order": (rows[::-1], range(len(rows) - 1, -1, -1)),
        "in a batch of three": (rows[:3], range(3)),
        "next to a longer row": ([*rows[:4], long], range(4)),
        "next to rows with little in them": ([*rows[:6], *bare], range(6)),
    }
    for where, (members, places) in batches.items():
        found, expected = logits(model, task.batch(members))[: len(places)], alone[list(places)]
        if not _same(found, expected):
            yield f"a sample's logits differ by {_distance(found, expected):.1e} {where} from what they are alone"
    if not task.spec.label_concepts:
        rows = _rows_of_three(subject)
        expected = logits(model, task.batch(rows, [[0, 1]] * len(rows)))
        own = [list(range(len(r.visits))) for r in rows]
        early = np.array([place < 2 for places in own for place in places])
        found = logits(model, task.batch(rows, own))[early]
        if not _same(found, expected):
            yield f"a sample's logits differ by {_distance(found, expected):.1e} with later samples of the same row"


def _code_order(subject: Subject) -> Iterator[str]:
    rows = subject.rows()
    expected = subject.logits(rows)
    for seed in range(3):
        found = subject.logits([r.changed(patients.shuffled(np.random.default_rng(seed))) for r in rows])
        if not _same(found, expected):
            yield f"another order of codes changes logits by {_distance(found, expected):.1e}"
            return


def _uses_inputs(subject: Subject) -> Iterator[str]:
    rows = subject.rows(24)
    expected = subject.logits(rows)
    wanted = 1 if subject.fitted else len(rows) // 2
    for concept in subject.concepts:
        changed = [r.changed(patients.other(concept)) for r in rows]
        differs = np.abs(subject.logits(changed) - expected).max(axis=1) > 1e-7
        if differs.sum() < wanted:
            yield f"{concept} with other codes and values changes the logits of {differs.sum()} of {len(rows)} samples"


def _label(subject: Subject) -> Iterator[str]:
    batch = subject.batch(subject.rows())
    expected = logits(subject.model, batch)
    label = batch.label
    others = {"binary": ~label if label.dtype == torch.bool else label, "multiclass": (label + 1) % 3}
    others |= {"multilabel": others["binary"], "regression": 1 - 2 * label.float()}
    for what, changed in {
        "label": replace(batch, label=others[subject.kind]),
        "subject's number": replace(batch, subject=batch.subject.flip(0) + 7),
    }.items():
        found = logits(subject.model, changed)
        if not _same(found, expected):
            yield f"another {what} changes logits by {_distance(found, expected):.1e}"


def _future(subject: Subject) -> Iterator[str]:
    task = subject.task
    long = task.row(patients.long_patient())
    rows = [r for r in subject.rows(30) if len(r.visits) < 4]
    own = [[len(r.visits) - 1] for r in rows] + [[len(long.visits) - 1]]
    expected = logits(subject.model, task.batch([*rows, long], own))[:-1]
    for change in (lambda _, events: events, patients.other()):
        longer = [_with_later_visits(r, change) for r in rows]
        found = logits(subject.model, task.batch([*longer, long], own))[:-1]
        if not _same(found, expected):
            yield f"later visits in its row change a sample's logits by {_distance(found, expected):.1e}"
            return
    if not task.spec.label_concepts:  # else an earlier sample sees less of its own visit than the row holds
        yield from _earlier_samples(subject)


def _with_later_visits(row: Patient, change: Callable) -> Patient:
    later = [v.changed(change) for v in patients.long_patient().visits[:2]]
    end = row.visits[-1].start + row.visits[-1].length
    moved = [replace(v, start=end + 50.0 + v.start) for v in later]
    return replace(row, visits=(*row.visits, *moved))


def _earlier_samples(subject: Subject) -> Iterator[str]:
    """Rows with samples of their first two visits, of which the later ones are changed."""
    rows = _rows_of_three(subject)
    changed = [r.changed(patients.other(), since=2) for r in rows]
    found = [logits(subject.model, subject.task.batch(some, [[0, 1]] * len(rows))) for some in (rows, changed)]
    if not _same(*found):
        yield f"later visits change logits of earlier samples of their row by {_distance(*found):.1e}"


def _rows_of_three(subject: Subject) -> list[Patient]:
    """Patients with three visits at least."""
    return [r for r in subject.rows(40) if len(r.visits) > 2]


# What there may be nothing of


def _empty_history(subject: Subject) -> Iterator[str]:
    rows = [r.changed(patients.empty) for r in subject.rows()]
    yield from _runs(subject, subject.task, rows)
    yield from _runs(subject, subject.task, [*rows[:4], *subject.rows()[4:]])


def _missing_concept(subject: Subject) -> Iterator[str]:
    needs = set(subject.entry.facts.get("needs", ()))
    for concept in subject.concepts:
        rows = [r.changed(patients.without(concept)) for r in subject.rows()]
        yield from (f"no {concept} in a batch: {problem}" for problem in _runs(subject, subject.task, rows))
        rest = tuple(c for c in subject.concepts if c != concept)
        if concept in needs or not rest or not subject.first:
            continue
        task = FabricatedTask(subject.kind, rest)
        try:
            model, _ = trained(subject.entry, task, subject.hyperparameters, patients=32)
            problems = list(_runs(subject, task, task.rows(200, 206), model))
        except Exception as error:
            problems = [f"{type(error).__name__}: {error}"]
        yield from (f"data without {concept}: {problem}" for problem in problems)


def _single_sample(subject: Subject) -> Iterator[str]:
    for row in (subject.rows()[0], subject.task.row(patients.long_patient())):
        yield from _runs(subject, subject.task, [row])


# What a model keeps


def _state(subject: Subject) -> Iterator[str]:
    model = copied(subject.model)
    one, another = subject.batch(subject.rows()), subject.batch(subject.task.rows(230, 240))
    kept = None if subject.fitted else {n: w.clone() for n, w in model.state_dict().items()}
    with torch.no_grad():
        model.eval()
        first, second = (model(one).logits.float().numpy().copy() for _ in range(2))
        model(another)
        third = model(one).logits.float().numpy().copy()
    if not _same(first, second):
        yield f"the same batch twice gives logits that differ by {_distance(first, second):.1e}"
    elif not _same(first, third):
        yield f"the same batch after another one gives logits that differ by {_distance(first, third):.1e}"
    if kept is not None and any(not torch.equal(w, kept[n]) for n, w in model.state_dict().items()):
        yield "a call in eval mode changes what is saved"


def _save_load(subject: Subject) -> Iterator[str]:
    spec = Spec.from_dict(json.loads(json.dumps(subject.model.spec.to_dict())))
    new = made(subject.entry, spec, subject.hyperparameters, seed=1)
    if subject.fitted:
        with tempfile.TemporaryDirectory() as folder:
            subject.model.save(Path(folder) / "model.skops")
            new.load(Path(folder) / "model.skops")
    else:
        from safetensors.torch import load, save

        weights = {n: w.contiguous().cpu() for n, w in subject.model.state_dict().items()}
        new.load_state_dict(load(save(weights)) if weights else {})
    rows = subject.rows()
    expected, batch = subject.logits(rows), subject.batch(rows)
    found = logits(new, batch)[: len(rows)]
    if not _same(found, expected):
        yield f"a new model with the saved weights has logits that differ by {_distance(found, expected):.1e}"


def _seed(subject: Subject) -> Iterator[str]:
    found = []
    for _run in range(2):
        model, _ = trained(subject.entry, subject.task, subject.hyperparameters, seed=3, patients=48)
        found.append((model.state_dict(), answer(model, subject.batch(subject.rows()))))
    for name, weight in found[0][0].items():
        if not torch.equal(weight, found[1][0][name]):
            yield f"two trainings with one seed differ in {name}"
            return
    if not np.array_equal(found[0][1], found[1][1]):
        yield "two trainings with one seed differ in their logits"


# Training


def _overfits(subject: Subject) -> Iterator[str]:
    rows = subject.task.rows(100, 108)
    batch = subject.task.batch(rows)
    plain = type(subject.model).loss is Model.loss
    constant = loss_of_a_constant(subject.kind, batch.label)
    lowest = float("inf")
    for rate, steps in ATTEMPTS if not subject.fitted else ((0, 0),):
        model = made(subject.entry, subject.task.spec, subject.hyperparameters)
        if subject.fitted:
            model.fit(subject.task.batches(rows * 32, size=64))
        start = constant if plain else main_loss(model, [batch])
        lowest = min(lowest, main_loss(model, [batch]) / start)
        training = None if subject.fitted else Training(model, rate)
        for step in range(steps):
            training.step(batch)
            if step % 10 == 9:
                lowest = min(lowest, main_loss(model, [batch]) / start)
                if lowest < FITS:
                    return
    if not lowest < FITS:
        yield f"the main loss on eight samples falls to {lowest:.2f} of a constant's, not below {FITS}"


def _gradients(subject: Subject) -> Iterator[str]:
    names = [n for n, w in subject.model.named_parameters() if w.requires_grad]
    unreached = [n for n in names if n not in subject.training.reached]
    if unreached:
        yield f"no gradient reaches {', '.join(unreached)}"


def _bf16(subject: Subject) -> Iterator[str]:
    rows = [*subject.rows(), subject.task.row(patients.long_patient())]
    batch, model = subject.task.batch(rows), copied(subject.model)
    for training in (False, True):
        where = " in training" if training else ""
        model.train(training)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(batch).logits
            loss = whole_loss(model, batch)
        if not torch.isfinite(found).all():
            yield f"logits are not finite{where}"
        elif not torch.isfinite(loss):
            yield f"the loss is not finite{where}"
        elif loss.requires_grad and training:
            loss.backward()
            if not all(torch.isfinite(w.grad).all() for w in model.parameters() if w.grad is not None):
                yield "a gradient is not finite"


CHECKS: dict[str, Callable[[Subject], Iterator[str]]] = {
    "output_shape": _output_shape,
    "loss_finite": _loss_finite,
    "batch_independence": _batch_independence,
    "code_order": _code_order,
    "uses_inputs": _uses_inputs,
    "label": _label,
    "future": _future,
    "empty_history": _empty_history,
    "missing_concept": _missing_concept,
    "single_sample": _single_sample,
    "state": _state,
    "save_load": _save_load,
    "seed": _seed,
    "overfits": _overfits,
    "gradients": _gradients,
    "bf16": _bf16,
}
OF_NETWORKS = ("gradients", "bf16")
ONCE = ("seed",)
"""What is checked for one kind only."""
