"""A table with a row an epoch, ``log.csv``, which every run of a network has."""

from __future__ import annotations

import csv
from pathlib import Path

from zoo.cache.writing import whole
from zoo.training._callbacks import Callback

FILE = "log.csv"


class Table(Callback):
    """Writes ``log.csv`` anew at each epoch, whole or not at all; what is undefined is an empty field."""

    def __init__(self, folder: Path):
        self._path = folder / FILE
        self._epochs: list[dict] = []

    def on_start(self, run: dict) -> None:
        self._epochs = run["epochs"]

    def on_epoch(self, row: dict) -> None:
        self._epochs.append(row)
        with whole(self._path) as unfinished, open(unfinished, "w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(n for row in self._epochs for n in row)))
            writer.writeheader()
            writer.writerows(self._epochs)
