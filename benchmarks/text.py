"""How fast notes are cut into tokens, what keeping frozen layers gains, how well a pre-trained encoder tells hidden
tokens, and what memory 10,000 notes need.

    python benchmarks/text.py --texts path/to/mtsamples.csv.gz
    python benchmarks/text.py --texts path/to/mtsamples.csv.gz --only memory

The texts are the column ``transcription`` of a CSV file, such as MTSamples, an open collection of transcriptions.
The visits around them are random: 8 drugs and 10 diagnoses each, one note. README.md has what was measured.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

import zoo
from zoo.data._preparation import Preparation
from zoo.data._splits import Split
from zoo.data._store import Store, Texts, VisitIndex
from zoo.data._task_data import TaskData
from zoo.data._tokens import tokens_of
from zoo.data.text import ENCODED_AT_ONCE, WordPieces, Words
from zoo.knowledge.ontology import ontology
from zoo.tasks._task import Attrition, Cohort, Task
from zoo.training import Trainer
from zoo.training._pretraining import Pretraining, loss_on

DAY = np.timedelta64(86_400_000_000, "us")
DEEP = {"encoder_layers": 12, "encoder_dim": 128, "max_length": 510}
"""The depth of ClinicalBERT, ten of whose layers are frozen."""


def store_of(texts: list[str]) -> Store:
    """One note a visit."""
    utf8 = [t.encode() for t in texts]
    ends = np.r_[0, np.cumsum([len(t) for t in utf8])].astype(np.int64)
    written = Texts(np.frombuffer(b"".join(utf8), np.uint8), ends[:-1], ends[1:])
    none = np.zeros(len(texts), np.int32)
    return Store(["NOTE//discharge_summary"], np.arange(len(texts) + 1), none, none, text=written)


def shaped(texts: list[str], seed: int = 0) -> TaskData:
    """A task by chance on as many patients as there are texts, each of one visit."""
    random, count = np.random.default_rng(seed), len(texts)
    start = np.datetime64("2100-01-01", "us") + np.arange(count) * DAY
    visits = VisitIndex(np.arange(count), np.arange(count), start, start + 5 * DAY, np.ones(count, bool))
    stores = {"note": store_of(texts)}
    for concept, system, names, mean in (("diagnosis", "ICD9CM", 600, 10), ("drug", "ATC", 100, 8)):
        graph = ontology(system)
        level = [n for n in graph if (len(n) == 9 if system == "ATC" else not graph.out_degree(n))]
        codes = sorted(random.choice(level, names, replace=False).tolist())
        drawn = random.integers(names, size=(count, mean)).astype(np.int32)
        offsets = np.arange(count + 1) * mean
        stores[concept] = Store(codes, offsets, drawn.ravel(), np.zeros(drawn.size, np.int32))
    nobody = pd.array([None] * count, "Int64")
    told = {"subject_id": visits.subject_id, "visit_id": visits.visit_id, "stay_id": nobody}
    samples = pd.DataFrame({**told, "prediction_time": visits.end, "label": random.random(count) < 0.5})
    task = Task()
    task.registered_name, task.kind = "chance", "binary"
    dataset = SimpleNamespace(name="random", concepts=list(stores), require=lambda concept: None)
    split = Split(random.choice(3, count, p=[0.8, 0.1, 0.1]).astype(np.int8))
    cohort = Cohort(samples, Attrition())
    how = Preparation(max_visits=1)
    return TaskData(dataset, task, cohort, visits, lambda c, *_: stores[c], split, how, subject_ids=np.arange(count))


def seconds(run: Callable[[], object], times: int = 3) -> float:
    """The least of several."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


def cutting(texts: list[str]) -> None:
    """Tokens of a store, against what the package alone takes for the same texts."""
    store, characters = store_of(texts), sum(map(len, texts))
    for form in (Words(), WordPieces()):
        tokenizer = form.fit(texts)

        def alone(tokenizer=tokenizer) -> None:
            for low in range(0, len(texts), ENCODED_AT_ONCE):
                tokenizer._cut.encode_batch_fast(texts[low : low + ENCODED_AT_ONCE], add_special_tokens=False)

        package, ours = seconds(alone), seconds(lambda t=tokenizer: tokens_of(store, t))
        speed = f"{characters / package / 1e6:.1f} and {characters / ours / 1e6:.1f} million characters a second"
        print(f"{form}: tokenizers alone and the store: {speed}, {package / ours:.0%}", flush=True)


def keeping(texts: list[str]) -> None:
    """An epoch of MedM-PLM, with and without keeping what the frozen layers say."""
    data, took = shaped(texts), {}
    for kept in (False, True):
        model = zoo.create_model("medm_plm", data, cache_frozen=kept, **DEEP).train()
        model.encoder.begun()
        epochs = [epoch(model, data) for _ in range(2)]
        took[kept] = epochs[-1]
        print(
            f"cache_frozen={kept}: epochs of {data.size('train')} visits in {', '.join(f'{e:.1f}' for e in epochs)} s"
        )
    print(f"a later epoch is {took[False] / took[True]:.1f} times faster", flush=True)


def epoch(model, data: TaskData) -> float:
    """Seconds of training on all batches."""
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], 1e-4)
    began = time.perf_counter()
    for batch in data.batches("train", model, 16, shuffle=True):
        optimizer.zero_grad(set_to_none=True)
        output = model(batch)
        model.loss(output, batch).backward()
        optimizer.step()
    return time.perf_counter() - began


def pretraining(texts: list[str], epochs: int) -> None:
    """How well hidden tokens of texts that were not learned from are told, beside telling each by its frequency."""
    data = shaped(texts)
    model = zoo.create_model("text_encoder", data, seed=0)
    visits, net = data.every_visit(model), Pretraining(model)
    defaults = model.pretraining_defaults(model.spec)
    loop = Trainer(**{**defaults, "monitor": "loss", "max_epochs": epochs, "patience": epochs})
    began = time.perf_counter()
    fit = loop.fit(net, visits, seed=0)
    took = time.perf_counter() - began
    tokens = {s: np.concatenate([b["note"].tokens for b in visits.batches(s, model)]) for s in ("train", "test")}
    counts = np.bincount(tokens["train"], minlength=model.spec.tokens) + 1
    frequent = -np.log(counts / counts.sum())[tokens["test"]].mean()
    test = loss_on(net, visits, "test", loop)["loss"]["value"]
    many = f"{visits.size('train')} texts of {len(tokens['train']) / 1e6:.2f} million tokens"
    print(f"{many}, {epochs} epochs in {took:.0f} s: validation {', '.join(f'{v:.2f}' for v in fit.validation_loss)}")
    print(f"test: {test:.2f} nats a hidden token; by frequency alone {frequent:.2f}", flush=True)


def memory(texts: list[str], notes: int) -> None:
    """The peak of an epoch on so many notes, with the small encoder."""
    many = [texts[i % len(texts)] + f" number {i}" for i in range(notes)]
    data = shaped(many)
    took = epoch(zoo.create_model("medm_plm", data).train(), data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{notes} notes: an epoch of {data.size('train')} in {took:.0f} s; peak memory {peak:.2f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", required=True, help="a CSV file with the column transcription")
    parser.add_argument("--only", choices=("cutting", "keeping", "pretraining", "memory"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--notes", type=int, default=10_000, help="of the measurement of memory")
    parser.add_argument("--epochs", type=int, default=10, help="of the pre-training")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    texts = pd.read_csv(chosen.texts).transcription.dropna().tolist()
    if chosen.only in (None, "cutting"):
        cutting(texts)
    if chosen.only in (None, "keeping"):
        keeping(texts[:400])
    if chosen.only in (None, "pretraining"):
        pretraining(texts, chosen.epochs)
    if chosen.only in (None, "memory"):
        memory(texts, chosen.notes)


if __name__ == "__main__":
    main()
