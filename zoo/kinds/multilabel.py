"""A set of codes a sample: each output is the probability of one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo.kinds._kind import Kind, log_odds, threshold_of
from zoo.metrics.average import Means
from zoo.metrics.checks import as_binary, as_probability, same_shape
from zoo.metrics.classification import Overlap, top_k
from zoo.metrics.drug_sets import InteractionRate, checked_interactions, drugs_per_sample, errors_of_change
from zoo.metrics.metric import Metric, of_family
from zoo.metrics.ranking import Areas
from zoo.metrics.suite import evaluate
from zoo.metrics.threshold import best_on_grid, best_pooled
from zoo.registry import register_kind

if TYPE_CHECKING:
    from torch import Tensor, nn

KS = (5, 10)
AVERAGES = ("micro", "macro", "samples")
POOLED = {"f1": "f1", "f1_micro": "f1", "jaccard_micro": "jaccard", "accuracy_element": "accuracy"}
"""Metrics whose best threshold is exact, by what is counted over all cells."""
GRID = ("f1_macro", "f1_samples", "jaccard_macro", "jaccard_samples")
"""Metrics whose best threshold is sought on a grid."""


@dataclass(frozen=True)
class Sets:
    """Sets of outputs, of which few are in each.

    Attributes:
        offsets: (samples + 1,) int64.
        ids: int64 numbers of outputs.
        outputs: how many there are.
    """

    offsets: np.ndarray
    ids: np.ndarray
    outputs: int

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """(places, outputs) bool."""
        begin, length = self.offsets[places], self.offsets[places + 1] - self.offsets[places]
        row = np.repeat(np.arange(len(places)), length)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        found = np.zeros((len(places), self.outputs), bool)
        found[row, self.ids[np.repeat(begin, length) + nth]] = True
        return found

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]], names: Sequence[str]) -> Sets:
        """From lists of codes, of which those that are no output's name are passed over."""
        place = {name: i for i, name in enumerate(names)}
        sets = [[place[c] for c in codes if c in place] for codes in lists]
        offsets = np.r_[0, np.cumsum([len(s) for s in sets])].astype(np.int64)
        return cls(offsets, np.array([i for s in sets for i in s], np.int64), len(names))

    def all(self) -> np.ndarray:
        """(samples, outputs) bool, those of all samples."""
        return self[np.arange(len(self.offsets) - 1)]


@register_kind("multilabel")
class Multilabel(Kind):
    """A set of codes a sample.

    A label is a list of code strings, as an array a row of bools; a prediction is the probability of each code, the
    main loss the mean binary cross-entropy over codes.

    Options of metrics:
        - ``threshold``: probabilities of at least this are positive predictions (0.5).
        - ``ks``: of ``precision_at_k`` and ``recall_at_k`` (5 and 10).
        - ``missed``: (n, M), true labels that there are no scores for: each counts as one whose probability is 0.
        - ``interactions``: (L, L) bool, which of the labels are drugs that interact; adds the metrics of drug sets.
        - ``before``: (n, L), 1 where a drug was in the set of the patient's visit before, NaN where there was none;
          without it errors of addition and removal are undefined. It may have columns for missed labels too, which
          come last.
    """

    dtype = bool
    sets = True
    tunable = *POOLED, *GRID
    ranked_by = "auprc_samples"
    options = frozenset({"threshold", "ks", "missed", "interactions", "before"})
    of_tasks = ("ks",)
    by_sample = "missed", "before"
    examples = 6

    def labels(self, column: pd.Series, names: Sequence[str]) -> Sets:
        return Sets.of(column, names)

    def facts(self, labels: Sets, places: np.ndarray, names: Sequence[str]) -> dict[str, object]:
        """``labels``: the mean number a sample."""
        return {"labels": round(float(np.diff(labels.offsets)[places].mean()), 4)}

    def problems(self, column: pd.Series, names: Sequence[str] | None) -> Iterator[tuple[str, np.ndarray]]:
        good = [isinstance(codes, list) and all(isinstance(c, str) for c in codes) for codes in column]
        yield "label is no list of code strings", ~np.array(good, bool)
        if names is None:
            yield "label is an empty list, of a task whose labels have no names", ~column.map(bool).to_numpy(bool)
        else:
            unknown = [not set(codes) <= set(names) for codes in column]
            yield "label has a code that is none of the task's labels", np.array(unknown, bool)
        twice = [isinstance(codes, list) and len(set(map(str, codes))) < len(codes) for codes in column]
        yield "label names a code twice", np.array(twice, bool)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype))

    def predict(self, logits: Tensor, model: nn.Module) -> Tensor:
        """(samples, labels) probabilities."""
        return logits.sigmoid()

    def logits_of(self, prediction: np.ndarray) -> np.ndarray:
        return log_odds(prediction)

    def metrics(self, options: Mapping[str, object]) -> list[Metric]:
        found = {m.name: m for average in AVERAGES for m in _averaged(average)}
        first = [found.pop(f"{m}_{average}") for m in ("auroc", "auprc", "f1", "jaccard") for average in AVERAGES]
        return [*first, *found.values(), *ELEMENTS, *_at(options.get("ks", KS)), *OF_DRUGS]

    def ranks(self, options: Mapping[str, object]) -> str:
        """For drug sets that of their papers, as not every model ranks drugs."""
        return "jaccard_samples" if "interactions" in options else self.ranked_by

    def knows(self, metric: str) -> bool:
        return super().knows(metric) or re.fullmatch(r"(precision|recall)_at_[1-9]\d*", metric) is not None

    def checked(self, label, score, options: Mapping[str, object]) -> tuple[np.ndarray, np.ndarray, dict]:
        label, score = as_binary(label), as_probability(score)
        same_shape(label, score)
        interactions, before, missed = (options.get(n) for n in ("interactions", "before", "missed"))
        if missed is not None and np.shape(missed)[1:] != (0,):
            missed = as_binary(missed)
            if len(missed) != len(label):
                raise ValueError(f"{len(label)} labels but {len(missed)} rows of missed ones")
            interactions, before = _widened(interactions, before, label.shape[1], missed.shape[1])
            label, score = np.hstack([label, missed]), np.hstack([score, np.zeros(missed.shape)])
        if interactions is not None:
            interactions = checked_interactions(interactions, label.shape[1])
        return label, score, {"threshold": threshold_of(options), "interactions": interactions, "before": before}

    def yes_or_no(self, label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return label.ravel(), score.ravel()

    def tuned_threshold(self, label: np.ndarray, score: np.ndarray, metric: str) -> float:
        if metric in POOLED:
            return best_pooled(POOLED[metric], label, score)
        subject, how = np.arange(len(label)), {"resamples": 0, "metrics": [metric]}
        return best_on_grid(lambda t: evaluate(type(self), label, score, subject, threshold=t, **how)[metric].value)

    def columns(self, names: Sequence[str], fitted: Mapping[str, Sequence[float]]) -> list[str]:
        """``score_NAME`` of each code."""
        return [f"score_{name}" for name in names]

    def stored(
        self, options: Mapping[str, object], column: pd.Series, names: Sequence[str]
    ) -> tuple[dict[str, object], dict[str, list]]:
        facts = {n: options[n] for n in ("threshold", "ks") if n in options} | {"strict": "missed" in options}
        if "interactions" not in options:
            return facts, {}
        facts["interactions"] = np.argwhere(options["interactions"]).tolist()
        known = np.array([*names, *(_unseen(column, names) if facts["strict"] else ())], object)
        before = [None if np.isnan(row).any() else known[row > 0].tolist() for row in options["before"]]
        return facts, {"before": before}

    def read(self, table: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, dict[str, object]]:
        facts = table.attrs
        options = {n: tuple(facts[n]) if n == "ks" else facts[n] for n in ("threshold", "ks") if n in facts}
        unseen = _unseen(table.label, names) if facts.get("strict") else []
        if unseen:
            options["missed"] = Sets.of(table.label, unseen).all()
        if "interactions" in facts:
            options["interactions"] = np.zeros((len(names), len(names)), bool)
            options["interactions"][tuple(np.array(facts["interactions"], np.int64).reshape(-1, 2).T)] = True
            codes = Sets.of([() if own is None else own for own in table.before], [*names, *unseen]).all()
            options["before"] = np.where(table.before.isna().to_numpy()[:, None], np.nan, codes)
        return Sets.of(table.label, names).all(), options

    def fabricated(self, signs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        concepts = signs.shape[1]
        columns = [signs[:, n % concepts] if concepts else 0 for n in range(noise.shape[1])]
        return np.stack([c + 1.5 * noise[:, n] for n, c in enumerate(columns)], axis=1) > 0

    def another(self, label: Tensor) -> Tensor:
        return ~label

    def loss_of_a_constant(self, label: Tensor) -> float:
        from torch.nn import functional as F

        share = label.double().mean(dim=0)
        return float(F.binary_cross_entropy(share, share))


def _unseen(column: Sequence[Sequence[str]], names: Sequence[str]) -> list[str]:
    """The codes of labels that are no output's name."""
    return sorted(set(chain.from_iterable(column)) - set(names))


def _widened(interactions, before, labels: int, more: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Interactions, and drugs before, with as many more labels, of which nothing is known."""
    if interactions is not None:
        interactions = np.pad(checked_interactions(interactions, labels), (0, more))
    if before is not None and np.shape(before)[1] == labels:
        before = np.pad(np.asarray(before, np.float32), ((0, 0), (0, more)))
        before[np.isnan(before[:, :1]).any(axis=1)] = np.nan
    return interactions, before


def _averaged(average: str) -> list[Metric]:
    over = average == "samples"
    overlap = {f"{m}_{average}": m for m in Overlap.names}
    overlap |= {"f1_macro_of_means": "f1_of_means"} if average == "macro" else {}
    return [
        *of_family(partial(_areas, average), {f"{m}_{average}": m for m in Areas.names}, over_samples=over),
        *of_family(partial(_overlap, average), overlap, over_samples=over),
    ]


def _areas(average: str, label: np.ndarray, score: np.ndarray, _: Mapping) -> Areas:
    return Areas(label, score, average)


def _overlap(average: str, label: np.ndarray, score: np.ndarray, options: Mapping) -> Overlap:
    return Overlap(label, score >= options["threshold"], average)


def _right(label: np.ndarray, score: np.ndarray, options: Mapping) -> Means:
    return Means({"accuracy_element": (label == (score >= options["threshold"])).mean(axis=1)})


ELEMENTS = of_family(_right, ["accuracy_element"], over_samples=True)


def _at(ks: Sequence[int]) -> Iterator[Metric]:
    """Precision and recall at each k."""
    for k in ks:
        names = f"precision_at_{k}", f"recall_at_{k}"
        yield from of_family(lambda y, p, _, k=k: top_k(y, p, k), names, over_samples=True)


def _of_drugs() -> Iterator[Metric]:
    needs = frozenset({"interactions"})

    def rates(label: np.ndarray, score: np.ndarray, options: Mapping) -> InteractionRate:
        return InteractionRate(label, score >= options["threshold"], options["interactions"])

    yield from of_family(rates, ["ddi_rate"], lower_is_better=True, needs=needs)
    yield from of_family(rates, ["ddi_rate_true"], needs=needs)
    yield from of_family(
        lambda y, p, o: drugs_per_sample(y, p >= o["threshold"]),
        ("drugs_per_visit", "drugs_per_visit_true"),
        high=np.inf,
        over_samples=True,
        needs=needs,
    )
    yield from of_family(
        lambda y, p, o: errors_of_change(y, p >= o["threshold"], o["before"]),
        ("addition_error", "removal_error"),
        high=np.inf,
        lower_is_better=True,
        over_samples=True,
        needs=needs,
    )


OF_DRUGS = list(_of_drugs())
