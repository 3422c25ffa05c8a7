"""Patients of a generator, in the source tables of a real database and read through its adapter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from zoo import cache
from zoo.datasets import _generator, _writers
from zoo.datasets._engine import Dataset
from zoo.registry import UserError, datasets, nearest, register_dataset

if TYPE_CHECKING:
    from zoo.tasks._task import Task

KNOWN = {
    "mortality": {"unit": "visit"},
    "readmission": {"unit": "visit", "days": 30, "unplanned": False, "min_gap_hours": 0},
    "mortality_next_visit": {},
}
"""The tasks whose label the generator draws from a probability that it knows, and the parameters that make it so."""


OF_ITS_SCHEMA = (
    "needs",
    "optional",
    "concepts_from",
    "gaps_known",
    "follow_up_days",
    "at_start",
    "orders_by_day",
    "version",
)
"""What is as in the dataset whose tables are written."""


@register_dataset("synthetic")
class Synthetic(Dataset):
    """Generated patients in the tables of MIMIC-III, MIMIC-IV or eICU, so that everything works with no data at hand.

    Latent conditions progress over visits and drive codes, drugs, labs, vital signs, notes, length of stay and death;
    see `zoo.datasets._generator` for what is planted, and `true_probabilities` for the best score that can be reached.

    Args:
        schema: ``"mimic3"``, ``"mimic4"`` or ``"eicu"``.
        patients: how many.
        seed: of the generator; patient ``i`` of a seed is the same however many there are.
        lab_delay, memory_limit, drug_map: as of any dataset.
    """

    interactions = "synthetic"

    def __init__(
        self,
        root=None,
        *,
        schema: str = "mimic3",
        patients: int = 2000,
        seed: int = 0,
        lab_delay: float = 0.0,
        memory_limit: str = "750MB",
        drug_map: str | None = None,
    ):
        if root is not None:
            raise UserError("dataset 'synthetic' takes no root: it writes its own tables; read others by their schema.")
        if schema not in _writers.SCHEMAS:
            raise UserError(f"schema={schema!r} is unknown: {nearest(schema, _writers.SCHEMAS)}.")
        if not isinstance(patients, int) or isinstance(patients, bool) or not 1 <= patients <= _generator.MAX_PATIENTS:
            raise UserError(f"patients={patients!r} must be a whole number from 1 to {_generator.MAX_PATIENTS}.")
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"seed={seed!r} must be a whole number of at least 0.")
        self.schema, self.patients, self.seed = schema, patients, seed
        self._generated = {"generator": _generator.VERSION, "schema": schema, "patients": patients, "seed": seed}
        written = cache.obtain("synthetic", self._generated, self._write)
        how = {"lab_delay": lab_delay, "memory_limit": memory_limit, "drug_map": drug_map}
        self._adapter = datasets.get(schema)(written / "tables", **how)
        for name in OF_ITS_SCHEMA:
            setattr(self, name, getattr(self._adapter, name))
        super().__init__(written / "tables", **how)
        self.given_root = None

    def _write(self, folder) -> None:
        _writers.write_source(self.schema, self.patients, self.seed, folder / "tables", format="parquet")

    def key(self, concepts: Iterable[str] = ()) -> dict:
        """What identifies the patients; where and when their tables were written does not matter."""
        return {"dataset": self.name, "version": self._relations_key()["version"], **self._generated}

    def subjects(self, tables):
        return self._adapter.subjects(tables)

    def visits(self, tables):
        return self._adapter.visits(tables)

    def stays(self, tables):
        return self._adapter.stays(tables)

    def expression(self, concept, tables, visits):
        return self._adapter.expression(concept, tables, visits)

    def settled(self, concept, codes):
        return self._adapter.settled(concept, codes)

    def true_probabilities(self) -> dict:
        """What the generator knows of each visit: arrays ``subject_id``, ``visit_id``, and P(label) by task name.

        The scores of these probabilities are the best that any model can expect to reach.
        """
        known = _writers.true_probabilities(self.schema, self.patients, self.seed)
        subject = self.read("visits").set_index("visit_id").subject_id
        return {**known, "subject_id": subject[known["visit_id"]].to_numpy()}

    def true_probability(self, task: Task) -> pd.Series | None:
        """P(label) by ``visit_id``; None for a task whose label is not drawn from one that the generator knows."""
        set_so = task.parameters()
        if task.name not in KNOWN or any(set_so[n] != v for n, v in KNOWN[task.name].items()):
            return None
        known = _writers.true_probabilities(self.schema, self.patients, self.seed)
        return pd.Series(known[task.name], known["visit_id"])
