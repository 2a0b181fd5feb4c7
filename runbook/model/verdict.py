"""Verdicts: what a comparison says, per metric and overall."""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Value
from runbook.model.metric import Number

Verdict = Literal["identical", "within tolerance", "equivalent", "inconclusive", "different", "not comparable"]

STRENGTH: tuple[Verdict, ...] = (
    "identical",
    "within tolerance",
    "equivalent",
    "inconclusive",
    "different",
    "not comparable",
)
"""From the strongest to the weakest: the overall verdict is the weakest."""

REPRODUCED: frozenset[Verdict] = frozenset(("identical", "within tolerance", "equivalent"))

EXIT: dict[Verdict, int] = {
    "identical": 0,
    "within tolerance": 0,
    "equivalent": 0,
    "different": 1,
    "inconclusive": 7,
    "not comparable": 7,
}


class MetricComparison(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One metric of both sides. A side that lacks it is None."""

    name: str
    original: Number | None
    replay: Number | None
    difference: Number | None
    """replay - original; None where a side lacks it."""
    tolerance: str = ""
    """`exact`, or the tolerance in words."""
    verdict: Verdict
    reason: str = ""
    points: int = 1
    """Points compared of the series."""
    first_parting: int | None = None
    """First step at which the series differ."""


class Difference(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Something other than a metric that is not the same on both sides."""

    family: Literal[
        "code",
        "data",
        "lock",
        "seed",
        "argv",
        "variable",
        "interpreter",
        "base",
        "engine",
        "accelerator",
        "cpu",
        "threads",
        "library",
        "host",
        "outcome",
    ]
    what: str
    """`numpy`, `train.py`, `argv --seed`."""
    original: str
    replay: str
    risk: Literal["high", "medium", "low"]
    why: str = ""
    """What is known of its effect, one sentence."""


class Comparison(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Two records compared: arithmetic only."""

    verdict: Verdict
    reason: str
    """One sentence that a person can read."""
    metrics: tuple[MetricComparison, ...]
    differences: tuple[Difference, ...]
    """Ranked: high risk first."""
    broken_preconditions: tuple[str, ...] = ()
    substitutions: tuple[str, ...] = ()
    """What the replay had to replace: base, engine, CPU, accelerator."""
    overrides: tuple[str, ...] = ()
    """Tolerances given at replay instead of the bundle's."""
