"""The test predictions of a run, as its folder in a leaderboard has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.metrics import Estimate, evaluate, resampled
from zoo.registry import kind_of


@dataclass(frozen=True)
class Predictions:
    """Test predictions of a run, as `zoo.metrics.evaluate` takes them.

    Attributes:
        kind: of the task.
        samples: what tells samples apart: the id of the visit, that of the stay (-1 for none), and the prediction time.
        label, score, subject, options: of `zoo.metrics.evaluate`.
    """

    kind: str
    samples: tuple[np.ndarray, np.ndarray, np.ndarray]
    label: np.ndarray
    score: np.ndarray
    subject: np.ndarray
    options: dict[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, kind: str) -> Predictions:
        table = pd.read_parquet(path)
        names = [n for n in table.columns if n.startswith("score_")]
        score = table[names or "score"].to_numpy(np.float64)
        label, options = kind_of(kind).read(table, [n.removeprefix("score_") for n in names])
        times = table.prediction_time.to_numpy("datetime64[us]").astype(np.int64)
        key = (table.visit_id.to_numpy(), table.stay_id.fillna(-1).to_numpy(np.int64), times)
        return cls(kind, key, label, score, table.subject_id.to_numpy(), options)

    def evaluate(self, resamples: int) -> dict[str, Estimate]:
        """Metrics with their intervals."""
        return evaluate(self.kind, self.label, self.score, self.subject, resamples=resamples, **self.options)

    def resampled(self, resamples: int) -> dict[str, np.ndarray]:
        """Metrics under each resample of subjects."""
        return resampled(self.kind, self.label, self.score, self.subject, resamples=resamples, **self.options)

    def same_samples(self, other: Predictions) -> bool:
        """Whether another run was tested on the very same samples with the same labels."""
        mine, others = (*self.samples, self.label), (*other.samples, other.label)
        return all(np.array_equal(a, b) for a, b in zip(mine, others, strict=True))
