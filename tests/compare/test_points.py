"""Many points at a time give what point after point gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.compare import curves, points
from runbook.compare.points import Identity, pairs, worst_along, worst_of
from runbook.model.metric import Bounds, Number, Series

plain = st.sampled_from((0.0, -0.0, 1.0, 1.5, -2.0, 1.7e308, -1.7e308)) | st.floats(-10, 10)
number = st.one_of(plain, plain, plain, st.integers(-3, 3), st.sampled_from((10**400, "NaN", "Infinity")))
both = st.lists(st.tuples(number, number) | number.map(lambda x: (x, x)), min_size=1, max_size=24)
amount = st.sampled_from((0.0, 0.0, 1e-3, 0.5, 3.0, 1e308))
bounds = st.builds(
    lambda a, r, u: Bounds(absolute=a, relative=r, ulp=u), amount, amount, st.sampled_from((0, 0, 2))
)


def _series(values: list[Number]) -> Series:
    return Series(steps=tuple(range(0, 3 * len(values), 3)), values=tuple(values))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "BLOCK", 4)
    monkeypatch.setattr(curves, "BLOCK", 4)


@settings(max_examples=400, deadline=None)
@given(both, bounds)
def test_a_block_is_judged_as_its_points_are(values: list[tuple[Number, Number]], within: Bounds) -> None:
    a, b = (_series(list(side)) for side in zip(*values, strict=True))
    along, one_by_one = Identity(), Identity()
    along.look_along(a, b)
    for point in pairs(a, b, 0, len(values)):
        one_by_one.look(point)
    assert along.parted == one_by_one.parted
    assert repr((along.broken, along.holes, along.nans)) == repr(
        (one_by_one.broken, one_by_one.holes, one_by_one.nans)
    )
    assert along.parted or along.zeros == one_by_one.zeros
    if not along.holes and along.broken is None:
        assert worst_along(a, b, within) == worst_of(pairs(a, b, 0, len(values)), within)


@settings(max_examples=200, deadline=None)
@given(both, st.integers(0, 30))
def test_the_first_difference_is_found_in_whichever_block(values: list[tuple[Number, Number]], cut: int) -> None:
    a, b = (_series(list(side)) for side in zip(*values, strict=True))
    b = Series(steps=b.steps[:cut], values=b.values[:cut])
    plainly = zip(a.steps, b.steps, a.values, b.values, strict=False)
    expected = next((i for i, (s, t, x, y) in enumerate(plainly) if s != t or x != y), None)
    assert curves.first_difference(a, b) == expected
