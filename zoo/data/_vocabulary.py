"""Lookups between source-wide codes and what a model sees, fitted on the training split only.

They are small and named: a vocabulary is a list of code strings, so it can be saved with a run and laid over another
source.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from zoo.cache.forms import check_form
from zoo.data.text import Tokenizer, check_patterns
from zoo.knowledge import atc, icd
from zoo.registry import called

PADDING, UNKNOWN = 0, 1
BY_NAME = "name"
"""The level on which drugs of several sources meet: ``DRUG//name``, whatever the code."""
BINS = 10
FORM = {
    "level": str,
    "codes": list[str],
    "units": list[str | None] | None,
    "edges": list[list[float]] | None,
    "mean": list[float] | None,
    "scale": list[float] | None,
}
"""What a vocabulary is as JSON."""
SAMPLE = 1_000_000
"""How many training events bins and scalers are fitted on at most, evenly spaced over the training split."""


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """What ids of one concept mean.

    Attributes:
        level: the level codes are raised to, such as ``"ccs"``; ``"code"`` leaves them.
        names: the code string of each id; id 0 is padding, 1 is a code that training has not seen.
        edges: (codes, bins - 1) float32 for a concept with values, ascending; else None. There, ids are
            ``2 + code * (bins + 1) + bin``, with bin 0 for an event without a value.
        mean, scale: (codes,) float32, to standardise values; None without values.
        units: (codes,) the unit of each code's values, or None where none is known; None without values, or where they
            are taken as they are.
        tokenizer: of the texts of a concept that a model reads; else None.
    """

    level: str
    codes: list[str]
    edges: np.ndarray | None = None
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None
    units: list[str | None] | None = None
    tokenizer: Tokenizer | None = None
    unmapped: int = field(default=0, compare=False)

    def __repr__(self) -> str:
        return called(type(self), level=self.level, codes=len(self.codes), size=self.size)

    @property
    def bins(self) -> int:
        """How many bins a value can fall into; 0 for a concept without values."""
        return 0 if self.edges is None else self.edges.shape[1] + 1

    @property
    def size(self) -> int:
        """How many ids there are, padding and unknown included."""
        return 2 + len(self.codes) * (self.bins + 1 if self.bins else 1)

    @property
    def names(self) -> list[str]:
        """(size,) what each id stands for."""
        if not self.bins:
            return ["<padding>", "<unknown>", *self.codes]
        steps = ["?", *(f"q{b + 1}" for b in range(self.bins))]
        return ["<padding>", "<unknown>", *(f"{c}//{s}" for c in self.codes for s in steps)]

    def table(self, source_codes: Sequence[str]) -> np.ndarray:
        """(source codes,) int32: the place of each source code in `codes` plus 2, or 1 where it is unknown."""
        place = {c: i + 2 for i, c in enumerate(self.codes)}
        found = raised(source_codes, self.level)
        return np.array([place.get(c, UNKNOWN) for c in found], np.int32)

    def wanted_units(self, place: np.ndarray) -> list[str | None]:
        """The unit that values of source codes are to have, from their places (`table`); None leaves them."""
        return [self.units[p - 2] if self.units and p != UNKNOWN else None for p in place.tolist()]

    def ids(self, place: np.ndarray, value: np.ndarray | None) -> np.ndarray:
        """Ids of events, from their places (`table`) and values."""
        if self.edges is None or value is None:
            return place
        code = place - 2
        known = code >= 0
        row = np.where(known, code, 0)
        step = 1 + (value[:, None] > self.edges[row]).sum(axis=1) if len(self.codes) else np.zeros(len(place), int)
        step = np.where(np.isnan(value), 0, step)
        return np.where(known, 2 + row * (self.bins + 1) + step, UNKNOWN).astype(np.int32)

    def standardised(self, place: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Values less the training mean of their code, over its standard deviation; NaN where unknown."""
        if not len(self.codes):
            return np.full(len(place), np.nan, np.float32)
        row = np.maximum(place - 2, 0)
        return np.where(place >= 2, (value - self.mean[row]) / self.scale[row], np.float32(np.nan))

    def same(self, other: Vocabulary) -> bool:
        """Whether numbers mean the same in both."""
        return self is other or json.dumps(self.to_dict()) == json.dumps(other.to_dict())

    def to_dict(self) -> dict:
        """JSON-serialisable; `from_dict` gives the same vocabulary back."""
        arrays = {n: None if a is None else a.tolist() for n, a in self._arrays().items()}
        tokenizer = {} if self.tokenizer is None else {"tokenizer": self.tokenizer.plain}
        return {"level": self.level, "codes": self.codes, "units": self.units, **arrays, **tokenizer}

    @classmethod
    def from_dict(cls, facts: dict) -> Vocabulary:
        """Raises a `ValueError` for what `to_dict` cannot have given."""
        check_form(facts, FORM, "vocabulary")
        _check_lengths(facts)
        with np.errstate(over="ignore"):
            arrays = {
                n: None if facts[n] is None else np.array(facts[n], np.float32) for n in ("edges", "mean", "scale")
            }
        if not all(np.isfinite(a).all() for a in arrays.values() if a is not None):
            raise ValueError("vocabulary has values beyond what float32 can hold")
        if arrays["edges"] is not None:
            arrays["edges"] = arrays["edges"].reshape(len(facts["codes"]), -1 if facts["codes"] else BINS - 1)
        tokenizer = Tokenizer(facts["tokenizer"]) if "tokenizer" in facts else None
        return cls(facts["level"], facts["codes"], **arrays, units=facts["units"], tokenizer=tokenizer)

    def _arrays(self) -> dict:
        """What stands as lists of numbers in JSON."""
        return {"edges": self.edges, "mean": self.mean, "scale": self.scale}


def _check_lengths(facts: dict) -> None:
    """Raise a `ValueError` where what a vocabulary has of each code is not of as many codes, or not to be used."""
    codes = len(facts["codes"])
    given = {n: facts[n] for n in ("edges", "mean", "scale", "units") if facts[n] is not None}
    for name, held in given.items():
        if len(held) != codes:
            raise ValueError(f"vocabulary.{name} is of {len(held)} codes, not of {codes}")
    if {"edges", "mean", "scale"} & set(given) not in (set(), {"edges", "mean", "scale"}):
        raise ValueError("vocabulary has only some of edges, mean and scale")
    if len({len(row) for row in given.get("edges", ())}) > 1:
        raise ValueError("vocabulary.edges has rows of several lengths")
    if any(not scale > 0 for scale in given.get("scale", ())):
        raise ValueError("vocabulary.scale is not above 0")
    if facts["level"] not in (*icd.LEVELS, BY_NAME, *atc.LEVELS):
        raise ValueError("vocabulary.level is not known")
    if not isinstance(facts.get("tokenizer", ""), str):
        raise ValueError("vocabulary.tokenizer is no text")
    if "tokenizer" in facts:
        check_patterns(facts["tokenizer"])


def fit_codes(source_codes: Sequence[str], counts: np.ndarray, level: str) -> Vocabulary:
    """The vocabulary of the codes with a count in the training split, raised to a level, in alphabetical order.

    Args:
        source_codes: the store's codes.
        counts: (source codes,) how often each occurs in the windows of training samples.
        level: a level that `zoo.knowledge.icd.to_level` knows; or `BY_NAME` or an ATC level, and the codes are names or
            classes of drugs then.
    """
    found = raised(source_codes, level)
    seen = [c for c, n in zip(found, counts, strict=True) if n]
    unmapped = int(sum(n for c, n in zip(found, counts, strict=True) if c is None))
    return Vocabulary(level, sorted({c for c in seen if c is not None}), unmapped=unmapped)


def raised(source_codes: Sequence[str | None], level: str) -> np.ndarray:
    """(source codes,) what each is at a level, None where the level does not know it."""
    return icd.to_level(list(source_codes), "code" if level in (BY_NAME, *atc.LEVELS) else level)


def fit_values(vocabulary: Vocabulary, place: np.ndarray, value: np.ndarray, bins: int = BINS) -> Vocabulary:
    """The vocabulary with quantile bins, mean and standard deviation of each code's values in training.

    Args:
        vocabulary: of codes, with their units.
        place: (events,) places of training events in it, plus 2.
        value: (events,) their values in these units, NaN where there is none.
    """
    n = len(vocabulary.codes)
    known = (place >= 2) & ~np.isnan(value)
    code, value = place[known] - 2, value[known].astype(np.float64)
    order = np.lexsort((value, code))
    code, value = code[order], value[order]
    count = np.bincount(code, minlength=n)
    start = np.cumsum(count) - count
    edges = np.full((n, bins - 1), np.finfo(np.float32).max, np.float32)  # none seen: all values in the first bin
    some = count > 0
    for b in range(1, bins):
        edges[some, b - 1] = value[start[some] + (count[some] * b) // bins]
    mean = np.zeros(n)
    mean[some] = np.bincount(code, value, minlength=n)[some] / count[some]
    variance = np.bincount(code, (value - mean[code]) ** 2, minlength=n)
    scale = np.ones(n)
    scale[some] = np.sqrt(variance[some] / count[some])
    scale[scale < 1e-6] = 1
    return replace(vocabulary, edges=edges, mean=mean.astype(np.float32), scale=scale.astype(np.float32))
