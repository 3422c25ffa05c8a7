"""What an estimator was fitted to, as a file: equal things give equal bytes, and a stranger's file is looked into."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.cache.writing import whole

SCHEMA = "schema.json"
NEVER = (1980, 1, 1, 0, 0, 0)
"""The time of change of what lies in the file."""


def write_fitted(path: Path, fitted: object) -> None:
    """Write with skops; the addresses in memory that skops has in names and numbers are counted anew, from 0.

    Raises:
        UserError: the file cannot be written.
    """
    import skops.io

    with whole(path) as unfinished, tempfile.TemporaryFile(dir=path.parent) as raw:
        skops.io.dump(fitted, raw)
        numbers: dict[int, int] = {}
        with zipfile.ZipFile(raw) as source, zipfile.ZipFile(unfinished, "w") as target:
            schema = _renumbered(json.loads(source.read(SCHEMA)), numbers)
            for name in source.namelist():
                with target.open(zipfile.ZipInfo(_renamed(name, numbers), NEVER), "w") as part:
                    if name == SCHEMA:
                        part.write(json.dumps(schema).encode())
                    else:
                        with source.open(name) as held:
                            shutil.copyfileobj(held, part)


def read_fitted(path: Path) -> object:
    """What `write_fitted` wrote; types that skops does not hold for harmless are refused.

    Raises:
        Exception: of whatever type, as the file is not ours.
    """
    import skops.io

    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
        if any(p.compress_type != zipfile.ZIP_STORED for p in parts):
            raise ValueError("a part of it is compressed")
        if sum(p.file_size for p in parts) > path.stat().st_size:
            raise ValueError("its parts are said to be larger than the file")
    return skops.io.load(path, trusted=[])


def array_in(fitted: object, name: str, kinds: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of what was read.

    Args:
        fitted: what was read.
        name: of the array.
        kinds: of numbers that it may have, as NumPy calls them; real numbers must be finite.
        shape: that it must have; None for any length.

    Raises:
        ValueError: there is none of that form.
    """
    found = fitted.get(name) if isinstance(fitted, Mapping) else None
    if type(found) is not np.ndarray or found.dtype.kind not in kinds or found.ndim != len(shape):
        raise ValueError(f"it has no array {name!r} of {len(shape)} dimensions")
    if any(wanted not in (None, length) for wanted, length in zip(shape, found.shape, strict=True)):
        raise ValueError(f"{name!r} has the shape {found.shape}, not {shape}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"{name!r} has values that are not finite")
    return found


def _renumbered(schema: object, numbers: dict[int, int]) -> object:
    if isinstance(schema, list):
        return [_renumbered(part, numbers) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for name, value in schema.items():
        if name == "__id__":
            found[name] = numbers.setdefault(value, len(numbers))
        elif name == "file":
            found[name] = _renamed(value, numbers)
        else:
            found[name] = _renumbered(value, numbers)
    return found


def _renamed(name: str, numbers: dict[int, int]) -> str:
    stem, dot, ending = name.partition(".")
    return f"{numbers.setdefault(int(stem), len(numbers))}{dot}{ending}" if stem.isdigit() else name
