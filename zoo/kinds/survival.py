"""The time to an event that not everybody is followed up to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from zoo.kinds._kind import Kind, Labels
from zoo.metrics.metric import Metric, of_family
from zoo.metrics.survival import Concordance, Curve, as_survival, as_times, integrated_brier, uno
from zoo.registry import UserError, register_kind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.data import Spec

TIMES = 24
"""At how many times survival is predicted, where so many events are known in training."""


@register_kind("survival")
class Survival(Kind):
    """The time to an event, or to the end of follow-up where it had not come about by then.

    A label is a pair of numbers (time, event): the time from the prediction, above 0, and 1 for an event at that time,
    0 for an end of follow-up. A prediction is the probability S(t) of no event by each of ``spec.times``, quantiles of
    the times of training events, whatever a model computes. Times have the task's unit.

    The main loss takes one logit, the logarithm of a relative hazard (Cox, JRSS B 34, 1972): the negative partial
    log-likelihood within a batch, for ties that of Efron (JASA 72, 1977), a mean over events. Then

        S(t) = exp(-H(t) exp(logit))

    with Breslow's cumulative hazard H (Biometrics 30, 1974) of the training split, which is found when training is
    over. Until then it is that of all training samples alike, which changes no order of risks. A model with another
    head overrides ``loss`` and ``predict``.

    Options of metrics, all of the training split:
        - ``times``: (T,) at which survival is predicted.
        - ``censoring``: ``times`` and ``values`` of the curve of being followed up for longer.

    The risk that concordances compare is 1 - S at the last of the times, and Uno's counts events before that.
    """

    dtype = np.float32
    ranked_by = "c_index"
    options = frozenset({"times", "censoring"})
    fits = 0.5

    def labels(self, column: pd.Series, names: Sequence[str]) -> np.ndarray:
        """(samples, 2) float32."""
        return np.array(column.tolist(), self.dtype).reshape(-1, 2)

    def fitted(self, labels: Labels, train: np.ndarray) -> dict[str, list[float]]:
        """``times``, and ``hazard``: the logarithm of the cumulative hazard at each, of all training samples alike."""
        if not len(train):
            return {}
        time, event = as_times(labels[train])
        if not event.any():
            raise UserError("no training sample has the event, so that nothing can be learned of when it comes.")
        times = np.unique(np.quantile(time[event], np.linspace(0, 1, TIMES), method="inverted_cdf"))
        return {"times": times.tolist(), "hazard": log_hazard(np.zeros(len(time)), time, event, times).tolist()}

    def facts(self, labels: Labels, places: np.ndarray, names: Sequence[str]) -> dict[str, object]:
        """``events``: how many; ``time``: the mean of all times."""
        time, event = labels[places].T
        return {"events": int(event.sum()), "time": round(float(time.mean(dtype=np.float64)), 4)}

    def problems(self, column: pd.Series, names: Sequence[str] | None) -> Iterator[tuple[str, np.ndarray]]:
        pair = np.array([isinstance(v, tuple) and len(v) == 2 for v in column], bool)
        yield "label is no tuple (time, event)", ~pair
        pairs = np.array([v if good else (np.nan, np.nan) for v, good in zip(column, pair, strict=True)], np.float64)
        time, event = pairs.reshape(-1, 2).T
        yield "time is no finite number above 0", pair & ~(np.isfinite(time) & (time > 0))
        yield "event is neither 0 nor 1", pair & ~np.isin(event, (0, 1))

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        return partial_loss(logits[:, 0], label)

    def begin(self, model: nn.Module, fitted: Mapping[str, Sequence[float]]) -> None:
        import torch

        model.register_buffer("log_hazard", torch.tensor(fitted.get("hazard", []), dtype=torch.float32))

    def finish(self, model: nn.Module, logits: np.ndarray, label: np.ndarray) -> None:
        import torch

        times = np.array(model.spec.fitted["times"])
        found = log_hazard(logits[:, 0].astype(np.float64), *as_times(label), times)
        model.log_hazard.copy_(torch.from_numpy(found))

    def predict(self, logits: Tensor, model: nn.Module) -> Tensor:
        """(samples, times) probabilities of no event by then."""
        return (-(logits[:, :1] + model.log_hazard).exp()).exp()

    def metrics(self, options: Mapping[str, object]) -> list[Metric]:
        return METRICS

    def checked(self, label, score, options: Mapping[str, object]) -> tuple[np.ndarray, np.ndarray, dict]:
        if missing := self.options - options.keys():
            raise ValueError(f"kind 'survival' needs {' and '.join(sorted(missing))}, of the training split")
        times, curve = np.asarray(options["times"], np.float64), options["censoring"]
        score, (time, event) = as_survival(score, times), as_times(label)
        if len(time) != len(score):
            raise ValueError(f"{len(time)} labels but {len(score)} rows of scores")
        censoring = Curve(np.asarray(curve["times"]), np.asarray(curve["values"]))
        return np.column_stack([time, event]), score, {"times": times, "censoring": censoring}

    def option(self, labels: Labels, train: np.ndarray, fitted: Mapping[str, Sequence[float]]) -> dict[str, object]:
        if not fitted:
            return {}
        curve = Curve.of_censoring(*as_times(labels[train]))
        return {"times": fitted["times"], "censoring": {"times": curve.times.tolist(), "values": curve.values.tolist()}}

    def columns(self, names: Sequence[str], fitted: Mapping[str, Sequence[float]]) -> list[str]:
        """``score_TIME`` of each time."""
        return [f"score_{time:.9g}" for time in fitted["times"]]

    def read(self, table: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, dict[str, object]]:
        return self.labels(table.label, names), super().read(table, names)[1]

    def fabricated(self, signs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        time = 10 * np.exp(-signs.sum(axis=1) - noise[:, 0])
        return np.column_stack([time, noise[:, 1] > -0.6]).astype(self.dtype)

    def another(self, label: Tensor) -> Tensor:
        return label.flip(0) + label.new_tensor([1.0, 0.0])

    def loss_of_a_constant(self, label: Tensor) -> float:
        return float(partial_loss(label.new_zeros(len(label)), label))

    def misfits(self, prediction: Tensor, spec: Spec) -> Iterator[str]:
        problems = list(super().misfits(prediction, spec))
        yield from problems
        if not problems and bool((prediction.diff(dim=1) > 1e-6).any()):
            yield "predicted survival rises with time"


def partial_loss(logit: Tensor, label: Tensor) -> Tensor:
    """Efron's negative partial log-likelihood of log hazards (n,) and labels (n, 2), a mean over events; 0 without any.

    With d tied events of a time, R the sum of exp(logit) over the samples whose time is at least that, and D that over
    the tied events, the l-th of them, l = 0, ..., d - 1, adds log(R - l/d D) less its own logit.
    """
    import torch

    order = torch.argsort(label[:, 0], descending=True, stable=True)
    logit, time, event = logit.double()[order], label[order, 0], label[order, 1].double()
    if not len(logit) or not bool(event.any()):
        return 0 * logit.sum()
    logit = logit - logit.detach().max()
    hazard = logit.exp()
    _, group, size = torch.unique_consecutive(time, return_inverse=True, return_counts=True)
    risk = hazard.cumsum(0)[size.cumsum(0) - 1][group]
    of_ties, ties = (
        torch.zeros_like(size, dtype=torch.float64).index_add(0, group, v) for v in (hazard * event, event)
    )
    before = event.cumsum(0) - event
    nth = before - before[size.cumsum(0) - size][group]
    left = risk - nth / ties[group].clamp(min=1) * of_ties[group]
    tiny = torch.finfo(torch.float64).tiny
    return (event * (left.clamp(min=tiny).log() - logit)).sum() / event.sum()


def log_hazard(logit: np.ndarray, time: np.ndarray, event: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The logarithm of Breslow's cumulative baseline hazard at times, none of which is before the first event.

    Args:
        logit, time, event: (n,) of the training split.
        times: (T,) ascending.
    """
    shift = logit.max()
    order = np.argsort(time)
    at_risk = np.cumsum(np.exp(logit[order] - shift)[::-1])[::-1]
    first = np.searchsorted(time[order], time[order], side="left")
    step = event[order] / np.maximum(at_risk[first], np.finfo(np.float64).tiny)
    reached = np.searchsorted(time[order], times, side="right")
    return np.log(np.cumsum(step)[reached - 1]) - shift


def _risk(score: np.ndarray) -> np.ndarray:
    return 1 - score[:, -1]


def _harrell(label: np.ndarray, score: np.ndarray, _: Mapping) -> Concordance:
    time, event = as_times(label)
    return Concordance(time, event, _risk(score), np.ones(len(time)), "c_index")


METRICS = [
    *of_family(_harrell, ["c_index"]),
    *of_family(
        lambda y, s, o: uno(*as_times(y), _risk(s), o["times"][-1], o["censoring"]),
        ["c_index_uno"],
        needs=frozenset({"times", "censoring"}),
    ),
    *of_family(
        lambda y, s, o: integrated_brier(*as_times(y), s, o["times"], o["censoring"]),
        ["integrated_brier"],
        high=np.inf,
        lower_is_better=True,
        over_samples=True,
        needs=frozenset({"times", "censoring"}),
    ),
]
