"""FuseMoE, a sparse mixture of experts that fuses modalities (Han et al., NeurIPS 2024, arXiv:2402.03226).

With M modalities (signals: labs and vitals; notes; codes) and K moments at equal distances, the last at the prediction:

1. Each modality gives X_m in R^(K x dim): attention to the times of its events at each moment (mTAND); for signals a
   gate weighs it against the values last known. Where a sample has nothing of a modality, a learned vector Z_m stands
   at all moments.
2. Blocks: X' = norm(X + attention(X)) among all M K places; X'' = norm(X' + MoE(X')), a sparse mixture of E experts in
   place of a feed-forward network. The router is one of
   ``joint``: one gate and experts for the modalities of a moment side by side, in R^(M dim);
   ``per_modality``: a gate for each modality, and one pool of experts for all;
   ``disjoint``: for each modality a gate and experts of its own.
   A token goes to the ``top`` experts of largest h, weighed by the softmax of h over them. ``gate``: with keys W_i,
   h_i = -||W_i - x|| (``laplace``), -||W_i - x||^2 (``gaussian``), W_i . x (``softmax``).
3. logits = W_3 (h + W_2 relu(W_1 h + b_1) + b_2) + b_3, with h the last moments of all X_m side by side.
4. Further losses: ``balance`` times the mean over pools of the squared coefficient of variation of what each expert
   has to do; and with ``per_modality``, where modalities share a pool, ``entropy`` times the mean over them of H(p_m),
   less H(mean of p_m), with p_m the mean over tokens of softmax(h) over all experts and H the entropy: each modality
   keeps to some experts, and together they use all. With ``joint`` and ``disjoint`` no two gates share a pool, and
   this loss is 0.

The paper has the router ``per_modality`` where there are three modalities and more or some are missing, and ``joint``
for two. It has images and ECGs, too, and no codes, and trains 8 epochs; here training ends as that of any model. A
modality is a `zoo.models.multimodal._modalities.Modality`; a subclass of `FuseMoE` with
``modalities = {**FuseMoE.modalities, "ecg": ECG}`` has a fourth.

Where published code and paper part (the paper is followed; where it says nothing, what is here is said):

- The published code has no entropy term, and computes the balance term and drops it. Here both are losses.
- The gates of per-modality and disjoint routers are tensors of zeros that are no parameters there, so that experts are
  drawn by the noise alone, and the noise stays on in evaluation. Here all gates are learned, and noise is for training.
- A reshape there mixes the patients of a batch. Here tokens keep to their sample.
- A modality that is missing is zeros there. Here it is a learned vector.
- Imputation there overwrites what was observed within an hour, and carries a value on only into hours in which
  something else was measured. Here it fills in what was not observed.
- Experts there end in a log-softmax, and the logarithm is taken of the sum of what they say. Here they are summed.
- One weight of a sample gates signals there, of the maxima over moments. Here each moment and feature has its own.
- With the router disjoint E experts there are divided among the modalities, and a token goes to 2. Here each
  modality has E, and a token goes to ``top``.
- The gate of signals is a one-layer perceptron in the paper: one hidden layer there and here.
- Blocks there normalise before they add, attend within each modality only, send all moments of a sample to experts as
  one token, have a feed-forward network after the experts as well, and end in a norm. Here they are as in step 2: an
  expert for all moments of all modalities together has millions of weights, and with the routers of modalities these
  meet in the attention.
- There the X_m are multiplied by sqrt(dim), and learned vectors of the moment and the modality are added. Here X_m
  alone says when and what it is.
- The scores of the attention to times are divided by sqrt(time_dim / heads) there and here, and one embedding of times
  is shared by all heads; in the paper's equation the root is of how many events there are, and each head has its own.
- Signals there are the last values and whether observed. Here the hours since the last measurement are beside them.
- BERT there is trained in every second epoch, three times at most. Here it is trained in all epochs, at its own rate.
- Noise of the gates there has a learned scale. Here it is as in Riquelme et al. (NeurIPS 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.layers import Experts, Gate, Moments, SelfAttention, entropy, imbalance
from zoo.models import Dropout, MultipleOfEncoderHeads, MultipleOfHeads, Points, Positive, Size, Weight
from zoo.models._model import Output
from zoo.models.multimodal._modalities import CODES, SIGNALS, FusingModel, ResidualHead, Sizes
from zoo.registry import Choice, UserError, register_model

ROUTERS = ("joint", "per_modality", "disjoint")


@register_model(
    "fusemoe",
    family="multimodal",
    paper="Han et al., NeurIPS 2024, arXiv:2402.03226",
    uses={*SIGNALS, "note", *CODES},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
    published={
        "model.encoder_lr": 2e-5,
        "model.max_length": 1024,
        "model.dim": 128,
        "model.time_dim": 64,
        "model.points": 48,
        "model.hours": 48.0,
        "model.layers": 3,
        "model.heads": 8,
        "model.experts": 16,
        "model.top": 4,
        "model.expert_dim": 512,
        "model.gate": "laplace",
        "model.router": "per_modality",
        "model.balance": 0.01,
        "model.dropout": 0.1,
        "trainer.optimizer": "adam",
        "trainer.lr": 4e-4,
        "trainer.batch_size": 32,
        "trainer.max_epochs": 8,
    },
    search={
        "model.dim": Choice(32, 64, 128),
        "model.experts": Choice(8, 16, 32),
        "model.router": Choice("joint", "per_modality", "disjoint"),
        "model.gate": Choice("laplace", "gaussian", "softmax"),
    },
)
class FuseMoE(FusingModel):
    """Signals, notes and codes, any of which may be missing, fused by Transformer blocks with sparse experts.

    Args:
        spec: what the data are like.
        encoder: a published text encoder to begin with, by its name on the Hugging Face hub or its folder; None for a
            small one.
        encoder_lr: learning rate of a published one; a small one has the trainer's.
        encoder_dim, encoder_layers, encoder_heads: of a small one.
        vocabulary_size: how many pieces of words a small one has at most.
        max_length: how many tokens of a note are read, its first ones; 1024 in the published code, whose encoder is a
            Longformer. A small one has 510 places.
        max_tokens: how many tokens of a visit's notes are read; of the newest notes, each cut to ``max_length`` before.
            The paper reads the five newest notes.
        dim: width of what a modality says of a moment; a multiple of ``heads``.
        time_dim: of the embeddings of times; a multiple of ``heads``.
        points: K, how many moments.
        hours: from the first moment to the prediction.
        max_events: how many measurements, notes or codes of each concept are read, the newest ones.
        layers: how many blocks.
        heads: of all attention.
        experts: E, how many experts each pool of a block has.
        top: to how many of them a token goes.
        expert_dim: width of the hidden layer of an expert.
        router: ``"joint"``, ``"per_modality"`` or ``"disjoint"``.
        gate: ``"laplace"``, ``"softmax"`` or ``"gaussian"``.
        balance, entropy: weights of the two further losses.
        modality_dropout: how likely a modality of a sample is taken for missing in training; one at least is not. Where
            training samples have all modalities, this is what Z_m is learned from. It is not in the paper.
        dropout: in encoders, on attention weights, on what each sub-layer adds, in experts and in the last layers.

    Raises:
        UserError: a size does not fit, or router or gate are none of these.
    """

    def __init__(
        self,
        spec: Spec,
        encoder: str | None = None,
        encoder_lr: Positive = 2e-5,
        encoder_dim: MultipleOfEncoderHeads = 64,
        encoder_layers: Size = 2,
        encoder_heads: Size = 2,
        vocabulary_size: Size = 8000,
        max_length: Size = 126,
        max_tokens: Size = 1260,
        dim: MultipleOfHeads = 128,
        time_dim: MultipleOfHeads = 64,
        points: Points = 48,
        hours: Positive = 48.0,
        max_events: Size = 500,
        layers: Size = 3,
        heads: Size = 8,
        experts: Size = 16,
        top: Size = 4,
        expert_dim: Size = 512,
        router: str = "per_modality",
        gate: str = "laplace",
        balance: Weight = 0.01,
        entropy: Weight = 0.01,
        modality_dropout: Dropout = 0.2,
        dropout: Dropout = 0.1,
    ):
        small = encoder_dim, encoder_layers, encoder_heads
        sizes = Sizes(dim, time_dim, heads, dropout, max_events, max_length, encoder_lr, *small)
        super().__init__(spec, Moments(points, hours), sizes)
        if top > experts:
            raise UserError(f"fusemoe: top={top} must be at most experts={experts}.")
        for name, value, known in (("router", router, ROUTERS), ("gate", gate, Gate.FORMS)):
            if value not in known:
                raise UserError(f"fusemoe: {name}={value!r} must be one of {', '.join(map(repr, known))}.")
        self.missing = nn.Parameter(torch.randn(self.count, dim) * 0.02)
        self.balance, self.entropy, self.modality_dropout = balance, entropy, modality_dropout
        self.blocks = nn.ModuleList(
            Block(dim, heads, Router(self.count, dim, router, gate, Pool(experts, top, expert_dim, dropout)), dropout)
            for _ in range(layers)
        )
        self.head = ResidualHead(self.count * dim, spec.outputs, dropout)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """As in the paper, whose steps are of 16 batches of 2 stays; Adam is that of the published code."""
        return {"optimizer": "adam", "lr": 4e-4, "batch_size": 32}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs), and the losses of the routers."""
        fused, balance, spread = self._fused(batch)
        losses = {"balance": self.balance * balance, "entropy": self.entropy * spread}
        return Output(self.head(fused), losses)

    def embed(self, batch: Batch) -> Tensor:
        """The last moments of all modalities side by side, after the last block."""
        return self._fused(batch)[0]

    def _fused(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(samples, modalities * dim) the last moments side by side, and the mean losses of the routers."""
        tokens, _ = self.said(batch, self.missing, self.modality_dropout)
        balance, spread = [], []
        for block in self.blocks:
            tokens, routed = block(tokens)
            balance.append(routed.balance)
            spread.append(routed.spread)
        return tokens[:, :, -1].flatten(1), torch.stack(balance).mean(), torch.stack(spread).mean()


@dataclass(frozen=True)
class Pool:
    """A pool of experts: how many, to how many a token goes, the width of their hidden layer, and their dropout."""

    experts: int
    top: int
    hidden: int
    dropout: float

    def made(self, dim: int) -> Experts:
        """The experts, for tokens of a width."""
        return Experts(dim, self.hidden, self.experts, self.top, self.dropout)


class Routed(NamedTuple):
    """What came of tokens that were sent to experts.

    Attributes:
        tokens: (samples, modalities, points, dim).
        balance, spread: the two losses, scalars, without their weights.
    """

    tokens: Tensor
    balance: Tensor
    spread: Tensor


class Router(nn.Module):
    """Sends what modalities say of moments to experts.

    Args:
        modalities: M.
        dim: width of a token.
        form: one of `ROUTERS`.
        gate: one of ``Gate.FORMS``.
        pool: of experts.
    """

    def __init__(self, modalities: int, dim: int, form: str, gate: str, pool: Pool):
        super().__init__()
        self.form = form
        width = modalities * dim if form == "joint" else dim
        gates, pools = (1 if form == "joint" else modalities), (modalities if form == "disjoint" else 1)
        self.gates = nn.ModuleList(Gate(width, pool.experts, gate) for _ in range(gates))
        self.pools = nn.ModuleList(pool.made(width) for _ in range(pools))

    def forward(self, tokens: Tensor) -> Routed:
        """From (samples, modalities, points, dim)."""
        if self.form == "joint":
            beside = tokens.transpose(1, 2)  # (samples, points, modalities, dim)
            rows = beside.flatten(2).flatten(0, 1)
            found, balance = self._sent(0, rows, self.gates[0](rows))
            return Routed(found.view(beside.shape).transpose(1, 2), balance, torch.zeros_like(balance))
        parts = [part.flatten(0, 1) for part in tokens.unbind(1)]  # each (samples * points, dim)
        h = [gate(part) for gate, part in zip(self.gates, parts, strict=True)]
        if self.form == "disjoint":
            found, balance = zip(*(self._sent(m, *of) for m, of in enumerate(zip(parts, h, strict=True))), strict=True)
            balance = torch.stack(balance).mean()
            spread = torch.zeros_like(balance)
        else:
            together, balance = self._sent(0, torch.cat(parts), torch.cat(h))
            found = together.split(len(parts[0]))
            p = torch.stack([part.float().softmax(dim=1).mean(dim=0) for part in h])
            spread = entropy(p).mean() - entropy(p.mean(dim=0))
        shape = tokens[:, 0].shape
        return Routed(torch.stack([part.view(shape) for part in found], dim=1), balance, spread)

    def _sent(self, pool: int, tokens: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        found, share = self.pools[pool](tokens, h)
        return found, imbalance(share)


class Block(nn.Module):
    """Attention among all places of all modalities, and experts; each added to its input and normalised.

    Args:
        dim, heads: of the attention.
        router: to the experts.
        dropout: on attention weights, and on what each of the two adds.
    """

    def __init__(self, dim: int, heads: int, router: Router, dropout: float):
        super().__init__()
        self.attend, self.router = SelfAttention(dim, heads, dropout), router
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Routed]:
        """(samples, modalities, points, dim) from the same, and what the router found."""
        rows = tokens.flatten(1, 2)
        seen = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
        tokens = self.norms[0](rows + self.dropout(self.attend(rows, seen))).view(tokens.shape)
        routed = self.router(tokens)
        return self.norms[1](tokens + self.dropout(routed.tokens)), routed
