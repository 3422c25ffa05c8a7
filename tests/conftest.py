"""Fixtures that more than one test file uses: caches, tiny source tables, real processes, and the open data."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; libraries read this when they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import Forked

OPEN_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ZOO_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def open_data() -> Path:
    """The folder with the open demo databases; tests that need it are skipped where it is absent."""
    if not OPEN_DATA.is_dir():
        pytest.skip(f"the open demo databases are not in ../{OPEN_DATA.parent.name}/{OPEN_DATA.name}")
    return OPEN_DATA


@pytest.fixture
def published_encoder(tmp_path) -> Path:
    """A folder as people publish encoders: a BERT of two layers with a head, and a tokenizer of its own."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    from zoo.data.text import WordPieces

    folder = tmp_path / "published"
    plain = WordPieces(size=200).fit(["chest pain and heart failure, kidney disease, pneumonia"] * 5).plain
    (tmp_path / "tokenizer.json").write_text(plain)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), mask_token="[MASK]", **named)
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20
    )
    torch.manual_seed(7)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def mimic3(tmp_path) -> "SourceFolder":
    """A folder of CSV files in the shape of MIMIC-III with 60 patients, to be spoilt at will."""
    return SourceFolder.write(tmp_path / "source")


@pytest.fixture(scope="session")
def intact_mimic3(tmp_path_factory) -> "SourceFolder":
    """The same folder, not to be changed."""
    return SourceFolder.write(tmp_path_factory.mktemp("intact") / "source")


@pytest.fixture(scope="session")
def zoo_command():
    """Run ``zoo`` in a process of its own; gives what `subprocess.run` does, with text."""

    def run(*arguments, cwd=None, **environment):
        env = os.environ | {"OMP_NUM_THREADS": "1"} | {n: str(v) for n, v in environment.items()}
        return Forked("zoo", *arguments, cwd=cwd, env=env).finished()

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class SourceFolder:
    """A folder of small tables, all text, and ways to write them anew."""

    def __init__(self, root: Path):
        self.root = root

    @classmethod
    def write(cls, root: Path) -> "SourceFolder":
        root.mkdir(parents=True)
        folder = cls(root)
        for name, table in mimic3_tables().items():
            folder.put(name, table)
        return folder

    def file(self, name: str) -> Path:
        return self.root / f"{name.upper()}.csv"

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.file(name), dtype=str, keep_default_na=False)

    def put(self, name: str, table: pd.DataFrame) -> None:
        table.to_csv(self.file(name), index=False)

    def lines(self, name: str) -> list[str]:
        return self.file(name).read_text().splitlines()

    def put_lines(self, name: str, lines: list[str]) -> None:
        self.file(name).write_text("\n".join(lines) + "\n")

    def change(self, name: str, column: str, row: int, value: str) -> None:
        """Set one field of a table."""
        table = self.table(name)
        table.loc[row, column] = value
        self.put(name, table)

    def add(self, name: str, **fields: str) -> None:
        """Add a row that is like the first one but for the named fields."""
        table = self.table(name)
        self.put(name, pd.concat([table, table.iloc[[0]].assign(**fields)]))


def mimic3_tables(patients: int = 60) -> dict[str, pd.DataFrame]:
    """MIMIC-III-shaped tables: patients have 1 to 4 admissions, 20 to 200 days apart; one patient in five dies."""
    random = np.random.default_rng(7)
    tables: dict[str, list[dict]] = {n: [] for n in ("patients", "admissions", "icustays", *CONCEPT_TABLES)}
    for number in range(patients):
        subject = 10_000 + number * 7
        admissions = 1 + number % 4
        fatal = number % 5 == 4
        born = pd.Timestamp("2080-03-01") + pd.Timedelta(days=int(random.integers(0, 9000)))
        start = pd.Timestamp("2150-01-01 08:30") + pd.Timedelta(days=int(random.integers(0, 3000)))
        for visit in range(admissions):
            end = start + pd.Timedelta(hours=int(random.integers(30, 300)))
            died = fatal and visit == admissions - 1
            _add_admission(tables, random, subject, 100_000 + number * 10 + visit, start, end, died)
            start = end + pd.Timedelta(days=int(random.integers(20, 200)))
        tables["patients"].append(
            {
                "row_id": number,
                "subject_id": subject,
                "gender": "MF"[number % 2],
                "dob": f"{born:%F %T}",
                "dod": f"{end:%F} 00:00:00" if fatal else "",
            }
        )
    return {n: pd.DataFrame(rows).rename(columns=str.upper).astype(str) for n, rows in tables.items()}


CONCEPT_TABLES = ("diagnoses_icd", "procedures_icd", "prescriptions", "labevents", "chartevents", "noteevents")
DIAGNOSES = ("4280", "25000", "4019", "41401", "5849", "E8788", "V5861", "0389")
DRUGS = ("Furosemide", "Aspirin", "Insulin, Human", 'Heparin "flush"', "Metoprolol")


def _add_admission(tables, random, subject, visit, start, end, died) -> None:
    ids = {"subject_id": subject, "hadm_id": visit}
    tables["admissions"].append(
        {
            "row_id": visit,
            **ids,
            "admittime": f"{start:%F %T}",
            "dischtime": f"{end:%F %T}",
            "deathtime": f"{end:%F %T}" if died else "",
            "admission_type": "EMERGENCY",
            "discharge_location": "DEAD/EXPIRED" if died else "HOME",
            "edregtime": "",
            "ethnicity": "WHITE",
            "hospital_expire_flag": int(died),
        }
    )
    stay = {"icustay_id": 200_000 + visit}
    out = start + (end - start) / 2
    tables["icustays"].append(
        {**ids, **stay, "first_careunit": "MICU", "intime": f"{start:%F %T}", "outtime": f"{out.floor('s'):%F %T}"}
    )
    for place, code in enumerate(random.choice(DIAGNOSES, 4, replace=False)):
        tables["diagnoses_icd"].append({**ids, "seq_num": place + 1, "icd9_code": code})
    tables["procedures_icd"].append({**ids, "seq_num": 1, "icd9_code": "3893"})
    for drug in random.choice(DRUGS, 3, replace=False):
        tables["prescriptions"].append({**ids, "startdate": f"{start:%F} 00:00:00", "drug": drug, "ndc": "0"})
    for hour in range(1, 25, 4):
        time = f"{start + pd.Timedelta(hours=hour):%F %T}"
        value = round(float(random.normal(100, 15)), 1)
        tables["labevents"].append({**ids, "itemid": 50931, "charttime": time, "valuenum": value, "valueuom": "mg/dL"})
        tables["chartevents"].append(
            {**ids, **stay, "itemid": 211, "charttime": time, "storetime": time, "valuenum": value, "error": ""}
        )
    tables["noteevents"].append(
        {
            **ids,
            "chartdate": f"{end:%F}",
            "charttime": "",
            "storetime": "",
            "category": "Discharge summary",
            "iserror": "",
            "text": 'Seen for chest pain.\nSaid "better now", sent home.',
        }
    )
