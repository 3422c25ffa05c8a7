"""The checks of a model that is made, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zoo.testing._model._absence import empty_history, missing_concept, single_sample
from zoo.testing._model._candidate import Candidate
from zoo.testing._model._embedding import embeds
from zoo.testing._model._learning import bf16, gradients, overfits
from zoo.testing._model._memory import save_load, seed, state
from zoo.testing._model._output import loss_finite, output_shape
from zoo.testing._model._sample import batch_independence, causal, code_order, future, label, uses_inputs


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        problems: tells what is wrong with a candidate, problem by problem.
        waivable: whether a model may leave it out for a reason.
        networks_only: whether a model that is fitted is spared it.
        causal_only: whether only a model that is registered with ``causal=True`` is checked, whose rows hold visits
            after a sample's own.
        vectors_only: whether only a model that gives vectors of patients is checked.
        every_kind: whether it is run for every kind that a model serves; else for the first one, and for multilabel,
            whose samples do not see all of their own visit.
    """

    problems: Callable[[Candidate], Iterator[str]]
    waivable: bool = True
    networks_only: bool = False
    causal_only: bool = False
    vectors_only: bool = False
    every_kind: bool = False


CHECKS = {
    "output_shape": Check(output_shape, every_kind=True),
    "loss_finite": Check(loss_finite, every_kind=True),
    "batch_independence": Check(batch_independence, waivable=False, every_kind=True),
    "code_order": Check(code_order),
    "uses_inputs": Check(uses_inputs),
    "label": Check(label, every_kind=True),
    "future": Check(future, waivable=False, causal_only=True, every_kind=True),
    "causal": Check(causal, waivable=False, causal_only=True, every_kind=True),
    "empty_history": Check(empty_history),
    "missing_concept": Check(missing_concept),
    "single_sample": Check(single_sample),
    "state": Check(state),
    "save_load": Check(save_load, waivable=False, every_kind=True),
    "seed": Check(seed),
    "overfits": Check(overfits, every_kind=True),
    "gradients": Check(gradients, networks_only=True, every_kind=True),
    "bf16": Check(bf16, networks_only=True),
    "embeds": Check(embeds, waivable=False, vectors_only=True),
}
"""In the order in which they are run."""
