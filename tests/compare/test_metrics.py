from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.compare.metrics import compare_metric, compare_metrics
from runbook.compare.tolerances import choose
from runbook.model.metric import Metric, Number, Series, Tolerance, to_number
from runbook.model.verdict import STRENGTH, MetricComparison


def metric(final: Number, points: int = 1) -> Metric:
    return Metric(name="loss", final=final, points=points, source="metrics.json", evidence="observed")


def series(*values: Number, steps: tuple[int, ...] | None = None) -> Series:
    return Series(steps=steps or tuple(range(len(values))), values=values)


def judge(a: Number, b: Number, relative: float = 0.0, absolute: float = 0.0) -> MetricComparison:
    tolerance = Tolerance(pattern="loss", relative=relative, absolute=absolute)
    return compare_metric("loss", metric(a), metric(b), choose("loss", [tolerance]))


def judge_curves(a: Series, b: Series, absolute: float = 0.0) -> MetricComparison:
    tolerance = Tolerance(pattern="loss", absolute=absolute)
    return compare_metric(
        "loss",
        metric(a.values[-1], len(a.values)),
        metric(b.values[-1], len(b.values)),
        choose("loss", [tolerance]),
        series_a=a,
        series_b=b,
    )


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.sampled_from(["NaN", "Infinity", "-Infinity"]),
)
finite = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers())
bounds = st.floats(min_value=0, max_value=1e300)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (0.1, 0.1, "identical"),
        (1, 1.0, "identical"),
        (0.0, -0.0, "identical"),
        ("NaN", "NaN", "identical"),
        ("Infinity", "Infinity", "identical"),
        (0.1, math.nextafter(0.1, 1), "different"),
        (2**53, 2**53 + 1, "different"),
        ("NaN", 0.1, "different"),
        (0.1, "NaN", "different"),
        ("Infinity", "-Infinity", "different"),
        ("Infinity", 1e308, "different"),
    ],
)
def test_without_a_tolerance_only_equal_numbers_agree(a: Number, b: Number, verdict: str) -> None:
    assert judge(a, b).verdict == verdict


def test_the_sign_of_zero_is_equal_but_said() -> None:
    assert "sign of zero" in judge(0.0, -0.0).reason


def test_a_tolerance_is_absolute_plus_relative_to_the_original() -> None:
    assert judge(100.0, 101.5, relative=0.01, absolute=0.5).verdict == "within tolerance"
    assert judge(100.0, 101.6, relative=0.01, absolute=0.5).verdict == "different"
    assert judge(-100.0, -101.0, relative=0.01).verdict == "within tolerance"


def test_how_wide_a_tolerance_is_beside_the_value_is_said() -> None:
    assert "50 % of the original" in judge(2.0, 2.5, absolute=1.0).reason


@given(numbers, st.sampled_from(["NaN", "Infinity", "-Infinity"]))
def test_what_is_not_finite_is_never_within_a_tolerance(a: Number, b: Number) -> None:
    verdict = judge(a, b, relative=1e300, absolute=1e300).verdict
    assert verdict == ("identical" if a == b else "different")


@given(numbers, bounds, bounds)
def test_every_number_is_identical_to_itself(a: Number, relative: float, absolute: float) -> None:
    assert judge(a, a, relative, absolute).verdict == "identical"


@given(numbers, numbers)
def test_exact_and_absolute_verdicts_do_not_depend_on_the_order(a: Number, b: Number) -> None:
    assert judge(a, b).verdict == judge(b, a).verdict
    assert judge(a, b, absolute=0.5).verdict == judge(b, a, absolute=0.5).verdict


@given(finite, finite, bounds, bounds, bounds, bounds)
def test_a_wider_tolerance_never_makes_a_verdict_weaker(
    a: Number, b: Number, relative: float, absolute: float, more_relative: float, more_absolute: float
) -> None:
    narrow = judge(a, b, relative, absolute).verdict
    wide = judge(a, b, relative + more_relative, absolute + more_absolute).verdict
    assert STRENGTH.index(wide) <= STRENGTH.index(narrow)


def test_huge_numbers_are_compared_exactly() -> None:
    assert judge(10**400, 10**400 + 1).verdict == "different"
    assert judge(10**400, 10**400 + 1, relative=1e-9).verdict == "within tolerance"
    assert judge(1e308, -1e308, relative=1.0).verdict == "different"
    assert judge(10**400, 0.5).difference == "-Infinity"


def test_curves_that_part_and_meet_again_are_not_identical() -> None:
    found = judge_curves(series(3.0, 2.0, 1.0, 0.5), series(3.0, 2.5, 1.5, 0.5))
    assert (found.verdict, found.first_parting) == ("different", 1)
    assert "at step 1" in found.reason or "at step 2" in found.reason


def test_every_step_must_be_within_the_tolerance() -> None:
    a, b = series(3.0, 2.0, 0.5), series(3.0, 2.5, 0.5)
    assert judge_curves(a, b, absolute=0.5).verdict == "within tolerance"
    assert judge_curves(a, b, absolute=0.4).verdict == "different"


def test_nan_in_one_place_of_both_curves_is_identical_and_never_within_tolerance() -> None:
    assert judge_curves(series("NaN", 1.0), series("NaN", 1.0)).verdict == "identical"
    found = judge_curves(series("NaN", 1.0), series("NaN", 1.1), absolute=1.0)
    assert found.verdict == "different"
    assert "NaN" in found.reason


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (series(3.0, 2.0), "shorter: 2 of 3"),
        (series(3.0, 2.0, 1.0, 1.0), "longer: 4 points"),
        (series(3.0, 2.0, 1.0, steps=(0, 2, 4)), "logged step 1 where the second run logged step 2"),
    ],
)
def test_curves_of_other_steps_never_agree(other: Series, said: str) -> None:
    found = judge_curves(series(3.0, 2.0, 1.0), other, absolute=100.0)
    assert found.verdict == "not comparable"
    assert said in found.reason


def test_a_shorter_curve_that_ends_elsewhere_is_different_and_says_why() -> None:
    found = judge_curves(series(3.0, 2.0, 1.0), series(3.0, 2.0))
    assert found.verdict == "different"
    assert "shorter" in found.reason


def test_a_curve_on_one_side_only_is_no_agreement() -> None:
    found = compare_metric("loss", metric(1.0, 3), metric(1.0), choose("loss", []), series_a=series(3.0, 2.0, 1.0))
    assert (found.verdict, found.reason) == ("not comparable", "only the original has a series")


def test_a_curve_that_is_not_at_hand_is_no_agreement() -> None:
    assert compare_metric("loss", metric(1.0, 3), metric(1.0, 3), choose("loss", [])).verdict == "not comparable"


def test_a_metric_that_a_side_lacks_is_not_comparable_and_names_the_side() -> None:
    only_a, only_b = compare_metrics([metric(1.0)], [], {}, {}), compare_metrics([], [metric(1.0)], {}, {})
    assert [m.verdict for m in (*only_a, *only_b)] == ["not comparable", "not comparable"]
    assert "second run" in only_a[0].reason
    assert "original" in only_b[0].reason
    assert only_a[0].difference is None


def test_the_first_pattern_that_matches_decides() -> None:
    fixed = [Tolerance(pattern="val_*", absolute=1.0), Tolerance(pattern="val_loss", absolute=2.0)]
    assert choose("val_loss", fixed).tolerance.absolute == 1.0
    assert choose("train_loss", fixed).tolerance.absolute == 0.0


def test_a_name_with_glob_characters_can_be_named_literally() -> None:
    assert choose("acc[0]", [Tolerance(pattern="acc[0]", absolute=1.0)]).tolerance.absolute == 1.0


def test_an_override_shows_what_the_original_had_fixed() -> None:
    chosen = choose("loss", [Tolerance(pattern="*", relative=0.001)], [Tolerance(pattern="loss", absolute=9.0)])
    assert chosen.words() == "abs 9 (override; fixed at capture: rel 0.001)"


def test_a_tolerance_in_words() -> None:
    assert Tolerance(pattern="*").words() == "exact"
    assert Tolerance(pattern="*", relative=1e-3, absolute=1e-6).words() == "rel 0.001, abs 1e-06"


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=30), bounds)
def test_the_first_parting_is_the_first_step_that_differs(
    pairs: list[tuple[Number, Number]], absolute: float
) -> None:
    a, b = series(*(to_number(x) for x, _ in pairs)), series(*(to_number(y) for _, y in pairs))
    expected = next((i for i, (x, y) in enumerate(pairs) if x != y), None)
    assert judge_curves(a, b, absolute).first_parting == expected
