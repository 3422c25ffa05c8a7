"""Everything derived is kept under a key of what it was derived from, and appears whole or not at all.

An entry is a folder. It is built under a temporary name, by one process at a time, and renamed when it is whole; a
process that is killed while building leaves only that temporary folder, which the next one that builds clears away.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from zoo.progress import progress
from zoo.registry import UserError

UNFINISHED = ".unfinished"
NOT_WRITABLE = {
    getattr(errno, n)
    for n in ("ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EROFS", "EPERM", "ENOTDIR", "EEXIST", "ENAMETOOLONG")
    if hasattr(errno, n)
}


def folder() -> Path:
    """Where derived files lie: ``$ZOO_CACHE``, else the platform's user cache folder."""
    given = os.environ.get("ZOO_CACHE")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("zoo"))


def digest(key: object) -> str:
    """Twenty hexadecimal digits that stand for a JSON-serialisable key.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def obtain(kind: str, key: object, build: Callable[[Path], None]) -> Path:
    """The folder of an entry, built first where it is absent.

    Args:
        kind: what the entry is, for people who look into the cache.
        key: all that the entry depends on, serialisable as JSON.
        build: writes the entry's files into the empty folder it is given.

    Raises:
        UserError: the disk is full or the cache cannot be written. Whatever ``build`` raises passes through, and
            nothing of the entry is left.
    """
    entry = folder() / f"{kind}-{digest(key)}"
    if entry.is_dir():
        return entry
    from filelock import FileLock

    unfinished = entry.with_name(f".{entry.name}{UNFINISHED}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock(unfinished)):
            if not entry.is_dir():
                _clear_away(entry.parent)
                _build(kind, key, build, unfinished, entry)
    except OSError as error:
        if not (error.errno in NOT_WRITABLE or _is_full(entry.parent)):
            raise
        raise UserError(
            f"the cache {folder()} cannot be written: {error.strerror or error}. Free some room there, or set "
            "ZOO_CACHE to a folder on another disk."
        ) from error
    return entry


def _build(kind: str, key: object, build: Callable[[Path], None], unfinished: Path, entry: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        with progress(f"preparing {kind}"):
            build(unfinished)
        (unfinished / "key.json").write_text(json.dumps(key, indent=1, default=str))
        unfinished.rename(entry)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _lock(unfinished: Path) -> Path:
    return unfinished.with_name(unfinished.name.removesuffix(UNFINISHED) + ".lock")


def _clear_away(cache: Path) -> None:
    """Remove what killed processes have left: temporary folders whose lock nobody holds."""
    from filelock import FileLock, Timeout

    for left in cache.glob(f".*{UNFINISHED}"):
        try:
            with FileLock(_lock(left), timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        except Timeout:  # it is being built
            continue


def _is_full(cache: Path) -> bool:
    """Whether the disk is full: not every library that fails to write says why."""
    return cache.is_dir() and shutil.disk_usage(cache).free < 1 << 16
