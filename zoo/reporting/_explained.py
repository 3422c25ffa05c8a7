"""What a model looked at in one sample, as a heat map: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib import resources

import pandas as pd

LEAST = 0.005
"""The share of the largest weight under which nothing is coloured."""
HOW = {
    "contribution": "What each code adds to the logit: blue raises it, orange lowers it. All of them, and the rest, "
    "add up to the logit.",
    "token": "The darker a word or a code, the larger its weight, relative to the largest of the same attention. "
    "Attention says where the model looked, not why it decided so.",
    "weight": "The weight of each visit, relative to the largest of the same attention.",
}


def explained(found: pd.DataFrame, title: str) -> str:
    """The page of what `zoo.explain` returned; all text in it is escaped.

    Args:
        found: its table, with its ``attrs``.
        title: of the page.
    """
    style = "".join(resources.files("zoo.reporting").joinpath(f"{n}.css").read_text("utf-8") for n in ("page", "heat"))
    kind = next(k for k in HOW if k in found)
    parts = {"contribution": _contributions, "token": _attended, "weight": _visits}[kind](found)
    told = "output {output}, score {score:.4f}, logit {logit:.4f}, label {label}".format(**found.attrs)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(told)}</p>",
            f'<p class="soft">{escape(HOW[kind])}</p>',
            *parts,
            "</body>\n</html>\n",
        ]
    )


def _attended(found: pd.DataFrame) -> Iterator[str]:
    for name, rows in found.groupby("attention", sort=False):
        yield f"<h2>{escape(str(name))}</h2>"
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
        for place, code, name in zip(of_visit.index, of_visit.code, of_visit.name, strict=True):
            label = escape(code) + (f" <small>{escape(name)}</small>" if name else "")
            chips.append(_coloured(label, share[place], value[place], "li"))
        yield f'<ul class="codes">{"".join(chips)}</ul>'


def _visits(found: pd.DataFrame) -> Iterator[str]:
    for name, rows in found.groupby("attention", sort=False):
        yield f"<h2>{escape(str(name))}</h2>"
        largest = max(rows.weight.max(), 1e-12)
        cells = zip(rows.visit_id, rows.time, rows.weight, strict=True)
        chips = [_coloured(escape(f"visit {v}, {t}: {w:.4f}"), w / largest, w, "li") for v, t, w in cells]
        yield f'<ul class="codes">{"".join(chips)}</ul>'
