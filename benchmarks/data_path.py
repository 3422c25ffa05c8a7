"""How fast and how small the way of the data is, from CSV to batches, as ratios to what it cannot beat.

    python benchmarks/data_path.py                         # cold and warm, scaling, batches, imports
    python benchmarks/data_path.py --cold --repeats 1      # only what is named
    python benchmarks/data_path.py --chart-events 20000000

Tables in the shape of MIMIC-III are written to a temporary folder first, outside all timing. Everything that is timed
runs in a process of its own, and its peak is that process's largest resident memory. README.md has what was measured.
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
LARGE = 46_520
"""Patients of MIMIC-III, for whom the bounds of `cold` hold."""
CONCEPTS = ("diagnosis", "procedure", "drug")
ORDER = {
    "PATIENTS": "SUBJECT_ID",
    "ADMISSIONS": "SUBJECT_ID, ADMITTIME",
    "ICUSTAYS": "SUBJECT_ID, INTIME",
    "DIAGNOSES_ICD": "SUBJECT_ID",
    "PROCEDURES_ICD": "SUBJECT_ID",
    "PRESCRIPTIONS": "SUBJECT_ID, STARTDATE",
}
SECTIONS = ("cold", "scaling", "batches", "imports", "chart_events")


# What runs in a process of its own


def write(folder: str, patients: int, chart_events: int, vital_share: float) -> dict:
    """Write the tables."""
    sys.path.insert(0, str(HERE))
    from _mimic3_tables import write_tables

    return {"events": write_tables(Path(folder), patients, chart_events, vital_share)}


def floor(folder: str, out: str) -> dict:
    """Plain DuckDB: every table read whole, and written as one sorted Parquet file."""
    import duckdb

    from zoo.datasets._duckdb import literal, pattern

    connection = duckdb.connect()
    for table, order in ORDER.items():
        source, target = Path(folder) / f"{table}.csv", Path(out) / f"{table}.parquet"
        rows = f"SELECT * FROM read_csv({literal(pattern(source))}, hive_partitioning = false) ORDER BY {order}"
        connection.execute(f"COPY ({rows}) TO {literal(str(target))}")
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
    places = data.rows("train", set(CONCEPTS), shuffle=True).places
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
    """One process: its seconds by the clock and of CPU time, its peak in bytes, and what it said of itself."""

    seconds: float
    cpu: float
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
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, said(out))


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def table(title: str, columns: list[str], rows: list[list]) -> None:
    """Print a table in Markdown."""
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(_shown, row))} |")
    sys.stdout.flush()


def _shown(cell) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)


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

    def first_batch(self, tables: Path, cache: str, concepts=CONCEPTS, memory_limit: str | None = None) -> Run:
        """One whole process, from tables to the first batch."""
        limit = memory_limit or self.options.memory_limit
        return run("first_batch", str(tables), self.options.task, concepts, limit, cache=Path(cache))

    def cold(self) -> None:
        """The floor, the cold and the warm way of the data, by turns."""
        for patients in self.options.patients:
            folder, events = self.tables(patients)
            floors, colds, warms = [], [], []
            for _ in range(self.options.repeats):
                with TemporaryDirectory(dir=self.folder) as out:
                    floors.append(run("floor", str(folder), out))
                with TemporaryDirectory(dir=self.folder) as cache:
                    colds.append(self.first_batch(folder, cache))
                    warms.append(self.first_batch(folder, cache))
            bound = " (at most 2 x, 1.5 GB)" if patients >= LARGE else ""
            rows = [
                self._row("plain DuckDB to sorted Parquet (floor)", floors, floors),
                self._row(f"cold, CSV to first batch{bound}", colds, floors),
                self._row("warm (under 1 s beyond imports)", warms, floors),
            ]
            columns = ["whole process", "seconds", "x floor", "CPU s", "x floor", "peak GB", "s beyond imports"]
            table(f"{patients:,} patients, {events:,} events, median of {len(colds)}", columns, rows)

    @staticmethod
    def _row(name: str, runs: list[Run], floors: list[Run]) -> list:
        row = [name]
        for what in ("seconds", "cpu"):
            mine, base = (statistics.median(getattr(r, what) for r in some) for some in (runs, floors))
            row += [mine, mine / base]
        beyond = [r.said["beyond"] for r in runs if "beyond" in r.said]
        return [*row, max(r.peak for r in runs) / 1e9, statistics.median(beyond) if beyond else ""]

    def scaling(self) -> None:
        """Time, disk and memory against the number of events, and memory against its limit.

        Time is that of the CPU, which a busy machine disturbs least. What every start costs is left out: what the
        larger size costs more is divided by the events that it has more.
        """
        rows, first, before = [], None, None
        for patients in self.options.sizes:
            folder, events = self.tables(patients)
            with TemporaryDirectory(dir=self.folder) as cache:
                done = self.first_batch(folder, cache)
                now = (events / 1e6, done.cpu, size(Path(cache)) / 1e6)
            row = [patients, events, done.seconds, now[1], now[2], done.peak / 1e9]
            if before:
                each = [(now[i] - before[i]) / (now[0] - before[0]) for i in (1, 2)]
                first = first or each
                row += [*each, each[0] / first[0], each[1] / first[1]]
            rows.append(row + [""] * (10 - len(row)))
            before = now
        columns = ["patients", "events", "seconds", "CPU s", "cache MB", "peak GB"]
        columns += ["CPU s per further million events", "MB", "time, x first step", "disk, x first step"]
        table("Cost against size (linear: the last two stay near 1)", columns, rows)
        rows = []
        for limit in self.options.limits:
            with TemporaryDirectory(dir=self.folder) as cache:
                done = self.first_batch(folder, cache, memory_limit=limit)
            rows.append([limit, done.seconds, done.peak / 1e9])
        table(f"Memory limit, {patients:,} patients", ["memory_limit", "seconds", "peak GB"], rows)

    def batches(self) -> None:
        """Samples a second on one core."""
        folder, _ = self.tables(max(self.options.patients))
        rows = []
        with TemporaryDirectory(dir=self.folder) as cache:
            for task in dict.fromkeys([self.options.task, "readmission"]):
                said = run("batches", str(folder), task, 5.0, cache=Path(cache)).said
                rates = [round(said["batches"]), round(said["gather"]), said["batches"] / said["gather"]]
                rows.append([task, said["samples"], said["codes"], *rates])
        columns = [
            "task",
            "training samples",
            "codes a sample",
            "samples/s",
            "bare NumPy gather, samples/s",
            "x gather",
        ]
        table("Batches of 64, shuffled, one core (at least 100,000 samples a second)", columns, rows)

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
        events, share = self.options.chart_events, self.options.vital_share
        folder, _ = self.tables(max(self.options.patients), events)
        rows = []
        with TemporaryDirectory(dir=self.folder) as cache:
            for name in ("cold", "warm"):
                done = self.first_batch(folder, cache, concepts=["vital"])
                rows.append([name, done.seconds, done.said["beyond"], done.peak / 1e9])
        title = f"{events:,} chart events, {share:.0%} of them vital signs, CSV to first batch (peak under 2 GB)"
        table(title, ["", "seconds", "s beyond imports", "peak GB"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="floor, cold and warm")
    parser.add_argument("--scaling", action="store_true", help="cost against size, memory against its limit")
    parser.add_argument("--batches", action="store_true", help="samples a second")
    parser.add_argument("--imports", action="store_true", help="seconds to start")
    parser.add_argument("--chart-events", type=int, default=0, metavar="N", help="so many rows of CHARTEVENTS")
    parser.add_argument("--vital-share", type=float, default=0.15, help="of these rows, how many are vital signs")
    parser.add_argument("--patients", type=int, nargs="+", default=[5_000, 46_520], help="sizes of `cold`")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 15_000, 46_520], help="sizes of `scaling`")
    parser.add_argument("--limits", nargs="+", default=["250MB", "500MB", "1GB"], help="memory limits of `scaling`")
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
    sections = [n for n in SECTIONS if getattr(options, n)] or SECTIONS[:-1]
    with TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, options)
        print(f"{_cores()} cores, {_versions()}")
        for section in sections:
            getattr(bench, section)()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _versions() -> str:
    from importlib.metadata import version

    names = ("duckdb", "ibis-framework", "pyarrow", "numpy", "pandas", "torch")
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)])


if __name__ == "__main__":
    main()
