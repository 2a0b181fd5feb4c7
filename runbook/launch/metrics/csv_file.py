"""Metrics from a CSV or TSV file with a header line. Empty cells are gaps, columns of text are no metrics."""

from __future__ import annotations

import csv
import io
import re
from typing import BinaryIO

from runbook.launch.metrics.filenames import claim_file
from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import from_rows, has_axis, parse_number

_MAX_HEADER = 1024 * 1024
_MAX_UNCOUNTED = 50
"""Rows of a table that is taken as metrics although no column of it counts steps."""


class _Csv:
    name = "csv"
    cap = 64 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        return claim_file(path, (".csv", ".tsv", ".log"))

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name or (source.kind == "file" and source.suffix in (".csv", ".tsv"))

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        text = io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
        try:
            rows = _rows(text, source)
            if source.kind == "found" and not has_axis(rows) and len(rows) > _MAX_UNCOUNTED:
                raise ValueError("is a table of data: no column counts steps")
            return from_rows(rows)
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"is not CSV ({error})") from None
        finally:
            text.detach()


def _rows(text: io.TextIOWrapper, source: Source) -> list[dict[str, int | float]]:
    first = text.readline(_MAX_HEADER)
    if source.suffix == ".log" and "," not in first:
        raise ValueError("is no table")
    if source.suffix == ".tsv":
        separator = "\t"
    else:
        # NOTE: csv.Sniffer guesses from the data and guesses wrong on short files; the header tells.
        separator = max(",;\t", key=re.sub(r'"[^"]*"', "", first).count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator, strict=True), [])]
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"has two columns called {twice}")
    if header and all(parse_number(name) is not None for name in header):
        raise ValueError("has no header line")
    rows = []
    reader = csv.reader(text, delimiter=separator, strict=True)
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        if len(cells) > len(header):
            raise ValueError(f"row {number} has more cells than the header")
        numbers = {name: parse_number(cell) for name, cell in zip(header, cells, strict=False) if name}
        rows.append({name: value for name, value in numbers.items() if value is not None})
    return rows


MEMBER = _Csv()
