"""`runbook report`: the run book of a bundle, for people: HTML, Markdown, PDF or JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import click

FORMATS = ("html", "markdown", "json", "pdf")


@click.command(short_help="Write the run book as HTML, Markdown, PDF or JSON.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), help="[html, or what the ending of -o says]")
@click.option(
    "-o",
    "target",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write it [NAME.html …]; - is stdout.",
)
def command(bundle: Path, form: str | None, target: Path | None) -> None:
    """Write what BUNDLE says as one document: job, metrics, curves, code, data, environment, host,
    what it proves and what it does not, and how to check it with tools that an auditor already has.

    The page is self-contained: it runs no script and loads nothing. Nothing of the bundle is executed.

    \b
      runbook report train.runbook                      writes train.html
      runbook report train.runbook -o audit.pdf         needs: pip install 'runbook[pdf]'
      runbook report train.runbook --format markdown -o -

    Exit codes: 0 written, 2 no such bundle, 5 it is corrupt, 6 PDF needs its extra.
    """
    from runbook.bundle.read import open_bundle
    from runbook.cli.console import err
    from runbook.digest.atomic import write_atomic
    from runbook.registry import members
    from runbook.report.interface import Report

    reporters = members("report")
    endings = {reporters[name].suffix: name for name in FORMATS if name in reporters}
    form = form or endings.get(target.suffix if target else "", "html")
    with open_bundle(bundle) as opened:
        report = Report(
            original=opened.record,
            bundle_id=opened.id,
            bundle_name=opened.name,
            series=opened.series,
            title=opened.record.name,
        )
        document = reporters[form].render(report)
    if target == Path("-"):
        sys.stdout.buffer.write(document)
        return
    place = target or Path(opened.name + reporters[form].suffix)
    write_atomic(place, document)
    err().print(f"wrote {place}", markup=False, style="dim")
