"""Labs and vitals as they were measured: of each sample a row of triples (time, variable, value), and no grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.grid import CONCEPTS, GridView, looked_at
from zoo.data.spec import Spec
from zoo.registry import UserError


@dataclass(frozen=True)
class Triples:
    """Measurements, for each sample the oldest first; of several at one moment the order is by variable and value.

    Attributes:
        time: (samples, longest) float32, hours since the start of the first visit that is looked at.
        variable: (samples, longest) int64, from 0, over all concepts.
        value: (samples, longest) float32, standardised by the training split.
        mask: (samples, longest) bool, which places are measurements; padding comes after them, and all else is 0 there.
        end: (samples,) float32, the prediction time, in hours since the same start.
    """

    time: Tensor
    variable: Tensor
    value: Tensor
    mask: Tensor
    end: Tensor


@dataclass(frozen=True)
class TripleView:
    """How a model reads labs and vitals; `triples` lays those of a batch out.

    What became known at the prediction time is there, and nothing later. Events without a value, and variables that
    training has not seen, are left out.

    Args:
        variables: concept to how many variables it has; they follow one another.
        max_triples: keep the newest so many of a sample; None keeps all.
        history: look at the earlier visits too, not only the sample's own.

    Raises:
        UserError: ``max_triples`` is not above 0.
    """

    variables: Mapping[str, int]
    max_triples: int | None = None
    history: bool = False

    def __post_init__(self) -> None:
        if self.max_triples is not None and self.max_triples < 1:
            raise UserError(f"max_triples={self.max_triples!r} must be at least 1.")

    @classmethod
    def of(cls, spec: Spec, **settings) -> TripleView:
        """Of all concepts with values that a model gets."""
        return cls({c: len(spec.vocabularies[c].codes) for c in CONCEPTS if c in spec.vocabularies}, **settings)

    @property
    def columns(self) -> int:
        """How many variables there are, one at least."""
        return max(sum(self.variables.values()), 1)

    def triples(self, batch: Batch) -> Triples:
        """The measurements of a batch with the concepts of ``variables``.

        Sizes that hang on the batch are asked for twice; on a GPU each time waits for it.
        """
        pairs, events = looked_at(batch, GridView(self.variables, history=self.history))
        sample, since = pairs.sample[events.pair], pairs.hours[pairs.first]
        time = since[sample] - (pairs.hours[events.pair] - events.time)
        sample = torch.where(events.seen, sample, batch.samples)  # those that are not seen come last
        order = torch.arange(len(sample), device=sample.device)
        for key in (events.value.nan_to_num(), events.variable, time, sample):  # the last one is the first to count
            order = order[key[order].argsort(stable=True)]
        count = torch.zeros(batch.samples + 1, dtype=torch.int64, device=order.device).index_add(
            0, sample, torch.ones_like(sample)
        )[:-1]
        longest = int(count.max()) if len(count) else 0
        longest = longest if self.max_triples is None else min(longest, self.max_triples)
        begin, skipped = count.cumsum(0) - count, (count - longest).clamp(min=0)
        place = torch.arange(longest, device=order.device)
        mask = place < (count - skipped)[:, None]
        index = (begin + skipped)[:, None] + place
        index = order[index.masked_fill(~mask, 0)] if len(order) else index
        parts = (time.float(), events.variable, events.value)
        found = [p[index].masked_fill(~mask, 0) if len(p) else p.new_zeros(mask.shape) for p in parts]
        return Triples(*found, mask, since.float())
