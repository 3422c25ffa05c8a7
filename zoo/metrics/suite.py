"""The metrics that a kind of task gets, with intervals; which these are, the file of the kind says (`zoo.kinds`)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from zoo.metrics.bootstrap import interval, weights
from zoo.metrics.metric import Estimate, Family, Metric
from zoo.progress import progress
from zoo.registry import kind_of

if TYPE_CHECKING:
    from zoo.kinds import Kind


def suite(kind: str | type[Kind], options: Mapping[str, object] | None = None) -> dict[str, Metric]:
    """The metrics of a kind by name, in the order of a report.

    >>> list(suite("regression"))
    ['mae', 'mse', 'mape', 'r2']
    >>> suite("binary")["brier"].lower_is_better, suite("multiclass")["kappa_linear"].limits
    (True, (-1.0, 1.0))

    Args:
        kind: a registered name, or a class.
        options: those that `evaluate` is to be given; there are more metrics with some of them.
    """
    options = options or {}
    found = kind_of(kind).metrics(options)
    return {m.name: m for m in found if m.needs <= options.keys()}


def evaluate(
    kind: str | type[Kind],
    label,
    score,
    subject,
    *,
    resamples: int = 200,
    seed: int = 0,
    metrics: Iterable[str] | None = None,
    average: str = "visit",
    **options,
) -> dict[str, Estimate]:
    """Metrics of a kind with 95 % intervals from a Bayesian bootstrap over subjects (`zoo.metrics.bootstrap`).

    Values equal scikit-learn's, save where a metric is undefined: then the value is None and the reason says
    why. Labels, classes and samples without a positive (for AUROC: or a negative) are left out of averages,
    and the reason counts them. F1 and Jaccard leave out only labels and classes without a positive *and* without a
    prediction: those with false alarms count 0. Over samples, and in precision at k, a sample without a positive
    counts 0.

    >>> found = evaluate("binary", [0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], subject=[1, 1, 2, 3])
    >>> found["auroc"].value, found["f1"].value
    (1.0, 0.8)
    >>> evaluate("binary", [0, 0], [0.1, 0.6], subject=[1, 2])["auroc"].reason
    'undefined: no positive among 2 labels'

    Args:
        kind: the name of a registered kind, such as "binary", or a class of one.
        label: (n,) bool for "binary"; (n,) class numbers for "multiclass"; (n, L) bool for "multilabel"; (n,) numbers
            for "regression"; of another kind as its file says.
        score: probabilities (n,), (n, C) or (n, L); predictions (n,).
        subject: (n,) whose sample it is; a resample gives all samples of a subject the same weight.
        resamples: 0 for values without intervals.
        seed: of the draws.
        metrics: names of those wanted; None for all of the kind.
        average: "visit", or "patient": in means over samples each subject weighs the same, as in the code of the
            papers on medication (mean over the visits of a patient, then over patients).
        **options: those of the kind, which its file explains, such as ``threshold`` of "binary" and "multilabel".

    Raises:
        ValueError: NaN, scores that are no probabilities, misfit shapes, or an option that the kind does not have.
    """
    _check_options(kind, options)
    wanted = _wanted(kind, metrics, options)
    if np.shape(label)[:1] == (0,):
        return dict.fromkeys(wanted, Estimate(None, reason="undefined: no samples"))
    label, score, options = kind_of(kind).checked(label, score, options)
    subject = _subject(subject, len(label))
    found: dict[str, Estimate] = {}
    families = list(_families(wanted))
    with progress("metrics and their intervals") as report:
        for number, (family, own) in enumerate(families):
            report(", ".join(m.name for m in own), share=number / len(families))
            found |= _estimates(family(label, score, options), own, subject, resamples, seed, average)
    return {name: found[name] for name in wanted}


def resampled(
    kind: str | type[Kind],
    label,
    score,
    subject,
    *,
    resamples: int = 200,
    seed: int = 0,
    metrics: Iterable[str] | None = None,
    average: str = "visit",
    **options,
) -> dict[str, np.ndarray]:
    """Metrics under each resample of a Bayesian bootstrap over subjects: (resamples,) each, NaN where undefined.

    Parameters are those of `evaluate`, whose intervals are of these values after a shift (`zoo.metrics.bootstrap`). The
    draws depend on `seed` and the number of subjects alone, so the values of two models on the same samples are paired,
    resample by resample.

    >>> drawn = resampled("binary", [0, 1, 1], [0.2, 0.7, 0.6], [1, 2, 3], resamples=4, metrics=["accuracy"])
    >>> drawn["accuracy"]
    array([1., 1., 1., 1.])
    """
    _check_options(kind, options)
    wanted = _wanted(kind, metrics, options)
    label, score, options = kind_of(kind).checked(label, score, options)
    subject = _subject(subject, len(label))
    found: dict[str, np.ndarray] = {}
    for family, own in _families(wanted):
        values = family(label, score, options)
        share = _share(own, subject, average)
        blocks = [values(weight * share) for weight in weights(subject, resamples, seed)]
        found |= {m.name: np.concatenate([np.zeros(0), *(b[m.own or m.name] for b in blocks)]) for m in own}
    return {name: found[name] for name in wanted}


def _check_options(kind: str | type[Kind], options: Mapping[str, object]) -> None:
    known = kind_of(kind).options
    for name in options:
        if name not in known:
            raise ValueError(f"kind {_named(kind)} has no option {name!r}; it has {', '.join(sorted(known)) or 'none'}")


def _named(kind: str | type[Kind]) -> str:
    return repr(kind if isinstance(kind, str) else kind.__name__)


def _wanted(kind: str | type[Kind], metrics: Iterable[str] | None, options: Mapping[str, object]) -> dict[str, Metric]:
    """The metrics asked for, in the order of a report."""
    known = suite(kind, options)
    if metrics is None:
        return known
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be a list of names, such as [{metrics!r}]")
    metrics = tuple(metrics)
    for name in metrics:
        if name not in known:
            near = difflib.get_close_matches(name, known) or known
            raise ValueError(f"no metric {name!r} for kind {_named(kind)}; did you mean {', '.join(near)}?")
    return {name: metric for name, metric in known.items() if name in metrics}


def _families(metrics: Mapping[str, Metric]) -> Iterator[tuple[Family, list[Metric]]]:
    """Families, and those of the metrics that each computes."""
    found: dict[int, list[Metric]] = {}
    for metric in metrics.values():
        found.setdefault(id(metric.family), []).append(metric)
    return ((own[0].family, own) for own in found.values())


def _share(metrics: list[Metric], subject: np.ndarray, average: str) -> np.ndarray:
    """(n,) what a sample weighs in a mean over samples."""
    if average not in ("visit", "patient"):
        raise ValueError(f"average must be visit or patient, not {average!r}")
    if average == "visit" or not metrics[0].over_samples:
        return np.ones(len(subject))
    _, place, count = np.unique(subject, return_inverse=True, return_counts=True)
    return 1 / count[place]


def _subject(subject, samples: int) -> np.ndarray:
    subject = np.asarray(subject)
    if subject.shape != (samples,):
        raise ValueError(f"subject has shape {subject.shape}, expected one for each of {samples} samples")
    return subject


def _estimates(values, metrics: list[Metric], subject, resamples: int, seed: int, average: str) -> dict[str, Estimate]:
    """The metrics of one family: values, and intervals from the same function under resampled weights."""
    share = _share(metrics, subject, average)
    point = values(share[None])
    single = len(np.unique(subject)) == 1
    blocks = [values(weight * share) for weight in weights(subject, 0 if single else resamples, seed)]
    found = {}
    for metric in metrics:
        own = metric.own or metric.name
        value, reason = float(point[own][0]), values.reasons.get(own)
        if np.isnan(value):
            found[metric.name] = Estimate(None, reason=reason or "undefined")
            continue
        resampled = np.concatenate([block[own] for block in blocks]) if blocks else np.empty(0)
        remark = "no interval: one subject" if single and resamples else None
        reason = "; ".join(filter(None, (reason, remark))) or None
        found[metric.name] = Estimate(value, *interval(resampled, value, metric.limits), reason)
    return found
