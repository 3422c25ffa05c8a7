"""How data are prepared: what `zoo.load` is told besides the dataset and the task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from zoo.data._splits import Given, checked_seed, checked_share, checked_split, plain
from zoo.data.static import FACTS
from zoo.data.static import USUAL as USUAL_FACTS
from zoo.registry import UserError, names_of, nearest, shown, whole_number


@dataclass(frozen=True)
class Preparation:
    """What was asked for; `zoo.load` says what each means."""

    concepts: Collection[str] | None = None
    levels: Mapping[str, str] | None = None
    split: Given = None
    split_seed: int = 0
    train_share: float = 1.0
    train_seed: int = 0
    max_visits: int | None = None
    strict: bool = False
    static: Collection[str] | None = None

    @property
    def key(self) -> dict[str, object]:
        """What tells prepared data from others, as a run's configuration has it."""
        asked = {} if self.static is None else {"static": list(self.static)}  # as before there were static facts
        return {
            **asked,
            "concepts": sorted(self.concepts) if self.concepts is not None else None,
            "levels": dict(self.levels or {}),
            "split": plain(self.split),
            **{n: getattr(self, n) for n in ("split_seed", "train_share", "train_seed", "max_visits", "strict")},
        }

    def checked(self) -> Self:
        """The same, each in its one form.

        Raises:
            UserError: one of them is nothing that it can be.
        """
        if isinstance(self.concepts, Mapping):
            raise UserError(
                f"concepts={shown(self.concepts)} must be a list of names; the level of each goes into levels=."
            )
        if not isinstance(self.strict, bool):
            raise UserError(f"strict={shown(self.strict)} must be True or False.")
        asked = USUAL_FACTS if self.static is None else names_of("static", self.static)
        for fact in asked:
            if fact not in FACTS:
                raise UserError(f"static={shown(self.static)} has {fact!r}: {nearest(fact, FACTS)}.")
        static = [f for f in FACTS if f in asked]
        return type(self)(
            None if self.concepts is None else names_of("concepts", self.concepts),
            self.levels,
            checked_split(self.split),
            checked_seed(self.split_seed, "split_seed"),
            checked_share(self.train_share),
            checked_seed(self.train_seed, "train_seed"),
            None if self.max_visits is None else whole_number("max_visits", self.max_visits, 1),
            self.strict,
            None if static == list(USUAL_FACTS) else static,
        )


USUAL = Preparation()
"""What is done where nothing is asked for."""
