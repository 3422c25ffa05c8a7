"""eICU Collaborative Research Database 2.0 (Pollard et al., Scientific Data 2018, doi:10.1038/sdata.2018.178).

What its tables mean is told at https://eicu-crd.mit.edu/eicutables/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ibis

from zoo.datasets import _expressions as ex
from zoo.datasets._engine import Dataset
from zoo.datasets._lost_zeros import settled
from zoo.knowledge.vitals import vital_items
from zoo.registry import UserError, register_dataset

if TYPE_CHECKING:
    import ibis.expr.types as ir

PRIORITIES = ("primary", "major", "other")
"""What a diagnosis may be to a stay, by rank."""
EVENT = ("code", "rank", "value", "unit", "text", "route", "ingredient", "unparsed", "spelt", "place", "flaw")
UNIQUEPID = "^[0-9]{3}-[0-9]{1,14}$"
LATE = 9999
"""Stands for a discharge year that is not told: such a visit comes last."""
ANY_ICD = "^([0-9]|[A-Z][0-9])"
ICD9 = "^([0-9]|E[0-9]{3}|V[0-9]{2}([.]?[0-9]{1,2})?$)"
ICD9_PROCEDURE = "^[0-9]{2}[.][0-9]{1,2}$"


@dataclass(frozen=True)
class Charted:
    """A table with one charted item a row: its columns for time of chart and entry, item, value, and number of the row.

    An item is named by ``item``, or by ``broader`` where ``item`` is only "Value".
    """

    table: str
    charted: str
    entered: str
    item: str
    value: str
    number: str
    broader: str = ""


CHARTED = (
    Charted(
        "nursecharting",
        "nursingchartoffset",
        "nursingchartentryoffset",
        "nursingchartcelltypevalname",
        "nursingchartvalue",
        "nursingchartid",
        broader="nursingchartcelltypevallabel",
    ),
    Charted(
        "respiratorycharting",
        "respchartoffset",
        "respchartentryoffset",
        "respchartvaluelabel",
        "respchartvalue",
        "respchartid",
    ),
    Charted(
        "intakeoutput",
        "intakeoutputoffset",
        "intakeoutputentryoffset",
        "celllabel",
        "cellvaluenumeric",
        "intakeoutputid",
    ),
)
MONITORED = ("vitalperiodic", "vitalaperiodic")


def subject_id(uniquepid: str) -> int:
    """The integer that stands for a patient's text id: a 1 (it keeps leading zeros), then the id's digits.

    >>> subject_id("002-1039")
    10021039
    """
    if not re.match(UNIQUEPID, uniquepid):
        raise UserError("a uniquepid has three digits, a hyphen, and at most fourteen digits, such as '002-1039'.")
    return int("1" + uniquepid.replace("-", ""))


def uniquepid(subject_id: int) -> str:
    """The patient's text id that an integer stands for; turns `subject_id` back.

    >>> uniquepid(10021039)
    '002-1039'
    """
    digits = str(int(subject_id))
    if not digits.startswith("1") or not 5 <= len(digits) <= 18:
        raise UserError(f"{subject_id} stands for no uniquepid: those integers are 1 and 4 to 17 digits.")
    return f"{digits[1:4]}-{digits[4:]}"


@register_dataset("eicu")
class EICU(Dataset):
    """eICU-CRD 2.0: 200,859 unit stays of 139,367 patients in 208 hospitals of the United States, 2014 and 2015.

    A visit is a hospital stay (``patienthealthsystemstayid``), a stay one of its unit stays (``patientunitstayid``), a
    subject a ``uniquepid`` (see `subject_id` and `uniquepid` of this module). All visits are ``inpatient``, as each has
    a stay in a unit. What a visit is like is read from its first unit stay, by ``unitvisitnumber`` and then id; all
    unit stays of a visit should agree.

    The source tells time in minutes from each unit admission, and the year of discharge. A subject's first visit starts
    on the first of January of its year of discharge, the next where it ends, and so on by year: the time between
    two visits is not known (``gaps_known``), nor is the order of two visits of one year, and ``order_known`` is false
    for all visits of such subjects. Within a year a visit that ended in death comes last. A unit stay begins
    ``-hospitaladmitoffset`` minutes after its visit. There is no time of death but the discharge; ``death`` is the end
    of the subject's last visit that ended in death. ``period`` is the year of the first visit's discharge.

    Diagnoses (one event for each code of ``icd9code``, whose codes are of both versions) and treatments (``EICUTX//``)
    are charted during the stay and known at their offset, drug orders at their start. Cancelled orders are left out,
    orders without a name are ``HICL//`` and their sequence number. Laboratory results are known at the later of
    ``labresultoffset`` (draw) and ``labresultrevisedoffset`` (entry), charted values and notes at the later of chart
    and entry, weight and height at unit admission. Vital signs come from whichever of their tables exist.
    """

    version = 4
    gaps_known = False
    needs = ("patient",)
    concepts_from = {
        "diagnosis": ("diagnosis",),
        "procedure": ("treatment",),
        "drug": ("medication",),
        "lab": ("lab",),
        "vital": (*MONITORED, *(c.table for c in CHARTED)),
        "note": ("note",),
    }

    def subjects(self, tables):
        laid = _laid_out(self._patients(tables))
        fatal = ibis.ifelse(laid.died, laid.end, ibis.null("timestamp"))
        by_subject = ibis.window(group_by=laid.subject_id)
        laid = laid.mutate(death=fatal.max().over(by_subject), period=laid.year.min().over(by_subject))
        first = ex.first_of_each(laid, "subject_id", ["turn"])
        return first.select("subject_id", "sex", "death", "ethnicity", "period")

    def visits(self, tables):
        laid = _laid_out(self._patients(tables))
        return laid.select(
            "subject_id",
            "visit_id",
            "start",
            "end",
            "age",
            "died",
            "admission_source",
            "discharge_to",
            "hospital",
            "age_capped",
            "order_known",
            "unparsed",
            **{"class": ibis.literal("inpatient")},
            remarks=ex.remarks(
                (laid.died & ~_dead(laid.discharge_to), "died in hospital by its status, but was discharged elsewhere"),
                (~laid.died & _dead(laid.discharge_to), "was discharged as dead, but left alive by its status"),
            ),
        )

    def settled(self, concept, codes):
        return settled(codes, with_dots=True) if concept == "diagnosis" else None

    def stays(self, tables):
        patients = self._patients(tables)
        visits = _laid_out(patients).select(laid_visit="visit_id", visit_start="start")
        joined = patients.left_join(visits, patients.visit_id == visits.laid_visit)
        start = ex.after_minutes(joined.visit_start, -joined.admitted)
        return joined.select(
            joined.subject_id,
            joined.visit_id,
            joined.stay_id,
            start=start,
            end=ex.after_minutes(start, joined.unit_discharged),
            unit=joined.unit,
            type=joined.type,
            transferred=ibis.literal(False),  # who is moved has a new stay
            died=joined.unit_died,
            unparsed=joined.unparsed,
            remarks=ex.remarks(
                (joined.unit_died & ~joined.died, "died in the unit by its status, but its visit ended alive")
            ),
        )

    def diagnosis(self, tables, visits):
        rows = tables.table(
            "diagnosis",
            patientunitstayid="integer",
            diagnosisoffset="integer",
            icd9code="text",
            diagnosispriority="text",
            diagnosisid="integer",
            optional=["diagnosispriority", "diagnosisid"],
        ).rename(place="diagnosisid")
        priority = rows.diagnosispriority.strip().lower()
        rows = rows.mutate(rank=ibis.cases(*((priority == p, n) for n, p in enumerate(PRIORITIES, 1)), else_=None))
        typed = not tables.raw("diagnosis").icd9code.type().is_string()
        # an empty list would drop its row on PostgreSQL, and so what has no code is one blank code
        codes = ibis.ifelse(rows.icd9code.strip() == "", " ", rows.icd9code).fill_null(" ")
        rows = rows.mutate(offset=rows.diagnosisoffset, codes=codes.split(","))
        rows = rows.mutate(nth=ibis.range(rows.codes.length()).unnest())
        rows = rows.mutate(icd=rows.codes[rows.nth], unparsed=ex.unless(rows.nth > 0, rows.unparsed))
        one_digit = rows.icd.strip().re_search("^[0-9][.]") | ibis.literal(typed)
        spelt = ex.choose(one_digit, rows.icd.strip(), ex.NO_TEXT)
        return self._events(tables, visits, rows.mutate(code=icd_of_either_version(rows.icd), spelt=spelt))

    def procedure(self, tables, visits):
        rows = tables.table(
            "treatment",
            patientunitstayid="integer",
            treatmentoffset="integer",
            treatmentstring="text",
            treatmentid="integer",
            optional=["treatmentid"],
        ).rename(place="treatmentid")
        code = ex.coded("EICUTX", rows.treatmentstring)
        return self._events(tables, visits, rows.mutate(offset=rows.treatmentoffset, code=code))

    def drug(self, tables, visits):
        rows = tables.table(
            "medication",
            patientunitstayid="integer",
            drugstartoffset="integer",
            drugordercancelled="flag",
            drugname="text",
            drughiclseqno="integer",
            routeadmin="text",
            medicationid="integer",
            optional=["drugordercancelled", "drughiclseqno", "routeadmin", "medicationid"],
        ).rename(place="medicationid")
        rows = rows.filter((rows.drugordercancelled != 1).fill_null(True))
        number = ex.unless(rows.drughiclseqno <= 0, ex.coded("HICL", rows.drughiclseqno))
        orders = rows.mutate(
            offset=rows.drugstartoffset,
            code=ibis.coalesce(ex.drug_name(rows.drugname), number),
            text=rows.drugname,
            route=rows.routeadmin,
            ingredient=number,
        )
        return self._events(tables, visits, orders)

    def lab(self, tables, visits):
        rows = tables.table(
            "lab",
            patientunitstayid="integer",
            labresultoffset="integer",
            labresultrevisedoffset="integer",
            labname="text",
            labresult="number",
            labmeasurenamesystem="text",
            labmeasurenameinterface="text",
            labid="integer",
            optional=["labresultrevisedoffset", "labmeasurenamesystem", "labmeasurenameinterface", "labid"],
        ).rename(place="labid")
        drawn = rows.labresultoffset + round(60 * self.lab_delay)
        known = ex.latest(rows.labresultoffset, rows.labresultrevisedoffset)
        rows = rows.mutate(
            offset=ibis.ifelse(rows.labresultrevisedoffset.isnull(), drawn, known),
            code=ex.coded("LAB", rows.labname),
            value=rows.labresult,
            unit=ibis.coalesce(rows.labmeasurenamesystem, rows.labmeasurenameinterface),
        )
        return self._events(tables, visits, rows)

    def vital(self, tables, visits):
        charted = [_charted(tables, c) for c in CHARTED if tables.has(c.table)]
        monitored = [_monitored(tables, t, "observationoffset") for t in MONITORED if tables.has(t)]
        return [self._events(tables, visits, r) for r in (*charted, *monitored, _monitored(tables, "patient", None))]

    def note(self, tables, visits):
        rows = tables.table(
            "note",
            patientunitstayid="integer",
            noteoffset="integer",
            noteenteredoffset="integer",
            notetype="text",
            notetext="text",
            noteid="integer",
            optional=["noteenteredoffset", "noteid"],
        ).rename(place="noteid")
        rows = rows.mutate(
            offset=ex.latest(rows.noteoffset, rows.noteenteredoffset),
            code=ex.named("NOTE", rows.notetype),
            text=rows.notetext,
            flaw=ex.no_text(rows.notetext),
        )
        return self._events(tables, visits, rows)

    def _events(self, tables, visits, rows: ir.Table) -> ir.Table:
        """Events of rows with ``patientunitstayid``, ``offset`` in minutes from unit admission, and ``code``."""
        patients = self._patients(tables)
        stays = ex.first_of_each(patients, "stay_id", ["visit_id"]).drop("unparsed")
        starts = visits.select(begun_visit=visits.visit_id, visit_start=visits.start)
        stays = stays.left_join(starts, stays.visit_id == starts.begun_visit)
        stays = stays.select("subject_id", "visit_id", "stay_id", "visit_start", "admitted")
        joined = rows.left_join(stays, rows.patientunitstayid == stays.stay_id)
        known = {c: joined[c] for c in EVENT if c in rows.columns}
        return joined.select(
            joined.subject_id,
            joined.visit_id,
            joined.stay_id,
            time=ex.after_minutes(joined.visit_start, joined.offset - joined.admitted),
            **known,
        )

    def _patients(self, tables) -> ir.Table:
        """The table of unit stays, in our words; times in minutes."""
        rows = tables.table(
            "patient",
            patientunitstayid="integer",
            patienthealthsystemstayid="integer",
            uniquepid="text",
            unitvisitnumber="integer",
            hospitaladmitoffset="integer",
            hospitaldischargeoffset="integer",
            unitdischargeoffset="integer",
            hospitaldischargeyear="integer",
            hospitaldischargestatus="text",
            unitdischargestatus="text",
            age="text",
            gender="text",
            ethnicity="text",
            hospitalid="text",
            hospitaladmitsource="text",
            hospitaldischargelocation="text",
            unittype="text",
            unitstaytype="text",
            optional=["ethnicity", "hospitalid", "hospitaladmitsource", "hospitaldischargelocation", "unittype"],
        )
        age, capped, unread = _age(tables, rows.age)
        known = ibis.ifelse(rows.uniquepid.strip().re_search(UNIQUEPID), rows.uniquepid.strip(), ex.NO_TEXT)
        return rows.select(
            subject_id=("1" + known.replace("-", "")).cast("int64"),
            visit_id=rows.patienthealthsystemstayid,
            stay_id=rows.patientunitstayid,
            number=rows.unitvisitnumber,
            admitted=rows.hospitaladmitoffset,
            discharged=rows.hospitaldischargeoffset,
            unit_discharged=rows.unitdischargeoffset,
            year=rows.hospitaldischargeyear,
            died=_expired(rows.hospitaldischargestatus),
            unit_died=_expired(rows.unitdischargestatus),
            age=age,
            age_capped=capped,
            sex=_one_of(rows.gender, {"female": "F", "male": "M"}),
            ethnicity=rows.ethnicity,
            hospital=ex.whole(rows.hospitalid),
            admission_source=rows.hospitaladmitsource,
            discharge_to=rows.hospitaldischargelocation,
            unit=rows.unittype,
            type=rows.unitstaytype.strip().lower(),
            unparsed=ibis.coalesce(rows.unparsed, unread),
        )


def _laid_out(patients: ir.Table) -> ir.Table:
    """One row a visit, that of its first unit stay, with ``start``, ``end``, ``turn`` and ``order_known``."""
    visits = ex.first_of_each(patients, "visit_id", ["number", "stay_id"])
    visits = visits.mutate(
        minutes=visits.discharged - visits.admitted,
        by_year=visits.year.fill_null(LATE),
        by_death=ibis.ifelse(visits.died.fill_null(False), 1, 0),
    )
    order = [visits.by_year, visits.by_death, visits.visit_id]
    turns = ibis.window(group_by=visits.subject_id, order_by=order)
    before = ibis.window(group_by=visits.subject_id, order_by=order, preceding=(None, 1))
    same_year = ibis.window(group_by=[visits.subject_id, visits.by_year])
    lasted = ibis.greatest(visits.minutes.fill_null(0), 0)
    visits = visits.mutate(
        turn=ibis.row_number().over(turns),
        waited=lasted.cast("float64").sum().over(before).fill_null(0).cast("int64"),
        first_year=visits.year.min().over(ibis.window(group_by=visits.subject_id)),
        in_year=visits.visit_id.count().over(same_year),
    )
    start = ex.after_minutes(ex.start_of_year(visits.first_year), visits.waited)
    crowded = visits.in_year.max().over(ibis.window(group_by=visits.subject_id))
    visits = visits.mutate(start=start, order_known=crowded == 1)
    return visits.mutate(end=ex.after_minutes(visits.start, visits.minutes))


def icd_of_either_version(code: ir.StringColumn) -> ir.StringColumn:
    """A canonical ICD code of eICU, where versions 9 and 10 stand side by side; null where it is none.

    Of ICD-9-CM are codes that start with a digit, with E and three digits, or with V and two digits and have at most
    two more (``428.0``, ``E878.1``, ``V45.81``), all others of ICD-10-CM (``I50.9``, ``E11.9``, ``V43.52XA``). Two
    digits before the dot are a procedure's: a tracheostomy done is ``31.1`` among eICU's diagnoses.
    """
    code = code.strip().upper()
    version = ibis.cases((code.re_search(ICD9), 9), (code.re_search(ANY_ICD), 10), else_=ibis.null("int8"))
    diagnosis = ex.dotted_by_version(code, version, "ICD9CM", "ICD10CM")
    return ex.choose(code.re_search(ICD9_PROCEDURE), ex.dotted(code, "ICD9PROC"), diagnosis)


def _age(tables, text: ir.StringColumn) -> tuple[ir.FloatingColumn, ir.BooleanColumn, ir.StringColumn | None]:
    """Years, whether they are capped, and the trace of what is no age; ``> 89`` is the source's word for the oldest."""
    hidden = text.strip().startswith(">").fill_null(False)
    told, unread = tables.parse(ibis.ifelse(hidden, ex.NO_TEXT, text), "number", "age")
    return *ex.capped_age(ibis.ifelse(hidden, ibis.literal(ex.CAPPED_AGE, "float64"), told)), unread


def _expired(status: ir.StringColumn) -> ir.BooleanColumn:
    status = status.strip().lower()
    return ibis.cases((status == "expired", True), (status == "alive", False), else_=ibis.null("boolean"))


def _dead(discharged_to: ir.StringColumn) -> ir.BooleanColumn:
    return discharged_to.strip().lower() == "death"


def _one_of(text: ir.StringColumn, names: dict[str, str]) -> ir.StringColumn:
    text = text.strip().lower()
    return ibis.cases(*[(text == name, short) for name, short in names.items()], else_=ex.NO_TEXT)


def _items_of(table: str) -> list:
    """Vital signs of one table, their keys without its name."""
    items = [(i, *i.key.split(".", 1)) for i in vital_items("eicu")]
    return [replace(i, key=key) for i, home, key in items if home == table]


def _charted(tables, source: Charted) -> ir.Table:
    """Vital signs of a table with one item a row; a percent sign after a number is no part of it."""
    columns = {"patientunitstayid": "integer", source.charted: "integer", source.entered: "integer"}
    columns[source.number] = "integer"
    texts = [c for c in (source.item, source.broader, source.value) if c]
    rows = tables.table(
        source.table, **columns, **dict.fromkeys(texts, "text"), optional=[source.entered, source.number]
    )
    item = rows[source.item].strip()
    if source.broader:
        item = ibis.ifelse(item == "Value", rows[source.broader].strip(), item)
    items = _items_of(source.table)
    rows = rows.mutate(item=item)
    unread = rows.unparsed.notnull()  # which is counted; an item that cannot be told may be one of them
    charted = rows[source.value].notnull() | unread
    rows = rows.filter(ex.among(rows.item, items) | (rows.item.isnull() & unread), charted)
    value, unread = tables.parse(rows[source.value].replace("%", "").strip(), "number", source.value)
    return rows.select(
        rows.patientunitstayid,
        offset=ex.latest(rows[source.charted], rows[source.entered]),
        **ex.vital_columns(rows.item, value, items),
        place=rows[source.number],
        unparsed=ibis.coalesce(rows.unparsed, unread),
    )


def _monitored(tables, table: str, offset: str | None) -> ir.Table:
    """Vital signs of a table with a column each, at an offset, or at unit admission where there is none."""
    items = _items_of(table)
    columns, number = [i.key for i in items], f"{table}id"
    rows = tables.table(
        table,
        patientunitstayid="integer",
        **({offset: "integer"} if offset else {}),
        **dict.fromkeys(columns, "number"),
        **{number: "integer"},
        optional=[*columns, number],
    ).rename(place=number)
    rows = rows.mutate(offset=rows[offset]) if offset else _at_admission(rows, columns)
    long = ex.melted(rows, columns, ["patientunitstayid", "offset", "place"])
    return long.select(
        "patientunitstayid", "offset", "place", **ex.vital_columns(long.name, long.value, items), unparsed=long.unparsed
    )


def _at_admission(rows: ir.Table, columns: list[str]) -> ir.Table:
    once = ex.first_of_each(rows, "patientunitstayid", columns)
    return once.mutate(offset=ibis.literal(0, "int64"))
