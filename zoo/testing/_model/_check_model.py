"""Checks of a model on fabricated patients, for each kind of task that it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from zoo.registry import check_parameters, models
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._declaration import check_declaration, check_hyperparameters
from zoo.testing._model._registry import CHECKS
from zoo.testing._model._short_training import trained
from zoo.testing._report import Findings, Report

NOT_CAUSAL = "not registered as causal: a row holds one sample, and no visit after its own"
NO_VECTORS = "it has no one vector of a patient"


def check_model(name: str, **hyperparameters) -> Report:
    """Check that a model keeps what every model of `zoo` promises.

    It is trained for a few steps (or fitted) on fabricated patients, for each kind of task that it serves. The checks,
    in eval mode unless said:

    - ``declaration``: kinds, concepts and waivers, as registered, make sense.
    - ``hyperparameters``: the constructor takes keyword arguments with defaults of their annotated types, and the
      trainer knows the model's trainer defaults.
    - ``output_shape``: logits are (samples, outputs), and predictions have the shape and range of their kind.
    - ``loss_finite``: the loss is one finite number, in training and in pre-training too.
    - ``batch_independence``: a sample gives the same output alone and in any batch (1e-5).
    - ``code_order``: the order of codes at the same time within a visit does not matter.
    - ``uses_inputs``: every concept that it uses changes the output where there is some, and static facts do.
    - ``label``: neither the label nor the subject's number in a batch reaches the logits.
    - ``future``, ``causal``: for a model that is registered with ``causal=True``, whose rows hold later visits, the
      label concepts of a sample's own and other samples of the subject. Later visits change no earlier logits, and a
      sample gives the same output (1e-5) alone and beside others. All other models get one sample a row, whose last
      visit is the sample's own.
    - ``empty_history``, ``missing_concept``, ``single_sample``: patients without events or known facts, a concept, a
      modality (labs with vital signs, or codes) or static facts that are absent from the data, or from a batch, and
      batches of one work, in training too.
    - ``state``: the same batch gives the same once more, also after another one.
    - ``save_load``: a new model that reads the saved weights predicts the same.
    - ``seed``: one seed, one result, bitwise.
    - ``overfits``: the main loss falls on eight samples until it fits them.
    - ``gradients``: each trainable parameter gets a gradient within a few batches, or in ``pretrain``.
    - ``bf16``: logits, losses and gradients stay finite in bfloat16.
    - ``embeds``, for a model that gives vectors of patients: they are (samples, dim) and finite, in bfloat16 too, and
      tell patients apart; what holds for logits in ``batch_independence``, ``label``, ``future`` and ``causal`` holds
      for them.

    A model that is fitted is spared ``gradients`` and ``bf16``. One with ``pretrain`` is pre-trained before each step
    of its training, on whole visits without labels. A model may waive a check with a reason, as in
    ``register_model(..., waives={"code_order": "positions are part of the input"})``, and the report says it; never
    ``batch_independence``, ``future``, ``causal``, ``save_load`` or ``embeds``.

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
        check_declaration(findings, entry)
    with findings.check("hyperparameters"):
        check_hyperparameters(findings, entry)
    if findings.failed("declaration") or findings.failed("hyperparameters"):
        findings.note("declaration", "the other checks were not run")
        return findings.report()
    with _alone():
        for kind in sorted(entry.facts.kinds):
            _check_kind(findings, Candidate(entry, kind, hyperparameters), entry.facts.waives)
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


def _check_kind(findings: Findings, candidate: Candidate, waived: Mapping[str, str]) -> None:
    with _guarded(findings, "loss_finite", candidate):
        candidate.model, candidate.training = trained(candidate.entry, candidate.task, candidate.hyperparameters)
    if candidate.model is None:
        findings.note("loss_finite", f"{candidate.kind}: it could not be trained, the other checks were not run")
        return
    for name, check in CHECKS.items():
        if check.causal_only and not candidate.causal:
            findings.note(name, NOT_CAUSAL) if candidate.first else None
        elif check.vectors_only and not candidate.entry.thing.has_vectors():
            findings.note(name, NO_VECTORS) if candidate.first else None
        elif name in waived:
            findings.note(name, f"waived: {waived[name]}") if candidate.first else None
        elif not (candidate.fitted and check.networks_only) and (candidate.thorough or check.every_kind):
            with _guarded(findings, name, candidate):
                for problem in check.problems(candidate):
                    findings.fail(name, f"{candidate.kind}: {problem}")


@contextmanager
def _guarded(findings: Findings, name: str, candidate: Candidate) -> Iterator[None]:
    """Run a check of one kind; an error in it is a failure of the check."""
    with findings.check(name):
        try:
            yield
        except Exception as error:
            lines = str(error).splitlines() or [""]
            findings.fail(name, f"{candidate.kind}: {type(error).__name__}: {lines[0]}")
