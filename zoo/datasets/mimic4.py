"""MIMIC-IV 2.x and 3.x (Johnson et al., Scientific Data 2023, doi:10.1038/s41597-022-01899-x), with MIMIC-IV-Note."""

from __future__ import annotations

import ibis

from zoo.datasets import _expressions as ex
from zoo.datasets._mimic import Mimic, billed, charted, measured, noted, prescribed
from zoo.knowledge.vitals import vital_items
from zoo.registry import register_dataset

SUMMARY, ADDENDUM, RADIOLOGY = "NOTE//discharge_summary", "NOTE//discharge_addendum", "NOTE//radiology"


OBSERVED = ("EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION")
"""Types of admission that ended without one: who was observed, and went home.

All 42 of them in the open demo have no diagnosis-related group (that of a bill for inpatient care), 41 a bill for hours
of observation, and none lasted three days.
"""
ADMITTED = ("EW EMER.", "DIRECT EMER.", "URGENT", "ELECTIVE", "SURGICAL SAME DAY ADMISSION", "OBSERVATION ADMIT")
"""Types of admission as an inpatient; ``OBSERVATION ADMIT`` is who was admitted after an observation.

All 233 of them in the demo have a diagnosis-related group, the 45 of ``OBSERVATION ADMIT`` too: those last 8 days on
average, 17 have ICU stays, three end in death, and none has a bill for observation. Published mappings
(mimic-fhir, OHDSI/MIMIC) count these among the observations, by their name.
"""


@register_dataset("mimic4")
class MIMIC4(Mimic):
    """MIMIC-IV 2.x and 3.x: some 300,000 patients of one hospital in Boston, admitted from 2008 to 2022.

    A visit is a hospital admission (``hadm_id``), a stay an ICU stay (``stay_id``). ``root`` holds ``hosp/`` and, where
    they are to be used, ``icu/`` and MIMIC-IV-Note's ``note/``. A visit is an ``observation`` where its type of
    admission is one of `OBSERVED`, ``inpatient`` where it is one of `ADMITTED`, and else of no known class. Whether an
    observation ends in an admission shows later: to a model all of these types are ``OBSERVATION``.

    Age is that of the anchor year moved by whole years, ``anchor_age + year(admittime) - anchor_year``, and so right to
    a year. An ``anchor_age`` of 91 stands for all above 89: every visit of such a patient has age 90 and
    ``age_capped``, also those before the anchor year. So has a visit for which the moved age is over 89, though there
    it is known: 90 means "over 89" in every source. ``birth`` is null, ``period`` the first year of
    ``anchor_year_group``.

    Prescriptions start at their ``starttime``. Laboratory results are known at the later of ``charttime`` (draw) and
    ``storetime``; where that is missing, ``lab_delay`` hours after the draw. Discharge summaries are known at the
    visit's end; an addendum to one is ``NOTE//discharge_addendum``, known when stored and no sooner than that end. A
    ``dod`` without a death in hospital comes from state records, which tell deaths of the year after a patient's last
    discharge, and has no clock. Dates are shifted by patient, so
    calendar time means nothing across patients.
    """

    version = 4
    needs = ("hosp/patients", "hosp/admissions")
    optional = ("icu/icustays",)
    admissions_table, stays_table = "hosp/admissions", "icu/icustays"
    stay_key, backgrounds = "stay_id", ("race", "ethnicity")
    at_start = {"admission_type": dict.fromkeys((*OBSERVED, "OBSERVATION ADMIT"), "OBSERVATION")}
    follow_up_days = (365, 365)
    places = (("first_careunit", "last_careunit"),)
    labs_table = "hosp/d_labitems"
    concepts_from = {
        "diagnosis": ("hosp/diagnoses_icd",),
        "procedure": ("hosp/procedures_icd",),
        "drug": ("hosp/prescriptions",),
        "lab": ("hosp/labevents",),
        "vital": ("icu/chartevents",),
        "note": ("note/discharge", "note/radiology"),
    }

    def subjects(self, tables):
        patients = tables.table(
            "hosp/patients",
            subject_id="integer",
            gender="text",
            anchor_age="integer",  # both read by `with_age`, and counted here where they do not parse
            anchor_year="integer",
            anchor_year_group="text",
            dod="time",
            optional=["anchor_year_group", "dod"],
        )
        joined = self.with_admissions(patients, tables)
        period, unread = tables.parse(joined.anchor_year_group.substr(0, 4), "integer", "anchor_year_group")
        return joined.select(
            joined.subject_id,
            sex=joined.gender,
            death=joined.deathtime.coalesce(ex.end_of_day(joined.dod)),
            ethnicity=joined.ethnicity,
            period=period,
            unparsed=ibis.coalesce(joined.unparsed, unread),
        )

    def visit_class(self, admissions):
        kind = admissions.admission_type.strip().upper()
        known = ((kind.isin(OBSERVED), "observation"), (kind.isin(ADMITTED), "inpatient"))
        return ibis.cases(*known, else_=ex.NO_TEXT)

    def with_age(self, visits, tables):
        anchors = tables.table("hosp/patients", subject_id="integer", anchor_age="integer", anchor_year="integer").drop(
            "unparsed"
        )
        anchors = ex.first_of_each(anchors, "subject_id", ["anchor_year", "anchor_age"])
        anchors = anchors.rename(anchored_subject="subject_id")
        visits = visits.left_join(anchors, visits.subject_id == anchors.anchored_subject)
        moved = visits.anchor_age + visits.admittime.year() - visits.anchor_year
        hidden = visits.anchor_age > ex.OLDEST
        return visits.mutate(age=ex.choose(hidden, visits.anchor_age, moved))

    def diagnosis(self, tables, visits):
        return self._billed("hosp/diagnoses_icd", tables, visits, "ICD9CM", "ICD10CM")

    def procedure(self, tables, visits):
        return self._billed("hosp/procedures_icd", tables, visits, "ICD9PROC", "ICD10PCS")

    def _billed(self, table: str, tables, visits, ninth: str, tenth: str):
        columns = {"subject_id": "integer", "hadm_id": "integer", "icd_code": "text", "icd_version": "integer"}
        rows = tables.table(table, **columns, seq_num="integer", optional=["seq_num"])
        spelt = ex.spelling(tables.raw(table).icd_code, rows.icd_code)
        return billed(rows, visits, ex.dotted_by_version(rows.icd_code, rows.icd_version, ninth, tenth), spelt)

    def drug(self, tables, visits):
        rows = tables.table(
            "hosp/prescriptions",
            subject_id="integer",
            hadm_id="integer",
            starttime="moment",
            drug="text",
            ndc="text",
            route="text",
            drug_type="text",
            optional=["ndc", "route", "drug_type"],
        ).mutate(place=ibis.null("int64"))
        return prescribed(rows, rows.starttime)

    def lab(self, tables, visits):
        rows = tables.table(
            "hosp/labevents",
            subject_id="integer",
            hadm_id="integer",
            itemid="integer",
            charttime="moment",
            storetime="moment",
            valuenum="number",
            valueuom="text",
            labevent_id="integer",
            optional=["storetime", "labevent_id"],
        ).rename(place="labevent_id")
        return measured(rows, ex.resulted(rows.charttime, rows.storetime, self.lab_delay))

    def vital(self, tables, visits):
        rows = tables.table(
            "icu/chartevents",
            subject_id="integer",
            hadm_id="integer",
            stay_id="integer",
            itemid="integer",
            charttime="moment",
            storetime="moment",
            valuenum="number",
            optional=["storetime"],
        ).mutate(place=ibis.null("int64"))
        return charted(rows, vital_items("mimic4"), rows.stay_id)

    def note(self, tables, visits):
        written = {"note/discharge": self._discharge_notes, "note/radiology": self._radiology_notes}
        return [notes(tables, visits) for table, notes in written.items() if tables.has(table)]

    def _discharge_notes(self, tables, visits):
        notes = self._notes(tables, "note/discharge")
        addendum = notes.note_type.strip().upper() == "AD"
        code = ex.choose(addendum, ibis.literal(ADDENDUM), ibis.literal(SUMMARY))
        return noted(notes, ex.latest(notes.charttime, notes.storetime), code, ibis.literal(True), addendum)

    def _radiology_notes(self, tables, visits):
        notes = self._notes(tables, "note/radiology")
        never = ibis.literal(False)
        return noted(notes, ex.latest(notes.charttime, notes.storetime), ibis.literal(RADIOLOGY), never, never)

    def _notes(self, tables, table: str):
        return tables.table(
            table,
            subject_id="integer",
            hadm_id="integer",
            note_type="text",
            note_seq="integer",
            charttime="moment",
            storetime="moment",
            text="text",
            optional=["note_type", "note_seq", "storetime"],
        ).rename(place="note_seq")
