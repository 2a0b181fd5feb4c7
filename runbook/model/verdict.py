"""Verdicts: what a comparison says, per metric and overall."""

from __future__ import annotations

from typing import Literal

from runbook.model.artifact import Artifacts
from runbook.model.calibration import Repeat
from runbook.model.determinism import Determinism
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


class Parting(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Where two curves that were laid over each other by step come apart, and what becomes of the gap."""

    step: int
    index: int
    """Which point it is, from 0."""
    original: Number
    replay: Number
    gap: Number
    """|replay - original| at that step."""
    relative: Number
    """The gap as a part of the larger of the two."""
    largest: Number
    largest_at: int
    """Step of the largest gap."""
    last: Number
    """The gap at the last step."""
    growth: Literal["grows", "stays", "shrinks", "unknown"] = "unknown"
    """The last gaps against the first: at least twice, at most half, or between; unknown with few points."""
    law: Literal["", "exponential", "power"] = ""
    """Which of the two describes the gap better, up to where it stops growing; empty where neither does."""
    rate: float = 0.0
    """exponential: steps in which the gap doubles; power: its exponent over the steps since the parting."""
    fit: float = 0.0
    """R² of that law, on the logarithm of the gap."""
    reading: str = ""
    """What it points to, one sentence."""


class Sample(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The final values of one metric over repeats, in figures."""

    n: int
    mean: float
    deviation: float
    """Standard deviation, n - 1 in the denominator; 0 for one value."""
    low: float
    high: float


class Statistics(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What repeats say of one metric. docs/statistics.md says how each is computed."""

    words: str
    """One sentence for somebody who reads no statistics."""
    values: tuple[float, ...] = ()
    """Of the bundle's calibration, in order."""
    replays: tuple[float, ...] = ()
    calibration: Sample | None = None
    replayed: Sample | None = None
    interval: tuple[float, float] | None = None
    """95 % prediction interval for one further run."""
    interval_from: Literal["", "calibration", "replays"] = ""
    margin: float = 0.0
    """How far apart the means may be; 0: none was fixed."""
    margin_of_value: float | None = None
    """margin / |original|."""
    margin_in_deviations: float | None = None
    """margin / the larger standard deviation of the two sides."""
    used: int = 0
    """Repeats of each side in the test: as many of the one as of the other."""
    difference: float | None = None
    """Mean of the replays - mean of the calibration, of those in the test."""
    difference_interval: tuple[float, float] | None = None
    """90 %; the means are equivalent at 5 % when it lies within ±margin."""
    p_equivalent: float | None = None
    """Welch's two one-sided tests: that the means are at least the margin apart."""
    p_different: float | None = None
    """That the means are at most the margin apart; two-sided."""
    p_equivalent_holm: float | None = None
    """Adjusted for the number of metrics that were tested."""
    p_different_holm: float | None = None
    p_prediction: float | None = None
    """That what is single belongs to the band of the other side; the smallest of several, Bonferroni."""
    p_prediction_holm: float | None = None
    p_claim: float | None = None
    """That the bundle's own value is within the margin of what one further replay may give."""
    floor: float = 0.0
    """Standard deviation of a proportion of so many items; taken where the runs varied less."""
    proportion: tuple[float, float] | None = None
    """95 % Clopper-Pearson interval of the original, for a proportion of items."""
    warnings: tuple[str, ...] = ()


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
    parting: Parting | None = None
    """Where both have a point there: by how much, and how it goes on."""
    by_size: bool = False
    """It differs by more than its tolerance, and in nothing else: finite numbers, at the same steps."""
    better: Literal["", "better", "worse"] = ""
    """How the difference reads where the metric's direction is known; it decides nothing."""
    statistics: Statistics | None = None


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
        "order",
        "library",
        "host",
        "outcome",
    ]
    what: str
    """`numpy`, `train.py`, `argv --seed`."""
    original: str
    replay: str
    risk: Literal["high", "medium", "low", "none"]
    """`none`: the job did not touch it, or it says the same."""
    why: str = ""
    """What is known of its effect, one sentence."""
    evidence: tuple[str, ...] = ()
    """What of it is another: lines of code, rows of data, places that name it; the first few."""
    pointers: tuple[str, str] = ("", "")
    """Where it stands in each record.json, as JSON pointers; empty where a record lacks it."""


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
    advice: tuple[str, ...] = ()
    """Where metrics differ: what is to be known besides, and what to try next, one sentence each."""
    broken_preconditions: tuple[str, ...] = ()
    substitutions: tuple[str, ...] = ()
    """What the replay had to replace: base, engine, CPU, accelerator."""
    overrides: tuple[str, ...] = ()
    """Tolerances given at replay instead of the bundle's."""
    repeats: tuple[Repeat, ...] = ()
    """The replays, where there were several."""
    determinism: Determinism | None = None
    """Whether the replays, where there were several with the bundle's own seeds, gave the same."""
    remarks: tuple[str, ...] = ()
    """What is to be known of the repeats: who chose their seeds, which failed."""
    partial: Partial | None = None
    """How much was compared, when the replay was stopped before its end; None: the whole run."""
    artifacts: Artifacts | None = None
    """The output files, which have a verdict of their own; None where there is none, or they were not compared."""
