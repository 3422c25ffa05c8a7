"""What a model has of the concepts it gets, and what it lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._vocabulary import raised
from zoo.knowledge import atc
from zoo.registry import UserError

if TYPE_CHECKING:
    from zoo.data._feature import Feature
    from zoo.data._task_data import TaskData

FEW_SAMPLES, FEW_CODES = 0.1, 0.5
"""Shares of samples and of codes below which a note says so."""


def inputs_of(data: TaskData, features: Mapping[str, Feature]) -> dict[str, dict]:
    """For each concept what there is of it.

    Returns:
        By concept ``level``, that of its codes; ``samples``, the share of all samples that see any event of it;
        ``training_samples``, the same of the training split; ``codes_known``, the share of the source's events whose
        code has a place at the level; and ``vocabulary``, how many codes a model tells apart. A share of nothing is
        null.
    """
    found = {}
    for concept, feature in features.items():
        some = data.features.events_seen(feature) > 0
        found[concept] = {
            "level": feature.vocabulary.level,
            "samples": _share(some),
            "training_samples": _share(some[data.places("train")]),
            "codes_known": codes_known(data, concept, feature),
            "vocabulary": len(feature.vocabulary.codes),
        }
    return found


def codes_known(data: TaskData, concept: str, feature: Feature) -> float | None:
    """The share of the source's events of a concept whose code has a place at the level; null where it has no event."""
    level, store = feature.vocabulary.level, feature.store
    if level == "code":
        return 1.0 if len(store.code) else None
    if concept == "drug" and level in atc.LEVELS:
        orders, classes = data.features.drug_classes(level)
        counts = np.bincount(orders.code, minlength=len(orders.codes))
        known = counts[[name is not None for name in classes.names]].sum()
        return _ratio(known, known + counts[classes.unmapped].sum())
    counts = np.bincount(store.code, minlength=len(store.codes))
    some = [code is not None for code in raised(data.features.source_codes(store, level), level)]
    return _ratio(counts[some].sum(), counts.sum())


def _share(mask: np.ndarray) -> float | None:
    return _ratio(mask.sum(), mask.size)


def _ratio(part: int, whole: int) -> float | None:
    return round(float(part / whole), 6) if whole else None


def check_inputs(data: TaskData, model: str, needs: Collection[str], inputs: Mapping[str, Mapping]) -> None:
    """Look whether a model has anything to learn from.

    Args:
        data: what it is to be trained on.
        model: its name.
        needs: the concepts that it cannot run without.
        inputs: what there is, of `inputs_of`.

    Raises:
        UserError: no sample has anything of a concept that the model needs, or of any that it gets, or a level that was
            asked for knows none of a concept's codes.
    """
    for concept, facts in inputs.items():
        if facts["codes_known"] == 0 and (concept in data.features.levels or concept in needs):
            raise UserError(
                f"level {facts['level']!r} knows none of the codes that {data.dataset.name} has for {concept!r}: leave "
                f"it out of levels, or choose another one."
            )
    none = [c for c, facts in inputs.items() if not facts["samples"]]
    lacking = sorted(set(needs) & set(none)) or (none if len(none) == len(inputs) else [])
    if not lacking:
        return
    of_source = {c: data.feature(c).store.code.size for c in lacking}
    why = [
        f"{c}: the source has no event of it within a visit" if not n else f"{c}: of its {n} events none may be seen"
        for c, n in of_source.items()
    ]
    raise UserError(
        f"model {model!r} would have nothing to learn from: no sample of task {data.task.name!r} on "
        f"{data.dataset.name} has anything of {' or '.join(lacking)} ({'; '.join([*why, *data.dataset.misplaced()])}). "
        f"Choose another model, task or concepts, or add the tables."
    )


def notes_on(inputs: Mapping[str, Mapping]) -> list[str]:
    """What a reader of scores must know of what the model had to learn from."""
    found = []
    for concept, facts in inputs.items():
        if not facts["samples"]:
            found.append(f"{concept}: no sample has anything of it")
        elif facts["training_samples"] == 0:
            found.append(f"{concept}: no training sample has anything of it")
        elif facts["samples"] < FEW_SAMPLES:
            found.append(f"{concept}: {facts['samples']:.1%} of the samples have anything of it")
        if facts["codes_known"] is not None and facts["codes_known"] < FEW_CODES:
            found.append(f"{concept}: level {facts['level']!r} knows {facts['codes_known']:.1%} of the source's codes")
    return found
