"""CSV and TSV: columns by their names, cells row by row, numbers as numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import BinaryIO, TypeVar

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable, one_sided
from runbook.artifacts.values.lines import lines, number_of
from runbook.artifacts.values.tree import distance, same_number
from runbook.model.artifact import Part, short

T = TypeVar("T")
_COLUMNS = 100_000


class CsvFormat:
    """A table whose first row names its columns, unless it holds a number."""

    name = "csv"
    modules = ()

    def claims(self, path: str, head: bytes) -> int:
        """By its ending."""
        return interface.CONTENT if path.endswith((".csv", ".tsv")) else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Column by column, each with its first differing cell."""
        left, right = _rows(a), _rows(b)
        first_a, first_b = next(left, []), next(right, [])
        named = _names(first_a) and _names(first_b)
        if not named and len(first_a) == len(first_b):
            names_a = names_b = [f"column {number}" for number in range(1, len(first_a) + 1)]
            left, right = _again(first_a, left), _again(first_b, right)
        else:
            names_a, names_b = first_a, first_b
            if not named:
                raise Unreadable("a table without names, of another number of columns")
        return _compare(names_a, left, names_b, right)


@dataclass
class _Column:
    """What the cells of one column showed."""

    differing: int = 0
    pairs: int = 0
    total: float = 0.0
    largest: float = 0.0
    first: tuple[int, str, str] | None = None
    texts: int = 0

    def look(self, row: int, x: str, y: str) -> bool:
        """Take in two cells that are not the same text; True where they mean the same."""
        a, b = number_of(x), number_of(y)
        if a is not None and b is not None and same_number(a, b):
            return True
        self.differing += 1
        self.first = self.first or (row, x, y)
        gap = None if a is None or b is None else distance(a, b)
        if gap is None:
            self.texts += 1
        else:
            self.total += gap
            self.largest = max(self.largest, gap)
        return False


def _compare(
    names_a: list[str], left: Iterator[list[str]], names_b: list[str], right: Iterator[list[str]]
) -> Found:
    parts = Parts("column")
    places = {name: index for index, name in enumerate(names_b)}
    common = [(index, places[name], _Column()) for index, name in enumerate(names_a) if name in places]
    straight = names_a == names_b
    rows_a = rows_b = same = 0
    for x, y in zip_longest(left, right):
        rows_a += x is not None
        rows_b += y is not None
        if x is None or y is None or (straight and x == y):
            continue
        for i, j, column in common:
            one, other = x[i] if i < len(x) else "", y[j] if j < len(y) else ""
            if one != other:
                same += column.look(min(rows_a, rows_b), one, other)
    rows = min(rows_a, rows_b)
    parts.of = len(dict.fromkeys([*names_a, *names_b]))
    if rows_a != rows_b:
        parts.add(Part(name="rows", note=f"{rows_a:,} rows became {rows_b:,}; the first {rows:,} were compared"))
    for name in names_a:
        if name not in places:
            parts.add(one_sided(name, original=True))
    for index, _, column in common:
        if column.differing:
            parts.add(_part(names_a[index], column, rows))
    for name in names_b:
        if name not in set(names_a):
            parts.add(one_sided(name, original=False))
    if not straight and [n for n in names_a if n in places] != [n for n in names_b if n in set(names_a)]:
        parts.remarks.append("the columns stand in another order")
    if same:
        parts.remarks.append(f"{same:,} cells are the same number in another writing")
    return parts.found()


def _part(name: str, column: _Column, rows: int) -> Part:
    assert column.first is not None
    row, x, y = column.first
    numbers = column.differing > column.texts
    return Part(
        name=short(name),
        where=f"row {row}",
        original=short(x) or "(empty)",
        replay=short(y) or "(empty)",
        differing=column.differing,
        of=rows,
        largest=column.largest if numbers else None,
        mean=column.total / (rows - column.texts) if numbers else None,
    )


def _rows(file: BinaryIO) -> Iterator[list[str]]:
    text = lines(file)
    first = next(text, "")
    # The mark that stands most often in the first line, a comma where none does.
    delimiter = max(",;\t", key=lambda mark: (first.count(mark), mark == ","))
    try:
        for row in csv.reader(_again(first, text), delimiter=delimiter):
            if len(row) > _COLUMNS:
                raise Unreadable(f"a row of more than {_COLUMNS:,} cells")
            if row:
                yield row
    except csv.Error as error:
        raise Unreadable(f"no table ({error})") from None


def _again(first: T, rest: Iterator[T]) -> Iterator[T]:
    yield first
    yield from rest


def _names(row: list[str]) -> bool:
    """Whether a row names columns: unlike names, and no number among them."""
    return bool(row) and len(set(row)) == len(row) and all(number_of(cell) is None for cell in row)


MEMBER = CsvFormat()
