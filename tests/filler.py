"""A model that learns to fill in diagnoses which were hidden from it."""

import torch
from torch import nn
from torch.nn import functional as F

from zoo.models import Model, Output

FACTS = {"uses": {"diagnosis", "lab"}, "kinds": {"binary", "multilabel"}}


class Filler(Model):
    """Bag of the diagnoses of the sample's own visit; pre-trained to fill in those that were hidden."""

    def __init__(self, spec, dim: int = 8):
        super().__init__(spec)
        self.codes = nn.EmbeddingBag(spec.size("diagnosis"), dim, mode="sum", padding_idx=0)
        self.fill = nn.Linear(dim, spec.size("diagnosis"))
        self.head = nn.Linear(dim, spec.outputs)

    def forward(self, batch):
        return Output(self.head(self._own(batch, batch["diagnosis"].ids)))

    def pretrain(self, batch):
        ids = batch["diagnosis"].ids
        hidden = torch.where(torch.rand(ids.shape) < 0.5, 0, ids)
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        wanted = batch["diagnosis"].multi_hot(self.spec.size("diagnosis"))[own]
        logits = self.fill(self._own(batch, hidden))
        return Output(logits, {"filled": F.binary_cross_entropy_with_logits(logits, wanted)})

    def _own(self, batch, ids):
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        return self.codes(ids, batch["diagnosis"].offsets[:-1])[own]
