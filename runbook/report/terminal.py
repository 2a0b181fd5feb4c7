"""The report for a terminal: the verdict in words first, then only what a person needs to see."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING

from runbook.model.artifact import Artifacts
from runbook.model.bisection import Bisection
from runbook.model.determinism import Determinism
from runbook.model.record import Finding, Record
from runbook.model.verdict import Comparison, Difference, MetricComparison
from runbook.report import bisecting, repeating, spread, why
from runbook.report.content import (
    Headline,
    Section,
    Tone,
    bundle_id,
    command,
    files,
    headline,
    other_side,
    remark,
    sections,
)
from runbook.report.figures import count, exact, signed
from runbook.report.interface import Report
from runbook.report.tame import line, tame

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN = 10
"""Differences that are shown unless all are asked for."""
_COLOUR: dict[Tone, str] = {"good": "bold green", "bad": "bold red", "unsure": "bold yellow", "plain": "bold"}
_WHY = {
    "sentence": ("", 0),
    "heading": ("bold", 0),
    "cause": ("", 1),
    "why": ("dim", 4),
    "evidence": ("", 4),
    "place": ("dim", 4),
    "advice": ("", 1),
}
"""Style and indent of each kind of line."""
_MARK = {
    "identical": "green",
    "within tolerance": "green",
    "equivalent": "green",
    "different": "red",
    "partial": "yellow",
    "inconclusive": "yellow",
    "not comparable": "yellow",
    "identical bytes": "green",
    "same content": "green",
    "bytes differ": "yellow",
    "on one side only": "red",
    "insensitive": "green",
    "sensitive": "red",
    "cause": "red",
    "fails": "red",
    "cannot tell": "yellow",
    "not tried": "dim",
    "high": "red",
    "medium": "yellow",
}


class TerminalReporter:
    """Plain text of 100 columns, without colour: what a pipe or a log gets."""

    name = "terminal"
    suffix = ""

    def render(self, report: Report) -> bytes:
        """The text, UTF-8."""
        return plain(report).encode()


def write(report: Report, console: Console, *, everything: bool = False) -> None:
    """Show it on a terminal, or write plain text of 100 columns where the console's file is none."""
    if console.is_terminal:
        show(report, console, everything=everything)
    else:
        console.file.write(plain(report, everything=everything))


def plain(report: Report, *, everything: bool = False) -> str:
    """What `show` prints, as text of 100 columns without colour."""
    return _plain(lambda console: show(report, console, everything=everything))


def _plain(shows: Callable[[Console], None]) -> str:
    from rich.console import Console

    console = Console(file=StringIO(), width=100, color_system=None, highlight=False, legacy_windows=False)
    with console.capture() as capture:
        shows(console)
    return "\n".join(line.rstrip() for line in capture.get().split("\n"))


def write_why(report: Report, console: Console) -> None:
    """Show why the two sides differ, on a terminal or as plain text of 100 columns."""
    if console.is_terminal:
        _show_why(report, console)
    else:
        console.file.write(_plain(lambda plainly: _show_why(report, plainly)))


def _show_why(report: Report, console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    safe = tame(report)
    assert safe.comparison is not None
    before = ""
    for kind, text in why.lines(safe.comparison):
        style, indent = _WHY[kind]
        if kind == "heading" or (kind == "advice" and before != kind):
            console.print()
        before = kind
        console.print(Padding(Text(text, style), (0, 0, 0, indent)))


def show(report: Report, console: Console, *, everything: bool = False) -> None:
    """Print the report; the console decides about width and colour. `everything`: all differences, every fact."""
    safe = tame(report)
    _headline(headline(safe), console)
    if safe.bisection is not None:
        _bisected(safe.bisection, console)
    elif safe.comparison is None:
        _line(console, "command", command(safe.original))
        _line(console, "run", safe.original.run)
        _recorded(safe, console)
        for section in sections(safe):
            _section(section, console, everything)
    else:
        _compared(safe.comparison, other_side(safe).lower(), console, everything)
    if safe.engine:
        built = {None: "", True: "; environment found built", False: "; environment built for this replay"}
        _line(console, "engine", safe.engine + built[safe.cached])
    if safe.isolation:
        _line(console, "isolation", safe.isolation)
    for note in safe.notes:
        _line(console, "note", note)
    for finding in _findings(safe):
        _line(console, finding.level, finding.text, "yellow" if finding.level == "warning" else "")
    if safe.bundle_id and (safe.engine or safe.comparison is None):
        _line(console, "bundle", bundle_id(safe))


def _findings(report: Report) -> list[Finding]:
    """All findings of a record or a replay; of two runs that are only compared, what one side has alone."""
    a, b = report.original.findings, report.replay.findings if report.replay else ()
    if report.comparison is None or report.engine:
        return list(dict.fromkeys([*a, *b]))
    return [f for f in (*a, *b) if (f in a) != (f in b)]


def _headline(head: Headline, console: Console) -> None:
    from rich.text import Text

    console.print(Text.assemble((f"{head.word}.", _COLOUR[head.tone]), " ", head.sentence), soft_wrap=False)


def _line(console: Console, label: str, text: str, style: str = "") -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=10)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style or "dim"), Text(text))
    console.print(grid)


def _compared(comparison: Comparison, other: str, console: Console, everything: bool) -> None:
    if comparison.determinism is not None:
        _repeating(comparison.determinism, console)
    if comparison.metrics:
        console.print(
            _wide(comparison.metrics, other) if console.width >= 90 else _narrow(comparison.metrics, other)
        )
        _remarks(comparison.metrics, console)
    if comparison.artifacts is not None:
        _artifacts(comparison.artifacts, console, everything)
    for text in comparison.remarks:
        _line(console, "repeats", text)
    for text in comparison.overrides:
        _line(console, "override", text)
    for text in comparison.broken_preconditions:
        _line(console, "broken", text, "red")
    for text in comparison.substitutions:
        _line(console, "replaced", text, "yellow")
    if not comparison.differences:
        console.print("Nothing else that is recorded differs.")
        return
    shown = comparison.differences if everything else comparison.differences[:_SHOWN]
    console.print(_differences(shown, other, console.width))
    hidden = len(comparison.differences) - len(shown)
    if hidden:
        console.print(f"and {count(hidden, 'more difference')} of {shown[-1].risk} risk or less", style="dim")


def _bisected(found: Bisection, console: Console) -> None:
    """What moves the metric, the replays that show it, and how to make them again."""
    from rich.text import Text

    for number, cause in enumerate(found.causes, 1):
        for text in bisecting.named(cause):
            _line(console, f"cause {number}" if len(found.causes) > 1 else "cause", text)
    for part in found.sure:
        _line(console, "part of it", bisecting.change(part))
    for part in found.candidates[:_SHOWN]:
        _line(console, "one of", bisecting.change(part))
    table = _table("replay", "what was replayed", found.metric, "outcome", "run")
    for row in bisecting.rows(found):
        table.add_row(*(Text(c) for c in (str(row.number), row.what, row.value, row.outcome, row.run)))
    console.print(table)
    for proof in found.proof:
        _line(console, "proof", f"{proof.says}: runbook replay {proof.path}")
    for difference in found.fixed[:_SHOWN]:
        _line(console, "not tried", f"{difference.what}: it cannot be swapped here")
    _line(console, "tolerance", found.tolerance)
    _line(console, "cost", bisecting.cost(found))


def _repeating(found: Determinism, console: Console) -> None:
    """Whether the job gives the same twice, and what it is sensitive to: before anything is blamed."""
    from rich.text import Text

    _line(console, "runs here", found.words, "green" if found.verdict == "deterministic" else "yellow")
    if found.changes:
        table = _table("varies here", "first run", "another", "difference", "where")
        for row in repeating.rows(found)[:_SHOWN]:
            table.add_row(*(Text(cell) for cell in (row.what, row.first, row.other, row.difference, row.where)))
        console.print(table)
        if len(found.changes) > _SHOWN:
            console.print(f"and {count(len(found.changes) - _SHOWN, 'more')} in the report", style="dim")
    if found.sensitivities:
        _line(console, "varied", repeating.summary(found.sensitivities))
        table = _table("changed", "how", "verdict", "what came of it")
        for one in found.sensitivities:
            table.add_row(Text(one.name), Text(one.how), Text(one.verdict, _MARK[one.verdict]), Text(one.words))
        console.print(table)


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _wide(metrics: tuple[MetricComparison, ...], other: str) -> Table:
    from rich.text import Text

    table = _table("metric", "original", other, "difference", "tolerance", "verdict")
    for m in metrics:
        cells = (m.name, exact(m.original), exact(m.replay), signed(m), m.tolerance)
        table.add_row(*(Text(c) for c in cells), Text(m.verdict, _MARK[m.verdict]))
    return table


def _narrow(metrics: tuple[MetricComparison, ...], other: str) -> Table:
    from rich.text import Text

    table = _table("metric", f"original → {other}", "verdict")
    for m in metrics:
        table.add_row(
            Text(m.name), Text(f"{exact(m.original)} → {exact(m.replay)}"), Text(m.verdict, _MARK[m.verdict])
        )
    return table


def _remarks(metrics: tuple[MetricComparison, ...], console: Console) -> None:
    """What is to be said of single metrics, beneath the table; at most ten."""
    from rich.padding import Padding
    from rich.text import Text

    said = [m for m in metrics if remark(m)]
    for m in said[:_SHOWN]:
        console.print(Padding(Text.assemble((f"{m.name}: ", "dim"), "; ".join(remark(m))), (0, 0, 0, 1)))
        for figure in spread.lines(m):
            console.print(Padding(Text(f"{figure.label}: {figure.text}", "dim"), (0, 0, 0, 3)))
        for text in m.statistics.warnings if m.statistics else ():
            console.print(Padding(Text(f"warning: {text}", "yellow"), (0, 0, 0, 3)))
    if len(said) > _SHOWN:
        console.print(f" and remarks on {count(len(said) - _SHOWN, 'more metric')}", style="dim")


def _artifacts(artifacts: Artifacts, console: Console, everything: bool) -> None:
    """The verdict over the output files, and those that are not the same bytes, at most ten unless asked."""
    from rich.text import Text

    _line(console, "outputs", artifacts.reason)
    found = files(artifacts)
    if not found:
        return
    table = _table("output file", "kind", "verdict", "where and by how much")
    for one in found if everything else found[:_SHOWN]:
        said = "\n".join((one.words, *one.more)) if everything else one.words
        table.add_row(Text(one.path), Text(one.kind), Text(one.verdict, _MARK.get(one.verdict, "")), Text(said))
    console.print(table)
    if len(found) > _SHOWN and not everything:
        console.print(f" and {count(len(found) - _SHOWN, 'more output file')}", style="dim")


def _differences(differences: tuple[Difference, ...], other: str, width: int) -> Table:
    from rich.text import Text

    wide = width >= 90
    table = _table("risk", "what differs", "original", other, *(["why it matters"] if wide else []))
    for d in differences:
        what = d.what if d.family in d.what else f"{d.family}: {d.what}"
        cells = [Text(what), Text(d.original), Text(d.replay), *([Text(d.why, "dim")] if wide else [])]
        table.add_row(Text(d.risk, _MARK.get(d.risk, "dim")), *cells)
    return table


def calibrated(record: Record) -> Table:
    """How far each metric spread over the repeats of a bundle's calibration."""
    from rich.text import Text

    table = _table("metric", "repeats", "mean", "standard deviation", "lowest", "highest")
    for row in spread.table(record):
        table.add_row(*(Text(line(c)) for c in (row.metric, row.n, row.mean, row.deviation, row.low, row.high)))
    return table


def _recorded(report: Report, console: Console) -> None:
    from rich.text import Text

    if not report.original.metrics:
        return
    table = _table("metric", "final value", "points", "source")
    for m in report.original.metrics:
        table.add_row(*(Text(c) for c in (m.name, exact(m.final), str(m.points), m.source)))
    console.print(table)
    if report.original.calibration.known:
        console.print(calibrated(report.original))


def _section(section: Section, console: Console, everything: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    rows = [r for r in section.rows if everything or r.original.evidence != "missing"] or section.rows
    console.print(Text(section.title, "bold"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(max_width=28)
    grid.add_column(overflow="fold")
    for row in rows:
        cell = row.original
        text = f"missing: {cell.text}" if cell.evidence == "missing" else cell.text
        grid.add_row(Text(f"  {row.label}", "dim"), Text(text))
    console.print(grid)
    console.print()


MEMBER = TerminalReporter()
