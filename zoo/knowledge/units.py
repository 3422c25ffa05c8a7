"""Units of measurement, and how values go from one to another where that does not hang on what is measured.

`units.csv` has spellings (small letters, no blanks) with the unit that they are a multiple of: concentrations by mass
and by amount of substance, counts and activities per volume, pressures, times, lengths. Milligrams do not become
millimoles, which would need the mass of a mole.
"""

from functools import cache

from zoo.knowledge._tables import read_rows


def spelled(unit: str | None) -> str:
    """A unit in small letters without blanks; empty where there is none.

    >>> spelled(" MM HG"), spelled(None)
    ('mmhg', '')
    """
    return "".join(unit.split()).lower() if isinstance(unit, str) else ""


def factor(unit: str | None, wanted: str | None) -> float | None:
    """What a value in one unit is to be multiplied with to be in another; None where that is not known.

    A unit that is not told counts as the wanted one, and so does any where none is wanted.

    >>> factor("mg/dL", "g/L"), factor("SECONDS", "sec"), factor("mg/dL", "mmol/L"), factor(None, "mg/dL")
    (0.01, 1.0, None, 1.0)
    """
    have, want = spelled(unit), spelled(wanted)
    if have == want or not have or not want:
        return 1.0
    (base, by), (wanted_base, wanted_by) = _units().get(have, ("", 1.0)), _units().get(want, ("", 1.0))
    return by / wanted_by if base and base == wanted_base else None


@cache
def _units() -> dict[str, tuple[str, float]]:
    return {row["unit"]: (row["base"], float(row["factor"])) for row in read_rows("units.csv")}
