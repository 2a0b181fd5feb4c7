"""Everything a report knows, for machines: stable, sorted keys, in ASCII, so that a terminal may show it."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, Final

import msgspec

from runbook.model.verdict import EXIT
from runbook.report.interface import Report
from runbook.report.proof import claims

SCHEMA: Final = "runbook/report/1"


class JsonReporter:
    """One JSON object; texts stand as they are in the records, escaped."""

    name = "json"
    suffix = ".json"

    def render(self, report: Report) -> bytes:
        """The object, indented, ended by a newline."""
        # A curve stands on one line: a million numbers, each indented, would take a gigabyte on the way.
        mark = secrets.token_hex(16)
        curves = [*report.series.values(), *report.replay_series.values()]
        whole = document(report)
        numbers = iter(range(len(curves)))
        for side in ("series", "replay_series"):
            whole[side] = {name: f"{mark}-{next(numbers)}-" for name in whole[side]}
        text = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False).replace("\x7f", "\\u007f")
        parts = re.split(rf'"{mark}-([0-9]+)-"', text)
        parts[1::2] = [msgspec.json.encode(curves[int(number)]).decode() for number in parts[1::2]]
        return "".join(parts).encode() + b"\n"


def document(report: Report) -> dict[str, Any]:
    """The report as plain JSON values, but for the curves."""
    comparison = report.comparison
    return {
        "schema": SCHEMA,
        "title": report.title,
        "bundle": {"id": report.bundle_id, "name": report.bundle_name},
        "verdict": None if comparison is None else comparison.verdict,
        "reason": None if comparison is None else comparison.reason,
        "exit_code": None if comparison is None else EXIT[comparison.verdict],
        "comparison": None if comparison is None else _every_key(comparison),
        "original": msgspec.to_builtins(report.original),
        "replay": None if report.replay is None else msgspec.to_builtins(report.replay),
        "series": dict(report.series),
        "replay_series": dict(report.replay_series),
        "engine": report.engine,
        "isolation": report.isolation,
        "environment_cached": report.cached,
        "notes": list(report.notes),
        "bisection": None if report.bisection is None else _every_key(report.bisection),
        "proof": [vars(c) for c in claims(report)],
    }


def _every_key(value: Any) -> Any:
    """JSON values of a comparison in which a field is there even when it holds its default."""
    if isinstance(value, msgspec.Struct):
        return {name: _every_key(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_every_key(v) for v in value]
    return value


MEMBER = JsonReporter()
