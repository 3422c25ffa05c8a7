"""Small charts as SVG: intervals and curves, within a page or as a picture of their own.

Colours are those of ``colours.css``, by place of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from zoo.reporting._styles import styles, with_own_colours

COLOURS = 8
DASHES = ("", "7 3", "2 3", "9 3 2 3")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 260, 44, 10, 10, 36
NAME = 130
"""Room for a model's name in the plot of intervals."""
LETTER = 7
"""How wide a letter of 11 px is at most, but for a few."""


@dataclass(frozen=True)
class Line:
    """A line of a chart: its points, the place of its model, whether it is thin, marked at its points, or of steps.

    ``low`` and ``high`` are a band around it: as many as points, NaN where there is none; or none at all.
    """

    name: str
    place: int
    x: Sequence[float]
    y: Sequence[float]
    thin: bool = False
    marked: bool = False
    steps: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def style(place: int) -> str:
    """The stroke of a model; beyond eight models colours come again with other dashes."""
    dash = DASHES[place // COLOURS % len(DASHES)]
    return f"stroke:var(--c{place % COLOURS})" + (f";stroke-dasharray:{dash}" if dash else "")


def swatch(place: int) -> str:
    """A piece of a model's line, for the key."""
    return (
        '<svg viewBox="0 0 26 8" width="26" height="8" aria-hidden="true">'
        f'<path class="curve" d="M1 4H25" style="{style(place)};stroke-width:3"/></svg>'
    )


def intervals(title: str, rows: Sequence[tuple[str, int, dict]], ceiling: float | None = None) -> str:
    """Values with their intervals, a row each: name, place of the model, and ``value``, ``low``, ``high``.

    A ceiling is a dashed line through all of them.
    """
    ends = [v for _, _, f in rows for v in (f["value"], f["low"], f["high"], ceiling) if v is not None]
    low, high, ticks = _scale(min(ends), max(ends))
    height = TOP + 24 * len(rows) + BOTTOM
    floor = height - BOTTOM

    def x(value: float) -> float:
        return NAME + (value - low) / (high - low) * (WIDTH - NAME - 16)

    parts = [
        f'<path class="grid" d="M{x(t):.1f} {TOP}V{floor}"/>{_text(x(t), floor + 15, told)}'
        for t, told in _labels(ticks)
    ]
    if ceiling is not None:
        path = f'<path class="axis thin" d="M{x(ceiling):.1f} {TOP}V{floor}">'
        parts.append(f"{path}<title>ceiling: {ceiling:.4f}</title></path>")
    for number, (name, place, found) in enumerate(rows):
        y = TOP + 24 * number + 12
        shown = name if len(name) <= 20 else name[:19] + "…"
        parts.append(f'<text x="{NAME - 8}" y="{y + 4}" text-anchor="end">{escape(shown)}</text>')
        colour = f"var(--c{place % COLOURS})"
        if found["low"] is not None:
            path = f"M{x(found['low']):.1f} {y}H{x(found['high']):.1f}"
            parts.append(f'<path class="curve" d="{path}" style="{style(place)};stroke-width:2.5"/>')
        told = f"<title>{escape(name)}: {found['value']:.4f}</title>"
        parts.append(f'<circle cx="{x(found["value"]):.1f}" cy="{y}" r="4.5" style="fill:{colour}">{told}</circle>')
    return _svg(title, height, parts)


def curves(
    title: str,
    lines: Sequence[Line],
    across: str,
    up: str,
    *,
    unit: bool = False,
    diagonal: bool = False,
    whole: bool = False,
    from_zero: bool = False,
) -> str:
    """Lines between axes.

    Args:
        title: what the chart shows, for those who cannot see it.
        lines: without points that are NaN.
        across, up: what the axes show.
        unit: both axes go from 0 to 1.
        diagonal: also draw where both are equal.
        whole: the axis across has whole numbers only.
        from_zero: the axis across begins at 0.
    """
    if unit:
        (left, right, across_ticks), (low, high, up_ticks) = [(0.0, 1.0, np.linspace(0, 1, 6))] * 2
    else:
        xs, *ys = (np.concatenate([np.asarray(getattr(s, n), float) for s in lines]) for n in ("x", "y", "low", "high"))
        ys = np.concatenate(ys)
        left, right, across_ticks = _scale(0.0 if from_zero else xs.min(), xs.max(), tight=True)
        low, high, up_ticks = _scale(np.nanmin(ys), np.nanmax(ys))
        if whole:
            across_ticks = sorted({round(t) for t in across_ticks if left <= round(t) <= right})
    floor = HEIGHT - BOTTOM
    side = max(LEFT, 22 + LETTER * max(len(told) for _, told in _labels(up_ticks)))

    def x(value):
        return side + (value - left) / (right - left) * (WIDTH - side - RIGHT)

    def y(value):
        return floor - (value - low) / (high - low) * (floor - TOP)

    parts = [f'<path class="grid" d="M{side:g} {y(t):.1f}H{WIDTH - RIGHT}"/>' for t in up_ticks]
    parts += [_text(side - 5, y(t) + 4, told, "end") for t, told in _labels(up_ticks)]
    parts += [_text(x(t), floor + 14, told) for t, told in _labels(across_ticks)]
    parts.append(f'<path class="axis" d="M{side:g} {TOP}V{floor}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text x="{(side + WIDTH) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(11 {(TOP + floor) / 2}) rotate(-90)" text-anchor="middle">')
    parts.append(f"{escape(up)}</text>")
    if diagonal:
        parts.append(f'<path class="axis thin" d="M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}"/>')
    parts += [_band(line, x, y) for line in lines if len(line.low)]
    for line in lines:
        points = [f"{x(a):.1f} {y(b):.1f}" for a, b in zip(line.x, line.y, strict=True)]
        path = "M" + "L".join(points)
        if line.steps:  # between two points the height of the second
            pairs = [p.split() for p in points]
            path = f"M{points[0]}" + "".join(f"V{b}H{a}" for a, b in pairs[1:])
        look = "curve thin" if line.thin else "curve"
        stroke = f"stroke:var(--c{line.place % COLOURS})" if line.thin else style(line.place)
        parts.append(f'<path class="{look}" d="{path}" style="{stroke}">')
        parts.append(f"<title>{escape(line.name)}</title></path>")
        if line.marked or len(points) == 1:
            fill = f"fill:var(--c{line.place % COLOURS})"
            for point in points:
                cx, cy = point.split()
                parts.append(f'<circle cx="{cx}" cy="{cy}" r="2.8" style="{fill}"/>')
    return _svg(title, HEIGHT, parts)


def _band(line: Line, x: Callable, y: Callable) -> str:
    """What lies between the low and the high of a line, and a bar at each of its points."""
    known = [(a, b, c) for a, b, c in zip(line.x, line.low, line.high, strict=True) if not np.isnan(b)]
    if not known:
        return ""
    upper = [f"{x(a):.1f} {y(c):.1f}" for a, _, c in known]
    lower = [f"{x(a):.1f} {y(b):.1f}" for a, b, _ in known]
    colour = f"var(--c{line.place % COLOURS})"
    bars = "".join(f"M{b}L{c}" for b, c in zip(lower, upper, strict=True))
    return (
        f'<path class="band" d="M{"L".join(upper + lower[::-1])}Z" style="fill:{colour}"/>'
        f'<path class="bar" d="{bars}" style="stroke:{colour}"/>'
    )


def picture(title: str, below: str, chart: str, models: Sequence[tuple[str, int]]) -> str:
    """A file of its own with a chart: it has its colours in itself, and needs no page.

    Args:
        title, below: the first line, and a smaller one.
        chart: as `curves` gives it.
        models: names and places, for the key at the right.
    """
    key, top, step = WIDTH + 14, 44, 18
    width = max(key + 34 + LETTER * max(len(name) for name, _ in models), 1.4 * LETTER * len(title)) + RIGHT
    height = max(top + HEIGHT, top + step * len(models)) + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{2 * width:g}" '
        f'height="{2 * height}" role="img" aria-label="{escape(title)}">',
        f"<style>{styles('chart')}svg {{ color: var(--ink); }}</style>",
        '<rect width="100%" height="100%" style="fill:var(--card)"/>',
        f'<text class="title" x="{RIGHT}" y="20">{escape(title)}</text>',
        f'<text class="below" x="{RIGHT}" y="36">{escape(below)}</text>',
        f'<g transform="translate(0 {top})">{chart}</g>',
    ]
    for number, (name, place) in enumerate(models):
        parts.append(f'<g transform="translate({key} {top + TOP + step * number})">{swatch(place)}')
        parts.append(f'<text x="32" y="8">{escape(name)}</text></g>')
    return with_own_colours("\n".join([*parts, "</svg>\n"]))


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    inside = "".join(parts)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{escape(title)}">{inside}</svg>'


def _text(x: float, y: float, told: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{told}</text>'


def _labels(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks with what stands at them, all with as many decimals as their step has.

    >>> _labels([0.8, 0.85, 0.9])
    [(0.8, '0.80'), (0.85, '0.85'), (0.9, '0.90')]
    """
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1
    decimals = max(0, int(np.ceil(-np.log10(step) - 1e-6)))
    return [(t, f"{t:.{decimals}f}") for t in ticks]


def _scale(low: float, high: float, tight: bool = False) -> tuple[float, float, list[float]]:
    """The ends of an axis, and four to seven round ticks; ``tight`` lets it end where the values do."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 5
    power = 10 ** np.floor(np.log10(rough))
    step = float(next(s * power for s in (1, 2, 5, 10) if s * power >= rough))
    first, last = (
        (np.ceil(low / step), np.floor(high / step)) if tight else (np.floor(low / step), np.ceil(high / step))
    )
    ticks = [float(t * step + 0.0) for t in np.arange(first, last + 1)]
    return (float(low), float(high), ticks) if tight else (ticks[0], ticks[-1], ticks)
