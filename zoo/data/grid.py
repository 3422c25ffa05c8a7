"""Labs and vitals on a regular grid: one row of steps a sample, with what was last known of each variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.spec import Spec
from zoo.registry import UserError

CONCEPTS = ("lab", "vital")
FEATURES = 3
"""Of a variable at a step: value, whether observed, log(1 + hours since the last value)."""


@dataclass(frozen=True)
class Grid:
    """Steps of equal length, for each sample the oldest first and its prediction time at the end of the last one.

    Attributes:
        value: (samples, steps, variables) float32, the last standardised value so far; 0, which is the mean in
            training, before the first one.
        observed: (samples, steps, variables) bool, whether the step itself has a value.
        since: (samples, steps, variables) float32, hours from the last value to the step's end; where there has been
            none, from the start of the first visit that is looked at.
        mask: (samples, steps) bool, which steps are real; each sample has at least one, and padding comes after them.
        until: (samples, steps) float32, hours from the step's end to the prediction time; 0 at the last real step.

    All but ``mask`` are 0 in padding.
    """

    value: Tensor
    observed: Tensor
    since: Tensor
    mask: Tensor
    until: Tensor

    @property
    def variables(self) -> int:
        """How many variables there are."""
        return self.value.shape[2]

    @cached_property
    def lengths(self) -> Tensor:
        """(samples,) how many real steps each sample has."""
        return self.mask.sum(dim=1)

    @cached_property
    def interval(self) -> Tensor:
        """(samples, steps) float32, hours from the end of the step before; 0 at the first step and in padding."""
        interval = torch.zeros_like(self.until)
        interval[:, 1:] = (self.until[:, :-1] - self.until[:, 1:]).clamp(min=0) * self.mask[:, 1:]
        return interval

    def features(self) -> Tensor:
        """(samples, steps, variables, 3) float32: value, whether observed, log(1 + hours since the last value)."""
        return torch.stack([self.value, self.observed.to(self.value.dtype), torch.log1p(self.since)], dim=-1)

    def at_last(self, states: Tensor) -> Tensor:
        """Pick (samples, ...) out of (samples, steps, ...): each sample at its last real step."""
        return states[torch.arange(len(states), device=states.device), self.lengths - 1]


@dataclass(frozen=True)
class GridView:
    """How a model reads labs and vitals; `grid` lays those of a batch out.

    Step ``k`` of a visit holds what became known from ``k * step_hours`` hours after the visit's start on, and before
    the next step. What was known before the start (in an emergency department) is in the first step, what became known
    at the prediction time in the last, and nothing later than it is in any (to the precision of float32). Of several
    values in a step the latest counts, and of several at one moment the greatest, so that their order does not matter.
    Events without a value, and variables that training has not seen, are left out.

    Args:
        variables: concept to how many variables it has. They follow one another; without any there is one that is
            never observed.
        step_hours: the length of a step.
        max_steps: keep the newest so many steps of a sample; None keeps all. What was last known before them is still
            filled in.
        history: steps of the earlier visits come before those of the sample's own, without steps for the time between
            visits; an earlier visit ends with the step of its last value. Otherwise the own visit alone is looked at.
        only_observed: leave out steps without any value, but for the last one; the intervals between the steps are
            then those between observations.

    Raises:
        UserError: ``step_hours`` or ``max_steps`` is not above 0.
    """

    variables: Mapping[str, int]
    step_hours: float = 1.0
    max_steps: int | None = None
    history: bool = False
    only_observed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.step_hours < float("inf"):
            raise UserError(f"step_hours={self.step_hours!r} must be a number above 0.")
        if self.max_steps is not None and self.max_steps < 1:
            raise UserError(f"max_steps={self.max_steps!r} must be at least 1.")

    @classmethod
    def of(cls, spec: Spec, **settings) -> GridView:
        """Of all concepts with values that a model gets."""
        return cls({c: len(spec.vocabularies[c].codes) for c in CONCEPTS if c in spec.vocabularies}, **settings)

    @property
    def columns(self) -> int:
        """How many variables the grid has, one at least."""
        return max(sum(self.variables.values()), 1)

    @property
    def width(self) -> int:
        """How many numbers `Grid.features` gives a step.

        >>> GridView({"lab": 2, "vital": 5}).width
        21
        """
        return FEATURES * self.columns

    def grid(self, batch: Batch) -> Grid:
        """The labs and vitals of a batch with the concepts of ``variables``.

        Sizes that hang on the batch are asked for three times; on a GPU each time waits for it.
        """
        pairs, events = looked_at(batch, self)
        steps = _Steps.of(pairs, events, self)
        return _fill(pairs, events, steps, self.columns)


def looked_at(batch: Batch, view: GridView) -> tuple[_Pairs, _Events]:
    """What the samples look at: their visits, and the events of these."""
    own = batch.row_offsets[batch.sample_row] + batch.sample_visit
    first = batch.row_offsets[batch.sample_row] if view.history else own
    count = own + 1 - first
    # the visits of a sample follow one another, and so do their events
    spans = [(first, count)]
    for concept in view.variables:
        offsets = batch[concept].offsets
        spans.append((offsets[first], offsets[own + 1] - offsets[first]))
    totals = torch.stack([length.sum() for _, length in spans]).tolist()
    (sample, visit), *places = (_counted(*span, total) for span, total in zip(spans, totals, strict=True))
    behind = count.cumsum(0)
    hours = batch.sample_time[sample] - batch.visit_start[visit]
    pairs = _Pairs(sample, visit, behind - count, behind - 1, hours)
    return pairs, _Events.of(batch, view, pairs, places)


def _counted(start: Tensor, length: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """(total,) ``start[i], start[i] + 1, ...``, ``length[i]`` of them, for all i in turn: which i, and the numbers."""
    sample = torch.repeat_interleave(length, output_size=total)
    shift = start - length.cumsum(0) + length
    return sample, shift[sample] + torch.arange(total, device=start.device)


@dataclass(frozen=True)
class _Pairs:
    """Samples with the visits that each looks at, oldest first and the own one last."""

    sample: Tensor  # (pairs,)
    visit: Tensor  # (pairs,)
    first: Tensor  # (samples,) the pair of the first visit that each sample looks at
    own: Tensor  # (samples,) the pair of each sample's own visit
    hours: Tensor  # (pairs,) float64, from the visit's start to the prediction time


@dataclass(frozen=True)
class _Events:
    """The events of the visits that samples look at, those of all concepts one after the other."""

    seen: Tensor  # (events,) bool, whether there is a value of a known variable that may be seen; the rest counts if so
    pair: Tensor  # (events,)
    variable: Tensor  # (events,) from 0, over all concepts
    value: Tensor  # (events,)
    time: Tensor  # (events,) float64, hours since the start of the event's visit
    step: Tensor  # (events,) in which step of the visit

    @classmethod
    def of(cls, batch: Batch, view: GridView, pairs: _Pairs, places: list[tuple[Tensor, Tensor]]) -> _Events:
        """``places``: of each concept, samples and the events that they look at."""
        # one float32 more than the limit, since time was rounded on another way
        limit = torch.nextafter(pairs.hours.float(), torch.full_like(pairs.hours, torch.inf, dtype=torch.float32))
        empty = pairs.visit[:0]
        parts = [(empty.bool(), empty, empty, limit[:0], limit[:0])]
        before = 0
        for (concept, size), (sample, place) in zip(view.variables.items(), places, strict=True):
            events = batch[concept]
            pair = (pairs.first - pairs.visit[pairs.first])[sample] + events.visit[place]
            variable, value, time = (getattr(events, n)[place] for n in ("variable", "value", "time"))
            seen = (variable >= 2) & (variable < 2 + size) & ~value.isnan() & (time <= limit[pair])
            parts.append((seen, pair, variable - 2 + before, value, time))
            before += size
        seen, pair, variable, value, time = (torch.cat(p) for p in zip(*parts, strict=True))
        time = torch.minimum(time.double(), pairs.hours[pair])
        step = torch.div(time, view.step_hours, rounding_mode="floor").clamp(min=0).long()
        last_of_own = (_steps_until(pairs.hours, view.step_hours) - 1)[pair]
        return cls(seen, pair, variable, value, time, torch.minimum(step, last_of_own))


def _steps_until(hours: Tensor, step_hours: float) -> Tensor:
    # a difference of two moments that is meant to be 48 hours may be a little more
    return (hours / step_hours - 1e-6).ceil().clamp(min=1).long()


@dataclass(frozen=True)
class _Steps:
    """The steps of all samples: where each is laid, and when it ends."""

    sample: Tensor  # (steps,)
    position: Tensor  # (steps,) from 1; 0 is for what was known before, and for steps that are left out
    until: Tensor  # (steps,) float64, hours from its end to the prediction time
    of_event: Tensor  # (events,) the step of each event; any step for one that is not seen
    lengths: Tensor  # (samples,) how many steps each sample has
    longest: int

    @classmethod
    def of(cls, pairs: _Pairs, events: _Events, view: GridView) -> _Steps:
        behind_seen = torch.where(events.seen, events.step + 1, 0)
        count = torch.zeros_like(pairs.visit).scatter_reduce(0, events.pair, behind_seen, "amax")
        count = count.index_copy(0, pairs.own, _steps_until(pairs.hours[pairs.own], view.step_hours))
        behind = count.cumsum(0)
        before = behind - count
        total = int(count.sum())
        pair = torch.repeat_interleave(count, output_size=total)
        number = torch.arange(total, device=pair.device) - before[pair]
        of_event = torch.where(events.seen, before[events.pair] + events.step, 0)
        last = behind[pairs.own] - 1
        kept = torch.ones_like(pair)
        if view.only_observed:
            kept = torch.zeros_like(kept).scatter_reduce(0, of_event, events.seen.long(), "amax").index_fill(0, last, 1)
        rank = kept.cumsum(0)  # from 1, over all samples
        sizes = torch.diff(rank[last], prepend=last.new_zeros(1))
        lengths = sizes if view.max_steps is None else sizes.clamp(max=view.max_steps)
        sample = pairs.sample[pair]
        position = (rank - (rank[last] - lengths)[sample]).clamp(min=0) * kept
        until = (pairs.hours[pair] - (number + 1) * view.step_hours).clamp(min=0)
        return cls(sample, position, until, of_event, lengths, int(lengths.max()) if len(lengths) else 0)


def _fill(pairs: _Pairs, events: _Events, steps: _Steps, variables: int) -> Grid:
    samples, columns = len(steps.lengths), steps.longest + 1
    device = steps.sample.device
    place = torch.arange(columns, device=device)
    mask = place <= steps.lengths[:, None]  # with the column of what was known before
    until = torch.zeros(samples * columns, dtype=torch.float64, device=device)
    until = until.index_copy(0, steps.sample * columns + steps.position, steps.until).view(samples, columns)

    cells = samples * columns * variables
    cell = (pairs.sample[events.pair] * columns + steps.position[steps.of_event]) * variables + events.variable
    cell = torch.where(events.seen, cell, cells)  # one cell more, for what is not seen
    # of the values in a cell the one of the last step (several steps share the place for what was known before), in it
    # the latest, and among those the greatest
    number = torch.full((cells + 1,), -1, device=device).scatter_reduce(0, cell, steps.of_event, "amax")
    ago = torch.where(steps.of_event == number[cell], pairs.hours[events.pair] - events.time, torch.inf)
    nearest = torch.full((cells + 1,), torch.inf, dtype=torch.float64, device=device)
    nearest = nearest.scatter_reduce(0, cell, ago, "amin")
    value = torch.where(ago == nearest[cell], events.value, -torch.inf)
    value = torch.full((cells + 1,), -torch.inf, device=device).scatter_reduce(0, cell, value, "amax")

    shape = (samples, columns, variables)
    nearest, value = nearest[:-1].view(shape), value[:-1].view(shape)
    observed = nearest.isfinite()
    source = torch.where(observed, place[:, None], -1).cummax(dim=1).values
    known = (source >= 0) & mask[:, :, None]
    source = source.clamp(min=0)
    value = torch.where(known, value.gather(1, source), 0.0)
    longest_ago = pairs.hours[pairs.first].clamp(min=0)
    ago = torch.where(known, nearest.gather(1, source), longest_ago[:, None, None])
    since = (ago - until[:, :, None]).clamp(min=0) * mask[:, :, None]
    return Grid(value[:, 1:], (observed & known)[:, 1:], since[:, 1:].float(), mask[:, 1:], until[:, 1:].float())
