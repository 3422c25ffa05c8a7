"""The classes of a visit to hospital, which say whether it was an admission."""

VISIT_CLASSES = ("inpatient", "emergency", "observation", "outpatient")
"""What a visit may have been.

``inpatient`` is an admission to a bed, also one that began in the emergency department; ``emergency`` a visit to that
department alone; ``observation`` a stay of some hours to two days, in a bed but billed as outpatient care, until it is
decided whether to admit; ``outpatient`` any other visit.
"""
