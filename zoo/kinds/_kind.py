"""What every kind of task is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import pandas as pd

from zoo.metrics.metric import Metric
from zoo.registry import kinds

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.data import Spec

FLOOR = 1e-6
"""The least probability that a logit stands for, and one less the greatest: logits stay finite."""


class Labels(Protocol):
    """The labels of all samples: ``labels[places]`` gives those of some, as they stand in a `Batch`."""

    def __getitem__(self, places: np.ndarray) -> np.ndarray: ...


class Kind:
    """A kind of task. A subclass is registered under a name, is made without arguments, and keeps nothing.

    The rest of `zoo` asks a kind what it has to know, and never for its name. A label is what stands in the ``label``
    column of a cohort; as an array it goes into metrics, and as a tensor into a `Batch`.

    Attributes:
        dtype: of an array of labels.
        probabilities: whether predictions are probabilities.
        exclusive: whether outputs are classes, of which one is true.
        sets: whether a label is a set of codes, each output being a yes or no of its own.
        balanced: whether a label is a yes or no, so that as many of each can be trained on.
        tunable: the metrics that a threshold can be tuned for, from which on a probability counts as a prediction.
        ranked_by: the name of the metric that models are compared by.
        options: what `zoo.metrics.evaluate` takes for it.
        of_tasks: those of the options that an attribute of the task says.
        by_sample: those of the options that are arrays with a row for each sample.
        fits: the kit takes eight samples for fitted where the loss is below this part of a constant's.
        examples: how many outputs a fabricated task has.
    """

    registered_name: ClassVar[str]
    dtype: ClassVar[type]
    probabilities: ClassVar[bool] = True
    exclusive: ClassVar[bool] = False
    sets: ClassVar[bool] = False
    balanced: ClassVar[bool] = False
    tunable: ClassVar[tuple[str, ...]] = ()
    ranked_by: ClassVar[str]
    options: ClassVar[frozenset[str]] = frozenset()
    of_tasks: ClassVar[tuple[str, ...]] = ()
    by_sample: ClassVar[tuple[str, ...]] = ()
    fits: ClassVar[float] = 0.25
    examples: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return kinds.entry(type(self)).name

    # Labels

    def labels(self, column: pd.Series, names: Sequence[str]) -> Labels:
        """The labels of samples, from the column of a cohort.

        Args:
            column: one a sample.
            names: of the outputs.
        """
        return column.to_numpy().astype(self.dtype)

    def fitted(self, labels: Labels, train: np.ndarray) -> dict[str, list[float]]:
        """What must be known of training labels before a model is made; ``spec.fitted``.

        Args:
            labels: of all samples; those of many are taken only where they are needed, as label sets are large.
            train: the places of the training samples.
        """
        return {}

    def facts(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, object]:
        """What a result says of the labels of the samples at some places."""
        raise NotImplementedError

    def groups(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """(places,) bool for each outcome that samples are grouped by in a table, in order; none where there are none.

        Args:
            labels: of all samples.
            places: of those that are grouped.
            names: of the outputs.
        """
        return {}

    def is_constant(self, labels: Labels, places: np.ndarray) -> bool:
        """Whether the samples at some places have one label, so that little can be learned or told from them."""
        return False

    def problems(self, column: pd.Series, names: Sequence[str] | None) -> Iterator[tuple[str, np.ndarray]]:
        """What is wrong with labels of a cohort, and (samples,) of which samples.

        Args:
            column: one label a sample.
            names: of the classes or labels, where the task says them.
        """
        raise NotImplementedError

    # Models

    def outputs(self, names: Sequence[str]) -> int:
        """How many logits a sample has."""
        return len(names)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """The main loss, a scalar.

        Args:
            logits: (samples, outputs).
            label: those of the batch.
        """
        raise NotImplementedError

    def predict(self, logits: Tensor, model: nn.Module) -> Tensor:
        """What is predicted, from logits (samples, outputs).

        Args:
            logits: of a model.
            model: which may have kept what `finish` found.
        """
        raise NotImplementedError

    def logits_of(self, prediction: np.ndarray) -> np.ndarray:
        """The logits that give a prediction (..., outputs) back."""
        raise NotImplementedError

    def prior(self, label: np.ndarray, outputs: int) -> np.ndarray:
        """(outputs,) what is best predicted for all alike, given training labels."""
        return label.reshape(len(label), -1).mean(axis=0, dtype=np.float64)

    def begin(self, model: nn.Module, fitted: Mapping[str, Sequence[float]]) -> None:
        """Give a new model the buffers that `finish` sets."""

    def finish(self, model: nn.Module, logits: np.ndarray, label: np.ndarray) -> None:
        """Set what prediction needs besides weights, given logits and labels of the training split.

        It is called once, when a network was trained; `finishes` says whether it does anything.
        """

    @property
    def finishes(self) -> bool:
        """Whether there is something to set when a network was trained."""
        return type(self).finish is not Kind.finish

    # Metrics

    def metrics(self, options: Mapping[str, object]) -> list[Metric]:
        """All metrics of the kind, in the order of a report, also those that need other options than these."""
        raise NotImplementedError

    def ranks(self, options: Mapping[str, object]) -> str:
        """The name of the metric that models are compared by, given the options of `zoo.metrics.evaluate`."""
        return self.ranked_by

    def knows(self, metric: str) -> bool:
        """Whether some task of the kind has a metric of that name."""
        return any(m.name == metric for m in self.metrics({}))

    def checked(self, label, score, options: Mapping[str, object]) -> tuple[np.ndarray, np.ndarray, dict]:
        """Labels, scores and options as the families of the metrics take them.

        Raises:
            ValueError: they do not fit the kind or one another.
        """
        raise NotImplementedError

    def option(self, labels: Labels, train: np.ndarray, fitted: Mapping[str, Sequence[float]]) -> dict[str, object]:
        """Options of `zoo.metrics.evaluate` that hang on the labels of the training split; see `fitted`."""
        return {}

    def yes_or_no(self, label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """All outcomes that are a yes or a no, (n,) bool, and their probabilities (n,); None where there are none."""
        return None

    @property
    def thresholded(self) -> bool:
        """Whether a probability from some threshold on counts as a prediction."""
        return bool(self.tunable)

    def tuned_threshold(self, label: np.ndarray, score: np.ndarray, metric: str) -> float:
        """The best threshold for one of the `tunable` metrics on samples with a positive."""
        raise NotImplementedError

    # Predictions in tables

    def columns(self, names: Sequence[str], fitted: Mapping[str, Sequence[float]]) -> list[str]:
        """The names of the columns that predictions stand in; ``score`` where a prediction is one number."""
        return ["score"]

    def stored(
        self, options: Mapping[str, object], column: pd.Series, names: Sequence[str]
    ) -> tuple[dict[str, object], dict[str, list]]:
        """How options of metrics are kept beside predictions: facts for JSON, and columns."""
        return {n: v for n, v in options.items() if n not in self.by_sample}, {}

    def read(self, table: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, dict[str, object]]:
        """The labels (samples, ...) and the options of metrics of a table that `stored` went into.

        Args:
            table: with ``label`` and what was stored.
            names: of the outputs.
        """
        return np.asarray(table.label), {n: v for n, v in table.attrs.items() if n in self.options}

    # What the conformance kit needs

    def fabricated(self, signs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Labels that follow signs of a patient's state.

        Args:
            signs: (samples, concepts) of -1 and 1.
            noise: (samples, examples) between -1 and 1.
        """
        raise NotImplementedError

    def another(self, label: Tensor) -> Tensor:
        """Other labels in the place of these."""
        raise NotImplementedError

    def loss_of_a_constant(self, label: Tensor) -> float:
        """The least main loss with the same logits for all samples."""
        raise NotImplementedError

    def misfits(self, prediction: Tensor, spec: Spec) -> Iterator[str]:
        """What is wrong with predictions (samples, ...) of a model."""
        names = self.columns(spec.labels, spec.fitted)
        shape = prediction.shape[0], *([len(names)] if names != ["score"] else [])
        if tuple(prediction.shape) != shape:
            yield f"predictions are {tuple(prediction.shape)}, not {shape}"
        elif self.probabilities and not bool(((prediction >= 0) & (prediction <= 1)).all()):
            yield "predictions are no probabilities"


def all_same(label: np.ndarray) -> bool:
    """Whether there are labels, and they are equal."""
    return len(label) > 0 and bool((label == label[0]).all())


def one_column(label: np.ndarray, score: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1) labels and scores as (n,)."""
    if label.shape[1] != 1:
        raise ValueError(f"{kind} takes labels of shape (n,), not {label.shape}")
    return label[:, 0], score[:, 0]


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Logarithms of odds, finite for probabilities of 0 and 1 too.

    >>> log_odds(np.array([0.5, 1.0])).round(2).tolist()
    [0.0, 13.82]
    """
    clipped = np.clip(probability, FLOOR, 1 - FLOOR)
    return np.log(clipped) - np.log1p(-clipped)


def threshold_of(options: Mapping[str, object]) -> float:
    """The threshold that is asked for, 0.5 by default: probabilities of at least this are positive predictions."""
    return float(options.get("threshold", 0.5))
