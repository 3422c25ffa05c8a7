"""Laboratory tests: the unit of each, what a body can have, and what it takes to convert its units.

`labs.csv` names the tests of MIMIC (items of ``d_labitems``, alike in III and IV) and of eICU (names in ``lab``);
`SOURCES.md` says where its figures come from.
"""

from dataclasses import dataclass
from functools import cache

from zoo.knowledge import units
from zoo.knowledge._tables import read_rows
from zoo.knowledge.vitals import Limits


@dataclass(frozen=True)
class Lab(Limits):
    """The range of a laboratory test in `unit`, ends included; infinite at an end for which none is published.

    Attributes:
        name: what is measured.
        molar_mass: grams a mole, where a source may have it by mass or by amount of substance; else None.
        valence: the charge of an ion; else None.
    """

    name: str
    molar_mass: float | None
    valence: int | None

    def factor(self, unit: str | None) -> float | None:
        """What a value in a unit is to be multiplied with to be in `unit`; None where that is not known.

        >>> sodium = labs()["LAB//50983"]
        >>> sodium.unit, sodium.factor("mmol/L"), round(sodium.factor("mg/dL"), 3), sodium.factor("bpm")
        ('mEq/L', 1.0, 0.435, None)
        """
        return units.factor(unit, self.unit, self.molar_mass, self.valence)


@cache
def labs() -> dict[str, Lab]:
    """Tests by code; one that is missing has no known range.

    >>> labs()["LAB//50912"] == labs()["LAB//creatinine"], labs()["LAB//50912"].high
    (True, 60.0)
    """
    found = {}
    for row in read_rows("labs.csv"):
        lab = Lab(
            float(row["low"]),
            float(row["high"] or "inf"),
            row["unit"],
            row["source"],
            row["lab"],
            float(row["molar_mass"]) if row["molar_mass"] else None,
            int(row["valence"]) if row["valence"] else None,
        )
        found |= {f"LAB//{key}": lab for key in (*row["mimic"].split(";"), *row["eicu"].split(";"))}
    return found
