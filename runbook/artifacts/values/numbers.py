"""Arrays of one type against each other, element by element: how many differ, where first, and by how much.

Equality is of numbers, as for metrics: NaN equals NaN in the same place, 0.0 equals -0.0; where only such bits
differ is counted apart. Differences are of pairs that are both finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_WIDTHS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


@dataclass
class Tally:
    """What some pairs of elements showed."""

    of: int = 0
    differing: int = 0
    first: int | None = None
    """Index of the first pair that differs, and what stands there."""
    values: tuple[str, str] = ("", "")
    largest: int | float | None = None
    total: float = 0.0
    """Sum of the absolute differences of finite pairs."""
    ulp: int | None = None
    nans: int = 0
    """Pairs with NaN on one side only."""
    infinities: int = 0
    """Pairs that differ and hold an infinity, and no NaN."""
    bits: int = 0
    """Pairs that are equal as numbers and differ in their bits: the sign of zero, the bits of a NaN."""

    @property
    def mean(self) -> float | None:
        """The mean absolute difference of the pairs that have one, 0 where equal; None where all are equal."""
        pairs = self.of - self.nans - self.infinities
        return self.total / pairs if pairs and self.largest else None

    def add(self, other: Tally) -> None:
        """Take in what later pairs showed."""
        if self.first is None and other.first is not None:
            self.first, self.values = other.first, other.values
        self.of += other.of
        self.differing += other.differing
        self.total += other.total
        self.nans += other.nans
        self.infinities += other.infinities
        self.bits += other.bits
        self.largest = _larger(self.largest, other.largest)
        self.ulp = _larger(self.ulp, other.ulp)


def _larger(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else max(a, b)


def measure(a: Array, b: Array, start: int = 0) -> Tally:
    """Two flat arrays of equal length, from element `start` of their tensors on."""
    if a.dtype == b.dtype and _same_bytes(a, b):
        return Tally(of=a.size)
    with np.errstate(all="ignore"):
        tally, unequal = _measured(a, b)
    tally.of = a.size
    if tally.differing:
        at = int(unequal.argmax())
        tally.first, tally.values = start + at, (_shown(a, at), _shown(b, at))
    return tally


def _measured(a: Array, b: Array) -> tuple[Tally, Array]:
    """The tally, but for where, and which pairs differ."""
    if a.dtype != b.dtype:
        wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
        return _measured(a.astype(wide), b.astype(wide))
    kind = a.dtype.kind
    if kind == "c":
        part = np.dtype(f"f{a.dtype.itemsize // 2}")
        tally, unequal = _floats(a.view(part), b.view(part), ulp=True)
        unequal = unequal.reshape(-1, 2).max(axis=1)
        tally.differing = int(np.count_nonzero(unequal))
        return tally, unequal
    if (a.dtype.itemsize == 2 and kind == "f") or is_small_float(a.dtype):  # Some of these are of kind f too.
        x, y = a.astype(np.float32), b.astype(np.float32)
        tally, unequal = _floats(x, y, ulp=False)
        if tally.largest:
            finite = np.isfinite(x) & np.isfinite(y)
            tally.ulp = _ulp(a[finite], b[finite])
        tally.bits = _bits(a, b, unequal)
        return tally, unequal
    if kind == "f":
        return _floats(a, b, ulp=a.dtype.itemsize in _WIDTHS)
    if kind in "iub":
        return _integers(a, b)
    unequal = a.view(np.uint8).reshape(a.size, -1) != b.view(np.uint8).reshape(b.size, -1)
    unequal = unequal.any(axis=1)
    return Tally(differing=int(np.count_nonzero(unequal))), unequal


def _floats(a: Array, b: Array, *, ulp: bool) -> tuple[Tally, Array]:
    # Few passes over blocks that stay in the cache: this is what the time of a large model goes to.
    gap = np.subtract(b, a)
    np.abs(gap, out=gap)
    at = int(gap.argmax())  # A NaN among them, or an infinity, is found first.
    if np.isfinite(gap[at]):
        unequal = gap != 0
        differing = int(np.count_nonzero(unequal))
        # Each difference is rounded to the type; the largest is taken once more, in double precision.
        largest = abs(float(b[at]) - float(a[at]))
        total = float(gap.sum())
        total = total if isfinite(total) else float(gap.sum(dtype=np.float64))
        tally = Tally(differing=differing, largest=largest, total=total)
        tally.ulp = _ulp(a, b) if ulp and differing else None
        tally.bits = 0 if differing else _bits(a, b, unequal)
        return tally, unequal
    nan_a, nan_b = np.isnan(a), np.isnan(b)
    nans, finite = nan_a != nan_b, np.isfinite(a) & np.isfinite(b)
    unequal = (a != b) & ~(nan_a & nan_b)
    x, y = a[finite], b[finite]
    gap = np.abs(np.subtract(y, x, dtype=np.promote_types(a.dtype, np.float64)))
    tally = Tally(
        differing=int(np.count_nonzero(unequal)),
        largest=float(gap.max()) if gap.size else None,
        total=float(gap.sum()),
        nans=int(np.count_nonzero(nans)),
        infinities=int(np.count_nonzero(unequal & ~nan_a & ~nan_b & ~finite)),
    )
    tally.ulp = _ulp(x, y) if ulp and gap.size and gap.any() else None
    tally.bits = _bits(a, b, unequal)
    return tally, unequal


def _bits(a: Array, b: Array, unequal: Array) -> int:
    x, y = (v.view(np.uint8).reshape(v.size, -1) for v in (a, b))
    return int(np.count_nonzero((x != y).any(axis=1) & ~unequal))


def _ulp(a: Array, b: Array) -> int:
    """The most steps from one number of the type to the next that lie between the two of a pair: all finite.

    Numbers of one sign are in the order of their bits; between two signs the steps are those to zero, of both.
    """
    signed = np.dtype(_WIDTHS[a.dtype.itemsize])
    x, y = a.view(signed), b.view(signed)
    crossing = np.flatnonzero((x ^ y) < 0)
    steps = np.subtract(x, y)
    across = 0
    if crossing.size:
        magnitude = (1 << (8 * signed.itemsize - 1)) - 1
        p, q = (v[crossing] & magnitude for v in (x, y))
        across = int(np.add(p, q, dtype=np.uint64, casting="unsafe").max())
        steps[crossing] = 0
    np.abs(steps, out=steps)
    return max(across, int(steps.max()))


def _integers(a: Array, b: Array) -> tuple[Tally, Array]:
    if a.dtype.kind == "b":
        a, b = a.view(np.uint8), b.view(np.uint8)
    gap = np.subtract(np.maximum(a, b), np.minimum(a, b)).view(f"u{a.dtype.itemsize}")
    unequal = gap != 0
    total = float(gap.sum(dtype=np.float64))
    differing = int(np.count_nonzero(unequal))
    return Tally(differing=differing, largest=int(gap.max()), total=total), unequal


def is_small_float(dtype: np.dtype[Any]) -> bool:
    """Whether it is a float type that numpy has not of itself: bfloat16 and those of eight bits."""
    return dtype.type.__module__ == "ml_dtypes" and "float8_e8m0" not in dtype.name and "float" in dtype.name


def _same_bytes(a: Array, b: Array) -> bool:
    x, y = a.view(np.uint8), b.view(np.uint8)
    if not np.array_equal(x[:64], y[:64]):
        return False
    whole = x.size // 8 * 8
    return bool(
        np.array_equal(x[:whole].view(np.uint64), y[:whole].view(np.uint64))
        and np.array_equal(x[whole:], y[whole:])
    )


def _shown(array: Array, at: int) -> str:
    value = array[at]
    if array.dtype.kind == "V" and not is_small_float(array.dtype):
        return bytes(array[at : at + 1].view(np.uint8)[:16]).hex()
    return str(value)[:60]
