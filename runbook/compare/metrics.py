"""The verdict of one metric: exact identity of its final value and its whole series first, tolerance after.

Equality is of numbers: 1 and 1.0 are one number, and so are 0.0 and -0.0 (noted where it happens). NaN equals NaN
in the same place, and Infinity likewise, but what is not finite is never within a tolerance: a metric that holds
NaN or Infinity is identical or it is different.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import zip_longest
from math import copysign, isfinite, isnan
from typing import NamedTuple

from runbook.compare.tolerances import Applied, allowance, choose, gap
from runbook.model.metric import Metric, Number, Series, Tolerance, brief, to_number
from runbook.model.verdict import MetricComparison, Verdict


class _Point(NamedTuple):
    """One aligned pair; `where` is a step, or None for the final value."""

    where: int | None
    original: float
    replay: float

    def place(self) -> str:
        return "in the final value" if self.where is None else f"at step {self.where}"


def compare_metrics(
    original: Sequence[Metric],
    replay: Sequence[Metric],
    series_a: Mapping[str, Series],
    series_b: Mapping[str, Series],
    *,
    tolerances: Sequence[Tolerance] = (),
    overrides: Sequence[Tolerance] = (),
) -> tuple[MetricComparison, ...]:
    """Every metric that either side has, in the original's order, then what only the replay has."""
    a, b = {m.name: m for m in original}, {m.name: m for m in replay}
    return tuple(
        compare_metric(
            name,
            a.get(name),
            b.get(name),
            choose(name, tolerances, overrides),
            series_a=series_a.get(name),
            series_b=series_b.get(name),
        )
        for name in dict.fromkeys([*a, *b])
    )


def compare_metric(
    name: str,
    original: Metric | None,
    replay: Metric | None,
    applied: Applied,
    *,
    series_a: Series | None = None,
    series_b: Series | None = None,
) -> MetricComparison:
    """One metric of both sides."""
    if original is None or replay is None:
        side = "original" if original is None else "second run"
        return MetricComparison(
            name=name,
            original=None if original is None else original.final,
            replay=None if replay is None else replay.final,
            difference=None,
            tolerance=applied.words(),
            verdict="not comparable",
            reason=f"the {side} has no such metric",
            points=0,
        )
    axis = _axis_defect(original, replay, series_a, series_b)
    final = _Point(None, _real(original.final), _real(replay.final))
    points = [final] if axis else [final, *_pairs(series_a, series_b)]
    verdict, reason = _judge(points, applied.tolerance)
    parting = _first_parting(series_a, series_b)
    if axis:
        # The last values of curves that ran for different lengths can show a difference, never an agreement.
        verdict, reason = (
            ("different", f"{reason}; {axis}") if verdict == "different" else ("not comparable", axis)
        )
    return MetricComparison(
        name=name,
        original=original.final,
        replay=replay.final,
        difference=_difference(final.original, final.replay),
        tolerance=applied.words(),
        verdict=verdict,
        reason=reason,
        points=max(1, len(points) - 1),
        first_parting=parting,
    )


def _judge(points: Sequence[_Point], tolerance: Tolerance) -> tuple[Verdict, str]:
    parted = [p for p in points if not _same(p.original, p.replay)]
    if not parted:
        return "identical", _remark(points)
    broken = next((p for p in parted if not (_finite(p.original) and _finite(p.replay))), None)
    if broken is not None:
        a, b = brief(to_number(broken.original)), brief(to_number(broken.replay))
        return "different", f"{a} became {b} {broken.place()}"
    if not all(_finite(p.original) for p in points):
        return "different", "it holds NaN or Infinity, so only identity would be agreement"
    outside = [p for p in parted if gap(p.original, p.replay) > allowance(p.original, tolerance)]
    worst = max(outside or parted, key=lambda p: gap(p.original, p.replay))
    allowed = allowance(worst.original, tolerance)
    found = f"largest difference {_size(gap(worst.original, worst.replay))} {worst.place()}"
    if outside:
        return "different", f"{found}; {_size(allowed)} was allowed" if allowed else found
    return "within tolerance", f"{found}; {_size(allowed)} was allowed{_share(allowed, worst.original)}"


def _remark(points: Sequence[_Point]) -> str:
    remarks = []
    count = sum(_nan(p.original) for p in points)
    if count:
        remarks.append("NaN on both sides" if len(points) == 1 else "NaN on both sides, in the same places")
    if any(p.original == 0 and copysign(1, p.original) != copysign(1, p.replay) for p in points):
        remarks.append("the sign of zero differs")
    return "; ".join(remarks)


def _axis_defect(original: Metric, replay: Metric, a: Series | None, b: Series | None) -> str:
    """Why the two series cannot be laid over each other; empty when they can."""
    if a is not None and b is not None:
        if a.steps == b.steps:
            return ""
        if a.steps[: len(b.steps)] == b.steps:
            return f"the second run's series is shorter: {len(b.steps)} of {len(a.steps)} points"
        if b.steps[: len(a.steps)] == a.steps:
            return f"the second run's series is longer: {len(b.steps)} points, not {len(a.steps)}"
        step = next((x, y) for x, y in zip(a.steps, b.steps, strict=False) if x != y)
        return f"the steps differ: the original logged step {step[0]} where the second run logged step {step[1]}"
    if a is None and b is None and original.points == replay.points == 1:
        return ""
    if (a is None) != (b is None):
        return f"only the {'second run' if a is None else 'original'} has a series"
    if original.points != replay.points:
        return f"the second run logged {replay.points} points, not {original.points}"
    return "its series is not at hand, so only the final values could be compared"


def _pairs(a: Series | None, b: Series | None) -> Iterator[_Point]:
    if a is not None and b is not None:
        for step, x, y in zip(a.steps, a.values, b.values, strict=True):
            yield _Point(step, _real(x), _real(y))


def _first_parting(a: Series | None, b: Series | None) -> int | None:
    if a is None or b is None:
        return None
    nothing = (None, 0.0)
    left = ((s, _real(v)) for s, v in zip(a.steps, a.values, strict=True))
    right = ((s, _real(v)) for s, v in zip(b.steps, b.values, strict=True))
    for x, y in zip_longest(left, right, fillvalue=nothing):
        if x[0] != y[0] or not _same(x[1], y[1]):
            return x[0] if x[0] is not None else y[0]
    return None


def _real(number: Number) -> float:
    """The number itself: an int stays exact, the spelt-out ones become floats."""
    return float(number) if isinstance(number, str) else number


def _same(a: float, b: float) -> bool:
    return a == b or (_nan(a) and _nan(b))


def _nan(number: float) -> bool:
    return isinstance(number, float) and isnan(number)


def _finite(number: float) -> bool:
    """Whether it is a number at all; math.isfinite refuses integers beyond doubles."""
    return isinstance(number, int) or isfinite(number)


def _difference(original: float, replay: float) -> Number:
    try:
        return to_number(replay - original)
    except OverflowError:
        return "Infinity" if replay > original else "-Infinity"


def _size(amount: float | Fraction) -> str:
    try:
        return brief(float(amount))
    except OverflowError:
        return "more than a double holds"


def _share(allowed: float | Fraction, original: float) -> str:
    """How wide the tolerance is beside the value, so that a huge one is seen."""
    try:
        if not original or not isfinite(allowed):
            return ""
        return f", {float(Fraction(allowed) / abs(Fraction(original)) * 100):.3g} % of the original"
    except OverflowError:
        return ""
