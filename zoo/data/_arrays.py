"""Prepared data as arrays for scikit-learn: a row a sample, a column a code or a summary of a variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._counts import code_counts, seen_visits
from zoo.data._vocabulary import Vocabulary
from zoo.data._window import spans
from zoo.data.batch import Batch, Ragged
from zoo.registry import STATIC, UserError, called, names_of, nearest, shown

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from zoo.data._task_data import TaskData

SUMMARIES = ("last", "mean", "min", "max", "count")
"""What may be told of the values of a variable; of a concept without values only the count."""
CODES = 2
"""The first id that is a code: those before are padding and unknown, of which training has none."""
ROWS = 4096
"""How many samples are read at a time."""


@dataclass(frozen=True, repr=False)
class Arrays:
    """The samples of a split, in the order of ``samples`` of the data.

    Attributes:
        X: (samples, columns) float32, sparse.
        y: (samples,), or (samples, labels), the labels as the kind of the task has them.
        subject: (samples,) whose they are, for folds that keep subjects whole.
        columns: (columns,) what each is, such as ``diagnosis ICD9CM//428.0`` or ``lab LAB//50912 last``.
    """

    X: csr_array
    y: np.ndarray
    subject: np.ndarray
    columns: np.ndarray

    def __repr__(self) -> str:
        return called(type(self), X=self.X.shape, y=self.y.shape, subjects=len(np.unique(self.subject)))


def arrays(data: TaskData, split: str, concepts: object, standardised: bool) -> Arrays:
    """What `TaskData.to_arrays` gives."""
    from scipy import sparse

    asked = _asked(data, concepts)
    spec = data.spec(set(asked))
    valued = {c: v for c, v in spec.vocabularies.items() if v.bins}
    plain = replace(spec, vocabularies={c: v for c, v in spec.vocabularies.items() if c not in valued})
    is_code = np.concatenate([np.arange(plain.size(c)) >= CODES for c in plain.concepts] or [np.zeros(0, bool)])
    kept = np.flatnonzero(is_code)
    static = [f"{STATIC} {name}" for name in spec.static]
    columns = [f"{c} {name}" for c in plain.concepts for name in plain.vocabularies[c].names[CODES:]]
    columns += [f"{c} {code} {what}" for c, v in valued.items() for code in v.codes for what in asked[c]]
    columns += static
    blocks = [sparse.csr_array((0, len(columns)), dtype=np.float32)]
    for batch in data.batches(split, set(asked), ROWS):
        told = [summaries(batch, batch[c], v, asked[c], standardised) for c, v in valued.items()]
        told += [sparse.csr_array(batch.own_static.numpy())] if static else []
        blocks.append(sparse.hstack([code_counts(batch, plain)[:, kept], *told], format="csr", dtype=np.float32))
    table, names = sparse.vstack(blocks, format="csr"), np.array(columns, object)
    return Arrays(table, data.label(split), data.subject(split), names)


def _asked(data: TaskData, concepts: object) -> dict[str, tuple[str, ...]]:
    """The concepts, and what of each is to be told."""
    given = concepts if isinstance(concepts, Mapping) else {}
    names = data.concepts if concepts is None else names_of("concepts", list(given) if given else concepts)
    if not names:
        raise UserError(f"concepts={shown(concepts)} must name some concepts: {', '.join(data.concepts)}.")
    valued = {c for c in data.concepts_for(set(names) - {STATIC}) if data.feature(c).vocabulary.bins}
    found = {}
    for name in names:
        possible = SUMMARIES if name in valued else ("own",) if name == STATIC else ("count",)
        found[name] = tuple(names_of(f"concepts of {name}", given.get(name, possible)))
        if not found[name]:
            raise UserError(f"concepts of {name}: name what is to be told of it: {', '.join(possible)}.")
        for what in found[name]:
            if what not in possible:
                raise UserError(f"concepts={{{name!r}: {what!r}}} cannot be told of {name}: {nearest(what, possible)}.")
    return found


def summaries(
    batch: Batch, events: Ragged, vocabulary: Vocabulary, which: Iterable[str], standardised: bool = True
) -> csr_array:
    """(samples, variables × which) float32, sparse: what each sample sees of the values of each variable.

    A variable that a sample sees no value of has no entry. The last value is the latest in time, of several at once the
    last that the source has.

    Args:
        batch: whose samples they are.
        events: of a concept with values.
        vocabulary: of the concept.
        which: some of `SUMMARIES`.
        standardised: leave values as they are in a batch; else they are in the units of the vocabulary.
    """
    from scipy import sparse

    which, variables = tuple(which), len(vocabulary.codes)
    first, length = seen_visits(batch)
    offsets = events.offsets.numpy()
    begin, end = offsets[first], offsets[first + length]
    event, sample = spans(begin, end - begin), np.repeat(np.arange(batch.samples), end - begin)
    value, variable = events.value.numpy()[event].astype(np.float64), events.variable.numpy()[event] - CODES
    known = np.isfinite(value) & (variable >= 0)
    event, sample, value, variable = event[known], sample[known], value[known], variable[known]
    if not standardised:
        value = value * vocabulary.scale[variable] + vocabulary.mean[variable]
    time = batch.visit_start.numpy()[events.visit.numpy()[event]] + events.time.numpy()[event]
    cell = sample * max(variables, 1) + variable
    order = np.lexsort((time, cell))
    cell, value = cell[order], value[order]
    start = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]][: len(cell)])
    stop = np.r_[start[1:], len(cell)][: len(start)]
    count = stop - start
    of_which = {
        "last": lambda: value[stop - 1],
        "mean": lambda: np.add.reduceat(value, start) / count,
        "min": lambda: np.minimum.reduceat(value, start),
        "max": lambda: np.maximum.reduceat(value, start),
        "count": lambda: count,
    }
    told = [of_which[what]() if len(start) else value for what in which]
    row, column = np.divmod(cell[start], max(variables, 1))
    rows = np.tile(row, len(which))
    places = np.concatenate([column * len(which) + i for i in range(len(which))])
    shape = (batch.samples, variables * len(which))
    return sparse.coo_array((np.concatenate(told).astype(np.float32), (rows, places)), shape).tocsr()
