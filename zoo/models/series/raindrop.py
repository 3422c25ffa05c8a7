"""Raindrop, messages between variables over a graph of each sample's own (Zhang et al., ICLR 2022, arXiv:2110.05357).

Labs and vitals of M variables at the moments t at which a sample has any; x_u^t is the value of variable u. p^t in
R^time_dim are sines and cosines of the hours from t to the prediction, at time scales from 1 hour to ``hours``. All
weights are shared by all samples, and D, r_v and w_v are each layer's own.

1. What was observed: h_u^t = relu(x_u^t R_u) in R^dim.
2. Of each u observed at t and each v, alpha_uv^t = sigmoid(h_u^t D [r_v, p^t]^T), with r_v in R^receiver_dim.
3. Messages: with w_v in R^dim, c_v^t = the sum over the u observed at t of (h_u^t . w_u) alpha_uv^t e_uv, one number.
   Then h_v^t = relu(c_v^t w_v), and relu(h_v^t + c_v^t w_v) where v itself is observed at t.
4. Edges: e_uv = 1 for all pairs in the first layer. After a layer they are e_uv times the mean of alpha_uv^t over the
   moments at which u is observed (0 if there is none), and of the edges of observed variables u the lowest part
   ``prune`` becomes 0. The next layer's messages, from the last h at what is observed, go over what is left.
5. Moments: with H_v the rows [h_v^t, p^t] of all moments, Q = H_v W_Q, K = H_v W_K in R^width, and s_k learned for the
   k-th moment from the last, beta_v = softmax over the moments of (Q K^T / sqrt(width)) s, and z_v = sum over t of
   beta_v^t [h_v^t, p^t] W in R^width; 0 without a moment.
6. logits = W_2 relu(W_1 [z_1, ..., z_M, a] + b_1) + b_2, with a in R^M linear in the static facts of the sample's own
   visit; without a where data have none.
7. A further loss, ``similarity`` times the mean of (e_i,uv - e_j,uv)^2 over variables v and u and pairs of samples i, j
   of a batch in both of which u is observed, with the edges after the last layer: graphs shall be alike.

N measurements and T moments a sample take some N M numbers in each layer, T M dim for embeddings and M^2 for the graph.
Nothing grows with T^2: (Q K^T) s is Q (K^T s).

The equations have not been held against the full text of the paper. It writes one sign for all nonlinearities: here
alpha has the sigmoid, so that edges are from 0 to 1, and the rest the ReLU of the published code. That an observed
variable adds messages to its own embedding is how 1 and 2 are put together here; of edges to prune those of variables
that are not observed are none; and where the paper has the size of a difference, here is its square, for which a pass
over samples does instead of one over pairs. The weight of that loss, 0.02, is in no published script.

Where published code and paper part (the paper is followed):

- Its graph has no effect. Attention alpha and pruning are behind a switch that is off, and what goes over an edge to v
  is v's own vector, weighed by a softmax over the edges to v: the sum is that vector, whatever the graph. Here the
  sender's embedding goes over the edge, and tests show that another graph changes the logits.
- The vectors R_u are moved to the GPU in a way that makes of them no parameters, so that they are never trained, nor
  saved. Here they are.
- Distances between graphs are computed and not added to the loss; with the switch off they are 0. Here they are a loss.
- It has a Transformer over rows of all variables side by side, and a mean over moments. Here attention is within each
  variable.
- A variable that is not observed has the value 0 there, like one that is observed at its mean. Here it sends nothing.
- Moments are counted by times above 0, so that one at 0 costs the last its place. Here a mask says which are real.
- Samples with the outcome are three times in its clinical training data, and half of each batch. Here each is once.
- Its rate falls to a tenth where the score of the validation samples has not risen for two epochs, and it ends after
  20 epochs. Here the rate stays, and the trainer ends where the loss has not fallen for some epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.triples import Triples, TripleView
from zoo.models import Dropout, Positive, Size, Weight
from zoo.models._model import Model, Output
from zoo.registry import Choice, MultipleOf, register_model


@register_model(
    "raindrop",
    family="series",
    paper="Zhang et al., ICLR 2022, arXiv:2110.05357",
    uses={"lab", "vital", "static"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.dim": 4,
        "model.layers": 2,
        "model.receiver_dim": 16,
        "model.time_dim": 16,
        "model.prune": 0.5,
        "model.dropout": 0.2,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-4,
        "trainer.batch_size": 128,
        "trainer.max_epochs": 20,
    },
    search={"model.dim": Choice(4, 8, 16), "model.similarity": Choice(0.0, 0.02, 0.2), "model.prune": Choice(0.0, 0.5)},
)
class Raindrop(Model):
    """Labs and vitals that tell one another over a learned graph of variables, and attention to moments.

    Args:
        spec: what the data are like.
        dim: of what is said of a variable at a moment; 4 in the published script, with which the ReLU leaves nothing of
            one value in sixteen at first.
        layers: of messages; 2 in the paper.
        receiver_dim: of r_v.
        time_dim: of p^t, even.
        width: of z_v.
        hidden: of the layer before the logits.
        prune: which part of the edges each layer but the last takes away; 0.5 in the published code.
        similarity: weight of the loss of graphs that differ.
        dropout: on embeddings of what was observed, and before the last layer; 0.2 in the published script.
        max_triples: the newest so many measurements are read.
        max_steps: of these, those at the newest so many moments.
        hours: the longest time scale of p^t.
        history: read earlier visits too, not only the sample's own.

    Raises:
        UserError: a size does not fit.
    """

    renamed: ClassVar = {"embed.": "variables."}

    def __init__(
        self,
        spec: Spec,
        dim: Size = 8,
        layers: Size = 2,
        receiver_dim: Size = 16,
        time_dim: Annotated[Size, MultipleOf(times=2)] = 16,
        width: Size = 16,
        hidden: Size = 64,
        prune: Dropout = 0.5,
        similarity: Weight = 0.02,
        dropout: Dropout = 0.2,
        max_triples: Size = 1000,
        max_steps: Size = 64,
        hours: Positive = 48.0,
        history: bool = False,
    ):
        super().__init__(spec)
        self.view, self.max_steps = TripleView.of(spec, max_triples=max_triples, history=history), max_steps
        self.prune, self.similarity = prune, similarity
        variables = self.view.columns
        self.variables = nn.Embedding(variables, dim)
        scales = hours ** torch.linspace(0, 1, time_dim // 2, dtype=torch.float64)
        self.register_buffer("scales", scales.float(), persistent=False)
        self.layers = nn.ModuleList(Messages(variables, dim, receiver_dim, time_dim) for _ in range(layers))
        self.attend = MomentAttention(dim, time_dim, width, max_steps)
        self.dropout = nn.Dropout(dropout)
        self.attributes = nn.Linear(len(spec.static), variables) if len(spec.static) else None
        inputs = variables * width + (variables if len(spec.static) else 0)
        self.head = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, spec.outputs)
        )

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of the published script."""
        return {"optimizer": "adam", "lr": 1e-4, "batch_size": 128}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs), and the loss of graphs that differ."""
        whole, apart = self._whole(batch)
        if self.attributes is not None:
            whole = torch.cat([whole, self.attributes(batch.own_static)], dim=1)
        return Output(self.head(whole), {"graphs": self.similarity * apart})

    def embed(self, batch: Batch) -> Tensor:
        """The vectors z_v of all variables side by side."""
        return self._whole(batch)[0]

    def _whole(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(samples, variables * width) the z_v side by side, and how far graphs are apart."""
        seen = Observed.of(self.view.triples(batch), self.view.columns, self.max_steps)
        time = seen.ago[..., None] / self.scales
        time = torch.cat([time.sin(), time.cos()], dim=-1)
        own = self.dropout((seen.value[..., None] * self.variables(seen.variable)).relu())
        edges = None
        for layer in self.layers:
            if edges is not None:
                edges = pruned(edges, seen.moments > 0, self.prune)
            told, edges = layer(seen, time, own, edges)
            own = layer.heard(told.flatten(1).gather(1, seen.cell), seen.variable, own)
        # what nobody observed is known from messages alone
        everywhere = torch.where(seen.known[..., None], seen.in_cells(own), layer.heard(told))
        whole = self.attend(everywhere, time, seen.mask)
        return whole.flatten(1), unlike(edges, seen.moments > 0)


@dataclass(frozen=True)
class Observed:
    """Measurements at the newest moments of each sample, of which the last one is the first.

    Several of a variable at a moment are one, with their mean.

    Attributes:
        variable, place: (samples, longest) int64, which variable, and at which moment.
        value: (samples, longest) float32.
        share: (samples, longest) float32, 1 / how many are of the same variable and moment; 0 for padding, and for
            what is older than all moments.
        known: (samples, variables, steps) bool, which variables are observed at which moments.
        ago: (samples, steps) float32, hours from each moment to the prediction.
        mask: (samples, steps) bool, which places are moments; those that are none come after them, and have 0 hours.
    """

    variable: Tensor
    place: Tensor
    value: Tensor
    share: Tensor
    known: Tensor
    ago: Tensor
    mask: Tensor

    @classmethod
    def of(cls, triples: Triples, variables: int, max_steps: int) -> Observed:
        """At ``max_steps`` moments at most."""
        samples, longest = triples.mask.shape
        steps = min(max_steps, longest)
        begins = triples.mask.clone()
        begins[:, 1:] &= triples.time[:, 1:] != triples.time[:, :-1]
        number = begins.cumsum(dim=1)  # of the moment, the oldest is 1
        place = number[:, -1:] - number
        kept = triples.mask & (place < steps)
        place, value = place.masked_fill(~kept, 0), triples.value.float() * kept
        # one place and one cell more, for what is not read
        time = (triples.end[:, None] - triples.time).float()
        ago = time.new_zeros(samples, steps + 1).scatter(1, place.masked_fill(~kept, steps), time)[:, :-1]
        mask = torch.arange(steps, device=place.device) < number[:, -1:]
        cell = (triples.variable * steps + place).masked_fill(~kept, variables * steps)
        none = value.new_zeros(samples, variables * steps + 1)
        count, total = none.scatter_add(1, cell, kept.float()), none.scatter_add(1, cell, value)
        among = count.gather(1, cell).clamp(min=1)
        known = (count[:, :-1] > 0).view(samples, variables, steps)
        return cls(triples.variable, place, total.gather(1, cell) / among, kept / among, known, ago, mask)

    @property
    def cell(self) -> Tensor:
        """(samples, longest) int64, where each measurement is among (variables, steps)."""
        return self.variable * self.known.shape[2] + self.place

    @property
    def moments(self) -> Tensor:
        """(samples, variables) int64, at how many moments each variable is observed."""
        return self.known.sum(dim=2)

    def in_cells(self, rows: Tensor) -> Tensor:
        """(samples, variables, steps, width) of (samples, longest, width): each row in its cell, and 0 elsewhere."""
        samples, variables, steps = self.known.shape
        found = summed(rows * self.share[..., None], self.cell, variables * steps)
        return found.view(samples, variables, steps, rows.shape[2])


class Messages(nn.Module):
    """A layer: steps 2 to 4, but for pruning.

    Args:
        variables: M.
        dim: of what is said of a variable at a moment.
        receiver_dim: of r_v.
        time_dim: of p^t.
    """

    def __init__(self, variables: int, dim: int, receiver_dim: int, time_dim: int):
        super().__init__()
        self.map = nn.Linear(dim, receiver_dim + time_dim, bias=False)
        self.receiver = nn.Parameter(torch.randn(variables, receiver_dim) / receiver_dim**0.5)
        self.weight = nn.Parameter(torch.randn(variables, dim) / dim**0.5)

    def forward(self, seen: Observed, time: Tensor, own: Tensor, edges: Tensor | None) -> tuple[Tensor, Tensor]:
        """(samples, variables, steps) the numbers c, and (samples, u, v) the edges after it.

        Args:
            seen: what was observed.
            time: (samples, steps, time_dim), the p^t.
            own: (samples, longest, dim), h of each measurement.
            edges: (samples, u, v), those before it; None where all are 1.
        """
        samples, variables, steps = seen.known.shape
        alpha = self.attention(seen, time, own)
        sent = (own * F.embedding(seen.variable, self.weight)).sum(dim=2) * seen.share
        messages = alpha * sent[..., None]
        if edges is not None:
            row = torch.arange(samples, device=own.device)[:, None] * variables + seen.variable
            messages = messages * F.embedding(row, edges.view(samples * variables, variables))
        told = summed(messages, seen.place, steps).transpose(1, 2)
        mean = summed(alpha * seen.share[..., None], seen.variable, variables) / seen.moments.clamp(min=1)[..., None]
        return told, mean if edges is None else edges * mean

    def attention(self, seen: Observed, time: Tensor, own: Tensor) -> Tensor:
        """(samples, longest, variables) float32 alpha: of each measurement to each variable."""
        to_receiver, to_time = self.map(own).float().split([self.receiver.shape[1], time.shape[2]], dim=2)
        at = time.gather(1, seen.place[..., None].expand(-1, -1, time.shape[2]))
        mapped = torch.cat([to_receiver, (to_time * at).sum(dim=2, keepdim=True)], dim=2)
        return (mapped @ F.pad(self.receiver, (0, 1), value=1.0).T).float().sigmoid()

    def heard(self, told: Tensor, variable: Tensor | None = None, own: Tensor | float = 0.0) -> Tensor:
        """h of what was told: relu(own + c w).

        Args:
            told: (samples, variables, steps), or with ``variable`` (samples, longest), the numbers c.
            variable: (samples, longest), whose they are.
            own: (samples, longest, dim), h before it.
        """
        weight = self.weight[:, None] if variable is None else F.embedding(variable, self.weight)
        return (own + told[..., None] * weight).relu()


class MomentAttention(nn.Module):
    """Step 5.

    Args:
        dim: of h.
        time_dim: of p^t.
        width: of z_v.
        max_steps: how many moments there are at most.
    """

    def __init__(self, dim: int, time_dim: int, width: int, max_steps: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim + time_dim, width, bias=False) for _ in range(3))
        self.scores = nn.Parameter(torch.full((max_steps,), 1 / max_steps))

    def forward(self, rows: Tensor, time: Tensor, mask: Tensor) -> Tensor:
        """(samples, variables, width).

        Args:
            rows: (samples, variables, steps, dim), h.
            time: (samples, steps, time_dim), p^t.
            mask: (samples, steps), which places are moments.
        """
        scores = (self.scores[: mask.shape[1]] * mask)[:, None].expand(-1, rows.shape[1], -1)
        asked = self.key(weighed(scores, rows, time)) @ self.query.weight / self.query.out_features**0.5
        of_rows, of_time = asked.split([rows.shape[3], time.shape[2]], dim=2)
        looked = (rows @ of_rows[..., None])[..., 0] + of_time @ time.transpose(1, 2)
        looked = looked.float().masked_fill(~mask[:, None], torch.finfo(torch.float32).min)
        return self.value(weighed(looked.softmax(dim=2).masked_fill(~mask[:, None], 0), rows, time))


def weighed(weight: Tensor, rows: Tensor, time: Tensor) -> Tensor:
    """(samples, variables, dim + time_dim): sums over steps of [h, p], with a weight of (samples, variables, steps)."""
    return torch.cat([(weight[:, :, None] @ rows)[:, :, 0], weight @ time], dim=2)


def summed(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """(samples, size, width) sums of those of (samples, longest, width) with the same index, (samples, longest)."""
    samples, longest, width = rows.shape
    index = index + torch.arange(samples, device=rows.device)[:, None] * size
    index = index.view(samples * longest, 1).expand(-1, width)
    found = rows.new_zeros(samples * size, width).scatter_add(0, index, rows.reshape(samples * longest, width))
    return found.view(samples, size, width)


def pruned(edges: Tensor, observed: Tensor, part: float) -> Tensor:
    """The edges of (samples, u, v), of which the lowest are 0: a part of those whose u is observed.

    Edges that are as high as the lowest one that is left are left, too.

    >>> edges = torch.tensor([[[0.1, 0.4, 0.2], [0.0, 0.0, 0.0], [0.9, 0.3, 0.6]]])
    >>> pruned(edges, torch.tensor([[True, False, True]]), 0.5)
    tensor([[[0.0000, 0.4000, 0.0000],
             [0.0000, 0.0000, 0.0000],
             [0.9000, 0.0000, 0.6000]]])
    """
    with torch.no_grad():
        ranked = edges.masked_fill(~observed[..., None], torch.inf).flatten(1).sort(dim=1).values
        count = observed.sum(dim=1, keepdim=True) * edges.shape[2]
        lowest = ranked.gather(1, (count.double() * part).long().clamp(max=ranked.shape[1] - 1))
    return torch.where(edges >= lowest[..., None], edges, 0.0)


def unlike(edges: Tensor, observed: Tensor) -> Tensor:
    """How far graphs are apart, step 7 without its weight; 0 where no variable is observed in two samples.

    Args:
        edges: (samples, u, v).
        observed: (samples, u) bool.
    """
    weight = observed.to(edges.dtype)[..., None]
    count = weight.sum(dim=0)  # (u, 1)
    mean = (edges * weight).sum(dim=0) / count.clamp(min=1)
    apart = ((edges - mean) ** 2 * weight).sum(dim=(0, 2))  # of all pairs the sum is 2 * count * this
    pairs = (count * (count - 1)).sum() * edges.shape[2]
    return (2 * count[:, 0] * apart).sum() / pairs.clamp(min=1)
