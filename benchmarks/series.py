"""How fast measurements become grids and triples, what fusion, experts and memory cost, and what missing modalities do.

    python benchmarks/series.py --root path/to/mimic3-demo-1.4
    python benchmarks/series.py --only memory
    python benchmarks/series.py --only missing
    python benchmarks/series.py --only times --patients 4000

Measurements are random but for those of ``--root``, a folder with the tables of MIMIC-III. README.md has what was
measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

import zoo
from zoo.data import Batch
from zoo.data._splits import Split
from zoo.data._store import Store, VisitIndex
from zoo.data._task_data import TaskData
from zoo.data.batch import Ragged
from zoo.data.grid import Grid, GridView
from zoo.data.triples import TripleView
from zoo.layers import Experts, Gate
from zoo.models.visits.recurrent import LSTM, TAKES
from zoo.registry import register_model
from zoo.tasks._task import Attrition, Cohort, Task
from zoo.training import Trainer

VARIABLES, HOURS = 30, 48.0
DAY = np.timedelta64(86_400_000_000, "us")


def seconds(run: Callable[[], object], times: int = 3) -> float:
    """The least of several."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


def measured(samples: int, each: int, seed: int = 0) -> Batch:
    """A batch of samples of one visit with so many measurements each in two days."""
    draw = torch.Generator().manual_seed(seed)
    count = samples * each
    hours = torch.rand(samples, each, generator=draw).sort(dim=1).values.flatten() * HOURS
    vital = Ragged(
        torch.zeros(count, dtype=torch.int64),
        torch.arange(samples + 1) * each,
        hours,
        torch.randint(2, VARIABLES + 2, (count,), generator=draw),
        torch.randn(count, generator=draw),
    )
    whole = torch.full((samples,), HOURS, dtype=torch.float64)
    row, zero = torch.arange(samples), torch.zeros(samples, dtype=torch.int64)
    starts = torch.zeros(samples, dtype=torch.float64)
    label = torch.zeros(samples, dtype=torch.bool)
    return Batch({"vital": vital}, torch.arange(samples + 1), starts, row, zero, whole, label, row)


def views() -> None:
    """A million measurements as a grid of hours, and as triples."""
    batches = [measured(50, 400, seed) for seed in range(50)]
    grid, triples = GridView({"vital": VARIABLES}), TripleView({"vital": VARIABLES})
    took = seconds(lambda: [grid.grid(b) for b in batches]), seconds(lambda: [triples.triples(b) for b in batches])
    print(f"1 million measurements: grid {took[0]:.2f} s, triples {took[1]:.2f} s", flush=True)


def demo(root: str) -> None:
    """The chart events of a folder, from its tables to batches."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_CACHE"] = folder
        began = time.perf_counter()
        data = zoo.load("mimic3", task="mortality", root=root, unit="stay", concepts=["vital"])
        grid = GridView({"vital": len(data.feature("vital").vocabulary.codes)}, max_steps=48)
        batches = [b for s in ("train", "validation", "test") for b in data.batches(s, {"vital"}, 16)]
        for batch in batches:
            grid.grid(batch)
        took, kept = time.perf_counter() - began, len(data.feature("vital").store.code)
        print(f"{root}: {took:.1f} s to {len(batches)} batches; {kept} vital signs", flush=True)


def fusion() -> None:
    """An epoch of FuseMoE, against its encoders alone."""
    data = zoo.load("synthetic", task="mortality", patients=300)
    model = zoo.create_model("fusemoe", data, seed=0).train()
    batches = list(data.batches("train", model, 32))

    def epoch(forward: Callable[[Batch], torch.Tensor]) -> None:
        for batch in batches:
            model.zero_grad(set_to_none=True)
            forward(batch).backward()

    def whole(batch: Batch) -> torch.Tensor:
        output = model(batch)
        return model.loss(output, batch) + sum(output.losses.values())

    fused = seconds(lambda: epoch(whole))
    alone = {n: seconds(lambda e=e: epoch(lambda b: e(b)[0].mean())) for n, e in model.encode.items()}
    apart = ", ".join(f"{n} {t:.1f}" for n, t in alone.items())
    ratio = fused / sum(alone.values())
    print(f"an epoch of FuseMoE {fused:.1f} s; its encoders alone {apart} s: {ratio:.2f} times their sum", flush=True)


MODALITIES = (("lab", "vital"), ("note",), ("diagnosis", "procedure", "drug"))


def missing(patients: int) -> None:
    """FuseMoE and early fusion where half of the modalities of each tested sample are taken away."""
    data = zoo.load("synthetic", task="mortality", patients=patients, split=(0.6, 0.1, 0.3))
    sizes = {"encoder_dim": 32, "encoder_layers": 1, "max_length": 62, "max_tokens": 248, "dim": 32, "points": 13}
    loop = Trainer(max_epochs=8, patience=3, lr=1e-3, batch_size=32, device="cpu")
    label = data.label("test")
    for seed in (0, 1):
        for name in ("fusemoe", "early_fusion"):
            model = zoo.create_model(name, data, seed=seed, max_events=200, **sizes)
            loop.fit(model, data, seed)
            whole = roc_auc_score(label, scores(model.eval(), data))
            halves = [roc_auc_score(label, scores(model, data, draw)) for draw in range(5)]
            print(f"{name}, seed {seed}: AUROC {whole:.3f}, with half taken away {np.mean(halves):.3f}", flush=True)


@torch.no_grad()
def scores(model, data: TaskData, draw: int | None = None) -> np.ndarray:
    """Of the tested samples; with a draw, each modality of a row is taken away with a chance of a half."""
    random, found = torch.Generator().manual_seed(draw or 0), []
    for batch in data.batches("test", model, 32):
        if draw is not None:
            concepts = dict(batch)
            for names in MODALITIES:
                gone = torch.rand(len(batch.row_lengths), generator=random) < 0.5
                concepts |= {n: some_events(batch[n], ~gone[batch.visit_row[batch[n].visit]]) for n in names}
            batch = replace(batch, concepts=concepts)
        found.append(model.predict(model(batch)))
    return torch.cat(found).numpy()


def some_events(events: Ragged, kept: torch.Tensor) -> Ragged:
    """Those of a concept's events for which the mask holds."""
    before = torch.nn.functional.pad(kept.long().cumsum(0), (1, 0))
    parts = {n: getattr(events, n) for n in ("ids", "time", "variable", "value")}
    found = Ragged(offsets=before[events.offsets], **{n: p if p is None else p[kept] for n, p in parts.items()})
    if events.tokens is None:
        return found
    lengths = events.token_offsets.diff()
    ends = torch.nn.functional.pad(lengths[kept].cumsum(0), (1, 0))
    return replace(found, tokens=events.tokens[kept.repeat_interleave(lengths)], token_offsets=ends)


def experts() -> None:
    """Forward and backward through pools of experts, two of which compute for each token."""
    torch.manual_seed(0)
    x = torch.randn(4096, 192)
    for count in (2, 4, 8, 16, 32):
        gate, pool = Gate(192, count, "laplace"), Experts(192, 256, count, 2, 0.0)
        took = seconds(lambda gate=gate, pool=pool: pool(x, gate(x))[0].sum().backward(), 5)
        print(f"{count} experts, 2 a token: {took * 1000:.0f} ms", flush=True)


@register_model("lstm_of_values", **TAKES)
class LSTMOfValues(LSTM):
    """The LSTM on the grid, which sees the last values and not when they were measured."""

    def of_grid(self, grid: Grid) -> torch.Tensor:
        return super().of_grid(replace(grid, observed=torch.zeros_like(grid.observed), since=0 * grid.since))


def times(patients: int) -> None:
    """What it is worth to know when there was a measurement: sicker patients are measured more often, or all alike.

    Of each of five variables a patient has a level that wanders through two days as an autoregression. It is measured
    with noise as large as itself, ``0.15 exp(level)`` times an hour where times are informative, else always at the
    mean of that. The last levels tell whether the patient dies.
    """
    for informative in (True, False):
        data = wandering(patients, informative)
        label = data.label("test")
        found: dict[str, list[float]] = {}
        for seed in range(3):
            for name in ("lstm_of_values", "lstm", "gru_d", "mtand", "raindrop"):
                model = zoo.create_model(name, data, seed=seed, **({"grid": True} if "lstm" in name else {}))
                loop = Trainer(max_epochs=20, patience=5, lr=1e-3, batch_size=32, device="cpu")
                loop.fit(model, data, seed)
                found.setdefault(name, []).append(roc_auc_score(label, scores(model.eval(), data)))
        told = ", ".join(f"{n} {np.mean(a):.3f} ({min(a):.3f} to {max(a):.3f})" for n, a in found.items())
        print(f"times {'informative' if informative else 'alike for all'}: AUROC {told}", flush=True)


def wandering(patients: int, informative: bool, variables: int = 5, step: float = 0.1) -> TaskData:
    """Patients whose levels wander, as `times` says, in steps of so many hours."""
    random = np.random.default_rng(5)
    steps, hours_kept = round(HOURS / step), 12.0
    keep = np.exp(-step / hours_kept)
    level = np.empty((patients, variables, steps), np.float32)
    level[..., 0] = random.normal(size=(patients, variables))
    for now in range(1, steps):
        fresh = random.normal(size=(patients, variables)) * np.sqrt(1 - keep**2)
        level[..., now] = keep * level[..., now - 1] + fresh
    rate = 0.15 * step * np.exp(level if informative else 0.5 * np.ones_like(level))  # on average as many
    person, variable, moment = np.nonzero(random.random(level.shape) < rate)
    order = np.lexsort((moment, person))
    person, variable, moment = person[order], variable[order], moment[order]
    value = level[person, variable, moment] + random.normal(size=len(person))
    death = random.random(patients) < 1 / (1 + np.exp(1.5 - 1.5 * level[..., -1].sum(axis=1)))
    offsets = np.r_[0, np.cumsum(np.bincount(person, minlength=patients))]
    seconds_in = ((moment + 0.5) * step * 3600).astype(np.int32)
    codes = [f"LAB//{n}" for n in range(variables)]
    parts = (variable.astype(np.int32), seconds_in, value.astype(np.float32))
    store = Store(codes, offsets, *parts, units=[None] * variables)
    return task_data(store, death, random.choice(3, patients, p=[0.6, 0.1, 0.3]), hours=HOURS)


def task_data(store: Store, label: np.ndarray, split: np.ndarray, hours: float = 72.0) -> TaskData:
    """Patients of one visit each, in numbers of a store, predicted so many hours after its start."""
    visits = len(label)
    start = np.datetime64("2100-01-01", "us") + np.arange(visits) * DAY
    index = VisitIndex(np.arange(visits), np.arange(visits), start, start + 3 * DAY, np.ones(visits, bool))
    nobody = pd.array([None] * visits, "Int64")
    told = {"subject_id": index.subject_id, "visit_id": index.visit_id, "stay_id": nobody}
    moment = start + np.timedelta64(round(hours * 3600), "s")
    cohort = Cohort(pd.DataFrame({**told, "prediction_time": moment, "label": label}), Attrition())
    task = Task()
    task.registered_name, task.kind = "chance", "binary"
    concept = "lab" if store.codes[0].startswith("LAB") else "vital"
    dataset = SimpleNamespace(name="random", concepts=[concept], require=lambda concept: None)
    splits = Split(split.astype(np.int8))
    return TaskData(dataset, task, cohort, index, lambda *_: store, splits, subject_ids=index.subject_id)


def memory(measurements: int) -> None:
    """The peak of a pass over the batches of so many measurements."""
    each = 500
    visits = measurements // each
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        names = {"code": np.int32, "time": np.int32, "value": np.float32}
        for name, dtype in names.items():
            with open(f"{folder}/{name}.bin", "wb") as file:
                for _ in range(0, measurements, 1_000_000):
                    some = random.integers(VARIABLES, size=1_000_000).astype(dtype)
                    if name == "time":
                        some = np.sort(random.integers(2 * 86_400, size=(2_000, each)), axis=1).ravel().astype(dtype)
                    some.tofile(file)
        arrays = {n: np.memmap(f"{folder}/{n}.bin", d, mode="r") for n, d in names.items()}
        codes = [f"VITAL//{n}" for n in range(VARIABLES)]
        store = Store(codes, np.arange(visits + 1) * each, **arrays, units=["bpm"] * VARIABLES)
        data = task_data(store, random.random(visits) < 0.5, random.choice(3, visits, p=[0.8, 0.1, 0.1]))
        view, began = GridView({"vital": VARIABLES}, max_steps=48), time.perf_counter()
        for batch in data.batches("train", {"vital"}, 64):
            view.grid(batch)
        took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{measurements / 1e6:.0f} million measurements: a pass in {took:.0f} s; peak memory {peak:.2f} GB", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="a folder with the tables of MIMIC-III, such as the open demo")
    parser.add_argument("--only", choices=("views", "demo", "fusion", "experts", "memory", "missing", "times"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--patients", type=int, default=1000, help="of --only missing or times")
    parser.add_argument("--measurements", type=int, default=50_000_000, help="of the measurement of memory")
    chosen = parser.parse_args()
    if chosen.only == "demo" and not chosen.root:
        parser.error("--only demo needs --root, a folder with the tables of MIMIC-III.")
    torch.set_num_threads(chosen.threads)
    parts = {"views": views, "fusion": fusion, "experts": experts, "memory": lambda: memory(chosen.measurements)}
    if chosen.root:
        parts["demo"] = lambda: demo(chosen.root)
    if chosen.only in ("missing", "times"):  # they train for minutes: only where they are asked for
        {"missing": missing, "times": times}[chosen.only](chosen.patients)
    for name, part in parts.items():
        if chosen.only in (None, name):
            part()


if __name__ == "__main__":
    main()
