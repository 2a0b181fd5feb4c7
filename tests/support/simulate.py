"""`make simulate`: how often the verdicts over repeats are wrong, where the truth is known because it was drawn.

A side is n repeats of a calibration, the other m replays, and the bundle's own value is one more run of the first.
Both come from one law (A/A), or from two that lie exactly the margin apart (A/B), where `equivalent` is false and
`different` is not yet true. Laws: bell-shaped, flat, skewed, heavy-tailed, and with ties.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from runbook.compare.repeats import CLAIM, VALUES
from runbook.compare.statistics import ALPHA, welch

Law = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

LAWS: dict[str, Law] = {
    "normal": lambda g, s: g.standard_normal(s),
    "uniform": lambda g, s: g.random(s) * math.sqrt(12),
    "exponential": lambda g, s: g.standard_exponential(s),
    "lognormal": lambda g, s: np.exp(g.standard_normal(s)) / math.sqrt((math.e - 1) * math.e),
    "t, 3 degrees": lambda g, s: g.standard_t(3, s) / math.sqrt(3),
    "normal, rounded to s": lambda g, s: np.round(g.standard_normal(s)),
    "normal, rounded to 2 s": lambda g, s: 2 * np.round(g.standard_normal(s) / 2),
    "one in five": lambda g, s: (g.random(s) < 0.2) / 0.4,
    "a coin": lambda g, s: (g.random(s) < 0.5) / 0.5,
    "one of three": lambda g, s: g.integers(0, 3, s) / math.sqrt(2 / 3),
}
"""Name → values of standard deviation 1, but for what rounding takes or adds."""
SIZES = ((3, 3), (5, 3), (10, 3), (3, 10), (5, 5), (20, 5), (10, 10), (20, 20))
MARGINS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""In standard deviations of a run."""


class Rates(NamedTuple):
    """Shares of the simulated comparisons."""

    equivalent: float
    different: float


class Drawn(NamedTuple):
    """Simulated runs, one row a comparison."""

    own: np.ndarray
    calibration: np.ndarray
    replays: np.ndarray


def draw(law: str, n: int, m: int, shift: float, reps: int, seed: int) -> Drawn:
    """So many comparisons; the replays' law lies `shift` higher."""
    g = np.random.default_rng([seed, n, m, *law.encode()])
    sample = LAWS[law]
    own, calibration, replays = sample(g, (reps,)), sample(g, (reps, n)), sample(g, (reps, m)) + shift
    # Rounded as a metric is printed, so that what is tied stays tied after the shift.
    return Drawn(*(np.round(part, 9) for part in (own, calibration, replays)))


def verdicts(drawn: Drawn, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """(equivalent, different) of every comparison by the rule of `compare.repeats`, for all at once."""
    from scipy.stats import t

    used = min(drawn.calibration.shape[1], drawn.replays.shape[1])
    a, b = drawn.calibration[:, :used], drawn.replays[:, :used]
    spread_a, spread_b = _variance(a), _variance(b)
    difference = b.mean(axis=1) - a.mean(axis=1)
    every, m = _variance(drawn.replays), drawn.replays.shape[1]
    with np.errstate(all="ignore"):
        found = welch(difference, spread_a, used, spread_b, used, margin, _half_step(a, b))
        apart = np.abs(drawn.own - drawn.replays.mean(axis=1))
        error = np.sqrt(every * (1 + 1 / m))
        typical = 2 * t.sf(apart / error, m - 1) >= ALPHA
        claim = (2 * t.sf((apart - margin) / error, m - 1) < CLAIM) & (every > 0) & (margin > 0)
    tested = spread_a + spread_b > 0
    constant = ~tested & (np.abs(difference) > margin + 1e-8)
    different = (tested & ((found.p_different < ALPHA) | claim)) | constant
    values = np.sort(np.concatenate([a, b], axis=1), axis=1)
    varied = (np.diff(values, axis=1) > 1e-8).sum(axis=1) >= VALUES - 1
    equivalent = varied & (spread_a > 0) & (spread_b > 0) & (found.p_equivalent < ALPHA) & typical & ~different
    return equivalent & (margin > 0), different


def _variance(sample: np.ndarray) -> np.ndarray:
    """Of each row; exactly 0 for a constant one."""
    return np.where(np.ptp(sample, axis=1) > 0, sample.var(axis=1, ddof=1), 0.0)


def _half_step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`statistics.half_step` of each row."""
    gaps = np.concatenate([np.diff(np.sort(side, axis=1), axis=1) for side in (a, b)], axis=1)
    least = np.where(gaps > 1e-8, gaps, np.inf).min(axis=1)
    return np.where(np.isfinite(least), least, 0.0) / (2 * a.shape[1])


def rates(law: str, n: int, m: int, margin: float, shift: float, reps: int, seed: int = 1) -> Rates:
    """How often each verdict is given."""
    equivalent, different = verdicts(draw(law, n, m, shift, reps, seed), margin)
    return Rates(float(equivalent.mean()), float(different.mean()))


def bound(reps: int, errors: float) -> float:
    """alpha and so many standard errors of a simulated rate."""
    return ALPHA + errors * math.sqrt(ALPHA * (1 - ALPHA) / reps)


def main() -> None:
    """Print the worst rate of every law and size over all margins and both signs of the shift."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reps", type=int, default=100_000)
    reps = parser.parse_args().reps
    print(f"alpha {ALPHA}; {reps:,} comparisons a cell; simulation error {bound(reps, 1) - ALPHA:.4f}")
    print(f"{'law':<24}{'n':>4}{'m':>4}  false equivalent  false different: A/A  at the margin   power at 2 s")
    worst = [0.0, 0.0, 0.0]
    for law in LAWS:
        for n, m in SIZES:
            margins = [x for x in MARGINS if x]
            equal = max(rates(law, n, m, x, s * x, reps).equivalent for x in margins for s in (1, -1))
            same = max(rates(law, n, m, x, 0.0, reps).different for x in MARGINS)
            edge = max(rates(law, n, m, x, s * x, reps).different for x in margins for s in (1, -1))
            power = rates(law, n, m, 2.0, 0.0, reps).equivalent
            worst = [max(w, x) for w, x in zip(worst, (equal, same, edge), strict=True)]
            print(
                f"{law:<24}{n:>4}{m:>4}  {equal:>16.4f}  {same:>20.4f}  {edge:>13.4f}   {power:>12.2f}", flush=True
            )
    print(f"{'worst':<32}  {worst[0]:>16.4f}  {worst[1]:>20.4f}  {worst[2]:>13.4f}")


if __name__ == "__main__":
    main()
