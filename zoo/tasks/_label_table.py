"""A table of labels that a user brings along: its columns and their types."""

from __future__ import annotations

import pandas as pd

from zoo.registry import UserError, counted, shown

TIMES = ("prediction_time", "time")
"""What the column of prediction times may be called."""
OUTCOME = "outcome_time"
IDS = {"subject_id": "int64", "visit_id": "Int64", "stay_id": "Int64"}


def checked_table(frame: pd.DataFrame, outcome_time: str | None) -> pd.DataFrame:
    """The columns that count, in their types: those of `IDS`, prediction and outcome time, and the label as it is.

    Args:
        frame: the user's.
        outcome_time: the column of outcome times; None takes the one called so, where there is one.

    Raises:
        UserError: a column is not there, or a value in it is null or no id or time; says how many, and the first.
    """
    time = [n for n in TIMES if n in frame.columns]
    if len(time) != 1 or not {"subject_id", "label"} <= set(frame.columns):
        have = ", ".join(map(str, frame.columns)) or "none"
        raise UserError(
            f"labels: a table of labels has the columns subject_id, prediction_time (or time, not both) and label, and "
            f"visit_id and stay_id where known; this one has {have}."
        )
    if outcome_time is not None and outcome_time not in frame.columns:
        raise UserError(f"labels: there is no column {shown(outcome_time)} for outcome_time.")
    if not len(frame):
        raise UserError("labels: the table has no row.")
    if not frame.index.is_unique:
        frame = frame.reset_index(drop=True)
    found = {n: _ids(frame, n, dtype) for n, dtype in IDS.items()}
    found[TIMES[0]] = _times(frame, time[0])
    outcome_time = OUTCOME if outcome_time is None and OUTCOME in frame.columns else outcome_time
    if outcome_time is not None:
        found[OUTCOME] = _times(frame, outcome_time, nullable=True)
    _require(frame, "label", frame.label.isna())
    return pd.DataFrame({**found, "label": frame.label}, index=frame.index)


def _require(frame: pd.DataFrame, column: str, wrong: pd.Series, what: str = "is null") -> None:
    if wrong.any():
        first = wrong.index[wrong][0]
        raise UserError(
            f"labels: {column} {what} in {counted(int(wrong.sum()), 'row')} of {len(frame)}, the first is row "
            f"{shown(first)}: drop or mend them."
        )


def _ids(frame: pd.DataFrame, column: str, dtype: str) -> pd.Series:
    if column not in frame.columns:
        return pd.Series(pd.NA, index=frame.index, dtype="Int64")
    values = frame[column]
    number = pd.to_numeric(values, errors="coerce")
    wrong = (values.notna() & number.isna()) | (number.notna() & (number % 1 != 0))
    _require(frame, column, wrong.astype(bool), "is no whole number")
    if dtype == "int64":
        _require(frame, column, number.isna())
    return number.astype("Int64").astype(dtype)


def _times(frame: pd.DataFrame, column: str, nullable: bool = False) -> pd.Series:
    values = frame[column]
    if pd.api.types.is_numeric_dtype(values) and values.notna().any():
        raise UserError(f"labels: {column} must be a time, such as 2150-01-31 08:00, and is a number.")
    try:
        found = pd.to_datetime(values, errors="coerce")
        found = found.astype("datetime64[us]")
    except (TypeError, ValueError) as error:
        raise UserError(f"labels: {column} cannot be read as times without a time zone ({error}).") from error
    _require(frame, column, values.notna() & found.isna(), "is no time")
    if not nullable:
        _require(frame, column, found.isna())
    return found
