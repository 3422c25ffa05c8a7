"""The models, one file per paper, in a folder per family.

`Model`, `Estimator`, `Output` and `Contributions` are what a model is written with; they load torch when first used.
The others are types of hyperparameters, such as `Size`: what a model can be made with.
"""

from zoo.models._hyperparameters import (
    Dropout,
    MultipleOfEncoderHeads,
    MultipleOfHeads,
    Nodes,
    Points,
    Positive,
    Probability,
    Share,
    Size,
    Weight,
)

_WITH_TORCH = ("Contributions", "Estimator", "Model", "Output")

__all__ = [
    *_WITH_TORCH,
    "Dropout",
    "MultipleOfEncoderHeads",
    "MultipleOfHeads",
    "Nodes",
    "Points",
    "Positive",
    "Probability",
    "Share",
    "Size",
    "Weight",
]


def __getattr__(name: str):
    if name in _WITH_TORCH:
        from zoo.models import _model

        return getattr(_model, name)
    raise AttributeError(f"module 'zoo.models' has no attribute {name!r}")
