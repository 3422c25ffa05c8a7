#!/usr/bin/env bash
# drug-named-entity-recognition 2.0.9 gives, beside a drug's name and DrugBank number, the structure of another compound.
#
# Guessed: the SMILES of an entry is that of the drug whose DrugBank number stands beside it, up to its salt.
# Seen: of 2,674 substances with an ATC code, two or more of five other sources agree on another compound in 365, most
# of them another stereoisomer. Six well-known ones are below, by the InChIKey of the largest part and by that which
# ChEMBL, DrugCentral and the Drug Repurposing Hub have. Exits 1 when any of the six changes.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet drug-named-entity-recognition==2.0.9 requests==2.34.2 rdkit==2026.9.1
cat >"$scratch/seen.py" <<'PYTHON'
from drug_named_entity_recognition import find_drugs
from rdkit import Chem

for name in ("enalapril", "abacavir", "hydrocortisone", "dolutegravir", "enzalutamide", "promethazine"):
    facts = find_drugs([name])[0][0]
    parts = map(Chem.MolFromSmiles, facts["smiles"].split("."))
    print(name, facts["drugbank_id"], Chem.MolToInchiKey(max(parts, key=Chem.Mol.GetNumHeavyAtoms)))
PYTHON
"$scratch/venv/bin/python" "$scratch/seen.py" >"$scratch/seen"
cat >"$scratch/expected" <<'SEEN'
enalapril DB00584 GBXSMTUPTTWBMN-UAGQMJEPSA-N
abacavir DB01048 MCGSCOLBFJQGHM-WCBMZHEXSA-N
hydrocortisone DB00741 JYGXADMDTFJGBT-MKIDGPAKSA-N
dolutegravir DB08930 RHWKPHLQXYSBKR-BONVTDFDSA-N
enzalutamide DB08899 WXCXUHSOUPDCQV-HPRDVNIFSA-N
promethazine DB01069 CGNHCKZJGQDWBG-UHFFFAOYSA-N
SEEN
cat <<'RIGHT'
The other sources:
enalapril GBXSMTUPTTWBMN-XIRDDKMYSA-N
abacavir MCGSCOLBFJQGHM-SCZZXKLOSA-N
hydrocortisone JYGXADMDTFJGBT-VWUMJDOOSA-N
dolutegravir RHWKPHLQXYSBKR-BMIGLBTASA-N
enzalutamide WXCXUHSOUPDCQV-UHFFFAOYSA-N (the package's has deuterium)
promethazine PWWVAXIEGOYWEE-UHFFFAOYSA-N (the package's is a constitutional isomer)
The package:
RIGHT
cat "$scratch/seen"
diff "$scratch/expected" "$scratch/seen" || exit 1
