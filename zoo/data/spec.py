"""What a model is built from: sizes and names, never a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zoo.cache.forms import check_form
from zoo.data._resources import check_resources, from_plain, to_plain
from zoo.data._vocabulary import Vocabulary
from zoo.data.static import StaticColumns
from zoo.registry import called, kind_of, kinds

FORM = {
    "kind": str,
    "labels": list[str],
    "vocabularies": dict[str, object],
    "given": list[str],
    "label_concepts": list[str],
    "predicts": str | None,
    "resources": dict[str, object],
    "fitted": dict[str, list[float]],
    "static": dict[str, object],
}
"""What a specification is as JSON."""


@dataclass(frozen=True, repr=False)
class Spec:
    """What a model may know of its data.

    Attributes:
        kind: of the task, such as ``binary``; ``zoo.registry.kind_of`` gives what it means.
        labels: the name of each output: label codes, classes, or the one label of a binary or regression task.
        vocabularies: for each concept that the model gets, what its ids mean; ``spec.size(concept)`` ids each.
        given: concepts of the target visit that are seen whole.
        label_concepts: concepts of the target visit that are withheld.
        predicts: the concept whose codes the labels are: its id ``2 + n`` is label ``n``; None where they are others.
        resources: those that the model asked for; see `zoo.data._resources`.
        fitted: what the kind found in training labels, such as the ``times`` of survival.
        static: the name of each column of ``batch.static``; empty where the model gets none.
    """

    kind: str
    labels: tuple[str, ...]
    vocabularies: Mapping[str, Vocabulary]
    given: frozenset[str] = frozenset()
    label_concepts: frozenset[str] = frozenset()
    predicts: str | None = None
    resources: Mapping[str, object] = field(default_factory=dict)
    fitted: Mapping[str, Sequence[float]] = field(default_factory=dict)
    static: StaticColumns = field(default_factory=StaticColumns)

    def __repr__(self) -> str:
        sizes = {c: v.size for c, v in self.vocabularies.items()}
        told = {"sizes": sizes, "static": len(self.static), "resources": sorted(self.resources)}
        return called(type(self), kind=self.kind, outputs=self.outputs, **told)

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts that the model gets, in a fixed order."""
        return tuple(self.vocabularies)

    @property
    def outputs(self) -> int:
        """How many logits a sample has."""
        return kind_of(self.kind).outputs(self.labels)

    def size(self, concept: str) -> int:
        """How many ids a concept has, padding (0) and unknown (1) included."""
        return self.vocabularies[concept].size

    @property
    def times(self) -> tuple[float, ...]:
        """At which times survival is predicted, ascending, in the unit of the task; none for other kinds of task."""
        return tuple(self.fitted.get("times", ()))

    @property
    def tokens(self) -> int:
        """How many tokens the texts of ``note`` are cut into, padding (0) included."""
        return self.vocabularies["note"].tokenizer.size

    def to_dict(self) -> dict:
        """JSON-serialisable; `from_dict` gives the same specification back."""
        return {
            "kind": self.kind,
            "labels": list(self.labels),
            "vocabularies": {c: v.to_dict() for c, v in self.vocabularies.items()},
            "given": sorted(self.given),
            "label_concepts": sorted(self.label_concepts),
            "predicts": self.predicts,
            "resources": {n: to_plain(r) for n, r in self.resources.items()},
            "fitted": {n: list(v) for n, v in self.fitted.items()},
            "static": self.static.to_dict(),
        }

    @classmethod
    def from_dict(cls, facts: dict) -> Spec:
        """Raises a `ValueError` for what `to_dict` cannot have given."""
        facts = {"fitted": {}, "static": StaticColumns().to_dict(), **facts}  # what runs of before did not have
        check_form(facts, FORM, "spec")
        found = cls(
            facts["kind"],
            tuple(facts["labels"]),
            {c: Vocabulary.from_dict(v) for c, v in facts["vocabularies"].items()},
            frozenset(facts["given"]),
            frozenset(facts["label_concepts"]),
            facts["predicts"],
            {n: from_plain(r) for n, r in facts["resources"].items()},
            facts["fitted"],
            StaticColumns.from_dict(facts["static"]),
        )
        if not kinds.knows(found.kind):
            raise ValueError(
                f"spec is of kind {found.kind!r}, which nothing has here: import the module that registers it"
            )
        if not found.labels:
            raise ValueError("spec has no labels")
        predicted = found.vocabularies.get(found.predicts)
        if predicted is not None and found.labels != tuple(predicted.codes):
            raise ValueError("spec.labels are not the codes that are predicted")
        check_resources(found.resources, found.labels, {c: v.codes for c, v in found.vocabularies.items()})
        return found
