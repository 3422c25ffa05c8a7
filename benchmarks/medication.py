"""How many visits a second models of medication train on and predict, at batch 1 and at batch 64.

    python benchmarks/medication.py                              # all models of drug sets, and gru
    python benchmarks/medication.py --models safedrug --epoch    # and a whole epoch of training

The data are random, in the shape that the preprocessing of GAMENet and SafeDrug makes of MIMIC-III: 6,350 patients with
two visits or more, some 15,000 visits, 1,958 diagnoses, 1,430 procedures, 131 drug classes, 280 molecules. They are
to be read fast or slowly, not to be learned from. README.md has what was measured.
"""

from __future__ import annotations

import argparse
import resource
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

import zoo
from zoo.data._splits import Split
from zoo.data._store import Store, VisitIndex
from zoo.data._task_data import TaskData
from zoo.knowledge import atc
from zoo.knowledge.ontology import ontology
from zoo.registry import models
from zoo.tasks._task import Attrition, Cohort
from zoo.tasks.medication import Medication

PATIENTS, DIAGNOSES, PROCEDURES, CLASSES, MOLECULES = 6_350, 1_958, 1_430, 131, 280
CODES_A_VISIT = {"diagnosis": 10.5, "procedure": 3.8, "drug": 11.4}
"""Means of the same data."""
DAY = np.timedelta64(86_400_000_000, "us")
HEADER = ("model", "batch", "training, visits/s", "prediction, visits/s")


def shaped(seed: int = 0) -> TaskData:
    """Random data in that shape."""
    random = np.random.default_rng(seed)
    count = 2 + random.geometric(0.75, PATIENTS) - 1
    subject = np.repeat(np.arange(PATIENTS), count)
    start = np.datetime64("2100-01-01", "us") + np.arange(len(subject)) * 30 * DAY
    visits = VisitIndex(subject, np.arange(len(subject)), start, start + 5 * DAY, np.ones(len(subject), bool))
    names = {
        "diagnosis": _leaves("ICD9CM", DIAGNOSES, random),
        "procedure": _leaves("ICD9PROC", PROCEDURES, random),
    }
    names["drug"], substances = _drugs(random)
    stores = {c: _store(names[c], CODES_A_VISIT[c], len(subject), random) for c in names}
    all_substances = _store(substances, 30, len(subject), random)
    drugs = stores["drug"]
    samples = pd.DataFrame(
        {
            "subject_id": subject,
            "visit_id": visits.visit_id,
            "stay_id": pd.array([None] * len(subject), "Int64"),
            "prediction_time": start,
            "label": [[drugs.codes[c] for c in codes] for codes in np.split(drugs.code, drugs.offsets[1:-1])],
        }
    )
    dataset = SimpleNamespace(name="random", concepts=list(names), require=lambda concept: None, interactions="onc")
    task = Medication()

    def open_store(concept: str, level: str, _) -> Store:
        return all_substances if level == "atc5" else stores[concept]

    split = random.choice(3, PATIENTS, p=[2 / 3, 1 / 6, 1 / 6]).astype(np.int8)
    cohort = Cohort(samples, Attrition())
    return TaskData(dataset, task, cohort, visits, open_store, Split(split), subject_ids=np.arange(PATIENTS))


def _leaves(system: str, count: int, random) -> list[str]:
    """So many codes of a system that have none below them."""
    graph = ontology(system)
    return sorted(random.choice([n for n in graph if not graph.out_degree(n)], count, replace=False).tolist())


def _drugs(random) -> tuple[list[str], list[str]]:
    """Classes, and substances of theirs that have molecules."""
    known = sorted(code for code in atc.known_codes() if len(code) == 7)
    classes = sorted({code[:4] for code in known})
    chosen = sorted(random.choice(classes, CLASSES, replace=False).tolist())
    inside = [code for code in known if code[:4] in chosen]
    some = random.choice(inside, min(2 * MOLECULES, len(inside)), replace=False)
    return [f"ATC//{code}" for code in chosen], [f"ATC//{code}" for code in sorted(some)]


def _store(names: list[str], mean: float, visits: int, random) -> Store:
    """Distinct codes of each visit, at least one, some codes far more often than others."""
    weight = 1 / np.arange(1, len(names) + 1) ** 0.7
    drawn = random.choice(len(names), (visits, 3 * int(mean)), p=weight / weight.sum())
    kept = np.arange(3 * int(mean)) < np.maximum(random.poisson(mean, visits), 1)[:, None]
    pairs = np.unique(np.repeat(np.arange(visits), kept.sum(1)) * len(names) + drawn[kept])
    visit, code = np.divmod(pairs, len(names))
    offsets = np.r_[0, np.cumsum(np.bincount(visit, minlength=visits))].astype(np.int64)
    return Store(names, offsets, code.astype(np.int32), np.zeros(len(code), np.int32))


def rate(data: TaskData, model, batch_size: int, seconds: float, train: bool) -> float:
    """Visits a second."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4) if train else None
    batches = data.batches("train", model, batch_size, shuffle=True)
    made = [b for b, _ in zip(batches, range(400), strict=False)]
    model.train(train)
    done, warm = 0, 2
    began = time.perf_counter()
    for n, batch in enumerate(made):
        if n == warm:
            done, began = 0, time.perf_counter()
        with torch.set_grad_enabled(train):
            output = model(batch)
            if train:
                optimizer.zero_grad(set_to_none=True)
                (model.loss(output, batch) + sum(output.losses.values())).backward()
                optimizer.step()
        done += batch.samples
        if n > warm + 3 and time.perf_counter() - began > seconds:
            break
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", help="all that predict drug sets, and gru")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epoch", action="store_true", help="time an epoch of training at batch 64, too")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    data = shaped()
    names = chosen.models or [n for n in zoo.list_models() if models.facts(n).predicts == "drug"] + ["gru"]
    print(f"{len(data.samples)} visits, {len(data.labels)} classes, {data.size('train')} visits of training\n")
    print(f"| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}")
    for name in names:
        if issubclass(models.get(name), zoo.models.Estimator):
            continue
        for batch_size in (1, 64):
            model = zoo.create_model(name, data)
            found = [rate(data, model, batch_size, chosen.seconds, train) for train in (True, False)]
            print(f"| {name} | {batch_size} | {found[0]:,.0f} | {found[1]:,.0f} |", flush=True)
        if chosen.epoch:
            took = data.size("train") / rate(data, zoo.create_model(name, data), 64, np.inf, True)
            print(f"\n{name}: an epoch of {data.size('train')} visits in {took:.1f} s\n")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
