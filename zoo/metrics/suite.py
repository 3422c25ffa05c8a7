"""The metrics that a task kind gets, with intervals.

| kind | metrics |
| --- | --- |
| binary | `auroc`, `auprc`, `recall_at_precision_80`, `f1`, `accuracy`, `sensitivity`, `specificity`, `brier`, `ece` |
| multiclass | `f1_macro`, `f1_weighted`, `auroc_macro` (one against the rest), `accuracy`, `kappa_linear` |
| multilabel | `auroc`, `auprc`, `f1`, `jaccard`, each `_micro`, `_macro`, `_samples` |
| multilabel | `f1_macro_of_means`, `accuracy_element`, and for each k `precision_at_k`, `recall_at_k` |
| multilabel, of drugs | `ddi_rate`, `ddi_rate_true`, `drugs_per_visit`, `drugs_per_visit_true` |
| multilabel, of drugs | `addition_error`, `removal_error` |
| regression | `mae`, `mse`, `mape`, `r2` |
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from zoo.metrics.average import Means
from zoo.metrics.bootstrap import interval, weights
from zoo.metrics.calibration import CalibrationError, squared_error
from zoo.metrics.checks import as_binary, as_class, as_finite, as_probability, same_shape
from zoo.metrics.classification import Kappa, Overlap, one_hot, right, top_k
from zoo.metrics.drug_sets import InteractionRate, checked_interactions, drugs_per_sample, errors_of_change
from zoo.metrics.ranking import Areas, RecallAtPrecision
from zoo.metrics.regression import Determination, errors
from zoo.progress import progress

KINDS = ("binary", "multiclass", "multilabel", "regression")
OF_CHANGES = ("addition_error", "removal_error")
OF_DRUGS = ("ddi_rate", "ddi_rate_true", "drugs_per_visit", "drugs_per_visit_true", *OF_CHANGES)
LOWER_IS_BETTER = frozenset({"brier", "ece", "mae", "mse", "mape", "ddi_rate", *OF_CHANGES})
UNBOUNDED = frozenset({"mae", "mse", "mape", "drugs_per_visit", "drugs_per_visit_true", *OF_CHANGES})
AVERAGES = ("micro", "macro", "samples")
RANKED_BY = {"binary": "auroc", "multiclass": "auroc_macro", "multilabel": "auprc_samples", "regression": "mae"}


@dataclass(frozen=True)
class Metric:
    """A metric's value with its 95 % interval; None where there is none, and then `reason` says why.

    `reason` also tells what was left out of a value that is there.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict:
        """As it stands in `result.json`.

        >>> Metric(0.5, 0.25, 0.75).to_dict()
        {'value': 0.5, 'low': 0.25, 'high': 0.75, 'reason': None}
        """
        return asdict(self)


@dataclass(frozen=True)
class Group:
    """Metrics that are computed together: public name to the family's own, and how to make the family.

    `over_samples` says whether they are means of values that each sample has.
    """

    names: dict[str, str]
    make: Callable
    over_samples: bool = False


def metric_names(kind: str, ks: Iterable[int] = (5, 10), drugs: bool = False) -> tuple[str, ...]:
    """Names of the metrics of a kind, in the order of a report; with `drugs` those of drug sets too.

    >>> metric_names("regression")
    ('mae', 'mse', 'mape', 'r2')
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    if kind == "binary":
        ranked = "auroc", "auprc", "recall_at_precision_80"
        return *ranked, "f1", "accuracy", "sensitivity", "specificity", "brier", "ece"
    if kind == "multiclass":
        return "f1_macro", "f1_weighted", "auroc_macro", "accuracy", "kappa_linear"
    if kind == "regression":
        return "mae", "mse", "mape", "r2"
    averaged = [f"{m}_{average}" for m in ("auroc", "auprc", "f1", "jaccard") for average in AVERAGES]
    top = [f"{m}_at_{k}" for k in ks for m in ("precision", "recall")]
    return *averaged, "f1_macro_of_means", "accuracy_element", *top, *(OF_DRUGS if drugs else ())


def higher_is_better(name: str) -> bool:
    """Whether a metric of this package grows with quality.

    >>> higher_is_better("auroc_macro"), higher_is_better("brier")
    (True, False)
    """
    return name not in LOWER_IS_BETTER


def ranked_by(kind: str, drugs: bool = False) -> str:
    """The metric that models are compared by; for drug sets that of their papers, as not every model ranks drugs.

    >>> ranked_by("binary"), ranked_by("multilabel", drugs=True)
    ('auroc', 'jaccard_samples')
    """
    return "jaccard_samples" if drugs else RANKED_BY[kind]


def limits(name: str) -> tuple[float, float]:
    """The lowest and the highest value that a metric of this package can have.

    >>> limits("auroc"), limits("kappa_linear"), limits("mae"), limits("r2")
    ((0.0, 1.0), (-1.0, 1.0), (0.0, inf), (-inf, 1.0))
    """
    low = {"r2": -np.inf, "kappa_linear": -1.0}.get(name, 0.0)
    return low, np.inf if name in UNBOUNDED else 1.0


def evaluate(
    kind: str,
    label,
    score,
    subject,
    *,
    resamples: int = 200,
    seed: int = 0,
    threshold: float = 0.5,
    metrics: Iterable[str] | None = None,
    ks: Iterable[int] = (5, 10),
    interactions=None,
    before=None,
    missed=None,
    average: str = "visit",
) -> dict[str, Metric]:
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
        kind: "binary", "multiclass", "multilabel" or "regression".
        label: (n,) bool; (n,) class numbers; (n, L) bool; (n,) numbers.
        score: probabilities (n,), (n, C) or (n, L); predictions (n,).
        subject: (n,) whose sample it is; a resample gives all samples of a subject the same weight.
        resamples: 0 for values without intervals.
        seed: of the draws.
        threshold: probabilities of at least this are positive predictions (binary, multilabel).
        metrics: names of those wanted; None for all of the kind.
        ks: of `precision_at_k` and `recall_at_k`.
        interactions: (L, L) bool, which of the labels are drugs that interact; adds the metrics of drug sets.
        before: (n, L), 1 where a drug was in the set of the patient's visit before, NaN where there was none; without
            it errors of addition and removal are undefined.
        missed: (n, M), true labels that there are no scores for: each counts as one whose probability is 0. ``before``
            may have columns for them too, after those of the scores.
        average: "visit", or "patient": in means over samples each subject weighs the same, as in the code of the
            papers on medication (mean over the visits of a patient, then over patients).

    Raises:
        ValueError: NaN, scores that are no probabilities, or misfit shapes.
    """
    ks = tuple(ks)
    wanted = _wanted(kind, metrics, ks, interactions)
    if np.shape(label)[:1] == (0,):
        return dict.fromkeys(wanted, Metric(None, reason="undefined: no samples"))
    label, score = _checked(kind, label, score)
    label, score, interactions, before = _with_missed(kind, label, score, interactions, before, missed)
    subject = _subject(subject, len(label))
    found: dict[str, Metric] = {}
    groups = [g for g in _groups(kind, threshold, ks, interactions, before) if not g.names.keys().isdisjoint(wanted)]
    with progress("metrics and their intervals") as report:
        for number, group in enumerate(groups):
            report(", ".join(group.names), share=number / len(groups))
            family = group.make(label, score)
            share = _share(group, subject, average)
            found |= _metrics(family, group.names, subject, resamples, seed, share)
    return {name: found[name] for name in wanted}


def resampled(
    kind: str,
    label,
    score,
    subject,
    *,
    resamples: int = 200,
    seed: int = 0,
    threshold: float = 0.5,
    metrics: Iterable[str] | None = None,
    ks: Iterable[int] = (5, 10),
    interactions=None,
    before=None,
    missed=None,
    average: str = "visit",
) -> dict[str, np.ndarray]:
    """Metrics under each resample of a Bayesian bootstrap over subjects: (resamples,) each, NaN where undefined.

    Parameters are those of `evaluate`, whose intervals are of these values after a shift (`zoo.metrics.bootstrap`). The
    draws depend on `seed` and the number of subjects alone, so the values of two models on the same samples are paired,
    resample by resample.

    >>> drawn = resampled("binary", [0, 1, 1], [0.2, 0.7, 0.6], [1, 2, 3], resamples=4, metrics=["accuracy"])
    >>> drawn["accuracy"]
    array([1., 1., 1., 1.])
    """
    ks = tuple(ks)
    wanted = _wanted(kind, metrics, ks, interactions)
    label, score = _checked(kind, label, score)
    label, score, interactions, before = _with_missed(kind, label, score, interactions, before, missed)
    subject = _subject(subject, len(label))
    found: dict[str, np.ndarray] = {}
    for group in _groups(kind, threshold, ks, interactions, before):
        if not group.names.keys().isdisjoint(wanted):
            family = group.make(label, score)
            share = _share(group, subject, average)
            blocks = [family(weight * share) for weight in weights(subject, resamples, seed)]
            found |= {n: np.concatenate([np.zeros(0), *(b[own] for b in blocks)]) for n, own in group.names.items()}
    return {name: found[name] for name in wanted}


def _share(group: Group, subject: np.ndarray, average: str) -> np.ndarray:
    """(n,) what a sample weighs in a mean over samples."""
    if average not in ("visit", "patient"):
        raise ValueError(f"average must be visit or patient, not {average!r}")
    if average == "visit" or not group.over_samples:
        return np.ones(len(subject))
    _, place, count = np.unique(subject, return_inverse=True, return_counts=True)
    return 1 / count[place]


def _wanted(kind: str, metrics: Iterable[str] | None, ks: tuple[int, ...], interactions) -> tuple[str, ...]:
    """The metrics asked for, in the order of a report."""
    if interactions is not None and kind != "multilabel":
        raise ValueError(f"interactions are of the labels of a multilabel task, not of a {kind} one")
    known = metric_names(kind, ks, interactions is not None)
    if metrics is None:
        return known
    if isinstance(metrics, str):
        raise ValueError(f"metrics must be a list of names, such as [{metrics!r}]")
    metrics = tuple(metrics)
    for name in metrics:
        if name not in known:
            near = difflib.get_close_matches(name, known) or known
            raise ValueError(f"no metric {name!r} for kind {kind!r}; did you mean {', '.join(near)}?")
    return tuple(name for name in known if name in metrics)


def _checked(kind: str, label, score) -> tuple[np.ndarray, np.ndarray]:
    """Label and score as arrays of the shapes that `evaluate` promises."""
    if kind == "multiclass":
        score = as_probability(score)
        label = as_class(label, score.shape[1])
        if len(label) != len(score):
            raise ValueError(f"{len(label)} labels but {len(score)} rows of scores")
        return label, score
    label = as_finite(label, "label") if kind == "regression" else as_binary(label)
    score = as_finite(score) if kind == "regression" else as_probability(score)
    same_shape(label, score)
    if kind == "multilabel":
        return label, score
    if label.shape[1] != 1:
        raise ValueError(f"{kind} takes labels of shape (n,), not {label.shape}")
    return label[:, 0], score[:, 0]


def _with_missed(kind: str, label, score, interactions, before, missed) -> tuple:
    """Label, score, interactions and before, widened by the labels without scores."""
    if missed is None or np.shape(missed)[1:] == (0,):
        return label, score, interactions, before
    if kind != "multilabel":
        raise ValueError(f"missed are labels of a multilabel task, not of a {kind} one")
    missed = as_binary(missed)
    if len(missed) != len(label):
        raise ValueError(f"{len(label)} labels but {len(missed)} rows of missed ones")
    more = missed.shape[1]
    if interactions is not None:
        interactions = np.pad(checked_interactions(interactions, label.shape[1]), (0, more))
    if before is not None and np.shape(before)[1] == label.shape[1]:
        before = np.pad(np.asarray(before, np.float32), ((0, 0), (0, more)))
        before[np.isnan(before[:, :1]).any(axis=1)] = np.nan
    return np.hstack([label, missed]), np.hstack([score, np.zeros(missed.shape)]), interactions, before


def _subject(subject, samples: int) -> np.ndarray:
    subject = np.asarray(subject)
    if subject.shape != (samples,):
        raise ValueError(f"subject has shape {subject.shape}, expected one for each of {samples} samples")
    return subject


def _groups(kind: str, threshold: float, ks: tuple[int, ...], interactions=None, before=None) -> Iterator[Group]:
    """The groups of metrics of a kind."""
    if kind == "binary":
        return _binary(threshold)
    if kind == "multiclass":
        return _multiclass()
    if kind == "multilabel":
        return _multilabel(threshold, ks, interactions, before)
    return iter([Group(_own("mae", "mse", "mape"), errors), Group(_own("r2"), Determination)])


def _own(*names: str) -> dict[str, str]:
    return dict(zip(names, names, strict=True))


def _binary(threshold: float) -> Iterator[Group]:
    yield Group(_own("auroc", "auprc"), lambda y, p: Areas(y[:, None], p[:, None]))
    yield Group(_own("recall_at_precision_80"), RecallAtPrecision)
    yield Group(_own("f1"), lambda y, p: Overlap(y[:, None], p[:, None] >= threshold, "micro"))
    yield Group(_own("accuracy", "sensitivity", "specificity"), lambda y, p: right(y, p >= threshold))
    yield Group(_own("brier"), squared_error)
    yield Group(_own("ece"), CalibrationError)


def _multiclass() -> Iterator[Group]:
    def overlap(average):
        def make(y, p):
            classes = p.shape[1]
            return Overlap(one_hot(y, classes), one_hot(p.argmax(axis=1), classes), average, "classes")

        return make

    yield Group({"f1_macro": "f1"}, overlap("macro"))
    yield Group({"f1_weighted": "f1"}, overlap("weighted"))
    yield Group({"auroc_macro": "auroc"}, lambda y, p: Areas(one_hot(y, p.shape[1]), p, "macro", "classes"))
    yield Group(_own("accuracy"), lambda y, p: Means({"accuracy": y == p.argmax(axis=1)}))
    yield Group(_own("kappa_linear"), lambda y, p: Kappa(y, p.argmax(axis=1), p.shape[1]))


def _multilabel(threshold: float, ks: tuple[int, ...], interactions, before) -> Iterator[Group]:
    for average in AVERAGES:
        of_samples = average == "samples"
        areas = {f"{m}_{average}": m for m in Areas.names}
        yield Group(areas, lambda y, p, average=average: Areas(y, p, average), of_samples)
        overlap = {f"{m}_{average}": m for m in Overlap.names}
        overlap |= {"f1_macro_of_means": "f1_of_means"} if average == "macro" else {}
        yield Group(overlap, lambda y, p, average=average: Overlap(y, p >= threshold, average), of_samples)
    same = "accuracy_element"
    yield Group(_own(same), lambda y, p: Means({same: (y == (p >= threshold)).mean(axis=1)}), True)
    for k in ks:
        yield Group(_own(f"precision_at_{k}", f"recall_at_{k}"), lambda y, p, k=k: top_k(y, p, k), True)
    if interactions is not None:
        rates = {n: n for n in InteractionRate.names}
        yield Group(
            rates,
            lambda y, p: InteractionRate(y, p >= threshold, checked_interactions(interactions, y.shape[1])),
        )
        yield Group(
            _own("drugs_per_visit", "drugs_per_visit_true"), lambda y, p: drugs_per_sample(y, p >= threshold), True
        )
        yield Group(_own(*OF_CHANGES), lambda y, p: errors_of_change(y, p >= threshold, before), True)


def _metrics(family, names: dict[str, str], subject, resamples: int, seed: int, share) -> dict[str, Metric]:
    """The metrics of one family: values, and intervals from the same function under resampled weights."""
    point = family(share[None])
    single = len(np.unique(subject)) == 1
    blocks = [family(weight * share) for weight in weights(subject, 0 if single else resamples, seed)]
    found = {}
    for name, own in names.items():
        value, reason = float(point[own][0]), family.reasons.get(own)
        if np.isnan(value):
            found[name] = Metric(None, reason=reason or "undefined")
            continue
        resampled = np.concatenate([block[own] for block in blocks]) if blocks else np.empty(0)
        remark = "no interval: one subject" if single and resamples else None
        reason = "; ".join(filter(None, (reason, remark))) or None
        found[name] = Metric(value, *interval(resampled, value, limits(name)), reason)
    return found
