"""The search for the smallest set: against planted causes of every kind, the experiments counted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.compare.delta import Search, Unit, WholeDiffers

Outcome = Callable[[frozenset[str]], str]


class Bench:
    """An experiment whose every answer is known, and counted once."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.asked: dict[frozenset[str], str] = {}

    def ask(self, taken: frozenset[str]) -> str:
        return self.asked.setdefault(taken, self.outcome(taken))

    def smallest(self, n: int, weights: list[float] | None = None, *, sure: bool = True) -> set[str]:
        units = [Unit(frozenset((f"f{i}",)), w) for i, w in enumerate(weights or [1.0] * n)]
        search = Search(self.ask, lambda answer: answer == "none")
        return set().union(*(u.ids for u in search.smallest(units, lambda answer: answer == "B", sure=sure)))


def _needs(*causes: str) -> Outcome:
    return lambda taken: "B" if taken.issuperset(causes) else "A"


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12, 64, 100])
def test_one_cause_among_n_costs_a_binary_search_and_one_check(n: int) -> None:
    for guilty in range(n):
        bench = Bench(_needs(f"f{guilty}"))
        assert bench.smallest(n) == {f"f{guilty}"}
        assert len(bench.asked) <= ceil(log2(n)) + 1


@given(st.lists(st.sampled_from([0.25, 1.0, 2.0, 4.0]), min_size=1, max_size=40), st.data())
def test_suspicion_never_makes_it_dearer_than_halving(weights: list[float], data: st.DataObject) -> None:
    guilty = data.draw(st.integers(0, len(weights) - 1))
    bench = Bench(_needs(f"f{guilty}"))
    assert bench.smallest(len(weights), weights) == {f"f{guilty}"}
    assert len(bench.asked) <= ceil(log2(len(weights))) + 1


def test_two_causes_that_are_needed_together_are_both_found() -> None:
    for pair in combinations(range(12), 2):
        causes = {f"f{i}" for i in pair}
        bench = Bench(_needs(*causes))
        assert bench.smallest(12) == causes
        assert len(bench.asked) <= 2 * (ceil(log2(12)) + 1) + 2


def test_two_causes_that_each_add_a_part_are_both_found() -> None:
    def outcome(taken: frozenset[str]) -> str:
        return {0: "A", 1: "other", 2: "B"}[len(taken & {"f2", "f9"})]

    assert Bench(outcome).smallest(12) == {"f2", "f9"}


@given(st.sets(st.integers(0, 11), min_size=1, max_size=4), st.sets(st.integers(0, 11), max_size=5))
def test_whatever_the_effect_depends_on_what_is_found_has_it_and_nothing_can_be_spared(
    needed: set[int], against: set[int]
) -> None:
    """Not monotone: an odd number of `against` undoes the effect unless everything is taken."""
    spoil = {f"f{i}" for i in against - needed}

    def outcome(taken: frozenset[str]) -> str:
        if len(taken) < 12 and len(taken & spoil) % 2:
            return "A"
        return _needs(*(f"f{i}" for i in needed))(taken)

    found = Bench(outcome).smallest(12)
    assert outcome(frozenset(found)) == "B"
    assert all(outcome(frozenset(found - {one})) != "B" for one in found)


@given(st.integers(0, 11), st.sets(st.integers(0, 11), min_size=2, max_size=3))
def test_what_runs_only_together_is_stepped_around(guilty: int, couple: set[int]) -> None:
    """Mixtures that separate the couple do not run, so they say nothing."""
    tied = {f"f{i}" for i in couple}

    def outcome(taken: frozenset[str]) -> str:
        return "none" if taken & tied and not taken >= tied else _needs(f"f{guilty}")(taken)

    found = Bench(outcome).smallest(12)
    assert found == ({f"f{guilty}"} if guilty not in couple else tied)


def test_an_effect_that_even_everything_together_lacks_is_said_to_come_from_elsewhere() -> None:
    for n in (1, 2, 12):
        bench = Bench(lambda _: "A")
        with pytest.raises(WholeDiffers):
            bench.smallest(n, sure=False)
        assert len(bench.asked) <= ceil(log2(n)) + 2
