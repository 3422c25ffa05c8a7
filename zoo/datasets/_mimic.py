"""What MIMIC-III and MIMIC-IV share: admissions are visits, ICU stays are stays, billing comes at a visit's end."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import ibis
import ibis.expr.types as ir

from zoo.datasets import _expressions as ex
from zoo.datasets import _source as source
from zoo.datasets._engine import Dataset
from zoo.datasets._lost_zeros import settled
from zoo.knowledge.vitals import VitalItem

DEAD = ("DIED", "DEAD/EXPIRED", "EXPIRED", "DEAD")
"""Discharge locations of those who died."""
TOLD = ("admission_location", "discharge_location", "insurance")
"""Columns of the table of admissions that need not be there."""


class Mimic(Dataset):
    """Either MIMIC. An adapter names what is called otherwise in the two, and adds `subjects`, `with_age`, concepts."""

    admissions_table: ClassVar[str]
    stays_table: ClassVar[str]
    stay_key: ClassVar[str]
    """The column of the table of ICU stays that identifies one."""
    places: ClassVar[tuple[tuple[str, str], ...]]
    """Columns of the table of ICU stays: where a stay began, and where it ended."""
    backgrounds: ClassVar[tuple[str, ...]]
    """Columns of the table of admissions that become ``ethnicity``: the first that a release has."""

    labs_table: ClassVar[str]
    """The dictionary of laboratory tests; it need not be there."""

    def code_names(self, concept: str) -> dict[str, str]:
        """Also those of ``d_labitems``: the label of each test, and what it was done on where that is not blood."""
        if concept != "lab" or not self._present([self.labs_table]):
            return super().code_names(concept)
        columns = {"itemid": "integer", "label": "text", "fluid": "text"}
        with (
            TemporaryDirectory() as folder,
            self.connected(Path(folder)) as connection,
            source.reading(self._present([self.labs_table]), Path(folder)),
        ):
            tests = source.Files(self.root, connection).table(self.labs_table, **columns, optional=columns)
            rows = tests.filter(tests.itemid.notnull(), tests.label.notnull()).to_pyarrow().to_pylist()
        named = {}
        for row in rows:
            fluid = (row["fluid"] or "").strip()
            of = f" ({fluid.lower()})" if fluid.lower() not in ("", "blood") else ""
            named[f"LAB//{row['itemid']}"] = f"{row['label'].strip()}{of}"
        return named

    def with_age(self, visits: ir.Table, tables) -> ir.Table:
        """Admissions with ``age``, years at admission; over `ex.OLDEST` where the source hides it."""
        raise NotImplementedError

    def visit_class(self, admissions: ir.Table) -> ir.StringColumn:
        """What each admission was (see `zoo.knowledge.visit_classes`); null where the source does not tell."""
        return ibis.literal("inpatient")

    def settled(self, concept, codes):
        return settled(codes, with_dots=False) if concept in ("diagnosis", "procedure") else None

    def visits(self, tables):
        """The flag of death in hospital decides; what the time of death or the discharge say against it is counted."""
        visits = self.with_age(self._admissions(tables), tables)
        age, capped = ex.capped_age(visits.age)
        return visits.select(
            visits.subject_id,
            visit_id=visits.hadm_id,
            **{"class": self.visit_class(visits)},
            start=visits.admittime,
            end=visits.dischtime,
            age=age,
            died=visits.hospital_expire_flag == 1,
            admission_type=visits.admission_type,
            admission_source=visits.admission_location,
            insurance=visits.insurance,
            discharge_to=visits.discharge_location,
            age_capped=capped,
            arrival=visits.edregtime,
            unparsed=visits.unparsed,
            remarks=_contradictions(visits),
        )

    def stays(self, tables):
        """The first stay of a visit is an ``admit``, later ones are ``readmit``; a transfer is one within a stay.

        A death is one of the unit where its time lies within the stay, and unknown where the visit ended in death
        without a time.
        """
        if not tables.has(self.stays_table):
            return None
        stays = tables.table(
            self.stays_table,
            subject_id="integer",
            hadm_id="integer",
            **{self.stay_key: "integer"},
            intime="time",
            outtime="moment",
            **{column: "text" for place in self.places for column in place},
            optional=[column for place in self.places for column in place],
        ).rename(stay_id=self.stay_key)
        order = ibis.row_number().over(ibis.window(group_by=stays.hadm_id, order_by=[stays.intime, stays.stay_id]))
        stays = stays.mutate(order=order)
        admissions = self._admissions(tables)
        deaths = admissions.group_by(died_visit=admissions.hadm_id).agg(
            deathtime=admissions.deathtime.max(), flag=admissions.hospital_expire_flag.max()
        )
        joined = stays.left_join(deaths, stays.hadm_id == deaths.died_visit)
        within = (joined.deathtime >= joined.intime) & (joined.deathtime <= joined.outtime)
        fatal = joined.flag == 1
        died = ibis.ifelse(fatal & joined.deathtime.isnull(), ibis.null("boolean"), (fatal & within).fill_null(False))
        return joined.select(
            joined.subject_id,
            visit_id=joined.hadm_id,
            stay_id=joined.stay_id,
            start=joined.intime,
            end=joined.outtime,
            unit=joined.first_careunit,
            type=ibis.ifelse(joined.order == 0, "admit", "readmit"),
            transferred=reduce(operator.or_, [ex.whole(joined[a]) != ex.whole(joined[b]) for a, b in self.places]),
            died=died,
            unparsed=joined.unparsed,
        )

    def with_admissions(self, patients: ir.Table, tables) -> ir.Table:
        """Patients with what their admissions tell.

        Returns:
            Also ``ethnicity`` (`backgrounds` at the first admission that has one), ``deathtime`` (the last) and
            ``first_admission``; null for patients without an admission.
        """
        admissions = self._admissions(tables)
        told = admissions.mutate(ethnicity=ibis.coalesce(*(admissions[c] for c in self.backgrounds)))
        told = ex.first_of_each(told.filter(told.ethnicity.notnull()), "subject_id", ["admittime", "hadm_id"])
        told = told.select(told_subject=told.subject_id, ethnicity=told.ethnicity)
        subjects = admissions.group_by(known_subject=admissions.subject_id).agg(
            deathtime=admissions.deathtime.max(), first_admission=admissions.admittime.min()
        )
        known = subjects.left_join(told, subjects.known_subject == told.told_subject)
        known = known.select("known_subject", "ethnicity", "deathtime", "first_admission")
        return patients.left_join(known, patients.subject_id == known.known_subject)

    def _admissions(self, tables):
        return tables.table(
            self.admissions_table,
            subject_id="integer",
            hadm_id="integer",
            admittime="time",
            dischtime="moment",
            deathtime="moment",
            edregtime="time",
            hospital_expire_flag="flag",
            admission_type="text",
            **dict.fromkeys([*TOLD, *self.backgrounds], "text"),
            optional=["edregtime", *TOLD, *self.backgrounds],
        )


def _contradictions(visits: ir.Table) -> ir.StringColumn:
    """What the columns of an admission say against each other."""
    fatal, death = visits.hospital_expire_flag == 1, visits.deathtime
    gone = visits.discharge_location.strip().upper().isin(DEAD)
    return ex.remarks(
        (fatal & death.isnull(), "died in hospital by its flag, without a time of death"),
        (~fatal.fill_null(False) & death.notnull(), "has a time of death, but no flag of death in hospital"),
        (death < visits.admittime, "its time of death comes before its start"),
        (death > visits.dischtime, "its time of death comes after its end"),
        (fatal & ~gone, "died in hospital by its flag, but was discharged elsewhere"),
        (~fatal.fill_null(False) & gone, "was discharged as dead, but has no flag of death in hospital"),
    )


def with_visit_end(rows: ir.Table, visits: ir.Table) -> ir.Table:
    """Rows with ``visit_end``, the end of the visit ``hadm_id``, null where it has none."""
    ends = visits.select(ended_visit=visits.visit_id, visit_end=visits.end)
    return rows.left_join(ends, rows.hadm_id == ends.ended_visit)


def billed(rows: ir.Table, visits: ir.Table, code: ir.StringColumn, spelt: ir.StringColumn) -> ir.Table:
    """Codes billed after a visit, known at its end; rows of visits that were left out are set aside later.

    A code that names no visit has no time by which one could be found.
    """
    ended = with_visit_end(rows.mutate(code=code, spelt=spelt), visits)
    return ended.select(
        ended.subject_id,
        visit_id=ended.hadm_id,
        time=ended.visit_end,
        code=ended.code,
        rank=ended.seq_num,
        spelt=ended.spelt,
        place=ended.seq_num,
        unparsed=ended.unparsed,
    )


def prescribed(rows: ir.Table, time: ir.TimestampColumn) -> ir.Table:
    """Drugs out of PRESCRIPTIONS, known at a time."""
    return rows.select(
        rows.subject_id,
        visit_id=rows.hadm_id,
        time=time,
        code=ex.drug_code(rows.ndc, rows.drug),
        text=rows.drug,
        route=rows.route,
        order_type=rows.drug_type.strip().lower(),
        day=ex.day_of(time),
        place=rows.place,
        remarks=ex.no_package_code(rows.ndc),
        unparsed=rows.unparsed,
    )


def measured(rows: ir.Table, time: ir.TimestampColumn) -> ir.Table:
    """Laboratory results out of LABEVENTS, known at a time."""
    return rows.select(
        rows.subject_id,
        visit_id=rows.hadm_id,
        time=time,
        code=ex.coded("LAB", rows.itemid),
        value=rows.valuenum,
        unit=rows.valueuom,
        place=rows.place,
        unparsed=rows.unparsed,
    )


def charted(rows: ir.Table, items: Sequence[VitalItem], stay_id: ir.IntegerColumn) -> ir.Table:
    """Vital signs out of CHARTEVENTS; rows without a number are no vital sign and are left out."""
    rows = rows.mutate(stay_id=stay_id)
    unread = rows.unparsed.notnull()  # which is counted; an item that cannot be told may be one of them
    rows = rows.filter(ex.among(rows.itemid, items) | (rows.itemid.isnull() & unread), rows.valuenum.notnull() | unread)
    return rows.select(
        rows.subject_id,
        visit_id=rows.hadm_id,
        stay_id=rows.stay_id,
        time=ex.latest(rows.charttime, rows.storetime),
        **ex.vital_columns(rows.itemid, rows.valuenum, items),
        place=rows.place,
        unparsed=rows.unparsed,
    )


def noted(
    rows: ir.Table, charted: ir.TimestampColumn, code: ir.StringColumn, closes: ir.BooleanColumn, adds: ir.BooleanColumn
) -> ir.Table:
    """Notes, known when charted; discharge summaries, at their visit's end; addenda to them, no sooner than that.

    Args:
        rows: of a table of notes, with ``place``.
        charted: when a note was written, the last second of the day where no clock is told.
        code: what kind of note it is.
        closes: whether it is a discharge summary.
        adds: whether it is an addendum to one.
    """
    closes, adds = closes.fill_null(False), adds.fill_null(False)
    return rows.select(
        rows.subject_id,
        visit_id=rows.hadm_id,
        time=ibis.ifelse(closes & ~adds, ibis.null("timestamp"), charted),
        closing=closes | adds,
        sought=charted,
        day=ex.day_of(charted),
        code=code,
        text=rows.text,
        flaw=ex.no_text(rows.text),
        place=rows.place,
        unparsed=rows.unparsed,
    )
