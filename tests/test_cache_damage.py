"""A damaged entry of the cache is noticed, said, and made anew, whatever befell which of its files."""

import json
import os
import shutil
import threading
import time

import numpy as np
import pytest

import zoo
from zoo import cache

LEFT = "verified.json"


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def emptied(path):
    os.truncate(path, 0)


def zeroed(path):
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))


def longer(path):
    with open(path, "ab") as file:
        file.write(b"\0 more")


def missing(path):
    path.unlink()


def one_bit(path):
    """Somewhere in the middle, at the same size and, as far as a program can set it, the same time of change."""
    known, place = path.stat(), path.stat().st_size // 2
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


DAMAGES = (cut, emptied, zeroed, longer, missing, one_bit)


def everything(patients: int = 12) -> dict:
    """What a model is given that reads all that there is, each kind of entry having been asked for anew."""
    dataset = zoo.load_dataset("synthetic", patients=patients)
    data = zoo.load(dataset, task="readmission", levels={"drug": "name"})
    found = {c: dataset.read(c).sort_values(["subject_id", "time", "code"]).to_csv() for c in dataset.concepts}
    found |= {n: dataset.read(n).to_csv() for n in ("subjects", "visits", "stays")}
    found["names"] = dataset.drug_names()
    found["report"] = dataset.report(dataset.concepts).lines()
    samples = np.arange(len(data.samples))
    batch = data.batch(samples, set(data.concepts))
    found["batch"] = {c: [batch[c].ids.tolist(), batch[c].time.tolist()] for c in data.concepts}
    found["tokens"] = data.batch(samples, "caml")["note"].tokens.tolist()
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache with each kind of entry, made well before now, and what is read from it."""
    folder = tmp_path_factory.mktemp("filled") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder))
        return folder, everything()


def entries(folder) -> list:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def files(entry) -> list:
    return sorted(p for p in entry.rglob("*") if p.is_file() and p.name != LEFT)


def test_each_damage_of_each_file_of_each_kind_of_entry_is_noticed(filled):
    folder, _ = filled
    kinds = {e.name.rpartition("-")[0] for e in entries(folder)}
    assert {"synthetic", "synthetic-relations", "synthetic-drug-names", "tokenizer", "tokens"} <= kinds
    assert {f"{kind}-{c}" for kind in ("store", "synthetic") for c in ("diagnosis", "drug", "lab", "note")} <= kinds
    for entry in entries(folder):
        assert not cache._damage(entry)
        for path in files(entry):
            whole, known = path.read_bytes(), path.stat()
            for damage in DAMAGES:
                damage(path)
                changed = not path.exists() or path.read_bytes() != whole
                assert bool(cache._damage(entry)) == changed, f"{damage.__name__} of {entry.name}/{path.name}"
                path.write_bytes(whole)
                os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))  # source tables are known by it


@pytest.mark.parametrize("tables", [False, True])
def test_a_cache_with_damages_everywhere_gives_what_it_gave(tables, filled, monkeypatch, caplog):
    """Source tables apart: made anew they have other times of change, and all that was made from them is no more."""
    folder, wanted = filled
    monkeypatch.setenv("ZOO_CACHE", str(folder))
    before = {e: e.stat().st_ctime_ns for e in entries(folder) if (e / "tables").is_dir() == tables}
    for number, entry in enumerate(before):
        own = [p for p in files(entry) if p.stat().st_size]
        DAMAGES[number % len(DAMAGES)](own[number % len(own)])
    assert everything() == wanted
    said = [r.message for r in caplog.records if "in the cache is damaged (" in r.message]
    assert [e.name for e, at in before.items() if e.stat().st_ctime_ns == at or cache._damage(e)] == []
    assert len(said) == len(before) == (1 if tables else len(entries(folder)) - 1)


def made(key, text="whole", built=None) -> str:
    def build(folder):
        if built is not None:
            built.append(key)
        (folder / "x").write_text(text)
        (folder / "within").mkdir()
        (folder / "within" / "y").write_text(text)

    return cache.obtain("thing", key, build)


@pytest.mark.parametrize("name", ["x", "within/y", "key.json", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_after_long_and_in_another_process(damage, name, own_cache, monkeypatch):
    """What another process found whole long ago is trusted as long as the file system says that nothing changed."""
    folder, built = made(1, built=[]), []
    later = time.time_ns() + int(2 * cache.SETTLED * 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(cache.time, "time_ns", lambda: later)
        cache._verified.clear()
        made(1, built=built)
    cache._verified.clear()
    read = []
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_checksum", lambda path, plain=cache._checksum: read.append(path) or plain(path))
        made(1, built=built)
    assert (read, built) == ([], [])
    damage(folder / name)
    cache._verified.clear()
    made(1, built=built)
    assert built == [1]
    assert {p.name for p in files(folder)} == {"x", "y", "key.json", "manifest.json"}
    assert (folder / "within" / "y").read_text() == (folder / "x").read_text() == "whole"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1e99, "files": {}}', '{"at": "x"}'])
def test_a_damaged_note_of_what_was_verified_costs_a_look(text, own_cache):
    folder, built = made(1), []
    (folder / LEFT).write_text(text)
    cache._verified.clear()
    made(1, built=built)
    assert not built


def test_what_does_not_belong_to_an_entry(own_cache):
    folder, built = made(1), []
    (folder / "within" / "z").write_text("a table more")
    made(1, built=built)
    assert built == [1]
    assert not (folder / "within" / "z").exists()
    shutil.rmtree(folder)
    folder.write_text("a file in the way")
    made(1, built=built)
    assert (folder / "x").read_text() == "whole"
    (folder / "manifest.json").unlink()  # as entries of earlier versions are
    made(1, built=built)
    assert built == [1, 1, 1]


def test_who_reads_an_entry_keeps_it_while_another_makes_it_anew(own_cache):
    key, text = "mapped", "a" * 10_000
    folder = made(key, text)
    held = np.memmap(folder / "x", np.uint8, mode="r")
    one_bit(folder / "within" / "y")
    started, go = threading.Event(), threading.Event()
    built = []

    def build(out):
        built.append(1)
        started.set()
        go.wait(10)
        (out / "x").write_text(text)
        (out / "within").mkdir()
        (out / "within" / "y").write_text(text)

    threads = [threading.Thread(target=cache.obtain, args=("thing", key, build)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    assert bytes(held) == text.encode()
    go.set()
    for thread in threads:
        thread.join(20)
    assert built == [1]
    assert bytes(held) == text.encode() == (folder / "x").read_bytes()


def test_looking_costs_next_to_nothing_once_an_entry_was_read(own_cache):
    folder = made(1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest) == {"x", "within/y", "key.json"}
    time.sleep(2 * cache.TICK)
    made(1)
    began = time.perf_counter()
    for _ in range(100):
        made(1)
    assert (time.perf_counter() - began) / 100 < 0.01
