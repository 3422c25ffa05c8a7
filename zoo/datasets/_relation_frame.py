"""The relations of an adapter as frames, and what an adapter may not give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.datasets import _canonical as canonical
from zoo.datasets._attached import FURTHER
from zoo.registry import UserError, nearest

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

RELATIONS = ("subjects", "visits", "stays")
IDS = ("subject_id", "visit_id", "stay_id")
"""What identifies a row of each of the `RELATIONS`."""


def check_columns(table: ir.Table, relation: str) -> None:
    """Raise a `UserError` where an adapter gives a column that there is not, or ids that are no integers."""
    if relation in RELATIONS:
        known = [*canonical.SCHEMAS[relation].names, "unparsed", "remarks"]
    else:
        known = [*canonical.EVENTS.names, "unparsed", *FURTHER]
    for column, form in table.schema().items():
        if column not in known:
            raise UserError(f"its expression has a column {column!r}, which there is not: {nearest(column, known)}.")
        if column in IDS and not (form.is_integer() or form.is_null()):
            raise UserError(
                f"its {column} is {str(form).lstrip('!')}: ids are integers. Make one of a text in the expression, so "
                f"that no two have the same, such as rows.{column}.substr(1).cast('int64') of F1001."
            )


def frame_of(expression: ir.Table | None, name: str, cleaning: canonical.Cleaning) -> pd.DataFrame:
    """A relation with all its columns; what did not parse is counted."""
    import pyarrow as pa

    schema = canonical.SCHEMAS[name]
    if expression is None:
        return schema.empty_table().to_pandas()
    table = expression.to_pyarrow()
    cleaning.rows[name] = table.num_rows
    if "unparsed" in table.column_names:
        key = IDS[RELATIONS.index(name)]
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
