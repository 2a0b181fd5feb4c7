"""Everything a report knows, for machines: stable, sorted keys, in ASCII, so that a terminal may show it."""

from __future__ import annotations

import json
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
        text = json.dumps(document(report), indent=2, sort_keys=True, allow_nan=False)
        return text.replace("\x7f", "\\u007f").encode() + b"\n"


def document(report: Report) -> dict[str, Any]:
    """The report as plain JSON values."""
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
        "series": {name: msgspec.to_builtins(s) for name, s in report.series.items()},
        "replay_series": {name: msgspec.to_builtins(s) for name, s in report.replay_series.items()},
        "engine": report.engine,
        "isolation": report.isolation,
        "environment_cached": report.cached,
        "notes": list(report.notes),
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
