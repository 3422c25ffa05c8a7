"""The store: the events of a concept as packed arrays, each patient once, memory-mapped.

Visits are numbered source-wide in the order of subject and start; ``offsets`` leads from a visit to its events, which
lie in the order of time. Codes are numbered source-wide too, so that neither a task nor a seed rebuilds anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from zoo import cache

STORE_VERSION = 6
SECOND = np.timedelta64(1_000_000, "us")
TYPES = {"code": np.int32, "time": np.int32, "value": np.float32}
KEPT = {"lab": ("value",), "vital": ("value",), "note": ("text",)}
"""What is kept of the events of a concept besides code and time."""
APART = {"drug": ("text", "route", "order_type", "ingredient"), "lab": ("unit",), "vital": ("unit",)}
"""The columns that give events of one code places of their own in `Store.codes`; of drugs those that `Order` tells."""
CHUNK, TEXT_CHUNK = 262_144, 8_192
"""How many events are read at a time, without and with their texts."""


@dataclass(frozen=True)
class VisitIndex:
    """All visits of a source, ordered by subject and start; a visit's number is its place here.

    Attributes:
        subject_id: (visits,) int64.
        visit_id: (visits,) int64, the source's own.
        start, end: (visits,) datetime64[us].
        order_known: (visits,) bool; where it is False, earlier visits of the subject may in truth be later ones.
    """

    subject_id: np.ndarray
    visit_id: np.ndarray
    start: np.ndarray
    end: np.ndarray
    order_known: np.ndarray

    @classmethod
    def read(cls, relations: Path) -> VisitIndex:
        import pyarrow.parquet as pq

        names = ["subject_id", "visit_id", "start", "end", "order_known"]
        table = pq.read_table(relations / "visits.parquet", columns=names)
        return cls(*(table[n].to_numpy() for n in names))

    def __len__(self) -> int:
        return len(self.visit_id)

    @cached_property
    def first(self) -> np.ndarray:
        """(visits,) the number of the first visit that a sample at this one may see."""
        if not len(self):
            return np.zeros(0, np.int64)
        new = np.r_[True, self.subject_id[1:] != self.subject_id[:-1]]
        starts = np.flatnonzero(new)
        first = np.repeat(starts, np.diff(np.r_[starts, len(self)]))
        ambiguous = np.isin(self.subject_id, self.subject_id[~self.order_known])
        return np.where(ambiguous, np.arange(len(self)), first)

    @cached_property
    def _by_id(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.visit_id, kind="stable")
        return self.visit_id[order], order

    def numbers(self, visit_id: np.ndarray) -> np.ndarray:
        """The numbers of visits with these ids, -1 where there is none."""
        ids, order = self._by_id
        if not len(ids):
            return np.full(len(visit_id), -1, np.int64)
        place = np.searchsorted(ids, visit_id).clip(max=len(ids) - 1)
        return np.where(ids[place] == visit_id, order[place], -1)


class Order(NamedTuple):
    """What else is known of the drug orders that share a place in `Store.codes`; None where the source is silent."""

    name: str | None
    route: str | None
    order_type: str | None
    ingredient: str | None


class Texts(NamedTuple):
    """The texts of events.

    Attributes:
        utf8: (bytes,) uint8, all texts.
        begin, end: (events,) int64, where the text of each event lies.
    """

    utf8: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def of(self, events: np.ndarray) -> list[str]:
        """The texts of the events at these places."""
        bounds = zip(self.begin[events].tolist(), self.end[events].tolist(), strict=True)
        return [self.utf8[b:e].tobytes().decode() for b, e in bounds]


@dataclass(frozen=True)
class Store:
    """The events of one concept.

    Attributes:
        codes: the code strings; an event's ``code`` is a place in them. Drug orders of one code that differ in what
            `Order` tells have places of their own, and so have values in different units; a code may occur several
            times.
        offsets: (visits + 1,) int64; the events of visit ``v`` are ``offsets[v]:offsets[v + 1]``.
        code: (events,) int32.
        time: (events,) int32, whole seconds since the visit's start (rounded up: known no earlier than in truth).
        value: (events,) float32 as the source has them, NaN where there is none; None for a concept without numbers.
        text: the texts; None for a concept without.
        orders: None, or for each of the codes of ``drug`` what is known of the order.
        key: what all of this depends on; None where that is not known.
        units: None, or for each of the codes of a concept with numbers the unit of its values (None where not told).
    """

    codes: list[str]
    offsets: np.ndarray
    code: np.ndarray
    time: np.ndarray
    value: np.ndarray | None = None
    text: Texts | None = None
    orders: list[Order] | None = None
    key: dict | None = None
    units: list[str | None] | None = None

    @classmethod
    def open(cls, folder: Path, key: dict | None = None) -> Store:
        facts = json.loads((folder / "store.json").read_text())
        arrays = {n: map_file(folder / f"{n}.bin", t) for n, t in TYPES.items() if n in facts["arrays"]}
        text = None
        if "text" in facts["arrays"]:
            ends = map_file(folder / "text_offsets.bin", np.int64)
            text = Texts(map_file(folder / "text.bin", np.uint8), ends[:-1], ends[1:])
        return cls(
            facts["codes"],
            map_file(folder / "offsets.bin", np.int64),
            arrays["code"],
            arrays["time"],
            arrays.get("value"),
            text,
            None if facts["orders"] is None else [Order(*o) for o in facts["orders"]],
            key,
            facts["units"],
        )

    def only(self, codes: Sequence[str]) -> Store:
        """The store with the events of some codes."""
        names = [c for c in self.codes if c in set(codes)]
        place = np.full(len(self.codes), -1, np.int32)
        place[[self.codes.index(n) for n in names]] = np.arange(len(names))
        some = np.flatnonzero(place[self.code] >= 0)
        offsets = np.r_[0, np.cumsum(place[self.code] >= 0)][self.offsets]
        return Store(
            names,
            offsets,
            place[self.code[some]],
            self.time[some],
            None if self.value is None else self.value[some],
            None if self.text is None else Texts(self.text.utf8, self.text.begin[some], self.text.end[some]),
            key=None if self.key is None else {**self.key, "codes": names},
        )

    def once(self, names: Sequence[str | None]) -> Store:
        """The store with other names for its codes, and of each visit only the first event of each name.

        Args:
            names: (codes,) the new name of each code; events of codes without one are left out.
        """
        known = sorted({n for n in names if n is not None})
        place = {n: i for i, n in enumerate(known)}
        table = np.array([place.get(n, -1) for n in names], np.int32)
        code = table[self.code]
        visit = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        some = np.flatnonzero(code >= 0)
        key = visit[some] * max(len(known), 1) + code[some]
        first = some[np.sort(np.unique(key, return_index=True)[1])]  # of equals the first, which is the earliest
        offsets = np.zeros(len(self.offsets), np.int64)
        np.cumsum(np.bincount(visit[first], minlength=len(self.offsets) - 1), out=offsets[1:])
        return Store(known, offsets, code[first], self.time[first])


def map_file(path: Path, dtype: type) -> np.ndarray:
    """A flat file of numbers, memory-mapped."""
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r"))


def open_store(events: Path, key: dict, visits: VisitIndex, concept: str) -> Store:
    """The store of a concept, built from its canonical events where the cache has none.

    Args:
        events: the Parquet file with the canonical events, ordered by subject and time.
        key: what those events depend on.
        visits: the visits they belong to.
        concept: its name; ``note`` keeps texts, ``lab`` and ``vital`` keep values and their units.
    """
    kept, apart = ("code", "time", *KEPT.get(concept, ())), APART.get(concept, ())
    key = {"store": STORE_VERSION, "events": key}
    folder = cache.obtain(f"store-{concept}", key, lambda out: _build(events, visits, kept, apart, out))
    return Store.open(folder, key)


def _build(events: Path, visits: VisitIndex, kept: tuple[str, ...], apart: tuple[str, ...], out: Path) -> None:
    counts = np.zeros(len(visits), np.int64)
    codes: dict[tuple, int] = {}
    files = {n: open(out / f"{n}.bin", "wb") for n in kept}  # noqa: SIM115 (closed below, all of them)
    text_lengths = []
    try:
        for chunk in _whole_subjects(_chunks(events, visits, codes, kept, apart)):
            chunk = _in_visit_order(chunk)
            first = chunk["visit"][0] if len(chunk["visit"]) else 0
            found = np.bincount(chunk["visit"] - first) if len(chunk["visit"]) else np.zeros(0, np.int64)
            counts[first : first + len(found)] += found
            for name in kept:
                if name == "text":
                    encoded = [t.encode() for t in chunk["text"]]
                    text_lengths.extend(map(len, encoded))
                    files["text"].write(b"".join(encoded))
                else:
                    chunk[name].astype(TYPES[name]).tofile(files[name])
    finally:
        for file in files.values():
            file.close()
    np.r_[0, np.cumsum(counts)].astype(np.int64).tofile(out / "offsets.bin")
    if "text" in kept:
        np.r_[0, np.cumsum(np.array(text_lengths, np.int64))].astype(np.int64).tofile(out / "text_offsets.bin")
    facts = {
        "codes": [c[0] for c in codes],
        "arrays": kept,
        "orders": [c[1:] for c in codes] if "route" in apart else None,
        "units": [c[1] for c in codes] if "unit" in apart else None,
    }
    (out / "store.json").write_text(json.dumps(facts))


def _chunks(
    events: Path, visits: VisitIndex, codes: dict[tuple, int], kept: tuple[str, ...], apart: tuple[str, ...]
) -> Iterator[dict]:
    """Events within visits, so many at a time, as arrays: visit number, code number, time and so on.

    Args:
        codes: number of each code, with the columns that tell it apart; grows.
        kept: columns that become arrays.
        apart: columns that tell events of one code apart.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["subject_id", "visit_id", "rejected", *kept, *apart]
    rows = TEXT_CHUNK if "text" in kept else CHUNK
    file = pq.ParquetFile(events, read_dictionary=["code", *apart], pre_buffer=False)  # else all of it is held
    for batch in file.iter_batches(rows, columns=columns):
        if batch["rejected"].null_count < len(batch):
            batch = batch.filter(pc.is_null(batch["rejected"]))
        if batch["visit_id"].null_count:
            batch = batch.filter(pc.is_valid(batch["visit_id"]))
        if not len(batch):
            continue
        visit = _by_runs(visits, batch["visit_id"].to_numpy())
        since = batch["time"].to_numpy() - visits.start[visit]
        chunk = {
            "subject": batch["subject_id"].to_numpy(),
            "visit": visit,
            "code": _numbered([batch[n] for n in ("code", *apart)], codes),
            "time": (-(-since // SECOND)).astype(np.int64).clip(-(2**31), 2**31 - 1),
        }
        if "value" in kept:
            chunk["value"] = batch["value"].to_numpy(zero_copy_only=False)
        if "text" in kept:
            chunk["text"] = np.array([t or "" for t in batch["text"].to_pylist()], object)
        yield chunk


def _numbered(columns: list, codes: dict[tuple, int]) -> np.ndarray:
    """(events,) int32 the number of each event's code, from columns of dictionaries; new codes are added."""
    import pyarrow.compute as pc

    key = np.zeros(len(columns[0]), np.int64)
    names = [[*column.dictionary.to_pylist(), None] for column in columns]
    for column, known in zip(columns, names, strict=True):
        null = len(known) - 1
        key = key * len(known) + pc.fill_null(column.indices, null).to_numpy()
    event, found = pd.factorize(key)
    places = np.unravel_index(found, [len(known) for known in names])
    told = zip(*([known[i] for i in place] for known, place in zip(names, places, strict=True)), strict=True)
    return np.array([codes.setdefault(c, len(codes)) for c in told], np.int32)[event]


def _by_runs(visits: VisitIndex, visit_id: np.ndarray) -> np.ndarray:
    heads = np.flatnonzero(np.r_[True, visit_id[1:] != visit_id[:-1]])
    return np.repeat(visits.numbers(visit_id[heads]), np.diff(np.r_[heads, len(visit_id)]))


def _whole_subjects(chunks: Iterator[dict]) -> Iterator[dict]:
    """The same events, cut only between subjects."""
    held: list[dict] = []
    for chunk in chunks:
        cut = int(np.searchsorted(chunk["subject"], chunk["subject"][-1]))
        if cut or (held and held[-1]["subject"][-1] != chunk["subject"][0]):
            yield _joined([*held, {n: a[:cut] for n, a in chunk.items()}])
            held = []
        held.append({n: a[cut:] for n, a in chunk.items()})
    if held:
        yield _joined(held)


def _joined(chunks: list[dict]) -> dict:
    if len(chunks) == 1:
        return chunks[0]
    return {n: np.concatenate([c[n] for c in chunks]) for n in chunks[0]}


def _in_visit_order(chunk: dict) -> dict:
    visit = chunk["visit"]
    if len(visit) and np.any(visit[1:] < visit[:-1]):
        order = np.argsort(visit, kind="stable")
        return {n: a[order] for n, a in chunk.items()}
    return chunk
