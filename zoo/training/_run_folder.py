"""The folder of a run: whose it is, and where a new one goes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.cache import writing
from zoo.cache.forms import check_form
from zoo.cache.writing import is_unfinished, make_folder, remove_unfinished
from zoo.registry import UserError, path_of
from zoo.result import FILE, Result
from zoo.training._checkpoint import BEST, LAST, remove_all
from zoo.training._loop import NON_FINITE

LOCK = ".lock"


def run_folder(out: str | Path | None, identity: dict) -> tuple[Path, Result | None]:
    """Where a run goes, and its result where it is there already."""
    if out is None:
        kind = "-pretraining" if identity["config"]["pretraining"] else ""
        name = "{dataset}-{task}-{model}{kind}-seed{seed}"
        return Path("runs") / name.format(kind=kind, **identity), None
    folder = path_of("out", out)
    if not (folder / "config.json").exists():
        if folder.exists() and (not folder.is_dir() or any(not _may_stay(p) for p in folder.iterdir())):
            raise UserError(f"{folder} exists and is no run folder: choose another one.")
        return folder, None
    try:
        held = json.loads((folder / "config.json").read_text())
        check_form(held, {"config": dict[str, object]}, "config.json")
    except ValueError:
        raise UserError(f"{folder}/config.json is damaged: choose another folder.") from None
    if held != identity:
        raise UserError(
            f"{folder} holds another run (it differs in {_differences(held, identity)}): choose another folder."
        )
    return folder, Result.read(folder) if (folder / FILE).exists() else None


def _differences(held: dict, wanted: dict) -> str:
    """The names of the facts in which two runs differ, such as ``seed, config.trainer``."""
    held, wanted = ({**f, **{f"config.{n}": v for n, v in f.pop("config", {}).items()}} for f in ({**held}, {**wanted}))
    return ", ".join(sorted(n for n in {*held, *wanted} if held.get(n) != wanted.get(n)))


def _may_stay(path: Path) -> bool:
    """Whether a file is one that a run which failed, or was killed before it began, leaves behind."""
    return path.name in (LOCK, NON_FINITE) or is_unfinished(path)


@contextmanager
def given_back(folder: Path, *files: str) -> Iterator[None]:
    """Where the block fails before anything was learned, the folder is free again, also for another configuration.

    Args:
        folder: of the run.
        files: the names of what the run writes, files and folders, before it has a checkpoint.
    """
    try:
        yield
    except Exception:
        if not (folder / LAST).exists():
            for pattern in (*files, BEST.format("*")):
                remove_all(folder, pattern)
        raise


def made(folder: Path, new: bool) -> Path:
    """The folder, made; where it must be new and is not, the first free one with a number behind its name.

    Raises:
        UserError: it cannot be made.
    """
    for place in itertools.count(1):
        free = folder if place == 1 else folder.with_name(f"{folder.name}-{place}")
        try:
            make_folder(free, new=new)
        except FileExistsError:
            if new and free.is_dir():
                continue
            raise UserError(
                f"the run folder {free} cannot be made: a file is in the way; choose another one."
            ) from None
        except OSError as error:
            raise UserError(f"the run folder {free} cannot be made ({error.strerror}): choose another one.") from error
        return free


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a run folder to this process while the block runs; the system lifts the lock of a process that ends.

    Raises:
        UserError: another process has it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=0, mode=writing.FILE)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"another process trains into {folder}: wait for it, or choose another folder.") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}): choose another folder.") from error
    try:
        remove_unfinished(folder)
        yield
    finally:
        lock.release()
