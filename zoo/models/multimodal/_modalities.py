"""What signals, notes and codes say of moments at equal distances before the prediction, for models that fuse them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.grid import CONCEPTS as SIGNALS
from zoo.data.grid import Grid, GridView
from zoo.data.text import Reading
from zoo.data.triples import TripleView
from zoo.layers import EventAttention, Moments, SampleEvents, TextChunks, TimeAttention
from zoo.models._model import Model
from zoo.models._texts import encoder_reading, give_published_weights, made_encoder

CODES = ("diagnosis", "drug", "procedure")


@dataclass(frozen=True)
class Sizes:
    """How large encoders of modalities are, and the learning rate of a published one.

    Attributes:
        dim: width of what is said of a moment.
        time_dim, heads: of the attention to times.
        dropout: in encoders.
        max_events: how many measurements, notes or codes of a sample are read, the newest ones.
        max_length: how many tokens of a note are read.
        encoder_lr: learning rate of a published text encoder.
        encoder_dim, encoder_layers, encoder_heads: of a small one.
    """

    dim: int
    time_dim: int
    heads: int
    dropout: float
    max_events: int
    max_length: int
    encoder_lr: float
    encoder_dim: int
    encoder_layers: int
    encoder_heads: int


class Modality(nn.Module):
    """What one modality says of moments. A subclass names its concepts and gives `forward`.

    Args:
        spec: of the model.
        moments, sizes: of its encoders.
    """

    concepts: ClassVar[tuple[str, ...]]

    def __init__(self, spec: Spec, moments: Moments, sizes: Sizes):
        super().__init__()
        self.read = [c for c in self.concepts if c in spec.concepts]
        self.moments, self.sizes = moments, sizes

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(samples, points, dim), and (samples,) bool whether the sample has anything of this modality."""
        raise NotImplementedError

    def first_weights(self, spec: Spec) -> None:
        """As of `zoo.models.Model`."""

    def learning_rates(self, spec: Spec) -> Mapping[str, float]:
        """As of `zoo.models.Model`, by the names of modules of the modality."""
        return {}


class Signals(Modality):
    """Labs and vitals: attention to their times, and the values last known at each moment, weighed by a gate.

    E = g * I + (1 - g) * A with A of `zoo.layers.TimeAttention`, I = W [last values, whether observed, hours since] at
    each moment, and g = sigmoid(W_2 relu(W_1 [I, A] + b_1) + b_2) in R^dim. A variable's last value is the mean of the
    training split before it was first measured.
    """

    concepts = SIGNALS

    def __init__(self, spec: Spec, moments: Moments, sizes: Sizes):
        super().__init__(spec, moments, sizes)
        self.triples = TripleView.of(spec, max_triples=sizes.max_events)
        self.view = GridView.of(spec, step_hours=moments.step, max_steps=moments.points)
        self.attend = TimeAttention(self.triples.columns, sizes.dim, sizes.time_dim, sizes.heads)
        self.impute = nn.Linear(self.view.width, sizes.dim, bias=False)
        self.gate = nn.Sequential(nn.Linear(2 * sizes.dim, sizes.dim), nn.ReLU(), nn.Linear(sizes.dim, sizes.dim))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        seen = self.triples.triples(batch)
        time = self.moments.share(seen.end[:, None] - seen.time)
        attended = self.attend(self.moments.of(seen.end), time, seen.variable, seen.value, seen.mask)
        imputed = self.impute(at_moments(self.view.grid(batch), self.moments.points))
        gate = self.gate(torch.cat([imputed, attended], dim=-1)).sigmoid()
        return gate * imputed + (1 - gate) * attended, seen.mask.any(dim=1)


def at_moments(grid: Grid, points: int) -> Tensor:
    """(samples, points, features) of a grid whose last step is at the last moment; 0 before its first step."""
    place = torch.arange(points, device=grid.value.device) - points + grid.lengths[:, None]
    features = grid.features().flatten(2)
    index = place.clamp(0, features.shape[1] - 1)[..., None].expand(-1, -1, features.shape[2])
    return features.gather(1, index) * (place >= 0)[..., None]


class Notes(Modality):
    """Notes: each by a BERT over its first tokens, and attention to when they were written.

    A note of which no token is read, since it has none or newer ones take all that are read of the visit, is not there.
    """

    concepts = ("note",)

    def __init__(self, spec: Spec, moments: Moments, sizes: Sizes):
        super().__init__(spec, moments, sizes)
        self.tokenizer = spec.vocabularies["note"].tokenizer
        self.encoder = made_encoder(
            spec, sizes.encoder_dim, sizes.encoder_layers, sizes.encoder_heads, sizes.dropout, None, False
        )
        self.encoder.check_length(max_length=sizes.max_length)
        self.attend = EventAttention(self.encoder.width, sizes.dim, sizes.time_dim, sizes.heads)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        note = batch["note"]
        seen = SampleEvents(batch, note, self.sizes.max_events, note.token_offsets.diff() > 0)
        # each note by itself: in place of a visit's notes, those of an event
        each = replace(note, offsets=torch.arange(len(note.ids) + 1, device=note.ids.device))
        chunks = TextChunks(each, self.tokenizer, self.sizes.max_length)
        vectors = self.encoder(chunks)[:, 0][chunks.begin[seen.event]]
        said = self.attend(self.moments.of(seen.ago), self.moments.share(seen.ago), vectors, seen.mask)
        return said, seen.mask.any(dim=1)

    def first_weights(self, spec: Spec) -> None:
        give_published_weights(self.encoder, spec)

    def learning_rates(self, spec: Spec) -> Mapping[str, float]:
        return {"encoder": self.sizes.encoder_lr} if spec.resources.get("encoder") else {}


class Codes(Modality):
    """Diagnoses, procedures and drugs: an embedding of each, and attention to when they became known."""

    concepts = CODES

    def __init__(self, spec: Spec, moments: Moments, sizes: Sizes):
        super().__init__(spec, moments, sizes)
        self.embed = nn.ModuleDict({c: nn.Embedding(spec.size(c), sizes.dim, padding_idx=0) for c in self.read})
        self.attend = EventAttention(sizes.dim, sizes.dim, sizes.time_dim, sizes.heads)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        parts = []
        for concept in self.read:
            events = batch[concept]
            seen = SampleEvents(batch, events, self.sizes.max_events)
            ids = events.ids[seen.event] if len(events.ids) else seen.event
            parts.append((self.embed[concept](ids.masked_fill(~seen.mask, 0)), seen.ago, seen.mask))
        vectors, ago, mask = (torch.cat(p, dim=1) for p in zip(*parts, strict=True))
        some = torch.stack([batch.has(concept) for concept in self.read]).any(dim=0)
        return self.attend(self.moments.of(ago), self.moments.share(ago), vectors, mask), some


class FusingModel(Model):
    """A model that fuses what modalities say of moments; those of which there is no concept are left out.

    Args:
        spec: what the data are like.
        moments, sizes: of the encoders.

    Attributes:
        modalities: the kinds of modality by name; a subclass may have others.
        encode: those that the model has.
        count: how many, one at least: without any concept there is one of zeros.
    """

    modalities: ClassVar[Mapping[str, type[Modality]]] = {"signals": Signals, "notes": Notes, "codes": Codes}

    def __init__(self, spec: Spec, moments: Moments, sizes: Sizes):
        super().__init__(spec)
        kinds = {n: kind for n, kind in self.modalities.items() if set(kind.concepts) & set(spec.concepts)}
        self.encode = nn.ModuleDict({name: kind(spec, moments, sizes) for name, kind in kinds.items()})
        self.count, self._shape = max(len(kinds), 1), (moments.points, sizes.dim)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """Pieces of words, of every visit."""
        most, of_each = hyperparameters["max_tokens"], hyperparameters["max_length"]
        return encoder_reading(hyperparameters, most, max_length=of_each)

    def first_weights(self) -> None:
        """Those of the published text encoder, where there is one."""
        for modality in self.encode.values():
            modality.first_weights(self.spec)

    def learning_rates(self) -> Mapping[str, float]:
        """Those of the modalities: of the published text encoder, where there is one."""
        return {
            f"encode.{name}.{part}": rate
            for name, modality in self.encode.items()
            for part, rate in modality.learning_rates(self.spec).items()
        }

    def said(self, batch: Batch, missing: Tensor | None = None, hidden: float = 0.0) -> tuple[Tensor, Tensor]:
        """(samples, modalities, points, dim), and (samples, modalities) bool which a sample has.

        Args:
            batch: to be read.
            missing: (modalities, dim), what stands at all moments where a sample has nothing of one; else zeros.
            hidden: how likely a modality of a sample is taken for missing in training; one at least is not.
        """
        found, there = [], []
        shown = torch.ones(batch.samples, self.count, dtype=torch.bool, device=batch.sample_row.device)
        if hidden and self.training:
            drawn = torch.rand(shown.shape, device=shown.device)
            shown = (drawn >= hidden) | (drawn == drawn.amax(dim=1, keepdim=True))
        for n, modality in enumerate(self.encode.values()):
            of_moments, some = modality(batch)
            some = some & shown[:, n]
            other = of_moments.new_zeros(()) if missing is None else missing[n].to(of_moments.dtype)
            found.append(torch.where(some[:, None, None], of_moments, other))
            there.append(some)
        if not found:
            none = batch.sample_time.new_zeros(batch.samples, *self._shape, dtype=torch.float32)
            found, there = [none if missing is None else none + missing[0]], [batch.sample_row < 0]
        return torch.stack(found, dim=1), torch.stack(there, dim=1)


class ResidualHead(nn.Module):
    """W_3 (h + W_2 relu(W_1 h + b_1) + b_2) + b_3, what fused modalities are read with.

    Args:
        width: of h.
        outputs: how many.
        dropout: behind the hidden layer.
    """

    def __init__(self, width: int, outputs: int, dropout: float):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))
        self.out = nn.Linear(width, outputs)

    def forward(self, h: Tensor) -> Tensor:
        """(samples, outputs) from (samples, width)."""
        return self.out(h + self.hidden(h))
