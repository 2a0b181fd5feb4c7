"""`runbook diff`: what two bundles or runs do not have in common, and whether it matters."""

from __future__ import annotations

from pathlib import Path

import click

from runbook.bounds import parse_tolerance


@click.command(short_help="Compare two bundles or runs.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="NAME=abs:X,rel:Y…",
    help="Instead of the tolerance that A fixed; NAME may be a glob.",
)
@click.option("--all", "everything", is_flag=True, help="Every difference, and the changed lines of small files.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="PATH", help="Also write the comparison as a page."
)
def command(
    a: str, b: str, tolerances: tuple[str, ...], everything: bool, as_json: bool, html: Path | None
) -> int:
    """Lay A and B side by side: metrics first, then everything else that differs, ranked by what matters.

    A and B are bundles (.runbook folders or .runbook.zip), or runs by their id, its beginning, or `last`.
    Whatever else changed, the metrics decide the exit code. Output files that are at hand are compared by what
    they hold (tensors, tables, images, …: pip install 'runbook[artifacts]') and get a verdict of their own.

    \b
      runbook diff monday.runbook tuesday.runbook
      runbook diff monday.runbook last --tolerance 'val_*=rel:1e-3'
      runbook diff a.runbook b.runbook --json | jq '.comparison.differences[] | select(.risk == "high")'

    Exit codes: 0 the metrics agree, 1 they differ, 2 no such side, 5 a bundle is corrupt, 7 not comparable.
    """
    from runbook.cli.console import TerminalProgress, err, out
    from runbook.digest.atomic import write_atomic
    from runbook.flow.diff import diff
    from runbook.model.text import printable
    from runbook.registry import members
    from runbook.report.terminal import write

    found = diff(
        a, b, overrides=[parse_tolerance(t) for t in tolerances], lines=everything, progress=TerminalProgress()
    )
    if as_json:
        click.echo(members("report")["json"].render(found.report).decode(), nl=False)
    else:
        write(found.report, out(), everything=everything)
        for patch in found.patches:
            out().print(f"\n{printable(patch)}", markup=False)
    if html is not None:
        write_atomic(html, members("report")["html"].render(found.report))
        err().print(f"wrote {html}", markup=False, style="dim")
    return found.exit_code
