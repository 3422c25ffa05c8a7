"""The cache: whole or not at all, whatever befalls the disk or the process, and however many want it at once."""

import contextlib
import os
import random
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from processes import Forked

import zoo
from zoo import cache
from zoo.registry import UserError

READ_LAB = """
import sys
from zoo.datasets.mimic3 import MIMIC3
dataset = MIMIC3(sys.argv[1])
print(len(dataset.read("visits")), dataset.read("lab").value.sum().round(3))
"""


def reader(root, folder, *preface: str) -> Forked:
    """A process that reads the laboratory results, and so fills the cache."""
    return Forked("\n".join([*preface, READ_LAB]), root, env=os.environ | {"ZOO_CACHE": str(folder)})


def told(process: Forked) -> str:
    done = process.finished()
    assert done.returncode == 0, done.stderr
    return done.stdout


def lies(folder) -> list[str]:
    """Everything in a cache but locks."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


@pytest.fixture(scope="module")
def large(intact_mimic3, tmp_path_factory):
    """A source whose laboratory results take a while to read."""
    root = tmp_path_factory.mktemp("large") / "source"
    root.mkdir()
    for path in intact_mimic3.root.glob("*.csv"):
        if path.stem in ("PATIENTS", "ADMISSIONS", "ICUSTAYS"):
            (root / path.name).write_bytes(path.read_bytes())
    results = pd.concat([intact_mimic3.table("labevents")] * 400, ignore_index=True)
    results["VALUENUM"] = np.random.default_rng(0).normal(100, 15, len(results)).round(3)
    results.to_parquet(root / "labevents.parquet")
    return root


@pytest.fixture(scope="module")
def wanted(large, tmp_path_factory) -> str:
    """What a clean run says of the large source."""
    return told(reader(large, tmp_path_factory.mktemp("wanted")))


def test_an_entry_is_built_once(own_cache):
    built = []
    for _ in range(2):
        folder = cache.obtain("thing", {"a": 1}, lambda f: (built.append(1), (f / "x").write_text("y")))
    assert (folder / "x").read_text() == "y"
    assert len(built) == 1
    assert lies(own_cache) == [folder.name]


def test_a_failure_leaves_nothing(own_cache):
    def fail(folder):
        (folder / "half").write_text("x")
        raise KeyError("why")

    with pytest.raises(KeyError):
        cache.obtain("thing", 1, fail)
    assert lies(own_cache) == []


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, intact_mimic3):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot be written.* set ZOO_CACHE"):
        zoo.load_dataset("mimic3", root=intact_mimic3.root).read("visits")


# A full disk


@pytest.mark.parametrize("room", [0, 100_000])
def test_a_full_disk_is_one_clear_error(room, small_disk, large, monkeypatch, tmp_path, wanted):
    folder = small_disk / "cache"
    folder.mkdir()
    (small_disk / "filler").write_bytes(bytes(max(0, (1 << 20) - room - 20_000)))
    if not room:
        with contextlib.suppress(OSError), open(small_disk / "rest", "wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
    done = reader(large, folder).finished()
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("zoo.registry.UserError: ")
    assert "ZOO_CACHE" in last
    assert [n for n in lies(folder) if not n.startswith("mimic3-relations-")] == []
    (small_disk / "filler").unlink()
    (small_disk / "rest").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert told(reader(large, folder)) == wanted


@pytest.mark.parametrize("limit", [200_000])
def test_a_limit_on_file_sizes_is_one_clear_error(limit, large, tmp_path, wanted):
    folder = tmp_path / "cache"
    preface = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))"
    done = reader(large, folder, preface).finished()
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("zoo.registry.UserError: ")
    assert [n for n in lies(folder) if not n.startswith("mimic3-relations-")] == []
    assert told(reader(large, folder)) == wanted


# A killed process


@pytest.mark.parametrize("moment", range(3))
def test_after_a_kill_the_next_run_starts_clean(moment, large, tmp_path, wanted):
    folder = tmp_path / "cache"
    folder.mkdir()
    process = reader(large, folder)
    what = "relations" if moment == 0 else "lab"
    until = time.monotonic() + 60
    while not (begun := list(folder.glob(f".mimic3-{what}-*.unfinished"))) and time.monotonic() < until:
        time.sleep(0.002)
    assert begun
    time.sleep(random.uniform(0, 0.05 if moment == 0 else 0.2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert told(reader(large, folder)) == wanted
    assert all(n.startswith("mimic3-") for n in lies(folder))
    for entry in folder.glob("mimic3-*"):
        assert not {p.name for p in entry.iterdir()} & {"spill"}


def test_what_a_kill_left_of_another_entry_is_cleared_away(own_cache):
    left = own_cache / ".thing-of-a-root-that-is-gone.unfinished"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    folder = cache.obtain("thing", 2, lambda f: None)
    assert lies(own_cache) == [folder.name]


def test_what_another_process_is_building_is_not_cleared_away(own_cache):
    build = (
        "import time; from zoo import cache; cache.obtain('slow', 1, lambda f: (print(f, flush=True), time.sleep(3)))"
    )
    process = Forked(build)
    building = process.said()
    cache.obtain("thing", 3, lambda f: None)
    assert os.path.isdir(building)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cache.obtain("thing", 4, lambda f: None)
    assert not os.path.exists(building)


# Several at once


@pytest.mark.parametrize("processes", [3])
def test_processes_that_fill_the_same_cache_at_once_all_end_well(processes, large, tmp_path, wanted):
    started = [reader(large, tmp_path / "cache") for _ in range(processes)]
    assert {told(p) for p in started} == {wanted}
    assert len(lies(tmp_path / "cache")) == 2


# A source that changes


def test_a_source_that_changed_is_noticed(mimic3, own_cache):
    before = zoo.load("mimic3", task="readmission", root=mimic3.root)
    mimic3.put("admissions", mimic3.table("admissions").iloc[:-3])
    after = zoo.load("mimic3", task="readmission", root=mimic3.root)
    assert len(after.samples) < len(before.samples)
    assert cache.digest(before.key) != cache.digest(after.key)


def test_a_change_that_keeps_the_size_is_noticed_by_its_time(mimic3, own_cache):
    def value():
        return zoo.load_dataset("mimic3", root=mimic3.root).read("lab").value[0]

    before = value()
    text = mimic3.file("labevents").read_text()
    shown = f"{before:.1f}"
    assert text.count(shown)
    mimic3.file("labevents").write_text(text.replace(shown, "9" * (len(shown) - 2) + ".9"))
    assert value() != before


def test_a_split_file_that_changed_is_noticed(mimic3, own_cache, tmp_path):
    subjects = mimic3.table("patients").SUBJECT_ID
    keys = set()
    for split in ("train", "test"):
        pd.DataFrame({"subject_id": subjects, "split": split}).to_csv(tmp_path / "split.csv", index=False)
        data = zoo.load("mimic3", task="readmission", root=mimic3.root, split=str(tmp_path / "split.csv"))
        keys.add(cache.digest(data.key))
    assert len(keys) == 2


def test_the_same_root_named_in_another_way_is_the_same_source(intact_mimic3, own_cache, monkeypatch):
    absolute = zoo.load_dataset("mimic3", root=intact_mimic3.root)
    monkeypatch.chdir(intact_mimic3.root.parent)
    assert zoo.load_dataset("mimic3", root="source").key() == absolute.key()
