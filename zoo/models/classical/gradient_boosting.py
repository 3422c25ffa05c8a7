"""Gradient boosted trees on code counts, with LightGBM (Ke et al., NeurIPS 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch

from zoo.data import Batch, Spec
from zoo.models import Output, Share, Size
from zoo.models.classical._counts import CountsAndFacts, beside
from zoo.models.classical._trees import arrays_of_booster, check_trees, leaf_sums
from zoo.registry import Choice, LogBetween, Range, register_model


@register_model(
    "gradient_boosting",
    family="classical",
    paper="Friedman, Annals of Statistics 29, 2001; Ke et al., NeurIPS 2017 (LightGBM)",
    uses={"diagnosis", "procedure", "drug", "lab", "vital", "static"},
    kinds={"binary", "multiclass", "regression"},
    published={
        "model.rounds": 100,
        "model.rate": 0.1,
        "model.leaves": 31,
        "model.min_leaf": 20,
        "model.feature_share": 1.0,
    },
    search={
        "model.rounds": Choice(50, 100, 200),
        "model.rate": LogBetween(0.02, 0.3),
        "model.leaves": Choice(7, 15, 31, 63),
        "model.min_leaf": Choice(5, 10, 20, 50),
    },
)
class GradientBoosting(CountsAndFacts):
    """Gradient boosted trees on how often each code occurs in the visits up to the sample's own.

    Args:
        rounds: trees for each output; this and the next three are as in LightGBM.
        rate: by which each tree is shrunk.
        leaves: of a tree at most.
        min_leaf: samples in a leaf at least, but no more than a twentieth of the training samples, so that few of
            them are fitted too.
        feature_share: the share of features that a tree chooses from, drawn by the seed; LightGBM's is 1, where no seed
            matters.
        threads: fitting at once; they do not change what is fitted.
        static: take the static facts of the sample's own visit.
    """

    def __init__(
        self,
        spec: Spec,
        rounds: Size = 100,
        rate: Share = 0.1,
        leaves: Annotated[int, Range(at_least=2)] = 31,
        min_leaf: Size = 20,
        feature_share: Share = 0.8,
        threads: Size = 1,
        static: bool = False,
    ):
        super().__init__(spec, static)
        self.rounds, self.rate, self.leaves, self.min_leaf = rounds, rate, leaves, min_leaf
        self.feature_share, self.threads = feature_share, threads

    def fit(self, batches: Iterable[Batch]) -> None:
        import lightgbm

        counts, facts, label, _ = self.training_data(batches)
        inputs = beside(counts, facts)
        settings = self._settings(inputs.shape[0])
        data = lightgbm.Dataset(inputs, label.astype("float32"), params=settings)
        booster = lightgbm.train(settings, data, self.rounds)
        self.fitted = arrays_of_booster(booster, self.spec.outputs)

    def check_fitted(self) -> None:
        check_trees(self.fitted, self.ids + self.facts, self.spec.outputs)

    def forward(self, batch: Batch) -> Output:
        return Output(torch.from_numpy(leaf_sums(self.fitted, beside(*self.told(batch)).toarray())))

    def _settings(self, samples: int) -> dict:
        min_leaf = max(1, min(self.min_leaf, samples // 20))
        of_classes = {"objective": "multiclass", "num_class": self.spec.outputs}
        of_one = {"objective": "binary" if self.task_kind.probabilities else "regression"}
        return {
            **(of_classes if self.task_kind.exclusive else of_one),
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": min_leaf,
            "min_data_in_bin": min(3, min_leaf),
            "feature_fraction": self.feature_share,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,  # LightGBM's own choice between the two depends on how fast each ran
            "num_threads": self.threads,
            "verbosity": -1,
        }
