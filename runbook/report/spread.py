"""Repeats for people: the spread of each metric as rows of a table, and as a picture on one line.

The picture: a dot for every repeat of the calibration and for every replay, a bar for the bundle's own value, the
95 % interval for one further run, and the margin around the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, sqrt

from runbook.model.calibration import Calibration
from runbook.model.metric import Number, brief
from runbook.model.record import Record
from runbook.model.verdict import MetricComparison, Statistics

WIDTH, HEIGHT = 640, 92
_LEFT, _RIGHT = 96, 18
_ROWS = {"calibration": 26.0, "replays": 50.0}
_AXIS = 70.0
_DOTS = 400
"""Dots of a row that are drawn."""


@dataclass(frozen=True)
class Row:
    """What the repeats of a bundle's calibration gave for one metric, as text."""

    metric: str
    n: str
    mean: str
    deviation: str
    low: str
    high: str


@dataclass(frozen=True)
class Strip:
    """One metric's picture in a box of WIDTH × HEIGHT; every number is a place in it."""

    name: str
    dots: tuple[tuple[str, float, float], ...]
    """(`calibration` or `replays`, x, y)."""
    own: float
    interval: tuple[float, float] | None
    margin: tuple[float, float] | None
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[tuple[str, float], ...]
    axis: float = _AXIS


@dataclass(frozen=True)
class Line:
    """One figure of a metric: what it is, and its value."""

    label: str
    text: str


def table(record: Record) -> list[Row]:
    """The calibration's figures, metric by metric."""
    calibration = record.calibration.value
    if calibration is None:
        return []
    return [_row(m.name, calibration) for m in record.metrics]


def _row(name: str, calibration: Calibration) -> Row:
    values = [_double(r.values.get(name, "NaN")) for r in calibration.completed()]
    kept = [v for v in values if isfinite(v)]
    n = f"{len(kept)}" if len(kept) == len(values) else f"{len(kept)} of {len(values)}"
    if not kept:
        return Row(name, n, "–", "–", "–", "–")
    low, high = min(kept), max(kept)
    mean = low if low == high else sum(v / len(kept) for v in kept)
    spread: float = sum((v - mean) * (v - mean) for v in kept) / max(1, len(kept) - 1)
    return Row(name, n, brief(mean), brief(sqrt(spread)) if len(kept) > 1 else "–", brief(low), brief(high))


def lines(metric: MetricComparison) -> list[Line]:
    """The figures behind a verdict by repeats, for somebody who reads statistics."""
    found = metric.statistics
    return [] if found is None else [Line(label, text) for label, text in _figures(found) if text]


def _figures(found: Statistics) -> Iterator[tuple[str, str]]:
    for label, side in (("calibration", found.calibration), ("replays", found.replayed)):
        if side is not None and side.n > 1:
            figures = f"n {side.n}, mean {brief(side.mean)}, s {brief(side.deviation)}"
            yield label, f"{figures}, from {brief(side.low)} to {brief(side.high)}"
    if found.interval is not None:
        p = _p(found.p_prediction, found.p_prediction_holm)
        yield "95 % interval for one run", f"{_span(found.interval)}, from the {found.interval_from}{p}"
    if found.difference is not None:
        means = f"{brief(found.difference)} ({found.used} runs of each side)"
        yield "difference of the means", means
    if found.difference_interval is not None:
        yield "its 90 % interval", _span(found.difference_interval)
    if found.margin:
        ratios = []
        if found.margin_of_value is not None:
            ratios.append(f"{found.margin_of_value * 100:.3g} % of |original|")
        if found.margin_in_deviations is not None:
            ratios.append(f"{found.margin_in_deviations:.3g} s")
        yield "margin", f"±{brief(found.margin)}" + (f" = {' = '.join(ratios)}" if ratios else "")
    if found.p_equivalent is not None:
        yield "equivalence (TOST)", _p(found.p_equivalent, found.p_equivalent_holm).removeprefix("; ")
    if found.p_different is not None:
        yield "difference beyond the margin", _p(found.p_different, found.p_different_holm).removeprefix("; ")
    if found.proportion is not None:
        yield "95 % interval of the proportion", f"{_span(found.proportion)} (Clopper-Pearson)"
    if found.floor:
        yield "binomial standard error", brief(found.floor)


def strips(metrics: tuple[MetricComparison, ...]) -> list[Strip]:
    """The pictures of all metrics that have repeats and do not give one number in all of them."""
    drawn = []
    for metric in metrics:
        if metric.statistics is not None and metric.original is not None and metric.verdict != "identical":
            strip = _strip(metric.name, _double(metric.original), metric.statistics)
            drawn += [strip] if strip is not None else []
    return drawn


def _strip(name: str, own: float, found: Statistics) -> Strip | None:
    margin = (own - found.margin, own + found.margin) if found.margin else None
    marks = [own, *found.values, *found.replays, *(found.interval or ()), *(margin or ())]
    if not all(map(isfinite, marks)) or len(found.values) + len(found.replays) < 2:
        return None
    low, high = min(marks), max(marks)
    air = (high / 2 - low / 2) * 0.12 or abs(low) * 0.05 or 1.0
    low, high = low - air, high + air
    if not isfinite(high - low):
        return None

    def across(x: float) -> float:
        return float(_LEFT + (x - low) / (high - low) * (WIDTH - _LEFT - _RIGHT))

    def pair(both: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if both is None else (across(both[0]), across(both[1]))

    sides = [("calibration", found.values), ("replays", found.replays)]
    shown = sorted({own, *(found.interval or (min(marks), max(marks)))})
    ticks: list[tuple[float, str]] = []
    for value in shown:
        if not ticks or across(value) - ticks[-1][0] > 70:
            ticks.append((across(value), brief(value)))
    return Strip(
        name=name,
        dots=tuple((side, across(v), _ROWS[side]) for side, values in sides for v in values[:_DOTS]),
        own=across(own),
        interval=pair(found.interval),
        margin=pair(margin),
        ticks=tuple(ticks),
        rows=tuple((side, _ROWS[side]) for side, values in sides if values),
    )


def _p(p: float | None, holm: float | None) -> str:
    if p is None:
        return ""
    adjusted = f" ({holm:.2g} by Holm)" if holm is not None and holm != p else ""
    return f"; p {p:.2g}{adjusted}"


def _span(both: tuple[float, float]) -> str:
    return f"{brief(both[0])} … {brief(both[1])}"


def _double(number: Number) -> float:
    try:
        found = float(number)
    except OverflowError:
        found = inf
    return found
