"""Metrics: plain functions, and the suite of a task kind with intervals by a Bayesian bootstrap over subjects.

>>> from zoo.metrics import evaluate
>>> found = evaluate("regression", [1.0, 2.0, 4.0], [1.0, 3.0, 4.0], subject=[1, 2, 3], resamples=0)
>>> found["mse"].value
0.3333333333333333
"""

from zoo.metrics.calibration import brier, ece
from zoo.metrics.classification import (
    accuracy,
    f1,
    jaccard,
    kappa_linear,
    precision_at_k,
    recall_at_k,
    sensitivity,
    specificity,
)
from zoo.metrics.drug_sets import ddi_rate
from zoo.metrics.metric import Estimate, Metric
from zoo.metrics.ranking import auprc, auroc, recall_at_precision_80
from zoo.metrics.regression import mae, mape, mse, r2
from zoo.metrics.suite import evaluate, resampled, suite
from zoo.metrics.survival import c_index
from zoo.metrics.threshold import tune_threshold

__all__ = [
    "Estimate",
    "Metric",
    "accuracy",
    "auprc",
    "auroc",
    "brier",
    "c_index",
    "ddi_rate",
    "ece",
    "evaluate",
    "f1",
    "jaccard",
    "kappa_linear",
    "mae",
    "mape",
    "mse",
    "precision_at_k",
    "r2",
    "recall_at_k",
    "recall_at_precision_80",
    "resampled",
    "sensitivity",
    "specificity",
    "suite",
    "tune_threshold",
]
