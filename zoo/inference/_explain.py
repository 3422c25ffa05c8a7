"""What a finished run looked at in one sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from zoo.data import Batch, Spec
from zoo.data._task_data import TaskData
from zoo.inference._named import named
from zoo.inference._run import Run, load_run
from zoo.inference._tested import Tested
from zoo.models._model import Attended, Contributions
from zoo.registry import UserError, nearest
from zoo.reporting._explained import Explained

if TYPE_CHECKING:
    from zoo.datasets._engine import Dataset
    from zoo.result import Result


def explain(
    run: str | Path | Result | Run,
    sample: int,
    data: str | Dataset | TaskData | None = None,
    root: str | Path | None = None,
    *,
    split: str | None = None,
    output: str | None = None,
    **parameters,
) -> Explained:
    """What a finished run looked at in one sample.

    Args:
        run: the run folder, or what `zoo.train` returned.
        sample: the row of the sample in what `predict` returns for the same data and split.
        data, root, split, parameters: as of `predict`.
        output: the name of the class or label to explain; by default the most probable one.

    Returns:
        A table; its text and its look in a notebook show the largest first, `zoo.explain` leaves them as they lie:
        events and visits in the order of time, tokens in that of their note.

        For a model that tells contributions, one row an event with ``concept``, ``visit_id``, ``time``, ``code``,
        ``name`` (of the code, where anybody has one), ``value`` and ``unit`` (of what was measured, as it counts) and
        ``contribution`` to the logit of the output (the value, of a regression); the last row, of the concept ``rest``,
        is what no event adds, and together they are the logit. For a model that attends to the words of notes, one row
        a token, or a code of a visit: ``attention`` (which one), the same of the event, ``token`` and ``weight``. For a
        model with attention to visits only, one row a visit: ``attention`` (which one), ``visit_id``, ``time`` and
        ``weight``. ``attrs`` has ``output``, ``logit``, ``score`` and ``label``. `zoo info` says of each model which of
        these it is.

    Raises:
        UserError: as `evaluate`; there is no such sample or output; or the model tells neither.
    """
    run = load_run(run)
    tested = Tested.of(run, data, root, split, parameters)
    if not isinstance(sample, (int, np.integer)) or isinstance(sample, bool) or not 0 <= sample < len(tested.places):
        raise UserError(
            f"sample={sample!r} is out of range: {tested.split} has {len(tested.places)} samples, from 0 on."
        )
    batch = tested.batch(tested.places[[sample]])
    with torch.no_grad():
        told = run.model(batch)
        score = run.model.predict(told).reshape(-1)
        contributions = run.model.contributions(batch)
        place = _output_place(run.spec, score, output)
        attended = run.model.attended(batch, place)
    if contributions is not None:
        found = _contribution_rows(tested, sample, batch, contributions, place)
    elif attended is not None:
        found = _attended_rows(tested, sample, batch, attended)
    elif told.attention:
        found = _attention_rows(tested, sample, batch, told.attention)
    else:
        raise UserError(
            f"model {run.result.model!r} tells neither contributions nor attention: explain another model; "
            "`zoo list models` says which do."
        )
    found = Explained(found)
    found.attrs = {
        "output": run.spec.labels[place],
        "logit": float(told.logits[0, place]),
        "score": float(score[place]),
        "label": _plain(tested.samples.label[sample]),
    }
    return found


def _output_place(spec: Spec, score: torch.Tensor, output: str | None) -> int:
    if output is None:
        return int(score.argmax())
    if output not in spec.labels:
        raise UserError(f"the run has no output {output!r}: {nearest(output, spec.labels)}.")
    return spec.labels.index(output)


def _contribution_rows(tested: Tested, sample: int, batch: Batch, told: Contributions, place: int) -> pd.DataFrame:
    parts = [
        _events(tested, sample, batch, concept).assign(contribution=told.events[concept][:, place].double().numpy())
        for concept in tested.run.spec.concepts
    ]
    found = pd.concat(parts, ignore_index=True)
    found = found.sort_values("time", kind="stable", ignore_index=True)
    rest = {"concept": "rest", "code": "", "name": "", "contribution": float(told.rest[0, place])}
    return pd.concat([found.astype({"visit_id": "Int64"}), _row(rest, found)], ignore_index=True)


def _attended_rows(tested: Tested, sample: int, batch: Batch, attended: Attended) -> pd.DataFrame:
    parts = []
    for name, weights in attended.tokens.items():
        note = batch["note"]
        event = np.repeat(np.arange(len(note.ids)), note.token_offsets.diff().numpy())
        words = tested.run.spec.vocabularies["note"].tokenizer.words(note.tokens.tolist())
        rows = _events(tested, sample, batch, "note").iloc[event]
        parts.append(rows.assign(attention=name, token=words, weight=weights.double().numpy()))
    for name, (concept, weights) in attended.events.items():
        rows = _events(tested, sample, batch, concept)
        parts.append(rows.assign(attention=name, token="", weight=weights.double().numpy()))
    found = pd.concat(parts, ignore_index=True)
    return found[["attention", *EVENT, "token", "weight"]]


EVENT = ("concept", "visit_id", "time", "code", "name", "value", "unit")


def _events(tested: Tested, sample: int, batch: Batch, concept: str) -> pd.DataFrame:
    """The events of a concept in a batch of one sample, a row each, with the columns `EVENT`."""
    events, vocabulary = batch[concept], tested.run.spec.vocabularies[concept]
    visits, visit = _visits(tested, sample, batch), events.visit.numpy()
    place = (events.ids if events.variable is None else events.variable).numpy()
    since = pd.to_timedelta(np.round(events.time.numpy().astype(np.float64) * 3600), unit="s")
    units = ["", "", *(u or "" for u in vocabulary.units or [""] * len(vocabulary.codes))]
    value = tested.measured(sample).get(concept)
    value = np.full(len(place), np.nan) if value is None else value.astype(np.float64)
    codes = np.array(["<padding>", "<unknown>", *vocabulary.codes], object)[place].tolist()
    names = named(set(codes), concept, tested.data.dataset)
    return pd.DataFrame(
        {
            "concept": concept,
            "visit_id": visits.visit_id.to_numpy()[visit],
            "time": visits.start.to_numpy()[visit] + since,
            "code": codes,
            "name": [names[c] for c in codes],
            "value": value,
            "unit": np.where(np.isnan(value), "", np.array(units, object)[place]),
        }
    )


def _row(values: dict, like: pd.DataFrame) -> pd.DataFrame:
    """One row with the columns of a table, null where there is no value."""
    types = like.dtypes.to_dict() | {"visit_id": "Int64"}
    return pd.DataFrame({n: pd.Series([values.get(n)], dtype=t) for n, t in types.items()})


def _visits(tested: Tested, sample: int, batch: Batch) -> pd.DataFrame:
    """The visits of a batch of one sample, oldest first: ``visit_id`` and ``start``."""
    index = tested.data.visits
    own = index.numbers(tested.samples.visit_id.to_numpy()[[sample]])[0]
    numbers = own - int(batch.sample_visit[0]) + np.arange(len(batch.visit_start))
    return pd.DataFrame({"visit_id": index.visit_id[numbers], "start": index.start[numbers]})


def _attention_rows(tested: Tested, sample: int, batch: Batch, attention: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    visits = _visits(tested, sample, batch).rename(columns={"start": "time"})
    own = int(batch.sample_visit[0])
    weights = {n: w for n, w in attention.items() if w.ndim and w.shape[-1] == len(visits)}
    weights = {n: _per_visit(w, own) for n, w in weights.items() if _grows_with_visits(tested, n, len(visits))}
    parts = [visits.assign(attention=n, weight=w) for n, w in weights.items()]
    if not parts:
        raise UserError(f"model {tested.run.result.model!r} has no attention over visits: explain another model.")
    return pd.concat(parts, ignore_index=True)[["attention", "visit_id", "time", "weight"]]


def _grows_with_visits(tested: Tested, attention: str, visits: int) -> bool:
    """Whether an attention has a place for each visit, and not as many places by chance: another sample tells."""
    lengths = tested.batch(tested.places[:256]).row_lengths
    others = tested.places[:256][(lengths != visits).numpy()]
    if not len(others):
        return True
    batch = tested.batch(others[:1])
    with torch.no_grad():
        return tested.run.model(batch).attention[attention].shape[-1] == len(batch.visit_start)


def _per_visit(weights: torch.Tensor, own: int) -> np.ndarray:
    """(visits,) of an attention (..., visits), seen from the sample's own visit, averaged over heads and the like."""
    while weights.ndim > 1:
        seen_from_each = weights.ndim > 2 and weights.shape[-2] == weights.shape[-1]
        weights = weights[..., own, :] if seen_from_each else weights.mean(dim=0)
    return weights.double().numpy()


def _plain(label: object) -> object:
    return label.item() if isinstance(label, np.generic) else label
