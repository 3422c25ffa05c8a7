"""The canonical relations: what every source is turned into, and the rules that hold of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

TIME = pa.timestamp("us")

SCHEMAS = {
    "subjects": pa.schema(
        {
            "subject_id": pa.int64(),
            "sex": pa.string(),
            "birth": TIME,
            "death": TIME,
            "ethnicity": pa.string(),
            "period": pa.int64(),
        }
    ),
    "visits": pa.schema(
        {
            "subject_id": pa.int64(),
            "visit_id": pa.int64(),
            "class": pa.string(),
            "start": TIME,
            "end": TIME,
            "age": pa.float64(),
            "died": pa.bool_(),
            "admission_type": pa.string(),
            "admission_source": pa.string(),
            "insurance": pa.string(),
            "discharge_to": pa.string(),
            "hospital": pa.string(),
            "age_capped": pa.bool_(),
            "arrival": TIME,
            "order_known": pa.bool_(),
        }
    ),
    "stays": pa.schema(
        {
            "subject_id": pa.int64(),
            "visit_id": pa.int64(),
            "stay_id": pa.int64(),
            "start": TIME,
            "end": TIME,
            "unit": pa.string(),
            "type": pa.string(),
            "transferred": pa.bool_(),
            "died": pa.bool_(),
        }
    ),
}
LEFT_OUT = pa.schema(
    {
        "relation": pa.string(),
        "subject_id": pa.int64(),
        "visit_id": pa.int64(),
        "stay_id": pa.int64(),
        "start": TIME,
        "end": TIME,
        "died": pa.bool_(),
        "class": pa.string(),
        "admission_type": pa.string(),
        "type": pa.string(),
    }
)
"""Visits and stays (``relation``) that cannot be samples, but tell that the patient was there: without an id, a start
or an end, or with an end before the start."""
EVENTS = pa.schema(
    {
        "subject_id": pa.int64(),
        "visit_id": pa.int64(),
        "stay_id": pa.int64(),
        "time": TIME,
        "code": pa.string(),
        "rank": pa.int64(),
        "value": pa.float64(),
        "unit": pa.string(),
        "text": pa.string(),
        "route": pa.string(),
        "order_type": pa.string(),
        "ingredient": pa.string(),
    }
)
"""``rank`` is the source's own rank of a diagnosis or procedure among those of its visit, the first one the least; null
where it has none. The last three are of drug orders: the way it is given, what it is to the order (``main``, ``base``
or ``additive``), and the source's own number of the ingredient."""
TOLD = {"place": "int64", "remarks": "string", "spelt": "string"}
"""What an adapter may also tell of an event, for `zoo.datasets._attached`: its place in the order of its table,
what is odd about it though it is kept, and how the source spells its code where that matters."""
FAR = pd.Timedelta(days=30)
"""How far from its visit an event that names it may lie."""
LONG_WAIT = pd.Timedelta(days=7)
"""The longest time in the emergency department that is believed."""
DAY = pd.Timedelta(days=1)
CONCEPTS = ("diagnosis", "procedure", "drug", "lab", "vital", "note")


UNPARSABLE = "unparsable "
"""What the reasons for values that were nulled begin with; the column follows."""


@dataclass
class Cleaning:
    """What was left out or nulled while reading, and why: counts by relation and reason, with examples."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows each relation had before any was left out."""

    def add(self, relation: str, reason: str, count: int, examples: list[str] = ()) -> None:
        if count:
            counts = self.counts.setdefault(relation, {})
            counts[reason] = counts.get(reason, 0) + int(count)
            shown = self.examples.setdefault(relation, {}).setdefault(reason, [])
            shown.extend(list(examples)[: 3 - len(shown)])

    def remark(self, relation: str, frame: pd.DataFrame, mask: pd.Series, remark: str, key: str) -> None:
        """Count the rows of a frame that stay though something is odd about them."""
        odd = frame.loc[known_true(mask), key]
        self.add(relation, f"kept, but {remark}", len(odd), [f"{key} {k}" for k in odd.head(3)])

    def lines(self, examples: bool = True) -> list[str]:
        """A line for each relation and reason, for people; with examples of where, if they may be seen."""
        found = []
        for relation, counts in self.counts.items():
            for reason, count in counts.items():
                where = self.examples.get(relation, {}).get(reason, []) if examples else []
                found.append(f"{relation}: {count} {reason}" + (f" (such as {'; '.join(where)})" if where else ""))
        return found

    def keep(self, relation: str, frame: pd.DataFrame, mask: pd.Series, reason: str, key: str) -> pd.DataFrame:
        """The rows of a frame where the mask holds; the others are counted, with up to three keys as examples.

        Where it is not known whether the mask holds, it does not.
        """
        mask = known_true(mask)
        dropped = frame.loc[~mask, key]
        self.add(relation, reason, len(dropped), [f"{key} {k}" for k in dropped.head(3)])
        return frame[mask]


def clean_subjects(subjects: pd.DataFrame, cleaning: Cleaning) -> pd.DataFrame:
    """Subjects with an id, each once (the first by all columns where a source has one twice), ordered by id."""
    subjects = cleaning.keep("subjects", subjects, subjects.subject_id.notna(), "no subject_id", "subject_id")
    subjects = _twins_in_order(subjects, "subject_id").sort_values("subject_id", kind="stable")
    once = ~subjects.subject_id.duplicated()
    return cleaning.keep("subjects", subjects, once, "duplicate subject_id", "subject_id").reset_index(drop=True)


def clean_visits(visits: pd.DataFrame, subjects: pd.DataFrame, cleaning: Cleaning) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Visits that can be trusted, ordered by subject, start and id; and those that are left out but did take place.

    Left out, and counted: visits without id, subject, start or end, duplicates, those that end before they start,
    and those that start after their subject's death in hospital (organ donors, mostly). The second frame has the
    columns of `LEFT_OUT`.
    """
    took_place = []

    def keep(mask, reason, evidence=False):
        nonlocal visits
        if evidence:
            took_place.append(visits[~mask])
        visits = cleaning.keep("visits", visits, mask, reason, "visit_id")

    keep(visits.subject_id.isin(subjects.subject_id), "subject not in the table of subjects")
    keep(visits.visit_id.notna(), "no visit_id", evidence=True)
    keep(visits.start.notna() & visits.end.notna(), "no start or no end", evidence=True)
    visits = _twins_in_order(visits, "visit_id")
    visits = visits.sort_values(["subject_id", "start", "visit_id", "end"], kind="stable")  # the end is not known yet
    keep(~visits.visit_id.duplicated(), "duplicate visit_id")
    death = _death_in_hospital(visits, subjects)
    keep(visits.end >= visits.start, "ends before it starts", evidence=True)
    death = death.reindex(visits.subject_id)
    keep(~(visits.start > death.to_numpy("datetime64[us]")), "starts after the subject's death in hospital")
    return visits.reset_index(drop=True), _left_out("visits", took_place)


def _left_out(relation: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows that take place nowhere, as `LEFT_OUT`, ordered by subject, start and all else."""
    rows = pd.concat(frames).assign(relation=relation).reindex(columns=LEFT_OUT.names)
    return rows.sort_values(["subject_id", "start", *LEFT_OUT.names[2:4], "end"], kind="stable").reset_index(drop=True)


def _twins_in_order(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """The same rows, those that share their key ordered by all columns: which is kept does not depend on the engine."""
    twins = frame[key].duplicated(keep=False)
    return pd.concat([frame[~twins], frame[twins].sort_values([*frame.columns])]) if twins.any() else frame


def known_true(flags: pd.Series) -> pd.Series:
    """Whether each of a column of true, false and null is true; null counts as not."""
    return flags.astype("boolean").fillna(False).astype(bool)


def deaths(visits: pd.DataFrame, subjects: pd.DataFrame, left_out: pd.DataFrame) -> pd.Series:
    """When each subject died, by id: at the source's time of death, and no later than its last visit that ended so.

    Of a visit that was left out (`LEFT_OUT`) the later of the times that it has counts as its end. Null for the living,
    and where neither is known.
    """
    told = subjects.set_index("subject_id").death
    others = left_out[left_out.relation == "visits"]
    others = others.assign(end=others[["start", "end"]].max(axis=1))
    ended = pd.concat([f.loc[known_true(f.died), ["subject_id", "end"]] for f in (visits, others)])
    left = ended.groupby("subject_id").end.max().reindex(told.index)
    return told.where(~(left < told), left).fillna(left)


def _death_in_hospital(visits: pd.DataFrame, subjects: pd.DataFrame) -> pd.Series:
    """When each subject that died in hospital did so: at the death time within that visit, else at its end.

    A visit whose end and start are swapped tells it too.
    """
    fatal = visits[known_true(visits.died)].groupby("subject_id")[["start", "end"]].first()
    since, until = fatal.min(axis=1), fatal.max(axis=1)
    death = subjects.set_index("subject_id").death.reindex(fatal.index)
    inside = (death >= since) & (death < until)
    return death.where(inside, until)


def clean_stays(stays: pd.DataFrame, visits: pd.DataFrame, cleaning: Cleaning) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stays within visits that were kept, each once, ordered by subject, start and id; and those that are left out.

    The second frame has the columns of `LEFT_OUT`: stays of a visit that was kept, though they are no samples.
    """
    took_place = []

    def keep(mask, reason, evidence=False):
        nonlocal stays
        if evidence:
            took_place.append(stays[~mask])
        stays = cleaning.keep("stays", stays, mask, reason, "stay_id")

    place = _visit_of_time(stays, visits)
    if len(place):
        found = pd.Series(stays.index.isin(place.index), stays.index)
        cleaning.remark("stays", stays, found, "names no visit (it is in that of its start)", "stay_id")
        stays = _in_their_visits(stays, place)
    subject = stays.visit_id.map(visits.set_index("visit_id").subject_id)
    unnamed = stays.subject_id.isna() & subject.notna()
    cleaning.remark("stays", stays, unnamed, "has no subject_id (it has that of its visit)", "stay_id")
    stays = stays.assign(subject_id=stays.subject_id.fillna(subject))
    keep(subject.notna(), "visit left out or unknown")
    keep(stays.subject_id == subject[stays.index], "visit of another subject")
    keep(stays.stay_id.notna(), "no stay_id", evidence=True)
    keep(stays.start.notna() & stays.end.notna(), "no start or no end", evidence=True)
    stays = _twins_in_order(stays, "stay_id")
    stays = stays.sort_values(["subject_id", "start", "end", "stay_id"], kind="stable")
    keep(~stays.stay_id.duplicated(), "duplicate stay_id")
    keep(stays.end >= stays.start, "ends before it starts", evidence=True)
    return stays.reset_index(drop=True), _left_out("stays", took_place)


def _visit_of_time(stays: pd.DataFrame, visits: pd.DataFrame) -> pd.Series:
    """For stays that name no visit the one that their start falls into, by the stay's index; none for all others."""
    lost = stays.loc[stays.visit_id.isna() & stays.subject_id.notna() & stays.start.notna(), ["subject_id", "start"]]
    spans = segments(visits).astype({"subject_id": lost.subject_id.dtype})
    among = lost.reset_index(names="stay").merge(spans, on="subject_id")
    return among[(among.since <= among.start) & (among.start < among.until)].set_index("stay").visit_id


def _in_their_visits(stays: pd.DataFrame, place: pd.Series) -> pd.DataFrame:
    """Stays with the visits found for some; of these visits the first stay is an ``admit``, later ones ``readmit``."""
    stays = stays.assign(visit_id=stays.visit_id.astype("Int64").fillna(place.astype("Int64")))
    first = stays.groupby("visit_id").start.transform("min")
    turn = pd.Series(np.where(stays.start > first, "readmit", "admit"), stays.index)
    return stays.assign(type=stays.type.mask(stays.visit_id.isin(place), turn))


def told(frame: pd.DataFrame, relation: str, key: str, cleaning: Cleaning) -> pd.DataFrame:
    """The frame without ``remarks`` of an adapter, in which several are parted by semicolons; they are counted."""
    if "remarks" not in frame:
        return frame
    listed = frame.remarks.fillna("")
    for remark in sorted({r for several in listed.unique() for r in several.split("; ") if r}):
        cleaning.remark(relation, frame, listed.str.split("; ").map(lambda found, r=remark: r in found), remark, key)
    return frame.drop(columns="remarks")


def settle_visits(visits: pd.DataFrame, subjects: pd.DataFrame, cleaning: Cleaning) -> pd.DataFrame:
    """Cleaned visits without what cannot be: an age below 0, a registration long before the start.

    What the times of visits and of deaths say against each other is counted; the visits stay.
    """

    def remark(mask, text):
        cleaning.remark("visits", visits, mask, text, "visit_id")

    unborn = known_true(visits.age < 0)
    remark(unborn, "its age is below 0 (now null)")
    waited = visits.start - visits.arrival
    remark(waited < pd.Timedelta(0), "its registration comes after its start")
    long = known_true(waited > LONG_WAIT)
    remark(long, f"its registration is more than {LONG_WAIT.days} days before its start (now null)")
    death = subjects.set_index("subject_id").death.reindex(visits.subject_id).set_axis(visits.index)
    remark(visits.start > death, "starts after its subject's death")
    alive = ~known_true(visits.died)
    remark(alive & (visits.start <= death) & (visits.end > death), "ends after its subject's death elsewhere")
    return visits.assign(age=visits.age.mask(unborn), arrival=visits.arrival.mask(long))


def settle_stays(stays: pd.DataFrame, visits: pd.DataFrame, cleaning: Cleaning) -> None:
    """Count the cleaned stays that do not lie in their visit, give or take a day."""
    visit = visits.set_index("visit_id").reindex(stays.visit_id).set_axis(stays.index)
    outside = (stays.start > visit.end + DAY) | (stays.end < visit.start - DAY)
    cleaning.remark("stays", stays, outside, "lies outside its visit", "stay_id")
    beyond = ~outside & ((stays.end > visit.end + DAY) | (stays.start < visit.start - DAY))
    cleaning.remark("stays", stays, beyond, "reaches more than a day beyond its visit", "stay_id")


def segments(visits: pd.DataFrame) -> pd.DataFrame:
    """To which visit a moment belongs: half-open spans of time that do not overlap within a subject.

    A moment belongs to the visit whose [arrival, end] contains it; of several, to the one that starts last.

    Args:
        visits: cleaned visits, ordered by subject and start.

    Returns:
        Columns ``subject_id``, ``visit_id``, ``since``, ``until`` (exclusive).
    """
    n = len(visits)
    if not n:
        return pd.DataFrame({"subject_id": [], "visit_id": [], "since": [], "until": []}).astype(
            {"subject_id": "int64", "visit_id": "int64", "since": "datetime64[us]", "until": "datetime64[us]"}
        )
    subject = visits.subject_id.to_numpy()
    start = visits.start.to_numpy("datetime64[us]")
    arrival = visits.arrival.to_numpy("datetime64[us]")
    since = np.where(np.isnat(arrival), start, np.minimum(arrival, start))
    until = visits.end.to_numpy("datetime64[us]") + np.timedelta64(1, "us")
    alone = np.ones(n, bool)
    overlaps = (subject[1:] == subject[:-1]) & (since[1:] < _running_max(until, subject)[:-1])
    alone[1:] &= ~np.isin(subject[1:], subject[1:][overlaps])
    alone[0] = subject[0] not in subject[1:][overlaps]
    rows = [pd.DataFrame({"subject_id": subject, "visit_id": visits.visit_id, "since": since, "until": until})[alone]]
    crowded = pd.DataFrame({"subject_id": subject, "visit_id": visits.visit_id, "since": since, "until": until})[~alone]
    for key, group in crowded.groupby("subject_id"):  # few: subjects with visits that overlap
        rows.append(_untangle(key, group))
    return pd.concat(rows, ignore_index=True)


def _untangle(subject: int, group: pd.DataFrame) -> pd.DataFrame:
    since, until = group.since.to_numpy(), group.until.to_numpy()
    moments = np.unique(np.concatenate([since, until]))
    inside = (since <= moments[:-1, None]) & (moments[:-1, None] < until)
    last = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    some = inside.any(axis=1)
    return pd.DataFrame(
        {
            "subject_id": subject,
            "visit_id": group.visit_id.to_numpy()[last[some]],
            "since": moments[:-1][some],
            "until": moments[1:][some],
        }
    )


def _running_max(until: np.ndarray, subject: np.ndarray) -> np.ndarray:
    return pd.Series(until).groupby(subject).cummax().to_numpy()
