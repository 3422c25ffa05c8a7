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
from zoo.knowledge.vitals import VitalItem


class Mimic(Dataset):
    """Either MIMIC. An adapter names what is called otherwise in the two, and adds `subjects`, `with_age`, concepts."""

    admissions_table: ClassVar[str]
    stays_table: ClassVar[str]
    stay_key: ClassVar[str]
    """The column of the table of ICU stays that identifies one."""
    places: ClassVar[tuple[tuple[str, str], ...]]
    """Columns of the table of ICU stays: where a stay began, and where it ended."""
    background: ClassVar[str]
    """The column of the table of admissions that becomes ``ethnicity``."""

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
            source.reading(self._present([self.labs_table])),
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

    def visits(self, tables):
        visits = self.with_age(self._admissions(tables), tables)
        age, capped = ex.capped_age(visits.age)
        return visits.select(
            visits.subject_id,
            visit_id=visits.hadm_id,
            start=visits.admittime,
            end=visits.dischtime,
            age=age,
            died=visits.hospital_expire_flag == 1,
            admission_type=visits.admission_type,
            discharge_to=visits.discharge_location,
            age_capped=capped,
            arrival=visits.edregtime,
            unparsed=visits.unparsed,
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
            outtime="time",
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
            transferred=reduce(operator.or_, [joined[first] != joined[last] for first, last in self.places]),
            died=died,
            unparsed=joined.unparsed,
        )

    def with_admissions(self, patients: ir.Table, tables) -> ir.Table:
        """Patients with what their admissions tell.

        Returns:
            Also ``ethnicity`` (`background` at the first admission that has one), ``deathtime`` (the last) and
            ``first_admission``; null for patients without an admission.
        """
        admissions = self._admissions(tables)
        told = admissions.filter(admissions[self.background].notnull())
        told = ex.first_of_each(told, "subject_id", ["admittime", "hadm_id"])
        told = told.select(told_subject=told.subject_id, ethnicity=told[self.background])
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
            dischtime="time",
            deathtime="time",
            edregtime="time",
            hospital_expire_flag="integer",
            admission_type="text",
            discharge_location="text",
            **{self.background: "text"},
            optional=["edregtime", self.background, "discharge_location"],
        )


def with_visit_end(rows: ir.Table, visits: ir.Table) -> ir.Table:
    """Rows with ``visit_end``, the end of the visit ``hadm_id``, null where it has none."""
    ends = visits.select(ended_visit=visits.visit_id, visit_end=visits.end)
    return rows.left_join(ends, rows.hadm_id == ends.ended_visit)


def billed(rows: ir.Table, visits: ir.Table, code: ir.StringColumn) -> ir.Table:
    """Codes billed after a visit, known at its end; rows of visits that were left out are set aside later."""
    ended = with_visit_end(rows.mutate(code=code), visits)
    return ended.select(
        ended.subject_id, visit_id=ended.hadm_id, time=ended.visit_end, code=ended.code, unparsed=ended.unparsed
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
        unparsed=rows.unparsed,
    )


def charted(rows: ir.Table, items: Sequence[VitalItem], stay_id: ir.IntegerColumn) -> ir.Table:
    """Vital signs out of CHARTEVENTS; rows without a number are no vital sign and are left out."""
    rows = rows.mutate(stay_id=stay_id)
    rows = rows.filter(ex.among(rows.itemid, items), rows.valuenum.notnull() | rows.unparsed.notnull())
    return rows.select(
        rows.subject_id,
        visit_id=rows.hadm_id,
        stay_id=rows.stay_id,
        time=ex.latest(rows.charttime, rows.storetime),
        **ex.vital_columns(rows.itemid, rows.valuenum, items),
        unparsed=rows.unparsed,
    )
