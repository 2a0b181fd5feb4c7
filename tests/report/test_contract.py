"""What every format keeps, whatever it is: a new reporter is tested here the moment its file exists."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from runbook.registry import members
from runbook.report.interface import Report
from tests.report.reports import all_reports

REPORTS = all_reports()
REPORTERS = {name: m for name, m in members("report").items() if m.suffix != ".pdf"}
"""The PDF is the page printed; it is slow, and has a test of its own."""


def both(function: Any) -> Any:
    by_name = pytest.mark.parametrize("reporter", REPORTERS.values(), ids=REPORTERS)
    return by_name(pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)(function))


def test_there_is_a_reporter_for_page_text_machine_and_terminal() -> None:
    assert set(members("report")) >= {"html", "markdown", "json", "terminal", "pdf"}


@both
def test_a_report_is_utf8_and_ends_its_last_line(reporter: Any, report: Report) -> None:
    text = reporter.render(report).decode()
    assert text.endswith("\n")
    assert text.strip()


@both
def test_the_same_report_gives_the_same_bytes(reporter: Any, report: Report) -> None:
    assert reporter.render(report) == reporter.render(report)


@both
def test_nothing_of_a_bundle_reaches_a_terminal_as_a_control_or_bidi_character(
    reporter: Any, report: Report
) -> None:
    text = reporter.render(report).decode()
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co")} <= {"\n"}


@both
def test_every_metric_is_there_with_the_verdict(reporter: Any, report: Report) -> None:
    if report is REPORTS["hostile"]:
        return
    text = reporter.render(report).decode().replace("\\", "")
    for metric in report.original.metrics:
        assert metric.name in text
        assert str(metric.final) in text.replace("\n", "")
    if report.comparison is not None:
        assert all(m.verdict in text for m in report.comparison.metrics)


@both
def test_what_differs_is_named_with_both_values(reporter: Any, report: Report) -> None:
    if report is REPORTS["diff"]:
        text = reporter.render(report).decode()
        assert "argv --seed" in text
        assert "7 → 8" in text or "\\u2192" in text
