"""LAAT, a label attention model for ICD coding from clinical text (Vu et al., IJCAI 2020, arXiv:2007.06351).

With N words of a document, d_e = embedding_dim, u = hidden_dim and d_a = attention_dim:

1. x_n in R^(d_e), an embedding of each word.
2. h_n in R^(2u), the states of a forward and a backward LSTM at word n; H in R^(N x 2u).
3. Z = tanh(W H^T) in R^(d_a x N), A = softmax(U Z) over the N words, V = A H in R^(labels x 2u).
4. y_l = sigmoid(w_l . V_l + b_l), a layer for each label.

The document of a sample is what was written about the newest visit with a note that it sees: for ``icd_coding`` its
own. Of a document the first ``max_length`` words are read. The paper's JointLAAT, which predicts the categories of the
codes first, is not here.

Where published code and paper part (the paper is followed):

- Padding, whose states are zeros, has a share of the softmax there. Here it has none.
- Losses of the levels of JointLAAT are weighted by their numbers of labels there.
- Its words are those of all documents, tested ones included, however rare, and their embeddings (word2vec of all
  documents) stay as they are. Here words are those of the training documents, and embeddings begin at random and learn.
- Weights of the attention and of step 4 begin there from N(0, 0.03^2). Here they begin as those of CAML do.
- The rate falls there to nine tenths where the micro F1 has not risen for 5 epochs. Here it stays as it is, as there is
  no such schedule.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.layers import LabelAttention, SampleText
from zoo.models import Dropout, Size
from zoo.models._model import Attended, Model, Output
from zoo.models._texts import word_reading
from zoo.registry import Choice, kind_of, register_model


@register_model(
    "laat",
    family="notes",
    paper="Vu et al., IJCAI 2020, arXiv:2007.06351",
    uses={"note"},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    explains="attention to words",
    published={
        "model.embedding_dim": 100,
        "model.hidden_dim": 256,
        "model.attention_dim": 256,
        "model.dropout": 0.3,
        "model.max_length": 4000,
        "trainer.optimizer": "adamw",
        "trainer.lr": 1e-3,
        "trainer.batch_size": 8,
        "trainer.max_epochs": 50,
        "trainer.patience": 6,
        "trainer.monitor": "f1_micro",
    },
    search={"model.hidden_dim": Choice(128, 256, 512), "model.attention_dim": Choice(128, 256, 512)},
)
class LAAT(Model):
    """A bidirectional LSTM over the words of a document, and for each label a structured attention to its words.

    Args:
        spec: what the data are like.
        embedding_dim: d_e; 100 in the paper.
        hidden_dim: u; 256 in the paper for the 50 most frequent codes, 512 for all.
        attention_dim: d_a; 256 in the paper for the 50 most frequent codes, 512 for all.
        dropout: on the embeddings; 0.3 in the paper.
        max_length: how many words of a document are read; 4,000 in the paper.
        min_notes: a word that fewer training notes have is unknown; 3 in the paper, 1 in the published code.
    """

    def __init__(
        self,
        spec: Spec,
        embedding_dim: Size = 100,
        hidden_dim: Size = 256,
        attention_dim: Size = 256,
        dropout: Dropout = 0.3,
        max_length: Size = 4000,
        min_notes: Size = 3,
    ):
        super().__init__(spec)
        self.embedding = nn.Embedding(spec.tokens, embedding_dim, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.forward_lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.backward_lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
        self.attention = LabelAttention(2 * hidden_dim, spec.outputs, attention_dim)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """The words of the newest visit with a note."""
        return word_reading(hyperparameters)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """The paper's: AdamW at 1e-3, 8 documents a batch, 50 epochs at most, patience 6 on the micro F1.

        The published command has a patience of 5.
        """
        patient = {"patience": 6, "monitor": "f1_micro"} if kind_of(spec.kind).sets else {}
        return {"lr": 1e-3, "batch_size": 8, "max_epochs": 50, **patient}

    def attended(self, batch: Batch, output: int) -> Attended:
        """The attention of the output to the words."""
        return Attended({"words": SampleText(batch).over_tokens(self(batch).attention["words"][:, output])})

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs), and the attention of each output to the words."""
        text = SampleText(batch)
        words = self.dropout(self.embedding(text.tokens))
        backward = text.turned(self.backward_lstm(text.turned(words))[0])
        hidden = torch.cat([self.forward_lstm(words)[0], backward], dim=2)  # (samples, N, 2u)
        logits, attention = self.attention(hidden, text.mask)
        return Output(logits, attention={"words": attention})
