"""Tensors against each other, by an oracle that takes one pair after the other."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.artifacts.interface import Parts
from runbook.artifacts.values import tensors
from runbook.artifacts.values.numbers import measure
from runbook.artifacts.values.tensors import Tensor, compare_tensors, from_array

FLOATS = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
ODD = (0.0, -0.0, math.nan, math.inf, -math.inf, 1.0, -1.0, 1e-45, 5e-324, 3e38, -3e38, 1.7e308, -1.7e308, 448.0)


@pytest.mark.parametrize("type_", FLOATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_floats_are_measured_as_one_pair_after_the_other(type_: Any, data: st.DataObject) -> None:
    number = st.sampled_from(ODD) | st.floats(-500, 500)
    pairs = data.draw(st.lists(st.tuples(number, number) | number.map(lambda x: (x, x)), min_size=1, max_size=20))
    with np.errstate(all="ignore"):
        a, b = (np.array(side, np.float64).astype(type_) for side in zip(*pairs, strict=True))
    found = measure(a, b)
    plain = [(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    differs = [not (x == y or (math.isnan(x) and math.isnan(y))) for x, y in plain]
    gaps = [abs(y - x) for x, y in plain if math.isfinite(x) and math.isfinite(y)]
    assert found.of == len(plain)
    assert found.differing == sum(differs)
    assert found.first == (differs.index(True) if any(differs) else None)
    assert found.nans == sum(math.isnan(x) != math.isnan(y) for x, y in plain)
    assert found.infinities == sum(
        d and not math.isnan(x) and not math.isnan(y) and (math.isinf(x) or math.isinf(y))
        for d, (x, y) in zip(differs, plain, strict=True)
    )
    if any(differs) and any(gaps):
        assert found.largest == max(gaps)
        assert found.total == pytest.approx(sum(gaps), rel=1e-2 if a.dtype.itemsize < 4 else 1e-6)


@pytest.mark.parametrize("type_", FLOATS[2:])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)), min_size=1, max_size=10))
def test_steps_are_those_between_the_numbers_of_the_type(type_: Any, pairs: list[tuple[int, int]]) -> None:
    bits = np.dtype(f"u{np.dtype(type_).itemsize}")
    every = np.arange(1 << bits.itemsize * 8).astype(bits).view(type_).astype(np.float32)
    every = np.unique(every[np.isfinite(every)])  # In order, with one zero.
    a, b = (np.array(side, np.uint16).astype(bits).view(type_) for side in zip(*pairs, strict=True))
    finite = np.isfinite(a.astype("f4")) & np.isfinite(b.astype("f4"))
    found = measure(a, b)
    x, y = a[finite].astype("f4"), b[finite].astype("f4")
    if (x != y).any():
        ranks = zip(np.searchsorted(every, x), np.searchsorted(every, y), strict=True)
        assert found.ulp == max(abs(int(p) - int(q)) for p, q in ranks)


@pytest.mark.parametrize("type_", (np.float32, np.float64))
@given(st.floats(-(2.0**99), 2.0**99, width=32), st.integers(1, 5))
def test_steps_of_wide_types_are_those_of_nextafter(type_: Any, start: float, steps: int) -> None:
    a = np.array([start], type_)
    b = a.copy()
    for _ in range(steps):
        b = np.nextafter(b, type_(np.inf))
    assert measure(a, b).ulp == steps


@pytest.mark.parametrize("type_", (np.int8, np.uint8, np.int64, np.uint64))
@given(data=st.data())
def test_integers_are_exact_at_the_ends_of_their_type(type_: Any, data: st.DataObject) -> None:
    limits = np.iinfo(type_)
    number = st.sampled_from((int(limits.min), int(limits.max), 0)) | st.integers(int(limits.min), int(limits.max))
    x, y = data.draw(st.lists(number, min_size=3, max_size=3)), data.draw(st.lists(number, min_size=3, max_size=3))
    found = measure(np.array(x, type_), np.array(y, type_))
    gaps = [abs(p - q) for p, q in zip(x, y, strict=True)]
    assert found.differing == sum(map(bool, gaps))
    assert (found.largest or 0) == max(gaps)


def test_the_sign_of_zero_and_the_bits_of_nan_are_no_difference_and_are_said() -> None:
    a, b = np.array([0.0, np.nan, 1.0], "f4"), np.array([-0.0, -np.nan, 1.0], "f4")
    parts = Parts("tensor")
    compare_tensors([_tensor("x", a)], [_tensor("x", b)], parts)
    assert parts.found().differing == 0
    assert parts.remarks == ["2 elements equal as numbers differ in bits (signed zero, NaN)"]


def test_shapes_types_order_and_what_one_side_lacks() -> None:
    a = [_tensor("w", np.zeros((2, 3), "f4")), _tensor("n", np.zeros(2, "f4")), _tensor("gone", np.zeros(1))]
    b = [_tensor("n", np.zeros(2, "f8")), _tensor("w", np.zeros((3, 2), "f4")), _tensor("new", np.zeros(1))]
    parts = Parts("tensor")
    compare_tensors(a, b, parts)
    assert [(p.name, p.words()) for p in parts.kept] == [
        ("w", "shape [2, 3] became [3, 2]"),
        ("n", "float32 became float64; 0 of 2 differ"),
        ("gone", "only in the original"),
        ("new", "only in the second"),
    ]
    assert parts.remarks == ["the tensors stand in another order"]


def test_what_differs_first_is_found_beyond_the_first_block() -> None:
    a = np.zeros((3, tensors.BLOCK), "f4")
    b = a.copy()
    b[2, 7], b[2, 9] = np.nan, 2.0
    parts = Parts("tensor")
    compare_tensors([_tensor("w", a)], [_tensor("w", b)], parts)
    (part,) = parts.kept
    assert part.where == "[2, 7]"
    assert part.differing == 2
    assert part.largest == 2.0
    assert part.note == "NaN on one side only: 1"


def _tensor(name: str, array: Any) -> Tensor:
    return Tensor(name, array.shape, array.dtype, from_array(array))
