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
3. logits = W [mean over the moments of each X_m] + b.
4. Further losses: ``balance`` times the mean over pools of the squared coefficient of variation of what each expert
   has to do; and with ``per_modality``, where modalities share a pool, ``entropy`` times the mean over them of H(p_m),
   less H(mean of p_m), with p_m the mean over tokens of softmax(h) over all experts and H the entropy: each modality
   keeps to some experts, and together they use all.

The paper has images and ECGs, too. A modality is a `zoo.models._modalities.Modality`; a subclass of `FuseMoE` with
``modalities = {**FuseMoE.modalities, "ecg": ECG}`` has a fourth.

Where published code and paper part (the paper is followed):

- The published code has no entropy term, and computes the balance term and drops it. Here both are losses.
- The gates of per-modality and disjoint routers are tensors of zeros that are no parameters there, so that experts are
  drawn by the noise alone, and the noise stays on in evaluation. Here all gates are learned, and noise is for training.
- A reshape there mixes the patients of a batch. Here tokens keep to their sample.
- A modality that is missing is zeros there. Here it is a learned vector.
- Imputation there overwrites what was observed. Here it fills in what was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.layers import Experts, Gate, SelfAttention, entropy, imbalance
from zoo.models import Dropout, MultipleOfEncoderHeads, MultipleOfHeads, Points, Positive, Size, Weight
from zoo.models._modalities import CODES, SIGNALS, FusingModel, Moments, Sizes
from zoo.models._model import Output
from zoo.registry import UserError, register_model

ROUTERS = ("joint", "per_modality", "disjoint")


@register_model(
    "fusemoe",
    family="multimodal",
    paper="Han et al., NeurIPS 2024, arXiv:2402.03226",
    uses={*SIGNALS, "note", *CODES},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    resources={"encoder"},
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
        max_length: how many tokens of a note are read, its first ones.
        max_tokens: how many tokens of a visit's notes are read; of the newest notes, each cut to ``max_length`` before.
        dim: width of what a modality says of a moment; a multiple of ``heads``.
        time_dim: of the embeddings of times; a multiple of ``heads``.
        points: K, how many moments.
        hours: from the first moment to the prediction.
        max_events: how many measurements, notes or codes of each concept are read, the newest ones.
        layers: how many blocks.
        heads: of all attention.
        experts: E, how many experts each block has.
        top: to how many of them a token goes; 2 in the paper.
        expert_dim: width of the hidden layer of an expert.
        router: ``"joint"``, ``"per_modality"`` or ``"disjoint"``.
        gate: ``"laplace"``, ``"softmax"`` or ``"gaussian"``.
        balance, entropy: weights of the two further losses.
        modality_dropout: how likely a modality of a sample is taken for missing in training; one at least is not. Where
            training samples have all modalities, this is what Z_m is learned from. It is not in the paper.
        dropout: in encoders, on attention weights, on what each sub-layer adds, and in experts.

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
        dim: MultipleOfHeads = 64,
        time_dim: MultipleOfHeads = 32,
        points: Points = 24,
        hours: Positive = 48.0,
        max_events: Size = 500,
        layers: Size = 2,
        heads: Size = 4,
        experts: Size = 8,
        top: Size = 2,
        expert_dim: Size = 128,
        router: str = "joint",
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
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(self.count * dim, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs), and the losses of the routers."""
        tokens, _ = self.said(batch, self.missing, self.modality_dropout)
        balance, spread = [], []
        for block in self.blocks:
            tokens, routed = block(tokens)
            balance.append(routed.balance)
            spread.append(routed.spread)
        seen = tokens.mean(dim=2).flatten(1)  # (samples, modalities * dim)
        losses = {
            "balance": self.balance * torch.stack(balance).mean(),
            "entropy": self.entropy * torch.stack(spread).mean(),
        }
        return Output(self.head(self.dropout(seen)), losses)


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
