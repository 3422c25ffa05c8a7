"""The clinical facts that the synthetic patients are made of, read from `zoo/knowledge/synthetic_*.csv`.

Codes and their titles are those of ICD-9-CM (CMS, version 32) and ICD-10-CM/PCS (CMS), both in the public domain;
item ids and labels are those of MIMIC-III 1.4 and MIMIC-IV 2.2, names of laboratory tests those of eICU-CRD 2.0.
Drugs are real generic names, and the interactions are a selection of well known ones by drug or by class; their
effects are given in a word. Prevalences, probabilities, effects and doses are round numbers for the synthetic
patients, and no estimate of anything.
"""

import csv
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

KNOWLEDGE = Path(__file__).parent.parent / "knowledge"


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of `synthetic_<name>.csv`, one dictionary a row, all values text."""
    with open(KNOWLEDGE / f"synthetic_{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str, dtype=float) -> np.ndarray:
    """One column as an array; an empty field is NaN (or the empty text)."""
    if dtype is str:
        return np.array([row[name] for row in rows], dtype=object)
    return np.array([row[name] or "nan" for row in rows], dtype=float).astype(dtype)


@dataclass(frozen=True)
class Conditions:
    """Latent conditions, in the order of the file; `states` adds the two rows that are no disease.

    The columns of a stage matrix are the conditions (stage 0 for absent, to 3), then `any` (always stage 1: what is
    given or coded whatever the disease) and `function` (functional status of the visit, stages 1 to 4, whose
    order carries readmission).
    """

    rows: list[dict[str, str]]
    names: list[str]
    words: np.ndarray
    chronic: np.ndarray  # bool (C,)
    base: np.ndarray  # log-odds of having it, at severity 0
    severity: np.ndarray  # log-odds by unit of severity

    @property
    def states(self) -> list[str]:
        return [*self.names, "any", "function"]

    def index(self, names) -> np.ndarray:
        """Columns of the stage matrix for names of states."""
        order = {name: position for position, name in enumerate(self.states)}
        return np.array([order[name] for name in names], dtype=np.int64)


@dataclass(frozen=True)
class Codes:
    """Billing codes of one kind: the state and the stages that call for them, and how often."""

    state: np.ndarray
    low: np.ndarray
    high: np.ndarray
    probability: np.ndarray
    icd9: list[str]
    icd10: list[str]
    short_title: list[str]
    icd9_title: list[str]
    icd10_title: list[str]


@dataclass(frozen=True)
class Drugs:
    """Drugs and the classes of alternatives they belong to, and what calls for a class."""

    name: list[str]
    dose: np.ndarray
    unit: list[str]
    form: list[str]
    route: list[str]
    classes: list[str]
    first: np.ndarray  # (K,) position of the first drug of a class
    size: np.ndarray  # (K,) number of alternatives
    rule_state: np.ndarray
    rule_stage: np.ndarray
    rule_class: np.ndarray
    rule_probability: np.ndarray
    interacts: np.ndarray  # bool (D, D), symmetric


@dataclass(frozen=True)
class Measurements:
    """Laboratory tests or vital signs, and the effect of each state on each (in spreads, by stage)."""

    rows: list[dict[str, str]]
    names: list[str]
    mean: np.ndarray
    spread: np.ndarray
    severity: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    decimals: np.ndarray
    logarithmic: np.ndarray  # bool
    effects: np.ndarray  # (states, measurements)

    def texts(self, name: str) -> list[str]:
        return [row[name] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray:
        return column(self.rows, name)


@cache
def conditions() -> Conditions:
    """The latent conditions.

    >>> conditions().names[:2]
    ['hypertension', 'heart_failure']
    """
    rows = read_table("conditions")
    return Conditions(
        rows=rows,
        names=[row["condition"] for row in rows],
        words=column(rows, "words", str),
        chronic=np.array([row["course"] == "chronic" for row in rows]),
        base=column(rows, "base"),
        severity=column(rows, "severity"),
    )


@cache
def codes(kind: str) -> Codes:
    """Codes of a kind (`diagnosis` or `procedure`), with a dot as usual in print."""
    rows = [row for row in read_table("codes") if row["kind"] == kind]
    return Codes(
        state=conditions().index(row["condition"] for row in rows),
        low=column(rows, "from_stage"),
        high=column(rows, "to_stage"),
        probability=column(rows, "probability"),
        icd9=[row["icd9"] for row in rows],
        icd10=[row["icd10"] for row in rows],
        short_title=[row["icd9_short_title"] for row in rows],
        icd9_title=[row["icd9_title"] for row in rows],
        icd10_title=[row["icd10_title"] for row in rows],
    )


@cache
def drugs() -> Drugs:
    """Drugs, their classes, and what calls for them."""
    rows = read_table("drugs")
    of_class = [row["class"] for row in rows]
    classes = list(dict.fromkeys(of_class))
    names = [row["drug"] for row in rows]
    rules = read_table("treatments")
    members = {name: [name] for name in names} | {
        name: [drug for drug, own in zip(names, of_class, strict=True) if own == name] for name in classes
    }
    position = {name: number for number, name in enumerate(names)}
    interacts = np.zeros((len(names), len(names)), dtype=bool)
    for row in read_table("interactions"):
        for first, second in product(members[row["first"]], members[row["second"]]):
            interacts[position[first], position[second]] = interacts[position[second], position[first]] = True
    np.fill_diagonal(interacts, False)
    return Drugs(
        name=names,
        dose=column(rows, "dose"),
        unit=[row["unit"] for row in rows],
        form=[row["form"] for row in rows],
        route=[row["route"] for row in rows],
        classes=classes,
        first=np.array([of_class.index(name) for name in classes]),
        size=np.array([of_class.count(name) for name in classes]),
        rule_state=conditions().index(row["condition"] for row in rules),
        rule_stage=column(rules, "from_stage"),
        rule_class=np.array([classes.index(row["class"]) for row in rules]),
        rule_probability=column(rules, "probability"),
        interacts=interacts,
    )


@cache
def measurements(kind: str) -> Measurements:
    """Measurements of a kind (`labs` or `vitals`)."""
    rows = read_table(kind)
    names = [row[kind.removesuffix("s")] for row in rows]
    known = conditions()
    effects = np.zeros((len(known.states), len(names)))
    for row in read_table("effects"):
        if row["measurement"] in names:
            effects[known.states.index(row["condition"]), names.index(row["measurement"])] = float(row["shift"])
    return Measurements(
        rows=rows,
        names=names,
        mean=column(rows, "mean"),
        spread=column(rows, "spread"),
        severity=column(rows, "severity"),
        minimum=column(rows, "minimum"),
        maximum=column(rows, "maximum"),
        decimals=column(rows, "decimals", np.int64),
        logarithmic=np.array([row.get("distribution") == "log" for row in rows]),
        effects=effects,
    )


def planted_interactions() -> list[tuple[str, str]]:
    """Pairs of drugs that interact in the synthetic world, each pair once, by generic name, sorted.

    >>> ("Apixaban", "Aspirin") in planted_interactions()
    True
    """
    known = drugs()
    first, second = np.nonzero(np.triu(known.interacts))
    pairs = ((known.name[a], known.name[b]) for a, b in zip(first, second, strict=True))
    return sorted(tuple(sorted(pair)) for pair in pairs)
