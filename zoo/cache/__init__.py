"""What zoo writes, and reads back: here the cache, in `writing` how files are written, in `forms` what JSON must be.

Everything derived is kept under a key of what it was derived from, and appears whole or not at all.

An entry is a folder. It is built under a temporary name, by one process at a time, and renamed when it is whole; a
process that is killed while building leaves only that temporary folder, which the next one that builds clears away.

An entry that was damaged later is noticed when it is asked for, said, and built anew. Its ``manifest.json``, which is
written last, has the size and the CRC-32 of each file. A size is looked at each time; contents are read when an entry
is first asked for and whenever the file system says that a file has changed since (its time of change, which no program
sets, or its place): what was found then is kept in the entry's ``verified.json``, so that reading gigabytes is not paid
for again and again. What a disk does to a file behind the file system's back is therefore noticed only when contents
are next read: delete ``verified.json``, or copy the cache, to have that done.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from zoo.cache.writing import FILE, FOLDER, make_folder, make_private, why_refused
from zoo.progress import progress
from zoo.registry import UserError

UNFINISHED = ".unfinished"
MANIFEST, VERIFIED = "manifest.json", "verified.json"
SETTLED = 60.0
"""Seconds after its last change from which on a file counts as lying on the disk as it was read: a machine that fails
earlier may lose what was written."""
TICK = 0.05
"""Seconds in which a file may change twice without a trace in its time of change."""
CHUNK = 1 << 20

log = logging.getLogger(__name__)
State = dict[str, list[int]]
"""The files of an entry: path to size, time of change (ns) and inode."""
_verified: dict[str, tuple[int, State]] = {}
"""Entries that this process found whole: when (ns), and their files then."""


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
    """The folder of an entry, built first where it is absent or damaged.

    Args:
        kind: what the entry is, for people who look into the cache.
        key: all that the entry depends on, serialisable as JSON.
        build: writes the entry's files into the empty folder it is given.

    Raises:
        UserError: the disk is full, or the cache cannot be read or written. Whatever ``build`` raises passes through,
            and nothing of the entry is left.
    """
    entry = folder() / f"{kind}-{digest(key)}"
    if os.path.lexists(entry) and not _damage(entry):
        return entry
    from filelock import FileLock

    unfinished = entry.with_name(f".{entry.name}{UNFINISHED}")
    try:
        make_folder(entry.parent)
        with FileLock(_lock(unfinished), mode=FILE):
            damage = _damage(entry) if os.path.lexists(entry) else ""
            if damage or not os.path.lexists(entry):
                _clear_away(entry.parent)
                if damage:
                    log.warning("%s in the cache is damaged (%s) and is made anew.", entry, damage)
                    _remove(entry, unfinished)
                _build(kind, key, build, unfinished, entry)
    except Exception as error:
        why = "" if isinstance(error, UserError) else why_refused(error, entry.parent)
        if not why:
            raise
        raise UserError(
            f"the cache {folder()} cannot be written: {why}. Free some room there, or set ZOO_CACHE to a folder on "
            "another disk."
        ) from error
    return entry


def _build(kind: str, key: object, build: Callable[[Path], None], unfinished: Path, entry: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(FOLDER)
    try:
        with progress(f"preparing {kind}"):
            build(unfinished)
        (unfinished / "key.json").write_text(json.dumps(key, indent=1, default=str))
        manifest = {name: [state[0], _checksum(unfinished / name)] for name, state in _state(unfinished).items()}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1))
        make_private(unfinished)
        unfinished.rename(entry)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _damage(entry: Path) -> str:
    """What is wrong with an entry that is there; empty where nothing is."""
    try:
        now, state = time.time_ns(), _state(entry)
        if not (_trusted(_verified.get(str(entry)), state, TICK) or _trusted(_stamp(entry), state, SETTLED)):
            damage = _difference(entry, state)
            if damage:
                return damage
            _verified[str(entry)] = now, state
            _write_stamp(entry, now, state)
    except PermissionError as error:
        raise UserError(
            f"{entry} in the cache cannot be read ({error.strerror}): set ZOO_CACHE to a folder of your own."
        ) from error
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return ""


def _state(entry: Path) -> State:
    """Of all files of an entry but `VERIFIED`."""
    found: State = {}
    pending = [entry]
    while pending:
        with os.scandir(pending.pop()) as things:
            for thing in things:
                if thing.is_dir(follow_symlinks=False):
                    pending.append(Path(thing.path))
                elif thing.name != VERIFIED:
                    known = os.stat(thing.path)
                    name = Path(thing.path).relative_to(entry).as_posix()
                    found[name] = [known.st_size, known.st_ctime_ns, known.st_ino]
    return found


def _trusted(found: tuple[int, State] | None, state: State, seconds: float) -> bool:
    """Whether files are those that were found whole, and had not changed for so many seconds by then."""
    if found is None or found[1] != state:
        return False
    return all(changed + seconds * 1e9 <= found[0] for _, changed, _ in state.values())


def _stamp(entry: Path) -> tuple[int, State] | None:
    """What `_write_stamp` wrote; None where there is nothing of that kind."""
    try:
        facts = json.loads((entry / VERIFIED).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or not isinstance(facts.get("at"), int):
        return None
    return facts["at"], facts.get("files")


def _write_stamp(entry: Path, now: int, state: State) -> None:
    """Keep that an entry was found whole; a cache that may only be read does without."""
    if not all(changed + SETTLED * 1e9 <= now for _, changed, _ in state.values()):
        return  # it would not be trusted
    try:
        with open(os.open(entry / VERIFIED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE), "w") as file:
            file.write(json.dumps({"at": now, "files": state}))
    except OSError as error:
        log.debug("%s: %s", entry / VERIFIED, error)


def _difference(entry: Path, state: State) -> str:
    """In what the files of an entry differ from those that were written; empty where they do not."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text())
        written = {name: (size, checksum) for name, (size, checksum) in manifest.items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    except (ValueError, TypeError, AttributeError):
        return f"{MANIFEST} is not as it was written"
    for name in sorted({*written, *state} - {MANIFEST}):
        if name not in state:
            return f"{name} is missing"
        if name not in written:
            return f"{name} does not belong to it"
        if state[name][0] != written[name][0]:
            return f"{name} has {state[name][0]} bytes instead of {written[name][0]}"
    for name, (_, checksum) in written.items():
        if _checksum(entry / name) != checksum:
            return f"{name} is not as it was written"
    return ""


def _checksum(path: Path) -> int:
    """The CRC-32 of a file, which finds what befalls disks and copies; it keeps nobody from changing it."""
    found = 0
    with open(path, "rb", buffering=0) as file:
        while some := file.read(CHUNK):
            found = zlib.crc32(some, found)
    return found


def _remove(entry: Path, unfinished: Path) -> None:
    """Remove an entry at once for all who ask for it; who has its files open still has them."""
    _verified.pop(str(entry), None)
    shutil.rmtree(unfinished, ignore_errors=True)
    entry.rename(unfinished)
    if unfinished.is_dir() and not unfinished.is_symlink():
        shutil.rmtree(unfinished)
    else:
        unfinished.unlink()


def _lock(unfinished: Path) -> Path:
    return unfinished.with_name(unfinished.name.removesuffix(UNFINISHED) + ".lock")


def _clear_away(cache: Path) -> None:
    """Remove what killed processes have left: temporary folders whose lock nobody holds."""
    from filelock import FileLock, Timeout

    for left in cache.glob(f".*{UNFINISHED}"):
        try:
            with FileLock(_lock(left), timeout=0, mode=FILE):
                shutil.rmtree(left, ignore_errors=True)
        except Timeout:  # it is being built
            continue
