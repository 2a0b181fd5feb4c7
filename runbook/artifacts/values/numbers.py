"""Arrays of one type against each other, element by element: how many differ, where first, and by how much.

Equality is of numbers, as for metrics: NaN equals NaN in the same place, 0.0 equals -0.0; where only such bits
differ is counted apart. Differences are taken in double precision, of pairs that are both finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_WIDTHS = {2: np.int16, 4: np.int32, 8: np.int64}


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
    """Sum of the absolute differences of `finite` pairs."""
    finite: int = 0
    ulp: int | None = None
    nans: int = 0
    """Pairs with NaN on one side only."""
    infinities: int = 0
    """Pairs that differ and hold an infinity, and no NaN."""
    bits: int = 0
    """Pairs that are equal as numbers and differ in their bits: the sign of zero, the bits of a NaN."""

    def add(self, other: Tally) -> None:
        """Take in what later pairs showed."""
        if self.first is None and other.first is not None:
            self.first, self.values = other.first, other.values
        self.of += other.of
        self.differing += other.differing
        self.total += other.total
        self.finite += other.finite
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
        return Tally(of=a.size, finite=a.size)
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
    if kind == "f":
        return _floats(a, b, ulp=a.dtype.itemsize in _WIDTHS)
    if is_small_float(a.dtype):
        tally, unequal = _floats(a.astype(np.float32), b.astype(np.float32), ulp=False)
        if tally.differing and not tally.nans and not tally.infinities and a.dtype.itemsize in (1, 2):
            tally.ulp = _ulp(a, b)
        return tally, unequal
    if kind in "iub":
        return _integers(a, b)
    unequal = a.view(np.uint8).reshape(a.size, -1) != b.view(np.uint8).reshape(b.size, -1)
    unequal = unequal.any(axis=1)
    return Tally(differing=int(np.count_nonzero(unequal))), unequal


def _floats(a: Array, b: Array, *, ulp: bool) -> tuple[Tally, Array]:
    gap = np.subtract(b, a, dtype=np.promote_types(a.dtype, np.float64))
    np.abs(gap, out=gap)
    top = gap.max()
    if np.isfinite(top):
        unequal = gap != 0
        differing = int(np.count_nonzero(unequal))
        tally = Tally(differing=differing, finite=a.size, largest=float(top), total=float(gap.sum()))
        tally.ulp = _ulp(a, b) if ulp and differing else None
        tally.bits = 0 if differing else _bits(a, b, unequal)
        return tally, unequal
    nan_a, nan_b = np.isnan(a), np.isnan(b)
    nans, finite = nan_a != nan_b, np.isfinite(a) & np.isfinite(b)
    unequal = (a != b) & ~(nan_a & nan_b)
    gap = gap[finite]
    tally = Tally(
        differing=int(np.count_nonzero(unequal)),
        finite=int(gap.size),
        largest=float(gap.max()) if gap.size else None,
        total=float(gap.sum()),
        nans=int(np.count_nonzero(nans)),
        infinities=int(np.count_nonzero(unequal & ~nan_a & ~nan_b & ~finite)),
    )
    tally.ulp = _ulp(a[finite], b[finite]) if ulp and gap.size and gap.any() else None
    tally.bits = _bits(a, b, unequal)
    return tally, unequal


def _bits(a: Array, b: Array, unequal: Array) -> int:
    x, y = (v.view(np.uint8).reshape(v.size, -1) for v in (a, b))
    return int(np.count_nonzero((x != y).any(axis=1) & ~unequal))


def _ulp(a: Array, b: Array) -> int:
    """The most numbers of the type that lie between the two of a pair, plus one: both finite."""
    signed = _WIDTHS.get(a.dtype.itemsize, np.int8)
    x, y = _ordered(a.view(signed)), _ordered(b.view(signed))
    # The difference of two numbers of n bits fits into n bits without a sign.
    steps = np.maximum(x, y)
    np.subtract(steps, np.minimum(x, y), out=steps)
    return int(steps.view(f"u{a.dtype.itemsize}").max())


def _ordered(bits: Array) -> Array:
    """Numbers in sign and magnitude as integers in the same order, with both zeros in one place."""
    width = bits.dtype.itemsize * 8
    sign = bits >> (width - 1)
    low: Array = bits & np.array((1 << (width - 1)) - 1, bits.dtype)
    np.bitwise_xor(low, sign, out=low)
    np.subtract(low, sign, out=low)
    return low


def _integers(a: Array, b: Array) -> tuple[Tally, Array]:
    if a.dtype.kind == "b":
        a, b = a.view(np.uint8), b.view(np.uint8)
    gap = np.subtract(np.maximum(a, b), np.minimum(a, b)).view(f"u{a.dtype.itemsize}")
    unequal = gap != 0
    total = float(gap.sum(dtype=np.float64))
    differing = int(np.count_nonzero(unequal))
    return Tally(differing=differing, finite=a.size, largest=int(gap.max()), total=total), unequal


def is_small_float(dtype: np.dtype[Any]) -> bool:
    """Whether it is a float type that numpy has not of itself: bfloat16 and those of eight bits."""
    return dtype.type.__module__ == "ml_dtypes" and "float8_e8m0" not in dtype.name and "float" in dtype.name


def _same_bytes(a: Array, b: Array) -> bool:
    x, y = a.view(np.uint8), b.view(np.uint8)
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
