"""MIMIC-III 1.4 (Johnson et al., Scientific Data 2016, doi:10.1038/sdata.2016.35)."""

from __future__ import annotations

import ibis

from zoo.datasets import _expressions as ex
from zoo.datasets._mimic import Mimic, billed, charted, measured, prescribed, with_visit_end
from zoo.knowledge.vitals import vital_items
from zoo.registry import register_dataset

ADDENDUM = "NOTE//discharge_addendum"
MOVED_BIRTH = 200
"""Years before the first admission beyond which a birth was moved (by 300 years) to hide an age over 89."""


@register_dataset("mimic3")
class MIMIC3(Mimic):
    """MIMIC-III 1.4: 46,520 patients of the critical care units of one hospital in Boston, 2001 to 2012.

    A visit is a hospital admission (``hadm_id``), a stay an ICU stay (``icustay_id``). Patients over 89 have a birth
    that was moved by 300 years: their age is 90 and ``age_capped`` is set. Laboratory results have the time of the
    draw only: see ``lab_delay``. Prescriptions have a start date without a clock, and so are known at the end of
    that day. Notes that are marked as errors are left out, and so are chart events. An addendum to a discharge summary
    is ``NOTE//discharge_addendum``, known at the end of the day it was written and no sooner than the visit's end.
    Deaths out of hospital come from the social security register: those within 90 days of the last discharge for all
    patients, within four years for those of the older system (CareVue); their dates have no clock. Dates are shifted by
    patient, so calendar time means nothing across patients.
    """

    needs = ("patients", "admissions")
    optional = ("icustays",)
    admissions_table, stays_table = "admissions", "icustays"
    orders_by_day = True
    follow_up_days = (90, 4 * 365)
    stay_key, background = "icustay_id", "ethnicity"
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
        rows = tables.table("diagnoses_icd", subject_id="integer", hadm_id="integer", icd9_code="text")
        return billed(rows, visits, ex.dotted(rows.icd9_code, "ICD9CM"))

    def procedure(self, tables, visits):
        rows = tables.table("procedures_icd", subject_id="integer", hadm_id="integer", icd9_code="text")
        return billed(rows, visits, ex.dotted(rows.icd9_code, "ICD9PROC"))

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
            optional=["ndc", "route", "drug_type"],
        )
        return prescribed(rows, ex.end_of_day(rows.startdate))

    def lab(self, tables, visits):
        rows = tables.table(
            "labevents",
            subject_id="integer",
            hadm_id="integer",
            itemid="integer",
            charttime="time",
            valuenum="number",
            valueuom="text",
        )
        return measured(rows, ex.after_hours(rows.charttime, self.lab_delay))

    def vital(self, tables, visits):
        rows = tables.table(
            "chartevents",
            subject_id="integer",
            hadm_id="integer",
            icustay_id="integer",
            itemid="integer",
            charttime="time",
            storetime="time",
            valuenum="number",
            error="integer",
            optional=["error", "storetime"],
        )
        rows = rows.filter(rows.error.isnull() | (rows.error != 1))
        return charted(rows, vital_items("mimic3"), rows.icustay_id)

    def note(self, tables, visits):
        rows = tables.table(
            "noteevents",
            subject_id="integer",
            hadm_id="integer",
            chartdate="time",
            charttime="time",
            storetime="time",
            category="text",
            description="text",
            iserror="integer",
            text="text",
            optional=["storetime", "description", "iserror"],
        )
        rows = rows.filter(rows.iserror.isnull() | (rows.iserror != 1))
        ended = with_visit_end(rows, visits)
        summary = ended.category.strip().lower() == "discharge summary"
        addendum = summary & (ended.description.strip().lower() == "addendum")
        charted = ex.latest(ended.charttime.coalesce(ex.end_of_day(ended.chartdate)), ended.storetime)
        time = ex.choose(summary, ended.visit_end, charted)
        return ended.select(
            ended.subject_id,
            visit_id=ended.hadm_id,
            time=ex.choose(addendum, ex.latest(ended.visit_end, charted), time),
            code=ex.choose(addendum, ibis.literal(ADDENDUM), ex.named("NOTE", ended.category)),
            text=ended.text,
            unparsed=ended.unparsed,
        )
