"""The text that each sample is about, as padded rows of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from zoo.data.batch import Batch


def newest_text(batch: Batch) -> tuple[Tensor, Tensor]:
    """(samples,) the newest visit with a text, of those that each sample sees, and (samples,) bool whether it has one.

    Where no visit has a text it is the first one.
    """
    of_visit = batch["note"].text_offsets.diff()
    place = torch.arange(batch.longest, device=of_visit.device)
    some = (batch.rows(of_visit) > 0)[batch.sample_row] & (place <= batch.sample_visit[:, None])
    return batch.row_offsets[batch.sample_row] + torch.where(some, place, 0).amax(dim=1), some.any(dim=1)


class SampleText:
    """Of each sample the tokens of the newest visit with a text, of those that it sees.

    No size here hangs on a value, so that a GPU need not be waited for.

    Attributes:
        tokens: (samples, longest) int64, 0 in padding; longest is at least 1.
        lengths: (samples,) how many tokens each has; 0 where no visit has a text.
        mask: (samples, longest) bool, which places are tokens; those behind are padding.
    """

    def __init__(self, batch: Batch):
        note = batch["note"]
        visit, some = newest_text(batch)
        at = torch.arange(max(note.longest_text, 1), device=visit.device)
        self.lengths = note.text_offsets.diff()[visit] * some
        self.mask = at < self.lengths[:, None]
        self._index = (note.text_offsets[visit][:, None] + at).masked_fill(~self.mask, 0)
        self.tokens = F.pad(note.tokens, (0, 1))[self._index].masked_fill(~self.mask, 0)
        self._all = len(note.tokens)
        row = torch.arange(len(visit), device=at.device)[:, None] * len(at)
        self._turned = row + (self.lengths[:, None] - 1 - at).clamp(min=0)

    def over_tokens(self, weights: Tensor) -> Tensor:
        """(tokens,) of the batch, from the (samples, longest) that samples have at theirs, added up."""
        flat = weights.new_zeros(self._all + 1)  # one more, as there may be no token
        return flat.index_add(0, self._index.flatten(), weights.masked_fill(~self.mask, 0).flatten())[:-1]

    def turned(self, rows: Tensor) -> Tensor:
        """(samples, longest, width) from the last token to the first, each row within its own length, padded with 0."""
        return F.embedding(self._turned, rows.flatten(0, 1)).masked_fill(~self.mask[..., None], 0)


class LabelAttention(torch.nn.Module):
    """A vector for each label, which attends to the tokens by weights of its own.

    With H in R^(N x d) and U in R^(labels x e), A = softmax over the tokens of U f(H)^T, and V = A H in R^(labels x d);
    logit l = w_l . V_l + b_l. Mullenbach et al. (NAACL 2018) have f(H) = H, e = d; Vu et al. (IJCAI 2020) have
    f(H) = tanh(W H), e = ``attention_dim``.

    Args:
        dim: d.
        labels: how many.
        attention_dim: e; None for f(H) = H.
    """

    def __init__(self, dim: int, labels: int, attention_dim: int | None = None):
        super().__init__()
        self.attention_dim = attention_dim
        self.project = torch.nn.Linear(dim, attention_dim, bias=False) if attention_dim else None
        self.query = torch.nn.Linear(attention_dim or dim, labels, bias=False)
        self.head = torch.nn.Parameter(torch.empty(labels, dim))
        self.bias = torch.nn.Parameter(torch.zeros(labels))
        torch.nn.init.xavier_uniform_(self.query.weight)
        torch.nn.init.xavier_uniform_(self.head)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (samples, labels), and attention (samples, labels, longest); all 0 where a sample has no token.

        Args:
            tokens: (samples, longest, dim).
            mask: (samples, longest) bool.
        """
        features = tokens if self.project is None else self.project(tokens).tanh()
        scores = self.query(features).transpose(1, 2)
        # not infinity: a sample without any token would have gradients that are not numbers
        scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
        attention = scores.softmax(dim=-1).masked_fill(~mask[:, None], 0)
        return ((attention @ tokens) * self.head).sum(dim=-1) + self.bias, attention
