"""Which tolerance applies to a metric: the first pattern that matches decides; overrides are looked at first."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from math import isfinite
from typing import Any, NamedTuple

from runbook.model.metric import SPACING, Bounds, CurveBounds, FloatType, Tolerance

EXACT = Tolerance(pattern="*")
"""What holds where nothing is declared: equality."""


class Applied(NamedTuple):
    """The tolerance of one metric, and what it replaces."""

    tolerance: Tolerance
    instead_of: Tolerance | None = None
    """What the original fixed, where an override stands in its place."""

    def words(self) -> str:
        """`exact`, `rel 0.001, abs 1e-06`, with what an override stands for."""
        if self.instead_of is None:
            return self.tolerance.words()
        return f"{self.tolerance.words()} (override; fixed at capture: {self.instead_of.words()})"


def matches(tolerance: Tolerance, name: str) -> bool:
    """Whether the pattern names this metric: literally, or as a glob (case matters)."""
    return tolerance.pattern == name or fnmatchcase(name, tolerance.pattern)


def choose(name: str, fixed: Sequence[Tolerance], overrides: Sequence[Tolerance] = ()) -> Applied:
    """The tolerance that decides this metric."""
    at_capture = next((t for t in fixed if matches(t, name)), EXACT)
    override = next((t for t in overrides if matches(t, name)), None)
    return Applied(at_capture) if override is None else Applied(override, at_capture)


def describe_overrides(overrides: Sequence[Tolerance], names: Sequence[str]) -> tuple[str, ...]:
    """One sentence for each tolerance that was given for this comparison."""
    sentences = []
    for override in overrides:
        count = sum(matches(override, n) for n in names)
        reach = "no metric" if not count else "1 metric" if count == 1 else f"{count} metrics"
        sentences.append(f"{override.pattern}: {override.words()}, given for this comparison; names {reach}")
    return tuple(sentences)


def gap(original: float | Fraction, replay: float | Fraction) -> float | Fraction:
    """|replay - original| of two finite numbers, exact where a double cannot hold it."""
    try:
        distance: Any = abs(replay - original)
        if isinstance(distance, int) or isfinite(distance):
            return distance  # type: ignore[no-any-return]
    except OverflowError:
        pass
    return abs(Fraction(replay) - Fraction(original))


def curve_bounds(tolerance: Tolerance) -> CurveBounds:
    """What holds at every step of a curve: its own bounds where they are declared, else the final value's."""
    if tolerance.curve is not None:
        return tolerance.curve
    return CurveBounds(
        absolute=tolerance.absolute, relative=tolerance.relative, ulp=tolerance.ulp, ulp_of=tolerance.ulp_of
    )


def margin(original: float, tolerance: Tolerance) -> float:
    """The margin of equivalence in the metric's unit; 0 where none was fixed, never beyond doubles."""
    try:
        found = float(tolerance.margin + tolerance.margin_relative * abs(original))
    except OverflowError:
        found = math.inf
    return min(max(0.0, found), sys.float_info.max)


def step(value: float | Fraction, of: FloatType) -> float | Fraction:
    """The distance from |value| to the next larger number of a float type, as if its exponent had no upper end."""
    bits, smallest = SPACING[of]
    try:
        exponent = math.frexp(value)[1] if value else smallest
    except OverflowError:
        exponent = abs(int(value)).bit_length()
    power = max(exponent - bits, smallest)
    return math.ldexp(1.0, power) if power < 1024 else Fraction(2) ** power


def allowance(original: float | Fraction, bounds: Bounds) -> float | Fraction:
    """Absolute + relative * |original| + ulp * step(original), exact where a double cannot hold it."""
    steps = bounds.ulp * step(original, bounds.ulp_of) if bounds.ulp else 0
    try:
        size: Any = abs(original)
        bound: float | Fraction = bounds.absolute + bounds.relative * size + steps
        if isfinite(bound) or not (isfinite(bounds.absolute) and isfinite(bounds.relative)):
            return bound
    except OverflowError:
        pass
    return Fraction(bounds.absolute) + Fraction(bounds.relative) * abs(Fraction(original)) + Fraction(steps)
