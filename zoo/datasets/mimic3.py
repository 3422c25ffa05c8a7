"""MIMIC-III 1.4 (Johnson et al., Scientific Data 2016, doi:10.1038/sdata.2016.35)."""

from __future__ import annotations

import ibis

from zoo.datasets import _expressions as ex
from zoo.datasets._mimic import Mimic, billed, charted, measured, noted, prescribed
from zoo.knowledge.vitals import vital_items
from zoo.registry import register_dataset

ADDENDUM = "NOTE//discharge_addendum"
MOVED_BIRTH = 200
"""Years before the first admission beyond which a birth was moved (by 300 years) to hide an age over 89."""


@register_dataset("mimic3")
class MIMIC3(Mimic):
    """MIMIC-III 1.4: 46,520 patients of the critical care units of one hospital in Boston, 2001 to 2012.

    A visit is a hospital admission (``hadm_id``), a stay an ICU stay (``icustay_id``). All visits are ``inpatient``,
    those of newborns too. Patients over 89 have a birth that was moved by 300 years: their age is 90 and ``age_capped``
    is set. Laboratory results have the time of the draw only: see ``lab_delay``. Prescriptions have a start date
    without a clock, and so are known at the end of that day. Notes that are marked as errors are left out, and so are
    chart events. An addendum to a discharge summary is ``NOTE//discharge_addendum``, known at the end of the day it was
    written and no sooner than the visit's end.
    Deaths out of hospital come from the social security register: those within 90 days of the last discharge for all
    patients, within four years for those of the older system (CareVue); their dates have no clock. Dates are shifted by
    patient, so calendar time means nothing across patients.
    """

    version = 4
    needs = ("patients", "admissions")
    optional = ("icustays",)
    admissions_table, stays_table = "admissions", "icustays"
    orders_by_day = True
    follow_up_days = (90, 4 * 365)
    stay_key, backgrounds = "icustay_id", ("ethnicity",)
    places = (("first_careunit", "last_careunit"), ("first_wardid", "last_wardid"))
    labs_table = "d_labitems"
    concepts_from = {
        "diagnosis": ("diagnoses_icd",),
        "procedure": ("procedures_icd",),
        "drug": ("prescriptions",),
        "lab": ("labevents",),
        "vital": ("chartevents",),
        "note": ("noteevents",),
    }

    def subjects(self, tables):
        patients = tables.table("patients", subject_id="integer", gender="text", dob="time", dod="time")
        joined = self.with_admissions(patients, tables)
        moved = ex.years_between(joined.dob, joined.first_admission) > MOVED_BIRTH
        return joined.select(
            joined.subject_id,
            sex=joined.gender,
            birth=ex.unless(moved, joined.dob),
            death=joined.deathtime.coalesce(ex.end_of_day(joined.dod)),
            ethnicity=joined.ethnicity,
            unparsed=joined.unparsed,
        )

    def with_age(self, visits, tables):
        patients = tables.table("patients", subject_id="integer", dob="time").drop("unparsed")
        births = ex.first_of_each(patients, "subject_id", ["dob"]).rename(born_subject="subject_id")
        visits = visits.left_join(births, visits.subject_id == births.born_subject)
        return visits.mutate(age=ex.years_between(visits.dob, visits.admittime))

    def diagnosis(self, tables, visits):
        return self._billed("diagnoses_icd", "ICD9CM", tables, visits)

    def procedure(self, tables, visits):
        return self._billed("procedures_icd", "ICD9PROC", tables, visits)

    def _billed(self, table: str, system: str, tables, visits):
        columns = {"subject_id": "integer", "hadm_id": "integer", "icd9_code": "text", "seq_num": "integer"}
        rows = tables.table(table, **columns, optional=["seq_num"])
        spelt = ex.spelling(tables.raw(table).icd9_code, rows.icd9_code)
        return billed(rows, visits, ex.dotted(rows.icd9_code, system), spelt)

    def drug(self, tables, visits):
        rows = tables.table(
            "prescriptions",
            subject_id="integer",
            hadm_id="integer",
            startdate="time",
            drug="text",
            ndc="text",
            route="text",
            drug_type="text",
            row_id="integer",
            optional=["ndc", "route", "drug_type", "row_id"],
        ).rename(place="row_id")
        return prescribed(rows, ex.end_of_day(rows.startdate))

    def lab(self, tables, visits):
        rows = tables.table(
            "labevents",
            subject_id="integer",
            hadm_id="integer",
            itemid="integer",
            charttime="moment",
            valuenum="number",
            valueuom="text",
            row_id="integer",
            optional=["row_id"],
        ).rename(place="row_id")
        return measured(rows, ex.after_hours(rows.charttime, self.lab_delay))

    def vital(self, tables, visits):
        rows = tables.table(
            "chartevents",
            subject_id="integer",
            hadm_id="integer",
            icustay_id="integer",
            itemid="integer",
            charttime="moment",
            storetime="moment",
            valuenum="number",
            error="flag",
            row_id="integer",
            optional=["error", "storetime", "row_id"],
        ).rename(place="row_id")
        rows = rows.filter(rows.error.isnull() | (rows.error != 1))
        return charted(rows, vital_items("mimic3"), rows.icustay_id)

    def note(self, tables, visits):
        rows = tables.table(
            "noteevents",
            subject_id="integer",
            hadm_id="integer",
            chartdate="time",
            charttime="moment",
            storetime="moment",
            category="text",
            description="text",
            iserror="flag",
            text="text",
            row_id="integer",
            optional=["storetime", "description", "iserror", "row_id"],
        ).rename(place="row_id")
        rows = rows.filter(rows.iserror.isnull() | (rows.iserror != 1))
        summary = rows.category.strip().lower() == "discharge summary"
        addendum = summary & (rows.description.strip().lower() == "addendum")
        written = ex.latest(rows.charttime.coalesce(ex.end_of_day(rows.chartdate)), rows.storetime)
        code = ex.choose(addendum, ibis.literal(ADDENDUM), ex.named("NOTE", rows.category))
        return noted(rows, written, code, summary, addendum)
