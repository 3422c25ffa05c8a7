"""Errors of predicted numbers."""

import numpy as np

from zoo.metrics.average import Means, ratio
from zoo.metrics.checks import as_finite, as_weight, same_shape


def errors(label: np.ndarray, prediction: np.ndarray) -> Means:
    """Mean absolute, squared and absolute percentage error of `label` and `prediction`, both (n,).

    The percentage error is a fraction (0.1 is ten percent), as in scikit-learn, and undefined with a label 0.
    """
    error = np.abs(prediction - label)
    zeros = int((label == 0).sum())
    relative = np.full(len(label), np.nan) if zeros else error / np.abs(label)
    reason = f"undefined: {zeros} of {len(label)} labels are 0" if zeros else None
    return Means({"mae": error, "mse": error**2, "mape": relative}, {"mape": reason})


class Determination:
    """Coefficient of determination R², 1 - squared error over that of the labels' mean; undefined where all
    labels are equal. `label` and `prediction` (n,); weights are above 0."""

    def __init__(self, label: np.ndarray, prediction: np.ndarray):
        self.label, self.squared = label, (prediction - label) ** 2
        self.equal = np.ptp(label) == 0
        self.reasons = {"r2": "undefined: all labels are equal" if self.equal else None}

    def __call__(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Name to values (resamples,) for `weight` (resamples, n)."""
        mean = ratio(weight @ self.label, weight.sum(axis=1))
        spread = (weight * (self.label - mean[:, None]) ** 2).sum(axis=1)
        return {"r2": 1 - ratio(weight @ self.squared, 0 if self.equal else spread)}


def mae(label, prediction, weight=None) -> float:
    """Mean absolute error, in the label's unit; `label` and `prediction` (n,).

    >>> mae([1.0, 2.0], [2.0, 4.0])
    1.5
    """
    return _value("mae", errors, label, prediction, weight)


def mse(label, prediction, weight=None) -> float:
    """Mean squared error, in the label's unit squared; `label` and `prediction` (n,).

    >>> mse([1.0, 2.0], [2.0, 4.0])
    2.5
    """
    return _value("mse", errors, label, prediction, weight)


def mape(label, prediction, weight=None) -> float:
    """Mean absolute percentage error as a fraction; `label` and `prediction` (n,). NaN where a label is 0.

    >>> mape([1.0, 2.0], [2.0, 4.0])
    1.0
    """
    return _value("mape", errors, label, prediction, weight)


def r2(label, prediction, weight=None) -> float:
    """Coefficient of determination; `label` and `prediction` (n,). NaN where all labels are equal.

    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    return _value("r2", Determination, label, prediction, weight)


def _value(name: str, family, label, prediction, weight) -> float:
    label, prediction = as_finite(label, "label"), as_finite(prediction, "prediction")
    same_shape(label, prediction, "prediction")
    if label.shape[1] != 1:
        raise ValueError(f"{name} takes labels of shape (n,), not {label.shape}")
    weight = as_weight(weight, len(label))
    counted = weight[0] > 0
    return float(family(label[counted, 0], prediction[counted, 0])(weight[:, counted])[name][0])
