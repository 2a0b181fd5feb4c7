"""A metric from the job's standard output, by a regular expression in RE2 syntax.

A pattern may come from a hostile bundle and meet a hostile log. RE2 matches in time linear in the log whatever the
pattern, on every machine alike; a time limit around a backtracking engine would make a verdict depend on the
machine's speed. The price: no look-around and no back-references, and that is said before the job runs.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import re2

from runbook.errors import UsageError
from runbook.launch.metrics.interface import Reading, Source
from runbook.launch.metrics.numbers import Points, parse_number

_MAX_PATTERN = 4096
"""Characters of a pattern."""


class _StdoutPattern:
    name = "stdout"
    cap = 1024 * 1024 * 1024

    def recognises(self, source: Source) -> bool:
        return source.kind == "stdout"

    def check(self, source: Source) -> None:
        _compile(source)

    def read(self, source: Source, data: BinaryIO) -> Reading:
        pattern = _compile(source)
        group: int | str = "value" if "value" in pattern.groupindex else 1
        has_step = "step" in pattern.groupindex
        points, unread = Points(), 0
        index = 0
        # Line by line: a match never spans lines, and a log of any size needs the memory of one line.
        for line in _lines(data):
            for match in pattern.finditer(line):
                value = parse_number((match[group] or b"").decode("ascii", "replace"))
                step = parse_number((match["step"] or b"").decode("ascii", "replace")) if has_step else index
                if value is None or not isinstance(step, int):
                    unread += 1
                    continue
                points.add(source.name, step, value)
                index += 1
        reading = points.reading()
        left_out = (f"{source.name}: {unread} matches are not numbers",) if unread else ()
        return Reading(series=reading.series, left_out=(*reading.left_out, *left_out))


def _lines(data: BinaryIO) -> Any:
    while line := data.readline(1024 * 1024):
        # A progress bar rewrites its line with carriage returns; each state of it is a line.
        yield from line.splitlines()


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
    names = set(pattern.groupindex)
    if "value" not in names and not (pattern.groups == 1 and not names):
        raise UsageError(
            "the pattern needs one group, or one called value",
            f"{source.name}={source.pattern}",
            hint=hint + ", or (?P<value>…) and optionally (?P<step>…)",
            id="metric-pattern",
        )
    return pattern


MEMBER = _StdoutPattern()
