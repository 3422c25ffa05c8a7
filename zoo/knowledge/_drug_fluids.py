"""What of a name is no treatment, and which infusion solution a name stands for. The rules are told in `drugs`."""

import re
from functools import cache

from zoo.knowledge import _drug_names as names
from zoo.knowledge._drug_classes import by_hand

SALINE, GLUCOSE, WATER = "sodium chloride", "glucose", "water"
KCL = "potassium chloride"
_FLUIDS = frozenset((SALINE, GLUCOSE, KCL, "electrolytes", "electrolytes with carbohydrates"))
_BY_MOUTH = ("oral", "mouth", "sublingual")
_WHOLE = (
    *("parenteral nutrition", "multivitamins and other minerals", "multivitamins and iron", "multivitamins"),
    *("vitamin b complex with c", "vitamin b complex", "hemofiltrates"),
)
"""Products whose names go on to list what they hold."""


@cache
def substances_named(name: str) -> tuple[str, ...]:
    """`_drug_names.substances_named`, remembered."""
    return names.substances_named(name)


def untreated(name: str, route: str | None) -> str:
    """``"carrier"``, ``"flush"`` or ``"container"``; an empty string for a treatment and for an unknown name.

    >>> untreated("NS", "iv"), untreated("Heparin Flush", "iv"), untreated("Syringe", "iv"), untreated("NS", "nasal")
    ('carrier', 'flush', 'container', '')
    """
    substances = frozenset(substances_named(name))
    if not substances:
        return "container" if _is_container(name) else ""
    if is_flush(name):
        return "flush"
    return "carrier" if substances <= names.CARRIERS and _is_carrier(substances - {WATER}, name, route) else ""


def is_flush(name: str) -> bool:
    """Whether a name is of saline or heparin that keeps a line open, or of citrate that locks one."""
    substances = frozenset(substances_named(name))
    if substances and substances <= names.CARRIERS | {"heparin"}:
        named = names.kind_of_words("flush").intersection(names.words(name))
        thin = "heparin" in substances and re.search(r"(?<![\d,.])10 ?units?/ml", name.lower())
        return bool(named or thin)
    return substances == {"sodium citrate"} and (percent(name) == 4 or "flush" in names.words(name))


def treatment(name: str) -> frozenset[str]:
    """Substances of a name that treat: a drug without its carrier, the fluid of a carrier that stands alone.

    >>> sorted(treatment("Vancomycin 1 g in D5W")), sorted(treatment("KCl 20 mEq in D5W 1000 mL"))
    (['vancomycin'], ['glucose', 'potassium chloride'])
    """
    named = substances_named(name)
    whole = next((product for product in _WHOLE if product in named), None)
    if whole:
        return frozenset((whole,))
    substances = frozenset(named) - {WATER}
    if substances <= _FLUIDS:
        return _fluid(substances, name)
    return substances if substances in by_hand() else substances - (_FLUIDS - {KCL})


def percent(name: str) -> float | None:
    """Concentration of the glucose or saline of a name in percent, None where it names none.

    >>> percent("D5W"), percent("1/2 NS"), percent("Sodium Chloride 23.4%"), percent("NS"), percent("Dextrose")
    (5.0, 0.45, 23.4, 0.9, None)
    """
    text = " ".join(name.lower().split())
    if re.search(r"1/2 ?ns|1/2 ?normal|half ?normal|0?\.45 ?ns", text):
        return 0.45
    if re.search(r"1/4 ?ns|1/4 ?normal", text):
        return 0.225
    for pattern in (r"\bd ?(\d+(?:\.\d+)?) ?w?\b", r"(\d*\.?\d+) ?%", r"\b(?:ns|nacl|chloride|dextrose) (\d*\.\d+)\b"):
        if match := re.search(pattern, text):
            return float(match[1])
    return 0.9 if re.search(r"\bns+\b|normal saline|\biso", text) and not re.search(r"dextrose|glucose", text) else None


def _is_container(name: str) -> bool:
    words = [word for word in names.words(name) if word.isalpha()]
    return bool(words) and names.kind_of_words("container").issuperset(words)


def _is_carrier(substances: frozenset[str], name: str, route: str | None) -> bool:
    """Whether glucose or saline of a name (nothing beside water is a carrier too) is there to carry something else."""
    if len(substances) != 1:
        return not substances
    share = percent(name)
    if substances == {GLUCOSE}:
        return bool(re.search(r"\biso", name.lower())) if share is None else route not in _BY_MOUTH and share <= 5
    if route in ("nasal", "eye", *_BY_MOUTH) or re.search(r"\bbolus|meq/ml", name.lower()):
        return False
    return share is None or 0.6 <= share <= 1


def _fluid(substances: frozenset[str], name: str) -> frozenset[str]:
    """An infusion solution: saline by its strength, potassium chloride without its carrier where it is concentrated."""
    if substances == {SALINE} and ((percent(name) or 0.9) < 0.6 or "bolus" in name.lower()):
        return frozenset(("electrolytes",))
    if KCL in substances and not _is_dilute(name, substances):
        return frozenset((KCL,))
    return substances


def _is_dilute(name: str, substances: frozenset[str]) -> bool:
    """Whether potassium chloride is part of a maintenance fluid rather than a concentrate in a little carrier."""
    text = name.lower().replace(",", "")
    litre = re.search(r"\b(?:500|1000) ?ml|\b1 ?l(?:iter)?\b|meq/l\b|\blvp\b", text)
    return bool(litre) or substances >= {SALINE, GLUCOSE} or not re.search(r"\b\d+ ?ml\b", text)
