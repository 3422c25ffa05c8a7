"""All visits of all subjects, whole: what models are pre-trained on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from zoo.data._store import VisitIndex
from zoo.kinds import Kind
from zoo.metrics import Metric


class Unlabelled(Kind):
    """No label at all: nothing is predicted, and nothing is measured."""

    dtype = bool

    def facts(self, labels: np.ndarray, places: np.ndarray, names: Sequence[str]) -> dict[str, object]:
        return {}

    def metrics(self, options: Mapping[str, object]) -> list[Metric]:
        return []


class EveryVisit:
    """A task without a label: each visit at its end, with all that is stored of its concepts.

    Args:
        concepts: those that models may get.
        task: the one that is trained on later; its types of drug order and kinds of notes count.
    """

    name = "pretraining"
    kind = Unlabelled
    labels = ("none",)
    label_concepts: frozenset[str] = frozenset()
    predicts = None
    table = None
    needs: frozenset[str] = frozenset()
    levels: Mapping[str, str] = {}

    def __init__(self, concepts: Collection[str], task):
        self.given = frozenset(concepts)
        self.order_types, self.note_kinds = task.order_types, task.note_kinds


def all_visits(visits: VisitIndex) -> pd.DataFrame:
    """One sample a visit."""
    return pd.DataFrame(
        {
            "subject_id": visits.subject_id,
            "visit_id": visits.visit_id,
            "stay_id": pd.array([pd.NA] * len(visits), dtype="Int64"),
            "prediction_time": visits.end,
            "label": np.zeros(len(visits), bool),
        }
    )
