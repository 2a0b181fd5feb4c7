"""JSON lines: a document a line, compared line by line, however many there are."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import Any, BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable
from runbook.artifacts.values.lines import lines


class JsonLinesFormat:
    """Values by their line and path, `line 3: loss`; a line that is the same text is not taken apart."""

    name = "json-lines"
    modules = ()

    def claims(self, path: str, head: bytes) -> int:
        """By its ending."""
        return interface.CONTENT if path.endswith((".jsonl", ".ndjson")) else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Line by line."""
        from runbook.artifacts.values.tree import ABSENT, compare_values

        parts, inner = Parts("line"), Parts("value")
        for number, (x, y) in enumerate(zip_longest(lines(a), lines(b)), 1):
            parts.of += 1
            if x == y:
                continue
            before = inner.differing
            one, other = (ABSENT if v is None else _value(v, number) for v in (x, y))
            compare_values(one, other, inner, f"line {number}")
            parts.differing += inner.differing > before
        parts.kept = inner.kept
        parts.remarks = list(dict.fromkeys(inner.remarks))
        return parts.found()


def _value(line: str, number: int) -> Any:
    if not line.strip():
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Unreadable(f"line {number} is no JSON") from None


MEMBER = JsonLinesFormat()
