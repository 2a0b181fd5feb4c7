"""Nested values (objects, lists, numbers, texts) of two files against each other, in the first one's order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from runbook.artifacts.interface import Parts, Unreadable
from runbook.model.artifact import Part, short
from runbook.model.metric import to_number

DEPTH: Final = 200
LEAVES: Final = 5_000_000
"""Values of one file that are looked at: what repeats itself by reference can be endless."""
ABSENT: Final = object()
"""In the place of a value that a side has not."""


def compare_values(a: Any, b: Any, parts: Parts, name: str = "") -> None:
    """Add every value that differs. A value has the path `history[3].loss`."""
    order = False
    for path, x, y, reordered in _pairs(a, b, name, 0):
        order |= reordered
        parts.of += 1
        if parts.of > LEAVES:
            raise Unreadable(f"holds more than {LEAVES:,} values")
        part = compare_value(path or "(whole)", x, y)
        if part is not None:
            parts.add(part)
    if order:
        parts.remarks.append("keys stand in another order")


def _pairs(a: Any, b: Any, path: str, depth: int) -> Iterator[tuple[str, Any, Any, bool]]:
    """Leaves side by side with their paths, and whether keys stand in another order there."""
    if depth > DEPTH:
        raise Unreadable(f"is nested more than {DEPTH} deep")
    if isinstance(a, dict) and isinstance(b, dict):
        common = [key for key in a if key in b]
        reordered = common != [key for key in b if key in a]
        for key in dict.fromkeys([*a, *b]):
            inner = f"{path}.{key}" if path else str(key)
            for found in _pairs(a.get(key, ABSENT), b.get(key, ABSENT), short(inner), depth + 1):
                yield found if not reordered else (*found[:3], True)
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        for index in range(max(len(a), len(b))):
            x = a[index] if index < len(a) else ABSENT
            y = b[index] if index < len(b) else ABSENT
            yield from _pairs(x, y, short(f"{path}[{index}]"), depth + 1)
    else:
        yield path, a, b, False


def compare_value(name: str, a: Any, b: Any) -> Part | None:
    """One value of both sides; None where they are equal. NaN equals NaN, 1 equals 1.0 and is not `true`."""
    if a is ABSENT or b is ABSENT:
        return Part(name=short(name), note=f"only in the {'original' if b is ABSENT else 'second'}")
    if is_number(a) and is_number(b):
        if same_number(a, b):
            return None
        gap = distance(a, b)
        return Part(name=short(name), original=_shown(a), replay=_shown(b), differing=1, of=1, largest=gap)
    if type(a) is type(b) and not isinstance(a, dict | list | tuple) and a == b:
        return None
    return Part(name=short(name), original=_shown(a), replay=_shown(b), differing=1, of=1)


def is_number(value: Any) -> bool:
    """Whether it is an int or float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same_number(a: float, b: float) -> bool:
    """Whether two numbers are equal; NaN equals NaN."""
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def distance(a: float, b: float) -> Any:
    """|b - a| as JSON holds it; None where a side is not finite or it is beyond doubles."""
    try:
        gap = abs(b - a)
        return to_number(gap) if math.isfinite(gap) else None
    except OverflowError:
        return None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return short(repr(value)) if isinstance(value, str) else short(str(value))
