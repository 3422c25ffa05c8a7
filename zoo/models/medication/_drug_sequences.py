"""Models that write a set of drugs as a sequence, one drug a step, until they write its end.

With M drugs and at most T steps, P(Y | x) = product over steps t of P(y_t | y_1 .. y_(t-1), x), each over the M drugs
and the end; a drug that was written before has no part in it. In training the drugs of the label are written in a fixed
order, rare ones first. Where a model predicts, it writes the set itself, and the score of a drug is the largest
probability that it had in a step up to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.models import Model, Output

State = tuple[Tensor, ...]
Step = Callable[[State, Tensor, int], tuple[State, Tensor]]
"""From the state, the (n,) tokens of the step before and the number of the step to the next state and (n, M + 1) scores
of the drugs and the end. Tensors of a state have n rows."""


@dataclass(frozen=True)
class Sequences:
    """Sets of drugs, written out.

    Attributes:
        tokens: (samples, steps) int64: numbers of drugs, then M, the end.
        there: (samples, steps) bool: the steps up to the first end.
    """

    tokens: Tensor
    there: Tensor


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Attributes:
        sequences: step by step.
        chosen: (samples, M) bool: the set.
        largest: (samples, M) the largest probability that each drug had in a step up to the end.
    """

    sequences: Sequences
    chosen: Tensor
    largest: Tensor


@dataclass(frozen=True)
class WrittenOutput(Output):
    """In training: with how likely the model finds what it is taught, (samples,) log P(Y | x) or what stands for it."""

    likelihood: Tensor | None = None


class SequenceModel(Model):
    """A model of sequences; a subclass gives `known`, `taught` and `writer`.

    Args:
        spec: with the resource ``cooccurrence``.
        max_drugs: T, or M where that is less. Drugs of a label beyond it are not taught.
        beams: how many sequences are kept in search of the likeliest one.
    """

    def __init__(self, spec: Spec, max_drugs: int, beams: int):
        super().__init__(spec)
        self.steps, self.beams = min(max_drugs, spec.outputs), beams
        order = torch.from_numpy(rare_first(spec.resources["cooccurrence"]))
        self.register_buffer("order", order, persistent=False)

    def known(self, batch: Batch) -> State:
        """What is known of each sample, in tensors with a row each."""
        raise NotImplementedError

    def taught(self, known: State, tokens: Tensor) -> Tensor:
        """(samples, steps, M + 1) scores of the drugs and the end, before each of the (samples, steps) tokens."""
        raise NotImplementedError

    def writer(self, known: State) -> tuple[State, Step]:
        """The state before the first step, and the step."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, drugs): above 0 for the drugs of the set, and the larger, the more likely a drug was.

        With q the largest probability of a drug in a step, its probability here is (1 + q) / 2 in the set and q / 2
        out of it. In training, q is that of the steps that are taught: these logits know the label.
        """
        known = self.known(batch)
        return self.trained(known, batch) if self.training else Output(set_logits(self.write(known)))

    def trained(self, known: State, batch: Batch) -> WrittenOutput:
        """The output in training."""
        sequences = drug_sequences(batch.label, self.order, self.steps)
        log_p = self.log_probabilities(known, sequences.tokens)
        seen = log_p.detach().exp().masked_fill(~sequences.there[..., None], 0)[..., :-1]
        written = Written(sequences, batch.label, seen.amax(1))
        return WrittenOutput(
            set_logits(written), self.further(log_p, sequences), likelihood=likelihood(log_p, sequences)
        )

    def further(self, log_p: Tensor, sequences: Sequences) -> dict[str, Tensor]:
        """Further losses in training, by name."""
        return {}

    def log_probabilities(self, known: State, tokens: Tensor) -> Tensor:
        """(samples, steps, M + 1) of the drugs and the end, before each of the tokens."""
        return log_probabilities(self.taught(known, tokens), written_before(tokens, self.spec.outputs))

    def write(self, known: State, sample: bool = False) -> Written:
        """What the model writes itself; with ``sample``, by chance, as likely as it is."""
        beams = 1 if sample else self.beams
        state, step = self.writer(tuple(k.repeat_interleave(beams, 0) for k in known))
        return write(step, state, self.spec.outputs, self.steps, beams, sample)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The mean over samples of -log P(Y | x)."""
        if isinstance(output, WrittenOutput):
            return -output.likelihood.mean()
        sequences = drug_sequences(batch.label, self.order, self.steps)
        log_p = self.log_probabilities(self.known(batch), sequences.tokens)
        return -likelihood(log_p, sequences).mean()


def rare_first(cooccurrence: np.ndarray) -> np.ndarray:
    """(M,) the drugs in the order of how often they occur beside others.

    >>> rare_first(np.array([[0, 3, 1], [3, 0, 0], [1, 0, 0]])).tolist()
    [2, 1, 0]
    """
    return np.argsort(cooccurrence.sum(1), kind="stable")


def drug_sequences(label: Tensor, order: Tensor, steps: int) -> Sequences:
    """The sets of a (samples, M) bool label in an order of the drugs, the first so many steps.

    >>> drug_sequences(torch.tensor([[True, True, False]]), torch.tensor([2, 1, 0]), 3)
    Sequences(tokens=tensor([[1, 0, 3]]), there=tensor([[True, True, True]]))
    """
    place = torch.arange(steps, device=label.device)
    inside = label[:, order].byte().argsort(dim=1, descending=True, stable=True)[:, :steps]
    count = label.sum(1, keepdim=True)
    tokens = torch.where(place < count, order[inside], label.shape[1])
    return Sequences(tokens, place <= count)


def written_before(tokens: Tensor, drugs: int) -> Tensor:
    """(samples, steps, drugs + 1) bool: which drugs come before a step; never the end.

    >>> written_before(torch.tensor([[1, 0]]), 2).tolist()
    [[[False, False, False], [False, True, False]]]
    """
    hot = (tokens[..., None] == torch.arange(drugs, device=tokens.device)).int()
    return F.pad(hot.cumsum(1) > hot, (0, 1))


def log_probabilities(scores: Tensor, written: Tensor) -> Tensor:
    """(..., M + 1) float32 log-softmax of scores, without the drugs that were written."""
    scores = scores.float()
    return scores.masked_fill(written, torch.finfo(scores.dtype).min).log_softmax(-1)


def likelihood(log_p: Tensor, sequences: Sequences) -> Tensor:
    """(samples,) log P(Y | x): the sum over steps, from (samples, steps, M + 1) log-probabilities."""
    own = log_p.gather(-1, sequences.tokens[..., None])[..., 0]
    return own.masked_fill(~sequences.there, 0).sum(1)


def write(step: Step, state: State, drugs: int, steps: int, beams: int = 1, sample: bool = False) -> Written:
    """The likeliest sequences that a search with beams finds; with one beam, the likeliest token of each step.

    All steps are taken whatever is written, so that no value needs to be looked at.

    Args:
        step: see `Step`; n is samples * beams.
        state: before the first step. Tokens of the first step are ``drugs + 1``.
        drugs: M.
        steps: how many.
        beams: how many sequences are kept a sample.
        sample: draw the token of each step by its probability; with one beam.
    """
    rows, device = len(state[0]), state[0].device
    number = torch.arange(drugs + 1, device=device)
    end_alone = torch.where(number == drugs, 0.0, -torch.inf)
    row = torch.arange(rows, device=device)
    first = row[::beams, None]  # of the rows of a sample
    total = torch.where(row % beams == 0, 0.0, -torch.inf)  # all beams begin alike: one of them counts
    token = torch.full_like(row, drugs + 1)
    tokens = token.new_full((rows, steps), drugs)
    over = torch.zeros_like(row, dtype=torch.bool)
    chosen = over[:, None].expand(-1, drugs + 1)
    largest = torch.zeros(rows, drugs, device=device)
    for place in range(steps):
        state, scores = step(state, token, place)
        log_p = log_probabilities(scores, chosen)
        largest = torch.where(over[:, None], largest, torch.maximum(largest, log_p[:, :-1].exp()))
        value = (total[:, None] + torch.where(over[:, None], end_alone, log_p)).view(len(first), -1)
        wanted = value - torch.empty_like(value).exponential_().log() if sample else value
        best = wanted.topk(beams).indices
        total = value.gather(1, best).flatten()
        token, row = (best % (drugs + 1)).flatten(), (first + best // (drugs + 1)).flatten()
        state, tokens, chosen, largest = tuple(s[row] for s in state), tokens[row], chosen[row], largest[row]
        tokens[:, place] = token
        over = token == drugs
        chosen = chosen | ((token[:, None] == number) & ~over[:, None])
    best = first[:, 0]
    end = (tokens[best] == drugs).int()
    return Written(Sequences(tokens[best], end.cumsum(1) == end), chosen[best, :-1], largest[best])


def set_logits(written: Written) -> Tensor:
    """(samples, M) logits of (1 + q) / 2 for a drug of the set and of q / 2 for another, q its largest probability.

    >>> q = torch.tensor([[0.9, 0.2, 0.2, 0.0]])
    >>> chosen = torch.tensor([[True, True, False, False]])
    >>> [[round(p, 4) for p in row] for row in set_logits(Written(None, chosen, q)).sigmoid().tolist()]
    [[0.95, 0.6, 0.1, 0.0]]
    """
    q = written.largest.clamp(1e-12, 1 - 1e-6)
    return torch.where(written.chosen, 2 * q.atanh(), q.log() - (2 - q).log())
