"""Metrics, their series, and the tolerances under which they are compared."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final, Literal

from runbook.model.fact import Evidence, Value

Number = int | float | Literal["NaN", "Infinity", "-Infinity"]
"""A number as JSON can hold it: what JSON lacks is spelt out."""


def to_number(value: float | int) -> Number:
    """The JSON form of a float or int."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def to_float(number: Number) -> float:
    """The float of a JSON number; raises OverflowError for an integer beyond doubles."""
    return float(number)


def brief(number: Number) -> str:
    """The number for a sentence: six significant digits; a whole number as it is."""
    if isinstance(number, int):
        return str(number) if abs(number) < 10**15 else f"{Decimal(number):.6g}"
    return f"{to_float(number):.6g}"


class Metric(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One metric: its final value, and how many points its series has."""

    name: str
    final: Number
    points: int = 1
    """Length of the series; 1 when only a final value is known."""
    source: str
    """`metrics.json`, `stdout: REGEX` …"""
    evidence: Evidence


class Choice(Value, frozen=True, omit_defaults=True):
    """What looking for metrics that nobody declared made of one thing that it met."""

    name: str
    """The metric; empty for a file that gave none."""
    source: str
    """Where it stands, as a record names it."""
    kept: bool
    why: str
    """`mlflow`; `a time`; `also in mlruns, unrounded` …"""


class Series(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A curve: `values[i]` was logged at `steps[i]`; both have the same length."""

    steps: tuple[int, ...]
    values: tuple[Number, ...]


FloatType = Literal["float64", "float32", "float16", "bfloat16"]
"""A type whose spacing a bound is counted in."""

SPACING: Final[dict[FloatType, tuple[int, int]]] = {
    "float64": (53, -1074),
    "float32": (24, -149),
    "float16": (11, -24),
    "bfloat16": (8, -133),
}
"""Significant bits, and the power of two of the smallest step (IEEE 754; bfloat16 as its makers define it)."""


class Bounds(Value, frozen=True, kw_only=True, omit_defaults=True):
    """|a - b| <= absolute + relative * |original| + ulp * (the type's step at the original)."""

    absolute: float = 0.0
    relative: float = 0.0
    ulp: int = 0
    """Units in the last place: steps from one number of the type to the next, at the original's size."""
    ulp_of: FloatType = "float64"

    def words(self) -> str:
        """`exact`, or the bounds: `rel 0.001, abs 1e-06, 4 ulp of float32`."""
        parts = [
            f"{label} {brief(bound)}" for label, bound in (("rel", self.relative), ("abs", self.absolute)) if bound
        ]
        if self.ulp:
            parts.append(f"{self.ulp} ulp of {self.ulp_of}")
        return ", ".join(parts) or "exact"


class CurveBounds(Bounds, frozen=True, kw_only=True, omit_defaults=True):
    """The bounds of a curve where they are not those of the final value."""

    smooth: int = 1
    """Points of the trailing mean that is taken of both curves before they are compared; 1: each point by itself.

    At the beginning, where there are fewer, the mean is of those that there are.
    """

    def words(self) -> str:
        """As of any bounds, with the smoothing."""
        return super().words() + (f" of the trailing mean over {self.smooth} points" if self.smooth > 1 else "")


class Tolerance(Bounds, frozen=True, kw_only=True, omit_defaults=True):
    """How far a replay's value may be from the original's, for every metric that the pattern names."""

    pattern: str
    """A metric's name or a glob, `val_*`; the first that matches decides."""
    curve: CurveBounds | None = None
    """For every step of the curve; None: as for the final value."""
    margin: float = 0.0
    """How far the means of repeated runs may be apart and still be equivalent."""
    margin_relative: float = 0.0
    """The same as a part of |original|; both are added."""
    items: int = 0
    """The metric is a proportion of so many items, such as an accuracy on a test set; 0: it is none."""
    better: Literal["", "higher", "lower"] = ""
    """Which way is better: for reading a difference, never for passing it."""

    def words(self) -> str:
        """The bounds, the curve's, the margin, and what the metric is."""
        parts = [super().words()]
        if self.curve is not None:
            parts.append(f"curve: {self.curve.words()}")
        margin = [brief(self.margin)] if self.margin else []
        margin += [f"{brief(self.margin_relative * 100)} % of the original"] if self.margin_relative else []
        if margin:
            parts.append(f"margin {' + '.join(margin)}")
        if self.items:
            parts.append(f"on {self.items:,} items")
        if self.better:
            parts.append(f"{self.better} is better")
        return "; ".join(parts)
