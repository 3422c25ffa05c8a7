"""One of several classes a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo.kinds._kind import FLOOR, Kind, Labels, all_same
from zoo.metrics.average import Means
from zoo.metrics.checks import as_class, as_probability
from zoo.metrics.classification import Kappa, Overlap, one_hot
from zoo.metrics.metric import Metric, of_family
from zoo.metrics.ranking import Areas
from zoo.registry import register_kind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.data import Spec


@register_kind("multiclass")
class Multiclass(Kind):
    """One of several classes a sample, which the task names.

    A label is the number of a class, a prediction the probability of each, the main loss the cross-entropy.
    """

    dtype = np.int64
    exclusive = True
    ranked_by = "auroc_macro"
    examples = 3

    def facts(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, object]:
        """``classes``: how many samples are of each."""
        return {"classes": {name: int(of.sum()) for name, of in self.groups(labels, places, names).items()}}

    def groups(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: labels[places] == i for i, name in enumerate(names)}

    def is_constant(self, labels: Labels, places: np.ndarray) -> bool:
        return all_same(labels[places])

    def problems(self, column: pd.Series, names: Sequence[str] | None) -> Iterator[tuple[str, np.ndarray]]:
        everywhere = np.ones(len(column), bool)
        if not names:
            yield "a multiclass task names its classes in labels", everywhere
        elif column.dtype.kind != "i":
            yield f"label of a multiclass task is {column.dtype}", everywhere
        else:
            yield "class number is none of the labels", ~column.between(0, len(names) - 1).to_numpy(bool)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.cross_entropy(logits, label)

    def predict(self, logits: Tensor, model: nn.Module) -> Tensor:
        """(samples, classes) probabilities."""
        return logits.softmax(-1)

    def logits_of(self, prediction: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(prediction, FLOOR))

    def prior(self, label: np.ndarray, outputs: int) -> np.ndarray:
        return np.bincount(label, minlength=outputs) / len(label)

    def metrics(self, options: Mapping[str, object]) -> list[Metric]:
        return METRICS

    def checked(self, label, score, options: Mapping[str, object]) -> tuple[np.ndarray, np.ndarray, dict]:
        score = as_probability(score)
        label = as_class(label, score.shape[1])
        if len(label) != len(score):
            raise ValueError(f"{len(label)} labels but {len(score)} rows of scores")
        return label, score, dict(options)

    def columns(self, names: Sequence[str], fitted: Mapping[str, Sequence[float]]) -> list[str]:
        """``score_NAME`` of each class."""
        return [f"score_{name}" for name in names]

    def fabricated(self, signs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return np.digitize(signs.sum(axis=1) + noise[:, 0], [-0.8, 0.8])

    def another(self, label: Tensor) -> Tensor:
        return (label + 1) % self.examples

    def loss_of_a_constant(self, label: Tensor) -> float:
        import torch

        share = torch.bincount(label).double() / len(label)
        return float(torch.special.entr(share).sum())

    def misfits(self, prediction: Tensor, spec: Spec) -> Iterator[str]:
        problems = list(super().misfits(prediction, spec))
        yield from problems
        if not problems and not bool(((prediction.double().sum(-1) - 1).abs() < 1e-4).all()):
            yield "predictions do not add up to 1 over classes"


def _overlap(average: str, label: np.ndarray, score: np.ndarray, _: Mapping) -> Overlap:
    classes = score.shape[1]
    return Overlap(one_hot(label, classes), one_hot(score.argmax(axis=1), classes), average, "classes")


METRICS = [
    *of_family(partial(_overlap, "macro"), {"f1_macro": "f1"}),
    *of_family(partial(_overlap, "weighted"), {"f1_weighted": "f1"}),
    *of_family(lambda y, p, _: Areas(one_hot(y, p.shape[1]), p, "macro", "classes"), {"auroc_macro": "auroc"}),
    *of_family(lambda y, p, _: Means({"accuracy": y == p.argmax(axis=1)}), ["accuracy"]),
    *of_family(lambda y, p, _: Kappa(y, p.argmax(axis=1), p.shape[1]), ["kappa_linear"], low=-1.0),
]
