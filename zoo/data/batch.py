"""What a model gets: rows of visits, ragged concepts, and samples that point into the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from zoo.registry import called


@dataclass(frozen=True, repr=False)
class Ragged:
    """The events of one concept in a batch, flat, with offsets per visit.

    The visits of all rows follow one another; visit ``v`` has the events ``offsets[v]:offsets[v + 1]``, in the order of
    time.

    Attributes:
        ids: (events,) int64 into the concept's vocabulary; for ``lab`` and ``vital`` one id per variable and quantile
            bin.
        offsets: (visits + 1,) int64.
        variable: (events,) int64, for concepts with values: which variable it is (2 and up; 1 unknown); else None.
        value: (events,) float32, standardised by the training split, NaN where there is none; else None.
        time: (events,) float32, hours since the start of the event's visit.
        tokens: (tokens,) int64, for a model that reads notes: those of all events, one after the other; else None.
        token_offsets: (events + 1,) int64; event ``e`` has ``tokens[token_offsets[e]:token_offsets[e + 1]]``.
    """

    ids: Tensor
    offsets: Tensor
    time: Tensor
    variable: Tensor | None = None
    value: Tensor | None = None
    tokens: Tensor | None = None
    token_offsets: Tensor | None = None

    def __repr__(self) -> str:
        told = {"events": len(self.ids), "visits": len(self.offsets) - 1}
        told |= {} if self.tokens is None else {"tokens": len(self.tokens)}
        return called(type(self), **told, values=self.value is not None)

    @cached_property
    def lengths(self) -> Tensor:
        """(visits,) how many events each visit has."""
        return self.offsets.diff()

    @cached_property
    def longest(self) -> int:
        """How many events the fullest visit has."""
        return _longest(self.lengths)

    @cached_property
    def text_offsets(self) -> Tensor:
        """(visits + 1,) visit ``v`` has the tokens ``tokens[text_offsets[v]:text_offsets[v + 1]]``."""
        return self.token_offsets[self.offsets]

    @cached_property
    def text_lengths(self) -> np.ndarray:
        """(visits,) how many tokens each visit has, on the CPU wherever the batch is."""
        return np.zeros(0, np.int64) if self.tokens is None else self.text_offsets.diff().cpu().numpy()

    @property
    def longest_text(self) -> int:
        """How many tokens the visit with most of them has; 0 where there are no tokens."""
        return int(self.text_lengths.max(initial=0))

    @cached_property
    def visit(self) -> Tensor:
        """(events,) the visit of each event."""
        return torch.repeat_interleave(self.lengths, output_size=len(self.ids))

    def padded(self, name: str = "ids") -> tuple[Tensor, Tensor]:
        """One row a visit: (visits, longest) ``ids``, ``time``, ``variable`` or ``value``, padded with 0, and its mask.

        >>> concept = Ragged(torch.tensor([5, 6, 7]), torch.tensor([0, 1, 1, 3]), torch.zeros(3))
        >>> concept.padded()[0].tolist()
        [[5, 0], [0, 0], [6, 7]]
        """
        mask = torch.arange(self.longest, device=self.ids.device) < self.lengths[:, None]
        return _padded(getattr(self, name), self.offsets, self.visit, self.longest), mask

    def multi_hot(self, size: int) -> Tensor:
        """(visits, size) float: 1 where a visit has an id at least once.

        >>> Ragged(torch.tensor([2, 2]), torch.tensor([0, 2]), torch.zeros(2)).multi_hot(4).tolist()
        [[0.0, 0.0, 1.0, 0.0]]
        """
        hot = torch.zeros(len(self.offsets) - 1, size, device=self.ids.device)
        hot[self.visit, self.ids] = 1
        return hot


def _longest(lengths: Tensor) -> int:
    return int(lengths.max()) if len(lengths) else 0


def _padded(flat: Tensor, offsets: Tensor, group: Tensor, longest: int) -> Tensor:
    """Lay (things, ...), which lie group by group, out as (groups, longest, ...), padded with 0.

    No size here hangs on a value, so that a GPU need not be waited for.
    """
    place = torch.arange(len(flat), device=flat.device) - offsets[group] + group * longest
    groups = len(offsets) - 1
    padded = flat.new_zeros(groups * longest, *flat.shape[1:]).index_copy(0, place, flat)
    return padded.view(groups, longest, *flat.shape[1:])


@dataclass(frozen=True, repr=False)
class Batch(Mapping):
    """Rows of visits with samples in them; a mapping from concept to `Ragged`.

    Attributes:
        concepts: concept to its events.
        row_offsets: (rows + 1,) int64; row ``r`` has the visits ``row_offsets[r]:row_offsets[r + 1]``, oldest
            first.
        visit_start: (visits,) float64, hours since the start of the row's first visit.
        sample_row: (samples,) int64, the row of each sample.
        sample_visit: (samples,) int64, the place of the sample's own visit in its row; it is the last it may see.
        sample_time: (samples,) float64, the prediction time in hours since the start of the row's first visit.
        label: (samples,) bool, int64 or float32 by task kind, or (samples, labels) bool.
        subject: (samples,) int64, for intervals over subjects; nothing that a model may look at.
        static: (visits, columns) float32, what is known at the start of each visit, as ``spec.static`` names it; None
            for a model that takes none.
    """

    concepts: Mapping[str, Ragged]
    row_offsets: Tensor
    visit_start: Tensor
    sample_row: Tensor
    sample_visit: Tensor
    sample_time: Tensor
    label: Tensor
    subject: Tensor
    static: Tensor | None = None

    def __repr__(self) -> str:
        sizes = {"samples": self.samples, "rows": len(self.row_offsets) - 1, "visits": len(self.visit_start)}
        events = {c: len(ragged.ids) for c, ragged in self.concepts.items()}
        return called(type(self), **sizes, events=events)

    def __getitem__(self, concept: str) -> Ragged:
        if concept not in self.concepts:
            raise KeyError(f"the batch has no {concept!r}; it has {', '.join(self.concepts) or 'no concepts'}")
        return self.concepts[concept]

    def __iter__(self) -> Iterator[str]:
        return iter(self.concepts)

    def __len__(self) -> int:
        return len(self.concepts)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.sample_row)

    @cached_property
    def own_static(self) -> Tensor:
        """(samples, columns) float32: what is known at the start of each sample's own visit; no columns without any."""
        if self.static is None:
            return self.visit_start.new_zeros(self.samples, 0, dtype=torch.float32)
        return self.static[self.row_offsets[self.sample_row] + self.sample_visit]

    def has(self, concept: str) -> Tensor:
        """(samples,) bool: which samples have an event of a concept, in the visits of their row up to their own."""
        if concept not in self.concepts:
            return torch.zeros_like(self.sample_row, dtype=torch.bool)
        offsets, first = self.concepts[concept].offsets, self.row_offsets[self.sample_row]
        return offsets[first + self.sample_visit + 1] > offsets[first]

    @cached_property
    def row_lengths(self) -> Tensor:
        """(rows,) how many visits each row has."""
        return self.row_offsets.diff()

    @cached_property
    def longest(self) -> int:
        """How many visits the longest row has."""
        return _longest(self.row_lengths)

    @cached_property
    def visit_row(self) -> Tensor:
        """(visits,) the row of each visit."""
        return torch.repeat_interleave(self.row_lengths, output_size=len(self.visit_start))

    @cached_property
    def visit_mask(self) -> Tensor:
        """(rows, longest) bool: which places of padded rows are visits."""
        return torch.arange(self.longest, device=self.row_offsets.device) < self.row_lengths[:, None]

    def rows(self, per_visit: Tensor) -> Tensor:
        """Lay (visits, ...) out as (rows, longest, ...), padded with 0."""
        return _padded(per_visit, self.row_offsets, self.visit_row, self.longest)

    def at_samples(self, per_row_visit: Tensor) -> Tensor:
        """Pick (samples, ...) out of (rows, longest, ...): each sample at its own visit."""
        return per_row_visit[self.sample_row, self.sample_visit]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device; its sizes, which are known here, need not be asked for there."""
        if self.row_offsets.device == torch.device(device):
            return self
        there = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "concepts"}
        moved = Batch({c: _moved(r, device) for c, r in self.concepts.items()}, **_all_to(there, device))
        moved.__dict__["longest"] = self.longest
        return moved


def _moved(ragged: Ragged, device: torch.device | str) -> Ragged:
    moved = Ragged(**_all_to({f.name: getattr(ragged, f.name) for f in fields(ragged)}, device))
    moved.__dict__.update(longest=ragged.longest, text_lengths=ragged.text_lengths)
    return moved


def _all_to(tensors: Mapping[str, Tensor | None], device: torch.device | str) -> dict[str, Tensor | None]:
    return {n: None if t is None else t.to(device, non_blocking=True) for n, t in tensors.items()}
