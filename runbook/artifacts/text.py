"""Text of any kind, logs, source, LightGBM's model.txt: by lines, with the numbers in them."""

from __future__ import annotations

from itertools import zip_longest
from typing import BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts
from runbook.artifacts.values.lines import NUMBER, lines, number_of
from runbook.artifacts.values.tree import distance
from runbook.model.artifact import Part, short
from runbook.model.metric import Number


class TextFormat:
    """Lines in their places: what was put in between makes all that follow differ, which the count then shows."""

    name = "text"
    modules = ()

    def claims(self, path: str, head: bytes) -> int:
        """Text in UTF-8 that nobody else claims."""
        if b"\0" in head:
            return interface.NO
        try:
            head.decode()
        except UnicodeDecodeError as error:
            # The head may end within a character.
            if error.start < len(head) - 4 or len(head) < 4096:
                return interface.NO
        return interface.FALLBACK

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Line by line, with the largest difference of numbers in lines that are else the same."""
        parts, only_numbers, largest = Parts("line"), 0, 0.0
        number_a = number_b = 0
        for x, y in zip_longest(lines(a), lines(b)):
            number_a += x is not None
            number_b += y is not None
            if x == y:
                continue
            number = max(number_a, number_b)
            if x is None or y is None:
                parts.add(Part(name=f"line {number}", original=_line(x), replay=_line(y)))
                continue
            gap = _by_numbers(x, y)
            if gap is not None:
                only_numbers += 1
                largest = max(largest, gap if isinstance(gap, int | float) else 0.0)
            x, y = _around(x, y)
            parts.add(Part(name=f"line {number}", original=_line(x), replay=_line(y), largest=gap, differing=1))
        parts.of = max(number_a, number_b)
        if number_a != number_b:
            parts.remarks.append(f"{number_a:,} lines became {number_b:,}")
        if only_numbers > 1:
            parts.remarks.append(f"{only_numbers:,} lines differ in numbers alone, by at most {largest:.6g}")
        return parts.found()


def _by_numbers(x: str, y: str) -> Number | None:
    """The largest difference of the numbers of two lines that are else the same text; None for others."""
    if NUMBER.sub("#", x) != NUMBER.sub("#", y):
        return None
    gaps = [0.0]
    for one, other in zip(NUMBER.findall(x), NUMBER.findall(y), strict=False):
        a, b = number_of(one), number_of(other)
        gap = None if a is None or b is None else distance(a, b)
        if isinstance(gap, int | float):
            gaps.append(gap)
    return max(gaps)


def _around(x: str, y: str) -> tuple[str, str]:
    """Long lines from shortly before the place where they part."""
    at = next((i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q), min(len(x), len(y)))
    return (x, y) if at < 60 else (f"…{x[at - 30 :]}", f"…{y[at - 30 :]}")


def _line(text: str | None) -> str:
    return "(no such line)" if text is None else short(text) or "(empty)"


MEMBER = TextFormat()
