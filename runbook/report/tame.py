"""A report whose every text is safe to print: nothing from a bundle or a job reaches a person in another way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from runbook.model.text import printable
from runbook.report.interface import Report

S = TypeVar("S", bound=msgspec.Struct)


def tame(report: Report) -> Report:
    """The same report with control, format and bidi characters, line ends and tabs shown as escapes."""
    return replace(
        report,
        original=_struct(report.original),
        replay=None if report.replay is None else _struct(report.replay),
        comparison=None if report.comparison is None else _struct(report.comparison),
        series={line(name): s for name, s in report.series.items()},
        replay_series={line(name): s for name, s in report.replay_series.items()},
        bundle_id=line(report.bundle_id),
        bundle_name=line(report.bundle_name),
        engine=line(report.engine),
        isolation=line(report.isolation),
        title=line(report.title),
        notes=tuple(line(n) for n in report.notes),
        bisection=None if report.bisection is None else _struct(report.bisection),
    )


def line(text: str) -> str:
    """One printable line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _struct(value: S) -> S:
    return msgspec.convert(_walk(msgspec.to_builtins(value)), type(value))


def _walk(value: Any) -> Any:
    if isinstance(value, str):
        return line(value)
    if isinstance(value, dict):
        return {_walk(k): _walk(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(v) for v in value]
    return value
