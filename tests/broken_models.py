"""Models that are broken, each in one way, and a sound one that they are made of."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import nn

from zoo.layers import VisitEmbedding
from zoo.models import Estimator, Model, Output

FACTS = {"uses": {"diagnosis", "drug", "lab"}, "kinds": {"binary"}, "paper": "none"}


class Sound(Model):
    """Mean over visits up to the sample's own of the sum over concepts of mean embeddings, then two linear layers."""

    registered_name = "sound"

    def __init__(self, spec, dim: int = 16):
        super().__init__(spec)
        self.dim = dim
        self.embedding = VisitEmbedding({c: spec.size(c) for c in self.seen(spec)}, dim)
        self.mix = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, self.outputs(spec))
        self.more(spec, dim)

    def seen(self, spec):
        return spec.concepts

    def outputs(self, spec):
        return spec.outputs

    def more(self, spec, dim):
        """Further layers."""

    def visits(self, batch):
        """(visits, dim)."""
        return self.embedding(batch)

    def weights(self, batch, visits):
        """(samples, longest) of each visit of the row: shares that add up to 1."""
        places = torch.arange(batch.visit_mask.shape[1])
        mask = (places <= batch.sample_visit[:, None]) & batch.visit_mask[batch.sample_row]
        return mask / mask.sum(dim=1, keepdim=True)

    def state(self, batch):
        """(samples, dim)."""
        visits = self.visits(batch)
        rows = batch.rows(visits)[batch.sample_row]
        return torch.tanh(self.mix((self.weights(batch, visits)[..., None] * rows).sum(dim=1)))

    def forward(self, batch):
        return Output(self.head(self.state(batch)))


class PaddingLeak(Sound):
    """Divides by the padded length."""

    def weights(self, batch, visits):
        mask = super().weights(batch, visits) > 0
        return mask / mask.shape[1]


class BatchStatistics(Sound):
    """Centres its state by the mean of the batch."""

    def state(self, batch):
        state = super().state(batch)
        return state - state.mean(dim=0)


class Neighbour(Sound):
    """Looks at the sample before."""

    def state(self, batch):
        state = super().state(batch)
        return state + 0.1 * state.roll(1, dims=0)


class IgnoredInput(Sound):
    """Does not look at drugs."""

    def seen(self, spec):
        return [c for c in spec.concepts if c != "drug"] or spec.concepts


class Presence(Sound):
    """Sees that there are drugs, and not which."""

    def visits(self, batch):
        known = {c: batch[c] for c in batch}
        if "drug" in known:
            drug = known["drug"]
            known["drug"] = type(drug)(torch.full_like(drug.ids, 2), drug.offsets, drug.time)
        return self.embedding(known)


class UnusedParameter(Sound):
    """Has a layer that nothing goes through."""

    def more(self, spec, dim):
        self.spare = nn.Linear(dim, dim)


class Detached(Sound):
    """Cuts its embeddings off from the loss."""

    def visits(self, batch):
        return self.embedding(batch).detach()


class Nondeterministic(Sound):
    """Draws its first weights without the seed."""

    def more(self, spec, dim):
        random = np.random.default_rng()
        self.mix.weight.data = torch.from_numpy(random.normal(0, 0.3, (dim, dim)).astype(np.float32))


class StateKept(Sound):
    """Adds how often it has been called."""

    calls = 0

    def forward(self, batch):
        self.calls += 0 if self.training else 1
        return Output(super().forward(batch).logits + 0.1 * self.calls)


class Remembers(Sound):
    """Carries the state of the batch before over, as a stateful recurrence does."""

    def more(self, spec, dim):
        self.register_buffer("carried", torch.zeros(dim))

    def state(self, batch):
        state = super().state(batch) + self.carried
        if not self.training:
            self.carried = 0.5 * state[-1].detach()
        return state


class NoiseInEvaluation(Sound):
    """Drops out when it is evaluated too."""

    def state(self, batch):
        return nn.functional.dropout(super().state(batch), 0.5, training=True)


class LooksAtLabel(Sound):
    """Adds the label."""

    def forward(self, batch):
        return Output(super().forward(batch).logits + batch.label[:, None].float())


class LooksAtSubject(Sound):
    """Adds a number that tells subjects apart."""

    def forward(self, batch):
        return Output(super().forward(batch).logits + (batch.subject[:, None] % 7) / 7)


class LooksAhead(Sound):
    """Takes the mean over all visits of the row."""

    facts: ClassVar = {"causal": True}

    def weights(self, batch, visits):
        mask = batch.visit_mask[batch.sample_row]
        return mask / mask.sum(dim=1, keepdim=True)


class LooksAheadByTime(Sound):
    """Adds how long it is until the row's last visit."""

    facts: ClassVar = {"causal": True}

    def forward(self, batch):
        last = batch.visit_start[batch.row_offsets[1:] - 1][batch.sample_row]
        own = batch.visit_start[batch.row_offsets[batch.sample_row] + batch.sample_visit]
        return Output(super().forward(batch).logits + torch.log1p(last - own)[:, None].float())


class SoundCausal(Sound):
    """Takes of a sample's own visit all but the label concepts, of earlier visits all."""

    facts: ClassVar = {"causal": True, "kinds": {"binary", "multilabel"}}

    def more(self, spec, dim):
        self.lagged = VisitEmbedding({c: spec.size(c) for c in spec.label_concepts}, dim)

    def seen(self, spec):
        return [c for c in spec.concepts if c not in spec.label_concepts]

    def earlier(self, batch):
        """(samples, longest) of each visit of the row: shares of those that are seen whole."""
        places = torch.arange(batch.visit_mask.shape[1])
        mask = (places < batch.sample_visit[:, None]) & batch.visit_mask[batch.sample_row]
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)

    def state(self, batch):
        if not self.spec.label_concepts:
            return super().state(batch)
        rows = batch.rows(self.lagged(batch))[batch.sample_row]
        return super().state(batch) + torch.tanh((self.earlier(batch)[..., None] * rows).sum(dim=1))


class LooksAtItsLabelConcept(SoundCausal):
    """Takes its own visit for an earlier one, in which the label concepts are seen."""

    def earlier(self, batch):
        return self.weights(batch, None)


class LooksAtLaterLabelConcepts(SoundCausal):
    """Takes every other visit of the row for an earlier one."""

    def earlier(self, batch):
        places = torch.arange(batch.visit_mask.shape[1])
        mask = (places != batch.sample_visit[:, None]) & batch.visit_mask[batch.sample_row]
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)


class LooksAtSamplesOfItsRow(SoundCausal):
    """Adds how many samples share its row."""

    def forward(self, batch):
        beside = torch.bincount(batch.sample_row)[batch.sample_row]
        return Output(super().forward(batch).logits + 0.1 * beside[:, None])


class LosesWeights(Sound):
    """Keeps a layer where no checkpoint finds it."""

    def more(self, spec, dim):
        self.hidden = [nn.Linear(dim, dim)]

    def state(self, batch):
        return super().state(batch) + self.hidden[0](super().state(batch))


class NotPersistent(Sound):
    """Does not save what it counts in training."""

    def more(self, spec, dim):
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, batch):
        if self.training:
            self.steps = self.steps + 1
        return Output(super().forward(batch).logits + 0.1 * self.steps)


class EmptyHistory(Sound):
    """Shares attention among visits with codes, of which there may be none."""

    def weights(self, batch, visits):
        some = sum(batch[c].lengths for c in batch) > 0
        mask = (super().weights(batch, visits) > 0) & batch.rows(some)[batch.sample_row]
        return torch.zeros(mask.shape).masked_fill(~mask, float("-inf")).softmax(dim=1)


class MissingConcept(Sound):
    """Takes it that drugs are there."""

    def more(self, spec, dim):
        self.drugs = nn.EmbeddingBag(spec.size("drug"), dim)

    def visits(self, batch):
        return super().visits(batch) + self.drugs(batch["drug"].ids, batch["drug"].offsets[:-1])


class MissingModality(Sound):
    """Takes it that there are codes of some concept."""

    def visits(self, batch):
        torch.stack([batch[c].offsets for c in ("diagnosis", "drug") if c in batch])
        return super().visits(batch)


class AllAbsent(Sound):
    """Takes the greatest lab value of a batch, of which there may be none."""

    def visits(self, batch):
        if "lab" in batch and any(len(batch[c].ids) for c in batch):
            batch["lab"].value.nan_to_num().max()
        return super().visits(batch)


class SingleSample(Sound):
    """Normalises by the batch in training, which takes two samples."""

    def more(self, spec, dim):
        self.normalise = nn.BatchNorm1d(dim)

    def state(self, batch):
        return self.normalise(super().state(batch))


class CodeOrder(Sound):
    """Takes the first code of a visit for the most important."""

    def more(self, spec, dim):
        self.codes = nn.ModuleDict({c: nn.Embedding(spec.size(c), dim) for c in spec.concepts})

    def visits(self, batch):
        found = super().visits(batch)
        for concept, embedding in self.codes.items():
            events = batch[concept]
            place = torch.arange(len(events.ids)) - events.offsets[:-1][events.visit]
            found = found.index_add(0, events.visit, embedding(events.ids) / (1 + place[:, None]))
        return found


class OverflowsInHalf(Sound):
    """Takes the logarithm of one minus a probability that bfloat16 rounds to one."""

    def forward(self, batch):
        return Output(8 + torch.log(1 - torch.sigmoid(super().forward(batch).logits + 8)))


class CannotFit(Sound):
    """Has logits that are never large."""

    def forward(self, batch):
        return Output(0.1 * torch.tanh(super().forward(batch).logits))


class OneLogitTooMany(Sound):
    """Has two logits where one is asked for."""

    def outputs(self, spec):
        return spec.outputs + 1


class LossPerSample(Sound):
    """Does not reduce its loss."""

    def loss(self, output, batch):
        logits = output.logits[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, batch.label.float(), reduction="none")


class SoundPretraining(Sound):
    """Learns to tell which codes of a visit were hidden from it, by a layer that nothing else goes through."""

    def more(self, spec, dim):
        self.fill = nn.ModuleDict({c: nn.Linear(dim, spec.size(c)) for c in spec.concepts})

    def losses(self, batch):
        assert not batch.label.any()
        visits = self.visits(batch)
        wanted = {c: batch[c].multi_hot(self.spec.size(c)) for c in self.fill}
        return {c: nn.functional.binary_cross_entropy_with_logits(f(visits), wanted[c]) for c, f in self.fill.items()}

    def pretrain(self, batch):
        return Output(self.head(self.state(batch)), self.losses(batch))


class UnusedInPretraining(SoundPretraining):
    """Has a layer that neither training nor pre-training goes through."""

    def more(self, spec, dim):
        super().more(spec, dim)
        self.spare = nn.Linear(dim, dim)


class PretrainingNotFinite(SoundPretraining):
    """Divides its pre-training loss by how many labels there are, of which there are none."""

    def losses(self, batch):
        return {n: loss / batch.label.sum() for n, loss in super().losses(batch).items()}


class PretrainingNotFiniteInEvaluation(SoundPretraining):
    """Takes the mean over hidden codes when it hides none."""

    def losses(self, batch):
        return {n: loss if self.training else loss / 0 for n, loss in super().losses(batch).items()}


class PretrainingWithoutLoss(SoundPretraining):
    """Gives no loss."""

    def losses(self, batch):
        return {}


class PretrainingLossPerVisit(SoundPretraining):
    """Does not reduce its loss."""

    def losses(self, batch):
        return {n: loss.expand(3) for n, loss in super().losses(batch).items()}


class PretrainingWithoutEvents(SoundPretraining):
    """Takes the mean over codes, of which there may be none."""

    def losses(self, batch):
        codes = sum(len(batch[c].ids) for c in batch)
        return {n: loss * codes / torch.tensor(codes) for n, loss in super().losses(batch).items()}


class PretrainingOverflowsInHalf(SoundPretraining):
    """Takes the logarithm of one minus a probability that bfloat16 rounds to one."""

    def losses(self, batch):
        far = 8 + self.mix(self.visits(batch)).mean()
        return {**super().losses(batch), "far": -torch.log(1 - torch.sigmoid(far))}


class NoDefault(Sound):
    """Has a hyperparameter without a default."""

    def __init__(self, spec, dim):
        super().__init__(spec, dim)


class AnyHyperparameter(Sound):
    """Takes whatever it is given."""

    def __init__(self, spec, **settings):
        super().__init__(spec, **settings)


class SoundEstimator(Estimator):
    """The share of positives among the training samples whose newest visit has the code; averaged over its codes."""

    def __init__(self, spec, weight: float = 1.0):
        super().__init__(spec)
        self.weight = weight

    def counts(self, batch):
        """(samples, ids of all concepts) how often each occurs up to the sample's own visit."""
        row = np.repeat(np.arange(len(batch.row_lengths)), batch.row_lengths)
        place = np.arange(len(row)) - batch.row_offsets.numpy()[row]
        found = []
        for concept in self.spec.concepts:
            hot = batch[concept].multi_hot(self.spec.size(concept)).numpy()
            seen = (row == batch.sample_row.numpy()[:, None]) & (place <= batch.sample_visit.numpy()[:, None])
            found.append(seen.astype(np.float32) @ hot)
        return np.concatenate(found, axis=1)

    def fit(self, batches):
        pairs = [(self.counts(b), b.label.numpy()) for b in batches]
        inputs, label = (np.concatenate(part) for part in zip(*pairs, strict=True))
        target = np.where(label, 4.0, -4.0)
        ridge = inputs.T @ inputs + np.eye(inputs.shape[1])
        self.fitted = {"weights": np.linalg.solve(ridge, inputs.T @ target)}

    def forward(self, batch):
        return Output(torch.from_numpy(self.counts(batch) @ self.fitted["weights"])[:, None])


class ForgetsItsFit(SoundEstimator):
    """Keeps a part of what it fitted where `save` does not find it."""

    bias = 0.0

    def fit(self, batches):
        batches = list(batches)
        super().fit(batches)
        self.bias = float(batches[0].label.float().mean())

    def forward(self, batch):
        return Output(super().forward(batch).logits + self.bias)


class FitsByChance(SoundEstimator):
    """Fits with noise that no seed sets."""

    def fit(self, batches):
        super().fit(batches)
        self.fitted["weights"] += np.random.default_rng().normal(0, 0.01, len(self.fitted["weights"]))


class SoundVectors(Sound):
    """Gives its state as the vector of a patient."""

    def embed(self, batch):
        return self.state(batch)

    def forward(self, batch):
        return Output(self.head(self.embed(batch)))


class SameVectorForAll(Sound):
    """Gives everybody the mean of what its head looks for."""

    def embed(self, batch):
        return self.head.weight.mean(dim=0).expand(batch.samples, -1)


class VectorInItsBatch(Sound):
    """Centres vectors by the mean of the batch."""

    def embed(self, batch):
        return self.state(batch) - self.state(batch).mean(dim=0)


class VectorOfTheLabel(Sound):
    """Adds the label to the vector."""

    def embed(self, batch):
        return self.state(batch) + batch.label[:, None].float()


class VectorOfEachVisit(Sound):
    """Gives a vector of each visit of a row, not of the sample."""

    def embed(self, batch):
        return batch.rows(self.visits(batch))


class VectorLooksAhead(Sound):
    """Takes the vector from the last visit of the row."""

    facts: ClassVar = {"causal": True}

    def embed(self, batch):
        return torch.tanh(self.mix(self.visits(batch)[batch.row_offsets[1:] - 1][batch.sample_row]))


class VectorOverflowsInHalf(Sound):
    """Takes the logarithm of one minus a probability that bfloat16 rounds to one."""

    def embed(self, batch):
        return torch.log(1 - torch.sigmoid(self.mix(self.state(batch)) + 8))
