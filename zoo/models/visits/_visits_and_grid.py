"""What models of visits share that can read labs and vitals on a grid beside them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import Grid, GridView
from zoo.layers import VisitEmbedding, log_days_until
from zoo.models import Model, Output


class VisitsAndGrid(Model):
    """A model that encodes the visits of a patient, and with ``grid`` labs and vitals apart from them.

    Without ``grid`` labs and vitals are codes of a visit like all others. With it they are no part of a visit: what
    comes of them stands beside what comes of the visits, or alone if there is no other concept. Then come the static
    facts of the sample's own visit, for a model that takes them, and last of all log(1 + days) from the start of the
    sample's own visit to the prediction, and a linear layer gives the logits.

    A subclass makes its encoders after `__init__`, those of visits only if there are `visits` and those of the
    grid only if there is a `view`, and last of all the `head` by `linear_head`; it gives `of_visits` and `of_grid`.

    Args:
        dim: width of visit vectors, and of what comes of visits and of the grid.
        grid: read labs and vitals on a regular grid.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps are read, those of earlier visits among them.
        static: take static facts.

    Attributes:
        visits: visit vectors of the concepts that are read as codes; None without any.
        view: how labs and vitals are laid out; None if they are no grid, or there are none.
    """

    head: nn.Module
    renamed: ClassVar = {"embed.": "visits."}

    def __init__(self, spec: Spec, dim: int, grid: bool, step_hours: float, max_steps: int, static: bool = False):
        super().__init__(spec)
        view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=True)
        self.view = view if grid and view.variables else None
        codes = {c: spec.size(c) for c in spec.concepts if self.view is None or c not in view.variables}
        self.visits = VisitEmbedding(codes, dim) if codes else None
        self.facts = len(spec.static) if static else 0

    def linear_head(self, dim: int) -> nn.Module:
        parts = (self.visits is not None) + (self.view is not None)
        return nn.Linear(dim * parts + self.facts + 1, self.spec.outputs)

    def of_visits(self, batch: Batch, visits: Tensor) -> Tensor:
        """(samples, dim) from the vectors (visits, dim) of a batch's visits."""
        raise NotImplementedError

    def of_grid(self, grid: Grid) -> Tensor:
        """(samples, dim) from labs and vitals."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Output:
        return Output(self.head(self.embed(batch)))

    def embed(self, batch: Batch) -> Tensor:
        """What comes of the visits and of the grid, static facts, and the time to the prediction."""
        parts = []
        if self.visits is not None:
            parts.append(self.of_visits(batch, self.visits(batch)))
        if self.view is not None:
            parts.append(self.of_grid(self.view.grid(batch)))
        if self.facts:
            parts.append(batch.own_static)
        return torch.cat([*parts, log_days_until(batch)[:, None]], dim=1)
