"""Rebuild the drug tables of this folder that are not written by hand. Not imported at run time.

    git clone https://github.com/hl7-eu/unicom-ig UNICOM && git -C UNICOM checkout 20fc521
    pip install drug-named-entity-recognition==2.0.9
    python -c "import json, drug_named_entity_recognition.drugs_finder as f; print(json.dumps(f.d))" > NER.json
    python -m zoo.knowledge._build_drugs UNICOM/input/fsh/codesystems/atcEMA.fsh NER.json

`atc_codes.csv.gz` has the codes of all ATC levels as the European Medicines Agency lists them, with the names of the
substances; names of groups are left out. `drug_synonyms.csv.gz` has the synonyms and brands of those substances, and
`drug_molecules.csv.gz` their SMILES, both from drug-named-entity-recognition. An entry of that package belongs to a
substance where one of its names is the substance's, or where its own name is understood whole by the hand-written
`drug_names.csv`. Where it has the SMILES of another compound or stereoisomer, the hand-written `drug_structures.csv` or
`drug_agreed.csv` (see `_build_agreed.py`) has the right one.
"""

import json
import re
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path

from zoo.knowledge import _drug_names as names
from zoo.knowledge._build import write_rows
from zoo.knowledge._tables import read_rows

MOVED_GROUPS = ("J01DA", "L01XC", "L01XE")
MOVED = """A03AE02 A03AE04 A10BX04 A10BX07 A10BX09 A10BX10 A10BX11 A10BX12 A10BX13 A10BX14 A11CC07 B01AC14 B01AX06
    B02AB03 B02BC10 B03AB06 B06AA11 C01EB12 C01EB19 C04AX13 C10AX04 D11AX14 D11AX15 D11AX17 D11AX19 G03DC05 H01CA03
    J05AB04 J05AE11 J05AE12 J05AE13 J05AE14 J05AE15 J05AX08 J05AX11 J05AX12 J05AX14 J05AX15 J05AX16 J05AX65 J05AX66
    J05AX67 J05AX68 J05AX69 J06BB16 J06BB17 J06BB18 J06BB21 J06BB22 L01EX16 L01EX20 L01XD02 L01XX09 L01XX14 L01XX17
    L01XX19 L01XX22 L01XX25 L01XX28 L01XX32 L01XX38 L01XX39 L01XX42 L01XX43 L01XX45 L01XX46 L01XX47 L01XX48 L01XX49
    L01XX50 L01XX54 L01XX55 L01XX56 L01XX60 L01XX61 L01XX63 L01XX64 L01XX65 L01XX68 L04AA01 L04AA05 L04AA08 L04AA09
    L04AA11 L04AA12 L04AA14 L04AA16 L04AA17 L04AC06 N01AB03 N01AX01 N02AA09 N02CX07 N02CX08 N05AK01 N05AX09 N05CM17
    N07BA02 N07XX09 R03AK03 R05CB12 S01AX11 S01AX12 S01AX13 S01AX17 S01AX19 S01AX21 S01AX22 S01AX23 S01XA17""".split()  # noqa: SIM905
"""Codes that the WHO moved before 2023 and that the list still has beside their successors."""

CODE = re.compile(r'\* #\d+ "(.*)" "([A-Z](?:\d\d(?:[A-Z](?:[A-Z](?:\d\d)?)?)?)?)\s*"')
LONGEST = 4
"""Words of a synonym; longer ones are chemists' names."""
LONGEST_MOLECULE = 420
"""Characters of a molecule's SMILES; longer ones are of proteins, oligonucleotides and long peptides (200 atoms)."""


def read_codes(text: str) -> dict[str, str]:
    """ATC code to name; of several names for one code, the first."""
    codes: dict[str, str] = {}
    for line in text.splitlines():
        if match := CODE.match(line.strip()):
            codes.setdefault(match[2], " ".join(match[1].split()).lower())
    return codes


def code_rows(codes: dict[str, str]) -> list[list[str]]:
    """Rows of `atc_codes.csv.gz`: code, name at level 5, and a code in force where this one was moved."""
    current = defaultdict(list)
    moved = {code for code in codes if code in MOVED or code.startswith(MOVED_GROUPS)}
    for code, name in sorted(codes.items()):
        if len(code) == 7 and code not in moved:
            current[name].append(code)
    rows = []
    for code, name in sorted(codes.items()):
        substance = name if len(code) == 7 else ""
        successor = current[name][0] if code in moved and substance and current[name] else ""
        rows.append([code, substance, successor])
    return rows


def plain(name: str) -> str:
    """A name in ASCII."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def meanings(entries: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Substances of each entry of the package (name to all its names) that has any."""
    found = {}
    for entry, known_as in entries.items():
        exact = {names.exactly(name) for name in [entry, *known_as]} - {None}
        understood = names.exactly(entry) or (exact.pop() if len(exact) == 1 else names.understood(entry))
        if understood:
            found[entry] = understood
    return found


def synonym_rows(entries: dict[str, list[str]], found: dict[str, tuple[str, ...]]) -> list[list[str]]:
    """Rows of `drug_synonyms.csv.gz`: substances, and the names that were not understood before, parted by ``|``."""
    owners = defaultdict(set)
    for entry, substances in found.items():
        for name in entries[entry]:
            if words := useful(name):
                owners[words].add(substances)
    said = defaultdict(list)
    for words, substances in owners.items():
        if len(substances) == 1 and not names.substances_named(" ".join(words)):
            said[next(iter(substances))].append(" ".join(words))
    return [[" + ".join(key), "|".join(sorted(value))] for key, value in sorted(said.items())]


def useful(name: str) -> tuple[str, ...] | None:
    """Words of a synonym that can stand in a prescription, None for chemists' names and words that say too little."""
    text = plain(name)
    words = names.words(text)
    if not 1 <= len(words) <= LONGEST or len(text) > 32 or re.search(r"[\[\](),:;^']", text):
        return None
    if len(words) == 1 and (len(words[0]) < 5 or not words[0].isalpha()):
        return None
    return None if all(names.says_nothing(word) for word in words) else tuple(words)


def read_package(package: Path) -> dict:
    """The package's tables; empties `drug_synonyms.csv.gz`, so that names mean what they do without it."""
    write_rows("drug_synonyms.csv.gz", ["substances", "names"], [])
    names.forget()
    return json.loads(package.read_text())


def package_molecules(data: dict) -> list[list[str]]:
    """Substances and their SMILES in the package; of several entries, the one of the substance's own name.

    What `drug_structures.csv` says goes before; a substance without a SMILES there is left out, and so are
    macromolecules.
    """
    found, smiles = meanings(entries_of(data)), data["drug_canonical_to_data"]
    rows: dict[str, str] = {row["substance"]: row["smiles"] for row in read_rows("drug_structures.csv")}
    for entry, substances in sorted(found.items(), key=lambda item: (item[1] != (item[0],), item[0])):
        if len(substances) == 1 and (text := smiles.get(entry, {}).get("smiles")):
            rows.setdefault(substances[0], text)
    small = {substance: text for substance, text in rows.items() if max(map(len, text.split("."))) <= LONGEST_MOLECULE}
    return [[substance, text] for substance, text in sorted(small.items()) if text]


def entries_of(data: dict) -> dict[str, list[str]]:
    """All names of each entry of the package."""
    entries = defaultdict(list)
    for name, canonical in data["drug_variant_to_canonical"].items():
        for entry in canonical:
            entries[entry].append(name)
    return entries


def main(codes: Path, package: Path) -> None:
    """Read both sources and write the three tables."""
    write_rows(
        "atc_codes.csv.gz", ["code", "name", "successor"], code_rows(read_codes(codes.read_text("utf-8", "replace")))
    )
    data = read_package(package)
    entries = entries_of(data)
    write_rows("drug_synonyms.csv.gz", ["substances", "names"], synonym_rows(entries, meanings(entries)))
    agreed = {row["substance"]: row["smiles"] for row in read_rows("drug_agreed.csv")}
    rows = [[substance, agreed.get(substance, smiles)] for substance, smiles in package_molecules(data)]
    write_rows("drug_molecules.csv.gz", ["substance", "smiles"], rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
