"""One metric over repeated runs: the bundle's calibration on one side, one or several replays on the other.

What is the same number, or within its tolerance, in every replay needs no statistics. What differs by size alone
is judged by them: several replays against as many repeats of the calibration by a test of equivalence; what is
single, on either side, against a prediction interval of the other, which can excuse a difference and never proves
an agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from msgspec.structs import replace

from runbook.compare import statistics as stats
from runbook.compare.curves import real
from runbook.compare.statistics import ALPHA, LEAST
from runbook.compare.tolerances import choose, margin
from runbook.compare.wary import warnings
from runbook.model.calibration import Calibration, Seeding
from runbook.model.metric import Number, Tolerance, brief
from runbook.model.record import Record
from runbook.model.verdict import STRENGTH, MetricComparison, Statistics

CLAIM = 0.001
"""p-value of the bundle's own value beneath which it alone makes a metric different: a band is skewed at times."""
VALUES = 3
"""Different numbers that must have been seen on both sides together: of a metric that only ever took two, the
means are not nearly distributed as the test takes them to be."""

_LARGE = 1e150


def combine(
    runs: Sequence[MetricComparison], calibrated: Sequence[Number], tolerance: Tolerance
) -> MetricComparison:
    """One metric of all replays: its plain verdict, with the statistics where these have a say (see `decide`).

    runs: the metric in each replay against the original, by its tolerance alone. calibrated: its final values in
    the bundle's calibration.
    """
    worst = max(runs, key=lambda m: (STRENGTH.index(m.verdict), not m.by_size))
    if worst.verdict == "different" and len(runs) > 1:
        bad = sum(m.verdict == "different" for m in runs)
        worst = replace(worst, reason=f"in {bad} of {len(runs)} replays; {worst.reason}")
    if worst.original is None or worst.replay is None or (len(runs) == 1 and not calibrated):
        return worst
    replays = [m.replay for m in runs if m.replay is not None]
    found = _figures(worst.original, calibrated, replays, tolerance)
    return replace(worst, statistics=found) if found is not None else worst


def decide(metrics: Sequence[MetricComparison]) -> tuple[MetricComparison, ...]:
    """The verdicts of metrics that differ by size, after Holm's adjustment over all that were tested together."""
    tested = [m for m in metrics if m.by_size and m.statistics is not None]
    for name in ("p_equivalent", "p_different", "p_prediction"):
        having = [m for m in tested if getattr(m.statistics, name) is not None]
        adjusted = stats.holm([getattr(m.statistics, name) for m in having])
        known = {m.name: p for m, p in zip(having, adjusted, strict=True)}
        tested = [
            replace(m, statistics=replace(m.statistics, **{f"{name}_holm": known[m.name]}))  # type: ignore[type-var]
            if m.name in known
            else m
            for m in tested
        ]
    decided = {m.name: _decided(m) for m in tested}
    return tuple(decided.get(m.name, m) for m in metrics)


def across(
    original: Record,
    runs: Sequence[Sequence[MetricComparison]],
    calibration: Calibration | None,
    overrides: Sequence[Tolerance],
) -> tuple[MetricComparison, ...]:
    """Every metric of one or several replays, decided.

    runs: for each replay its metrics, each against the original by its tolerance alone.
    calibration: what the bundle's repeats gave, where they are of the same kind as the replays.
    """
    by_name: dict[str, list[MetricComparison]] = {}
    for metrics in runs:
        for metric in metrics:
            by_name.setdefault(metric.name, []).append(metric)
    repeats = calibration.completed() if calibration is not None else ()
    return decide(
        [
            combine(
                found,
                [r.values[name] for r in repeats if name in r.values],
                choose(name, original.tolerances, overrides).tolerance,
            )
            for name, found in by_name.items()
        ]
    )


def remarks(calibration: Calibration | None, used: bool, seeding: Seeding) -> Iterator[str]:
    """What is to be known of a bundle's repeats before believing them."""
    if calibration is None:
        return
    kept = calibration.completed()
    where = f" on {calibration.machine}" if calibration.machine else ""
    seeds = {"frozen": "its own seeds", "chosen": "seeds that its maker chose", "drawn": "seeds drawn at random"}
    engines = ", ".join(sorted({r.engine for r in kept})) or "no engine"
    with_which = seeds[calibration.seeding]
    yield f"calibrated by {len(kept)} repeats with {with_which} ({engines}{where}), by its maker's word"
    if calibration.seeding == "chosen":
        yield "seeds can be chosen until the band fits: --draw-seeds replays with seeds that nobody chose"
    failed = len(calibration.repeats) - len(kept)
    if failed:
        yield f"{failed} of {len(calibration.repeats)} calibrating repeats failed and are not in the band"
    if not used:
        other = "the frozen seeds" if calibration.seeding == "frozen" else "other seeds"
        yield f"the calibration was made with {other}, these replays were not ({seeding}): it is not used"


def comparable(calibration: Calibration | None, seeding: Seeding) -> bool:
    """Whether repeats and replays spread for the same reasons: both with the frozen seeds, or both with others."""
    return calibration is not None and (calibration.seeding == "frozen") == (seeding == "frozen")


def _figures(
    value: Number, calibrated: Sequence[Number], replayed: Sequence[Number], tolerance: Tolerance
) -> Statistics | None:
    a, b, own = _doubles(calibrated), _doubles(replayed), _doubles([value])
    if own is None or a is None or b is None:
        return Statistics(words="a run held NaN, Infinity or a number beyond all measure")
    if max(len(a), len(b)) < LEAST:
        return Statistics(
            words=f"fewer than {LEAST} repeats show no spread, so the tolerance alone decides",
            values=tuple(a),
            replays=tuple(b),
        )
    if (missing := stats.available()) is not None:
        return Statistics(words=f"not judged by its repeats: {missing}; {missing.hint}", values=tuple(a))
    delta = margin(own[0], tolerance)
    floor = stats.binomial_deviation(own[0], tolerance.items) if tolerance.items else 0.0
    of_a, of_b = stats.sample(a) if a else None, stats.sample(b)
    band = of_a if of_a is not None and of_a.n >= LEAST else of_b
    spread = max(band.deviation, floor)
    deviations = max(of_b.deviation, floor, of_a.deviation if of_a else 0.0)
    found = Statistics(
        words="",
        values=tuple(a),
        replays=tuple(b),
        calibration=of_a,
        replayed=of_b,
        interval=stats.prediction(replace(band, deviation=spread)) if spread else None,
        interval_from="replays" if band is of_b else "calibration",
        margin=delta,
        margin_of_value=_ratio(delta, abs(own[0])),
        margin_in_deviations=_ratio(delta, deviations),
        floor=floor,
        proportion=stats.proportion(own[0], tolerance.items) if tolerance.items else None,
    )
    found = replace(found, warnings=tuple(warnings(own[0], found, tolerance)))
    if of_a is not None and min(of_a.n, of_b.n) >= LEAST:
        return _tested(own[0], found)
    if not spread:
        return found
    single = own if band is of_b else b
    p = min(stats.outside(x, replace(band, deviation=spread)) for x in single)
    return replace(found, p_prediction=min(1.0, p * len(single)))


def _tested(value: float, found: Statistics) -> Statistics:
    """Both sides have repeats: Welch's test on as many of the one as of the other.

    Equal numbers are what keeps the test honest for skewed values: the skewness of two means cancels in their
    difference only then. What is left over still makes the interval.
    """
    used = min(len(found.values), len(found.replays))
    a, b = stats.sample(found.values[:used]), stats.sample(found.replays[:used])
    spreads = max(a.deviation, found.floor), max(b.deviation, found.floor)
    difference = b.mean - a.mean
    scale = max(spreads)
    found = replace(found, used=used, difference=difference)
    if not scale or not isfinite(difference):
        return found
    result = stats.welch(
        difference / scale,
        (spreads[0] / scale) ** 2,
        used,
        (spreads[1] / scale) ** 2,
        used,
        found.margin / scale,
        stats.half_step(found.values[:used], found.replays[:used]) / scale,
    )
    every = found.replayed
    assert every is not None
    claim = None
    if found.margin and max(every.deviation, found.floor):
        band = replace(every, deviation=max(every.deviation, found.floor))
        claim = stats.outside(value, band, beyond=found.margin)
    # A side that did not vary at all may do so rarely and by much: that is no evidence of agreement.
    enough = min(spreads) and (found.floor or len({*found.values[:used], *found.replays[:used]}) >= VALUES)
    return replace(
        found,
        difference_interval=(float(result.low) * scale, float(result.high) * scale),
        p_equivalent=float(result.p_equivalent) if found.margin and enough else None,
        p_different=float(result.p_different),
        p_claim=claim,
    )


def _decided(metric: MetricComparison) -> MetricComparison:
    found = metric.statistics
    assert found is not None
    if found.replayed is None:
        return metric  # No band: the tolerance has decided.
    if found.used:
        return _by_test(metric, found)
    return _by_interval(metric, found)


def _by_interval(metric: MetricComparison, found: Statistics) -> MetricComparison:
    """What is single on one side, against the band of the other."""
    band = found.calibration if found.interval_from == "calibration" else found.replayed
    assert band is not None
    replays = found.interval_from == "replays"
    whose = f"the {band.n} {'replays' if replays else 'calibrated repeats'}"
    single = "the original" if replays else "the replay" if len(found.replays) == 1 else "a replay"
    if found.interval is None:
        words = f"{whose} all gave {brief(band.mean)}: the job does not vary by itself, and {single} differs"
        return _say(metric, found, words)
    low, high = found.interval
    where = f"one more run like {whose} lies between {brief(low)} and {brief(high)} in 19 of 20 cases"
    p, adjusted = found.p_prediction, found.p_prediction_holm
    assert p is not None
    assert adjusted is not None
    if adjusted < ALPHA:
        return _say(metric, found, f"{where}; {single} does not ({_p(p, adjusted)})")
    does = "does" if p >= ALPHA else "does not, but one of several metrics may well fall outside by chance"
    more = "calibrate the bundle, or replay more often" if replays else "--repeats 3 replays more often"
    return replace(
        _say(metric, found, f"{where}; {single} {does}: consistent, which is weak evidence; {more}"),
        verdict="inconclusive",
    )


def _by_test(metric: MetricComparison, found: Statistics) -> MetricComparison:
    """Several on both sides: different, equivalent, or neither is shown."""
    a, b = found.calibration, found.replayed
    assert a is not None
    assert b is not None
    assert found.difference is not None
    means = f"the means of {found.used} repeats and {found.used} replays are {brief(found.difference)} apart"
    if found.difference_interval is None:
        words = f"the repeats all gave {brief(a.mean)} and the replays all {brief(b.mean)}: no chance is in it"
        if not found.margin or abs(found.difference) > found.margin:
            return _say(metric, found, words)
        words += ", and it is within the margin, which is for means of what varies: a tolerance would decide"
        return _say(replace(metric, verdict="inconclusive"), found, words)
    low, high = found.difference_interval
    span = f"{means}, with 90 % confidence between {brief(low)} and {brief(high)}"
    margin_words = f"the margin of ±{brief(found.margin)}" if found.margin else "no difference at all"
    if found.p_different_holm is not None and found.p_different_holm < ALPHA:
        p = _p(found.p_different, found.p_different_holm)
        beyond = f"more than {margin_words} explains" if found.margin else "more than chance explains"
        return _say(metric, found, f"{span}: {beyond} ({p})")
    if found.p_claim is not None and found.p_claim < CLAIM:
        words = (
            f"the bundle's own value {brief(metric.original or 0)} is further from all {b.n} replays (mean "
            f"{brief(b.mean)}) than {margin_words} and their spread explain (p {found.p_claim:.2g})"
        )
        return _say(metric, found, words)
    undecided = replace(metric, verdict="inconclusive")
    if not found.margin:
        words = f"{span}; no margin was fixed, so nothing says how close is close enough"
        return _say(undecided, found, words)
    if found.p_equivalent is None:
        return _say(undecided, found, f"{span}; they vary too little, or between two numbers, to be tested")
    p = _p(found.p_equivalent, found.p_equivalent_holm)
    if (found.p_equivalent_holm or 0.0) >= ALPHA:
        inside = -found.margin < low and high < found.margin
        why = "inside" if inside else "not inside"
        many = ", but several metrics were tested" if inside else "; more replays would narrow it"
        return _say(undecided, found, f"{span}: {why} {margin_words} ({p}){many}")
    if b.deviation and stats.outside(float(real(metric.original or 0)), b) < ALPHA:
        words = (
            f"{span}, inside {margin_words}; but the bundle's own value {brief(metric.original or 0)} lies "
            "outside of what the replays predict: a lucky or a chosen run"
        )
        return _say(undecided, found, words)
    return _say(replace(metric, verdict="equivalent"), found, f"{span}: inside {margin_words} ({p})")


def _p(p: float | None, adjusted: float | None) -> str:
    """The p-value, and Holm's where the number of metrics changes it."""
    return f"p {p:.2g}" + (f", {adjusted:.2g} by Holm" if adjusted is not None and adjusted != p else "")


def _say(metric: MetricComparison, found: Statistics, words: str) -> MetricComparison:
    return replace(metric, reason=words, statistics=replace(found, words=words))


def _ratio(delta: float, size: float) -> float | None:
    """The margin as a multiple of something; None without a margin, or where it is no finite multiple."""
    return delta / size if delta and size and isfinite(delta / size) else None


def _doubles(numbers: Sequence[Number]) -> list[float] | None:
    """The numbers as doubles whose square is one too; None where one is not."""
    try:
        found = [float(n) for n in numbers]
    except OverflowError:
        return None
    return found if all(abs(v) < _LARGE for v in found) else None
