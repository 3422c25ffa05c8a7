"""Checkpoints: one safetensors file each, whose header holds in JSON what is no tensor.

A file appears whole or not at all: it is written under a temporary name, forced to disk and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.cache.writing import whole
from zoo.registry import UserError

LAST = "last.safetensors"
BEST = "best-{}.safetensors"
FORMAT = "1"
"""Of what `LAST` holds; another one is refused."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: object = None) -> None:
    """Write tensors, and beside them facts that JSON can hold.

    Raises:
        UserError: the disk does not take the file; what was there before is still there.
    """
    header = {"format": FORMAT, "zoo": version("ehr-zoo"), "facts": json.dumps(facts)}
    with whole(path, (SafetensorError,)) as unfinished:
        save_file(_apart(tensors), unfinished, header)
        with open(unfinished, "r+b") as file:
            _order_header(file)
            file.flush()
            os.fsync(file.fileno())
    _flush(path.parent)


def read_tensors(path: Path, any_release: bool = False) -> tuple[dict[str, Tensor], dict]:
    """The tensors, on the CPU, and the facts of a file that `write_tensors` wrote.

    Args:
        path: the file.
        any_release: take it whichever release wrote it, where the format is the same.

    Raises:
        UserError: the file is damaged or of another version.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            release = header.get("zoo") == version("ehr-zoo") or any_release
            if header.get("format") != FORMAT or not release:
                raise UserError(
                    f"{path} was written by zoo {header.get('zoo', 'of an unknown version')}, and this is "
                    f"{version('ehr-zoo')}: go on with that version, or choose another folder."
                )
            return {n: file.get_tensor(n) for n in file.keys()}, json.loads(header["facts"])  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({error}): delete it to train anew, or choose another folder.") from error


def check_fit(path: Path, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Look whether weights are those of a model.

    Raises:
        UserError: a weight is missing, is not the model's, or has another shape.
    """
    wanted = {n: tuple(w.shape) for n, w in model.state_dict().items()}
    held = {n: tuple(w.shape) for n, w in weights.items()}
    for name in sorted({*wanted, *held}):
        if wanted.get(name) != held.get(name):
            raise UserError(
                f"{path} does not fit the model: {name!r} has {_shape(held.get(name))} in the file and "
                f"{_shape(wanted.get(name))} in the model. Choose another folder."
            )


def remove_all(folder: Path, pattern: str, but: str = "") -> None:
    """Remove what of a folder matches, files and whole folders, but one."""
    for path in folder.glob(pattern):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != but:
            path.unlink(missing_ok=True)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "no place" if shape is None else f"the shape {shape}"


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own: tied weights are written once for each of their names."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return found


def _order_header(file: BinaryIO) -> None:
    """Put the header of a safetensors file in order, in place: the package shuffles its metadata.

    A file begins with the length of its header, 8 bytes, and the header in JSON, which blanks may follow.
    """
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    if len(ordered) == length:  # else the package writes JSON in another way by now, and the order stays as it is
        file.seek(8)
        file.write(ordered)


def _flush(folder: Path) -> None:
    """Force to disk that a file of the folder has a new name."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
