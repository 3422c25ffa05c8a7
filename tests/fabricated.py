"""Tiny source tables in three schemas, with the awkward rows that real ones have, and how to write them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

MIMIC3 = {
    "patients": """
subject_id,gender,dob,dod
1,F,2100-01-01 00:00:00,
2,M,1850-07-01 00:00:00,2150-02-03 00:00:00
3,F,2080-05-05 00:00:00,2152-05-06 00:00:00
4,M,2062-01-01 00:00:00,
""",
    "admissions": """
subject_id,hadm_id,admittime,dischtime,deathtime,edregtime,hospital_expire_flag,admission_type,admission_location,discharge_location,insurance,ethnicity
1,11,2150-03-01 10:00:00,2150-03-05 12:00:00,,2150-03-01 06:00:00,0,EMERGENCY,EMERGENCY ROOM ADMIT,HOME,Medicare,
1,12,2150-06-01 10:00:00,2150-06-02 12:00:00,,,0,URGENT,TRANSFER FROM HOSP/EXTRAM,SNF,Self Pay,WHITE
2,21,2150-02-01 08:00:00,2150-02-03 09:30:00,2150-02-03 09:00:00,2150-02-01 05:00:00,1,EMERGENCY,,DEAD/EXPIRED,,ASIAN
2,22,2150-02-03 11:00:00,2150-02-03 20:00:00,,,0,EMERGENCY,,HOME,Private,ASIAN
3,31,2151-01-02 00:00:00,2151-01-01 00:00:00,,,0,ELECTIVE,,HOME,,WHITE
3,32,2151-03-02 00:00:00,2151-03-09 00:00:00,,,0,ELECTIVE,PHYS REFERRAL/NORMAL DELI,HOME,,BLACK
4,41,2150-05-01 00:00:00,2150-05-03 00:00:00,,,0,ELECTIVE,,HOME,Medicaid,WHITE
4,42,2153-05-01 00:00:00,2153-05-03 00:00:00,,,0,NEWBORN,,HOME,Medicaid,WHITE
""",
    "icustays": """
subject_id,hadm_id,icustay_id,intime,outtime,first_careunit,last_careunit,first_wardid,last_wardid
1,11,112,2150-03-03 10:00:00,2150-03-04 10:00:00,MICU,CCU,50,50
1,11,111,2150-03-01 11:00:00,2150-03-02 10:00:00,CCU,CCU,7,12
2,21,211,2150-02-01 08:30:00,2150-02-03 09:00:00,MICU,MICU,50,50
3,31,311,2151-01-02 00:00:00,2151-01-03 00:00:00,MICU,MICU,50,50
""",
    "diagnoses_icd": """
subject_id,hadm_id,seq_num,icd9_code
1,11,1,4280
1,11,2,E8781
1,11,3,V4581
1,11,4,
2,21,1,0389
3,31,1,4019
4,42,1,v08
""",
    "procedures_icd": """
subject_id,hadm_id,seq_num,icd9_code
1,11,1,3605
2,21,1,9604
4,41,1,6601
""",
    "prescriptions": """
subject_id,hadm_id,startdate,drug,ndc,route,drug_type
1,11,2150-03-01 00:00:00,Heparin ,00006494300,SC,MAIN
1,11,2150-03-02 00:00:00,Sodium Chloride 0.9%,0,IV,BASE
1,11,,Aspirin,00006494300,PO,MAIN
1,12,2150-06-01 00:00:00,,0,,
2,21,2150-02-02 00:00:00,"D5W, ""large"" bag",,IV DRIP,BASE
""",
    "labevents": """
subject_id,hadm_id,itemid,charttime,valuenum,valueuom
1,11,50912,2150-03-02 06:00:00,1.1,mg/dL
1,,50912,2150-03-01 06:00:00,1.2,mg/dL
1,,50912,2150-03-05 12:00:00,1.3,mg/dL
1,,50912,2150-03-01 05:59:59,1.4,mg/dL
1,,50912,2150-03-05 12:00:01,1.5,mg/dL
1,999,50912,2150-03-02 06:00:00,1.6,mg/dL
2,11,50912,2150-03-02 06:00:00,1.7,mg/dL
2,21,50971,2150-02-01 09:00:00,high,mEq/L
2,21,50971,,4.1,mEq/L
""",
    "chartevents": """
subject_id,hadm_id,icustay_id,itemid,charttime,storetime,valuenum,error
1,11,111,220045,2150-03-01 12:00:00,2150-03-01 12:30:00,88,0
1,11,111,223761,2150-03-01 13:00:00,2150-03-01 12:30:00,98.6,
1,11,111,220045,2150-03-01 14:00:00,,90,1
1,11,111,220045,2150-03-01 15:00:00,,,0
1,11,111,1,2150-03-01 15:00:00,,5,0
2,21,211,211,2150-02-01 09:00:00,2150-02-01 09:05:00,70,
""",
    "noteevents": """
subject_id,hadm_id,chartdate,charttime,storetime,category,description,iserror,text
1,11,2150-03-05 00:00:00,,,Discharge summary,Report,,"Came in, went ""home"".
Second line."
1,11,2150-03-09 00:00:00,,,Discharge summary,Addendum,,More.
1,11,2150-03-02 00:00:00,2150-03-02 07:00:00,2150-03-02 09:00:00,Radiology,CHEST,,Clear.
1,11,2150-03-02 00:00:00,,,ECG,Report,,Sinus.
1,11,2150-03-02 00:00:00,2150-03-02 07:00:00,,Nursing/other,Report,1,Wrong patient.
1,,2150-06-01 00:00:00,2150-06-01 11:00:00,,Case Management ,Report,,Home.
""",
}

MIMIC4 = {
    "hosp/patients": """
subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
1,F,50,2150,2011 - 2013,
2,M,91,2150,2008 - 2010,2151-02-03
3,F,88,2150,2020 - 2022,
""",
    "hosp/admissions": """
subject_id,hadm_id,admittime,dischtime,deathtime,edregtime,hospital_expire_flag,admission_type,admission_location,discharge_location,insurance,race
1,11,2150-03-01 10:00:00,2150-03-05 12:00:00,,2150-03-01 06:00:00,0,EW EMER.,EMERGENCY ROOM,HOME,Medicare,WHITE
1,12,2152-03-01 10:00:00,2152-03-05 12:00:00,2152-03-05 11:00:00,,1,URGENT,TRANSFER FROM HOSPITAL,DIED,Medicare,WHITE
2,21,2148-02-01 08:00:00,2148-02-03 09:30:00,,,0,OBSERVATION ADMIT,,HOME,Other,ASIAN
2,22,2150-02-01 08:00:00,2150-02-03 09:30:00,,,0,EU OBSERVATION,WALK-IN/SELF REFERRAL,HOME,,ASIAN
3,31,2151-01-01 00:00:00,2151-01-02 00:00:00,,,0,ELECTIVE,,HOME,,BLACK
3,32,2152-01-01 00:00:00,2152-01-02 00:00:00,,,0,ELECTIVE,,HOME,,BLACK
""",
    "icu/icustays": """
subject_id,hadm_id,stay_id,intime,outtime,first_careunit,last_careunit
1,11,111,2150-03-01 11:00:00,2150-03-02 10:00:00,CCU,CCU
1,12,121,2152-03-01 11:00:00,2152-03-05 11:30:00,CCU,MICU
""",
    "hosp/diagnoses_icd": """
subject_id,hadm_id,seq_num,icd_code,icd_version
1,11,1,4280,9
1,11,2,E8781,9
1,12,1,E1165,10
1,12,2,I10,10
2,21,1,I10,
""",
    "hosp/procedures_icd": """
subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version
1,11,1,2150-03-01,3605,9
1,12,1,2152-03-01,02703DZ,10
""",
    "hosp/prescriptions": """
subject_id,hadm_id,starttime,drug,ndc
1,11,2150-03-01 22:00:00,Heparin,00006494300
1,11,2150-03-02,Sodium Chloride 0.9%,0
1,12,2152-03-02 00:00:00,Aspirin,
""",
    "hosp/labevents": """
subject_id,hadm_id,itemid,charttime,storetime,valuenum,valueuom
1,11,50912,2150-03-02 06:00:00,2150-03-02 07:10:00,1.1,mg/dL
1,,50912,2150-03-01 05:50:00,2150-03-01 06:00:00,1.2,mg/dL
1,,50912,2150-03-01 05:50:00,2150-03-01 05:59:00,1.3,mg/dL
1,,50912,2150-03-05 11:50:00,,1.4,mg/dL
1,,50912,2150-03-05 11:50:00,2150-03-05 12:10:00,1.5,mg/dL
2,22,50971,2150-02-01 09:00:00,2150-02-01 08:00:00,,mEq/L
""",
    "icu/chartevents": """
subject_id,hadm_id,stay_id,itemid,charttime,storetime,valuenum
1,11,111,220045,2150-03-01 12:00:00,2150-03-01 12:30:00,88
1,11,111,223761,2150-03-01 13:00:00,,98.6
1,11,111,220045,2150-03-01 15:00:00,,
""",
    "note/discharge": """
note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text
1-DS-1,1,11,DS,1,2150-03-05 00:00:00,2150-03-06 10:00:00,"Came in, went ""home"".
Second line."
1-AD-2,1,11,AD,2,2150-03-09 00:00:00,2150-03-09 08:00:00,More.
""",
    "note/radiology": """
note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text
1-RR-1,1,,RR,1,2150-03-01 07:00:00,2150-03-01 08:00:00,Clear.
1-RR-2,1,12,RR,2,2152-03-01 12:00:00,,Clear.
""",
}

EICU = {
    "patient": """
patientunitstayid,patienthealthsystemstayid,uniquepid,unitvisitnumber,hospitaladmitoffset,hospitaldischargeoffset,unitdischargeoffset,hospitaldischargeyear,hospitaldischargestatus,unitdischargestatus,age,gender,ethnicity,hospitalid,hospitaladmitsource,hospitaldischargelocation,unittype,unitstaytype,admissionweight,admissionheight
1001,10,002-0103,2,-1500,1500,600,2014,Alive,Alive,45,Female,Caucasian,59,Emergency Department,Home,MICU,readmit,80,
1000,10,002-0103,1,-60,2940,1000,2014,Alive,Alive,45,Female,Caucasian,59,Emergency Department,Home,CCU,admit,80.5,170
2000,20,002-0103,1,-100,900,800,2015,Expired,Expired,46,Female,Caucasian,59,Floor,Death,CCU,admit,,
3000,30,035-19889,1,0,500,400,2015,Expired,Alive,> 89,Male,,60,,Death,CCU,admit,,
3100,31,035-19889,1,20,500,400,2015,Alive,Alive,> 89,Male,,60,,Home,CCU,admit,,
4000,40,002-103,1,-10,500,400,2014,,,,Unknown,Asian,60,,Home,CCU,transfer,,
5000,50,odd,1,-10,500,400,2014,Alive,Alive,30,Male,Asian,60,,Home,CCU,stepdown/other,,
""",
    "diagnosis": """
diagnosisid,patientunitstayid,diagnosisoffset,diagnosisstring,icd9code,diagnosispriority
1,1000,10,x,"518.81, J96.00",Primary
2,1000,20,x,,Other
3,1001,30,x,V45.81,
4,2000,40,x,"E980.2, E11.9",Major
5,2000,50,x,V43.52XA,Other
6,7777,50,x,401.9,Other
7,2000,60,x,31.1,Other
""",
    "treatment": """
treatmentid,patientunitstayid,treatmentoffset,treatmentstring
1,1000,10,pulmonary|ventilation and oxygenation|mechanical ventilation
2,1001,20,renal|dialysis
""",
    "medication": """
medicationid,patientunitstayid,drugorderoffset,drugstartoffset,drugordercancelled,drugname,drughiclseqno,routeadmin
1,1000,5,15,No,WARFARIN SODIUM 5 MG PO TABS,2812,PO
2,1000,5,15,Yes,HEPARIN,1,IV
3,1000,5,-15,No,,8255,IV
4,1000,5,15,No,,,
""",
    "lab": """
labid,patientunitstayid,labresultoffset,labname,labresult,labmeasurenamesystem,labmeasurenameinterface,labresultrevisedoffset
1,1000,10,BUN,31.0,mg/dL,mg/dl,45
2,1000,50,BUN,30,,mg/dl,40
3,1000,50,troponin - I,,,,
""",
    "vitalPeriodic": """
vitalperiodicid,patientunitstayid,observationoffset,temperature,sao2,heartrate,respiration,cvp,systemicsystolic,systemicdiastolic,systemicmean
1,1000,5,36.5,98,80,,,120,60,80
2,1000,10,,x,81,,,,,
""",
    "vitalAperiodic": """
vitalaperiodicid,patientunitstayid,observationoffset,noninvasivesystolic,noninvasivediastolic,noninvasivemean
1,1001,5,110,70,
""",
    "nurseCharting": """
nursingchartid,patientunitstayid,nursingchartoffset,nursingchartentryoffset,nursingchartcelltypevallabel,nursingchartcelltypevalname,nursingchartvalue
1,1000,5,9,Heart Rate,Value,75
2,1000,6,2,Glasgow coma score,GCS Total,15
3,1000,6,2,Heart Rate,Value,weak
4,1000,6,2,Sedation Scale/Score/Goal,Sedation Score,-1
""",
    "respiratoryCharting": """
respchartid,patientunitstayid,respchartoffset,respchartentryoffset,respchartvaluelabel,respchartvalue
1,1000,7,8,FiO2,40%
2,1000,7,8,PEEP,5
""",
    "note": """
noteid,patientunitstayid,noteoffset,noteenteredoffset,notetype,notetext
1,1000,30,48,Admission,"fever, ""chills"" again"
2,1001,30,,Comprehensive Progress,
""",
}
SOURCES = {"mimic3": MIMIC3, "mimic4": MIMIC4, "eicu": EICU}


def frames(source: str) -> dict[str, pd.DataFrame]:
    """The tables of a source, all values text, None where there is none."""
    return {name: frame_of(text) for name, text in SOURCES[source].items()}


def frame_of(text: str) -> pd.DataFrame:
    header, *rows = csv.reader(io.StringIO(text.strip()))
    assert all(len(r) == len(header) for r in rows)
    return pd.DataFrame([[cell or None for cell in row] for row in rows], columns=header, dtype=object)


def write(
    tables: dict[str, pd.DataFrame], root: Path, *, form: str = "csv", case=str.lower, typed: bool = False
) -> Path:
    """Write tables as ``csv``, ``csv.gz`` or ``parquet`` with file and column names in a case, plus a column more.

    Args:
        typed: let Parquet have numbers and times where whole columns are such, as other people's copies do.
    """
    for name, frame in tables.items():
        folder, _, table = name.rpartition("/")
        path = root / folder / f"{case(table)}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = frame.assign(row_id=[str(i) for i in range(len(frame))]).rename(columns=case)
        if form == "parquet":
            (as_typed(frame) if typed else frame).to_parquet(path, index=False)
        else:
            frame.to_csv(path, index=False)
    return root


def as_typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers as numbers, of times with a clock as times, the rest as text."""
    typed = {}
    for name, column in frame.items():
        for parse in (pd.to_numeric, lambda c: pd.to_datetime(c, format="%Y-%m-%d %H:%M:%S")):
            try:
                typed[name] = parse(column)
                break
            except (ValueError, TypeError):
                typed[name] = column
    return pd.DataFrame(typed)


def columns_of(source: str) -> dict[str, list[str]]:
    """The columns of each table of a source, for declarations; names in lower case."""
    return {name.lower(): list(frame.columns) for name, frame in frames(source).items()}
