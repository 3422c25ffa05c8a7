"""What a task sees of a dataset, with a note of what it reads, or without what is later than some moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from zoo.tasks._events import Events
from zoo.tasks._task import Relations


@dataclass(frozen=True)
class Read:
    """The concepts of which a task has read code sets, and event values."""

    sets: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)


def noted(relations: Relations) -> tuple[Relations, Read]:
    """The same relations, and what is read through them from now on."""
    read = Read()

    def noting(concepts: set[str], concept_of: Callable, reads: Callable) -> Callable:
        def also(*arguments):
            concepts.add(concept_of(arguments[0]))
            return reads(*arguments)

        return also

    found = replace(
        relations,
        code_sets=noting(read.sets, str, relations.code_sets),
        drug_sets=noting(read.sets, lambda level: "drug", relations.drug_sets),
        read_events=noting(read.values, str, relations.read_events),
        read_measured=noting(read.values, lambda wanted: wanted.concept, relations.read_measured),
    )
    return found, read


def known_until(relations: Relations, last: pd.Series) -> Relations:
    """The same relations without the event values that subjects have after their last moment.

    Args:
        relations: those of all subjects.
        last: when that is, by ``subject_id``; others keep all.
    """

    def known(events: Events) -> Events:
        until = last.reindex(events.subject).to_numpy("datetime64[us]")
        return events.only(np.isnat(until) | (events.time <= until))

    return replace(
        relations,
        read_events=lambda concept, codes: known(relations.read_events(concept, codes)),
        read_measured=lambda wanted: known(relations.read_measured(wanted)),
    )
