"""Labels, scores and weights as arrays, checked. All raise ValueError and say what was wrong."""

import numpy as np

ROUNDING = 1e-6  # a float32 softmax passes 1 by about 1e-7


def as_columns(value, what: str) -> np.ndarray:
    """(n,) or (n, L) as (n, L), with at least one sample and one column."""
    value = np.asarray(value)
    value = value[:, None] if value.ndim == 1 else value
    if value.ndim != 2 or 0 in value.shape:
        raise ValueError(f"{what} has shape {value.shape}, expected (n,) or (n, L) with at least one sample")
    return value


def as_binary(value, what: str = "label") -> np.ndarray:
    """(n,) or (n, L) of False and True, or 0 and 1, as (n, L) bool."""
    value = as_columns(value, what)
    if value.dtype != bool and not np.isin(value, (0, 1)).all():
        raise ValueError(f"{what} must hold only 0 and 1 (or False and True)")
    return value.astype(bool, copy=False)


def as_finite(value, what: str = "score") -> np.ndarray:
    """(n,) or (n, L) of finite numbers as (n, L) float64."""
    value = as_columns(value, what).astype(np.float64, copy=False)
    bad = int((~np.isfinite(value)).sum())
    if bad:
        raise ValueError(f"{bad} of {value.size} values of {what} are NaN or infinite")
    return value


def as_probability(value, what: str = "score") -> np.ndarray:
    """(n,) or (n, L) of numbers in [0, 1] as (n, L) float64."""
    value = as_finite(value, what)
    if value.min() < -ROUNDING or value.max() > 1 + ROUNDING:
        raise ValueError(
            f"{what} must be probabilities, found values from {value.min():.4g} to {value.max():.4g}: "
            "apply a sigmoid or softmax to logits first"
        )
    return value


def as_class(value, classes: int, what: str = "label") -> np.ndarray:
    """(n,) class numbers below `classes` as (n,) int64."""
    value = as_columns(value, what)
    if value.shape[1] != 1 or not np.isin(value, np.arange(classes)).all():
        raise ValueError(f"{what} must hold one class number from 0 to {classes - 1} for each sample")
    return value[:, 0].astype(np.int64)


def same_shape(label: np.ndarray, other: np.ndarray, what: str = "score") -> None:
    """Both have the same shape."""
    if label.shape != other.shape:
        raise ValueError(f"label has shape {label.shape} but {what} {other.shape}")


def as_weight(weight, samples: int) -> np.ndarray:
    """Weights of `samples` samples, finite, not negative, some above 0, as (1, samples); None weighs each sample 1."""
    if weight is None:
        return np.ones((1, samples))
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != (samples,):
        raise ValueError(f"weight has shape {weight.shape}, expected ({samples},)")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise ValueError("weights must be finite and not negative, and one of them above 0")
    return weight[None]
