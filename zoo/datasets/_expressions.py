"""Pieces of Ibis expressions that more than one adapter uses, written so that every SQL engine gives the same rows."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from zoo.knowledge import vitals



def years_between(earlier: ir.TimestampColumn, later: ir.TimestampColumn) -> ir.FloatingColumn:
    """Years of 365.25 days between two times."""
    seconds = later.epoch_seconds().cast("float64") - earlier.epoch_seconds().cast("float64")
    return seconds / ibis.literal(365.25 * 86400, "float64")


def capped_age(age: ir.FloatingColumn, limit: float) -> ir.FloatingColumn:
    """The age, or 90 where it is over the limit above which sources hide it."""
    return ibis.ifelse(age > limit, ibis.literal(90.0, "float64"), age)


def end_of_day(time: ir.TimestampColumn) -> ir.TimestampColumn:
    """The last second of the day that a time falls into: when a date without a clock is known."""
    return time.truncate("D") + ibis.interval(seconds=86399)


def later(time: ir.TimestampColumn, hours: float) -> ir.TimestampColumn:
    """A time moved by a number of hours."""
    return time + ibis.interval(seconds=round(hours * 3600)) if hours else time


def latest(*times: ir.TimestampColumn) -> ir.TimestampColumn:
    """The latest of the times that are known."""
    first, *others = times
    for other in others:
        first = ibis.coalesce(ibis.ifelse(other > first, other, first), first, other)
    return first


def first_known(*columns: ir.Column) -> ir.Column:
    """The first that is not null."""
    return ibis.coalesce(*columns)


def unless(condition: ir.BooleanColumn, column: ir.Column) -> ir.Column:
    """The column, null where the condition holds."""
    return ibis.ifelse(condition.fill_null(False), ibis.null(column.type()), column)


def choose(condition: ir.BooleanColumn, yes: ir.Column, no: ir.Column) -> ir.Column:
    """One of two columns; a null condition counts as no."""
    return ibis.ifelse(condition.fill_null(False), yes, no)


def coded(system: str, code: ir.Column) -> ir.StringColumn:
    """``SYSTEM//CODE``, null where the code is."""
    return f"{system}//" + code.cast("string")


def named(system: str, name: ir.StringColumn) -> ir.StringColumn:
    """``SYSTEM//a_name``: lower case, with an underscore between words; null where the name is empty."""
    words = name.strip().lower().re_replace("[^a-z0-9]+", "_")
    return ibis.ifelse(words == "", ibis.null("string"), f"{system}//" + words)


def dotted(code: ir.StringColumn, system: str) -> ir.StringColumn:
    """A canonical ICD code of one system: stripped, upper case, with the dot where the system has it."""
    plain = code.strip().upper().replace(".", "")
    if system == "ICD10PCS":
        return ibis.ifelse(plain == "", ibis.null("string"), f"{system}//" + plain)
    if system == "ICD9CM":
        stem = ibis.ifelse(plain.startswith("E"), 4, 3)
    else:
        stem = ibis.literal(2 if system == "ICD9PROC" else 3)
    with_dot = ibis.ifelse(
        plain.length() > stem, plain.substr(0, stem) + "." + plain.substr(stem, plain.length() - stem), plain
    )
    return ibis.ifelse(plain == "", ibis.null("string"), f"{system}//" + with_dot)


def drug_code(ndc: ir.StringColumn, name: ir.StringColumn) -> ir.StringColumn:
    """``NDC//...`` where there is a code that is not all zeros, else ``DRUG//name`` in lower case."""
    ndc, name = ndc.strip(), name.strip().lower()
    has_ndc = ndc.notnull() & (ndc.replace("0", "") != "")
    by_name = ibis.ifelse(name == "", ibis.null("string"), "DRUG//" + name)
    return ibis.ifelse(has_ndc, "NDC//" + ndc, by_name)


def visit_ends(rows: ir.Table, visit_id: ir.IntegerColumn, visits: ir.Table) -> ir.Table:
    """Rows with ``visit_end``, the end of their visit, null where it has none."""
    ends = visits.select(ended_visit=visits.visit_id, visit_end=visits.end)
    return rows.left_join(ends, visit_id == ends.ended_visit)


def billed(rows: ir.Table, visits: ir.Table, code: ir.StringColumn) -> ir.Table:
    """Codes billed after a visit, known at its end; rows of visits that were left out keep a time, to be set aside."""
    ended = visit_ends(rows.mutate(code=code), rows.hadm_id, visits)
    return ended.select(
        ended.subject_id, visit_id=ended.hadm_id, time=ended.visit_end, code=ended.code, unparsed=ended.unparsed
    )


def icu_stays(stays: ir.Table, stay_id: ir.IntegerColumn, admissions: ir.Table) -> ir.Table:
    """ICU stays of MIMIC: the first of a visit is an ``admit``, later ones are ``readmit``; a death is one of the unit
    where its time lies within the stay."""
    deaths = admissions.select(
        died_visit=admissions.hadm_id, deathtime=admissions.deathtime, flag=admissions.hospital_expire_flag
    )
    stays = stays.mutate(stay_id=stay_id)
    order = ibis.row_number().over(ibis.window(group_by=stays.hadm_id, order_by=[stays.intime, stays.stay_id]))
    stays = stays.mutate(order=order)
    joined = stays.left_join(deaths, stays.hadm_id == deaths.died_visit)
    died = (joined.flag == 1) & (joined.deathtime >= joined.intime) & (joined.deathtime <= joined.outtime)
    died = ibis.ifelse((joined.flag == 1) & joined.deathtime.isnull(), ibis.null("boolean"), died.fill_null(False))
    return joined.select(
        joined.subject_id,
        visit_id=joined.hadm_id,
        stay_id=joined.stay_id,
        start=joined.intime,
        end=joined.outtime,
        unit=joined.first_careunit,
        type=ibis.ifelse(joined.order == 0, "admit", "readmit"),
        died=died,
        unparsed=joined.unparsed,
    )




def charted_vitals(rows: ir.Table, source: str, stay_id: ir.IntegerColumn) -> ir.Table:
    """Vital signs out of MIMIC's CHARTEVENTS; rows without a number are no vital sign and are left out."""
    items = vitals.vital_items(source)
    facts = ibis.memtable(
        {
            "item": [int(i.key) for i in items],
            "code": [f"VITAL//{i.variable}" for i in items],
            "scale": [float(i.scale) for i in items],
            "shift": [float(i.shift) for i in items],
            "canonical_unit": [i.unit for i in items],
        }
    )
    rows = rows.mutate(stay=stay_id)
    rows = rows.filter(rows.itemid.isin([int(i.key) for i in items]))
    rows = rows.filter(rows.valuenum.notnull() | rows.unparsed.notnull())
    joined = rows.inner_join(facts, rows.itemid == facts.item)
    return joined.select(
        joined.subject_id,
        visit_id=joined.hadm_id,
        stay_id=joined.stay,
        time=latest(joined.charttime, joined.storetime),
        code=joined.code,
        value=joined.valuenum * joined.scale + joined.shift,
        unit=joined.canonical_unit,
        unparsed=joined.unparsed,
    )
