"""Every adapter's expressions compile for the SQL of PostgreSQL and Spark, so that nothing leans on DuckDB alone."""

from types import SimpleNamespace

import fabricated
import ibis
import pytest

from zoo.datasets import _canonical as canonical
from zoo.datasets._attached import attach_visits
from zoo.datasets._relation_frame import RELATIONS
from zoo.datasets._source import Declared
from zoo.prepare import load_dataset

DUCKDB_ONLY = ("TRY_CAST", "memtable")


@pytest.fixture(params=["postgres", "pyspark"])
def dialect(request, monkeypatch):
    if request.param == "pyspark":  # options that Ibis registers only where Spark is installed
        monkeypatch.setattr(ibis.config.Options, "pyspark", SimpleNamespace(treat_nan_as_null=False), raising=False)
    return request.param


@pytest.fixture(params=list(fabricated.SOURCES))
def dataset(request, tmp_path):
    return load_dataset(request.param, fabricated.write(fabricated.frames(request.param), tmp_path, form="csv"))


def declared(name: str, schema) -> ibis.Table:
    return ibis.table(ibis.Schema.from_pyarrow(schema), name=name)


def segments() -> ibis.Table:
    columns = {"subject_id": "int64", "visit_id": "int64", "since": "timestamp", "until": "timestamp"}
    return ibis.table(columns, name="segments")


def compiled(expression, dialect: str) -> str:
    sql = str(ibis.to_sql(expression, dialect=dialect))
    assert not any(word.lower() in sql.lower() for word in DUCKDB_ONLY)
    return sql


def test_relations_compile(dataset, dialect):
    tables = Declared(dialect, fabricated.columns_of(dataset.name))
    for relation in RELATIONS:
        assert "SELECT" in compiled(getattr(dataset, relation)(tables), dialect)


def test_concepts_compile_with_their_visits(dataset, dialect):
    tables = Declared(dialect, fabricated.columns_of(dataset.name))
    visits = declared("visits", canonical.SCHEMAS["visits"])
    assert dataset.concepts == list(canonical.CONCEPTS)
    for concept in dataset.concepts:
        found = dataset.expression(concept, tables, visits)
        for part in found if isinstance(found, list) else [found]:
            events = attach_visits(part, visits, segments()).order_by(["subject_id", "time", "visit_id", "code"])
            assert "JOIN" in compiled(events, dialect)


def test_values_are_cast_behind_a_guard_where_a_cast_may_fail(dialect):
    rows = Declared(dialect, {"t": ["n", "x", "t"]}).table("t", n="integer", x="number", t="time")
    sql = compiled(rows, dialect)
    assert "^-?[0-9]{1,18}" in sql
    assert "^[0-9]{4}-" in sql
