"""Two versions of a file of rows: which rows are others, or whether only their order is.

Rows are numbered from 1; where the first line is a header, it is none of them. Lines are numbered as editors do.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

_SHOWN, _WIDTH = 5, 80
_TABLES = {".csv": ",", ".tsv": "\t"}


class RowsFound(NamedTuple):
    """What two versions have not in common."""

    kind: Literal["order", "content", "ends"]
    """The same rows in another order; other rows; the same rows with other line ends."""
    why: str
    """One phrase."""
    evidence: tuple[str, ...]


class _File(NamedTuple):
    header: list[str]
    rows: list[str]
    delimiter: str


def compare_rows(path: str, a: bytes, b: bytes) -> RowsFound | None:
    """What differs between two versions of a text file; None for one that is no text, or where nothing does."""
    if a == b or b"\0" in a or b"\0" in b:
        return None
    left, right = _read(path, a), _read(path, b)
    if (left.header, left.rows) == (right.header, right.rows):
        return RowsFound("ends", "only line ends differ", ())
    if left.header != right.header:
        names = [", ".join(one.header) for one in (left, right)]
        return RowsFound(
            "content", "its columns are others", (f"{path}:1: {_short(names[0])} → {_short(names[1])}",)
        )
    return _compare(path, left, right)


def _read(path: str, content: bytes) -> _File:
    lines = content.decode(errors="replace").splitlines()
    delimiter = _TABLES.get(PurePosixPath(path).suffix.lower(), "")
    if not delimiter or not lines:
        return _File([], lines, "")
    if delimiter == "," and lines[0].count(";") > lines[0].count(","):
        delimiter = ";"
    header = _fields(lines[0], delimiter)
    if not header or any(_number(name) for name in header):
        return _File([], lines, delimiter)
    return _File(header, lines[1:], delimiter)


def _compare(path: str, a: _File, b: _File) -> RowsFound:
    only_a, only_b = Counter(a.rows) - Counter(b.rows), Counter(b.rows) - Counter(a.rows)
    first = 2 if a.header else 1
    if not only_a and not only_b:
        at = next(n for n, (x, y) in enumerate(zip(a.rows, b.rows, strict=True)) if x != y)
        moved = sum(x != y for x, y in zip(a.rows, b.rows, strict=True))
        text = f"{path}:{at + first}: row {at + 1} is the first that is another; {moved:,} stand elsewhere"
        return RowsFound("order", f"the same {len(a.rows):,} rows in another order", (text,))
    removed, added = list(_numbered(a.rows, only_a)), list(_numbered(b.rows, only_b))
    paired = [n for n, _ in removed] == [n for n, _ in added]
    if paired:
        found = [
            f"{path}:{n + first}: row {n + 1}: {_change(a, old, new)}"
            for (n, old), (_, new) in zip(removed, added, strict=True)
        ]
        why = f"{len(found):,} of {len(a.rows):,} rows {'is another' if len(found) == 1 else 'are others'}"
    else:
        found = [f"{path}:{n + first}: row {n + 1} (only in A): {_short(row)}" for n, row in removed]
        found += [f"{path}:{n + first}: row {n + 1} (only in B): {_short(row)}" for n, row in added]
        why = f"rows: {len(a.rows):,} → {len(b.rows):,}, {len(removed):,} only in A and {len(added):,} only in B"
    if not paired and _reordered(a.rows, b.rows, only_a, only_b):
        why += ", and the others in another order"
    more = [f"and {len(found) - _SHOWN:,} more rows"] if len(found) > _SHOWN else []
    return RowsFound("content", why, (*found[:_SHOWN], *more))


def _numbered(rows: Sequence[str], only: Counter[str]) -> Iterator[tuple[int, str]]:
    """Those rows that only this side has so often, by their place from 0; the last ones of equal rows."""
    left = Counter(only)
    found = []
    for number in range(len(rows) - 1, -1, -1):
        if left[rows[number]] > 0:
            left[rows[number]] -= 1
            found.append((number, rows[number]))
    return reversed(found)


def _reordered(a: Sequence[str], b: Sequence[str], only_a: Counter[str], only_b: Counter[str]) -> bool:
    common = [
        [row for n, row in enumerate(rows) if n not in own]
        for rows, own in ((a, {n for n, _ in _numbered(a, only_a)}), (b, {n for n, _ in _numbered(b, only_b)}))
    ]
    return common[0] != common[1]


def _change(file: _File, old: str, new: str) -> str:
    """The fields that are others, by their column's name, where both rows have all; else the whole rows."""
    if file.header:
        left, right = _fields(old, file.delimiter), _fields(new, file.delimiter)
        if len(left) == len(right) == len(file.header):
            changed = [
                f"{name} {_short(x)} → {_short(y)}"
                for name, x, y in zip(file.header, left, right, strict=True)
                if x != y
            ]
            if changed:
                more = f" and {len(changed) - 3} more columns" if len(changed) > 3 else ""
                return ", ".join(changed[:3]) + more
    return f"{_short(old)} → {_short(new)}"


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    return (text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…") or "(empty)"
