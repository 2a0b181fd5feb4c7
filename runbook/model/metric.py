"""Metrics, their series, and the tolerances under which they are compared."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Literal

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


class Tolerance(Value, frozen=True, kw_only=True, omit_defaults=True):
    """|a - b| <= absolute + relative * |original|, for every metric that the pattern names."""

    pattern: str
    """A metric's name or a glob, `val_*`; the first that matches decides."""
    absolute: float = 0.0
    relative: float = 0.0
