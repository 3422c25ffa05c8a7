"""The codes that were billed for a visit, assigned from what was written about it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from zoo.registry import UserError, register_task
from zoo.tasks._task import CodeSets, Cohort, Relations, Task, least_age, one_of

SYSTEMS = {"icd9": ("ICD9CM", "ICD9PROC"), "icd10": ("ICD10CM", "ICD10PCS")}


@register_task("icd_coding")
class ICDCoding(Task):
    """Which diagnosis and procedure codes a visit was billed with, assigned at its end from its notes (and drugs).

    The task of Mullenbach et al. (NAACL 2018). One sample for each visit that has a note of the ``notes`` and a code of
    the ``system``; of notes, only those of these kinds are read. Addenda count as known, even those that were written
    after the visit's end. The diagnosis and procedure codes of the visit itself are withheld; those of earlier visits
    are not. Codes are assigned, not forecast: who died stays in. A visit none of whose codes is among the ``top_k`` is
    kept, and has no label. As in the literature, codes count as predicted from the probability on that has the best
    micro F1 on the validation split.

    Args:
        top_k: the labels are so many codes, those of most training samples (of equals the first by name); None for all
            codes that training has. 50 and all are usual.
        system: ``"icd9"`` or ``"icd10"``; by default the one that more visits of the source are coded in. Visits that
            have codes of the other one only are left out.
        codes: ``"both"``, or ``"diagnosis"`` alone.
        notes: the kinds of notes to assign codes from: by default discharge summaries and their addenda.
        min_age: the least age at the visit, in years; None takes all.
    """

    kind = "multilabel"
    given = frozenset({"note"})
    label_concepts = frozenset({"diagnosis", "procedure"})
    ks = (5, 8, 15)
    tuned = True
    retrospective = True

    def __init__(
        self,
        top_k: int | None = 50,
        system: str | None = None,
        codes: str = "both",
        notes: Sequence[str] = ("discharge_summary", "discharge_addendum"),
        min_age: float | None = None,
    ):
        one_of("system", system, (None, *SYSTEMS))
        one_of("codes", codes, ("both", "diagnosis"))
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise UserError(f"top_k={top_k!r} must be a whole number of at least 1, or None for all codes.")
        if isinstance(notes, str) or not notes or not all(isinstance(n, str) for n in notes):
            raise UserError(f"notes={notes!r} must be a list of kinds of notes, such as ['discharge_summary'].")
        self.top_k, self.system, self.codes, self.min_age = top_k, system, codes, least_age(min_age)
        self.notes = self.note_kinds = tuple(sorted(set(notes)))
        self.needs = frozenset(self._concepts)

    @property
    def _concepts(self) -> tuple[str, ...]:
        return ("diagnosis", "procedure") if self.codes == "both" else ("diagnosis",)

    def cohort(self, relations: Relations) -> Cohort:
        candidates = relations.candidates()
        noted = self._noted(relations)
        of_system = {s: self._coded(relations, s) for s in SYSTEMS}
        system = self.system or max(SYSTEMS, key=lambda s: _some(of_system[s]).sum())
        coded, frame = of_system[system], candidates.frame
        candidates.leave_out(~noted[frame.visit], f"no note of kind {' or '.join(self.notes)}")
        candidates.leave_out(~_some(coded)[candidates.frame.visit], f"no {system} code")
        visits = candidates.frame.visit.to_numpy()
        lists = [s.lists(visits) for s in coded]
        labels = [list(chain(*codes)) for codes in zip(*lists, strict=True)]
        return candidates.cohort(candidates.frame.end, labels)

    def _coded(self, relations: Relations, system: str) -> list[CodeSets]:
        """The codes of a system, for each concept."""
        wanted = tuple(f"{name}//" for name in SYSTEMS[system])
        found = []
        for concept in self._concepts:
            sets = relations.code_sets(concept, "code")
            inside = np.array([str(n).startswith(wanted) for n in sets.names], bool)
            found.append(sets.only(inside[sets.ids]))
        return found

    def _noted(self, relations: Relations) -> np.ndarray:
        """(visits,) whether there is a note to assign codes from."""
        sets = relations.code_sets("note", "code")
        kinds = [str(n).removeprefix("NOTE//") for n in sets.names]
        wanted = np.array([k in self.notes for k in kinds], bool)
        if not wanted.any():
            raise UserError(
                f"{relations.name} has no notes of kind {' or '.join(self.notes)}, which task {self.name!r} assigns "
                f"codes from; the kinds it has are {', '.join(kinds) or 'none'}: set the task's parameter 'notes'."
            )
        return sets.only(wanted[sets.ids]).lengths > 0


def _some(coded: list[CodeSets]) -> np.ndarray:
    """(visits,) whether there is a code."""
    return np.sum([s.lengths for s in coded], axis=0) > 0
