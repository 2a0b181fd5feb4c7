"""Verdicts over repeats: against an oracle, by simulation, and case by case."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import simulate
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_ind

from runbook.compare import repeats, statistics
from runbook.compare.metrics import compare_metric
from runbook.compare.tolerances import Applied
from runbook.compare.verdict import Rerun, compare, compare_repeats
from runbook.model.calibration import Calibration, Repeat
from runbook.model.fact import observed
from runbook.model.metric import Metric, Number, Tolerance
from runbook.model.verdict import MetricComparison, Verdict
from tests.factories import make_record

MARGIN = Tolerance(pattern="*", margin=0.03)


def metric(final: Number, name: str = "accuracy") -> Metric:
    return Metric(name=name, final=final, source="m.json", evidence="observed")


def judged(
    own: Number, calibration: list[float], replays: list[Number], tolerance: Tolerance = MARGIN
) -> MetricComparison:
    runs = [compare_metric("accuracy", metric(own), metric(x), Applied(tolerance)) for x in replays]
    return repeats.decide([repeats.combine(runs, calibration, tolerance)])[0]


samples = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12)


@given(samples, samples, st.floats(1e-3, 1e3))
def test_the_two_one_sided_tests_are_those_of_statsmodels(a: list[float], b: list[float], margin: float) -> None:
    if np.std(a) < 1e-6 or np.std(b) < 1e-6:
        return
    one, other = statistics.sample(a), statistics.sample(b)
    found = statistics.welch(other.mean - one.mean, one.deviation**2, len(a), other.deviation**2, len(b), margin)
    expected = ttost_ind(np.array(b), np.array(a), -margin, margin, usevar="unequal")[0]
    assert float(found.p_equivalent) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    # The 90 % interval and the test at 5 % are one statement.
    if abs(expected - 0.05) > 1e-6:
        assert (expected < 0.05) == (-margin < found.low and found.high < margin)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert statistics.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_proportion_has_the_exact_interval_of_statsmodels(hits: int, items: int) -> None:
    hits = min(hits, items)
    expected = proportion_confint(hits, items, method="beta")
    expected = (0.0 if hits == 0 else expected[0], 1.0 if hits == items else expected[1])
    assert statistics.proportion(hits / items, items) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "k"), [(3, 4.97), (5, 3.04), (10, 2.37), (20, 2.14)])
def test_the_prediction_interval_is_as_wide_as_the_tables_say(n: int, k: float) -> None:
    of = replace(statistics.sample([0.0, 1.0]), n=n, mean=0.0, deviation=1.0)
    assert statistics.prediction(of)[1] == pytest.approx(k, abs=0.006)


@pytest.mark.parametrize("law", simulate.LAWS)
def test_no_verdict_is_wrong_more_often_than_alpha(law: str) -> None:
    reps, limit = 2000, simulate.bound(2000, 4)
    for n, m in simulate.SIZES:
        for margin in simulate.MARGINS[::2]:
            same = simulate.rates(law, n, m, margin, 0.0, reps)
            assert same.different <= limit, f"A/A, n {n}, m {m}, margin {margin}: different"
            for shift in (margin, -margin) if margin else ():
                edge = simulate.rates(law, n, m, margin, shift, reps)
                assert edge.equivalent <= limit, f"A/B, n {n}, m {m}, margin {margin}: equivalent"
                assert edge.different <= limit, f"at the margin, n {n}, m {m}, margin {margin}: different"


def test_values_on_a_grid_are_never_called_equivalent_too_often() -> None:
    """A metric of few different values, ten runs a side: without the correction for continuity it was 0.056."""
    reps, limit = 20_000, simulate.bound(20_000, 3)
    for law in ("a coin", "one in five", "one of three", "normal, rounded to s"):
        for margin in (0.5, 1.0, 2.0, 4.0):
            for shift in (margin, -margin):
                assert simulate.rates(law, 10, 10, margin, shift, reps).equivalent <= limit, (law, shift)


def test_the_step_of_a_grid() -> None:
    assert statistics.half_step([0.0, 1.0, 0.0], [1.0, 1.0, 1.0]) == pytest.approx(1 / 6)
    assert statistics.half_step([0.3, 0.1 + 0.2, 0.5], [0.5, 0.3, 0.5]) == pytest.approx(0.2 / 6)
    assert statistics.half_step([0.3, 0.3], [0.4, 0.4]) == 0.0


@pytest.mark.parametrize("law", ["normal", "lognormal", "normal, rounded to 2 s", "a coin"])
@pytest.mark.parametrize(("margin", "shift"), [(0.0, 1.0), (2.0, 0.0), (0.5, 3.0)])
def test_what_was_simulated_is_what_is_decided(law: str, margin: float, shift: float) -> None:
    drawn = simulate.draw(law, 5, 4, shift, 40, 3)
    equivalent, different = simulate.verdicts(drawn, margin)
    for i in range(40):
        found = judged(
            float(drawn.own[i]),
            drawn.calibration[i].tolist(),
            drawn.replays[i].tolist(),
            Tolerance(pattern="*", margin=margin),
        )
        if found.by_size:
            expected = "equivalent" if equivalent[i] else "different" if different[i] else "inconclusive"
            assert found.verdict == expected, found.reason


NOISE = [0.900, 0.906, 0.894, 0.903, 0.897]


@pytest.mark.parametrize(
    ("own", "calibration", "replays", "verdict", "said"),
    [
        pytest.param(0.9, NOISE, [0.902], "inconclusive", "consistent", id="one replay inside the band"),
        pytest.param(0.9, NOISE, [0.95], "different", "does not", id="one replay outside the band"),
        pytest.param(0.9, NOISE, [0.902, 0.899, 0.896, 0.905], "equivalent", "inside", id="several alike"),
        pytest.param(0.9, NOISE, [0.8, 0.81, 0.79], "different", "more than", id="several apart"),
        pytest.param(0.9, NOISE, [0.88, 0.95, 0.91], "inconclusive", "not inside", id="several that vary"),
        pytest.param(0.9, NOISE, [0.9, 0.9, 0.9], "identical", "", id="all identical"),
        pytest.param(0.9, NOISE, [0.9, 0.901, "NaN"], "different", "became nan", id="one diverged"),
        pytest.param(
            0.97, NOISE, [0.902, 0.899, 0.896, 0.903, 0.9], "different", "own value", id="a claim of another kind"
        ),
        pytest.param(0.925, NOISE, [0.902, 0.899, 0.896], "inconclusive", "lucky", id="a lucky claim"),
        pytest.param(0.9, [0.9] * 5, [0.8], "different", "all gave", id="a constant band, one apart"),
        pytest.param(0.9, [0.9] * 3, [0.8] * 3, "different", "no chance", id="both constant and apart"),
        pytest.param(
            0.9, [0.9] * 3, [0.91] * 3, "inconclusive", "tolerance", id="both constant within the margin"
        ),
        pytest.param(0.9, [0.9] * 3, [0.89, 0.9, 0.91], "inconclusive", "", id="one side constant"),
        pytest.param(0.9, [], [0.901, 0.899, 0.903], "inconclusive", "consistent", id="never calibrated"),
        pytest.param(0.9, [], [0.7, 0.71, 0.69], "different", "does not", id="never calibrated, far apart"),
        pytest.param(0.9, [], [0.91, 0.91], "different", "", id="two replays show no spread"),
        pytest.param(0.9, [0.9, 0.91], [0.92], "different", "", id="two repeats show no spread"),
    ],
)
def test_case_by_case(
    own: float, calibration: list[float], replays: list[Number], verdict: Verdict, said: str
) -> None:
    found = judged(own, calibration, replays)
    assert found.verdict == verdict, found.reason
    assert said in found.reason


def test_without_a_margin_nothing_is_equivalent() -> None:
    found = judged(0.9, NOISE, [0.902, 0.899, 0.896], Tolerance(pattern="*"))
    assert found.verdict == "inconclusive"
    assert "no margin" in found.reason


def test_one_run_against_one_run_is_never_equivalent_whatever_the_margin() -> None:
    assert judged(0.9, NOISE, [0.95], Tolerance(pattern="*", margin=1e9)).verdict == "different"
    assert judged(0.9, [], [0.95], Tolerance(pattern="*", margin=1e9)).verdict == "different"


def test_what_an_author_may_have_chosen_is_shown() -> None:
    found = judged(0.9, NOISE, [0.902, 0.899, 0.896], Tolerance(pattern="*", margin=0.5)).statistics
    assert found is not None
    assert found.margin_in_deviations is not None
    assert found.margin_in_deviations > 3
    assert any("times the standard deviation" in w for w in found.warnings)
    assert any("% of the value" in w for w in found.warnings)
    lucky = judged(0.95, NOISE, [0.9], Tolerance(pattern="*", better="higher")).statistics
    assert lucky is not None
    assert any("chosen run" in w for w in lucky.warnings)


def test_a_proportion_varies_at_least_as_its_items_do() -> None:
    same = judged(0.9, [0.9] * 4, [0.91] * 4, Tolerance(pattern="*", margin=0.1, items=100))
    assert same.statistics is not None
    assert same.statistics.floor == pytest.approx(0.03)
    assert same.verdict == "equivalent"
    narrow = judged(0.9, [0.9] * 4, [0.91] * 4, Tolerance(pattern="*", margin=0.02, items=100))
    assert narrow.verdict == "inconclusive"
    assert narrow.statistics is not None
    assert any("can tell apart" in w for w in narrow.statistics.warnings)


def test_many_metrics_are_adjusted_together() -> None:
    runs = [
        [compare_metric(f"m{i}", metric(0.9), metric(x), Applied(MARGIN)) for x in (0.912, 0.899, 0.886, 0.905)]
        for i in range(40)
    ]
    alone = repeats.decide([repeats.combine(runs[0], NOISE, MARGIN)])[0]
    assert alone.verdict == "equivalent"
    together = repeats.decide(
        [replace(repeats.combine(r, NOISE, MARGIN), name=f"m{i}") for i, r in enumerate(runs)]
    )
    assert {m.verdict for m in together} == {"inconclusive"}
    assert "several metrics" in together[0].reason


@given(st.lists(st.floats(allow_nan=False), min_size=3, max_size=6), st.lists(st.floats(), min_size=1, max_size=6))
def test_no_number_breaks_it(calibration: list[float], replays: list[float]) -> None:
    from runbook.model.metric import to_number

    found = judged(0.5, calibration, [to_number(x) for x in replays])
    assert found.reason or found.verdict == "identical"


def calibrated(seeding: str = "frozen", status: str = "completed") -> Calibration:
    runs = [
        Repeat(run=f"r{i}", engine="docker", status="completed", values={"accuracy": x})
        for i, x in enumerate(NOISE)
    ]
    failed = Repeat(run="", engine="docker", status="failed")
    return Calibration(seeding=seeding, repeats=(*runs, *([failed] if status == "failed" else [])))  # type: ignore[arg-type]


def rerun(value: float) -> Rerun:
    original = make_record(metrics=(metric(0.9),), tolerances=(MARGIN,))
    record = replace(original, kind="replay", replay_of="f" * 64, engine="docker", metrics=(metric(value),))
    found = compare_metric("accuracy", metric(0.9), metric(value), Applied(MARGIN))
    return Rerun(original, record, (found,), Repeat(run="x", engine="docker", status="completed"))


def test_a_calibration_with_other_seeds_says_nothing_of_frozen_ones() -> None:
    original = make_record(metrics=(metric(0.9),), tolerances=(MARGIN,), calibration=observed(calibrated("drawn")))
    runs = [rerun(x) for x in (0.902, 0.899, 0.896, 0.905)]
    assert compare_repeats(original, runs, seeding="drawn").verdict == "equivalent"
    other = compare_repeats(original, runs, seeding="frozen")
    assert other.verdict == "inconclusive"
    assert any("not used" in text for text in other.remarks)


def test_a_run_without_a_seed_is_never_reproduced_by_statistics() -> None:
    original = make_record(
        metrics=(metric(0.9),), tolerances=(MARGIN,), calibration=observed(calibrated()), seeds=()
    )
    runs = [replace_record(rerun(x)) for x in (0.902, 0.899, 0.896, 0.905)]
    found = compare_repeats(original, runs, seeding="frozen")
    assert found.verdict == "inconclusive"
    assert "no seed was seen" in found.metrics[0].reason


def replace_record(one: Rerun) -> Rerun:
    import dataclasses

    return dataclasses.replace(one, asked=replace(one.asked, seeds=()), record=replace(one.record, seeds=()))


def test_a_replay_that_breaks_a_precondition_spoils_all() -> None:
    original = make_record(metrics=(metric(0.9),), calibration=observed(calibrated()))
    bad = rerun(0.9)
    job = replace(bad.record.job, argv=("python", "other.py"))
    import dataclasses

    bad = dataclasses.replace(bad, record=replace(bad.record, job=job))
    assert compare_repeats(original, [rerun(0.9), bad], seeding="frozen").verdict == "not comparable"


def test_failed_repeats_are_said() -> None:
    original = make_record(metrics=(metric(0.9),), calibration=observed(calibrated(status="failed")))
    found = compare(original, rerun(0.9).record, {}, {}, replaying=True)
    assert any("failed" in text for text in found.remarks)


def test_without_scipy_the_tolerance_decides_and_the_hint_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    found = judged(0.9, NOISE, [0.902])
    assert found.verdict == "different"
    assert found.statistics is not None
    assert "runbook[statistics]" in found.statistics.words
