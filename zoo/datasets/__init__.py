"""The datasets, one file each. `Dataset` is what an adapter derives from, `expressions` has pieces it is built of."""

import importlib

_LATER = {"Dataset": ("zoo.datasets._engine", "Dataset"), "expressions": ("zoo.datasets._expressions", None)}

__all__ = ["Dataset", "expressions"]


def __getattr__(name: str):
    if name in _LATER:
        module, attribute = _LATER[name]
        found = importlib.import_module(module)
        return getattr(found, attribute) if attribute else found
    raise AttributeError(f"module 'zoo.datasets' has no attribute {name!r}")
