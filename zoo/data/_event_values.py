"""Events with their values as they are read for labels: of all subjects at once, whatever visit they lie in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

COLUMNS = ("subject_id", "visit_id", "stay_id", "time", "code", "unit", "value")


@dataclass(frozen=True)
class EventValues:
    """Events, ordered by subject, visit and time.

    Attributes:
        subject: (events,) int64 ids.
        visit, stay: (events,) int64 places among the ids of visits and of stays; -1 for none of them.
        time: (events,) datetime64[us].
        code: (events,) int32, places in ``codes``.
        value: (events,) float64, NaN where there is none.
        codes: the code strings; one that has values in several units has a place for each.
        units: of each of the codes; None where it is not told.
    """

    subject: np.ndarray
    visit: np.ndarray
    stay: np.ndarray
    time: np.ndarray
    code: np.ndarray
    value: np.ndarray
    codes: list[str]
    units: list[str | None]

    @classmethod
    def read(
        cls, events: Path, visit_ids: np.ndarray, stay_ids: np.ndarray, codes: Collection[str] | None
    ) -> EventValues:
        """Those of some codes, or of all.

        Args:
            events: the Parquet file with canonical events, ordered by subject and time.
            visit_ids, stay_ids: of all visits, ordered by subject and start, and of all stays.
            codes: those that count; None for all.
        """
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        rows = pc.field("rejected").is_null()
        if codes is not None:
            rows &= pc.field("code").isin(pa.array(sorted(codes), pa.string()))
        table = pq.read_table(events, columns=[*COLUMNS], filters=rows, read_dictionary=["code", "unit"])
        subject, time = table["subject_id"].to_numpy(), table["time"].to_numpy().astype("datetime64[us]", copy=False)
        visit, stay = _places(table["visit_id"], visit_ids), _places(table["stay_id"], stay_ids)
        code, names = _numbered(table["code"])
        unit, units = _numbered(table["unit"])
        kinds, kind = np.unique(code * (len(units) + 1) + unit + 1, return_inverse=True)
        places = np.divmod(kinds, len(units) + 1)
        arrays = subject, visit, stay, time, kind.astype(np.int32), table["value"].to_numpy()
        if np.any((subject[1:] == subject[:-1]) & (visit[1:] < visit[:-1])):
            order = np.lexsort((visit, subject))  # stable: of a visit they stay in the order of time
            arrays = tuple(a[order] for a in arrays)
        return cls(*arrays, [names[p] for p in places[0]], [None if p == 0 else units[p - 1] for p in places[1]])


def _places(ids: pa.ChunkedArray, among: np.ndarray) -> np.ndarray:
    """The place of each id among others; -1 for null, and for one that is not there."""
    import pyarrow.compute as pc

    if ids.null_count == len(ids):
        return np.full(len(ids), -1, np.int64)
    known = pc.is_valid(ids).to_numpy()
    place = pd.Index(among).get_indexer(pc.fill_null(ids, 0).to_numpy())
    return np.where(known, place, -1)


def _numbered(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """(events,) places in a list of strings, and the list; -1 for null."""
    import pyarrow.compute as pc

    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no events
        whole = pa.array([], column.type)
    return pc.fill_null(whole.indices, -1).to_numpy().astype(np.int64), whole.dictionary.to_pylist()
