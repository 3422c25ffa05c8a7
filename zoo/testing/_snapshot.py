"""Canonical tables held in memory and written out again, so that a changed source can go the way of the data."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zoo.datasets import _canonical as canonical
from zoo.registry import UserError

NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
WRITTEN_EVENTS = canonical.EVENTS.append(pa.field("rejected", pa.string())).append(pa.field("unparsed", pa.string()))


@dataclass(frozen=True)
class Tables:
    """The canonical relations of some subjects, the events of some concepts, and what cleaning left out of visits."""

    subjects: pd.DataFrame
    visits: pd.DataFrame
    stays: pd.DataFrame
    events: dict[str, pd.DataFrame]
    left_out: pd.DataFrame

    @property
    def number(self) -> pd.Series:
        """The place of each visit in the order of subject and start, by its id."""
        return pd.Series(np.arange(len(self.visits)), self.visits.visit_id.to_numpy())


class Snapshot:
    """Canonical tables in a folder, behind what `zoo.prepare` asks of a dataset.

    Args:
        tables: what to write.
        folder: an empty folder to write into.
        like: the dataset that the tables were taken from.
    """

    name = "snapshot"

    def __init__(self, tables: Tables, folder: Path, like):
        self.gaps_known, self.orders_by_day, self.drug_map = like.gaps_known, like.orders_by_day, like.drug_map
        self.interactions, self.follow_up_days, self._folder = like.interactions, like.follow_up_days, folder
        self.concepts, self.at_start = list(tables.events), like.at_start
        self._left_out = tables.left_out
        visits = tables.visits.sort_values(["subject_id", "start", "visit_id"], kind="stable")
        relations = {"subjects": tables.subjects, "visits": visits, "stays": tables.stays}
        for relation, frame in relations.items():
            _write(frame, canonical.SCHEMAS[relation], folder / f"{relation}.parquet")
        for concept, frame in tables.events.items():
            ordered = frame.sort_values(["subject_id", "time", "visit_id", "rank", "code"], kind="stable")
            (folder / concept).mkdir()
            _write(ordered.assign(rejected=None, unparsed=None), WRITTEN_EVENTS, folder / concept / "events.parquet")

    def folder(self) -> Path:
        return self._folder

    def events_folder(self, concept: str) -> Path:
        return self._folder / concept

    def events_key(self, concept: str) -> dict:
        return {"snapshot": str(self._folder), "concept": concept}

    def key(self, concepts=()) -> dict:
        return {"snapshot": str(self._folder)}

    def parameters(self) -> dict:
        return {}

    def misplaced(self) -> list[str]:
        return []

    def require(self, concept: str) -> None:
        if concept not in self.concepts:
            raise UserError(f"the snapshot of {self.name} was taken without {concept!r}.")

    def read(self, relation: str) -> pd.DataFrame:
        if relation == "left_out":
            return self._left_out
        if relation in canonical.SCHEMAS:
            return pq.read_table(self._folder / f"{relation}.parquet").to_pandas()
        path = self.events_folder(relation) / "events.parquet"
        return pq.read_table(path, columns=canonical.EVENTS.names).to_pandas()


def _write(frame: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    table = pa.Table.from_pandas(frame[schema.names], schema, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(), path)  # without what pandas would make of it


def read_tables(dataset, concepts: Collection[str], subject_ids: np.ndarray) -> Tables:
    """The canonical tables of some subjects; integers and flags keep their nulls."""
    chosen = pc.field("subject_id").isin(pa.array(subject_ids))

    def read(path: Path, names: list[str], rows=chosen) -> pd.DataFrame:
        return pq.read_table(path, columns=names, filters=rows).to_pandas(types_mapper=NULLABLE.get)

    folder = dataset.folder()
    relations = {r: read(folder / f"{r}.parquet", s.names) for r, s in canonical.SCHEMAS.items()}
    event = chosen & pc.field("rejected").is_null()
    events = {c: read(dataset.events_folder(c) / "events.parquet", canonical.EVENTS.names, event) for c in concepts}
    left_out = dataset.read("left_out")
    return Tables(**relations, events=events, left_out=left_out[left_out.subject_id.isin(subject_ids)])


@contextmanager
def private_cache(folder: Path) -> Iterator[None]:
    """Keep what is derived meanwhile out of the user's cache."""
    before = os.environ.get("ZOO_CACHE")
    os.environ["ZOO_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("ZOO_CACHE")
        if before is not None:
            os.environ["ZOO_CACHE"] = before
