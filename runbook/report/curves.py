"""Curves as paths for an inline picture: both sides over each other, the first parting marked.

A series longer than the picture is wide is drawn by the lowest and the highest value of every column, so that a
spike survives; the picture says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from runbook.model.metric import Series, brief
from runbook.report.interface import Report

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 12, 30
_COLUMNS = 500
_PICTURES = 48


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in the picture and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """One metric's picture; paths are SVG path data in a box of WIDTH × HEIGHT."""

    name: str
    original: str
    replay: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    parting: Tick | None
    caption: str
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def curves(report: Report) -> tuple[list[Curve], int]:
    """The pictures of all series, those that parted first, and how many more there would be."""
    names = list(dict.fromkeys([*report.series, *report.replay_series]))
    partings = {m.name: m.first_parting for m in report.comparison.metrics} if report.comparison else {}
    names.sort(key=lambda name: partings.get(name) is None)
    drawn = []
    for name in names[:_PICTURES]:
        curve = _draw(name, report.series.get(name), report.replay_series.get(name), partings.get(name))
        if curve is not None:
            drawn.append(curve)
    return drawn, max(0, len(names) - _PICTURES)


def _draw(name: str, original: Series | None, replay: Series | None, parting: int | None) -> Curve | None:
    sides = [_points(s) for s in (original, replay)]
    finite = [(x, y) for side in sides for x, y in side if isfinite(y)]
    if not finite:
        return None
    x0, x1 = _span([x for x, _ in finite])
    y0, y1 = _span([y for _, y in finite])

    def across(x: float) -> float:
        return _LEFT + (x - x0) / (x1 - x0) * (WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return HEIGHT - _BOTTOM - (y / 2 - y0 / 2) / (y1 / 2 - y0 / 2) * (HEIGHT - _TOP - _BOTTOM)

    paths, notes = [], []
    for side in sides:
        shown = _thin(side)
        paths.append(_path([(across(x), down(y) if isfinite(y) else None) for x, y in shown]))
        if len(shown) < len(side):
            notes.append(f"{len(side):,} points drawn by the lowest and highest of {_COLUMNS} columns")
        holes = sum(not isfinite(y) for _, y in side)
        if holes:
            notes.append(f"{holes:,} points are NaN or infinite and leave a gap")
    mark = (
        None if parting is None or not x0 <= parting <= x1 else Tick(across(parting), f"part at step {parting:,}")
    )
    if original is not None and replay is not None and parting is None:
        notes.append("the two curves coincide")
    return Curve(
        name=name,
        original=paths[0],
        replay=paths[1],
        x=tuple(Tick(across(v), _label(v)) for v in _ticks(x0, x1, 6)),
        y=tuple(Tick(down(v), _label(v)) for v in _ticks(y0, y1, 4)),
        parting=mark,
        caption="; ".join(dict.fromkeys(notes)),
    )


def _points(series: Series | None) -> list[tuple[float, float]]:
    """Floats only; a step or a value beyond doubles becomes an infinite value, which leaves a gap."""
    if series is None:
        return []
    pairs = [(_float(s), _float(v)) for s, v in zip(series.steps, series.values, strict=True)]
    return [(x, y) if isfinite(x) else (0.0, x) for x, y in pairs]


def _float(number: float | str) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest with some air where all are one."""
    values = [v for v in values if isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    if low == high:
        air = abs(low) * 0.05 or 1.0
        return low - air, high + air
    return low, high


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= 2 * _COLUMNS:
        return points
    thinned = []
    for column in range(_COLUMNS):
        part = points[column * len(points) // _COLUMNS : (column + 1) * len(points) // _COLUMNS]
        finite = [p for p in part if isfinite(p[1])]
        chosen = {min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])} if finite else {part[0]}
        thinned += sorted(chosen)
    return thinned


def _path(points: list[tuple[float, float | None]]) -> str:
    """SVG path data; a single point between gaps is drawn as a dot (a line of no length with round ends)."""
    parts, pen = [], False
    for x, y in points:
        if y is None:
            pen = False
            continue
        parts.append(f"{'L' if pen else 'M'}{x:.1f} {y:.1f}")
        if not pen:
            parts.append("h0")
        pen = True
    return "".join(parts)


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers between the two, about so many."""
    step = (high / 2 - low / 2) / wanted * 2
    if not isfinite(step) or step <= 0:
        return [low, high]
    magnitude = 10.0 ** floor(log10(step))
    if magnitude == 0:
        return [low, high]
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= step * 0.999)
    if not isfinite(low / step) or abs(low / step) > 1e12:
        return [low, high]
    first = floor(low / step)
    marks = [(first + i) * step for i in range(wanted * 3)]
    return [m for m in marks if low - step * 1e-9 <= m <= high + step * 1e-9]


def _label(value: float) -> str:
    if value == int(value) and abs(value) < 10**7:
        return f"{int(value):,}"
    return brief(value)
