"""The models, one file per paper.

`Model`, `Estimator`, `Output` and `Contributions` are what a model is written with; they load torch when first used.
"""

__all__ = ["Contributions", "Estimator", "Model", "Output"]


def __getattr__(name: str):
    if name in __all__:
        from zoo.models import _model

        return getattr(_model, name)
    raise AttributeError(f"module 'zoo.models' has no attribute {name!r}")
