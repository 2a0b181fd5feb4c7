"""Delta debugging: the smallest set of differences that has an effect, by few experiments. Pure.

Bisection over an ordered list, as QuickXplain does it (Junker, AAAI 2004): the shortest beginning of the list that
has the effect ends in something that is needed; that is kept, and the search goes on before it until what was kept
is enough. One cause among n costs at most ⌈log2 n⌉ + 1 experiments, k causes about k times that. It needs no
monotony: whatever it finds has the effect by experiment. Experiments that say nothing are stepped around, and what
only they separate is reduced by ddmin (Zeller & Hildebrandt, IEEE TSE 2002).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

A = TypeVar("A")

Taken = frozenset[str]


@dataclass(frozen=True)
class Unit:
    """What is swapped at once."""

    ids: Taken
    weight: float = 1.0
    """How likely it is the cause, beside the others."""


class WholeDiffers(Exception):
    """Even everything together has not the effect: it comes from something that cannot be swapped."""


class Search(Generic[A]):
    """One search after another over the same experiments.

    ask: makes an experiment, or remembers it; what it raises ends the search, whose state then tells how far it
    came.
    unresolved: whether an answer says nothing.
    """

    def __init__(self, ask: Callable[[Taken], A], unresolved: Callable[[A], bool]) -> None:
        self._ask = ask
        self._unresolved = unresolved
        self.found: list[Unit] = []
        """What the search that goes on is sure of."""
        self.candidates: list[Unit] = []
        """Where the next one is."""

    def smallest(
        self, units: Sequence[Unit], like: Callable[[A], bool], within: Taken = frozenset(), *, sure: bool = True
    ) -> list[Unit]:
        """Units that together have the effect, none of them to spare, in the order given.

        like: whether an answer has the effect. within: what is taken anyway; by itself it has not the effect.
        sure: whether all units are known to have it by experiment. Raises WholeDiffers where they turn out not to.
        """
        self.found, left, blocks = [], list(units), False
        self.candidates = list(units)
        while left:
            block, last = self._step(left, like, within | _union(self.found))
            blocks |= len(block) > 1
            whole = len(left) == last
            self.found = [*block, *self.found]
            left = left[: last - len(block)]
            self.candidates = left
            if like(self._ask(within | _union(self.found))):
                break
            if whole and not sure and not like(self._ask(within | _union(units))):
                raise WholeDiffers
            sure = True
        else:
            if not like(self._ask(within | _union(self.found))):
                raise WholeDiffers
        self.candidates = []
        if blocks:
            self.found = self._ddmin(self.found, like, within)
        elif len(self.found) > 1:
            self.found = self._without_spare(self.found, like, within)
        return self.found

    def _step(self, units: list[Unit], like: Callable[[A], bool], base: Taken) -> tuple[list[Unit], int]:
        """The end of the shortest beginning that has the effect; how many units that beginning has.

        One unit, or several where every experiment between them says nothing.
        """
        low, high = 0, len(units)
        mute: set[int] = set()
        while places := [at for at in range(low + 1, high) if at not in mute]:
            at = _middle(units, low, high, places)
            self.candidates = units[low:high]
            answer = self._ask(base | _union(units[:at]))
            if self._unresolved(answer):
                mute.add(at)
            elif like(answer):
                high = at
            else:
                low = at
        self.candidates = units[low:high]
        return units[low:high], high

    def _without_spare(self, units: list[Unit], like: Callable[[A], bool], within: Taken) -> list[Unit]:
        kept = list(units)
        for unit in units:
            fewer = [u for u in kept if u is not unit]
            if fewer and like(self._ask(within | _union(fewer))):
                kept = fewer
        return kept

    def _ddmin(self, units: list[Unit], like: Callable[[A], bool], within: Taken) -> list[Unit]:
        parts = 2
        while len(units) > 1:
            chunks = [c for c in _chunks(units, parts) if c]
            rests = [[u for u in units if u not in chunk] for chunk in chunks] if parts > 2 else []
            smaller = next((c for c in (*chunks, *rests) if like(self._ask(within | _union(c)))), None)
            if smaller is not None:
                parts = 2 if smaller in chunks else max(parts - 1, 2)
                units = smaller
            elif parts < len(units):
                parts = min(2 * parts, len(units))
            else:
                break
        return units


def _union(units: Iterable[Unit]) -> Taken:
    return frozenset().union(*(u.ids for u in units))


def _middle(units: list[Unit], low: int, high: int, places: list[int]) -> int:
    """Where to cut: half of the weight on each side, as far as no outcome then costs more steps than it must."""
    span = high - low
    largest = 1 << ((span - 1).bit_length() - 1)
    even = [at for at in places if max(at - low, high - at) <= largest]
    weight = [0.0]
    for unit in units[low:high]:
        weight.append(weight[-1] + unit.weight)
    return min(even or places, key=lambda at: (abs(weight[at - low] - weight[-1] / 2), abs(2 * at - low - high)))


def _chunks(units: list[Unit], parts: int) -> list[list[Unit]]:
    cuts = [len(units) * n // parts for n in range(parts + 1)]
    return [units[a:b] for a, b in pairwise(cuts)]
