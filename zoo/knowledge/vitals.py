"""Which charted items are which vital sign, in what unit, and what a body can have.

`vitals.csv` names the items of each source, `limits.csv` the range of each variable; `SOURCES.md` says where
both come from. A charted value becomes canonical as ``value * scale + shift``.

Keys are ``itemid`` of ``chartevents`` for MIMIC. For eICU they are ``table.column`` where a vital has a
column of its own (``vitalperiodic.heartrate``, ``patient.admissionweight``), else ``table.name`` with the
row's own name of what it charts: ``respchartvaluelabel``, ``celllabel`` and, in ``nursecharting``,
``nursingchartcelltypevalname``, or ``nursingchartcelltypevallabel`` where that name is only "Value".

Left out on purpose: alarm settings, set respiratory rates and spontaneous breaths on a ventilator,
saturations from blood gases, glucose from the laboratory, skin temperatures, birth weights and previous
weights, and items that repeat another in other units (MIMIC-III 677 and 679, calculated from 678 and 676; the
pounds of eICU).

Two things that a scale cannot mend. Inspired oxygen is now and then charted as a fraction where percent is
the rule, and falls below its limits. The verbal part of the GCS is 1 in MIMIC for intubated patients
("ET/Trach", "No Response-ETT").
"""

from dataclasses import dataclass
from functools import cache

from zoo.knowledge import units
from zoo.knowledge._tables import read_rows
from zoo.registry import UserError, nearest


@dataclass(frozen=True)
class VitalItem:
    """A charted item that is a vital sign: ``value * scale + shift`` is in `unit`."""

    key: str
    variable: str
    unit: str
    scale: float
    shift: float


@dataclass(frozen=True)
class Limits:
    """The range of a variable in `unit`, ends included; what lies outside is a charting or device error."""

    low: float
    high: float
    unit: str
    source: str

    def factor(self, unit: str | None) -> float | None:
        """What a value in a unit is to be multiplied with to be in `unit`; None where that is not known.

        >>> limits()["weight"].factor("lbs"), limits()["weight"].factor("bpm")
        (0.45359237, None)
        """
        return units.factor(unit, self.unit)


def vital_items(source: str) -> list[VitalItem]:
    """Items of ``mimic3``, ``mimic4`` or ``eicu`` that are vital signs. Another source is a `UserError`.

    >>> item = next(item for item in vital_items("mimic4") if item.key == "223761")
    >>> item.variable, item.unit, round(98.6 * item.scale + item.shift, 1)
    ('temperature', 'degC', 37.0)
    >>> sorted({item.variable for item in vital_items("eicu")})[:4]
    ['central_venous_pressure', 'diastolic_bp', 'fio2', 'gcs_eye']
    >>> vital_items("mimic")
    Traceback (most recent call last):
    zoo.registry.UserError: no vital signs are known for 'mimic': did you mean 'mimic3' or 'mimic4'? ...
    """
    items = _items_by_source()
    if source not in items:
        raise UserError(f"no vital signs are known for {source!r}: {nearest(source, items)}")
    return list(items[source])


@cache
def limits() -> dict[str, Limits]:
    """Limits of every variable in `vitals.csv`; `Limits.source` says who published them.

    >>> temperature = limits()["temperature"]
    >>> temperature.low, temperature.high, temperature.unit
    (26.0, 45.0, 'degC')
    """
    return {
        row["variable"]: Limits(float(row["low"]), float(row["high"]), row["unit"], row["source"])
        for row in read_rows("limits.csv")
    }


@cache
def _items_by_source() -> dict[str, tuple[VitalItem, ...]]:
    items: dict[str, list[VitalItem]] = {}
    for row in read_rows("vitals.csv"):
        item = VitalItem(row["key"], row["variable"], row["unit"], float(row["scale"]), float(row["shift"]))
        items.setdefault(row["source"], []).append(item)
    return {source: tuple(of_source) for source, of_source in items.items()}
