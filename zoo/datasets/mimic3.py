"""MIMIC-III 1.4 (Johnson et al., Scientific Data 2016, doi:10.1038/sdata.2016.35)."""

from __future__ import annotations

from zoo.datasets import _expressions as ex
from zoo.datasets._engine import Dataset
from zoo.registry import register_dataset


@register_dataset("mimic3")
class MIMIC3(Dataset):
    """MIMIC-III 1.4: 46,520 patients of the critical care units of one hospital in Boston, 2001 to 2012.

    A visit is a hospital admission (``hadm_id``), a stay an ICU stay (``icustay_id``). Patients over 89 have a birth
    that was moved by 300 years: their age is 90 and ``age_capped`` is set. Laboratory results have the time of the
    draw only: see ``lab_delay``. Prescriptions have a start date without a clock, and so are known at the end of
    that day. Dates are shifted by patient, so calendar time means nothing across patients.
    """

    needs = ("patients", "admissions")
    optional = ("icustays",)
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
        admissions = self._admissions(tables)
        per_subject = admissions.group_by("subject_id").agg(
            ethnicity=admissions.ethnicity.argmin(admissions.admittime), deathtime=admissions.deathtime.max()
        )
        joined = patients.left_join(per_subject, "subject_id")
        first = admissions.group_by("subject_id").agg(first_admission=admissions.admittime.min())
        joined = joined.left_join(first.rename(first_subject="subject_id"), joined.subject_id == first.subject_id)
        moved = ex.years_between(joined.dob, joined.first_admission) > 200
        return joined.select(
            joined.subject_id,
            sex=joined.gender,
            birth=ex.unless(moved, joined.dob),
            death=ex.first_known(joined.deathtime, ex.end_of_day(joined.dod)),
            ethnicity=joined.ethnicity,
            unparsed=joined.unparsed,
        )

    def visits(self, tables):
        patients = tables.table("patients", subject_id="integer", dob="time").drop("unparsed")
        visits = self._admissions(tables).left_join(patients, "subject_id")
        age = ex.years_between(visits.dob, visits.admittime)
        return visits.select(
            visits.subject_id,
            visit_id=visits.hadm_id,
            start=visits.admittime,
            end=visits.dischtime,
            age=ex.capped_age(age, 89),
            died=visits.hospital_expire_flag == 1,
            admission_type=visits.admission_type,
            discharge_to=visits.discharge_location,
            age_capped=age > 89,
            arrival=visits.edregtime,
            unparsed=visits.unparsed,
        )

    def _admissions(self, tables):
        return tables.table(
            "admissions",
            subject_id="integer",
            hadm_id="integer",
            admittime="time",
            dischtime="time",
            deathtime="time",
            edregtime="time",
            hospital_expire_flag="integer",
            admission_type="text",
            discharge_location="text",
            ethnicity="text",
            optional=["edregtime", "ethnicity", "discharge_location"],
        )

    def stays(self, tables):
        if not tables.has("icustays"):
            return None
        stays = tables.table(
            "icustays",
            subject_id="integer",
            hadm_id="integer",
            icustay_id="integer",
            intime="time",
            outtime="time",
            first_careunit="text",
            optional=["first_careunit"],
        )
        return ex.icu_stays(stays, stays.icustay_id, self._admissions(tables))

    def diagnosis(self, tables, visits):
        rows = tables.table("diagnoses_icd", subject_id="integer", hadm_id="integer", icd9_code="text")
        return ex.billed(rows, visits, ex.dotted(rows.icd9_code, "ICD9CM"))

    def procedure(self, tables, visits):
        rows = tables.table("procedures_icd", subject_id="integer", hadm_id="integer", icd9_code="text")
        return ex.billed(rows, visits, ex.dotted(rows.icd9_code, "ICD9PROC"))

    def drug(self, tables, visits):
        rows = tables.table(
            "prescriptions",
            subject_id="integer",
            hadm_id="integer",
            startdate="time",
            drug="text",
            ndc="text",
            optional=["ndc"],
        )
        return rows.select(
            rows.subject_id,
            visit_id=rows.hadm_id,
            time=ex.end_of_day(rows.startdate),
            code=ex.drug_code(rows.ndc, rows.drug),
            text=rows.drug,
            unparsed=rows.unparsed,
        )

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
        return rows.select(
            rows.subject_id,
            visit_id=rows.hadm_id,
            time=ex.later(rows.charttime, self.lab_delay),
            code=ex.coded("LAB", rows.itemid),
            value=rows.valuenum,
            unit=rows.valueuom,
            unparsed=rows.unparsed,
        )

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
        return ex.charted_vitals(rows, "mimic3", rows.icustay_id)

    def note(self, tables, visits):
        rows = tables.table(
            "noteevents",
            subject_id="integer",
            hadm_id="integer",
            chartdate="time",
            charttime="time",
            storetime="time",
            category="text",
            text="text",
            iserror="text",
            optional=["storetime", "iserror"],
        )
        rows = rows.filter(rows.iserror.isnull() | (rows.iserror != "1"))
        ends = ex.visit_ends(rows, rows.hadm_id, visits)
        summary = ends.category.strip().lower() == "discharge summary"
        charted = ex.latest(ex.first_known(ends.charttime, ex.end_of_day(ends.chartdate)), ends.storetime)
        return ends.select(
            ends.subject_id,
            visit_id=ends.hadm_id,
            time=ex.choose(summary, ends.visit_end, charted),
            code=ex.named("NOTE", ends.category),
            text=ends.text,
            unparsed=ends.unparsed,
        )
