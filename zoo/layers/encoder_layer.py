"""A layer of the Transformer's encoder (Vaswani et al., NeurIPS 2017, arXiv:1706.03762)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to its input and normalised; X of (places, dim).

        X' = norm(X + attention(X));  X'' = norm(X' + W_2 f(W_1 X' + b_1) + b_2)

    Args:
        dim: width, a multiple of ``heads``.
        heads: of attention.
        feedforward: width of the hidden layer of the feed-forward network.
        dropout: on attention weights, and on what each of the two adds.
        activation: f; BERT has GELU.
    """

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float, activation: type[nn.Module] = nn.ReLU):
        super().__init__()
        self.attend = SelfAttention(dim, heads, dropout)
        self.feed_forward = nn.Sequential(nn.Linear(dim, feedforward), activation(), nn.Linear(feedforward, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, seen: Tensor | None = None) -> Tensor:
        """(rows, places, dim) from the same; ``seen`` as for `SelfAttention`."""
        rows = self.norms[0](rows + self.dropout(self.attend(rows, seen)))
        return self.norms[1](rows + self.dropout(self.feed_forward(rows)))


class SelfAttention(nn.Module):
    """Scaled dot-product attention among the places of a row.

    For each of the heads, with d = dim / heads and X of (places, dim), softmax(X W_q (X W_k)^T / sqrt(d)) X W_v, the
    softmax over the places that may be looked at; the heads' (places, d) stand side by side and go through W_o,
    (dim, dim).

    Args:
        dim: width, a multiple of ``heads``.
        heads: how many.
        dropout: on attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        # one matrix, as a bias of the keys alone has no effect
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.combine = nn.Linear(dim, dim)

    def forward(self, rows: Tensor, seen: Tensor | None = None) -> Tensor:
        """(rows, places, dim) from the same.

        Args:
            rows: (rows, places, dim).
            seen: (rows, places) bool, which places all places of a row look at, one at least; None: each place looks at
                itself and those before it, so that padding behind a row's places reaches none of them, and holds
                numbers of no meaning.
        """
        parts = self.query_key_value(rows).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (rows, heads, places, d)
        mask = None if seen is None else seen[:, None, None]
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout, is_causal=seen is None)
        return self.combine(found.transpose(1, 2).flatten(-2))
