"""What a careful reader asks of an author's numbers: is the margin huge, the band wide, the value a lucky one?"""

from __future__ import annotations

from collections.abc import Iterator

from runbook.compare import statistics as stats
from runbook.compare.statistics import LEAST
from runbook.model.metric import Tolerance, brief
from runbook.model.verdict import Statistics

_WIDE_MARGIN = 3.0
"""Standard deviations of a run from which a margin is called wide."""
_WIDE_SHARE = 0.1
"""Part of the value from which a margin is called wide."""
_NOISY = 0.25
"""Coefficient of variation from which a band is called noisy."""
_UNLIKE = 3.0
"""Ratio of two standard deviations from which they are called unlike."""


def warnings(value: float, found: Statistics, tolerance: Tolerance) -> Iterator[str]:
    """What is remarkable about a margin, a calibration and the bundle's own value, one sentence each."""
    yield from _margin(found, tolerance)
    a, b = found.calibration, found.replayed
    if a is None or a.n < LEAST:
        return
    if a.mean and a.deviation / abs(a.mean) > _NOISY:
        share = a.deviation / abs(a.mean) * 100
        yield f"the calibration's standard deviation is {share:.0f} % of its mean: nearly anything fits it"
    if b is not None and b.n >= LEAST and max(a.deviation, b.deviation):
        if a.deviation > _UNLIKE * b.deviation:
            yield f"the calibration varies {_times(a.deviation, b.deviation)} the replays: was it made alike?"
        elif b.deviation > _UNLIKE * a.deviation:
            yield f"the replays vary {_times(b.deviation, a.deviation)} the calibration: was it made alike?"
    if a.deviation and stats.outside(value, a) < stats.ALPHA:
        yield (
            f"the bundle's own value {brief(value)} is not like its own {a.n} repeats (mean {brief(a.mean)}): "
            "a lucky or a chosen run"
        )
    elif (tolerance.better == "higher" and value > a.high) or (tolerance.better == "lower" and value < a.low):
        yield f"the bundle's own value is better than all {a.n} of its repeats"


def _margin(found: Statistics, tolerance: Tolerance) -> Iterator[str]:
    if found.margin_in_deviations is not None and found.margin_in_deviations > _WIDE_MARGIN:
        yield (
            f"the margin is {found.margin_in_deviations:.1f} times the standard deviation of a run: it also "
            "passes results that noise does not explain"
        )
    if found.margin_of_value is not None and found.margin_of_value > _WIDE_SHARE:
        yield f"the margin is {found.margin_of_value * 100:.0f} % of the value"
    if found.margin and found.floor > found.margin:
        yield f"the margin is narrower than what {tolerance.items:,} items can tell apart ({brief(found.floor)})"
    if tolerance.items and found.proportion is None:
        yield "declared as a proportion of items, but the value is not between 0 and 1"


def _times(larger: float, smaller: float) -> str:
    return f"{larger / smaller:.1f} times as much as" if smaller else "where nothing varies in"
