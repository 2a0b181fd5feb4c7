"""A metric from the job's standard output, by a regular expression in RE2 syntax.

A pattern may come from a hostile bundle and meet a hostile log. RE2 matches in time linear in the log whatever the
pattern, on every machine alike; a time limit around a backtracking engine would make a verdict depend on the
machine's speed. The price: no look-around and no back-references, and that is said before the job runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import re2

from runbook.errors import UsageError
from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import Points, parse_number

_MAX_PATTERN = 4096
"""Characters of a pattern."""
_MAX_LINE = 64 * 1024
_MAX_MATCHES = 1000
"""In one line. One search is linear, all of them together are not: these two bound the work."""


class _StdoutPattern:
    name = "stdout"
    cap = 256 * 1024 * 1024
    rank = 2

    def claims(self, path: str) -> Claim | None:
        return None

    def recognises(self, source: Source) -> bool:
        return source.kind == "stdout"

    def check(self, source: Source) -> None:
        _compile(source)

    def read(self, source: Source, data: BinaryIO) -> Reading:
        pattern = _compile(source)
        value_group = _group(pattern, "value") or 1
        step_group = _group(pattern, "step")
        points, unread, index = Points(), 0, 0
        for line in _lines(data):
            for count, match in enumerate(pattern.finditer(line)):
                if count >= _MAX_MATCHES:
                    raise ValueError(f"the pattern matches more than {_MAX_MATCHES} times in one line")
                value = _number(match[value_group])
                step = _number(match[step_group]) if step_group else index
                if value is None or not isinstance(step, int) or abs(step) >= 2**63:
                    unread += 1
                    continue
                points.add(source.name, step, value)
                index += 1
        reading = points.reading()
        left_out = (f"{source.name}: {unread} matches are not numbers",) if unread else ()
        return Reading(series=reading.series, left_out=(*reading.left_out, *left_out))


def _lines(data: BinaryIO) -> Iterator[bytes]:
    """Line by line: a match never spans lines, and a log of any size needs the memory of one."""
    while line := data.readline(_MAX_LINE):
        # A progress bar rewrites its line with carriage returns; each state of it is a line.
        yield from line.splitlines()


def _number(text: bytes | None) -> int | float | None:
    return parse_number((text or b"").decode("ascii", "replace"))


def _group(pattern: Any, name: str) -> int:
    """The number of a named group; 0 where there is none. RE2 gives names as bytes for a pattern of bytes."""
    return int(pattern.groupindex.get(name.encode(), 0))


def _compile(source: Source) -> Any:
    """The compiled pattern; raises UsageError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 16 * 1024 * 1024
    hint = f"--metric '{source.name}={source.name}: ([-+.eE0-9]+)'"
    if len(source.pattern) > _MAX_PATTERN:
        raise UsageError(
            f"pattern longer than {_MAX_PATTERN} characters", source.name, hint=hint, id="metric-pattern"
        )
    try:
        pattern = re2.compile(source.pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        if "(?=" in reason or "(?!" in reason or "(?<" in reason or "escape sequence" in reason:
            hint = "patterns are RE2: no look-around, no back-references"
        raise UsageError(
            f"not a regular expression ({reason})",
            f"{source.name}={source.pattern}",
            hint=hint,
            id="metric-pattern",
        ) from None
    if not _group(pattern, "value") and (pattern.groups != 1 or _group(pattern, "step")):
        raise UsageError(
            "the pattern needs one group, or one called value",
            f"{source.name}={source.pattern}",
            hint=hint + ", or (?P<value>…) and optionally (?P<step>…)",
            id="metric-pattern",
        )
    return pattern


MEMBER = _StdoutPattern()
