"""What a model looked at in one sample: a table for a terminal, and a heat map on a page that needs nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import pandas as pd

from zoo.reporting._styles import styles

TOP = 20
"""How many are shown one by one, the largest ones."""
BAR = 12
"""How long the bar of the largest one is on a terminal."""
AROUND = 3
"""How many tokens are shown on either side of one."""
LEAST = 0.005
"""The share of the largest weight under which nothing is coloured."""
HOW = {
    "contribution": "What each code adds to the logit: blue raises it, orange lowers it. All of them, and the rest, "
    "add up to the logit.",
    "token": "The darker a word or a code, the larger its weight, relative to the largest of the same attention. "
    "Attention says where the model looked, not why it decided so.",
    "weight": "The weight of each visit, relative to the largest of the same attention.",
}
ALL = {"contribution": "All events, by visit", "token": "All words and codes", "weight": "All visits"}


class Explained(pd.DataFrame):
    """What `zoo.explain` returns: a table that shows itself as `told` and `ranked` say; parts of it are plain ones."""

    def __repr__(self) -> str:
        return told(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return "".join(ranked(self))


@dataclass(frozen=True)
class Line:
    """One of the largest ones.

    Attributes:
        amount: its contribution or weight.
        share: of the largest there is.
        what: a name, else a code; or a token among others.
        value: what was measured, with its unit; or the note that a token is of.
        when: its time.
        code: its code.
    """

    amount: float
    share: float
    what: str
    value: str
    when: str
    code: str


def told(found: pd.DataFrame, width: int | None = None, top: int = TOP) -> str:
    """What `zoo.explain` returned as lines of text, the largest first, each with a bar.

    Args:
        found: its table, with its ``attrs``.
        width: how long a line is at most; that of the terminal by default.
        top: how many are told of each attention, or of all contributions.
    """
    width = width or shutil.get_terminal_size().columns
    lines = []
    for title, rows, below in _ranked(found, top):
        lines += [
            f"{_cut(title, width - 19)}, the largest first",
            *_aligned(rows, width, "+-" if "contribution" in found else "#"),
            *(f"  {b}" for b in below),
        ]
    return "\n".join(_cut(line, width) for line in lines)


def _aligned(rows: list[Line], width: int, strokes: str) -> Iterator[str]:
    """A line each. Where there is no room, codes are left out first, and names are cut then."""
    amount, value, when, code = (
        max((len(cell(r)) for r in rows), default=0)
        for cell in (lambda r: _amount(r, strokes), lambda r: r.value, lambda r: r.when, lambda r: r.code)
    )
    room = width - (2 + amount + 1 + BAR) - sum(2 + n for n in (value, when) if n) - 2
    name = max((len(r.what) for r in rows), default=0)
    with_codes = code > 0 and name + 2 + code <= room
    name = min(name, room - (2 + code if with_codes else 0))
    for row in rows:
        stroke = strokes[-1] if row.amount < 0 else strokes[0]
        bar = stroke * round(abs(row.share) * BAR)
        cells = [f"  {_amount(row, strokes):>{amount}} {bar:<{BAR}}", f"{_cut(row.what, name):<{name}}"]
        cells += [f"{row.code:<{code}}"] if with_codes else []
        cells += [f"{row.value:<{value}}"] if value else []
        yield "  ".join([*cells, row.when]).rstrip()


def _amount(row: Line, strokes: str) -> str:
    return f"{row.amount:+.4f}" if len(strokes) > 1 else f"{row.amount:.4f}"


def _cut(text: str, length: int) -> str:
    """A text of at most so many characters; what stands in brackets is kept.

    >>> _cut("walks with a [walker] at home", 20), _cut("walks with a cane", 12)
    ('...a [walker] at ...', 'walks wit...')
    """
    if len(text) <= length:
        return text
    begin = max(text.find("]") + 1 - (length - 6) * 3 // 4, 0)
    if not begin or length < 8:
        return f"{text[: max(length - 3, 0)]}..."
    end = begin + length - 6
    return f"...{text[begin:end]}..." if end < len(text) - 3 else f"...{text[3 - length :]}"


def _ranked(found: pd.DataFrame, top: int) -> Iterator[tuple[str, list[Line], list[str]]]:
    """For all contributions, or of each attention: a title, the largest ones, and what is said below."""
    if "contribution" in found:
        rest = found[found.concept == "rest"].contribution.sum()
        events = found[found.concept != "rest"]
        lines, others = _largest(events, events.contribution, top)
        small = [f"{len(others)} smaller ones: {others.sum():+.4f} together"] if len(others) else []
        logit = found.contribution.sum()
        below = [*small, f"the rest, which no event adds: {rest:+.4f}", f"all together, the logit: {logit:+.4f}"]
        yield f"what events add to the logit of {found.attrs['output']}", lines, below
        return
    for name, rows in found.groupby("attention", sort=False):
        what = "visits" if "code" not in rows else "words" if rows.token.astype(bool).all() else "codes"
        lines, others = _largest(rows, rows.weight, top)
        if what == "words" and len({(r.value, r.when) for r in lines}) == 1:  # all of one note
            what = f"{lines[0].value} of {lines[0].when}"
            lines = [replace(r, value="", when="") for r in lines]
        small = [f"{len(others)} smaller ones: {others.sum():.4f} together"] if len(others) else []
        yield f"attention {name!r} to {what}", lines, small


def _largest(rows: pd.DataFrame, amount: pd.Series, top: int) -> tuple[list[Line], pd.Series]:
    """The largest rows, and the amounts of all others."""
    order = np.argsort(-amount.abs().to_numpy(), kind="stable")
    largest = max(amount.abs().max(), 1e-12) if len(amount) else 1.0
    lines = [_line(rows, n, float(amount.iloc[n]), float(amount.iloc[n] / largest)) for n in order[:top].tolist()]
    return lines, amount.iloc[order[top:]]


def _line(rows: pd.DataFrame, n: int, amount: float, share: float) -> Line:
    row = rows.iloc[n]
    when = f"{row.time:%Y-%m-%d %H:%M}" if isinstance(row.time, pd.Timestamp) else str(row.time)
    if "code" not in rows:
        return Line(amount, share, f"visit {row.visit_id}", "", when, "")
    name = row["name"] or row.code
    if row.get("token"):
        return Line(amount, share, _among_others(rows, n), name, when, row.code)
    return Line(amount, share, name, measured(row.get("value"), row.get("unit")), when, row.code)


def measured(value: float | None, unit: str | None) -> str:
    """A value with its unit; nothing where nothing was measured.

    >>> measured(2.1000001, "mg/dL"), measured(7.4, ""), measured(float("nan"), "")
    ('2.1 mg/dL', '7.4', '')
    """
    return "" if value is None or np.isnan(value) else f"{value:.4g} {unit or ''}".rstrip()


def _among_others(rows: pd.DataFrame, n: int) -> str:
    """A token in brackets among those of its note that stand around it."""
    low = max(n - AROUND, 0)
    near = rows.iloc[low : n + AROUND + 1]
    own = near[["visit_id", "time", "code"]].eq(rows.iloc[n][["visit_id", "time", "code"]]).all(axis=1).to_numpy()
    found = ""
    for place, token in enumerate(near.token):
        if own[place] and token:
            text = token.removeprefix("##")
            text = f"[{text}]" if low + place == n else text
            found += text if token.startswith("##") or not found else f" {text}"
    return found


def ranked(found: pd.DataFrame, top: int = TOP) -> Iterator[str]:
    """The same as HTML: tables with a bar in each row; all text in them is escaped."""
    for title, rows, below in _ranked(found, top):
        yield f"<h2>{escape(title)}, the largest first</h2>"
        yield '<div class="scroll" tabindex="0"><table><tbody>'
        for row in rows:
            colour = COLOURS[row.amount < 0]
            bar = f"display:inline-block;height:.7em;width:{abs(row.share) * 8:.2f}em;background:{colour}"
            amount = f"{row.amount:+.4f}" if "contribution" in found else f"{row.amount:.4f}"
            code = f" <small>{escape(row.code)}</small>" if row.code != row.what else ""
            yield f'<tr><td class="number">{amount}</td><td><span style="{bar}"></span></td>'
            yield f'<td>{escape(row.what)}{code}</td><td class="number">{escape(row.value)}</td>'
            yield f'<td class="number">{escape(row.when)}</td></tr>'
        yield "</tbody></table></div>"
        yield from (f'<p class="soft">{escape(b)}</p>' for b in below)


COLOURS = ("#2f6db3", "#b3542f")
"""Of bars: what raises the logit, or is a weight; and what lowers it."""


def explained(found: pd.DataFrame, title: str) -> str:
    """The page of what `zoo.explain` returned; all text in it is escaped.

    Args:
        found: its table, with its ``attrs``.
        title: of the page.
    """
    kind = next(k for k in HOW if k in found)
    parts = {"contribution": _contributions, "token": _attended, "weight": _visits}[kind](found)
    told = "output {output}, score {score:.4f}, logit {logit:.4f}, label {label}".format(**found.attrs)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{styles('colours', 'page', 'heat')}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(told)}</p>",
            f'<p class="soft">{escape(HOW[kind])}</p>',
            *ranked(found),
            f"<h2>{ALL[kind]}</h2>",
            *parts,
            "</body>\n</html>\n",
        ]
    )


def _attended(found: pd.DataFrame) -> Iterator[str]:
    for name, rows in found.groupby("attention", sort=False):
        yield f"<h3>{escape(str(name))}</h3>"
        largest = rows.weight.max()
        for (visit, time, code), of_event in rows.groupby(["visit_id", "time", "code"], sort=False):
            if of_event.token.astype(bool).any():
                yield f"<h3>{escape(f'{code}, visit {visit}, {time}')}</h3>"
                yield f'<p class="note">{_words(of_event, largest)}</p>'
        codes = rows[~rows.token.astype(bool)]
        if len(codes):
            yield from _chips(codes, codes.weight / largest, codes.weight)


def _words(rows: pd.DataFrame, largest: float) -> str:
    """Tokens as text; a piece that goes on within a word follows without a blank."""
    found = []
    for token, weight in zip(rows.token, rows.weight, strict=True):
        goes_on = token.startswith("##")
        text = escape(token.removeprefix("##"))
        found.append(("" if goes_on or not found else " ") + _coloured(text, weight / largest, weight))
    return "".join(found)


def _coloured(text: str, share: float, value: float, tag: str = "span") -> str:
    if abs(share) < LEAST:
        return text if tag == "span" else f"<{tag}>{text}</{tag}>"
    side = "up" if share > 0 else "down"
    return f'<{tag} class="{side}" style="--w:{abs(share):.3f}" title="{value:.4g}">{text}</{tag}>'


def _contributions(found: pd.DataFrame) -> Iterator[str]:
    rest = found[found.concept == "rest"]
    events = found[found.concept != "rest"]
    yield from _chips(events, events.contribution / max(events.contribution.abs().max(), 1e-12), events.contribution)
    yield f'<p class="soft">The rest adds {rest.contribution.sum():.4f}.</p>'


def _chips(rows: pd.DataFrame, share: pd.Series, value: pd.Series) -> Iterator[str]:
    """Codes of each visit, one after the other."""
    for visit, of_visit in rows.groupby("visit_id", sort=False, dropna=False):
        yield f"<h3>{escape(f'visit {visit}, {of_visit.time.min()}')}</h3>"
        chips = []
        for n, place in enumerate(of_visit.index):
            line = _line(of_visit, n, 0.0, 0.0)
            small = " ".join(t for t in (line.value, line.code if line.code != line.what else "") if t)
            label = escape(line.what) + (f" <small>{escape(small)}</small>" if small else "")
            chips.append(_coloured(label, share[place], value[place], "li"))
        yield f'<ul class="codes">{"".join(chips)}</ul>'


def _visits(found: pd.DataFrame) -> Iterator[str]:
    for name, rows in found.groupby("attention", sort=False):
        yield f"<h3>{escape(str(name))}</h3>"
        largest = max(rows.weight.max(), 1e-12)
        cells = zip(rows.visit_id, rows.time, rows.weight, strict=True)
        chips = [_coloured(escape(f"visit {v}, {t}: {w:.4f}"), w / largest, w, "li") for v, t, w in cells]
        yield f'<ul class="codes">{"".join(chips)}</ul>'
