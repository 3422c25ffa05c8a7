"""Dipole, attention over a bidirectional recurrence (Ma et al., KDD 2017, arXiv:1706.05764).

For a sample at its visit t, with r codes in the vocabulary, width m of visits and p of a recurrent state:

1. v_i = ReLU(W_v x_i + b_v), with x_i in {0, 1}^r (which codes visit i has), W_v in R^(m x r).
2. h_i = [forward state; backward state] in R^2p, of two GRUs over v_1, ..., v_t and over v_t, ..., v_1.
3. A score for each earlier visit i < t, by one of three attentions:

   - ``location``: w^T h_i, with w in R^2p;
   - ``general``: h_t^T W h_i, with W in R^(2p x 2p);
   - ``concatenation``: u^T tanh(W [h_t; h_i]), with W in R^(q x 4p) and u in R^q.

4. alpha = softmax over i = 1, ..., t - 1 of the scores; c_t = sum_i alpha_i h_i, in R^2p.
5. s_t = tanh(W_c [c_t; h_t]), with W_c in R^(m x 4p); logits = W_s s_t + b_s.

The paper's location score has a bias; it cancels out of the softmax, and is left out. A first visit has none before it:
there c_t = 0, which the paper leaves open.

The paper speaks of "past and future visits", and predicts visit t + 1 from what is known at t: the future is that of
visit i within v_1, ..., v_t. So the backward recurrence starts at t, for each sample anew.

The paper gives the logits to one softmax over all codes, though several are true. Here a label is what the kind of the
task says: a softmax over classes, or a sigmoid for each of several labels. The optimiser is Adadelta, as in the paper;
it takes no rate, which is a rate of 1. It does not see to the scale of a loss as Adam does: where gradients are below
1e-3 its steps shrink with them. So with several labels the loss is the sum over them, not their mean.

The default widths and dropout have not been held against the full text of the paper; no code of the authors' was found.

Where published code and paper part (the paper is followed): some ports let the attention at t range over all visits of
a row, so that a prediction sees later visits, and padding. Here recurrences and softmax end at the sample's own visit.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.layers import MultiHotEmbedding, SampleHistory
from zoo.models import Dropout, Model, Output, Size
from zoo.registry import By, Choice, LogBetween, UserError, nearest, register_model


class LocationScore(nn.Module):
    """w^T h_i: the visit alone decides."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.weight = nn.Linear(dim, 1, bias=False)

    def forward(self, own: Tensor, states: Tensor) -> Tensor:
        """(samples, visits) from the own visit's state (samples, dim) and all states (samples, visits, dim)."""
        return self.weight(states)[..., 0]


class GeneralScore(nn.Module):
    """h_t^T W h_i."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.weight = nn.Linear(dim, dim, bias=False)

    def forward(self, own: Tensor, states: Tensor) -> Tensor:
        """(samples, visits) from the own visit's state (samples, dim) and all states (samples, visits, dim)."""
        return (self.weight(states) @ own[..., None])[..., 0]


class ConcatenationScore(nn.Module):
    """u^T tanh(W [h_t; h_i]), with W in two halves."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.own = nn.Linear(dim, hidden, bias=False)
        self.other = nn.Linear(dim, hidden, bias=False)
        self.weight = nn.Linear(hidden, 1, bias=False)

    def forward(self, own: Tensor, states: Tensor) -> Tensor:
        """(samples, visits) from the own visit's state (samples, dim) and all states (samples, visits, dim)."""
        return self.weight(torch.tanh(self.own(own)[:, None] + self.other(states)))[..., 0]


SCORES = {"location": LocationScore, "general": GeneralScore, "concatenation": ConcatenationScore}


@register_model(
    "dipole",
    family="visits",
    paper="Ma et al., KDD 2017, arXiv:1706.05764",
    uses={"diagnosis", "procedure", "drug", "lab", "vital"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    explains="attention to visits",
    published={"trainer.optimizer": "adadelta", "trainer.lr": 1.0},
    search={
        "model.attention": Choice("location", "general", "concatenation"),
        "trainer.optimizer": Choice("adadelta", "adamw"),
        "trainer.lr": By("trainer.optimizer", {"adadelta": LogBetween(0.1, 3.0), "adamw": LogBetween(1e-4, 1e-2)}),
    },
)
class Dipole(Model):
    """A bidirectional recurrence whose state at the sample's own visit attends to the visits before it.

    Args:
        dim: width of visits (m), of each recurrent state (p), and of the state that gives the logits.
        attention: ``location``, ``general`` or ``concatenation``.
        attention_dim: the hidden width q of the attention ``concatenation``.
        dropout: on visits and on the state that gives the logits.

    Raises:
        UserError: there is no such attention.
    """

    renamed: ClassVar = {"embed.": "visits."}

    def __init__(
        self,
        spec: Spec,
        dim: Size = 256,
        attention: str = "concatenation",
        attention_dim: Size = 128,
        dropout: Dropout = 0.5,
    ):
        super().__init__(spec)
        if attention not in SCORES:
            raise UserError(f"dipole has no attention {attention!r}: {nearest(attention, SCORES)}.")
        self.visits = MultiHotEmbedding({c: spec.size(c) for c in spec.concepts}, dim)
        self.embed_bias = nn.Parameter(torch.zeros(dim))
        self.recur_forward = nn.GRU(dim, dim, batch_first=True)
        self.recur_backward = nn.GRU(dim, dim, batch_first=True)
        self.score = SCORES[attention](2 * dim, attention_dim)
        self.combine = nn.Linear(4 * dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        """Logits, with attention ``alpha`` (samples, visits), oldest first; 0 for the own visit and padding."""
        combined, alpha = self._combined(batch)
        return Output(self.head(self.dropout(combined)), attention={"alpha": alpha.detach()})

    def embed(self, batch: Batch) -> Tensor:
        """The attentional state s_t."""
        return self._combined(batch)[0]

    def _combined(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(samples, dim) s_t, and (samples, visits) alpha."""
        history = SampleHistory(batch)
        visits = history.rows(self.dropout(torch.relu(self.visits(batch) + self.embed_bias)))
        # padding comes last in both directions, where no recurrence can bring it back
        states = torch.cat(
            [self.recur_forward(visits)[0], history.turned(self.recur_backward(history.turned(visits))[0])], dim=-1
        )
        own = states[torch.arange(batch.samples, device=states.device), history.lengths - 1]
        alpha = history.softmax(self.score(own, states), over=history.earlier)
        context = (alpha[:, None] @ states)[:, 0]
        return torch.tanh(self.combine(torch.cat([context, own], dim=-1))), alpha

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The main loss, which is a sum over labels where there are several."""
        return super().loss(output, batch) * (self.spec.outputs if self.task_kind.sets else 1)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """The paper's optimiser, which takes no rate."""
        return {"optimizer": "adadelta", "lr": 1.0}
