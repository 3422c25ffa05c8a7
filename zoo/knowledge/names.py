"""What codes stand for, in the words of those who keep the code system.

Names there are for the codes that CMS lists of ICD-9-CM and ICD-10 (full titles), blocks and chapters of diagnoses and
of ICD-9 procedures, CCS categories, and substances (ATC, level 5). `SOURCES.md` says where they come from.
"""

from collections.abc import Mapping
from functools import cache

from zoo.knowledge import atc, icd
from zoo.knowledge._tables import read_rows


def name(code: str) -> str:
    """What a canonical code or a node of its tree stands for; empty where there is no name for it.

    >>> name("ICD9CM//428.0"), name("ICD10PCS//02703DZ")[:39]
    ('Congestive heart failure, unspecified', 'Dilation of Coronary Artery, One Artery')
    >>> name("ICD9CM//420-429"), name("CCS//108"), name("ATC//C03CA01"), name("NDC//1")
    ('Other Forms Of Heart Disease', 'Congestive heart failure; nonhypertensive', 'furosemide', '')
    """
    return names(code.partition("//")[0]).get(code, "")


@cache
def names(system: str) -> Mapping[str, str]:
    """Canonical codes of a system, and nodes above them, to their names; empty for a system that has none."""
    if system == "ATC":
        return {f"ATC//{code}": name for code, name in atc.known_codes().items() if name}
    if system in ("CCS", "CCSPROC"):
        return {r["category"]: r["name"] for r in read_rows("ccs_names.csv") if r["category"].startswith(f"{system}//")}
    if system not in icd.SYSTEMS:
        return {}
    blocks = {
        f"{system}//{row['first']}-{row['last']}": row["name"]
        for row in read_rows("icd_blocks.csv")
        if row["system"] == system
    }
    listed = read_rows(f"icd_names_{system.lower()}.csv.gz")
    return blocks | {f"{system}//{icd.dotted(row['code'], system)}": row["name"] for row in listed}
