"""A convolutional network for sentence classification (Kim, EMNLP 2014, arXiv:1408.5882), over documents.

With N words of a document, embeddings x_n in R^k, windows of h words and filters w in R^(h k):

1. c_n = relu(w . x_(n .. n+h-1) + b), n = 1 .. N - h + 1. Equation 2.
2. z = max over n of c_n, for each filter: ``filters`` of them for each of the ``windows``. Section 2.
3. y = W dropout(z) + b. Equation 4.

The document of a sample is what was written about the newest visit with a note that it sees: for ``icd_coding`` its
own. A document that is shorter than a window is followed by zeros; one without a word has z = 0. This is CNN-rand: it
learns embeddings with the rest. A row of W that is longer than ``max_norm`` is shortened to it, before each step here.

Where published code and paper part (the paper is followed):

- Every text has 4 zeros before and behind it there, and more up to the longest, and windows may lie on them. Here they
  lie within the text.
- Its words are those of all texts, tested ones included. Here they are those of the training documents.
- Adadelta forgets there with rho = 0.95, which the paper does not say. Here it is torch's 0.9.
- It trains for 25 epochs, and tests with the weights of each that is the best on a tenth of the training texts so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.layers import SampleText
from zoo.models import Dropout, Positive, Size
from zoo.models._model import Model, Output
from zoo.models._texts import word_reading
from zoo.registry import By, Choice, LogBetween, UserError, register_model


@register_model(
    "text_cnn",
    family="notes",
    paper="Kim, EMNLP 2014, arXiv:1408.5882",
    uses={"note"},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    published={
        "model.embedding_dim": 300,
        "model.windows": (3, 4, 5),
        "model.filters": 100,
        "model.dropout": 0.5,
        "model.max_norm": 3.0,
        "model.min_notes": 1,
        "trainer.optimizer": "adadelta",
        "trainer.lr": 1.0,
        "trainer.batch_size": 50,
        "trainer.max_epochs": 25,
    },
    search={
        "model.embedding_dim": Choice(100, 300),
        "model.filters": Choice(50, 100, 200),
        "trainer.optimizer": Choice("adadelta", "adamw"),
        "trainer.lr": By("trainer.optimizer", {"adadelta": LogBetween(0.1, 2.0), "adamw": LogBetween(1e-4, 1e-2)}),
    },
)
class TextCNN(Model):
    """Convolutions over the words of a document, of each filter the largest output.

    Args:
        spec: what the data are like.
        embedding_dim: k; 300 in the paper.
        windows: h of each kind of filter; 3, 4 and 5 in the paper.
        filters: of each window; 100 in the paper.
        dropout: on what the filters found; 0.5 in the paper.
        max_norm: of the rows of W in training; 3 in the paper.
        max_length: how many words of a document are read; the paper's sentences are short, and 2,500 is CAML's limit.
        min_notes: a word that fewer training notes have is unknown; 1 in the published code, 3 here, as in CAML: notes
            have more words that come once.
    """

    def __init__(
        self,
        spec: Spec,
        embedding_dim: Size = 300,
        windows: Sequence[int] = (3, 4, 5),
        filters: Size = 100,
        dropout: Dropout = 0.5,
        max_norm: Positive = 3.0,
        max_length: Size = 2500,
        min_notes: Size = 3,
    ):
        if not isinstance(windows, Sequence) or not windows or not all(type(h) is int and h > 0 for h in windows):
            raise UserError(f"windows={windows!r} must be numbers of words, such as [3, 4, 5].")
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.tokens, embedding_dim, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_dim, filters, h) for h in windows)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(filters * len(windows), spec.outputs)
        self.max_norm = max_norm

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """The words of the newest visit with a note."""
        return word_reading(hyperparameters)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Section 3.1: Adadelta, 50 documents a batch."""
        return {"optimizer": "adadelta", "lr": 1.0, "batch_size": 50}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        if self.training:
            with torch.no_grad():
                self.head.weight.copy_(self.head.weight.renorm(2, 0, self.max_norm))
        return Output(self.head(self.dropout(self.embed(batch))))

    def embed(self, batch: Batch) -> torch.Tensor:
        """The largest outputs of all filters, z."""
        text = SampleText(batch)
        words = self.embedding(text.tokens).transpose(1, 2)  # (samples, k, N)
        return torch.cat([self._largest(words, text.lengths, c) for c in self.convolutions], dim=1)

    def _largest(self, words: torch.Tensor, lengths: torch.Tensor, convolution: nn.Conv1d) -> torch.Tensor:
        """(samples, filters) z of one window."""
        h = convolution.kernel_size[0]
        outputs = convolution(F.pad(words, (0, h - 1))).relu()  # a window begins at each word
        begins = torch.arange(outputs.shape[2], device=words.device)
        whole = begins <= (lengths[:, None] - h).clamp(min=0)
        whole &= lengths[:, None] > 0
        return outputs.masked_fill(~whole[:, None], 0).amax(dim=2)
