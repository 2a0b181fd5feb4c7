"""Two curves laid over each other by step: where they part, how the gap goes on, and what that points to.

Everything here reads the two series once and keeps a few hundred numbers, whatever their length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import compress
from math import inf, isfinite, log
from operator import sub
from typing import Final, NamedTuple

from runbook.compare.tolerances import gap
from runbook.model.metric import Number, Series, to_number
from runbook.model.verdict import Parting

_ALONE, _BUCKETS = 256, 256
"""Gaps after the parting that are kept one by one, and buckets for the rest."""
BLOCK: Final = 4096
"""Points that are looked at together."""
_FEW = 8
"""Fewer gaps than this show no growth."""
_ROUNDING = 2.0**-19
"""A relative gap of 16 steps of float32: what another order of the same sums can do."""
_FITS = 0.5
"""R² from which a law is named."""
_SCALE = 1074
"""Every double is a whole number of 2**-1074."""


def real(number: Number) -> float:
    """The number itself: an int stays exact, the spelt-out ones become floats."""
    return float(number) if isinstance(number, str) else number


def trailing_mean(values: Iterable[float], window: int) -> Iterator[float | Fraction]:
    """The mean of the last `window` values at each of them, of all so far at the beginning; exactly rounded.

    values: finite. The sum is kept as a whole number of 2**-1074, so that no error gathers along the curve.
    """
    held: deque[float] = deque()
    total = 0
    for value in values:
        held.append(value)
        total += _exact(value)
        if len(held) > window:
            total -= _exact(held.popleft())
        try:
            yield total / (len(held) << _SCALE)
        except OverflowError:
            yield Fraction(total, len(held) << _SCALE)


def _exact(value: float) -> int:
    top, bottom = value.as_integer_ratio()
    return (top << _SCALE) // bottom


def gaps_of(x: Sequence[Number], y: Sequence[Number]) -> list[float] | None:
    """|y - x| of as many points; None unless all are plain doubles, and what is computed of them is finite."""
    if {*map(type, x), *map(type, y)} != {float}:
        return None
    found = list(map(abs, map(sub, y, x)))
    return found if isfinite(sum(found)) else None


class _Gap(NamedTuple):
    """A gap, or the geometric mean of several, at a distance from the parting in steps (from one on)."""

    at: float
    logarithm: float


def first_difference(a: Series, b: Series) -> int | None:
    """The index of the first point at which the common part of two series differs; NaN equals NaN."""
    if a.values == b.values and a.steps == b.steps:
        return None
    for start in range(0, min(len(a.steps), len(b.steps)), BLOCK):
        end = start + BLOCK
        if a.values[start:end] == b.values[start:end] and a.steps[start:end] == b.steps[start:end]:
            continue
        sides = (a.steps[start:end], b.steps[start:end], a.values[start:end], b.values[start:end])
        for index, (step_a, step_b, x, y) in enumerate(zip(*sides, strict=False), start):
            if step_a != step_b or x != y:
                return index
    return None


def part(a: Series, b: Series) -> Parting | None:
    """Where two series with common steps part; None where they do not, or where their steps do first."""
    at = first_difference(a, b)
    if at is None or a.steps[at] != b.steps[at]:
        return None
    end = len(a.steps) if a.steps == b.steps else at
    while end < min(len(a.steps), len(b.steps)) and a.steps[end] == b.steps[end]:
        end += 1
    here = _gap(a.values[at], b.values[at])
    x, y = real(a.values[at]), real(b.values[at])
    relative = _relative(here, x, y)
    gaps, largest, largest_at = _gaps(a, b, at, end)
    growth = _growth(gaps)
    law, rate, fit = _law(gaps) if growth == "grows" else ("", 0.0, 0.0)
    return Parting(
        step=a.steps[at],
        index=at,
        original=a.values[at],
        replay=b.values[at],
        gap=to_number(here),
        relative=to_number(relative),
        largest=to_number(largest),
        largest_at=largest_at,
        last=to_number(_gap(a.values[end - 1], b.values[end - 1])),
        growth=growth,  # type: ignore[arg-type]
        law=law,  # type: ignore[arg-type]
        rate=rate,
        fit=fit,
        reading=_reading(at, a.steps[at], here, relative, growth),
    )


def _gaps(a: Series, b: Series, at: int, end: int) -> tuple[list[_Gap], float, int]:
    """The gaps from the parting on, single ones first and then bucket by bucket; the largest, and its step."""
    stride = _distance(a.steps[at], a.steps[end - 1]) / max(1, end - at - 1) or 1.0
    width = max(1, -(-(end - at - _ALONE) // _BUCKETS))
    found: list[_Gap] = []
    largest, largest_at = 0.0, a.steps[at]
    for start, stop in _spans(at, end, width):
        x, y = a.values[start:stop], b.values[start:stop]
        sizes = gaps_of(x, y) or [_gap(p, q) if p != q else 0.0 for p, q in zip(x, y, strict=True)]
        top = max(sizes)
        if top > largest:
            largest, largest_at = top, a.steps[start + sizes.index(top)]
        kept = [0 < size < inf for size in sizes]
        count = sum(kept)
        if count:
            steps = sum(compress(a.steps[start:stop], kept))
            place = _distance(count * a.steps[at], steps) / count + stride
            found.append(_Gap(place, sum(map(log, compress(sizes, kept))) / count))
    return found, largest, largest_at


def _spans(at: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    """The points from `at` to `end`: the first one by one, then so many together."""
    alone = min(end, at + _ALONE)
    yield from ((index, index + 1) for index in range(at, alone))
    yield from ((start, min(end, start + width)) for start in range(alone, end, width))


def _growth(gaps: Sequence[_Gap]) -> str:
    """The last eighth of the gaps against the first three of them, by their geometric means."""
    if len(gaps) < _FEW:
        return "unknown"
    last = gaps[-max(3, len(gaps) // 8) :]
    change = sum(g.logarithm for g in last) / len(last) - sum(g.logarithm for g in gaps[:3]) / 3
    return "grows" if change >= log(2) else "shrinks" if change <= -log(2) else "stays"


def _law(gaps: Sequence[_Gap]) -> tuple[str, float, float]:
    """The better of two straight lines for log(gap), over steps or over log(steps), up to where it is largest."""
    top = max(g.logarithm for g in gaps)
    end = next(i for i, g in enumerate(gaps) if g.logarithm >= top - log(2)) + 1
    rising = [g for g in gaps[:end] if isfinite(g.at) and g.at > 0]
    if len(rising) < _FEW:
        return "", 0.0, 0.0
    y = [g.logarithm for g in rising]
    steady, steady_fit = _line([g.at for g in rising], y)
    power, power_fit = _line([log(g.at) for g in rising], y)
    if max(steady_fit, power_fit) < _FITS:
        return "", 0.0, 0.0
    if steady_fit >= power_fit and steady > 0:
        return "exponential", log(2) / steady, steady_fit
    return ("power", power, power_fit) if power > 0 else ("", 0.0, 0.0)


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope and R² of the least-squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread_x = sum((v - mean_x) ** 2 for v in x)
    spread_y = sum((v - mean_y) ** 2 for v in y)
    if not (0 < spread_x < inf and 0 < spread_y < inf):
        return 0.0, 0.0
    both = sum((u - mean_x) * (v - mean_y) for u, v in zip(x, y, strict=True))
    return both / spread_x, both**2 / (spread_x * spread_y)


def _reading(index: int, step: int, size: float, relative: float, growth: str) -> str:
    """What the place and the growth of a gap point to."""
    rounding = relative <= _ROUNDING
    if not isfinite(size):
        return f"from step {step} on one side holds NaN or Infinity: look at what happens there"
    if index == 0:
        if rounding:
            return "apart at the first point, by no more than rounding: arithmetic first, then data, seed, code"
        return "apart at the first point: data, seed or code, unless much was computed before it was logged"
    if growth == "grows":
        small = ", by rounding at first," if rounding else ""
        return (
            f"equal before step {step}, then apart{small} and growing: arithmetic (threads, kernels, libraries, "
            "hardware), amplified from step to step"
        )
    if rounding:
        return f"equal before step {step}, then apart by no more than rounding: arithmetic that is not amplified"
    return (
        f"equal before step {step}, then apart at once: something that first acts there (data order, a random "
        "stream, a schedule, an evaluation)"
    )


def _gap(x: Number, y: Number) -> float:
    """|y - x| as a double; inf where a side is not finite or the gap is beyond doubles."""
    left, right = real(x), real(y)
    try:
        return float(gap(left, right))
    except (OverflowError, ValueError):
        return inf


def _relative(size: float, x: float, y: float) -> float:
    try:
        scale = float(max(abs(x), abs(y)))
    except OverflowError:
        return 1.0
    return size / scale if 0 < scale < inf else inf


def _distance(start: int, end: int) -> float:
    try:
        return float(end - start)
    except OverflowError:
        return inf
