"""Events of an adapter with the visit that each belongs to, or why a row is no event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.datasets import _canonical as canonical

if TYPE_CHECKING:
    import ibis.expr.types as ir

FURTHER = (*canonical.TOLD, "flaw", "closing", "sought", "day")
"""The columns that an adapter's events may have besides the canonical ones and ``unparsed``; see `attach_visits`."""


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
    events = events.select(**columns, unparsed=unparsed, **{n: events[n] for n in FURTHER if n in events.columns})

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
        remarks=both(joined.remarks, remarks) if "remarks" in events.columns else remarks,
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


def both(first: ir.StringColumn, second: ir.StringColumn) -> ir.StringColumn:
    """Two remarks on one row as one, where it has both."""
    import ibis

    return ibis.coalesce(first + "; " + second, first, second)
