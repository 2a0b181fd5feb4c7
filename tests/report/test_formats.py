from __future__ import annotations

import json
import re
from io import StringIO

import html5lib
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from runbook.registry import members
from runbook.report.curves import curves
from runbook.report.interface import Report
from runbook.report.markdown import code, escape
from runbook.report.terminal import plain, show
from tests.report.reports import HOSTILE, Loads, all_reports, large

REPORTS = all_reports()
each = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)


def page(report: Report) -> str:
    text: str = members("report")["html"].render(report).decode()
    return text


@each
def test_a_page_parses_without_an_error(report: Report) -> None:
    html5lib.HTMLParser(strict=True).parse(page(report))


@each
def test_opening_a_page_loads_nothing_and_runs_nothing(report: Report) -> None:
    text = page(report)
    watch = Loads()
    watch.feed(text)
    assert watch.found == []
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text


@each
def test_every_link_of_a_page_leads_somewhere_on_it(report: Report) -> None:
    text = page(report)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'id="([^"]+)"', text))


def test_a_page_says_its_verdict_in_words_before_anything_else() -> None:
    for name, words in (
        ("identical", "Reproduced: identical"),
        ("different", "Different: not reproduced"),
        ("not comparable", "Not comparable"),
        ("diff", "Different"),
    ):
        body = page(REPORTS[name]).partition('<div class="banner')[2]
        assert f"<strong>{words}</strong>" in body[:200]


def test_a_page_has_every_part_that_an_auditor_needs() -> None:
    text = page(REPORTS["different"])
    for heading in (
        "Metrics",
        "Curves",
        "What differs",
        "What this bundle proves and what it does not",
        "Both runs side by side",
        "Data",
        "Packages",
        "How to check it without runbook",
    ):
        assert f">{heading}</h2>" in text
    assert "sha256sum -c manifest-sha256.txt" in text
    assert "no NVIDIA driver on this host" in text
    assert "part at step 1" in text


def test_a_run_that_saw_no_seed_says_so_in_every_format() -> None:
    for name in ("html", "markdown", "terminal", "json"):
        assert "no seed" in members("report")[name].render(REPORTS["bare"]).decode().lower()


def test_a_spike_survives_the_picture_of_a_long_series_and_the_page_stays_small() -> None:
    text = page(large())
    assert "100,000 points drawn by the lowest and highest" in text
    assert len(text) < 1_500_000
    (curve,), _ = curves(large())
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", curve.original)]
    assert min(heights) == pytest.approx(curve.top)
    assert len(heights) <= 1000


def test_all_packages_of_a_large_environment_are_listed() -> None:
    text = page(large())
    assert all(f">package-{i}<" in text for i in range(1000))


def test_odd_curves_are_drawn_inside_the_picture() -> None:
    drawn, _ = curves(REPORTS["odd curves"])
    assert {c.name for c in drawn} >= {"gap", "flat", "one", "extreme", "tiny", "same step"}
    for curve in drawn:
        for path in (curve.original, curve.replay):
            for x, y in re.findall(r"[ML](\S+?) ([^MLh]+)", path):
                assert curve.left - 1 <= float(x) <= curve.right + 1
                assert curve.top - 1 <= float(y) <= curve.bottom + 1


def test_json_is_ascii_and_keeps_what_was_recorded() -> None:
    data = members("report")["json"].render(REPORTS["hostile"])
    assert data.isascii()
    assert json.loads(data)["original"]["name"] == HOSTILE


def test_json_has_the_same_keys_with_and_without_a_comparison() -> None:
    reporter = members("report")["json"]
    with_one, without = (json.loads(reporter.render(REPORTS[name])) for name in ("different", "record"))
    assert with_one.keys() == without.keys()
    assert (with_one["verdict"], with_one["exit_code"]) == ("different", 1)
    assert (without["verdict"], without["comparison"]) == (None, None)


def tokens(text: str) -> list[Token]:
    """What a CommonMark parser with tables and bare links makes of it, flat."""
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return [t for block in parsed for t in (block, *(block.children or ()))]


@each
def test_markdown_from_a_bundle_makes_no_html_link_or_picture(report: Report) -> None:
    text = members("report")["markdown"].render(report).decode()
    kinds = {t.type for t in tokens(text)}
    assert not kinds & {"html_inline", "html_block", "link_open", "image"}


def test_markdown_shows_text_as_it_is() -> None:
    found = tokens(members("report")["markdown"].render(REPORTS["hostile"]).decode())
    shown = "".join(t.content for t in found if t.type in ("text", "text_special", "code_inline"))
    assert "<script>alert(1)</script>" in shown
    assert escape("https://a.example") == "https:&#47;&#47;a.example"
    assert code("a`b|c") == "`` a`b|c ``"


def test_every_markdown_table_row_has_as_many_cells_as_its_head() -> None:
    for name in ("record", "different", "varied", "hostile", "diff"):
        text = members("report")["markdown"].render(REPORTS[name]).decode()
        width = 0
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            assert not (cells and width) or cells == width, line
            width = cells


def test_a_terminal_shows_ten_differences_and_counts_the_rest() -> None:
    from runbook.model.verdict import Difference

    report = REPORTS["diff"]
    assert report.comparison is not None
    many = tuple(
        Difference(family="lock", what=f"package-{i}", original="1", replay="2", risk="low") for i in range(25)
    )
    from dataclasses import replace

    from msgspec.structs import replace as changed

    long = replace(report, comparison=changed(report.comparison, differences=many))
    assert "and 15 more differences" in plain(long)
    assert "package-24" not in plain(long)
    assert "package-24" in plain(long, everything=True)


@pytest.mark.parametrize("width", [30, 60, 100, 200])
@each
def test_a_terminal_of_any_width_is_never_overrun(report: Report, width: int) -> None:
    sink = StringIO()
    show(report, Console(file=sink, width=width, color_system=None), everything=True)
    assert max(map(len, sink.getvalue().split("\n"))) <= width


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = StringIO()
    show(REPORTS["different"], Console(file=sink, force_terminal=True, color_system="standard"))
    assert "\x1b[" in sink.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    quiet = StringIO()
    show(REPORTS["different"], Console(file=quiet, force_terminal=True, color_system="standard"))
    assert not re.search(r"\x1b\[[\d;]*3[1-7]m", quiet.getvalue())


def test_pdf_is_a_pdf() -> None:
    pytest.importorskip("weasyprint")
    reporter = members("report")["pdf"]
    assert reporter.render(REPORTS["different"]).startswith(b"%PDF-")
