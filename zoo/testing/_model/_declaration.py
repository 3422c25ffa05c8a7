"""What a model says of itself when it is registered, and how it is made."""

from __future__ import annotations

import inspect
import json

from zoo.data._resources import RESOURCES
from zoo.datasets._canonical import CONCEPTS
from zoo.models import Model
from zoo.prepare import check_levels
from zoo.registry import STATIC, Entry, Part, check_parameters, kind_of, kinds, models, parameters_of
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._registry import CHECKS
from zoo.testing._report import Findings
from zoo.training import Trainer


def check_declaration(findings: Findings, entry: Entry) -> None:
    facts = entry.facts
    findings.expect("declaration", bool(facts.kinds), "kinds are not registered")
    for kind in sorted(facts.kinds):
        with findings.check("declaration"):
            kind_of(kind)
    for fact, concepts in {"uses": facts.uses, "needs": facts.needs}.items():
        for concept in sorted(concepts.difference((*CONCEPTS, STATIC))):
            findings.fail("declaration", f"{fact} {concept!r}, which is none of {', '.join(CONCEPTS)}")
    findings.expect("declaration", issubclass(entry.thing, Model), "the class is no zoo.models.Model")
    for name in sorted(facts.resources.difference(RESOURCES)):
        findings.fail("declaration", f"asks for {name!r}, which is none of {', '.join(RESOURCES)}")
    of_sets = all(kind_of(k).sets for k in filter(kinds.knows, facts.kinds))
    if facts.predicts is not None and not (facts.predicts in CONCEPTS and of_sets):
        findings.fail("declaration", f"predicts={facts.predicts!r} is no concept, or its kinds are not of sets alone")
    with findings.check("declaration"):
        check_levels(facts.levels)
    for other, part in facts.begins_with.items():
        with findings.check("declaration"):
            _check_part(findings, entry, models.entry(other), part)
    for check, reason in facts.waives.items():
        if check in CHECKS and not CHECKS[check].waivable:
            findings.fail("declaration", f"{check} cannot be waived")
        elif check not in CHECKS:
            findings.fail("declaration", f"waives {check!r}, which is none of {', '.join(CHECKS)}")
        findings.expect("declaration", bool(reason.strip()), f"no reason to waive {check}")


def _check_part(findings: Findings, entry: Entry, other: Entry, part: Part) -> None:
    """What a model takes over of a run of another one: weights by the beginning of their names."""
    wrong = f"begins with {other.name!r} by {dict(part)!r}, "
    findings.expect("declaration", bool(part["weights"]), wrong + "whose 'weights' are all, not a part")
    for thing in (entry, other):
        for name in sorted(set(part["hyperparameters"]) - set(parameters_of(thing.thing))):
            findings.fail("declaration", wrong + f"but {thing.name!r} has no hyperparameter {name!r}")


def check_hyperparameters(findings: Findings, entry: Entry) -> None:
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
    for kind in filter(kinds.knows, sorted(entry.facts.kinds)):
        chosen = entry.thing.trainer_defaults(Candidate(entry, kind, {}).task.spec)
        check_parameters("the trainer", Trainer, chosen)
