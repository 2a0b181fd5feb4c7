"""The points of two curves that were laid over each other: which are equal, which is farthest outside of bounds.

Points are looked at one by one, in exact arithmetic, but for blocks of plain doubles: of these the same is found
by functions that run over many at a time, as a curve of a million points would else take many times its reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import compress
from math import copysign, isfinite, isnan
from operator import gt
from typing import NamedTuple

from runbook.compare.curves import BLOCK, gaps_of, real, trailing_mean
from runbook.compare.tolerances import allowance, gap
from runbook.model.metric import Bounds, Series


class Point(NamedTuple):
    """One aligned pair; `where` is a step, or None for the final value."""

    where: int | None
    original: float | Fraction
    replay: float | Fraction

    def place(self) -> str:
        """Where it is, in words."""
        return "in the final value" if self.where is None else f"at step {self.where}"


class Identity:
    """What one pass over the points shows, before any tolerance."""

    def __init__(self) -> None:
        self.parted = self.zeros = False
        self.nans = self.holes = 0
        self.broken: Point | None = None
        """The first point that differs and is not finite on a side."""

    def look_along(self, a: Series, b: Series) -> None:
        """Take in all points of two curves."""
        for start in range(0, len(a.values), BLOCK):
            end = start + BLOCK
            x, y = a.values[start:end], b.values[start:end]
            gaps = gaps_of(x, y)
            if gaps is None or (0.0 in x and not any(gaps)):  # Where zeros are, their signs may differ.
                for point in pairs(a, b, start, end):
                    self.look(point)
            else:
                self.parted |= any(gaps)

    def look(self, point: Point) -> None:
        """Take in one pair."""
        a, b = point.original, point.replay
        if a == b:
            self.zeros |= a == 0 and copysign(1, a) != copysign(1, b)
            self.holes += not finite(a)
        elif _nan(a) and _nan(b):
            self.nans += 1
            self.holes += 1
        else:
            self.parted = True
            if self.broken is None and not (finite(a) and finite(b)):
                self.broken = point
            self.holes += not finite(a)

    def remark(self, *, alone: bool) -> str:
        """What a reader should know of it; `alone`: there is no curve, only one value."""
        remarks = []
        if self.nans:
            remarks.append("NaN on both sides" if alone else "NaN on both sides, in the same places")
        if self.zeros:
            remarks.append("the sign of zero differs")
        return "; ".join(remarks)


class Worst(NamedTuple):
    """The largest gap outside of the bounds; where all are inside, the largest of these."""

    size: float | Fraction
    allowed: float | Fraction
    point: Point | None
    outside: int
    points: int
    of: str = ""


def worst_of(points: Iterable[Point], bounds: Bounds) -> Worst:
    """The worst of these points."""
    worst = Worst(0, 0, None, 0, 0)
    outside = count = 0
    for point in points:
        count += 1
        if point.original == point.replay:
            continue
        size, allowed = gap(point.original, point.replay), allowance(point.original, bounds)
        out = size > allowed
        if (out and not outside) or ((out or not outside) and size > worst.size):
            worst = Worst(size, allowed, point, 0, 0)
        outside += out
    return worst._replace(outside=outside, points=count)


def worst_along(a: Series, b: Series, bounds: Bounds) -> Worst:
    """The same over all points of two curves."""
    worst = Worst(0, 0, None, 0, 0)
    outside = 0
    for start in range(0, len(a.values), BLOCK):
        here = _worst_of_block(a, b, start, bounds)
        here = here or worst_of(pairs(a, b, start, start + BLOCK), bounds)
        if (here.outside and not outside) or ((here.outside or not outside) and here.size > worst.size):
            worst = here
        outside += here.outside
    return worst._replace(outside=outside, points=len(a.values))


def _worst_of_block(a: Series, b: Series, start: int, bounds: Bounds) -> Worst | None:
    """The worst of a block of plain doubles; None for another block, or bounds that are counted in steps."""
    x, y = a.values[start : start + BLOCK], b.values[start : start + BLOCK]
    gaps = None if bounds.ulp else gaps_of(x, y)
    if gaps is None:
        return None
    size, outside = max(gaps), 0
    if not size:
        return Worst(0, 0, None, 0, len(x))
    at = gaps.index(size)
    allowed: float = 0
    if not bounds.absolute and not bounds.relative:  # Nothing is allowed, as mostly.
        outside = len(gaps) - gaps.count(0.0)
    else:
        bound = [bounds.absolute + bounds.relative * abs(v) for v in x]  # type: ignore[arg-type]
        if not isfinite(sum(bound)):
            return None
        out = list(map(gt, gaps, bound))
        outside = sum(out)
        if outside and not out[at]:
            size = max(compress(gaps, out))
            at = next(i for i, one in enumerate(gaps) if one == size and out[i])
        allowed = bound[at]
    return Worst(size, allowed, Point(a.steps[start + at], real(x[at]), real(y[at])), outside, len(x))


def pairs(a: Series, b: Series, start: int, end: int) -> Iterator[Point]:
    """Some of the points of two curves with the same steps."""
    for step, x, y in zip(a.steps[start:end], a.values[start:end], b.values[start:end], strict=True):
        yield Point(step, real(x), real(y))


def smoothed(a: Series, b: Series, window: int) -> Iterator[Point]:
    """The points of the trailing means of two curves."""
    means = (trailing_mean(map(real, s.values), window) for s in (a, b))
    for step, x, y in zip(a.steps, *means, strict=True):
        yield Point(step, x, y)


def _nan(number: float | Fraction) -> bool:
    return isinstance(number, float) and isnan(number)


def finite(number: float | Fraction) -> bool:
    """Whether it is a number at all; math.isfinite refuses integers beyond doubles."""
    return not isinstance(number, float) or isfinite(number)
