"""A replay that was stopped: what it reached is compared, and the whole is never called reproduced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runbook.compare.prefix import Stop, prefixes
from runbook.compare.verdict import compare
from runbook.model.job import Outcome
from runbook.model.metric import Metric, Series
from runbook.model.record import Record
from runbook.model.verdict import EXIT, REPRODUCED, Comparison
from tests.factories import make_record

LOSS = Series(steps=tuple(range(0, 100, 10)), values=tuple(1 / (step + 1) for step in range(0, 100, 10)))


def metrics(series: dict[str, Series], **finals: float) -> tuple[Metric, ...]:
    curves = [
        Metric(name=name, final=one.values[-1], points=len(one.values), source="stdout", evidence="observed")
        for name, one in series.items()
    ]
    return (*curves, *(Metric(name=n, final=v, source="stdout", evidence="observed") for n, v in finals.items()))


def stopped(original: Record, series: dict[str, Series]) -> Record:
    outcome = replace(original.outcome, status="stopped", reason="step 30 was reached")
    assert isinstance(outcome, Outcome)
    return replace(original, kind="replay", outcome=outcome, metrics=metrics(series))


def spot(replayed: dict[str, Series], until: int | None = None, **whole: Series) -> Comparison:
    series = whole or {"loss": LOSS}
    original = make_record(metrics=metrics(series, accuracy=0.9))
    stop = Stop("step 30 was reached", until)
    return compare(original, stopped(original, replayed), series, replayed, replaying=True, stop=stop)


def head(series: Series, count: int) -> Series:
    return Series(steps=series.steps[:count], values=series.values[:count])


def test_a_prefix_that_matches_is_partial_with_what_was_compared_and_what_was_not() -> None:
    found = spot({"loss": head(LOSS, 4)})
    assert (found.verdict, EXIT[found.verdict], found.verdict in REPRODUCED) == ("partial", 0, False)
    partial = found.partial
    assert partial is not None
    assert (partial.first, partial.last, partial.of, partial.points, partial.of_points) == (0, 30, 90, 4, 10)
    assert partial.left_out == ("accuracy",)
    assert "steps 0-30 of 90 (4 of 10 points, 40 %)" in found.reason
    assert "not compared: what follows, final values, accuracy" in found.reason
    (metric,) = found.metrics
    assert (metric.verdict, metric.reason) == ("partial", "identical at 4 of 10 points")
    assert found.broken_preconditions == ()
    assert not any(one.family == "outcome" for one in found.differences)


def test_a_difference_before_the_stop_is_seen_and_one_after_the_step_is_not() -> None:
    bad = Series(steps=LOSS.steps[:6], values=(*LOSS.values[:4], 7.0, *LOSS.values[5:6]))
    found = spot({"loss": bad})
    assert (found.verdict, found.metrics[0].first_parting) == ("different", 40)
    assert "steps 0-50 of 90" in found.reason
    assert spot({"loss": bad}, until=30).verdict == "partial"


def test_a_tolerance_is_named_in_a_partial_verdict() -> None:
    original = make_record(metrics=metrics({"loss": LOSS}))
    near = {"loss": Series(steps=LOSS.steps[:3], values=tuple(v + 1e-9 for v in LOSS.values[:3]))}
    from runbook.model.metric import Tolerance

    given_ = (Tolerance(pattern="*", absolute=1e-6),)
    found = compare(
        original, stopped(original, near), {"loss": LOSS}, near, replaying=True, overrides=given_, stop=Stop("x")
    )
    assert found.verdict == "partial"
    assert found.metrics[0].reason.startswith("within tolerance at 3 of 10 points")


def test_a_job_that_varies_is_not_judged_by_the_band_of_its_final_values() -> None:
    from runbook.model.calibration import Calibration
    from runbook.model.fact import observed

    original = replace(
        make_record(metrics=metrics({"loss": LOSS})),
        calibration=observed(Calibration(repeats=(), seeding="frozen")),
    )
    bad = {"loss": Series(steps=LOSS.steps[:2], values=(1.0, 7.0))}
    found = compare(original, stopped(original, bad), {"loss": LOSS}, bad, replaying=True, stop=Stop("x"))
    assert (found.verdict, EXIT[found.verdict]) == ("inconclusive", 7)
    assert "only its final values have a band" in found.metrics[0].reason


def test_nothing_reached_is_inconclusive() -> None:
    found = spot({})
    assert (found.verdict, EXIT[found.verdict]) == ("inconclusive", 7)
    assert "before there was anything to compare" in found.reason
    assert found.partial is not None and found.partial.left_out == ("loss", "accuracy")


def test_a_series_that_was_not_reached_is_named() -> None:
    found = spot({"loss": head(LOSS, 2)}, loss=LOSS, late=LOSS)
    assert found.partial is not None and found.partial.left_out == ("late", "accuracy")


def test_points_that_only_the_whole_log_numbers_are_aligned_by_their_place() -> None:
    whole = Series(steps=tuple(range(6)), values=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    first_epoch = Series(steps=(0, 50, 100), values=(1.0, 2.0, 3.0))
    assert spot({"loss": first_epoch}, loss=whole).verdict == "partial"


def test_one_point_is_compared_though_it_is_no_series_yet() -> None:
    original = make_record(metrics=metrics({"loss": LOSS}))
    one = (Metric(name="loss", final=1.0, source="stdout", evidence="observed"),)
    cut = prefixes(original.metrics, one, {"loss": LOSS}, {}, Stop("x"))
    assert cut.partial.points == 1
    assert cut.series_b["loss"] == Series(steps=(0,), values=(1.0,))


curves = st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=30).map(
    lambda values: Series(steps=tuple(range(len(values))), values=tuple(values))
)


@given(curves, st.data())
def test_an_equal_prefix_is_partial_and_a_planted_difference_is_seen_exactly_within_it(
    whole: Series, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(whole.values)))
    until = data.draw(st.none() | st.integers(0, len(whole.values)))
    assert spot({"loss": head(whole, count)}, until, loss=whole).verdict == "partial"
    at = data.draw(st.integers(0, count - 1))
    values = list(whole.values[:count])
    values[at] = float(values[at]) + 1e30
    planted = Series(steps=whole.steps[:count], values=tuple(values))
    seen = until is None or at <= until
    expected = "different" if seen and values[at] != whole.values[at] else "partial"
    assert spot({"loss": planted}, until, loss=whole).verdict == expected
