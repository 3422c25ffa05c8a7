"""The ATC code of a substance or combination, given by some route."""

from collections.abc import Mapping, Sequence
from functools import cache

from zoo.knowledge import atc
from zoo.knowledge._drug_names import JOINED, combinations
from zoo.knowledge._drug_routes import NEIGHBOURS
from zoo.knowledge._tables import read_rows

_GROUP_ROUTES = {
    "A01": "mouth", "A06AG": "rectal", "A07A": "oral", "A12": "oral", "B05": "iv", "B05C": "irrigation",
    "C05A": "rectal", "C05B": "skin", "D": "skin", "D01B": "oral", "D10B": "oral",
    "G01": "vaginal", "G02B": "vaginal", "G02CC": "vaginal", "M02": "skin", "N01B": "local", "P03": "skin",
    "R01A": "nasal", "R02": "mouth", "R03A": "inhaled", "R03B": "inhaled",
    "S01": "eye", "S02": "ear", "S03": "ear", "V04": "diagnosis", "V08": "diagnosis",
}  # fmt: skip
"""Routes of ATC groups whose drugs work where they are put; drugs of other groups work in the whole body."""


def class_of(substances: frozenset[str], route: str | None) -> str | None:
    """ATC code of substances by a route: the one written by hand, the only one, that of the route, or one all share.

    >>> class_of(frozenset(("timolol",)), "eye"), class_of(frozenset(("timolol",)), None)
    ('S01ED01', 'C07AA06')
    >>> class_of(frozenset(("codeine", "paracetamol")), "oral"), class_of(frozenset(("xylitol",)), "oral")
    ('N02AJ06', None)
    """
    by_route = by_hand().get(substances)
    if by_route is not None:
        return _by_route(by_route, route)
    if substances in combinations():
        return combinations()[substances]
    if len(substances) == 1:
        return _by_group(atc.codes_of(next(iter(substances))), route)
    parts = [class_of(frozenset((part,)), route) for part in substances]
    classes = {part and part[: atc.LEVELS["atc3"]] for part in parts}
    return classes.pop() if len(classes) == 1 else None


def codes_in_the_body(substance: str) -> tuple[str, ...]:
    """ATC codes of a substance that work in the whole body, combinations with it among them; else where it works.

    >>> codes_in_the_body("doxepin"), codes_in_the_body("cocaine"), codes_in_the_body("xylitol")
    (('N06AA12',), ('N01BC01',), ())
    >>> codes_in_the_body("verapamil")
    ('C08DA01', 'C09BB10')
    """
    combined = [code for parts, code in combinations().items() if substance in parts]
    codes = sorted(code for code in (*atc.codes_of(substance), *combined) if not _group_route(code))
    usual = class_of(frozenset((substance,)), None)
    return tuple(codes) or ((usual,) if usual else ())


@cache
def by_hand() -> dict[frozenset[str], dict[str, str]]:
    """Substances to route to code, as in `drug_classes.csv`; the route "" stands for all others."""
    classes: dict[frozenset[str], dict[str, str]] = {}
    for row in read_rows("drug_classes.csv"):
        classes.setdefault(frozenset(row["substances"].split(JOINED)), {})[row["route"]] = row["code"]
    return classes


def _by_route(by_route: Mapping[str, str], route: str | None) -> str | None:
    return next((by_route[way] for way in _ways(route) if way in by_route), by_route.get(""))


def _by_group(codes: Sequence[str], route: str | None) -> str | None:
    """Of a substance's codes, one of a group that the route belongs to, else one that works in the whole body."""
    groups = {code: _group_route(code) for code in codes}
    for way in _ways(route):
        if here := [code for code in codes if groups[code] == way]:
            return here[0]
    return next((code for code in codes if not groups[code]), codes[0] if codes else None)


def _ways(route: str | None) -> tuple[str, ...]:
    return (route, *NEIGHBOURS.get(route, ())) if route else ()


def _group_route(code: str) -> str:
    return next((_GROUP_ROUTES[code[:n]] for n in (5, 4, 3, 1) if code[:n] in _GROUP_ROUTES), "")
