"""ConCare: a recurrence for each variable, and attention among variables (Ma et al., AAAI 2020, arXiv:1911.12216)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.grid import FEATURES, GridView
from zoo.models import Dropout, Model, MultipleOfHeads, Output, Positive, Size, Weight
from zoo.registry import Choice, LogBetween, register_model


@register_model(
    "concare",
    family="series",
    paper="Ma et al., AAAI 2020, arXiv:1911.12216",
    uses={"lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 64,
        "model.heads": 4,
        "model.attention": 8,
        "model.feedforward": 256,
        "model.dropout": 0.5,
        "model.decorrelation": 800.0,
        "model.step_hours": 1.0,
        "model.max_steps": 48,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-3,
        "trainer.batch_size": 256,
        "trainer.max_epochs": 100,
    },
    search={"model.dim": Choice(32, 64), "model.decorrelation": LogBetween(1e-2, 1e2)},
)
class ConCare(Model):
    """A GRU for each variable, time-aware attention over its steps, and self-attention among the variables.

    The input (samples, steps, V, 3: value, whether observed, log hours since) is the regular grid of labs and vitals.
    For each variable i, with Δ_t hours from step t to the last step T:

        h_{i,1..T} = GRU_i(x_i)                                           (samples, steps, dim)
        a_{i,t} = (Q_i h_{i,T}) · (K_i h_{i,t})
        α_{i,·} = softmax over real steps of tanh(a_{i,t} / (β_i log(e + (1 - σ(a_{i,t})) Δ_t)))
        f_i = Σ_t α_{i,t} h_{i,t}                                         (samples, V, dim)

    A vector p = tanh(W_p s + b_p) of the static facts s at the start of the sample's own visit joins the V variables;
    where data have none, p is learned, and the same for all. Then, each with a residual connection and layer norm
    before it,

        f ← f + W_o concat over heads(softmax(q kᵀ / √d) v)               multi-head self-attention among V + 1 vectors
        f ← f + W₂ relu(W₁ f)                                             at each of them

    and the logits are linear in what the context of p finds by one more attention among all V + 1.

    The loss ``decorrelation`` drives the heads apart: over the samples of a batch, half the sum of the squared
    covariances between different coordinates of the heads' concatenated outputs (before W_o), added over V + 1 vectors.

    Where published code and paper part: the authors' code throws the output of layer norm away, takes the decorrelation
    of as many vectors as a vector has coordinates instead of all, counts steps in place of hours, and has another
    attention over time: in its version of 2020 the softmax of w · tanh(W [h_T; h_t; 1 + Δ_t]), in that of 2021 that of
    relu(σ(a) / (σ(r) log(2.72 + 1 - σ(a)) (1 + Δ_t))) with a rate r, and one hidden layer before the logits. None of
    these is done here. The equation of α, with its tanh and Δ_t within the logarithm, is written in the version of 2020
    too, where nothing uses it; it has not been held against the full text of the paper. p is that of the authors' code.
    β_i is the exponential of a weight, so that it stays above 0. Widths, heads, and the 0.1 of dropout in the
    feed-forward layers are those of the authors' code of 2021, as are Adam at 0.001 and batches of 256, of which it has
    100 epochs; here it is as many as the trainer is told, of which it keeps the best.

    Args:
        dim: width of the states and of the self-attention; a multiple of ``heads``. 32 in the version of 2020.
        heads: of the self-attention.
        attention: width of the time-aware attention.
        feedforward: width between the two layers after the self-attention.
        dropout: on vectors, attention and residual connections; the authors' code has 0.5, with which, on top of the
            decorrelation, this model does not fit a handful of samples.
        decorrelation: weight of the loss of that name. It grows with the number of variables, and in a batch of few
            samples it is never 0; the authors' code has 1000, then 800.
        step_hours: length of a step of the grid.
        max_steps: the newest so many steps are read.
        history: read earlier visits too, not only the sample's own.
    """

    def __init__(
        self,
        spec: Spec,
        dim: MultipleOfHeads = 64,
        heads: Size = 4,
        attention: Size = 8,
        feedforward: Size = 256,
        dropout: Dropout = 0.3,
        decorrelation: Weight = 0.1,
        step_hours: Positive = 1.0,
        max_steps: Size = 48,
        history: bool = True,
    ):
        super().__init__(spec)
        self.heads, self.decorrelation = heads, decorrelation
        self.view = GridView.of(spec, step_hours=step_hours, max_steps=max_steps, history=history)
        self.recur = GRUPerVariable(self.view.columns, FEATURES, dim)
        self.over_time = TimeAwareAttention(self.view.columns, dim, attention)
        self.demographics = nn.Linear(len(spec.static), dim) if len(spec.static) else None
        if self.demographics is None:
            self.patient = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.query, self.value, self.mix = (nn.Linear(dim, dim) for _ in range(3))
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would not change the softmax
        self.forward_layers = nn.Sequential(
            nn.Linear(dim, feedforward), nn.ReLU(), nn.Dropout(0.1), nn.Linear(feedforward, dim)
        )
        self.last_query, self.last_value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.last_key = nn.Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, spec.outputs)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the authors' code."""
        return {"optimizer": "adam", "lr": 1e-3, "batch_size": 256}

    def forward(self, batch: Batch) -> Output:
        summary, contexts, attention = self._summary(batch)
        losses = {"decorrelation": self.decorrelation * covariance_loss(contexts)}
        return Output(self.head(summary), losses, attention)

    def embed(self, batch: Batch) -> Tensor:
        """What the context of p finds among all vectors."""
        return self._summary(batch)[0]

    def _summary(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(samples, dim) what the context of p finds, (samples, V + 1, dim) the heads' outputs, and the attention."""
        grid = self.view.grid(batch)
        states, last = self.recur(grid.features(), grid.mask)
        found, over_time = self.over_time(states, last, grid.until, grid.mask)
        patient = self._patient(batch)
        vectors = self.dropout(torch.cat([found, patient.to(found.dtype)], dim=1))
        contexts = self._self_attention(self.norms[0](vectors))
        vectors = vectors + self.dropout(self.mix(contexts))
        vectors = vectors + self.dropout(self.forward_layers(self.norms[1](vectors)))
        score = torch.einsum("svd,sd->sv", self.last_key(vectors), self.last_query(vectors[:, -1]))
        weight = self.dropout(score.softmax(-1))
        summary = torch.einsum("sv,svd->sd", weight, self.last_value(vectors))
        return summary, contexts, {"steps": over_time, "variables": weight}

    def _patient(self, batch: Batch) -> Tensor:
        """(samples, 1, dim) p."""
        if self.demographics is None:
            return self.patient.expand(batch.samples, 1, -1)
        return self.demographics(batch.own_static).tanh()[:, None]

    def _self_attention(self, vectors: Tensor) -> Tensor:
        """(samples, V + 1, dim): the outputs of all heads side by side."""
        split = (len(vectors), -1, self.heads, vectors.shape[-1] // self.heads)
        query, key, value = (m(vectors).view(split).transpose(1, 2) for m in (self.query, self.key, self.value))
        dropout = self.dropout.p if self.training else 0.0
        contexts = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return contexts.transpose(1, 2).flatten(2)


def covariance_loss(contexts: Tensor) -> Tensor:
    """Half the sum of squared covariances between coordinates, over the samples; 0 for one sample (DeCov).

    Args:
        contexts: (samples, vectors, dim).

    >>> covariance_loss(torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]]))  # of 2 and 2, of which the covariance is 4
    tensor(16.)
    """
    centred = (contexts - contexts.mean(0)).transpose(0, 1).float()
    covariance = centred.transpose(1, 2) @ centred / max(len(contexts) - 1, 1)
    return (covariance.square().sum() - covariance.diagonal(dim1=1, dim2=2).square().sum()) / 2


class GRUPerVariable(nn.Module):
    """A gated recurrent unit for each variable, all at once.

    Args:
        variables: how many units.
        inputs: features of a variable at a step.
        dim: width of each state.
    """

    def __init__(self, variables: int, inputs: int, dim: int):
        super().__init__()
        self.input = nn.Parameter(torch.empty(variables, inputs, 3 * dim))  # reset, update, candidate
        self.recurrent = nn.Parameter(torch.empty(variables, dim, 3 * dim))
        self.input_bias = nn.Parameter(torch.empty(variables, 1, 3 * dim))
        self.recurrent_bias = nn.Parameter(torch.empty(variables, 1, 3 * dim))
        for weight in self.parameters():
            nn.init.uniform_(weight, -(dim**-0.5), dim**-0.5)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The states (variables, samples, steps, dim), and those after the last real step (variables, samples, dim).

        Args:
            features: (samples, steps, variables, inputs).
            mask: (samples, steps) bool.
        """
        variables, dim, _ = self.recurrent.shape
        state = features.new_zeros(variables, len(features), dim)
        states = []
        for step, real in zip(features.permute(1, 2, 0, 3), mask.unbind(1), strict=True):
            given = torch.baddbmm(self.input_bias, step, self.input).chunk(3, dim=-1)
            kept = torch.baddbmm(self.recurrent_bias, state, self.recurrent).chunk(3, dim=-1)
            reset, update = (given[0] + kept[0]).sigmoid(), (given[1] + kept[1]).sigmoid()
            candidate = (given[2] + reset * kept[2]).tanh()
            state = torch.where(real[:, None], update * state + (1 - update) * candidate, state)
            states.append(state)
        return torch.stack(states, dim=2), state


class TimeAwareAttention(nn.Module):
    """For each variable, attention of its last state over its states, which may fade with the hours since.

    Args:
        variables: how many.
        dim: width of a state.
        attention: width in which states are compared.
    """

    def __init__(self, variables: int, dim: int, attention: int):
        super().__init__()
        self.query = nn.Parameter(torch.empty(variables, dim, attention).uniform_(-(dim**-0.5), dim**-0.5))
        self.key = nn.Parameter(torch.empty(variables, dim, attention).uniform_(-(dim**-0.5), dim**-0.5))
        self.log_rate = nn.Parameter(torch.zeros(variables, 1, 1))  # log β

    def forward(self, states: Tensor, last: Tensor, hours: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What is found, (samples, variables, dim), and the attention, (samples, variables, steps).

        Args:
            states: (variables, samples, steps, dim).
            last: (variables, samples, dim).
            hours: (samples, steps), from each step to the last.
            mask: (samples, steps) bool.
        """
        query = torch.einsum("vsd,vda->vsa", last, self.query)
        compared = torch.einsum("vsa,vda->vsd", query, self.key)  # less to hold than keys of all steps
        score = torch.einsum("vsd,vstd->vst", compared, states)
        fading = torch.log(torch.e + (1 - score.sigmoid()) * hours)
        score = (score / (self.log_rate.exp() * fading)).tanh()
        weight = score.masked_fill(~mask, -torch.inf).softmax(-1).to(states.dtype)
        return torch.einsum("vst,vstd->svd", weight, states), weight.transpose(0, 1)
