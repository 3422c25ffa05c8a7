"""Units of measurement, and how values go from one to another.

`units.csv` has spellings (small letters, no blanks) with the unit that they are a multiple of: concentrations by mass,
by amount of substance and by charge, counts and activities per volume, pressures, times, lengths. What else it takes to
go between the first three hangs on what is measured, and is in `zoo.knowledge.labs`.
"""

from __future__ import annotations

from functools import cache

from zoo.knowledge._tables import read_rows


def spelled(unit: str | None) -> str:
    """A unit in small letters without blanks; empty where there is none.

    >>> spelled(" MM HG"), spelled(None)
    ('mmhg', '')
    """
    return "".join(unit.split()).lower() if isinstance(unit, str) else ""


def factor(
    unit: str | None, wanted: str | None, molar_mass: float | None = None, valence: int | None = None
) -> float | None:
    """What a value in one unit is to be multiplied with to be in another; None where that is not known.

    A unit that is not told counts as the wanted one, and so does any where none is wanted.

    Args:
        unit, wanted: as a source spells them.
        molar_mass: grams a mole of what is measured; None leaves milligrams and millimoles apart.
        valence: its charge; None leaves moles and equivalents apart.

    >>> factor("mg/dL", "g/L"), factor("SECONDS", "sec"), factor("mg/dL", "mmol/L"), factor(None, "mg/dL")
    (0.01, 1.0, None, 1.0)
    >>> round(factor("umol/L", "mg/dL", molar_mass=113.12) * 88.4, 3)  # creatinine
    1.0
    """
    have, want = spelled(unit), spelled(wanted)
    if have == want or not have or not want:
        return 1.0
    (base, by), (wanted_base, wanted_by) = _units().get(have, ("", 1.0)), _units().get(want, ("", 1.0))
    if base and base == wanted_base:
        return by / wanted_by
    a_mole = {"mol/L": 1, "g/L": molar_mass, "Eq/L": valence}
    if a_mole.get(base) and a_mole.get(wanted_base):
        return by / a_mole[base] * a_mole[wanted_base] / wanted_by
    return None


@cache
def _units() -> dict[str, tuple[str, float]]:
    return {row["unit"]: (row["base"], float(row["factor"])) for row in read_rows("units.csv")}
