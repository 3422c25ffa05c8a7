"""Synthetic source tables in the schemas of real databases, and what the generator knows of their labels.

What is planted in the patients is told in `zoo.datasets._generator`; how a schema shows it, in its `_write_` module.
"""

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from zoo.datasets._generator import CHUNK, MAX_PATIENTS, simulate_histories

SCHEMAS = ("mimic3", "mimic4", "eicu")
FORMATS = ("csv.gz", "csv", "parquet")


def write_source(
    schema: str,
    patients: int,
    seed: int,
    out: str | Path,
    *,
    format: str = "csv.gz",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the source tables of `schema` for synthetic patients into the new folder `out`.

    Files, folders and columns are those of MIMIC-III 1.4, MIMIC-IV 2.2 or eICU-CRD 2.0. The same `(schema, patients,
    seed)` gives the same rows, and fewer patients give a subset of them. Tables are written chunk by chunk into
    a hidden folder beside `out`, which is renamed at the end: a killed run leaves no `out`.

    Args:
        schema: `mimic3`, `mimic4` or `eicu`.
        patients: how many, at least 1.
        seed: non-negative; another seed gives other patients.
        out: a folder that is empty or does not exist.
        format: `csv.gz`, `csv` or `parquet`.
        progress: called as `progress(done, total)` in patients after each chunk.

    Raises:
        ValueError: unknown schema or format, or a number out of range.
        FileExistsError: `out` holds something already.
    """
    if schema not in SCHEMAS:
        raise ValueError(f"unknown schema {schema!r}: choose one of {', '.join(SCHEMAS)}")
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    _check_numbers(patients, seed)
    from zoo.datasets._table_files import write_tables  # pyarrow loads when tables are written

    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty: choose a new folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        write_tables(import_module(f"zoo.datasets._write_{schema}"), patients, seed, folder, format, progress)
        folder.chmod(0o777 & ~_umask())
        os.replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return out


def true_probabilities(schema: str, patients: int, seed: int) -> dict[str, np.ndarray]:
    """What the generator knows of each visit: the best scores that any model can expect to reach.

    Returns arrays of one length, one entry a visit. `visit_id` is the source's own (`hadm_id`, or
    `patienthealthsystemstayid`) and unique; `subject_id` too, for eICU the number after the dash of `uniquepid`. Then

    - `mortality`: P(death in this visit | its severity). Death and length of stay are independent given severity,
      so this is also P(death | severity, still in hospital after `hours`), for any `hours`;
    - `readmission`: P(next visit starts within 30 days | severity, functional status in this visit and in the one
      before, discharged alive); NaN after death in hospital;
    - `mortality_next_visit`: P(death in the next visit | the patient's frailty, this visit's residual, there is a
      next visit); NaN where there can be none.

    These condition on latents that no table holds. A model sees only their traces, which tell nothing more
    about the label, so no model can expect a better score. The arrays are computed anew from the seed.

    >>> known = true_probabilities("mimic3", patients=10, seed=0)
    >>> sorted(known)
    ['mortality', 'mortality_next_visit', 'readmission', 'subject_id', 'visit_id']
    """
    if schema not in SCHEMAS:
        raise ValueError(f"unknown schema {schema!r}: choose one of {', '.join(SCHEMAS)}")
    _check_numbers(patients, seed)
    writer = import_module(f"zoo.datasets._write_{schema}")
    parts = []
    for index in range(-(-patients // CHUNK)):
        people, visits = simulate_histories(seed, index, intensive=writer.INTENSIVE)
        visits = visits.take(people.number[visits.patient] < patients)
        ids = writer.identifiers(people, visits)
        known = {name: getattr(visits, name) for name in ("readmission", "mortality", "mortality_next_visit")}
        parts.append({"subject_id": ids.visit_subject, "visit_id": ids.visit, **known})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_numbers(patients: int, seed: int) -> None:
    if not 1 <= patients <= MAX_PATIENTS:
        raise ValueError(f"patients must be from 1 to {MAX_PATIENTS}, not {patients}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, but is {seed}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
