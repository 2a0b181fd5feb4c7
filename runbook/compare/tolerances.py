"""Which tolerance applies to a metric: the first pattern that matches decides; overrides are looked at first."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from math import isfinite
from typing import NamedTuple

from runbook.model.metric import Tolerance, brief

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
            return words(self.tolerance)
        return f"{words(self.tolerance)} (override; fixed at capture: {words(self.instead_of)})"


def words(tolerance: Tolerance) -> str:
    """`exact`, or the bounds: `rel 0.001, abs 1e-06`."""
    parts = [
        f"{label} {brief(bound)}"
        for label, bound in (("rel", tolerance.relative), ("abs", tolerance.absolute))
        if bound
    ]
    return ", ".join(parts) or "exact"


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
        sentences.append(f"{override.pattern}: {words(override)}, given for this comparison; names {reach}")
    return tuple(sentences)


def gap(original: float, replay: float) -> float | Fraction:
    """|replay - original| of two finite numbers, exact where a double cannot hold it."""
    try:
        distance = abs(replay - original)
        if isinstance(distance, int) or isfinite(distance):
            return distance
    except OverflowError:
        pass
    return abs(Fraction(replay) - Fraction(original))


def allowance(original: float, tolerance: Tolerance) -> float | Fraction:
    """The bound absolute + relative * |original|, exact where a double cannot hold it."""
    try:
        bound = tolerance.absolute + tolerance.relative * abs(original)
        if isfinite(bound) or not (isfinite(tolerance.absolute) and isfinite(tolerance.relative)):
            return bound
    except OverflowError:
        pass
    return Fraction(tolerance.absolute) + Fraction(tolerance.relative) * abs(Fraction(original))
