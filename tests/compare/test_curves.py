"""Where two curves part, how the gap goes on, and bounds that count ulps or smooth."""

from __future__ import annotations

import math
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.bounds import parse_tolerance
from runbook.compare.curves import part, trailing_mean
from runbook.compare.metrics import compare_metric
from runbook.compare.tolerances import Applied, step
from runbook.model.metric import Metric, Series
from runbook.model.verdict import MetricComparison


def series(values: list[float], first: int = 0) -> Series:
    return Series(steps=tuple(range(first, first + len(values))), values=tuple(values))


def judge(a: list[float], b: list[float], tolerance: str) -> MetricComparison:
    sides = [Metric(name="loss", final=v[-1], points=len(v), source="m", evidence="observed") for v in (a, b)]
    applied = Applied(parse_tolerance(tolerance))
    return compare_metric("loss", *sides, applied, series_a=series(a), series_b=series(b))


def grown(length: int, at: int, factor: float, first: float = 1e-7) -> tuple[list[float], list[float]]:
    a = [1 / (1 + i) + 1 for i in range(length)]
    b = [v + (first * factor ** (i - at) if i >= at else 0.0) for i, v in enumerate(a)]
    return a, b


def test_a_gap_that_doubles_is_arithmetic_and_its_rate_is_found() -> None:
    a, b = grown(300, 40, 2 ** (1 / 20))
    found = part(series(a), series(b))
    assert found is not None
    assert (found.step, found.index, found.growth, found.law) == (40, 40, "grows", "exponential")
    assert found.rate == pytest.approx(20, rel=0.02)
    assert "arithmetic" in found.reading


def test_a_gap_that_grows_as_a_random_walk_has_its_exponent() -> None:
    a = [1.0] * 5000
    b = [1.0 + 1e-6 * max(0, i - 9) ** 0.5 for i in range(5000)]
    found = part(series(a), series(b))
    assert found is not None
    assert (found.law, found.growth) == ("power", "grows")
    assert found.rate == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("at", "first", "factor", "said"),
    [
        (0, 0.1, 1.0, "data, seed or code"),
        (0, 1e-7, 1.0, "rounding"),
        (5, 1e-7, 1.0, "not amplified"),
        (5, 0.1, 1.0, "first acts there"),
        (5, 1e-7, 1.1, "amplified from step to step"),
    ],
)
def test_what_a_parting_points_to(at: int, first: float, factor: float, said: str) -> None:
    a, b = grown(60, at, factor, first)
    found = part(series(a), series(b))
    assert found is not None
    assert said in found.reading


def test_curves_that_do_not_part_have_no_parting() -> None:
    assert part(series([1.0, 2.0]), series([1.0, 2.0])) is None
    assert part(Series(steps=(0, 1), values=(1.0, 2.0)), Series(steps=(0, 2), values=(1.0, 2.0))) is None


numbers = st.one_of(st.floats(allow_nan=False), st.integers(), st.sampled_from(["NaN", "Infinity", 10**400]))


@given(st.lists(numbers, min_size=1, max_size=40), st.lists(numbers, min_size=1, max_size=40))
def test_no_curve_breaks_it(a: list[float], b: list[float]) -> None:
    import msgspec

    found = part(series(a), series(b))
    if found is not None:
        assert found.reading
        msgspec.json.encode(found)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 70))
def test_a_trailing_mean_is_exactly_rounded(values: list[float], window: int) -> None:
    found = list(trailing_mean(values, window))
    for i, mean in enumerate(found):
        part = values[max(0, i - window + 1) : i + 1]
        assert mean == pytest.approx(math.fsum(part) / len(part), rel=1e-15, abs=1e-300)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_step_of_float64_is_the_ulp(value: float) -> None:
    assert step(value, "float64") == math.ulp(value)


@given(st.floats(0, 2.0**126, width=32))
def test_a_step_of_float32_is_the_distance_to_the_next(value: float) -> None:
    following = struct.unpack("f", struct.pack("I", struct.unpack("I", struct.pack("f", value))[0] + 1))[0]
    assert float(step(value, "float32")) == following - value


def test_a_bound_may_count_steps_of_a_type() -> None:
    near = math.nextafter(math.nextafter(0.1, 1), 1)
    assert judge([0.1], [near], "loss=ulp:2").verdict == "within tolerance"
    assert judge([0.1], [near], "loss=ulp:1").verdict == "different"
    assert judge([0.1], [0.1 + 2**-27], "loss=ulp32:1").verdict == "within tolerance"
    assert judge([0.1], [0.1 + 2**-25], "loss=ulp32:1").verdict == "different"
    assert judge([10**400], [10**400 + 1], "loss=ulp:1").verdict == "within tolerance"


def test_a_curve_has_bounds_of_its_own_and_the_final_value_keeps_its() -> None:
    a, b = [3.0, 2.0, 1.0], [3.2, 2.0, 1.0]
    assert judge(a, b, "loss=rel:1e-3").verdict == "different"
    assert judge(a, b, "loss=rel:1e-3,curve.abs:0.5").verdict == "within tolerance"
    assert judge(a, [3.0, 2.0, 1.1], "loss=rel:1e-3,curve.abs:0.5").verdict == "different"
    assert "in the final value" in judge(a, [3.0, 2.0, 1.1], "loss=rel:1e-3,curve.abs:0.5").reason


def test_a_noisy_curve_passes_by_its_trailing_mean() -> None:
    draw = random.Random(1)
    a = [5.0 + draw.uniform(-0.1, 0.1) for _ in range(500)] + [5.0]
    b = [5.0 + draw.uniform(-0.1, 0.1) for _ in range(500)] + [5.0]
    b[:30] = a[:30]  # At the beginning there is little to take a mean of.
    assert judge(a, b, "loss=curve.abs:0.08").verdict == "different"
    found = judge(a, b, "loss=curve.abs:0.08,curve.smooth:50")
    assert found.verdict == "within tolerance"
    assert "trailing mean over 50 points" in found.reason
    assert found.first_parting == 30
    shifted = [v + 0.2 for v in b[:-1]] + [5.0]
    assert judge(a, shifted, "loss=curve.abs:0.08,curve.smooth:50").verdict == "different"


def test_a_direction_is_read_and_decides_nothing() -> None:
    up = judge([0.9], [0.95], "loss=better:higher")
    assert (up.verdict, up.better) == ("different", "better")
    assert judge([0.9], [0.95], "loss=better:lower").better == "worse"
