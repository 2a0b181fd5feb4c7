"""Curves as paths for an inline picture: both sides over each other, the first parting marked.

A series longer than the picture is wide is drawn by the lowest and the highest value of every column, so that a
spike survives; the picture says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from runbook.model.metric import Series, brief
from runbook.model.verdict import MetricComparison
from runbook.report.content import describe
from runbook.report.interface import Report

WIDTH, HEIGHT, GAP_HEIGHT = 640, 220, 96
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 12, 30
_COLUMNS = 500
_PICTURES = 48
_FEW_GAPS = 3
"""Fewer gaps than this make no picture."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in the picture and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Gap:
    """The gap between the two curves, in a box of WIDTH × GAP_HEIGHT; logarithmic."""

    path: str
    y: tuple[Tick, ...]


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
    gap: Gap | None = None
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def curves(report: Report) -> tuple[list[Curve], int]:
    """The pictures of all series, those that parted first, and how many more there would be."""
    names = list(dict.fromkeys([*report.series, *report.replay_series]))
    metrics = {m.name: m for m in report.comparison.metrics} if report.comparison else {}
    names.sort(key=lambda name: name not in metrics or metrics[name].first_parting is None)
    drawn = []
    for name in names[:_PICTURES]:
        curve = _draw(name, report.series.get(name), report.replay_series.get(name), metrics.get(name))
        if curve is not None:
            drawn.append(curve)
    return drawn, max(0, len(names) - _PICTURES)


def _draw(
    name: str, original: Series | None, replay: Series | None, metric: MetricComparison | None
) -> Curve | None:
    parting = metric.first_parting if metric is not None else None
    sides = [thinned(s) for s in (original, replay)]
    finite = [(x, y) for side in sides for x, y in side if isfinite(y)]
    if not finite:
        return None
    x0, x1 = span([x for x, _ in finite])
    y0, y1 = span([y for _, y in finite])

    def across(x: float) -> float:
        return _LEFT + (x - x0) / (x1 - x0) * (WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return HEIGHT - _BOTTOM - (y / 2 - y0 / 2) / (y1 / 2 - y0 / 2) * (HEIGHT - _TOP - _BOTTOM)

    paths, notes = [], []
    for series, side in zip((original, replay), sides, strict=True):
        paths.append(path([(across(x), down(y) if isfinite(y) else None) for x, y in side]))
        length = 0 if series is None else len(series.steps)
        if len(side) < length:
            notes.append(f"{length:,} points drawn by the lowest and highest of {_COLUMNS} columns")
        holes = 0 if series is None else sum(not isfinite(y) for _, y in _points(series, 0, length))
        if holes:
            notes.append(f"{holes:,} points are NaN or infinite and leave a gap")
    mark = (
        None if parting is None or not x0 <= parting <= x1 else Tick(across(parting), f"part at step {parting:,}")
    )
    if original is not None and replay is not None and parting is None:
        notes.append("the two curves coincide")
    if metric is not None and metric.parting is not None:
        notes += [describe(metric.parting), metric.parting.reading]
    return Curve(
        name=name,
        original=paths[0],
        replay=paths[1],
        x=tuple(Tick(across(v), _label(v)) for v in ticks(x0, x1, 6)),
        y=tuple(Tick(down(v), _label(v)) for v in ticks(y0, y1, 4)),
        parting=mark,
        caption="; ".join(dict.fromkeys(notes)),
        gap=None if original is None or replay is None or mark is None else _gap(original, replay, across),
    )


def _gap(original: Series, replay: Series, across: Callable[[float], float]) -> Gap | None:
    """The size of the gap at every common step, on a logarithmic scale; None where there is none to draw."""
    points = [(x, log10(y)) for x, y in gaps(original, replay) if y > 0]
    if len(points) < _FEW_GAPS:
        return None
    low, high = floor(min(y for _, y in points)), ceil(max(y for _, y in points))
    high = max(high, low + 1)

    def down(y: float) -> float:
        return GAP_HEIGHT - _BOTTOM / 3 - (y - low) / (high - low) * (GAP_HEIGHT - _TOP - _BOTTOM / 3)

    stride = max(1, (high - low) // 3)
    return Gap(
        path=path([(across(x), down(y)) for x, y in points]),
        y=tuple(Tick(down(y), f"1e{y}" if y else "1") for y in range(low, high + 1, stride)),
    )


def gaps(original: Series, replay: Series) -> list[tuple[float, float]]:
    """Step and |replay - original| where both are finite; of many, the largest of every column."""
    length = min(len(original.steps), len(replay.steps))
    columns = min(length, 2 * _COLUMNS)
    found = []
    for column in range(columns):
        low, high = column * length // columns, (column + 1) * length // columns
        pairs = zip(_points(original, low, high), _points(replay, low, high), strict=True)
        sizes = [(a[0], abs(b[1] - a[1])) for a, b in pairs if a[0] == b[0]]
        finite = [p for p in sizes if isfinite(p[1])]
        found += [max(finite, key=lambda p: p[1])] if finite else []
    return found


def _points(series: Series, low: int, high: int) -> list[tuple[float, float]]:
    """Floats only; a step or a value beyond doubles becomes an infinite value, which leaves a gap."""
    pairs = zip(series.steps[low:high], series.values[low:high], strict=True)
    floats = ((_float(s), _float(v)) for s, v in pairs)
    return [(x, y) if isfinite(x) else (0.0, x) for x, y in floats]


def thinned(series: Series | None) -> list[tuple[float, float]]:
    """The points, or of many the lowest and the highest of every column, and the ends; a column at a time."""
    length = 0 if series is None else len(series.steps)
    if series is None or length <= 2 * _COLUMNS:
        return [] if series is None else _points(series, 0, length)
    kept = []
    for column in range(_COLUMNS):
        part = _points(series, column * length // _COLUMNS, (column + 1) * length // _COLUMNS)
        finite = [p for p in part if isfinite(p[1])]
        chosen = {min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])} if finite else {part[0]}
        if finite and column in (0, _COLUMNS - 1):
            chosen.add(finite[0] if column == 0 else finite[-1])
        kept += sorted(chosen)
    return kept


def _float(number: float | str) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")


def span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest with some air where all are one."""
    values = [v for v in values if isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    if low == high:
        air = abs(low) * 0.05 or 1.0
        return low - air, high + air
    return low, high


def path(points: list[tuple[float, float | None]]) -> str:
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


def ticks(low: float, high: float, wanted: int) -> list[float]:
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
