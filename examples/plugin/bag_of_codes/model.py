"""The mean embedding of all codes of the history (Joulin et al., EACL 2017, arXiv:1607.01759, on codes for words)."""

from __future__ import annotations

from torch import nn

from zoo import register_model
from zoo.data import Batch, Spec
from zoo.models import Model, Output


@register_model(
    "bag_of_codes",
    paper="Joulin et al., EACL 2017, arXiv:1607.01759",
    uses={"diagnosis", "procedure", "drug"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
)
class BagOfCodes(Model):
    """A linear layer on the mean embedding of all codes that a sample sees.

    Args:
        dim: width of the embeddings.
    """

    def __init__(self, spec: Spec, dim: int = 32):
        super().__init__(spec)
        self.codes = nn.ModuleDict({c: nn.Embedding(spec.size(c), dim, padding_idx=0) for c in spec.concepts})
        self.head = nn.Linear(dim, spec.outputs)

    def forward(self, batch: Batch) -> Output:
        visits = len(batch.visit_start)
        total = self.head.weight.new_zeros(visits, self.head.in_features)
        count = self.head.weight.new_zeros(visits, 1)
        for concept, vectors in self.codes.items():
            events = batch[concept]
            total = total.index_add(0, events.visit, vectors(events.ids))
            count = count + events.lengths[:, None]
        # of each visit, all codes up to it; a sample sees those up to its own
        total, count = (batch.at_samples(batch.rows(x).cumsum(1)) for x in (total, count))
        return Output(self.head(total / count.clamp(min=1)))
