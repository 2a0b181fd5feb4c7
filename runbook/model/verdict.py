"""Verdicts: what a comparison says, per metric and overall."""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Value
from runbook.model.metric import Number, brief

Verdict = Literal[
    "identical", "within tolerance", "equivalent", "partial", "inconclusive", "different", "not comparable"
]
"""`partial`: what was compared agrees, and the rest was not run."""

STRENGTH: tuple[Verdict, ...] = (
    "identical",
    "within tolerance",
    "equivalent",
    "partial",
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
    "partial": 0,
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


class Partial(Value, frozen=True, kw_only=True, omit_defaults=True):
    """How much of a run was compared, when its replay was stopped before its end."""

    why: str
    """What ended the replay, one sentence."""
    first: int | None = None
    """The first step that was compared; None where nothing was."""
    last: int | None = None
    of: int | None = None
    """The original's last step."""
    points: int = 0
    of_points: int = 0
    """Points of all the original's series."""
    left_out: tuple[str, ...] = ()
    """Metrics of which nothing was compared: final values, and series that were not reached."""

    def text(self) -> str:
        """For a person, `steps 0-500 of 10,000 (51 of 1,001 points, 5 %); not compared: …`."""
        if self.first is None or self.last is None or self.of is None:
            return f"nothing: {self.why}"
        percent = 100 * self.points / self.of_points
        share = (
            f"{self.points:,} of {self.of_points:,} points, {brief(round(percent, 0 if percent >= 1 else 3))} %"
        )
        left = f"final values{', ' if self.left_out else ''}{', '.join(self.left_out[:5])}"
        more = f" and {len(self.left_out) - 5} more" if len(self.left_out) > 5 else ""
        span = f"steps {self.first:,}-{self.last:,} of {self.of:,} ({share})"
        return f"{span}; not compared: what follows, {left}{more}"


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
    partial: Partial | None = None
    """How much was compared, when the replay was stopped before its end; None: the whole run."""
