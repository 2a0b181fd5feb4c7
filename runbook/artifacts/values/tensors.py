"""Named tensors of two files against each other, in the first file's order, a block of elements at a time.

Blocks are read here and measured on all cores: numpy lets go of the interpreter while it computes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO, Final

import numpy as np

from runbook.artifacts.interface import Parts, Unreadable, one_sided
from runbook.artifacts.values.numbers import Array, Tally, is_small_float, measure
from runbook.model.artifact import Part, short
from runbook.model.metric import to_number

BLOCK: Final = 1 << 17
"""Elements that are read at a time: with what is computed of them, they stay in a core's cache."""
DIMENSIONS: Final = 64
TENSORS: Final = 1_000_000
_AHEAD: Final = 16 << 20
"""Bytes that are asked for ahead of time."""
_LANES: Final = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: `blocks()` yields its elements in C order, flat, BLOCK of them at a time."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """Native byte order."""
    blocks: Callable[[], Iterator[Array]]
    label: str = ""
    """The type, as the format calls it, where it is not the dtype's name."""

    @property
    def type(self) -> str:
        """The type in words."""
        return self.label or self.dtype.name


def checked_shape(shape: Sequence[object], name: str) -> tuple[int, ...]:
    """The shape as a format states it; raises Unreadable for what is none."""
    if len(shape) > DIMENSIONS or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
        raise Unreadable(f"{short(name)} has an impossible shape")
    return tuple(n for n in shape if isinstance(n, int))


def from_file(file: BinaryIO, offset: int, count: int, dtype: np.dtype[Any]) -> Callable[[], Iterator[Array]]:
    """The blocks of `count` elements that lie at `offset`; dtype: as they lie there, in any byte order.

    Raises Unreadable at once where the file ends before them.
    """
    size, descriptor = dtype.itemsize, file.fileno()
    if offset < 0 or offset + count * size > os.fstat(descriptor).st_size:
        raise Unreadable("the file ends before its tensors do")

    def blocks() -> Iterator[Array]:
        asked = 0
        for start in range(0, count, BLOCK):
            if start * size >= asked:  # So that the disk reads on while blocks are measured.
                os.posix_fadvise(descriptor, offset + asked, 2 * _AHEAD, os.POSIX_FADV_WILLNEED)
                asked = start * size + _AHEAD
            block = np.empty(min(BLOCK, count - start) * size, np.uint8)
            done = 0
            while done < block.size:
                read = os.preadv(descriptor, [block.data[done:]], offset + start * size + done)
                if read == 0:
                    raise Unreadable("the file ends before its tensors do")
                done += read
            yield native(block.view(dtype))

    return blocks


def from_stream(
    open_stream: Callable[[], BinaryIO], count: int, dtype: np.dtype[Any]
) -> Callable[[], Iterator[Array]]:
    """The blocks of what has to be read from its beginning, as a compressed member."""

    def blocks() -> Iterator[Array]:
        with open_stream() as stream:
            for start in range(0, count, BLOCK):
                wanted = min(BLOCK, count - start) * dtype.itemsize
                data = stream.read(wanted)
                if len(data) != wanted:
                    raise Unreadable("a member ends before its tensor does")
                yield native(np.frombuffer(data, np.uint8).view(dtype))

    return blocks


def from_array(array: Array) -> Callable[[], Iterator[Array]]:
    """The blocks of a view of any strides, such as one into a mapped file, copied as they are asked for."""

    def blocks() -> Iterator[Array]:
        flags = ["external_loop", "buffered", "zerosize_ok"]
        walk: Any = np.nditer(array, flags=flags, order="C", buffersize=BLOCK)  # type: ignore[call-overload]
        for block in walk:
            if block.size:
                yield native(block.copy())

    return blocks


def native(array: Array) -> Array:
    """The same numbers in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def compare_tensors(a: Sequence[Tensor], b: Sequence[Tensor], parts: Parts) -> None:
    """Add every tensor that differs, in the order of `a`, then what only `b` has."""
    left, right = {t.name: t for t in a}, {t.name: t for t in b}
    names = [*left, *(name for name in right if name not in left)]
    parts.of += len(names)
    equal_bits = 0
    with ThreadPoolExecutor(_LANES) as pool:
        for name in names:
            one, other = left.get(name), right.get(name)
            if one is None or other is None:
                parts.add(one_sided(name, original=other is None))
                continue
            note = f"{one.type} became {other.type}" if one.type != other.type else ""
            if one.shape != other.shape:
                said = f"shape {_shape(one.shape)} became {_shape(other.shape)}"
                parts.add(Part(name=short(name), note="; ".join(filter(None, (said, note)))))
                continue
            if note and not (_numeric(one.dtype) and _numeric(other.dtype)):
                parts.add(Part(name=short(name), note=note))
                continue
            tally = _measure(one, other, pool)
            equal_bits += tally.bits
            if tally.differing or note:
                parts.add(_part(one, tally, note))
    if [t.name for t in a if t.name in right] != [t.name for t in b if t.name in left]:
        parts.remarks.append(f"the {parts.unit}s stand in another order")
    if equal_bits:
        parts.remarks.append(f"{equal_bits:,} elements equal as numbers differ in bits (signed zero, NaN)")


def _measure(a: Tensor, b: Tensor, pool: ThreadPoolExecutor) -> Tally:
    whole, start = Tally(), 0
    waiting: deque[Future[Tally]] = deque()
    for x, y in zip(a.blocks(), b.blocks(), strict=True):
        if a.dtype == b.dtype and x.size < BLOCK:
            whole_now = measure(x, y, start) if not waiting and not start else None
            if whole_now is not None:  # A small tensor is not worth a thread.
                return whole_now
        waiting.append(pool.submit(measure, x, y, start))
        start += x.size
        if len(waiting) > 2 * _LANES:
            whole.add(waiting.popleft().result())
    for one in waiting:
        whole.add(one.result())
    return whole


def _part(tensor: Tensor, tally: Tally, note: str) -> Part:
    said = [note] if note else []
    said += [f"NaN on one side only: {tally.nans:,}"] if tally.nans else []
    said += [f"an infinity on one side only: {tally.infinities:,}"] if tally.infinities else []
    numbers = bool(tally.largest)  # Where no two finite numbers differ, nothing is measured.
    return Part(
        name=short(tensor.name),
        note="; ".join(said),
        where=_where(tally.first, tensor.shape),
        original=tally.values[0],
        replay=tally.values[1],
        differing=tally.differing,
        of=tally.of,
        largest=to_number(tally.largest) if tally.largest else None,
        mean=None if tally.mean is None else to_number(tally.mean),
        ulp=tally.ulp if numbers else None,
    )


def _where(index: int | None, shape: tuple[int, ...]) -> str:
    if index is None or not shape:
        return ""
    if prod(shape) == 0:
        return ""
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(index, shape))}]"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _numeric(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fiubc" or is_small_float(dtype)
