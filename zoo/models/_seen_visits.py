"""What a head sees of a task, for models that make a vector of each visit by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo.data import Batch, Spec
from zoo.layers import mean_before


class SeenVisits:
    """Which vectors of visits a head sees, as Shang et al. (G-BERT) and Liu et al. (MedM-PLM) have it.

    Where the codes of a visit are to be told before it is over (medication), it is the means over the visits before it,
    and the visit's own vectors of the concepts that are given. Else, at or after the end of a visit (readmission, ICD
    coding), the visit's own vectors, of all concepts that are not to be told.

    Args:
        spec: of the model.
        kinds: the concepts of codes that it has.

    Attributes:
        to_come: whether the visit is not over where its codes are to be told.
        read: those of them whose vectors are seen.
        given: those of them whose vectors of the own visit are seen besides.
    """

    def __init__(self, spec: Spec, kinds: Sequence[str]):
        self.to_come = bool(spec.label_concepts) and "note" not in spec.given
        self.read = [c for c in kinds if self.to_come or c not in spec.label_concepts]
        self.given = [c for c in kinds if self.to_come and c in spec.given]

    def __call__(self, batch: Batch, of_visits: Sequence[Tensor], own: Mapping[str, Tensor]) -> Tensor:
        """(samples, width) what the head sees.

        Args:
            batch: which has the visits.
            of_visits: vectors of visits, each (visits, width).
            own: by concept vectors of visits; those of given concepts are seen.
        """
        seen = batch.rows(torch.cat(list(of_visits), dim=-1))
        seen = mean_before(seen) if self.to_come else seen
        return batch.at_samples(torch.cat([seen, *(batch.rows(own[c]) for c in self.given)], dim=-1))
