"""Synthetic source tables in the schemas of real databases: files, formats and true probabilities.

What is planted in the patients is told in `zoo.datasets._generator`; how a schema shows it, in `_write_<schema>`.
"""

import gzip
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from zoo.datasets._generator import CHUNK, MAX_PATIENTS, simulate_chunk, simulate_histories

SCHEMAS = ("mimic3", "mimic4", "eicu")
FORMATS = ("csv.gz", "csv", "parquet")
WRITERS = 2
GZIP_LEVEL = 1


def write_source(
    schema: str,
    patients: int,
    seed: int,
    out: str | Path,
    *,
    format: str = "csv.gz",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the source tables of `schema` for synthetic patients into the new folder `out`.

    Files, folders and columns are those of MIMIC-III 1.4, MIMIC-IV 2.2 or eICU-CRD 2.0. The same `(schema, patients, seed)`
    gives the same rows, and fewer patients give a subset of them. Tables are written chunk by chunk into a
    hidden folder beside `out`, which is renamed at the end: a killed run leaves no `out`.

    Args:
        schema: `mimic3`, `mimic4` or `eicu`.
        patients: how many, at least 1.
        seed: non-negative; another seed gives other patients.
        out: a folder that is empty or does not exist.
        format: `csv.gz`, `csv` or `parquet`.
        progress: called as `progress(done, total)` in patients after each chunk.

    Raises:
        ValueError: unknown schema or format, or a number out of range.
        FileExistsError: `out` holds something already.
    """
    if schema not in SCHEMAS:
        raise ValueError(f"unknown schema {schema!r}: choose one of {', '.join(SCHEMAS)}")
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    _check_numbers(patients, seed)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty: choose a new folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write_tables(import_module(f"zoo.datasets._write_{schema}"), patients, seed, folder, format, progress)
        folder.chmod(0o777 & ~_umask())
        os.replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return out


def true_probabilities(schema: str, patients: int, seed: int) -> dict[str, np.ndarray]:
    """What the generator knows of each visit: the best scores that any model can reach.

    Returns arrays of one length, one entry a visit: `subject_id` and `visit_id` as the schema's adapter gives them, and

    - `mortality`: P(death in this visit | its severity). Death and length of stay are independent given severity, so this is
      also P(death | severity, still in hospital after `hours`), for any `hours`;
    - `readmission`: P(next visit starts within 30 days | severity, functional status now and in the visit before,
      discharged alive); NaN after death in hospital;
    - `mortality_next_visit`: P(death in the next visit | the patient's frailty and this visit's residual, there is a next
      visit); NaN where there can be none.

    These condition on latents that no table holds; a model sees their traces only, so the score of these probabilities bounds
    what a model can reach on average. They are computed anew from the seed and are nowhere in the tables.
    """
    if schema not in SCHEMAS:
        raise ValueError(f"unknown schema {schema!r}: choose one of {', '.join(SCHEMAS)}")
    _check_numbers(patients, seed)
    writer = import_module(f"zoo.datasets._write_{schema}")
    parts = []
    for index in range(-(-patients // CHUNK)):
        people, visits = simulate_histories(seed, index, intensive=writer.INTENSIVE)
        visits = visits.take(people.number[visits.patient] < patients)
        ids = writer.identifiers(people, visits)
        known = {name: getattr(visits, name) for name in ("readmission", "mortality", "mortality_next_visit")}
        parts.append({"subject_id": ids.visit_subject, "visit_id": ids.visit, **known})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_numbers(patients: int, seed: int) -> None:
    if not 1 <= patients <= MAX_PATIENTS:
        raise ValueError(f"patients must be from 1 to {MAX_PATIENTS}, not {patients}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, but is {seed}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_tables(writer, patients: int, seed: int, folder: Path, format: str, progress) -> None:
    """Simulate a chunk while the last one is being written; a file's chunks stay in order."""
    files: dict[str, _TableFile] = {}

    def append(name: str, table: pa.Table) -> None:
        files[name].append(table)

    def open_file(name: str, table: pa.Table) -> None:
        if name not in files:
            files[name] = _TableFile(folder / f"{name}.{format}", table.schema, format)

    try:
        for name, table in writer.write_dictionaries():
            open_file(name, table)
            append(name, table)
        with ThreadPoolExecutor(WRITERS) as pool:
            pending = []
            for first in range(0, patients, CHUNK):
                chunk = simulate_chunk(seed, first // CHUNK, intensive=writer.INTENSIVE)
                tables = _first_patients(writer.write_chunk(chunk), writer.KEY, patients - first)
                for job in pending:
                    job.result()
                if progress and first:
                    progress(first, patients)
                for name, table in tables:
                    open_file(name, table)
                tables.sort(key=lambda item: -item[1].nbytes)
                pending = [pool.submit(append, name, table) for name, table in tables]
            for job in pending:
                job.result()
    finally:
        for file in files.values():
            file.close()
    if progress:
        progress(patients, patients)


def _first_patients(tables, key: str, patients: int) -> list[tuple[str, pa.Table]]:
    """The tables of a chunk, of its first patients only. The first table is the one of patients, in their order."""
    tables = list(tables)
    if patients >= CHUNK:
        return tables
    kept = tables[0][1][key].slice(0, patients)
    return [(name, table.filter(pc.is_in(table[key], kept))) for name, table in tables]


class _TableFile:
    """One table on disk, written in pieces."""

    def __init__(self, path: Path, schema: pa.Schema, format: str):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._streams = []
        if format == "parquet":
            self._writer = pa.parquet.ParquetWriter(path, schema, compression="zstd")
            return
        if format == "csv.gz":
            raw = open(path, "wb")  # noqa: SIM115
            stream = gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0)
            self._streams = [stream, raw]
        else:
            stream = open(path, "wb")  # noqa: SIM115
            self._streams = [stream]
        options = pa.csv.WriteOptions(batch_size=1 << 16)
        self._writer = pa.csv.CSVWriter(stream, schema, write_options=options)

    def append(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()
        for stream in self._streams:
            stream.close()
