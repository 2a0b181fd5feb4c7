"""What a replay that was stopped before its end can be compared in: every series up to where it got.

Final values say nothing then: the last value of a series that was cut is a point of it, and a value that is
written once may still change. They are left out and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from runbook.model.metric import Metric, Series
from runbook.model.verdict import MetricComparison, Partial


@dataclass(frozen=True)
class Stop:
    """Why a replay was stopped, and up to which step its series count."""

    why: str
    until: int | None = None
    """None: every point that was reached."""


@dataclass(frozen=True)
class Prefixes:
    """Both sides as far as they go together: metrics and series of the same names and lengths."""

    original: tuple[Metric, ...]
    replay: tuple[Metric, ...]
    series_a: dict[str, Series]
    series_b: dict[str, Series]
    partial: Partial
    whole: dict[str, int]
    """Points of each series of the original."""


def prefixes(
    original: Sequence[Metric],
    replay: Sequence[Metric],
    series_a: Mapping[str, Series],
    series_b: Mapping[str, Series],
    stop: Stop,
) -> Prefixes:
    """Cut both sides to the same points of each series."""
    b = {metric.name: metric for metric in replay}
    sides: tuple[list[Metric], list[Metric]] = ([], [])
    cut: tuple[dict[str, Series], dict[str, Series]] = ({}, {})
    left_out = []
    for metric in original:
        whole, other = series_a.get(metric.name), b.get(metric.name)
        pair = _pair(whole, series_b.get(metric.name), other, stop.until) if whole is not None else None
        if pair is None or other is None:
            left_out.append(metric.name)
            continue
        for side, one, series, curves in zip(sides, (metric, other), pair, cut, strict=True):
            side.append(msgspec.structs.replace(one, final=series.values[-1], points=len(series.values)))
            curves[metric.name] = series
    steps = [step for curve in cut[1].values() for step in (curve.steps[0], curve.steps[-1])]
    partial = Partial(
        why=stop.why,
        first=min(steps, default=None),
        last=max(steps, default=None),
        of=max((curve.steps[-1] for curve in series_a.values()), default=None),
        points=sum(len(curve.values) for curve in cut[1].values()),
        of_points=sum(len(curve.values) for curve in series_a.values()),
        left_out=tuple(left_out),
    )
    whole_lengths = {name: len(one.values) for name, one in series_a.items()}
    return Prefixes(tuple(sides[0]), tuple(sides[1]), cut[0], cut[1], partial, whole_lengths)


def reached(whole: Series, so_far: Series | None, until: int) -> bool:
    """Whether all of the original's points up to this step have been logged again."""
    wanted = sum(step <= until for step in whole.steps)
    return so_far is not None and len(so_far.values) >= wanted


def as_partial(metric: MetricComparison, whole: int) -> MetricComparison:
    """The verdict of a series that agrees as far as it got."""
    if metric.verdict not in ("identical", "within tolerance"):
        return metric
    reason = f"{metric.verdict} at {metric.points:,} of {whole:,} points"
    said = f"{reason}; {metric.reason}" if metric.reason else reason
    return msgspec.structs.replace(metric, verdict="partial", reason=said)


def _pair(
    whole: Series, so_far: Series | None, metric: Metric | None, until: int | None
) -> tuple[Series, Series] | None:
    """Both series as far as both go; None where one has no point there."""
    if so_far is None:
        if metric is None:
            return None
        # A single point is no series yet, and its step is not kept: it is the first.
        so_far = Series(steps=whole.steps[:1], values=(metric.final,))
    if whole.steps == tuple(range(len(whole.steps))) and so_far.steps != whole.steps[: len(so_far.steps)]:
        # Points that only the whole log numbers, because a counter in it begins anew later.
        so_far = Series(steps=tuple(range(len(so_far.values))), values=so_far.values)
    if until is not None:
        whole, so_far = _up_to(whole, until), _up_to(so_far, until)
    length = min(len(whole.values), len(so_far.values))
    if not length:
        return None
    return _head(whole, length), _head(so_far, length)


def _up_to(series: Series, until: int) -> Series:
    kept = [at for at, step in enumerate(series.steps) if step <= until]
    return Series(steps=tuple(series.steps[at] for at in kept), values=tuple(series.values[at] for at in kept))


def _head(series: Series, length: int) -> Series:
    return Series(steps=series.steps[:length], values=series.values[:length])
