"""Metrics from a CSV or TSV file with a header line. Empty cells are gaps, columns of text are no metrics."""

from __future__ import annotations

import csv
import io
import re
from typing import BinaryIO

from runbook.launch.metrics.interface import Reading, Source
from runbook.launch.metrics.numbers import from_rows, parse_number


class _Csv:
    name = "csv"
    cap = 64 * 1024 * 1024

    def recognises(self, source: Source) -> bool:
        return source.suffix in (".csv", ".tsv")

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        text = io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
        try:
            return from_rows(_rows(text, source))
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"is not CSV ({error})") from None
        finally:
            text.detach()


def _rows(text: io.TextIOWrapper, source: Source) -> list[dict[str, int | float]]:
    first = text.readline()
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
