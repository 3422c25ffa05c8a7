"""Rebuild `drug_agreed.csv`, structures in which other sources contradict the package. Not imported at run time.

    git clone https://github.com/unmtransinfo/DrugCentral-2023 DRUGCENTRAL && git -C DRUGCENTRAL checkout 37a81bf
    git clone https://github.com/broadinstitute/lincs-cell-painting HUB && git -C HUB checkout 0618701
    git clone https://github.com/ncats/stitcher STITCHER && git -C STITCHER checkout ece6575
    pip download --no-deps --dest DOWNLOADS chemicals==1.5.2
    python -m zoo.knowledge._build_agreed NER.json DRUGCENTRAL HUB STITCHER DOWNLOADS KEYS

(`NER.json` as for `_build_drugs.py`, which is to be run after this.) Five witnesses say what compound a name means:
DrugCentral, the Drug Repurposing Hub, ChEMBL's drugs and the NCGC Pharmaceutical Collection (both in STITCHER), and
PubChem (in `chemicals`). Nothing else is taken from them. A witness has a vote for a substance for which it has one
structure under that very name; PubChem only for structures that leave no stereocentre open, as `chemicals` has most
without any. Structures are compared by the InChIKey of the active part, without charges that a hydrogen ion explains,
so that salts and ways of drawing do not count.

The package is overruled where two witnesses or more agree on another structure, and more of them than on the
package's or on a third one. Where the formulas differ, the package's structure must be without a witness, and the other
not that with carbon added: esters often go by the names of their alcohols. What the hand-written `drug_structures.csv`
has stays.

`KEYS` becomes `tests/drug_inchikeys.csv.gz`, what the witnesses say: substance, InChIKey, witnesses.
"""

import csv
import io
import re
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from zoo.knowledge._build import write_rows
from zoo.knowledge._build_drugs import package_molecules, read_package
from zoo.knowledge._tables import read_rows
from zoo.knowledge.molecules import _active_part

csv.field_size_limit(10**7)


@cache
def neutral(smiles: str) -> str:
    """Canonical SMILES of the active part without charges that a hydrogen ion explains; empty where unreadable.

    Ions without an active part (calcium chloride) keep theirs.
    """
    with rdBase.BlockLogs():
        molecule = _active_part(smiles)
        if molecule and len(Chem.GetMolFrags(molecule)) == 1:
            molecule = rdMolStandardize.Uncharger().uncharge(molecule)
        return Chem.MolToSmiles(molecule) if molecule else ""


@cache
def key(smiles: str) -> str:
    """InChIKey of what `neutral` gives; empty where there is none."""
    with rdBase.BlockLogs():
        return Chem.MolToInchiKey(Chem.MolFromSmiles(neutral(smiles))) if neutral(smiles) else ""


def drugcentral(clone: Path) -> Iterator[tuple[str, str]]:
    """Names and SMILES of DrugCentral 2023."""
    for row in tabbed(at(clone, "37a81bf", "drugcen/static/structures.smiles.tsv")):
        yield row["INN"], row["SMILES"]


def hub(clone: Path) -> Iterator[tuple[str, str]]:
    """Names and SMILES of the Drug Repurposing Hub of 2020-03-24."""
    text = at(clone, "0618701", "metadata/moa/clue/repurposing_samples_20200324.txt")
    for row in tabbed("\n".join(line for line in text.splitlines() if not line.startswith("!"))):
        yield row["pert_iname"], row["smiles"]


def chembl(clone: Path) -> Iterator[tuple[str, str]]:
    """Names and SMILES of ChEMBL's drugs of 2017; a name is followed by who gave it: ``Enalapril (BAN, INN)``."""
    packed = at_bytes(clone, "ece6575", "data/_not_in_use/ChEMBL_drugs.zip")
    with zipfile.ZipFile(io.BytesIO(packed)) as files:
        text = files.read("ChEMBL drugs/chembl_drugs-17_20_10_38.txt").decode("utf-8", "replace")
    for row in tabbed(text):
        for name in (row["SYNONYMS"] or "").split(";"):
            yield re.sub(r"\s*\([^()]*\)\s*$", "", name), row["CANONICAL_SMILES"]


def collection(clone: Path) -> Iterator[tuple[str, str]]:
    """Names and SMILES of the NCGC Pharmaceutical Collection of 2017; entries of many names mix up several drugs."""
    for row in tabbed(at(clone, "ece6575", "data/possible_dependencies/ruili_04142017_mod20180115.txt")):
        names = row["name"].split("|")
        for name in names[: 1 if len(names) > 8 else None]:
            yield re.sub(r"\s*\(.*\)$", "", name), row["smiles"]


def pubchem(downloads: Path) -> Iterator[tuple[str, str]]:
    """Names and SMILES of the compounds that `chemicals` has from PubChem."""
    with zipfile.ZipFile(next(downloads.glob("chemicals-1.5.2-*.whl"))) as files:
        for size in ("large", "small"):
            text = files.read(f"chemicals/Identifiers/chemical identifiers pubchem {size}.tsv").decode()
            for line in text.splitlines():
                cells = line.split("\t")
                yield from ((name, cells[4]) for name in cells[7:])


def at_bytes(clone: Path, commit: str, path: str) -> bytes:
    """A file of a clone as of a commit."""
    return subprocess.run(["git", "-C", clone, "show", f"{commit}:{path}"], capture_output=True, check=True).stdout


def at(clone: Path, commit: str, path: str) -> str:
    """A text of a clone as of a commit."""
    return at_bytes(clone, commit, path).decode("utf-8", "replace")


def tabbed(text: str) -> csv.DictReader:
    """Rows of a table whose cells are parted by tabs."""
    return csv.DictReader(io.StringIO(text), delimiter="\t")


def testimony(names_and_smiles: Iterator[tuple[str, str]], substances: set[str]) -> dict[str, str]:
    """Substances for which a witness has one structure under that very name, and its SMILES."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, smiles in names_and_smiles:
        if (substance := name.strip().lower()) in substances and smiles and key(smiles):
            found[substance].setdefault(key(smiles), neutral(smiles))
    return {substance: next(iter(own.values())) for substance, own in found.items() if len(own) == 1}


def overruled(smiles: str, told: list[str]) -> str:
    """The SMILES on which most of the structures ``told`` agree against ``smiles``; empty where that stays."""
    votes = Counter(map(key, told)).most_common()
    most, number = votes[0] if votes else ("", 0)
    rest = max((count for other, count in votes if other not in (most, key(smiles))), default=0)
    own = dict(votes).get(key(smiles), 0)
    if most == key(smiles) or number < 2 or number <= max(own, rest):
        return ""
    agreed = min(text for text in told if key(text) == most)
    here, there = (Chem.MolFromSmiles(text) for text in (neutral(smiles), agreed))
    grown = _carbon(there) > _carbon(here) and there.HasSubstructMatch(here)
    return "" if CalcMolFormula(here) != CalcMolFormula(there) and (own or grown) else agreed


def _carbon(molecule: Chem.Mol) -> int:
    return sum(atom.GetAtomicNum() == 6 for atom in molecule.GetAtoms())


def is_definite(smiles: str) -> bool:
    """Whether a structure leaves no stereocentre and no double bond open."""
    found = Chem.FindPotentialStereo(Chem.MolFromSmiles(smiles))
    return all(place.specified != Chem.StereoSpecified.Unspecified for place in found)


def main(package: Path, drugcentral_at: Path, hub_at: Path, stitcher: Path, downloads: Path, keys: Path) -> None:
    """Read the package and the witnesses, write the table and the keys."""
    by_hand = {row["substance"] for row in read_rows("drug_structures.csv")}
    known = dict(package_molecules(read_package(package)))
    names = set(known)
    witnesses = {
        "ChEMBL": testimony(chembl(stitcher), names),
        "DrugCentral": testimony(drugcentral(drugcentral_at), names),
        "NPC": testimony(collection(stitcher), names),
        "PubChem": {name: text for name, text in testimony(pubchem(downloads), names).items() if is_definite(text)},
        "Repurposing Hub": testimony(hub(hub_at), names),
    }
    table, said = [], []
    for substance, smiles in sorted(known.items()):
        told = {name: own[substance] for name, own in witnesses.items() if substance in own}
        by_key = defaultdict(list)
        for name, text in told.items():
            by_key[key(text)].append(name)
        said += [[substance, own, " + ".join(sayers)] for own, sayers in sorted(by_key.items())]
        if substance not in by_hand and (agreed := overruled(smiles, list(told.values()))):
            table.append([substance, agreed, key(agreed), " + ".join(by_key[key(agreed)])])
    write_rows("drug_agreed.csv", ["substance", "smiles", "inchikey", "witnesses"], table)
    write_rows(str(keys.resolve()), ["substance", "inchikey", "witnesses"], said)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
