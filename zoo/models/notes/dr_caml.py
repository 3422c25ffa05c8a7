"""DR-CAML, CAML that is drawn to the descriptions of codes (Mullenbach et al., NAACL 2018, arXiv:1802.05695).

CAML (`zoo.models.notes.caml`), and for each label l with a description of M words:

1. D_l in R^(M x d_e), an embedding of each word of the description, other than that of the notes.
2. G_l = tanh(W_d * D_l + b_d) in R^(M x d_c), a convolution as that of the notes, with zeros around the description.
3. z_l = W_z max_m G_(l,m) + b_z in R^(d_c).
4. To the binary cross-entropy is added, for each document, lambda times the mean over its labels of || z_l - beta_l ||,
   with beta_l in R^(d_c) the weights of CAML's step 4: rare codes borrow from their descriptions.

The paper's cross-entropy is a sum over all L labels, and lambda is relative to that. The main loss here is a mean over
labels, so that the term is lambda / L times the mean distance: the same sum, divided by L.

Descriptions are the names of codes in `zoo.knowledge.names` (for ICD codes the full titles of CMS), read by the words
of the notes. A label without a name has no part in step 4.

Where published code and paper part (the paper is followed):

- The published term is the squared difference, a mean over its d_c numbers, summed over the labels of the document; and
  its cross-entropy is a mean over labels, so that the published values of lambda are on another scale.
- Max pooling there sees the padding of descriptions. Here it has none.
- A label without a description has there that of an unknown word. Here it has no part.
- Labels that no training document has get there, in testing, z_l for their weights. Here there are no such labels.
- Its embeddings begin with word2vec of all documents. Here they begin at random.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.models import Dropout, Size, Weight
from zoo.models._model import Output
from zoo.models.notes.caml import CAML
from zoo.registry import Choice, LogBetween, UserError, register_model


@register_model(
    "dr_caml",
    family="notes",
    paper="Mullenbach et al., NAACL 2018, arXiv:1802.05695",
    uses={"note"},
    needs={"note"},
    kinds={"multilabel"},
    explains="attention to words",
    resources={"names"},
    published={
        "model.embedding_dim": 100,
        "model.filters": 50,
        "model.kernel_size": 10,
        "model.dropout": 0.2,
        "model.max_length": 2500,
        "model.min_notes": 3,
        "model.regularization": 10.0,
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
        "model.regularization": LogBetween(0.01, 100.0),
        "trainer.lr": LogBetween(3e-5, 3e-3),
    },
)
class DRCAML(CAML):
    """CAML, whose weights for each code are drawn to what a convolution makes of the code's description.

    Args:
        spec: what the data are like.
        embedding_dim, filters, kernel_size, dropout, max_length, min_notes: as of `CAML`.
        regularization: lambda; the published scripts have 0.01 for all codes of MIMIC-III and 10 for its 50 most
            frequent ones, of the squared term.

    Raises:
        UserError: no label has a name whose words the notes have.
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
        regularization: Weight = 10.0,
    ):
        super().__init__(spec, embedding_dim, filters, kernel_size, dropout, max_length, min_notes)
        self.regularization = regularization
        self.describe = Descriptions(spec, embedding_dim, filters, kernel_size)

    def forward(self, batch: Batch) -> Output:
        """As of `CAML`; in training with the loss ``descriptions``."""
        output = super().forward(batch)
        if not self.training:
            return output
        return Output(output.logits, {"descriptions": self._apart(batch.label)}, output.attention)

    def _apart(self, label: Tensor) -> Tensor:
        """How far the weights of the labels that documents have lie from their descriptions, from (samples, labels)."""
        counts = label & self.describe.some
        share = (counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).mean(dim=0)
        # on a CPU only labels that occur are described; on a GPU, which would have to be waited for, all are
        labels = torch.arange(len(share)) if label.is_cuda else share.nonzero()[:, 0]
        labels = labels.to(label.device, non_blocking=True)
        distance = torch.linalg.vector_norm((self.describe(labels) - self.attention.head[labels]).float(), dim=1)
        return self.regularization / len(share) * (share[labels] * distance).sum()


class Descriptions(nn.Module):
    """z of each label, from the words of its description.

    Args:
        spec: its names of labels, and the words of its notes.
        embedding_dim, filters, kernel_size: as of `CAML`.

    Attributes:
        some: (labels,) bool, which have a description.
    """

    def __init__(self, spec: Spec, embedding_dim: int, filters: int, kernel_size: int):
        super().__init__()
        words, lengths = spec.vocabularies["note"].tokenizer.encode(list(spec.resources["names"]))
        if not lengths.any():
            raise UserError(
                "no label of the task has a name that the notes have words of: dr_caml needs some; try caml."
            )
        lengths = torch.from_numpy(lengths)
        rows = torch.from_numpy(words.astype("int64")).split(lengths.tolist())
        self.register_buffer("words", nn.utils.rnn.pad_sequence(list(rows), batch_first=True), persistent=False)
        self.register_buffer("lengths", lengths.clamp(min=1), persistent=False)
        self.register_buffer("some", lengths > 0, persistent=False)
        self.embedding = nn.Embedding(spec.tokens, embedding_dim, padding_idx=0)
        self.around = ((kernel_size - 1) // 2, kernel_size // 2)
        self.convolution = nn.Conv1d(embedding_dim, filters, kernel_size)
        self.out = nn.Linear(filters, filters)

    def forward(self, labels: Tensor) -> Tensor:
        """(some, filters), z of these labels, which have a description."""
        words = self.embedding(self.words[labels]).transpose(1, 2)  # (some, d_e, M)
        hidden = self.convolution(F.pad(words, self.around)).tanh()
        padding = torch.arange(hidden.shape[2], device=labels.device) >= self.lengths[labels][:, None]
        return self.out(hidden.masked_fill(padding[:, None], float("-inf")).amax(dim=2))
