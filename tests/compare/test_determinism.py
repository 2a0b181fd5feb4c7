"""Whether runs are the same bit for bit, and what a change does: every case that the sentences tell apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runbook.compare.determinism import Ran, changes, determinism, sensitivity
from runbook.model.data import Output
from runbook.model.metric import Metric, Number, Series
from runbook.model.record import Record
from tests.factories import make_record


def output(path: str, digest: str) -> Output:
    return Output(path=path, digest=digest, bytes=1, stored="reference", role="artifact", evidence="observed")


def ran(loss: Number = 0.5, curve: tuple[float, ...] = (), run: str = "r", calm: Number = 3, **files: str) -> Ran:
    metrics = [Metric(name="calm", final=calm, source="m.json", evidence="observed")]
    points = max(1, len(curve))
    metrics.append(Metric(name="loss", final=loss, points=points, source="m.json", evidence="observed"))
    series = {"loss": Series(steps=tuple(range(len(curve))), values=curve)} if curve else {}
    outputs = tuple(output(path, digest) for path, digest in files.items())
    return Ran(make_record(run=run, metrics=tuple(metrics), outputs=outputs), series)


def control(*runs: Ran) -> Any:
    return determinism(runs[0], [changes(runs[0], one) for one in runs[1:]])


def test_the_same_twice_is_deterministic() -> None:
    found = control(ran(model="a"), ran(model="a"))
    assert (found.verdict, found.runs, found.metrics, found.outputs) == ("deterministic", 2, 2, 1)
    assert found.words.endswith("gave the same 2 metrics and 1 output, bit for bit")


def test_the_last_bit_counts_whatever_the_tolerance_is() -> None:
    found = control(ran(0.1 + 0.2), ran(0.3))
    assert found.verdict == "not deterministic"
    (change,) = found.changes
    assert (change.first, change.other) == ("0.30000000000000004", "0.3")
    assert "loss (0.30000000000000004 and 0.3)" in found.words


def test_a_curve_that_parts_and_comes_back_is_another() -> None:
    found = control(ran(0.1, (0.5, 0.4, 0.1)), ran(0.1, (0.5, 0.3, 0.1)))
    assert found.verdict == "not deterministic"
    assert found.changes[0].step == 1
    assert "loss (from step 1, 0.1 in the end)" in found.words


def test_outputs_may_vary_where_metrics_do_not() -> None:
    found = control(ran(model="a", log="1"), ran(model="a", log="2"), ran(model="a"))
    assert found.verdict == "outputs vary"
    (change,) = found.changes
    assert (change.kind, change.name, change.runs, change.other) == ("output", "log", 2, "2")
    assert "gave the same 2 metrics, but not the same log" in found.words


def test_a_job_that_leaves_nothing_says_nothing() -> None:
    empty = Ran(make_record(metrics=(), outputs=()), {})
    found = control(empty, empty)
    assert found.verdict == "cannot tell"
    assert sensitivity("time", "how", found, empty, [empty]).verdict == "cannot tell"


def test_nan_is_nan_again() -> None:
    assert control(ran("NaN"), ran("NaN")).verdict == "deterministic"
    assert control(ran("NaN"), ran(0.5)).verdict == "not deterministic"


STEADY = (ran(model="a"), ran(model="a"))
NOISY = (ran(0.5, model="a"), ran(0.6, model="b"))


@pytest.mark.parametrize(
    ("runs", "varied", "met", "verdict", "words"),
    [
        (STEADY, [ran(model="a")], None, "insensitive", "the same bit for bit"),
        (STEADY, [ran(model="a")], 2, "insensitive", "though the job asked for it 2 times"),
        (STEADY, [ran(0.7, model="a")], None, "sensitive", "it changes loss (0.5 and 0.7)"),
        (STEADY, [ran(model="b")], None, "sensitive", "it changes model (other content)"),
        (STEADY, [ran()], None, "sensitive", "model (absent once)"),
        (STEADY, [ran(0.7, model="a")], 0, "not tried", "never asked for it"),
        (NOISY, [ran(0.7, model="c"), ran(0.8, model="d")], None, "cannot tell", "also with this fixed"),
        (NOISY, [ran(0.7, model="c"), ran(0.7, model="d")], None, "cause", "two runs agree in loss"),
        (NOISY, [ran(0.7, calm=4), ran(0.8, calm=4)], None, "sensitive", "it changes calm (3 and 4)"),
        ((ran(model="a"), ran(model="b")), [ran(model="c")], None, "insensitive", "varies by itself: model"),
        ((ran(0.5), ran(0.6, calm=4)), [ran(0.7), ran(0.7, calm=4)], None, "cause", "of the rest, calm still"),
    ],
)
def test_what_a_change_does(
    runs: tuple[Ran, ...], varied: list[Ran], met: int | None, verdict: str, words: str
) -> None:
    found = sensitivity("threads", "1 → 2", control(*runs), runs[0], varied, met)
    assert (found.verdict, words in found.words) == (verdict, True), found
    assert bool(found.changes) == (verdict == "sensitive")


numbers = st.one_of(st.floats(allow_nan=False), st.integers(), st.sampled_from(["NaN", "Infinity"]))


@given(st.lists(numbers, min_size=2, max_size=5), st.lists(numbers, min_size=2, max_size=2))
def test_no_number_breaks_it_and_the_order_of_runs_does_not_matter(
    losses: list[Number], changed: list[Number]
) -> None:
    def record(loss: Number) -> Record:
        return replace(ran(loss).record)

    runs = [Ran(record(loss), {}) for loss in losses]
    found = control(*runs)
    assert (found.verdict == "deterministic") == all(x == losses[0] for x in losses)
    assert control(*runs[::-1]).verdict == found.verdict
    made = sensitivity("time", "how", found, runs[0], [Ran(record(loss), {}) for loss in changed])
    if found.verdict == "not deterministic":
        assert (made.verdict == "cause") == (changed[0] == changed[1])
