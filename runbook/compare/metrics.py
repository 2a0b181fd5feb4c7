"""The verdict of one metric: exact identity of its final value and its whole series first, tolerance after.

Equality is of numbers: 1 and 1.0 are one number, and so are 0.0 and -0.0 (noted where it happens). NaN equals NaN
in the same place, and Infinity likewise, but what is not finite is never within a tolerance: a metric that holds
NaN or Infinity is identical or it is different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isfinite
from typing import Literal, NamedTuple

from runbook.compare.curves import first_difference, part, real
from runbook.compare.points import Identity, Point, Worst, smoothed, worst_along, worst_of
from runbook.compare.tolerances import Applied, choose, curve_bounds
from runbook.model.metric import Metric, Number, Series, Tolerance, brief, to_number
from runbook.model.verdict import MetricComparison, Verdict


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
    final = Point(None, real(original.final), real(replay.final))
    curves = None if axis or series_a is None or series_b is None else (series_a, series_b)
    verdict, reason, by_size = _judge(final, curves, applied.tolerance)
    if axis:
        # The last values of curves that ran for different lengths can show a difference, never an agreement.
        verdict, reason = (
            ("different", f"{reason}; {axis}") if verdict == "different" else ("not comparable", axis)
        )
    difference = _difference(real(original.final), real(replay.final))
    return MetricComparison(
        name=name,
        original=original.final,
        replay=replay.final,
        difference=difference,
        tolerance=applied.words(),
        verdict=verdict,
        reason=reason,
        points=len(curves[0].steps) if curves else 1,
        first_parting=_first_parting(series_a, series_b),
        by_size=by_size and not axis,
        parting=None if series_a is None or series_b is None else part(series_a, series_b),
        better=_direction(difference, applied.tolerance),
    )


class _Judged(NamedTuple):
    verdict: Verdict
    reason: str
    by_size: bool = False


def _judge(final: Point, curves: tuple[Series, Series] | None, tolerance: Tolerance) -> _Judged:
    found = Identity()
    found.look(final)
    if curves:
        found.look_along(*curves)
    if not found.parted:
        return _Judged("identical", found.remark(alone=curves is None))
    if found.broken is not None:
        a, b = (brief(to_number(v)) for v in found.broken[1:] if not isinstance(v, Fraction))
        return _Judged("different", f"{a} became {b} {found.broken.place()}")
    if found.holes:
        return _Judged("different", "it holds NaN or Infinity, so only identity would be agreement")
    worst = [worst_of([final], tolerance)]
    if curves:
        bounds = curve_bounds(tolerance)
        smooth = max(1, bounds.smooth)
        worst.append(worst_along(*curves, bounds) if smooth == 1 else worst_of(smoothed(*curves, smooth), bounds))
        if smooth > 1 and worst[1].point is not None:
            worst[1] = worst[1]._replace(of=f" of the trailing mean over {smooth} points")
    outside = [w for w in worst if w.outside]
    chosen = max(outside or worst, key=lambda w: w.size)
    if chosen.point is None:  # The means agree to the last bit where single points do not.
        return _Judged("within tolerance", "the smoothed curves are identical")
    said = f"largest difference {_size(chosen.size)}{chosen.of} {chosen.point.place()}"
    if outside:
        many = f"; {chosen.outside:,} of {chosen.points:,} points are outside" if chosen.points > 1 else ""
        said = f"{said}; {_size(chosen.allowed)} was allowed{many}" if chosen.allowed else said
        return _Judged("different", said, by_size=True)
    return _Judged("within tolerance", f"{said}; {_size(chosen.allowed)} was allowed{_share(chosen)}")


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


def _first_parting(a: Series | None, b: Series | None) -> int | None:
    """The first step at which the series differ: in value, in step, or because one of them has ended."""
    if a is None or b is None:
        return None
    index = first_difference(a, b)
    if index is None:
        index = min(len(a.steps), len(b.steps))
    longer = a if index < len(a.steps) else b
    return longer.steps[index] if index < len(longer.steps) else None


def _direction(difference: Number, tolerance: Tolerance) -> Literal["", "better", "worse"]:
    if not tolerance.better or difference in (0, "NaN"):
        return ""
    return "better" if (real(difference) > 0) == (tolerance.better == "higher") else "worse"


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


def _share(worst: Worst) -> str:
    """How wide the tolerance is beside the value, so that a huge one is seen."""
    assert worst.point is not None
    try:
        if not worst.point.original or not isfinite(worst.allowed):
            return ""
        share = float(Fraction(worst.allowed) / abs(Fraction(worst.point.original)) * 100)
        return f", {share:.3g} % of the original"
    except OverflowError:
        return ""
