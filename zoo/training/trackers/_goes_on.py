"""Where a run goes on in a tracker that keeps runs by an id of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo.cache.forms import check_form
from zoo.registry import UserError
from zoo.result import write_json

PLACE = "tracked.json"


@dataclass
class Place:
    """Where a run is in its tracker; it stands in the run folder as ``tracked.json``.

    Attributes:
        id: of the run, as the tracker has it.
        epochs: how many it was told.
    """

    id: str
    epochs: int = 0

    @classmethod
    def read(cls, folder: Path) -> Place | None:
        """Where the run in a folder was left, or None where it was not tracked yet.

        Raises:
            UserError: the file is damaged.
        """
        path = folder / PLACE
        if not path.exists():
            return None
        try:
            facts = json.loads(path.read_text())
            check_form(facts, {"id": str, "epochs": int}, PLACE)
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is damaged ({error}): remove it to begin a new run in the tracker.") from None
        return cls(facts["id"], facts["epochs"])

    def write(self, folder: Path) -> None:
        """Write it into the run folder."""
        write_json(folder / PLACE, asdict(self))
