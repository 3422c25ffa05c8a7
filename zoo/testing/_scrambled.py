"""A source in which everything that a sample may not know is something else."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from zoo.data.static import known_at_start
from zoo.testing._snapshot import Tables

SECOND = np.timedelta64(1_000_000, "us")
LONGEST = 400 * 86400
"""How many seconds after the prediction time scrambled facts lie at most."""
WHAT = ("code", "text", "route", "order_type", "ingredient")
"""The columns that say what an event is of."""
ADDED = 3
"""How many events are made up for each subject and concept."""


def scrambled(
    tables: Tables,
    samples: pd.DataFrame,
    given: Collection,
    withheld: Collection,
    random,
    at_start: Mapping[str, Mapping[str, str]] | None = None,
) -> Tables:
    """The tables with all that is later than each sample's prediction time changed.

    Later events are dropped, doubled and made up, with other codes, values, times (still later) and visits; those of
    withheld concepts within a sample's own visit whatever their time. Later visits get other starts, ends, ages and
    outcomes, or are gone; of visits that are not over the end, the outcome, and what else shows later than the start
    change; so do later deaths and stays.

    Args:
        tables: the canonical tables.
        samples: one of each subject: ``subject_id``, ``visit_id``, ``prediction_time``.
        given: concepts of the own visit that a sample sees whole; those events stay, and none is added to that visit.
        withheld: concepts of the own visit that a sample never sees.
        random: a NumPy generator.
        at_start: the dataset's, the facts of a visit that tell more than was known at its start.
    """
    visits = _visits(tables.visits, samples, at_start or {}, random)
    events = {
        concept: _events(frame, samples, visits, concept in given, concept in withheld, random)
        for concept, frame in tables.events.items()
    }
    subjects, stays = _subjects(tables.subjects, samples, random), _stays(tables.stays, samples, visits, random)
    return Tables(subjects, visits, stays, events, tables.left_out)


def later_events(events: pd.DataFrame, samples: pd.DataFrame, given: bool, withheld: bool) -> np.ndarray:
    """(events,) bool: those that a sample may not see for their time, or for being its label."""
    time, own = _of_subject(events, samples)
    later, at_own = events.time.to_numpy("datetime64[us]") > time, _equal(events.visit_id, own)
    if withheld:
        return later | at_own
    return later & ~at_own if given else later


def _of_subject(frame: pd.DataFrame, samples: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """For each row the prediction time and the own visit of its subject's sample."""
    chosen = samples.set_index("subject_id").loc[frame.subject_id.to_numpy()]
    return chosen.prediction_time.to_numpy("datetime64[us]"), chosen.visit_id.to_numpy()


def _equal(ids: pd.Series, other: np.ndarray) -> np.ndarray:
    return (ids == other).fillna(False).to_numpy(bool)


def _after(moment: np.ndarray, random) -> np.ndarray:
    """Times that are later by a second at least: some soon, some after months."""
    seconds = np.exp(random.uniform(0, np.log(LONGEST), len(moment)))
    return moment + np.ceil(seconds).astype(np.int64) * SECOND


def _shuffled(column: pd.Series, mask: np.ndarray, random) -> pd.Series:
    """The column with other values of its own where the mask holds."""
    changed = column.copy()
    changed[mask] = column.iloc[random.integers(0, len(column), mask.sum())].to_numpy()
    return changed


def _subjects(subjects: pd.DataFrame, samples: pd.DataFrame, random) -> pd.DataFrame:
    time, _ = _of_subject(subjects, samples)
    death = subjects.death.to_numpy("datetime64[us]")
    other = np.where(random.random(len(subjects)) < 0.5, _after(time, random), np.datetime64("NaT"))
    return subjects.assign(death=np.where(np.isnat(death) | (death > time), other, death))


def _visits(
    visits: pd.DataFrame, samples: pd.DataFrame, at_start: Mapping[str, Mapping[str, str]], random
) -> pd.DataFrame:
    time, own = _of_subject(visits, samples)
    start, end = visits.start.to_numpy("datetime64[us]"), visits.end.to_numpy("datetime64[us]")
    target = _equal(visits.visit_id, own)
    later = (start > time) & ~target
    going_on = later | (end > time)
    own_start = visits.visit_id.map(visits.set_index("visit_id").start)
    since = visits.subject_id.map(own_start[target].set_axis(visits.subject_id[target])).to_numpy("datetime64[us]")
    start = np.where(later, _after(np.maximum(time, since), random), start)
    end = np.where(going_on, _after(np.maximum(time, start), random), end)
    changed = visits.assign(start=start, end=end)
    for column in ("died", "discharge_to"):
        changed[column] = _shuffled(visits[column], going_on | target, random)
    for column in ("class", "age", "age_capped", "admission_type", "admission_source", "insurance", "hospital"):
        changed[column] = _shuffled(visits[column], later, random)
    for column in at_start:
        known = known_at_start(at_start, column)
        for name in sorted(set(known.values())):
            alike = [v for v, n in known.items() if n == name]
            of_name = visits[column].str.strip().str.upper().isin(alike).to_numpy(bool) & (going_on | target)
            changed.loc[of_name, column] = random.choice(alike, of_name.sum())
    changed.loc[later, "arrival"] = pd.NaT
    changed = changed[~later | (random.random(len(visits)) < 0.75)]
    return changed.sort_values(["subject_id", "start", "visit_id"], kind="stable")


def _stays(stays: pd.DataFrame, samples: pd.DataFrame, visits: pd.DataFrame, random) -> pd.DataFrame:
    stays = stays[stays.visit_id.isin(visits.visit_id)]
    time, _ = _of_subject(stays, samples)
    start, end = stays.start.to_numpy("datetime64[us]"), stays.end.to_numpy("datetime64[us]")
    later, going_on = start > time, end > time
    start = np.where(later, _after(time, random), start)
    changed = stays.assign(start=start, end=np.where(going_on, _after(np.maximum(time, start), random), end))
    for column in ("unit", "type"):
        changed[column] = _shuffled(stays[column], later, random)
    for column in ("died", "transferred"):
        changed[column] = _shuffled(stays[column], going_on, random)
    return changed[~later | (random.random(len(stays)) < 0.75)].sort_values(["subject_id", "start"], kind="stable")


def _events(events: pd.DataFrame, samples, visits, given: bool, withheld: bool, random) -> pd.DataFrame:
    if not len(events):
        return events
    later = later_events(events, samples, given, withheld)
    kept = events[~later]
    gone = kept.visit_id.notna() & ~kept.visit_id.isin(visits.visit_id)
    kept = kept.assign(visit_id=kept.visit_id.mask(gone))
    times = random.choice([0, 1, 2], later.sum(), p=[0.25, 0.5, 0.25])
    made_up = events.iloc[random.integers(0, len(events), ADDED * len(samples))]
    made_up = made_up.assign(subject_id=np.repeat(samples.subject_id.to_numpy(), ADDED))
    free = pd.concat([events[later].loc[np.repeat(events.index[later], times)], made_up], ignore_index=True)
    return pd.concat([kept, _elsewhere(free, events, samples, visits, given, withheld, random)], ignore_index=True)


def _elsewhere(free, events, samples, visits, given: bool, withheld: bool, random) -> pd.DataFrame:
    """Events with other codes and values, in other visits of their subject, later than its prediction time."""
    time, own = _of_subject(free, samples)
    drawn = events.iloc[random.integers(0, len(events), len(free))]
    visit = _any_visit(free.subject_id.to_numpy(), visits, random)
    if given:  # whatever lies in the own visit would be seen
        visit = visit.mask(visit == own)
    moment = _after(time, random)
    if withheld:  # never seen there, so any time will do
        days = random.integers(-30 * 86400, 30 * 86400, len(free)) * SECOND
        moment = np.where(_equal(visit, own), time + days, moment)
    return free.assign(
        visit_id=visit,
        stay_id=pd.Series(pd.NA, free.index, "Int64"),
        time=moment,
        **{column: drawn[column].to_numpy() for column in WHAT},
        value=drawn.value.to_numpy() * random.uniform(0.5, 2, len(free)),
    )


def _any_visit(subject: np.ndarray, visits: pd.DataFrame, random) -> pd.Series:
    """A visit of each subject, or sometimes none."""
    ordered = visits.subject_id.to_numpy()
    low, high = np.searchsorted(ordered, subject), np.searchsorted(ordered, subject, side="right")
    place = low + (random.random(len(subject)) * (high - low)).astype(np.int64)
    drawn = pd.Series(visits.visit_id.to_numpy()[place], dtype="Int64")
    return drawn.mask(random.random(len(subject)) < 0.1)
