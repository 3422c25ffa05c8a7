"""What a check found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

SHOWN = 3
"""How many problems of one check are spelled out."""


@dataclass
class Report:
    """What the checks of one thing found.

    Attributes:
        what: the thing that was checked.
        checks: the names of all checks, in their order.
        failures: the names of those that failed.
        details: check to what is wrong, or to what is worth knowing (a check that had nothing to look at says so).

    >>> print(Report("dataset 'mine'", ["schema", "order"], ["order"], {"order": "visits are not in order of start"}))
    dataset 'mine': 1 of 2 checks failed
      ok     schema
      FAILED order: visits are not in order of start
    """

    what: str
    checks: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    def __str__(self) -> str:
        head = f"{len(self.failures)} of {len(self.checks)} checks failed" if self.failures else "all checks passed"
        lines = [f"{self.what}: {head}"]
        for name in self.checks:
            state = "FAILED" if name in self.failures else "ok    "
            lines.append(f"  {state} {name}" + (f": {self.details[name]}" if name in self.details else ""))
        return "\n".join(lines)


class Findings:
    """Collects what checks find, and becomes a `Report`."""

    def __init__(self, what: str):
        self.what = what
        self._problems: dict[str, list[str]] = {}
        self._notes: dict[str, list[str]] = {}

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        """Run a check; an error in it is a failure of the check."""
        self._problems.setdefault(name, [])
        try:
            yield
        except Exception as error:
            self.fail(name, f"{type(error).__name__}: {error}")

    def fail(self, name: str, problem: str) -> None:
        """Say what is wrong."""
        problems = self._problems.setdefault(name, [])
        if problem not in problems:
            problems.append(problem)

    def expect(self, name: str, good: bool | np.ndarray, problem: str) -> None:
        """Fail where not all is good, with how many are not."""
        good = np.asarray(good, bool)
        self._problems.setdefault(name, [])
        if not good.all():
            self.fail(name, problem if good.ndim == 0 else f"{problem} ({(~good).sum()} of {good.size})")

    def note(self, name: str, text: str) -> None:
        """Say something worth knowing about a check that did not fail for it."""
        self._problems.setdefault(name, [])
        self._notes.setdefault(name, []).append(text)

    def failed(self, name: str) -> bool:
        """Whether a check has failed so far."""
        return bool(self._problems.get(name))

    def report(self) -> Report:
        """All that was found."""
        failures = [name for name, problems in self._problems.items() if problems]
        return Report(self.what, list(self._problems), failures, {n: t for n in self._problems if (t := self._told(n))})

    def _told(self, name: str) -> str:
        problems = self._problems[name]
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        return "; ".join([*problems[:SHOWN], *more, *self._notes.get(name, ())])
