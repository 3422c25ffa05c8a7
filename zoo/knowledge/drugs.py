"""Drug names to ATC classes.

`atc` reads names as hospitals write them (``Furosemide 40mg PO TABS``, ``LASIX``, ``KCl``, ``Zosyn``) and gives the ATC
code; where a substance has several classes, the way in which it is given decides: vancomycin is ``J01XA01`` into a vein
and ``A07AA09`` into the gut. Every name is either *mapped*, *no treatment* (what `is_diluent` marks), or *unmapped*;
`coverage` counts the three and lists the last, so that nothing is dropped in silence.

No treatment, by rule:

- carriers: water, glucose of at most 5 %, and sodium chloride of 0.6 to 1 % or without a concentration, alone, in
  whatever container, unless swallowed or put into eye or nose. A drug *in* a carrier is that drug. A saline "bolus" is
  a treatment, as are other solutions (lactated Ringer, glucose with saline, 0.45 % or 3 % saline, 50 % glucose).
- flushes and locks: saline or heparin that is named so, heparin of 10 units/ml, 4 % sodium citrate.
- containers: rows that name nothing but a bag, vial, syringe or cassette.

A table of drugs needs one call, with its distinct pairs of name and route as two columns::

    classes = drugs.atc(names, routes, level="atc3")  # (n,) codes; None for no treatment and for what is not known
    diluent = drugs.is_diluent(names, routes)  # (n,) bool; tells the two kinds of None apart

Where rows lack a name but have a number of the ingredient (eICU), `name_by_number` gives the name; a user's map from
package codes (`AtcMap`) goes before both.

The facts are in `drug_names.csv`, `drug_classes.csv` and `drug_routes.csv`, written by hand, and in tables built from
public lists; `SOURCES.md` has their sources. A substance with one ATC code has that one; `drug_classes.csv` decides for
substances with several and for combinations.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.knowledge import _drug_fluids as fluids
from zoo.knowledge import _drug_names as names_
from zoo.knowledge import _drug_routes as routes_
from zoo.knowledge import atc as codes_
from zoo.knowledge._drug_classes import class_of
from zoo.registry import UserError, nearest


def atc(
    names: Sequence[str | None], routes: Sequence[str | None] | None = None, level: str = "atc5"
) -> list[str | None]:
    """ATC codes of drug names (n,), None where a name is no treatment or is not known.

    Distinct pairs of name and route are looked up once; give it the columns of a table or their distinct values.

    Args:
        names: what the source calls the drugs; None and blank have no code.
        routes: the source's route column, in its own words; None reads the route off the name's form.
        level: one of `zoo.knowledge.atc.LEVELS`. A class known less deeply than ``level`` is given as deep as it is
            known, which is to level 3 at least.

    Raises:
        UserError: ``level`` is not known, or names and routes differ in length.

    >>> atc(["Furosemide 40mg PO TABS", "LASIX", "Vancomycin", "Vancomycin", "D5W"], ["PO", "IV", "IV", "PO", "IV"])
    ['C03CA01', 'C03CA01', 'J01XA01', 'A07AA09', None]
    >>> atc(["Timolol 0.5% OP SOLN", "Percocet", "KCl 20 mEq in D5W 1000 mL"], level="atc3")
    ['S01E', 'N02A', 'B05B']
    """
    if level not in codes_.LEVELS:
        raise UserError(f"unknown ATC level {level!r}: {nearest(level, codes_.LEVELS)}")
    length = codes_.LEVELS[level]
    return [code and code[:length] for code in _each(names, routes, _code)]


def is_diluent(names: Sequence[str | None], routes: Sequence[str | None] | None = None) -> np.ndarray:
    """Which names (n,) are no treatment: carriers, flushes and locks, containers; bool (n,).

    >>> is_diluent(["NS", "0.9% NaCl 1,000 mL bolus", "Heparin Flush (10 units/ml)", "Syringe", "D5 1/2NS"]).tolist()
    [True, False, True, True, False]
    """
    return np.array([bool(kind) for kind in _each(names, routes, _untreated)], dtype=bool)


def normalised(name: str | None) -> str:
    """The substances of a name by their international names, joined by plus signs.

    Strength, form, salt, package, carrier and route are gone, brands and abbreviations are resolved. Of a name in which
    no substance is known, the words stay that are no strength, salt or form. Blank and None give an empty string.

    >>> normalised("HYDROcodone-Acetaminophen (5mg-325mg)"), normalised("5 ML VIAL : DILTIAZEM HCL 25 MG/5ML IV SOLN")
    ('hydrocodone + paracetamol', 'diltiazem')
    >>> normalised("Heparin Flush (10 units/ml)"), normalised("Study drug XZ-4512 tablet")
    ('heparin flush', 'drug xz')
    """
    if _text(name) is None:
        return ""
    named = fluids.substances_named(name)
    if not named:
        return " ".join(word for word in names_.words(name) if not names_.says_nothing(word)) or name.strip().lower()
    if fluids.is_flush(name):
        return f"{names_.JOINED.join(sorted(named))} flush"
    substances = fluids.treatment(name) or frozenset(named)
    percent = fluids.percent(name) if len(substances) == 1 and substances <= names_.CARRIERS else None
    return names_.JOINED.join(sorted(substances)) + ("" if percent is None else f" {percent:g}%")


def name_by_number(
    numbers: np.ndarray, names: Sequence[str | None], counts: np.ndarray | None = None
) -> dict[int, str]:
    """Number of an ingredient to the normalised name that most rows with that number have.

    For sources where rows without a name have a number of the ingredient (``drughiclseqno`` in eICU): learn it from the
    rows that have both, and name the others by it. Of names equally frequent the alphabetically first is taken.

    Args:
        numbers: (n,) integers, the ingredient of each row, or of each distinct pair of number and name.
        names: (n,) the rows' names; None and blank teach nothing.
        counts: (n,) how many rows each pair stands for; 1 by default.

    >>> name_by_number([1, 1, 1, 2, 3], ["LASIX", "Furosemide 20 mg", "KCl", None, "Zofran ODT"])
    {1: 'furosemide', 3: 'ondansetron'}
    """
    counts = np.ones(len(numbers), dtype=np.int64) if counts is None else np.asarray(counts)
    plain = np.array(_each(names, None, lambda name, _: normalised(name)), dtype=object)
    told = np.array([bool(name) for name in plain], dtype=bool)
    if not told.any():
        return {}
    numbers, counts = np.asarray(numbers)[told], counts[told]
    labels, label = np.unique(plain[told].astype(str), return_inverse=True)
    pairs, pair = np.unique(np.stack([numbers, label]), axis=1, return_inverse=True)
    rows = np.bincount(pair.ravel(), weights=counts)
    order = np.lexsort((pairs[1], -rows, pairs[0]))
    number, first = np.unique(pairs[0][order], return_index=True)
    best = pairs[1][order][first]
    return {int(key): str(labels[value]) for key, value in zip(number, best, strict=True)}


@dataclass(frozen=True)
class Coverage:
    """How much of a drug table has an ATC class; all counts but `distinct` are rows.

    ``rows = unnamed + diluents + mapped + unmapped``: rows without a name (nor a code known otherwise), rows that are
    no treatment (`is_diluent`), rows with a class at level 3, and drugs without one. Every name that no rule marks as a
    diluent counts as a drug.
    """

    rows: int
    distinct: int
    unnamed: int
    diluents: int
    mapped: int
    unmapped: int
    unmapped_names: tuple[tuple[str, int], ...]
    """Names without a class and their rows, the most frequent first."""
    completed: int = 0
    """Rows among all these that have the name of other rows with their ingredient number."""

    @property
    def share(self) -> float | None:
        """Share of the drug rows (named, no diluent) that have a class, None where there is no drug row."""
        drugs = self.mapped + self.unmapped
        return self.mapped / drugs if drugs else None

    def __str__(self) -> str:
        share = "no drug rows" if self.share is None else f"{self.share:.1%} of the rows that name a drug"
        lines = [
            f"rows                  {self.rows:>12,}",
            f"distinct names        {self.distinct:>12,}",
            f"rows without a name   {self.unnamed:>12,}",
            f"diluents and flushes  {self.diluents:>12,}",
            f"with an ATC class     {self.mapped:>12,}  {share}",
            f"without an ATC class  {self.unmapped:>12,}",
        ]
        if self.completed:
            lines.insert(3, f"named by ingredient   {self.completed:>12,}")
        return "\n".join([*lines, *(f"  {count:>10,}  {name}" for name, count in self.unmapped_names)])


def coverage(
    names: Sequence[str | None],
    counts: Sequence[int] | None = None,
    routes: Sequence[str | None] | None = None,
    top: int = 30,
    codes: Sequence[str | None] | None = None,
) -> Coverage:
    """Count what of a drug table is mapped; see `Coverage`.

    Args:
        names: (n,) names of rows, or distinct names.
        counts: (n,) rows that each stands for; 1 by default.
        routes: (n,) routes, as in `atc`.
        top: how many unmapped names to list.
        codes: (n,) ATC codes that are known otherwise, as from `AtcMap.atc`; None asks the name.

    >>> print(coverage(["Lasix", "NS", "Study Drug", None], [7, 5, 2, 1], ["IV", "IV", "PO", "PO"]))
    rows                            15
    distinct names                   3
    rows without a name              1
    diluents and flushes             5
    with an ATC class                7  77.8% of the rows that name a drug
    without an ATC class             2
               2  Study Drug
    """
    counts = np.ones(len(names), dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
    named = np.array([_text(name) is not None for name in names], dtype=bool)
    diluent = is_diluent(names, routes)
    told = [None] * len(names) if codes is None else codes
    given = np.array([code is not None for code in told], dtype=bool) & ~diluent
    mapped = given | np.array([code is not None for code in atc(names, routes)], dtype=bool)
    unmapped: dict[str, int] = {}
    for n in np.flatnonzero(named & ~mapped & ~diluent):
        unmapped[names[n]] = unmapped.get(names[n], 0) + int(counts[n])
    listed = sorted(unmapped.items(), key=lambda item: (-item[1], item[0]))[:top]
    return Coverage(
        rows=int(counts.sum()),
        distinct=len({name for name, has in zip(names, named, strict=True) if has}),
        unnamed=int(counts[~named & ~mapped].sum()),
        diluents=int(counts[diluent].sum()),
        mapped=int(counts[mapped].sum()),
        unmapped=sum(unmapped.values()),
        unmapped_names=tuple(listed),
    )


class AtcMap:
    """A user's own map from package codes (NDC) to ATC codes.

    A file has a header and the columns ``ndc`` and ``atc``; other columns are ignored. ``ndc`` is the eleven-digit
    code, with or without dashes (a dashed code of ten digits is filled up part by part to 5-4-2); ``atc`` is a code of
    level 3 to 5. Of several for one NDC, on rows of their own or parted by ``;``, the first is taken. Such a file can
    be made from RxNorm: NDC to RXCUI (``RXNSAT``, attribute ``NDC``), RXCUI to ATC (``RXNCONSO``, source ``ATC``).
    """

    COLUMNS = ("ndc", "atc")

    def __init__(self, codes: Mapping[str, str]):
        self._codes = dict(codes)

    def __repr__(self) -> str:
        return f"AtcMap({len(self._codes)} codes)"

    @classmethod
    def from_csv(cls, path: str | Path) -> "AtcMap":
        """Read a map from a CSV file.

        Raises:
            UserError: the file is missing, lacks a column, or has a value that is no NDC or no ATC code.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"there is no drug map at {path}: give a CSV file with the columns ndc and atc")
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            column = {name.strip().lower(): name for name in rows.fieldnames or ()}
            missing = [name for name in cls.COLUMNS if name not in column]
            if missing:
                raise UserError(
                    f"{path}: no column {' and no column '.join(map(repr, missing))} among "
                    f"{', '.join(map(repr, column)) or 'no columns'}; a drug map has the columns ndc and atc"
                )
            codes: dict[str, str] = {}
            for number, row in enumerate(rows, start=2):
                ndc, code = _ndc(row[column["ndc"]]), codes_.bare((row[column["atc"]] or "").split(";")[0])
                if not ndc or len(code) < codes_.LEVELS["atc3"]:
                    raise UserError(
                        f"{path}, row {number}: {row[column['ndc']]!r} and {row[column['atc']]!r} are not an NDC of "
                        "eleven digits and an ATC code of level 3 to 5, such as 00054829725 and C03CA01"
                    )
                codes.setdefault(ndc, code)
        return cls(codes)

    def __len__(self) -> int:
        return len(self._codes)

    def atc(self, codes: Sequence[str | None]) -> list[str | None]:
        """ATC codes of package codes (n,), written ``NDC//...`` or bare; None where the map has none.

        >>> AtcMap({"00054829725": "C03CA01"}).atc(["NDC//00054829725", "0054-8297-25", "NDC//1", None])
        ['C03CA01', 'C03CA01', None, None]
        """
        return [self._codes.get(_ndc(code)) for code in codes]


def _ndc(code: str | None) -> str:
    """Eleven digits of a package code, an empty string where it is none."""
    text = code.strip().removeprefix("NDC//") if isinstance(code, str) else ""
    parts = text.split("-")
    if len(parts) == 3:
        text = "".join(part.zfill(width) for part, width in zip(parts, (5, 4, 2), strict=True))
    return text if len(text) == 11 and text.isascii() and text.isdigit() else ""


def _each(names: Sequence[str | None], routes: Sequence[str | None] | None, look_up: Callable) -> list:
    """``look_up(name, route)`` of each pair, called once for each distinct pair."""
    if routes is None:
        routes = [None] * len(names)
    if len(names) != len(routes):
        raise UserError(f"{len(names)} drug names have {len(routes)} routes: give one route for each name, or none")
    pairs = [(_text(name), _text(route)) for name, route in zip(names, routes, strict=True)]
    found = {pair: look_up(*pair) for pair in dict.fromkeys(pairs)}
    return [found[pair] for pair in pairs]


def _text(value: object) -> str | None:
    """A text that says something, None for whatever else a column may hold."""
    return value if isinstance(value, str) and value.strip() else None


def _code(name: str | None, route: str | None) -> str | None:
    if name is None or _untreated(name, route):
        return None
    substances = fluids.treatment(name)
    return class_of(substances, _route(name, route)) if substances else None


def _untreated(name: str | None, route: str | None) -> str:
    return fluids.untreated(name, _route(name, route)) if name is not None else ""


def _route(name: str, route: str | None) -> str | None:
    return routes_.decided(routes_.of_column(route), routes_.of_name(name))
