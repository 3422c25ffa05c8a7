"""How fast and how small the way of the data is, from CSV to batches, as ratios to what it cannot beat.

    python benchmarks/data_path.py                          # cold, warm, batches and imports
    python benchmarks/data_path.py cold scaling --repeats 1
    python benchmarks/data_path.py chart-events --events 20000000

Tables in the shape of MIMIC-III are written to a temporary folder first, outside all timing. Everything that is timed
runs in a process of its own; a peak is the largest resident memory of that process. See README.md for what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
CONCEPTS = ("diagnosis", "procedure", "drug")
ORDER = {
    "PATIENTS": "SUBJECT_ID",
    "ADMISSIONS": "SUBJECT_ID, ADMITTIME",
    "ICUSTAYS": "SUBJECT_ID, INTIME",
    "DIAGNOSES_ICD": "SUBJECT_ID",
    "PROCEDURES_ICD": "SUBJECT_ID",
    "PRESCRIPTIONS": "SUBJECT_ID, STARTDATE",
}
SECTIONS = ("cold", "scaling", "batches", "imports", "chart-events")


# What runs in a process of its own


def write(folder: str, patients: int, chart_events: int, vital_share: float) -> dict:
    """Write the tables."""
    sys.path.insert(0, str(HERE))
    from _mimic3_tables import write_tables

    return {"events": write_tables(Path(folder), patients, chart_events, vital_share)}


def floor(folder: str, out: str) -> dict:
    """Plain DuckDB: every table read whole, and written as one sorted Parquet file."""
    import duckdb

    connection = duckdb.connect()
    for table, order in ORDER.items():
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{folder}/{table}.csv') ORDER BY {order}) TO '{out}/{table}.parquet'"
        )
    return {}


def first_batch(folder: str, task: str, concepts: list[str], memory_limit: str | None) -> dict:
    """From tables to the first batch; ``imports`` are the seconds until everything that is always used is imported."""
    begin = time.perf_counter()
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401

    import zoo

    zoo.load  # noqa: B018  imports what it stands for
    imported = time.perf_counter()
    data = _load(folder, task, concepts, memory_limit)
    batch = next(data.batches("train", set(concepts)))
    return {"imports": imported - begin, "beyond": time.perf_counter() - imported, "samples": batch.samples}


def batches(folder: str, task: str, seconds: float) -> dict:
    """Samples a second in shuffled batches of 64 on one core, and in a bare NumPy gather of the same rows' codes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import torch

    torch.set_num_threads(1)
    data = _load(folder, task, CONCEPTS, None)
    made = [(b.samples, sum(len(r.ids) for r in b.values())) for b in data.batches("train", set(CONCEPTS))]
    samples = sum(n for n, _ in made)
    gather = _bare_gather(data)
    rates = {"batches": [], "gather": []}
    for turn in range(5):  # by turns, so that a busy machine slows both
        for name, epoch in (("batches", _epoch(data, turn)), ("gather", gather)):
            begin, done = time.perf_counter(), 0
            while time.perf_counter() - begin < seconds / 5:
                epoch()
                done += samples
            rates[name].append(done / (time.perf_counter() - begin))
    codes = sum(n for _, n in made) / samples
    return {"samples": samples, "codes": codes, **{n: statistics.median(r) for n, r in rates.items()}}


def _epoch(data, seed: int) -> Callable[[], None]:
    def epoch():
        for _ in data.batches("train", set(CONCEPTS), 64, shuffle=True, seed=seed):
            pass

    return epoch


def _bare_gather(data) -> Callable[[], None]:
    """What no batch can do without: to fetch the codes of the same rows, in the same order, and nothing else."""
    import numpy as np

    from zoo.data._window import spans

    features = [data.feature(c) for c in CONCEPTS]
    places = data.sample_order("train", 64, shuffle=True, seed=0)
    own = data.visits.numbers(data.samples.visit_id.to_numpy()[places])
    first = data.visits.first[own]

    def epoch():
        for low in range(0, len(places), 64):
            begin, end = first[low : low + 64], own[low : low + 64] + 1
            for feature in features:
                offsets = feature.store.offsets
                index = spans(offsets[begin], offsets[end] - offsets[begin])
                np.take(feature.store.code, index)

    return epoch


def _load(folder: str, task: str, concepts, memory_limit: str | None):
    import zoo

    limit = {} if memory_limit is None else {"memory_limit": memory_limit}
    return zoo.load("mimic3", root=folder, task=task, concepts=list(concepts), **limit)


STEPS = {f.__name__: f for f in (write, floor, first_batch, batches)}


# How it is measured


@dataclass(frozen=True)
class Run:
    """One process: its wall-clock seconds, its peak in bytes, and what it said of itself."""

    seconds: float
    peak: int
    said: dict


def run(step: str, *arguments, cache: Path | None = None) -> Run:
    """Run a step in a new process and wait for it."""
    environment = {**os.environ, **({"ZOO_CACHE": str(cache)} if cache else {})}
    command = [sys.executable, __file__, "--step", json.dumps([step, *arguments])]
    return _measured(command, environment, lambda out: json.loads(out.splitlines()[-1]))


def _measured(command: list[str], environment: dict, said: Callable[[str], dict]) -> Run:
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)  # resource use of this child alone
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with exit status {process.returncode}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return Run(seconds, usage.ru_maxrss * unit, said(out))


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def table(title: str, columns: list[str], rows: list[list]) -> None:
    """Print a table in Markdown."""
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print("| " + " | ".join(f"{c:.2f}" if isinstance(c, float) else f"{c:,}" if isinstance(c, int) else str(c) for c in row) + " |")
    sys.stdout.flush()


# Sections


@dataclass(frozen=True)
class Bench:
    """What all sections need: where tables lie, and what was asked for."""

    folder: Path
    options: argparse.Namespace

    def tables(self, patients: int, chart_events: int = 0) -> tuple[Path, int]:
        """The folder of the tables of so many patients, written when first asked for, and how many events they have."""
        share = self.options.vital_share
        folder = self.folder / (f"{patients}-{chart_events}-{share}" if chart_events else str(patients))
        done = folder / "events.json"
        if not done.exists():
            done.write_text(json.dumps(run("write", str(folder), patients, chart_events, share).said))
        return folder, json.loads(done.read_text())["events"]

    def cold(self) -> None:
        """The floor, the cold and the warm way of the data, by turns."""
        for patients in self.options.patients:
            folder, events = self.tables(patients)
            floors, colds, warms = [], [], []
            for _ in range(self.options.repeats):
                with TemporaryDirectory(dir=self.folder) as out:
                    floors.append(run("floor", str(folder), out))
                with TemporaryDirectory(dir=self.folder) as cache:
                    asked = ("first_batch", str(folder), self.options.task, CONCEPTS, self.options.memory_limit)
                    colds.append(run(*asked, cache=Path(cache)))
                    warms.append(run(*asked, cache=Path(cache)))
            base, cold, warm = (statistics.median(r.seconds for r in runs) for runs in (floors, colds, warms))
            beyond = statistics.median(r.said["beyond"] for r in warms)
            large = patients == max(self.options.patients)
            table(
                f"{patients:,} patients, {events:,} events, median of {len(colds)}",
                ["whole process", "seconds", "x floor", "peak GB", "beyond imports, s"],
                [
                    ["plain DuckDB to sorted Parquet (floor)", base, 1.0, _gigabytes(floors), ""],
                    [
                        f"cold, CSV to first batch{' (at most 2 x, 1.5 GB)' if large else ''}",
                        cold,
                        cold / base,
                        _gigabytes(colds),
                        statistics.median(r.said["beyond"] for r in colds),
                    ],
                    ["warm (under 1 s beyond imports)", warm, warm / base, _gigabytes(warms), beyond],
                ],
            )

    def scaling(self) -> None:
        """Seconds, disk and memory against the number of events, and memory against its limit."""
        rows, first = [], None
        for patients in self.options.sizes:
            folder, events = self.tables(patients)
            with TemporaryDirectory(dir=self.folder) as cache:
                asked = ("first_batch", str(folder), self.options.task, CONCEPTS, self.options.memory_limit)
                done = run(*asked, cache=Path(cache))
                bytes_ = size(Path(cache))
            each = (done.said["beyond"] / events * 1e6, bytes_ / events)
            first = first or each
            rows.append(
                [patients, events, done.seconds, *each, *(e / f for e, f in zip(each, first, strict=True)), done.peak / 1e9]
            )
        columns = [
            "patients", "events", "seconds", "s per million events beyond imports", "cache bytes per event",
            "time per event, x smallest", "disk per event, x smallest", "peak GB",
        ]  # fmt: skip
        table("Cost against size", columns, rows)
        folder, _ = self.tables(max(self.options.sizes))
        rows = []
        for limit in self.options.limits:
            with TemporaryDirectory(dir=self.folder) as cache:
                done = run("first_batch", str(folder), self.options.task, CONCEPTS, limit, cache=Path(cache))
            rows.append([limit, done.seconds, done.peak / 1e9])
        table(f"Memory limit, {max(self.options.sizes):,} patients", ["memory_limit", "seconds", "peak GB"], rows)

    def batches(self) -> None:
        """Samples a second on one core."""
        folder, _ = self.tables(max(self.options.patients))
        rows = []
        with TemporaryDirectory(dir=self.folder) as cache:
            for task in dict.fromkeys([self.options.task, "readmission"]):
                said = run("batches", str(folder), task, 5.0, cache=Path(cache)).said
                share = said["batches"] / said["gather"]
                rows.append([task, said["samples"], said["codes"], round(said["batches"]), round(said["gather"]), share])
        table(
            "Batches of 64, shuffled, one core (at least 100,000 samples a second)",
            ["task", "training samples", "codes a sample", "samples/s", "bare NumPy gather, samples/s", "x gather"],
            rows,
        )

    def imports(self) -> None:
        """What it costs to start."""
        rows = []
        for name, limit, command in (
            ("python -c pass", "", ["-c", "pass"]),
            ("import zoo", "0.3 s beyond that", ["-c", "import zoo"]),
            ("zoo list models", "1 s", ["-m", "zoo.cli", "list", "models"]),
        ):
            runs = [_measured([sys.executable, *command], dict(os.environ), lambda out: {}) for _ in range(5)]
            rows.append([name, statistics.median(r.seconds for r in runs), limit])
        table("Start, median of 5", ["command", "seconds", "at most"], rows)

    def chart_events(self) -> None:
        """Chart events end to end through the ``vital`` concept."""
        folder, _ = self.tables(max(self.options.patients), self.options.events)
        rows = []
        with TemporaryDirectory(dir=self.folder) as cache:
            for name in ("cold", "warm"):
                done = run(
                    "first_batch", str(folder), self.options.task, ["vital"], self.options.memory_limit, cache=Path(cache)
                )
                rows.append([name, done.seconds, done.said["beyond"], done.peak / 1e9])
        table(
            f"{self.options.events:,} chart events, {self.options.vital_share:.0%} vital signs, CSV to first batch (peak under 2 GB)",
            ["", "seconds", "beyond imports, s", "peak GB"],
            rows,
        )


def _gigabytes(runs: list[Run]) -> float:
    return max(r.peak for r in runs) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all but the last two by default")
    parser.add_argument("--patients", type=int, nargs="+", default=[5_000, 46_520], help="sizes of `cold`")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 15_000, 46_520], help="sizes of `scaling`")
    parser.add_argument("--limits", nargs="+", default=["500MB", "750MB", "1GB"], help="memory limits of `scaling`")
    parser.add_argument("--events", type=int, default=20_000_000, help="rows of `chart-events`")
    parser.add_argument("--vital-share", type=float, default=0.15, help="of these rows, how many are vital signs")
    parser.add_argument("--task", default="mortality_next_visit")
    parser.add_argument("--memory-limit", help="for DuckDB; the library's default if it is not given")
    parser.add_argument("--repeats", type=int, default=3, help="of `cold`")
    parser.add_argument("--folder", type=Path, help="where tables are written, and found again by the next run")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        name, *arguments = json.loads(options.step)
        print(json.dumps(STEPS[name](*arguments)))
        return
    wrong = [s for s in options.sections if s not in SECTIONS]
    if wrong:
        parser.error(f"unknown section {wrong[0]!r}: choose of {', '.join(SECTIONS)}")
    with TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, options)
        print(f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores, {_versions()}")
        for section in options.sections or ("cold", "batches", "imports"):
            getattr(bench, section.replace("-", "_"))()


def _versions() -> str:
    from importlib.metadata import version

    names = ("duckdb", "ibis-framework", "pyarrow", "numpy", "pandas", "torch")
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)])


if __name__ == "__main__":
    main()
