"""Metrics from a JSON-lines file: one object a line, as trainers log them."""

from __future__ import annotations

from typing import Any, BinaryIO

from runbook.launch.metrics.filenames import claim_file
from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.json_file import parse_json
from runbook.launch.metrics.numbers import from_rows


class _JsonLines:
    name = "jsonl"
    cap = 64 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        return claim_file(path, (".jsonl", ".ndjson"))

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name or (source.kind == "file" and source.suffix in (".jsonl", ".ndjson"))

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(data, 1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                reason = str(error).removesuffix(" at line 1")
                raise ValueError(f"line {number} {reason}") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not an object")
            rows.append(row)
        return from_rows(rows)


MEMBER = _JsonLines()
