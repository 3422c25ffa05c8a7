"""CAML, convolutional attention for multi-label classification (Mullenbach et al., NAACL 2018, arXiv:1802.05695).

With N words of a document, d_e = embedding_dim, k = kernel_size and d_c = filters:

1. X in R^(N x d_e), an embedding of each word.
2. h_n = tanh(W_c * x_(n-k/2 .. n+k/2) + b_c) in R^(d_c); H in R^(N x d_c), with zeros around the document.
3. alpha_l = softmax(H u_l) over the N words, v_l = sum_n alpha_(l,n) h_n.
4. y_l = sigmoid(beta_l^T v_l + b_l).

The document of a sample is what was written about the newest visit with a note that it sees: for ``icd_coding`` its
own. Of a document the first ``max_length`` words are read, and the paper's words are those of `zoo.data.text.Words`.

Where published code and paper part (the paper is followed):

- Padding has a share of the attention there. Here it has none, and what is behind the document are zeros.
- An even kernel makes the text one longer there. Here H has a row for each word.
- Embeddings begin with word2vec of all documents there, tested ones included, as in the paper. Here they begin at
  random. The words are those of the training documents in both.
- The best epoch is that of the best precision at 8 of 200, with a patience of 10. Here ``monitor`` is the loss unless
  it is set (``precision_at_8`` where the task has 8 among its ``ks``); epochs and patience are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.layers import LabelAttention, SampleText
from zoo.models import Dropout, Size
from zoo.models._model import Attended, Model, Output
from zoo.models._texts import word_reading
from zoo.registry import Choice, LogBetween, register_model


@register_model(
    "caml",
    family="notes",
    paper="Mullenbach et al., NAACL 2018, arXiv:1802.05695",
    uses={"note"},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    explains="attention to words",
    published={
        "model.embedding_dim": 100,
        "model.filters": 50,
        "model.kernel_size": 10,
        "model.dropout": 0.2,
        "model.max_length": 2500,
        "model.min_notes": 3,
        "trainer.optimizer": "adam",
        "trainer.lr": 1e-4,
        "trainer.batch_size": 16,
        "trainer.max_epochs": 200,
        "trainer.patience": 10,
        "trainer.monitor": "precision_at_8",
    },
    search={
        "model.filters": Choice(50, 100, 250),
        "model.kernel_size": Choice(4, 10),
        "trainer.lr": LogBetween(3e-5, 3e-3),
    },
)
class CAML(Model):
    """A convolution over the words of a document, and for each label an attention to its words.

    Args:
        spec: what the data are like.
        embedding_dim: d_e; 100 in the paper.
        filters: d_c; 50 in the paper.
        kernel_size: k; 10 in the paper.
        dropout: on the embeddings; 0.2 in the paper.
        max_length: how many words of a document are read; 2,500 in the paper.
        min_notes: a word that fewer training notes have is unknown; 3 in the paper.
    """

    def __init__(
        self,
        spec: Spec,
        embedding_dim: Size = 100,
        filters: Size = 50,
        kernel_size: Size = 10,
        dropout: Dropout = 0.2,
        max_length: Size = 2500,
        min_notes: Size = 3,
    ):
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.tokens, embedding_dim, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.around = ((kernel_size - 1) // 2, kernel_size // 2)
        self.convolution = nn.Conv1d(embedding_dim, filters, kernel_size)
        self.attention = LabelAttention(filters, spec.outputs)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """The words of the newest visit with a note."""
        return word_reading(hyperparameters)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """As published: Adam at 1e-4, 16 documents a batch, 200 epochs at most, patience 10."""
        return {"optimizer": "adam", "lr": 1e-4, "batch_size": 16, "max_epochs": 200, "patience": 10}

    def attended(self, batch: Batch, output: int) -> Attended:
        """The attention of the output to the words."""
        return Attended({"words": SampleText(batch).over_tokens(self(batch).attention["words"][:, output])})

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs), and the attention of each output to the words."""
        text = SampleText(batch)
        words = self.dropout(self.embedding(text.tokens)).transpose(1, 2)  # (samples, d_e, N)
        hidden = self.convolution(F.pad(words, self.around)).tanh().transpose(1, 2)  # (samples, N, d_c)
        logits, attention = self.attention(hidden, text.mask)
        return Output(logits, attention={"words": attention})
