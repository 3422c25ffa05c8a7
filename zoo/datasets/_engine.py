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
from zoo.datasets._layout import beside, elsewhere
from zoo.knowledge.drugs import AtcMap
from zoo.registry import UserError, called, datasets, html_table, nearest

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import numpy as np
    import pandas as pd

ENGINE_VERSION = 8
RELATIONS = ("subjects", "visits", "stays")
IDS = ("subject_id", "visit_id", "stay_id")
RANKED = ("diagnosis", "procedure")
"""The concepts whose events may have a ``rank``, which goes before their code."""
TIES = {
    "drug": ("text", "route", "order_type", "ingredient"),
    "lab": ("value",),
    "vital": ("value",),
    "note": ("text",),
}
"""What else events are ordered by, so that reading a source twice gives a model the same."""
ROWS = 16_384
"""Notes held at a time where they are gone through in Python."""


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
    be left out); a concept's method also takes the cleaned visits, and may return a list of tables. What else they may
    have, `attach_visits` says; the relations may have ``remarks``, what is odd about a row that stays.
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
            Rows of ``code`` and ``spelt``, each with a ``new_code``, a ``remark`` or a ``flaw`` (see `attach_visits`);
            None where nothing is to be done.
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
        return pq.read_table(path, columns=columns, filters=_is_event()).to_pandas()

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

        some = _is_event() & pc.field("ingredient").is_valid() & pc.field("text").is_valid()
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
            raw = {name: _frame(self._relation(name, tables), name, cleaning) for name in RELATIONS}
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
                events = _gathered(parts, connection, folder / "parts")
                _duckdb.write_parquet(connection, _ordered(events, concept), path)
                shutil.rmtree(folder / "parts", ignore_errors=True)
            if self.events_key(concept) != key:
                raise UserError(f"the tables in {self.root} changed while they were read: try again.")
            self._settle(concept, connection, path)
            if concept == "note":
                _mark_twins(path)
            cleaning = _count_events(_duckdb.read_parquet(connection, path, "events"), concept)
        _save_cleaning(folder, cleaning)

    def _settle(self, concept: str, connection, path: Path) -> None:
        """Do what `settled` says: the file is written anew only where there is something to change."""
        import ibis

        events = _duckdb.read_parquet(connection, path, "gathered")
        if "spelt" not in events.columns:
            return
        kept = events.filter(events.rejected.isnull())
        changes = self.settled(concept, kept.group_by("code", "spelt").agg(n=kept.count()).to_pandas())
        if changes is None or not len(changes):
            return
        changes = changes.rename(columns={"code": "old_code", "spelt": "old_spelt"}).astype("string")
        listed = path.with_name("changes.parquet")
        changes.to_parquet(listed, index=False)
        changes = _duckdb.read_parquet(connection, listed, "changes")
        same = [events.code == changes.old_code, events.spelt.fill_null("") == changes.old_spelt.fill_null("")]
        joined = events.left_join(changes, same)
        settled = joined.select(
            **{n: joined[n] for n in events.columns if n not in ("code", "rejected", "remarks")},
            code=ibis.coalesce(joined.new_code, joined.code),
            rejected=ibis.coalesce(joined.rejected, joined.flaw),
            remarks=_both(joined.remarks, joined.remark),
        ).select(events.columns)
        unsettled = path.with_name("unsettled.parquet")
        path.rename(unsettled)
        _duckdb.read_parquet(connection, unsettled, "gathered")
        _duckdb.write_parquet(connection, _ordered(settled, concept), path)
        unsettled.unlink()
        listed.unlink()

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
                _check_columns(table, name)
            return found
        except UserError as error:
            raise UserError(f"{self.name} cannot give {name!r}: {error}") from None


def _check_columns(table: ir.Table, relation: str) -> None:
    """Raise a `UserError` where an adapter gives a column that there is not, or ids that are no integers."""
    if relation in RELATIONS:
        known = [*canonical.SCHEMAS[relation].names, "unparsed", "remarks"]
    else:
        known = [*canonical.EVENTS.names, "unparsed", *canonical.TOLD, "flaw", "closing", "sought", "day"]
    for column, form in table.schema().items():
        if column not in known:
            raise UserError(f"its expression has a column {column!r}, which there is not: {nearest(column, known)}.")
        if column in IDS and not (form.is_integer() or form.is_null()):
            raise UserError(
                f"its {column} is {str(form).lstrip('!')}: ids are integers. Make one of a text in the expression, so "
                f"that no two have the same, such as rows.{column}.substr(1).cast('int64') of F1001."
            )


def _ordered(events: ir.Table, concept: str) -> ir.Table:
    """Events by subject, time, visit, rank (those without one last) and code, and by what else tells them apart."""
    import ibis

    rank = [ibis.asc("rank", nulls_first=False)] if concept in RANKED else []
    return events.order_by(["subject_id", "time", "visit_id", *rank, "code", *TIES.get(concept, ())])


def _gathered(parts: list[ir.Table], connection, folder: Path) -> ir.Table:
    """The events of several tables as one, which lies in the folder: DuckDB cannot spill a union that it sorts."""
    if len(parts) == 1:
        return parts[0]
    folder.mkdir()
    written = [folder / f"{number}.parquet" for number in range(len(parts))]
    for part, path in zip(parts, written, strict=True):
        _duckdb.write_parquet(connection, part, path)
    return _duckdb.read_parquet(connection, written, "parts")


def attach_visits(events: ir.Table, visits: ir.Table, segments: ir.Table) -> ir.Table:
    """Complete an adapter's events: all columns, a visit where there is one, and why a row is no event.

    Args:
        events: at least ``subject_id``, ``time`` and ``code``. Where they have them also

            - ``closing``: whether an event is known no sooner than its visit's end, whatever its ``time``, which may be
              null; its visit is then sought by ``sought``;
            - ``day``: the first moment of a day of which no clock is told; the event also belongs to a visit that was
              over before that day was;
            - ``flaw``: why a row is no event;
            - the columns of `zoo.datasets._canonical.TOLD`.
        visits: cleaned visits.
        segments: see `zoo.datasets._canonical.segments`.

    Returns:
        The columns of `zoo.datasets._canonical.EVENTS`, ``rejected``, ``unparsed``, ``remarks``, and such of ``place``
        and ``spelt`` as there are. An event that names no visit gets the one that its time falls into, if any.
    """
    import ibis

    types = {n: str(ibis.dtype(t)) for n, t in ibis.Schema.from_pyarrow(canonical.EVENTS).items()}
    columns = {n: events[n].cast(t) if n in events.columns else ibis.null(t) for n, t in types.items()}
    unparsed = events.unparsed if "unparsed" in events.columns else ibis.null("string")
    also = ("remarks", "place", "spelt", "flaw", "closing", "sought", "day")
    events = events.select(**columns, unparsed=unparsed, **{n: events[n] for n in also if n in events.columns})

    far = ibis.interval(days=canonical.FAR.days)
    known = visits.select(
        known_visit=visits.visit_id,
        visit_subject=visits.subject_id,
        earliest=visits.start - far,
        latest=visits.end + far,
    )
    joined = events.left_join(known, events.visit_id == known.known_visit)
    moment = ibis.coalesce(events.sought, events.time) if "sought" in events.columns else events.time
    joined = joined.left_join(*_spans(segments, "span", events, moment))
    if "day" in events.columns:
        joined = joined.left_join(*_spans(segments, "day", events, events.day))
    named, time = joined.visit_id, joined.time
    visit = ibis.coalesce(*(joined[n] for n in ("visit_id", "span_visit", "day_visit") if n in joined.columns))
    if "closing" in events.columns:
        ends = visits.select(closed_visit=visits.visit_id, closed_end=visits.end)
        joined = joined.mutate(found_visit=visit)
        joined = joined.left_join(ends, joined.found_visit == ends.closed_visit)
        visit, named = joined.found_visit, joined.visit_id
        closed = ibis.ifelse(joined.closed_end > joined.time, joined.closed_end, joined.time)
        closed = ibis.coalesce(closed, joined.closed_end, joined.time, joined.sought)
        time = ibis.ifelse(joined.closing, closed, joined.time)
    flaw = joined.flaw if "flaw" in events.columns else ibis.null("string")
    rejected = ibis.cases(
        (joined.subject_id.isnull(), "no subject_id"),
        (named.notnull() & joined.known_visit.isnull(), "visit left out or unknown"),
        (named.notnull() & (joined.visit_subject != joined.subject_id), "visit of another subject"),
        (joined.code.isnull(), "no code"),
        (flaw.notnull(), flaw),
        (time.isnull(), "no time"),
        (joined.unparsed.notnull() & joined.value.isnull() & joined.code.startswith("VITAL//"), "no number"),
        else_=ibis.null("string"),
    )
    late = f"more than {canonical.FAR.days} days after the visit that it names"
    early = f"more than {canonical.FAR.days} days before the visit that it names"
    remarks = ibis.cases((time > joined.latest, late), (time < joined.earliest, early), else_=ibis.null("string"))
    return joined.select(
        joined.subject_id,
        visit_id=visit,
        **{n: joined[n] for n in canonical.EVENTS.names if n not in ("subject_id", "visit_id", "time")},
        time=time,
        rejected=rejected,
        unparsed=joined.unparsed,
        remarks=_both(joined.remarks, remarks) if "remarks" in events.columns else remarks,
        **{n: joined[n].cast(canonical.TOLD[n]) for n in ("place", "spelt") if n in events.columns},
    )


def _spans(segments: ir.Table, name: str, events: ir.Table, moment: ir.TimestampColumn) -> tuple[ir.Table, list]:
    """The visits, as ``<name>_visit``, in which a moment of the events that name none lies, and on what to join."""
    import ibis

    spans = segments.select(
        **{f"{name}_subject": segments.subject_id, f"{name}_visit": segments.visit_id},
        **{f"{name}_since": segments.since, f"{name}_until": segments.until},
    )
    seeking = ibis.ifelse(events.visit_id.isnull(), events.subject_id, ibis.null("int64"))
    return spans, [
        seeking == spans[f"{name}_subject"],
        moment >= spans[f"{name}_since"],
        moment < spans[f"{name}_until"],
    ]


def _both(first: ir.StringColumn, second: ir.StringColumn) -> ir.StringColumn:
    """Two remarks on one row as one, where it has both."""
    import ibis

    return ibis.coalesce(first + "; " + second, first, second)


def _mark_twins(path: Path) -> None:
    """Reject notes that say what the one before them says: of one subject, visit, time and kind, word by word.

    The rows are in order, so that equal ones follow each other. The file is written anew only where there are some.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    keys, twins, before, row = ("subject_id", "time", "visit_id", "code"), [], None, 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(ROWS, columns=[*keys, "text", "rejected"]):
            table = pa.Table.from_batches([batch]).append_column("row", pa.array(np.arange(row, row + len(batch))))
            row += len(batch)
            table = table.filter(pc.is_null(table["rejected"]))
            table = table if before is None else pa.concat_tables([before, table])
            same = np.ones(max(len(table) - 1, 0), bool)
            for key in keys:
                column = table[key].cast(pa.int64()) if key == "time" else table[key]
                column = pc.fill_null(column, "" if key == "code" else -1)
                same &= pc.equal(column[1:], column[:-1]).to_numpy()
            again = np.flatnonzero(same)
            said = pc.equal(table["text"].take(again + 1), table["text"].take(again)).to_numpy()
            twins.append(table["row"].to_numpy()[again[said] + 1])
            before = table[-1:] if len(table) else before
    twins = np.concatenate([*twins, np.empty(0, np.int64)])
    if len(twins):
        _reject(path, twins, "says again what another note says")


def _reject(path: Path, rows: np.ndarray, reason: str) -> None:
    """Write a file of events anew with some rows, given by their place in it, rejected for a reason."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    whole = path.with_name("unmarked.parquet")
    path.rename(whole)
    with pq.ParquetFile(whole, pre_buffer=False) as file:
        place = file.schema_arrow.get_field_index("rejected")
        schema = file.schema_arrow.set(place, pa.field("rejected", pa.string()))
        with pq.ParquetWriter(path, schema) as writer:
            row = 0
            for batch in file.iter_batches(ROWS):
                marked = pa.array(np.isin(np.arange(row, row + len(batch)), rows))
                row += len(batch)
                table = pa.Table.from_batches([batch]).cast(schema)
                reasons = pc.if_else(marked, reason, table["rejected"])
                writer.write_table(table.set_column(place, "rejected", reasons))
    whole.unlink()


def _frame(expression: ir.Table | None, name: str, cleaning: canonical.Cleaning) -> pd.DataFrame:
    import pyarrow as pa

    schema = canonical.SCHEMAS[name]
    if expression is None:
        return schema.empty_table().to_pandas()
    table = expression.to_pyarrow()
    cleaning.rows[name] = table.num_rows
    if "unparsed" in table.column_names:
        key = {"subjects": "subject_id", "visits": "visit_id", "stays": "stay_id"}[name]
        marked = table.filter(table["unparsed"].is_valid()).select([key, "unparsed"])
        marked = marked.sort_by([(key, "ascending"), ("unparsed", "ascending")]).to_pandas(integer_object_nulls=True)
        for column, rows in marked.groupby(marked.unparsed.str.split(":").str[0]):
            shown = [f"{key} {k}, {shape}" for k, shape in rows.head(3).itertuples(index=False)]
            cleaning.add(name, f"{canonical.UNPARSABLE}{column}", len(rows), shown)
    count = table.num_rows
    columns = [table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(count, f.type) for f in schema]
    frame = pa.table(columns, schema=schema).to_pandas()
    for f in schema:  # integers with nulls come as floats; ids must not lose digits on the way
        if pa.types.is_int64(f.type) and table[f.name].null_count if f.name in table.column_names else False:
            frame[f.name] = table[f.name].cast(pa.int64()).to_pandas(types_mapper={pa.int64(): "Int64"}.get)
    if "remarks" in table.column_names:
        frame["remarks"] = table["remarks"].to_pandas()
    if "order_known" in frame:
        frame["order_known"] = frame["order_known"].astype("boolean").fillna(True).astype(bool)
    return frame


def _count_events(events: ir.Table, concept: str) -> canonical.Cleaning:
    cleaning = canonical.Cleaning(rows={concept: int(events.count().execute())})
    marked = events.filter(events.rejected.notnull() | events.unparsed.notnull() | events.remarks.notnull())
    counted = marked.group_by(["rejected", "unparsed", "remarks"])
    counted = counted.agg(n=marked.count(), subject=marked.subject_id.min())
    for row in counted.order_by(counted.n.desc(), *counted.columns[:3]).to_pyarrow().to_pylist():
        subject = f"subject_id {row['subject']}"
        if row["rejected"]:
            cleaning.add(concept, row["rejected"], row["n"], [subject])
        elif row["remarks"]:
            for remark in row["remarks"].split("; "):
                cleaning.add(concept, f"kept, but {remark}", row["n"], [subject])
        if row["unparsed"]:
            column = row["unparsed"].split(":")[0]
            cleaning.add(concept, f"{canonical.UNPARSABLE}{column}", row["n"], [f"{subject}, {row['unparsed']}"])
    homeless = events.filter(events.rejected.isnull() & events.visit_id.isnull()).count().execute()
    cleaning.add(concept, "kept, but within no visit", homeless)
    return cleaning


def _is_event():
    import pyarrow.compute as pc

    return pc.field("rejected").is_null()


def _save_cleaning(folder: Path, cleaning: canonical.Cleaning) -> None:
    (folder / "cleaning.json").write_text(json.dumps(asdict(cleaning), indent=1))
