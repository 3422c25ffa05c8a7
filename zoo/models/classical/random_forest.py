"""A random forest on code counts (Breiman, Machine Learning 2001), with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from zoo.data import Batch, Spec
from zoo.models import Output, Share, Size
from zoo.models.classical._counts import CountsAndFacts, beside
from zoo.models.classical._trees import arrays_of_forest, check_trees, leaf_sums
from zoo.registry import Choice, LogBetween, register_model


@register_model(
    "random_forest",
    family="classical",
    paper="Breiman, Machine Learning 45, 2001, doi:10.1023/A:1010933404324",
    uses={"diagnosis", "procedure", "drug", "lab", "vital", "static"},
    kinds={"binary", "multiclass", "regression"},
    published={"model.trees": 100, "model.min_leaf": 1},
    search={"model.min_leaf": Choice(1, 2, 5, 10), "model.max_features": LogBetween(0.01, 0.5)},
)
class RandomForest(CountsAndFacts):
    """A random forest on how often each code occurs in the visits up to the sample's own.

    The paper lets trees vote; here, as in scikit-learn, their leaves' class shares are averaged, which ranks better.

    Args:
        trees: how many; 100 in the paper.
        min_leaf: samples in a leaf at least; 1 in the paper, whose trees grow to the end.
        max_features: the share of features that a split chooses from; None: their square root, for a number a third.
        threads: fitting at once; they do not change what is fitted.
        static: take the static facts of the sample's own visit.
    """

    def __init__(
        self,
        spec: Spec,
        trees: Size = 100,
        min_leaf: Size = 1,
        max_features: Share | None = None,
        threads: Size = 1,
        static: bool = False,
    ):
        super().__init__(spec, static)
        self.trees, self.min_leaf, self.threads = trees, min_leaf, threads
        self.max_features = "sqrt" if self.task_kind.probabilities else 1 / 3
        if max_features is not None:
            self.max_features = float(max_features)

    def fit(self, batches: Iterable[Batch]) -> None:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        counts, facts, label, _ = self.training_data(batches)
        inputs = beside(counts, facts)
        of_classes = self.task_kind.probabilities
        forest = (RandomForestClassifier if of_classes else RandomForestRegressor)(
            self.trees,
            min_samples_leaf=self.min_leaf,
            max_features=self.max_features,
            n_jobs=self.threads,
            random_state=self.seed,
        ).fit(inputs, label)
        classes = forest.classes_.astype(int) if of_classes else [0]
        self.fitted = arrays_of_forest(forest.estimators_, classes, max(self.spec.outputs, 2))

    def check_fitted(self) -> None:
        check_trees(self.fitted, self.ids + self.facts, max(self.spec.outputs, 2))

    def forward(self, batch: Batch) -> Output:
        found = leaf_sums(self.fitted, beside(*self.told(batch)).toarray())
        if not self.task_kind.probabilities:
            return Output(torch.from_numpy(found[:, :1]))
        probability = found if self.task_kind.exclusive else found[:, 1:]
        return Output(torch.from_numpy(self.task_kind.logits_of(probability)))
