"""The test predictions of a run, as its folder in a leaderboard has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.metrics import Metric, evaluate, resampled


@dataclass(frozen=True)
class Predictions:
    """Test predictions of a run, as `zoo.metrics.evaluate` takes them."""

    kind: str
    samples: tuple[np.ndarray, np.ndarray]
    label: np.ndarray
    score: np.ndarray
    subject: np.ndarray
    options: dict[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, kind: str) -> Predictions:
        table = pd.read_parquet(path)
        names = [n for n in table.columns if n.startswith("score_")]
        score = table[names or "score"].to_numpy(np.float64)
        label, unseen = table.label, []
        if kind == "multilabel":
            labels = [n.removeprefix("score_") for n in names]
            if table.attrs.get("strict"):
                unseen = sorted(set(chain.from_iterable(label)) - set(labels))
            missed, label = _hot(label, unseen), _hot(label, labels)
        times = table.prediction_time.to_numpy("datetime64[us]").astype(np.int64)
        key = (table.visit_id.to_numpy(), times)
        options = {"threshold": table.attrs.get("threshold", 0.5), "ks": tuple(table.attrs.get("ks", (5, 10)))}
        options |= _of_drugs(table, labels, unseen) if "before" in table else {}
        options |= {"missed": missed} if unseen else {}
        return cls(kind, key, np.asarray(label), score, table.subject_id.to_numpy(), options)

    def evaluate(self, resamples: int) -> dict[str, Metric]:
        """Metrics with their intervals."""
        return evaluate(self.kind, self.label, self.score, self.subject, resamples=resamples, **self.options)

    def resampled(self, resamples: int) -> dict[str, np.ndarray]:
        """Metrics under each resample of subjects."""
        return resampled(self.kind, self.label, self.score, self.subject, resamples=resamples, **self.options)

    def same_samples(self, other: Predictions) -> bool:
        """Whether another run was tested on the very same samples with the same labels."""
        mine, others = (*self.samples, self.label), (*other.samples, other.label)
        return all(np.array_equal(a, b) for a, b in zip(mine, others, strict=True))


def _hot(lists: Sequence[Sequence[str]], names: list[str]) -> np.ndarray:
    """(samples, names) bool, from lists of codes and the names of those that count."""
    place = {n: i for i, n in enumerate(names)}
    sets = [[place[c] for c in codes if c in place] for codes in lists]
    found = np.zeros((len(sets), len(names)), bool)
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    found[rows, [i for s in sets for i in s]] = True
    return found


def _of_drugs(table: pd.DataFrame, labels: list[str], unseen: list[str]) -> dict[str, np.ndarray]:
    """Interactions, and the drugs of the visits before, as `zoo.metrics.evaluate` takes them."""
    interactions = np.zeros((len(labels), len(labels)), bool)
    interactions[tuple(np.array(table.attrs["interactions"], np.int64).reshape(-1, 2).T)] = True
    first = table.before.isna().to_numpy()
    codes = [() if own is None else own for own in table.before]
    before = np.where(first[:, None], np.nan, _hot(codes, [*labels, *unseen]))
    return {"interactions": interactions, "before": before}
