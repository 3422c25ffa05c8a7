"""Reading the fact tables of this folder."""

import csv
import gzip
from pathlib import Path

HERE = Path(__file__).parent


def read_rows(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file of this folder, gzipped or not."""
    opened = gzip.open if name.endswith(".gz") else open
    with opened(HERE / name, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
