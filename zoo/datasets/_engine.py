"""From an adapter's lazy expressions to canonical Parquet, sorted by subject and time, when first asked for."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from zoo import cache
from zoo.datasets import _canonical as canonical
from zoo.datasets import _duckdb
from zoo.datasets import _source as source
from zoo.datasets._attached import attach_visits
from zoo.datasets._event_file import count_events, gathered, is_event, mark_twins, ordered, settle
from zoo.datasets._layout import beside, elsewhere
from zoo.datasets._relation_frame import RELATIONS, check_columns, frame_of
from zoo.knowledge.drugs import AtcMap
from zoo.registry import UserError, called, datasets, html_table, nearest

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

ENGINE_VERSION = 8


class Dataset:
    """A source of patients. An adapter derives from this, names its tables and gives one expression a relation.

    Args:
        root: the folder with the source's tables (see `zoo.datasets._source.Files`).
        lab_delay: hours after the draw at which a laboratory result counts as known, where the source has no time of
            result.
        memory_limit: how much memory DuckDB may take before it spills to disk, such as ``"2GB"``; some 500 MB of the
            process come on top.
        drug_map: a CSV file with the columns ``ndc`` and ``atc``, which then decides the class of a drug order before
            its name does; see `zoo.knowledge.drugs.AtcMap`.

    An adapter's methods `subjects`, `visits`, `stays` and one for each concept take a
    `zoo.datasets._source.Tables` and return lazy Ibis tables with the canonical columns (those it has no value for may
    be left out); a concept's method also takes the cleaned visits, and may return a list of tables. What else events
    may have, `zoo.datasets._attached.attach_visits` says; relations may have ``remarks``, what is odd about a row that
    stays.
    """

    registered_name: ClassVar[str]
    version: ClassVar[int] = 1
    """To be raised whenever the adapter gives other rows for the same source, but for a change to its class itself."""
    needs: ClassVar[tuple[str, ...]]
    """Tables without which there is nothing to do."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Further tables that `subjects`, `visits` and `stays` read if they are there."""
    concepts_from: ClassVar[dict[str, tuple[str, ...]]]
    """For each concept the tables that it is read from; it is offered where any of them exists."""
    gaps_known: ClassVar[bool] = True
    """Whether the time between two visits is known."""
    follow_up_days: ClassVar[tuple[float, float]] = (0, 0)
    """For how many days after a subject's last discharge deaths are known: of all subjects, and of those of whom most
    is known; 0 where only deaths in hospital are."""
    at_start: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """For facts of a visit the values, in any case, that tell more than was known at its start, and what was."""
    orders_by_day: ClassVar[bool] = False
    """Whether of a drug order only the day is known."""
    interactions: ClassVar[str] = "onc"
    """The interactions that are looked for among drugs where no others are asked for."""
    drug_map: str | None = None
    given_root: Path | None = None
    """The folder that the user named; None for a dataset that writes its own tables."""

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        lab_delay: float = 0.0,
        memory_limit: str = "750MB",
        drug_map: str | None = None,
    ):
        if root is None:
            raise UserError(f"dataset {self.name!r} needs root=, the folder with its tables.")
        self.root = self.given_root = Path(root).expanduser().absolute()
        if not self.root.is_dir():
            raise UserError(f"root {str(self.root)!r} is no folder: give the folder with the tables of {self.name!r}.")
        self.lab_delay, self.memory_limit = float(lab_delay), str(memory_limit)
        self.drug_map = None if drug_map is None else str(Path(drug_map).expanduser().absolute())
        if not 0 <= self.lab_delay < float("inf"):
            raise UserError(f"lab_delay={lab_delay!r} must be a number of hours of at least 0.")
        if not re.fullmatch(r"\d+(\.\d+)? ?[KMGT]i?B", self.memory_limit):
            raise UserError(f"memory_limit={memory_limit!r} must be a size such as '500MB' or '1GB'.")
        if self.drug_map is not None:
            AtcMap.from_csv(self.drug_map)  # a mistake in it shows before anything is read
        for table in self.needs:
            if source.find(self.root, table) is None:
                told = source.missing_table(self.root, table)
                raise UserError(f"{self.name}: {told}{elsewhere(self.root, table)}")

    # What an adapter gives

    def subjects(self, tables: source.Tables) -> ir.Table:
        raise NotImplementedError

    def visits(self, tables: source.Tables) -> ir.Table:
        raise NotImplementedError

    def stays(self, tables: source.Tables) -> ir.Table | None:
        return None

    def expression(self, concept: str, tables: source.Tables, visits: ir.Table) -> ir.Table | list[ir.Table]:
        """The events of a concept, before visits are attached and rows without subject, code or time are set aside."""
        return getattr(self, concept)(tables, visits)

    def settled(self, concept: str, codes: pd.DataFrame) -> pd.DataFrame | None:
        """What is to be made of a concept's codes, as far as that shows only when all are known.

        Args:
            concept: whose events have been gathered.
            codes: the distinct ``code`` and ``spelt`` of its events, and ``n``, how many have them.

        Returns:
            Rows of ``code`` and ``spelt``, each with a ``new_code``, a ``remark`` or a ``flaw`` (as in
            `zoo.datasets._attached.attach_visits`); None where nothing is to be done.
        """
        return None

    # What everyone else reads

    @property
    def name(self) -> str:
        return datasets.entry(type(self)).name

    @property
    def concepts(self) -> list[str]:
        """The concepts that the source has tables for."""
        offered = {c for c, tables in self.concepts_from.items() if self._present(tables)}
        return [c for c in canonical.CONCEPTS if c in offered]

    def __repr__(self) -> str:
        root = {} if self.given_root is None else {"root": str(self.given_root)}
        return called(type(self), **root, **self.parameters())

    def _repr_html_(self) -> str:
        root = {} if self.given_root is None else {"root": self.given_root}
        return html_table(self.name, {**root, **self.parameters(), "concepts": ", ".join(self.concepts)})

    def require(self, concept: str) -> None:
        """Raise a `UserError` where a concept is not offered, saying which table is missing."""
        if concept in self.concepts:
            return
        if concept in self.concepts_from:
            tables = " or ".join(map(repr, self.concepts_from[concept]))
            told = "".join(f" The {note}." for note in self.misplaced())
            raise UserError(f"{self.name} at {self.root} offers no {concept!r}: that needs the table {tables}.{told}")
        if concept in canonical.CONCEPTS:
            raise UserError(f"{self.name} has no {concept!r}; it has {', '.join(self.concepts)}.")
        raise UserError(f"unknown concept {concept!r}: {nearest(concept, canonical.CONCEPTS)}.")

    def misplaced(self) -> list[str]:
        """What to say of tables that were looked for in the root and lie beside it; nothing where there are none."""
        known = {*self.optional, *(t for tables in self.concepts_from.values() for t in tables)}
        missing = sorted(t for t in known if source.find(self.root, t) is None)
        lost = ", ".join(beside(self.root, missing))
        if not lost:
            return []
        return [f"root {self.root.name!r} lies too deep: {lost} beside it not read; set root to the folder above"]

    def folder(self) -> Path:
        """The folder with ``subjects.parquet``, ``visits.parquet`` and ``stays.parquet``, made if need be."""
        return cache.obtain(f"{self.name}-relations", self._relations_key(), self._write_relations)

    def events_folder(self, concept: str) -> Path:
        """The folder with ``events.parquet`` of a concept, made if need be.

        Besides the canonical columns the file has ``rejected`` and ``unparsed``: why a row is no event, and which of
        its values did not parse. Readers leave out rows that have ``rejected`` set; `read` does.
        """
        self.require(concept)
        return cache.obtain(
            f"{self.name}-{concept}", self.events_key(concept), lambda folder: self._write_events(concept, folder)
        )

    def events_key(self, concept: str) -> dict:
        """All that the events of a concept depend on."""
        files = source.identity(self._present(self.concepts_from[concept]))
        return {"relations": self._relations_key(), "concept": concept, "files": files, "lab_delay": self.lab_delay}

    def read(self, relation: str) -> pd.DataFrame:
        """A canonical relation as a DataFrame: ``subjects``, ``visits``, ``stays``, or the events of a concept.

        ``left_out`` has the visits and stays that are no samples but did take place.
        """
        import pandas as pd
        import pyarrow.parquet as pq

        if relation == "left_out":
            table = pq.read_table(self.folder() / "left_out.parquet")
            return table.to_pandas(types_mapper={table.schema.field("visit_id").type: pd.Int64Dtype()}.get)
        if relation in RELATIONS:
            return pq.read_table(self.folder() / f"{relation}.parquet").to_pandas()
        path = self.events_folder(relation) / "events.parquet"
        columns = [*canonical.EVENTS.names]
        return pq.read_table(path, columns=columns, filters=is_event()).to_pandas()

    def drug_names(self) -> dict[str, str]:
        """``DRUG//name`` of each drug code: the name that most of its events have, of equals the first."""
        key = self.events_key("drug")
        folder = cache.obtain(f"{self.name}-drug-names", key, self._write_drug_names)
        return json.loads((folder / "names.json").read_text())

    def code_names(self, concept: str) -> dict[str, str]:
        """What the source itself calls the codes of a concept; nothing where it has no names for them."""
        if concept != "drug" or concept not in self.concepts:
            return {}
        return {**self._ingredient_names(), **{c: n.partition("//")[2] for c, n in self.drug_names().items()}}

    def _ingredient_names(self) -> dict[str, str]:
        """The name that most orders of an ingredient have: that of orders which have its number only."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        some = is_event() & pc.field("ingredient").is_valid() & pc.field("text").is_valid()
        path = self.events_folder("drug") / "events.parquet"
        orders = pq.read_table(path, columns=["ingredient", "text"], filters=some).to_pandas()
        counts = orders.assign(text=orders.text.str.strip().str.lower()).value_counts().reset_index()
        first = counts.sort_values(["count", "text"], ascending=[False, True]).drop_duplicates("ingredient")
        return dict(zip(first.ingredient, first.text, strict=True))

    def report(self, concepts: Iterable[str] = ()) -> canonical.Cleaning:
        """What was left out or nulled in the relations and in the events of the named concepts, with reasons.

        A cell that became null counts once in each relation that is made from its row: one of eICU's table of unit
        stays in ``stays``, and in ``visits`` where the stay is its visit's first.
        """
        cleaning = canonical.Cleaning()
        for folder in [self.folder(), *(self.events_folder(c) for c in concepts)]:
            found = json.loads((folder / "cleaning.json").read_text())
            cleaning.counts |= found["counts"]
            cleaning.examples |= found["examples"]
            cleaning.rows |= found["rows"]
        return cleaning

    def key(self, concepts: Iterable[str] = ()) -> dict:
        """What identifies this source and how it is read, with the tables of some concepts."""
        files = {c: source.identity(self._present(self.concepts_from[c])) for c in concepts}
        return {**self._relations_key(), "events": files} if files else self._relations_key()

    def parameters(self) -> dict:
        """The constructor's arguments that this dataset was made with, where they are of a plain type."""
        names = [p for p in inspect.signature(type(self).__init__).parameters if p not in ("self", "root")]
        return {n: getattr(self, n) for n in names if isinstance(getattr(self, n, None), (int, float, str, bool))}

    # How it comes about

    def _relations_key(self) -> dict:
        if not hasattr(self, "_key"):
            self._key = self._relations_key_now()
        return self._key

    def _relations_key_now(self) -> dict:
        return {
            **datasets.code(type(self), registered=True),
            "dataset": self.name,
            "version": [ENGINE_VERSION, self.version],
            "files": source.identity(self._present([*self.needs, *self.optional])),
        }

    def _present(self, tables: Iterable[str]) -> list[Path]:
        return [p for t in tables if (p := source.find(self.root, t)) is not None]

    @contextmanager
    def connected(self, folder: Path) -> Iterator:
        """A connection to DuckDB that spills below the folder while the block runs."""
        spill = folder / "spill"
        try:
            with _duckdb.connected(spill, self.memory_limit) as connection:
                yield connection
        finally:
            shutil.rmtree(spill, ignore_errors=True)

    def _write_relations(self, folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        cleaning = canonical.Cleaning()
        paths = self._present([*self.needs, *self.optional])
        with self.connected(folder) as connection, source.reading(paths, folder):
            tables = source.Files(self.root, connection)
            raw = {name: frame_of(self._relation(name, tables), name, cleaning) for name in RELATIONS}
        subjects = canonical.clean_subjects(raw["subjects"], cleaning)
        visits, no_visits = canonical.clean_visits(raw["visits"], subjects, cleaning)
        visits = canonical.settle_visits(canonical.told(visits, "visits", "visit_id", cleaning), subjects, cleaning)
        stays, no_stays = canonical.clean_stays(raw["stays"], visits, cleaning)
        stays = canonical.told(stays, "stays", "stay_id", cleaning)
        canonical.settle_stays(stays, visits, cleaning)
        if self._relations_key_now() != self._relations_key():
            raise UserError(f"the tables in {self.root} changed while they were read: try again.")
        for name, frame in (("subjects", subjects), ("visits", visits), ("stays", stays)):
            schema = canonical.SCHEMAS[name]
            pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), folder / f"{name}.parquet")
        left_out = [pa.Table.from_pandas(f, canonical.LEFT_OUT, preserve_index=False) for f in (no_visits, no_stays)]
        pq.write_table(pa.concat_tables(left_out), folder / "left_out.parquet")
        segments = canonical.segments(visits)
        pq.write_table(pa.Table.from_pandas(segments, preserve_index=False), folder / "segments.parquet")
        _save_cleaning(folder, cleaning)

    def _write_events(self, concept: str, folder: Path) -> None:
        relations = self.folder()
        path = folder / "events.parquet"
        key = self.events_key(concept)
        with self.connected(folder) as connection:
            visits = _duckdb.read_parquet(connection, relations / "visits.parquet", "visits")
            segments = _duckdb.read_parquet(connection, relations / "segments.parquet", "segments")
            with source.reading(self._present(self.concepts_from[concept]), folder):
                found = self._relation(concept, source.Files(self.root, connection), visits)
                parts = [attach_visits(p, visits, segments) for p in (found if isinstance(found, list) else [found])]
                events = gathered(parts, connection, folder / "parts")
                _duckdb.write_parquet(connection, ordered(events, concept), path)
                shutil.rmtree(folder / "parts", ignore_errors=True)
            if self.events_key(concept) != key:
                raise UserError(f"the tables in {self.root} changed while they were read: try again.")
            settle(path, connection, concept, self.settled)
            if concept == "note":
                mark_twins(path)
            cleaning = count_events(_duckdb.read_parquet(connection, path, "events"), concept)
        _save_cleaning(folder, cleaning)

    def _write_drug_names(self, folder: Path) -> None:
        from zoo.datasets._expressions import drug_name

        path = self.events_folder("drug") / "events.parquet"
        with self.connected(folder) as connection:
            events = _duckdb.read_parquet(connection, path, "events")
            named = events.filter(events.rejected.isnull()).select("code", name=drug_name(events.text))
            named = named.filter(named.name.notnull())
            counts = named.group_by("code", "name").agg(n=named.count())
            rows = counts.order_by([counts.n, counts.name.desc()]).to_pyarrow()
        names = dict(zip(rows["code"].to_pylist(), rows["name"].to_pylist(), strict=True))  # the last one stays
        (folder / "names.json").write_text(json.dumps(names))

    def _relation(self, name: str, *sources) -> ir.Table | list[ir.Table] | None:
        """An adapter's expression; where a table is missing or damaged, the error also says what needs it."""
        try:
            found = getattr(self, name)(*sources) if name in RELATIONS else self.expression(name, *sources)
            for table in found if isinstance(found, list) else [] if found is None else [found]:
                check_columns(table, name)
            return found
        except UserError as error:
            raise UserError(f"{self.name} cannot give {name!r}: {error}") from None


def _save_cleaning(folder: Path, cleaning: canonical.Cleaning) -> None:
    (folder / "cleaning.json").write_text(json.dumps(asdict(cleaning), indent=1))
