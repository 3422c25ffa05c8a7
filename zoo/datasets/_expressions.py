"""Pieces of Ibis expressions that more than one adapter uses, written so that every SQL engine gives the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add, or_

import ibis
import ibis.expr.types as ir

from zoo.datasets._source import END_OF_DAY
from zoo.knowledge.vitals import VitalItem

OLDEST = 89
"""Years of age above which sources hide the age; such patients are `CAPPED_AGE` years old."""
CAPPED_AGE = 90.0
NDC_DIGITS = 11
HYPHENED_NDC = "^([0-9]{4}-[0-9]{4}-[0-9]{2}|[0-9]{5}-[0-9]{3}-[0-9]{2}|[0-9]{5}-[0-9]{4}-[0-9]{1,2})$"
NO_TEXT = ibis.null("string")
BLANKS = "\u00a0\u2000-\u200b\u2028\u2029\u202f\u3000\ufeff"
"""Signs without ink that engines do not count as space."""


# Times


def years_between(earlier: ir.TimestampColumn, later: ir.TimestampColumn) -> ir.FloatingColumn:
    """Years of 365.25 days between two times."""
    seconds = later.epoch_seconds().cast("float64") - earlier.epoch_seconds().cast("float64")
    return seconds / ibis.literal(365.25 * 86400, "float64")


def end_of_day(time: ir.TimestampColumn) -> ir.TimestampColumn:
    """The last second of the day that a time falls into: when a date without a clock is known."""
    return time.truncate("D") + ibis.interval(seconds=END_OF_DAY)


def day_of(time: ir.TimestampColumn) -> ir.TimestampColumn:
    """The first moment of a day whose last second stands for a date without a clock; null for any other time."""
    return ibis.ifelse(time == end_of_day(time), time.truncate("D"), ibis.null("timestamp"))


def after_hours(time: ir.TimestampColumn, hours: float) -> ir.TimestampColumn:
    """A time moved by a number of hours."""
    return time + ibis.interval(seconds=round(hours * 3600)) if hours else time


def after_minutes(time: ir.TimestampColumn, minutes: ir.IntegerColumn) -> ir.TimestampColumn:
    """A time moved by a column of minutes."""
    return time + minutes.as_interval("m")


def start_of_year(year: ir.IntegerColumn) -> ir.TimestampColumn:
    """Midnight on the first of January."""
    return (year.cast("string") + "-01-01 00:00:00").cast("timestamp")


def latest(*times: ir.TimestampColumn) -> ir.TimestampColumn:
    """The latest of the times that are known."""
    first, *others = times
    for other in others:
        first = ibis.coalesce(ibis.ifelse(other > first, other, first), first, other)
    return first


def resulted(drawn: ir.TimestampColumn, result: ir.TimestampColumn, delay: float) -> ir.TimestampColumn:
    """When a laboratory result is known: the later of draw and result, or ``delay`` hours after a draw alone."""
    return ibis.ifelse(result.isnull(), after_hours(drawn, delay), latest(drawn, result))


# Choices


def unless(condition: ir.BooleanColumn, column: ir.Column) -> ir.Column:
    """The column, null where the condition holds."""
    return ibis.ifelse(condition.fill_null(False), ibis.null(column.type()), column)


def choose(condition: ir.BooleanColumn, yes: ir.Column, no: ir.Column) -> ir.Column:
    """One of two columns; a null condition counts as no."""
    return ibis.ifelse(condition.fill_null(False), yes, no)


def first_of_each(rows: ir.Table, key: str, order: Iterable[str]) -> ir.Table:
    """One row for each value of a key: the first by the named columns, nulls last."""
    by = [rows[c].asc(nulls_first=False) for c in order]
    rows = rows.mutate(nth=ibis.row_number().over(ibis.window(group_by=rows[key], order_by=by)))
    return rows.filter(rows.nth == 0).drop("nth")


def capped_age(age: ir.FloatingColumn) -> tuple[ir.FloatingColumn, ir.BooleanColumn]:
    """An age in years as it may be known, and whether it is the one that stands for all above `OLDEST`."""
    over = (age > OLDEST).fill_null(False)
    return ibis.ifelse(over, ibis.literal(CAPPED_AGE, "float64"), age.cast("float64")), over


# Codes


def coded(system: str, code: ir.Column) -> ir.StringColumn:
    """``SYSTEM//CODE``, stripped of blanks; null where there is no code."""
    text = code.cast("string").strip()
    return ibis.ifelse(text == "", NO_TEXT, f"{system}//" + text)


def named(system: str, name: ir.StringColumn) -> ir.StringColumn:
    """``SYSTEM//a_name``: lower case, with an underscore between words; null where the name is empty."""
    words = name.strip().lower().re_replace("[^a-z0-9]+", "_")
    return ibis.ifelse(words == "", NO_TEXT, f"{system}//" + words)


def dotted(code: ir.StringColumn, system: str) -> ir.StringColumn:
    """A canonical ICD code of one system: stripped, upper case, with the dot where the system has it.

    Null where there are other signs in it than letters, digits and dots.
    """
    plain = code.strip().upper().replace(".", "")
    if system == "ICD10PCS":
        return coded(system, plain)
    if system == "ICD9CM":
        stem = ibis.ifelse(plain.startswith("E"), 4, 3)
    else:
        stem = ibis.literal(2 if system == "ICD9PROC" else 3)
    with_dot = plain.substr(0, stem) + "." + plain.substr(stem, plain.length() - stem)
    sound = ibis.ifelse(plain.re_search("[^A-Z0-9]"), NO_TEXT, plain)  # 4280 as a number may have become 4.28E+03
    return coded(system, ibis.ifelse(sound.length() > stem, with_dot, sound))


def dotted_by_version(code: ir.StringColumn, version: ir.IntegerColumn, ninth: str, tenth: str) -> ir.StringColumn:
    """A canonical ICD code where the source says which of two systems; null where it names no version 9 or 10."""
    return ibis.cases((version == 9, dotted(code, ninth)), (version == 10, dotted(code, tenth)), else_=NO_TEXT)


def whole(text: ir.StringColumn) -> ir.StringColumn:
    """Text, but of a whole number that became ``73.0`` on its way (to make room for nulls) the ``73``."""
    text = text.strip()
    return ibis.ifelse(text.re_search("^[0-9]+[.]0+$"), text.re_replace("[.]0+$", ""), text)


def spelling(raw: ir.Column, code: ir.StringColumn) -> ir.StringColumn:
    """How a source spells an ICD code where that tells what became of it: with a dot, or in a column of numbers."""
    return ibis.ifelse(code.contains("."), code.strip(), NO_TEXT) if raw.type().is_string() else code.strip()


def package_code(ndc: ir.StringColumn) -> ir.StringColumn:
    """The eleven digits of a national drug code; null where the text cannot be one.

    As a number, which some copies of the tables hold (``904516561``, ``904516561.0``, ``9.04516561e+08``), a code has
    lost its leading zeros; with hyphens (4-4-2, 5-3-2, 5-4-1) one of its parts has. A number that was rounded
    (``9.04517E+08``) is no code, nor is one whose labeler, the first five digits, is 0.
    """
    ndc = ndc.strip()
    first, second, third = (ndc.split("-")[n] for n in range(3))
    mantissa, exponent = ndc.upper().replace("+", "").split("E")[0], ndc.upper().replace("+", "").split("E")[1]
    decimals = mantissa.length() - len("9.")
    exact = ibis.ifelse(decimals == exponent.cast("int64"), mantissa.replace(".", ""), NO_TEXT)
    digits = ibis.cases(
        (ndc.re_search("^[0-9]{1,11}$"), ndc),
        (ndc.re_search("^[0-9]{1,11}[.]0*$"), ndc.split(".")[0]),
        (ndc.re_search(HYPHENED_NDC), first.lpad(5, "0") + second.lpad(4, "0") + third.lpad(2, "0")),
        (ndc.re_search("^[1-9][.][0-9]{1,10}[eE][+]?[0-9]{1,2}$"), exact),
        else_=NO_TEXT,
    )
    digits = ibis.ifelse(digits.length() < NDC_DIGITS, digits.lpad(NDC_DIGITS, "0"), digits)
    return unless(digits.startswith("00000"), digits)


def drug_code(ndc: ir.StringColumn, name: ir.StringColumn) -> ir.StringColumn:
    """``NDC//...`` (11 digits) where there is a `package_code`, else `drug_name`."""
    return ibis.coalesce("NDC//" + package_code(ndc), drug_name(name))


def no_package_code(ndc: ir.StringColumn) -> ir.StringColumn:
    """The remark on a national drug code that is none; null where it is one, or is 0, which stands for none."""
    remark = ibis.literal("its ndc is no package code (its name is used)")
    odd = ibis.ifelse(ndc.re_search("[^-0. ]"), remark, NO_TEXT)  # searched where there is no code only
    return ibis.ifelse(package_code(ndc).isnull(), odd, NO_TEXT)


def no_text(text: ir.StringColumn) -> ir.StringColumn:
    """``no text`` where a note has no letter, digit or sign."""
    return ibis.ifelse(text.re_search(f"[^[:space:]{BLANKS}]").fill_null(False), NO_TEXT, "no text")


def remarks(*odd: tuple[ir.BooleanColumn, str]) -> ir.StringColumn:
    """The remarks whose condition holds, parted by semicolons; null where there is none."""
    found = [ibis.ifelse(condition.fill_null(False), f"; {remark}", "") for condition, remark in odd]
    joined = reduce(add, found)
    return ibis.ifelse(joined == "", NO_TEXT, joined.substr(len("; ")))


def drug_name(name: ir.StringColumn) -> ir.StringColumn:
    """``DRUG//name`` in lower case, null where there is no name."""
    return coded("DRUG", name.lower())


# Vital signs


def among(key: ir.Column, items: Sequence[VitalItem]) -> ir.BooleanColumn:
    """Whether a row's key is one of those of the items."""
    return key.isin(_keys(key, items))


def vital_columns(key: ir.Column, value: ir.FloatingColumn, items: Sequence[VitalItem]) -> dict[str, ir.Column]:
    """``code``, ``value`` and ``unit`` of charted vital signs.

    Args:
        key: which item a row charts; an integer or text, as the keys of the items are to be read.
        value: as charted.
        items: whose keys are those of one table.
    """
    named = _branches(key, items, lambda i: f"VITAL//{i.variable}")
    units = _branches(key, items, lambda i: i.unit)
    other = [i for i in items if (i.scale, i.shift) != (1.0, 0.0)]
    if other:
        moved = _branches(key, other, lambda i: (i.scale, i.shift))
        value = ibis.cases(*[(at, value * scale + shift) for at, (scale, shift) in moved], else_=value)
    return {
        "code": ibis.cases(*named, else_=NO_TEXT),
        "value": value,
        "unit": ibis.cases(*units, else_=NO_TEXT),
    }


def _branches(key: ir.Column, items: Sequence[VitalItem], fact) -> list[tuple[ir.BooleanColumn, object]]:
    groups: dict[object, list[VitalItem]] = {}
    for item in items:
        groups.setdefault(fact(item), []).append(item)
    return [(among(key, group), found) for found, group in groups.items()]


def _keys(key: ir.Column, items: Sequence[VitalItem]) -> list[int] | list[str]:
    return [int(i.key) for i in items] if key.type().is_integer() else [i.key for i in items]


def melted(rows: ir.Table, columns: Sequence[str], keep: Sequence[str]) -> ir.Table:
    """Wide rows as long ones, in one pass over the table: one for each of the columns that holds a number.

    Args:
        rows: the columns, those to keep, and ``unparsed``.
        columns: float columns.
        keep: columns to repeat.

    Returns:
        ``keep``, ``name`` (a column's), ``value`` and ``unparsed`` (of that column; in the first, of one that is kept).
    """
    long = rows.mutate(nth=ibis.array(range(len(columns))).unnest())
    at = [(long.nth == i, column) for i, column in enumerate(columns)]
    name = ibis.cases(*at, else_=NO_TEXT)
    value = ibis.cases(*[(here, long[column]) for here, column in at], else_=ibis.null("float64"))
    of_any = reduce(or_, [long.unparsed.startswith(f"{c}: ") for c in columns])
    elsewhere = ibis.ifelse(of_any, ~long.unparsed.startswith(name + ": "), long.nth != 0)
    long = long.select(*keep, name=name, value=value, unparsed=unless(elsewhere, long.unparsed))
    return long.filter(long.value.notnull() | long.unparsed.notnull())
