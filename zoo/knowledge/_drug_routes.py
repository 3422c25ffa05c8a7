"""Ways in which a drug is given, as far as they decide between ATC classes.

A route is one of `ROUTES`. Sources write it in a column (``PO/NG``, ``BOTH EYES``, ``IntraVENOUS``), and product names
hold it in their form (``OP OINT``, ``Neb Soln``, ``Patch``). `of_column` and `of_name` read the two by the patterns of
`drug_routes.csv`, of which the first that fits wins; `decided` weighs them.
"""

import re
from functools import cache

from zoo.knowledge._tables import read_rows

ROUTES = (
    *(
        "iv",
        "injection",
        "spinal",
        "local",
        "dialysis",
        "irrigation",
        "inhaled",
        "nasal",
        "mouth",
        "sublingual",
        "oral",
    ),
    *("eye", "ear", "skin", "patch", "rectal", "vaginal"),
)

NEIGHBOURS = {
    "iv": ("injection",),
    "injection": ("iv",),
    "spinal": ("injection", "iv"),
    "local": ("injection", "iv"),
    "dialysis": ("iv", "injection"),
    "mouth": ("oral",),
    "sublingual": ("mouth", "oral"),
    "oral": ("mouth",),
    "patch": ("skin",),
    "ear": ("eye",),
    "eye": ("ear",),
}
"""Where a class is sought when a drug has none for its own route, in order."""

_MADE_FOR_ONE_WAY = frozenset(("eye", "ear", "nasal", "inhaled", "vaginal", "rectal", "patch", "mouth"))
_BROAD = frozenset(("oral", "iv", "injection", "skin", "irrigation"))


def of_column(route: str | None) -> str | None:
    """Route of a source's route column, None where it says nothing.

    >>> [of_column(route) for route in ("PO/NG", "BOTH EYES", "IntraVENOUS", "TD", "MISC", None)]
    ['oral', 'eye', 'iv', 'patch', None, None]
    """
    return _first("column", " ".join(route.lower().split())) if isinstance(route, str) else None


def of_name(name: str) -> str | None:
    """Route that the form in a product's name stands for, None where it has none.

    >>> of_name("Erythromycin 5 mg/gm OP OINT"), of_name("Lidocaine 5% Patch"), of_name("furosemide")
    ('eye', 'patch', None)
    """
    return _first("form", " ".join(re.findall(r"[a-z0-9]+", name.lower())))


def decided(column: str | None, form: str | None) -> str | None:
    """The route to go by: the column's, but for a form that is made for one way only where the column is broad.

    >>> decided("ear", "eye"), decided("oral", "inhaled"), decided(None, "oral"), decided("skin", "patch")
    ('ear', 'inhaled', 'oral', 'patch')
    """
    if column is None or (column in _BROAD and form in _MADE_FOR_ONE_WAY):
        return form or column
    return column


def _first(source: str, text: str) -> str | None:
    return next((route for route, pattern in _patterns(source) if pattern.search(text)), None)


@cache
def _patterns(source: str) -> list[tuple[str, re.Pattern]]:
    return [
        (row["route"], re.compile(row["pattern"])) for row in read_rows("drug_routes.csv") if row["source"] == source
    ]
