"""The statistics of repeated runs: Welch's two one-sided tests, Holm's adjustment, intervals. Pure arithmetic.

scipy, an extra, is imported where a distribution is asked for. docs/statistics.md gives reasons and sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import fsum, isfinite, sqrt
from typing import Any, Final, NamedTuple

from runbook.errors import NeedMissing
from runbook.model.verdict import Sample

ALPHA: Final = 0.05
"""The error rate of every verdict that rests on a test."""
_SAME: Final = 1e-9
"""Part of a side's span within which two values are one on a grid: sums that were rounded."""
LEAST: Final = 3
"""Repeats below which no band and no test is made of them."""


class Welch(NamedTuple):
    """Both questions about two means, answered by the t-distribution. Floats, or arrays of one shape."""

    low: Any
    """90 % interval of the difference of the means."""
    high: Any
    p_equivalent: Any
    """Of the hypothesis that the means are at least the margin apart (two one-sided tests)."""
    p_different: Any
    """Of the hypothesis that they are at most the margin apart (both directions, so doubled)."""


def available() -> NeedMissing | None:
    """Why no statistics can be made here."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        hint = "pip install 'runbook[statistics]'"
        return NeedMissing("statistics over repeats need scipy", "not installed", hint=hint, id="no-statistics")
    return None


def sample(values: Sequence[float]) -> Sample:
    """The figures of at least one finite value; a constant sample has a deviation of exactly 0."""
    low, high = min(values), max(values)
    if low == high:
        return Sample(n=len(values), mean=low, deviation=0.0, low=low, high=high)
    # Scaled, so that neither huge nor tiny values leave the range of doubles on the way.
    scale = max(abs(low), abs(high))
    mean = fsum(v / scale for v in values) / len(values)
    spread = sqrt(fsum((v / scale - mean) ** 2 for v in values) / (len(values) - 1))
    return Sample(n=len(values), mean=mean * scale, deviation=spread * scale, low=low, high=high)


def half_step(a: Sequence[float], b: Sequence[float]) -> float:
    """Half of the step in which the difference of two means of equally many values can move; 0 for constant sides.

    Values that are shares of few items, or rounded, lie on a grid: its width is taken to be the smallest gap
    within a side. Of values without a grid this is next to nothing.
    """
    gaps = []
    for side in (sorted(a), sorted(b)):
        least = _SAME * (side[-1] - side[0])
        gaps += [y - x for x, y in pairwise(side) if y - x > least]
    return min(gaps) / (2 * len(a)) if gaps else 0.0


def welch(
    difference: Any, variance_a: Any, n: Any, variance_b: Any, m: Any, margin: Any, step: Any = 0.0
) -> Welch:
    """Welch's t-test for equivalence and for difference.

    difference: mean of b - mean of a. variance_a, variance_b: of one run, n - 1 in the denominator; not both 0.
    margin: in the same unit as the difference, at least 0. Arrays are taken element by element.
    step: `half_step`, by which equivalence is made harder to show (a correction for continuity): a t-distribution
    is smooth, and a mean of few different values is not.
    """
    import numpy
    from scipy.stats import t

    with numpy.errstate(over="ignore", under="ignore"):
        of_a, of_b = variance_a / n, variance_b / m
        error = (of_a + of_b) ** 0.5
        # A share instead of fourth powers, which would leave the range of doubles.
        share = of_a / (of_a + of_b)
        freedom = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))
        half = t.ppf(1 - ALPHA, freedom) * error + step
        above, below = (difference + margin) / error, (difference - margin) / error
        equivalent = numpy.maximum(t.sf(above - step / error, freedom), t.cdf(below + step / error, freedom))
        different = 2 * numpy.minimum(t.sf(below, freedom), t.cdf(above, freedom))
    return Welch(difference - half, difference + half, equivalent, numpy.minimum(different, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: each is significant when its adjusted value is below alpha."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = reached
    return adjusted


def prediction(of: Sample, level: float = 1 - ALPHA) -> tuple[float, float]:
    """The interval in which one further value of a normal sample lies, at this level. n is at least 2."""
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, of.n - 1)) * of.deviation * sqrt(1 + 1 / of.n)
    return of.mean - half, of.mean + half


def outside(value: float, of: Sample, *, beyond: float = 0.0) -> float:
    """Two-sided p-value of one further value that lies more than `beyond` away from a normal sample's values."""
    from scipy.stats import t

    distance = abs(value - of.mean) - beyond
    return min(1.0, 2 * float(t.sf(distance / of.deviation / sqrt(1 + 1 / of.n), of.n - 1)))


def proportion(value: float, items: int) -> tuple[float, float] | None:
    """95 % Clopper-Pearson interval of a proportion of items; None when it is none of so many items.

    A value that was printed with some digits is taken for the nearest count.
    """
    hits = _hits(value, items)
    if hits is None:
        return None
    from scipy.stats import binomtest

    found = binomtest(hits, items).proportion_ci(1 - ALPHA, method="exact")
    return float(found.low), float(found.high)


def binomial_deviation(value: float, items: int) -> float:
    """Standard error of a proportion p of N items, sqrt(p (1 - p) / N); 0 when it is none."""
    hits = _hits(value, items)
    if hits is None:
        return 0.0
    # At 0 and 1 the formula says 0, which no finite number of items supports: one item more or less is taken.
    rate = min(max(hits, 1), items - 1) / items if items > 1 else 0.5
    return sqrt(rate * (1 - rate) / items)


def _hits(value: float, items: int) -> int | None:
    return round(value * items) if items >= 1 and isfinite(value) and 0 <= value <= 1 else None
