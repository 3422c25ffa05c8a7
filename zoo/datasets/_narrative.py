"""The texts of synthetic notes: templated sentences that name a visit's conditions in words."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zoo.datasets._arrow_columns import join_text, text
from zoo.datasets._facts import column, conditions

STATUS = ["stable", "guarded", "serious", "critical"]
FUNCTION = [
    "walks without help",
    "walks with a walker",
    "moves by wheelchair",
    "is confined to bed",
]
OPENINGS = [
    "Patient seen and examined.",
    "Events of the shift reviewed.",
    "Report received from the prior shift.",
]


def per_visit(stages: np.ndarray, phrases, separator: str, nothing: str) -> pa.Array:
    """The phrases of the conditions that are present, joined; one text a visit."""
    present = stages[:, : len(phrases)] > 0
    visit, which = np.nonzero(present)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(visit, minlength=len(stages)))])
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), text(list(phrases), which))
    joined = pc.binary_join(lists, separator)
    return pc.if_else(pc.equal(joined, ""), nothing, joined)


def note_texts(chunk) -> pa.Array:
    """The text of each row of `chunk.notes`."""
    visits, notes = chunk.visits, chunk.notes
    known = conditions()
    words = per_visit(visits.stages, known.words, ", ", "no active problems").take(pa.array(notes.visit))
    nursing = per_visit(visits.stages, column(known.rows, "icu_finding", str), " ", "Quiet shift.")
    imaging = per_visit(visits.stages, column(known.rows, "radiology_finding", str), " ", "Clear lungs.")
    severity = visits.severity[notes.visit]
    status = text(STATUS, np.digitize(severity, [0, 1, 2]))
    function = text(FUNCTION, visits.level[notes.visit])
    opening = text(OPENINGS, (notes.focus * len(OPENINGS)).astype(int))
    kinds = [
        join_text(
            opening,
            "\nProblems: ",
            words,
            ".\nAssessment: ",
            nursing.take(pa.array(notes.visit)),
            "\nActivity: patient ",
            function,
            ".\nCondition is ",
            status,
            "; plan of care continues.",
        ),
        join_text(
            "CHEST, PORTABLE\nINDICATION: Patient with ",
            words,
            ".\nFINDINGS: ",
            imaging.take(pa.array(notes.visit)),
            "\nIMPRESSION: Findings as above.",
        ),
        join_text(
            "Discharge Summary\n\nDischarge Diagnoses: ",
            words,
            ".\n\nHospital Course: ",
            nursing.take(pa.array(notes.visit)),
            "\n\nFunctional status: patient ",
            function,
            ".\nDischarge Condition: ",
            text(["Alive", "Expired"], visits.died[notes.visit].astype(int)),
            ".\n",
        ),
    ]
    return pc.choose(pa.array(notes.kind), *kinds)
