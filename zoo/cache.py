"""Everything derived is kept under a key of what it was derived from, and appears whole or not at all.

An entry is a folder. It is built under a temporary name, by one process at a time, and renamed when it is whole; a
process that is killed while building leaves only that temporary folder, which the next one to build clears away.
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

    unfinished = entry.with_name(f".{entry.name}.unfinished")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_name(f".{entry.name}.lock")):
            if not entry.is_dir():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                with progress(f"preparing {kind}"):
                    build(unfinished)
                (unfinished / "key.json").write_text(json.dumps(key, indent=1, default=str))
                unfinished.rename(entry)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
            raise
        raise UserError(
            f"the cache {folder()} cannot be written: {error.strerror}. Free some room there, or set ZOO_CACHE to "
            "a folder on another disk."
        ) from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return entry
