"""The files of synthetic source tables, written chunk by chunk."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from zoo.datasets._generator import CHUNK, simulate_chunk

WRITERS = 2  # threads
GZIP_LEVEL = 1
CSV_ROWS = 1 << 16  # turned into text at once


def write_tables(writer, patients: int, seed: int, folder: Path, format: str, progress) -> None:
    """Simulate a chunk while the last one is being written; a file's chunks stay in order."""
    files: dict[str, TableFile] = {}

    def append(name: str, table: pa.Table) -> None:
        files[name].append(table)

    def open_file(name: str, table: pa.Table) -> None:
        if name not in files:
            files[name] = TableFile(folder / f"{name}.{format}", table.schema, format)

    try:
        for name, table in writer.write_dictionaries():
            open_file(name, table)
            append(name, table)
        with ThreadPoolExecutor(WRITERS) as pool:
            pending = []
            for first in range(0, patients, CHUNK):
                chunk = simulate_chunk(seed, first // CHUNK, intensive=writer.INTENSIVE)
                tables = _first_patients(writer, chunk, patients - first)
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


def _first_patients(writer, chunk, patients: int) -> list[tuple[str, pa.Table]]:
    """The tables of a chunk, of its first patients only."""
    tables = list(writer.write_chunk(chunk))
    if patients >= CHUNK:
        return tables
    kept = pa.array(writer.keys(chunk, patients))
    return [(name, table.filter(pc.is_in(table[writer.KEY], kept))) for name, table in tables]


class TableFile:
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
        options = pa.csv.WriteOptions(batch_size=CSV_ROWS)
        self._writer = pa.csv.CSVWriter(stream, schema, write_options=options)

    def append(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()
        for stream in self._streams:
            stream.close()
