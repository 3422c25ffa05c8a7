"""How fast the trainer is, as a ratio to a bare PyTorch loop on the same batches.

    python benchmarks/training.py                                  # GRU, Transformer and RETAIN, 5,000 patients
    python benchmarks/training.py --models gru --patients 500

Tables in the shape of MIMIC-III are written to a temporary folder and prepared first, outside all timing. The bare loop
takes its batches from `batches`, as a user would write it, and does what the trainer does to the weights: gradients,
clipping, AdamW. Epochs of the two take turns. README.md has what was measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
HEADER = ("model", "samples/s", "ms a step", "bare loop, ms", "× bare", "making batches, ms", "share of a bare step, %")
BATCH, RATE, CLIP = 64, 1e-3, 1.0


def batches(data, model, epoch: int):
    """The batches that the trainer takes in an epoch with seed 0."""
    return data.batches("train", model, BATCH, shuffle=True, seed=epoch)


def making(data, model, epoch: int) -> float:
    """Seconds that making the batches of an epoch takes."""
    began = time.perf_counter()
    for _ in batches(data, model, epoch):
        pass
    return time.perf_counter() - began


class Bare:
    """The loop that one would write without a trainer."""

    def __init__(self, model, data):
        import torch

        self.model, self.data = model, data
        self.optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0, fused=True)

    def epoch(self, number: int) -> float:
        """Seconds of an epoch."""
        import torch

        began = time.perf_counter()
        self.model.train()
        for batch in batches(self.data, self.model, number):
            loss = self.model.loss(self.model(batch), batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
        return time.perf_counter() - began


class Ours:
    """The trainer's loop, without validation."""

    def __init__(self, model, data, folder: Path, epochs: int):
        from zoo.training import Trainer
        from zoo.training._loop import Loop

        how = Trainer(max_epochs=epochs, batch_size=BATCH, lr=RATE, clip=CLIP, device="cpu")
        self.loop = Loop(how, model, data, 0, lambda *_: None, folder)
        self.loop.net = model
        self.loop.began = self.loop.written = time.perf_counter()

    def epoch(self, number: int) -> float:
        """Seconds of an epoch, with the look at its losses."""
        began = time.perf_counter()
        self.loop.place.epoch, self.loop.place.step = number, 0
        self.loop.losses.zero_()
        self.loop._train()
        self.loop._look()
        return time.perf_counter() - began


def measured(name: str, data, dim: int, epochs: int, folder: Path) -> tuple:
    """A row of the table: medians over epochs behind a first one that warms up."""
    import zoo

    own, bare_own = (zoo.create_model(name, data, dim=dim) for _ in range(2))
    ours, bare = Ours(own, data, folder, epochs + 1), Bare(bare_own, data)
    found = [(ours.epoch(e), bare.epoch(e), making(data, own, e)) for e in range(epochs + 1)][1:]
    steps = -(-data.size("train") // BATCH)
    trainer, loop, made = (statistics.median(times) / steps for times in zip(*found, strict=True))
    ratio = statistics.median(a / b for a, b, _ in found)
    return (
        name,
        f"{data.size('train') / (trainer * steps):,.0f}",
        f"{trainer * 1e3:.2f}",
        f"{loop * 1e3:.2f}",
        f"{ratio:.2f}",
        f"{made * 1e3:.2f}",
        f"{100 * made / loop:.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["gru", "transformer", "retain"])
    parser.add_argument("--patients", type=int, default=5000)
    parser.add_argument("--task", default="mortality_next_visit")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        os.environ["ZOO_CACHE"] = f"{folder}/cache"
        tables = Path(folder) / "tables"
        tables.mkdir()
        sys.path.insert(0, str(HERE))
        import torch
        from _mimic3_tables import write_tables

        import zoo

        torch.set_num_threads(chosen.threads)
        write_tables(tables, chosen.patients, 0, 0.0)
        concepts = ["diagnosis", "procedure", "drug"]
        data = zoo.load("mimic3", task=chosen.task, root=tables, concepts=concepts)
        print(f"{data.size('train')} training samples of {chosen.task}, batch {BATCH}, width {chosen.dim}, ", end="")
        print(f"{chosen.threads} threads\n\n| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}")
        for name in chosen.models:
            print(f"| {' | '.join(measured(name, data, chosen.dim, chosen.epochs, Path(folder)))} |", flush=True)


if __name__ == "__main__":
    main()
