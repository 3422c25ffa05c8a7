"""How files are written: for their owner alone, whole or not at all, and with one clear error where they cannot be.

What zoo derives tells of patients, so one rule holds for all of it, the cache, run folders and what commands write:
folders that are made have the mode 0700, files 0600, whatever the umask. A folder that was there keeps its own.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.registry import UserError

FOLDER, FILE = 0o700, 0o600
_UNFINISHED = re.compile(r"\..+\.\d+|\.tmp\w{6}")  # the second is how safetensors calls a file that it writes
_REFUSED = {
    getattr(errno, n)
    for n in ("ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EROFS", "EPERM", "ENOTDIR", "EEXIST", "ENAMETOOLONG")
    if hasattr(errno, n)
}
_FULL = re.compile(r"No space left on device|not enough space|Disk quota exceeded|File too large")
"""What libraries say that do not pass on the error of the system."""


def make_folder(folder: Path, new: bool = False) -> None:
    """Make a folder, and those above it that are missing.

    Args:
        folder: where.
        new: raise `FileExistsError` where it is there.

    """
    for above in reversed(folder.parents):
        if not above.is_dir():
            above.mkdir(FOLDER, exist_ok=True)
    folder.mkdir(FOLDER, exist_ok=not new)


def make_private(folder: Path) -> None:
    """Give a folder, and all that lies in it, the modes that everything has which zoo writes."""
    folder.chmod(FOLDER)
    for above, folders, files in os.walk(folder):
        for name in folders:
            os.chmod(os.path.join(above, name), FOLDER)
        for name in files:
            os.chmod(os.path.join(above, name), FILE)


@contextmanager
def whole(path: Path, failures: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Write a file under a temporary name, which the block is given, and rename it when the block ends well.

    Args:
        path: what the file is to be called.
        failures: what else than an `OSError` is raised where it cannot be written.

    Raises:
        UserError: it cannot be written; what was there before is still there.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE))
        yield unfinished
        unfinished.chmod(FILE)
        unfinished.replace(path)
    except (OSError, *failures) as error:
        raise UserError(
            f"{path} cannot be written ({getattr(error, 'strerror', None) or error}): make room, or choose a folder "
            "on another disk."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Whether a file is what a process leaves behind that is killed while it writes with `whole`."""
    return bool(_UNFINISHED.fullmatch(path.name))


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes have left; none may be writing there."""
    for path in folder.iterdir():
        if is_unfinished(path):
            path.unlink(missing_ok=True)


def why_refused(error: Exception, folder: Path) -> str:
    """Why a disk did not take a file, from what was raised; empty where it has another reason."""
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return error.strerror or str(error)
    if found := _FULL.search(str(error)):
        return found.group()
    # not every library that fails to write says why
    if isinstance(error, OSError) and folder.is_dir() and shutil.disk_usage(folder).free < 1 << 16:
        return str(error)
    return ""
