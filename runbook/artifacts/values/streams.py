"""Bytes of two streams against each other."""

from __future__ import annotations

from typing import IO

_BLOCK = 1 << 20


def first_difference(a: IO[bytes], b: IO[bytes]) -> int | None:
    """The first byte, from 0, at which two streams differ or one ends; None where they are the same."""
    at = 0
    while True:
        x, y = _block(a), _block(b)
        if x != y:
            return at + parting(x, y)
        if not x:
            return None
        at += len(x)


def parting(x: bytes, y: bytes) -> int:
    """Where two texts that are not the same part."""
    low, high = 0, min(len(x), len(y))
    if x[:high] == y[:high]:
        return high
    while high - low > 1:  # Halves are compared far faster than bytes one by one.
        middle = (low + high) // 2
        low, high = (middle, high) if x[low:middle] == y[low:middle] else (low, middle)
    return low


def _block(stream: IO[bytes]) -> bytes:
    """A whole block but at the end: a stream without a buffer may give less at a time."""
    data = stream.read(_BLOCK)
    while 0 < len(data) < _BLOCK and (more := stream.read(_BLOCK - len(data))):
        data += more
    return data
