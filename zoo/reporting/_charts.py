"""Small charts as inline SVG: intervals and curves. Colours are those of the page's style, by place of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

COLOURS = 8
DASHES = ("", "7 3", "2 3", "9 3 2 3")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 260, 44, 10, 10, 36
NAME = 130
"""Room for a model's name in the plot of intervals."""


@dataclass(frozen=True)
class Line:
    """A line of a chart: its points, the place of its model, whether it is thin, marked at its points, or of steps."""

    name: str
    place: int
    x: Sequence[float]
    y: Sequence[float]
    thin: bool = False
    marked: bool = False
    steps: bool = False


def style(place: int) -> str:
    """The stroke of a model; beyond eight models colours come again with other dashes."""
    dash = DASHES[place // COLOURS % len(DASHES)]
    return f"stroke:var(--c{place % COLOURS})" + (f";stroke-dasharray:{dash}" if dash else "")


def swatch(place: int) -> str:
    """A piece of a model's line, for the key."""
    return (
        '<svg viewBox="0 0 26 8" aria-hidden="true">'
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

    parts = [f'<path class="grid" d="M{x(t):.1f} {TOP}V{floor}"/>{_text(x(t), floor + 15, t)}' for t in ticks]
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
) -> str:
    """Lines between axes.

    Args:
        title: what the chart shows, for those who cannot see it.
        lines: without points that are NaN.
        across, up: what the axes show.
        unit: both axes go from 0 to 1.
        diagonal: also draw where both are equal.
        whole: the axis across has whole numbers only.
    """
    if unit:
        (left, right, across_ticks), (low, high, up_ticks) = [(0.0, 1.0, np.linspace(0, 1, 6))] * 2
    else:
        xs, ys = (np.concatenate([np.asarray(getattr(s, n), float) for s in lines]) for n in "xy")
        left, right, across_ticks = _scale(xs.min(), xs.max(), tight=True)
        low, high, up_ticks = _scale(ys.min(), ys.max())
        if whole:
            across_ticks = sorted({round(t) for t in across_ticks if left <= round(t) <= right})
    floor = HEIGHT - BOTTOM

    def x(value):
        return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value):
        return floor - (value - low) / (high - low) * (floor - TOP)

    parts = [f'<path class="grid" d="M{LEFT} {y(t):.1f}H{WIDTH - RIGHT}"/>' for t in up_ticks]
    parts += [_text(LEFT - 5, y(t) + 4, t, "end") for t in up_ticks]
    parts += [_text(x(t), floor + 14, t) for t in across_ticks]
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(11 {(TOP + floor) / 2}) rotate(-90)" text-anchor="middle">')
    parts.append(f"{escape(up)}</text>")
    if diagonal:
        parts.append(f'<path class="axis thin" d="M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}"/>')
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


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{inside}</svg>'


def _text(x: float, y: float, value: float, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{value:.4g}</text>'


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
    ticks = [float(t * step) for t in np.arange(first, last + 1)]
    return (float(low), float(high), ticks) if tight else (ticks[0], ticks[-1], ticks)
