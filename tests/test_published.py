"""What models say of their published settings is of settings that there are, and what differs is told."""

import re
import sys
from dataclasses import replace

import pytest
from smallest import smallest

from zoo.models import Estimator
from zoo.registry import By, check_parameters, explained, models, parameters_of
from zoo.training import Trainer

NAMES = [n for n in models.names() if models.facts(n).published]


def published(name: str, group: str) -> dict[str, object]:
    facts = models.facts(name).published
    return {n.removeprefix(f"{group}."): v for n, v in facts.items() if n.startswith(f"{group}.")}


def trained_with(name: str) -> list[dict[str, object]]:
    """What trains a model where nothing is asked for, and where it begins with a published encoder of texts."""
    model, _ = smallest(name)
    published = replace(model.spec, resources={**model.spec.resources, "encoder": "a published one"})
    return [vars(Trainer(**model.trainer_defaults(spec))) for spec in (model.spec, published)]


def ways_to_write(value: object) -> set[str]:
    """Such as 0.0001, 1e-4 and 10^-4."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return {str(value)}
    power = re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{value:e}")
    mantissa, exponent = power.split("e")
    short = f"{float(mantissa):g}e{exponent}"
    return {f"{value:g}", f"{value:,}", repr(value), short, f"{value:.10f}".rstrip("0").rstrip(".")}


def told(value: object, text: str) -> bool:
    """Whether a value stands in a text; of a name such as f1_micro each of its words."""
    if isinstance(value, str) and "_" in value:
        return all(told(word, text) for word in value.split("_"))
    return any(re.search(rf"(?<![\w.]){re.escape(w)}(?!\w|\.\d)", text, re.IGNORECASE) for w in ways_to_write(value))


def texts(thing: type) -> str:
    """What is said of a module, of its model, of what that derives from and of how it is trained, in one line."""
    ours = [c for c in thing.__mro__ if c.__module__.startswith("zoo.models")]
    found = [d for c in ours for d in (sys.modules[c.__module__], c)]
    found += [thing.trainer_defaults, thing.pretraining_defaults, thing.learning_rates]
    return " ".join(" ".join(d.__doc__ or "" for d in found).split())


def test_a_number_is_found_however_it_is_written():
    assert all(told(1e-4, text) for text in ("at 1e-4.", "of 0.0001,", "(0.0001)"))
    assert told(2000, "of 2,000 steps")
    assert told("adam", "Adam trains")
    assert told("f1_micro", "the micro F1")
    assert not told("f1_micro", "the macro F1")
    assert not told(0.5, "of 0.05, 10.5 and 0.51")
    assert not told(20, "of 200 or 0.20 or 20.5")


SILENT = {"cox", "deep_surv", "early_fusion", "gru", "late_fusion", "logistic_regression", "lstm", "mlp", "rnn"}
"""Models whose papers have no settings that are of use here: they survey, or are of other data than records."""


def test_every_model_of_a_paper_says_what_is_published():
    assert {n for n in models.names() if models.facts(n).paper} - set(NAMES) == SILENT


@pytest.mark.parametrize("name", NAMES)
def test_what_is_published_is_of_settings_that_there_are(name):
    thing = models.get(name)
    assert set(models.facts(name).published) == {
        f"{group}.{n}" for group in ("model", "trainer") for n in published(name, group)
    }
    check_parameters(f"model {name!r}", thing, published(name, "model"))
    check_parameters("the trainer", Trainer, published(name, "trainer"))
    Trainer(**published(name, "trainer"))


@pytest.mark.parametrize("name", NAMES)
def test_what_differs_from_what_is_published_is_told(name):
    """Of the model in what is said of the parameter or of the whole, of the trainer in what is said of the whole."""
    thing = models.get(name)
    whole, entries = texts(thing), explained(thing)
    own = {n: p.default for n, p in parameters_of(thing).items()}
    for parameter, value in published(name, "model").items():
        if own[parameter] != value:
            text = f"{entries[parameter]} {whole}"
            assert isinstance(value, bool) or told(value, text), f"model.{parameter}={value} is not told"
            assert not isinstance(value, bool) or parameter in text, f"model.{parameter} is not told"
    if not issubclass(thing, Estimator):
        trainers = trained_with(name)
        for parameter, value in published(name, "trainer").items():
            known = any(trainer[parameter] == value for trainer in trainers)
            assert known or told(value, whole), f"trainer.{parameter}={value} is not told"


@pytest.mark.parametrize("name", [n for n in NAMES if "trainer.optimizer" in models.facts(n).published])
def test_the_published_optimizer_is_the_default(name):
    """Adam and AdamW are one without weight decay."""
    trainer, known = trained_with(name)[0], models.facts(name).published["trainer.optimizer"]
    both = {"adam", "adamw"} if not trainer["weight_decay"] else {known}
    assert trainer["optimizer"] == known or {trainer["optimizer"], known} == both


@pytest.mark.parametrize("name", [n for n in models.names() if models.facts(n).search])
def test_an_optimizer_that_is_searched_begins_with_the_published_one(name):
    """A rate that hangs on it has a range for each."""
    search = models.facts(name).search
    if "trainer.optimizer" in search:
        known = models.facts(name).published["trainer.optimizer"]
        assert known in search["trainer.optimizer"].options
        rate = search.get("trainer.lr")
        assert isinstance(rate, By)
        assert set(rate.ranges) == set(search["trainer.optimizer"].options)
