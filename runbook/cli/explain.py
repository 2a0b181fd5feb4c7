"""`runbook explain`: why two runs have another result, from what both records show."""

from __future__ import annotations

from pathlib import Path

import click

from runbook.bounds import parse_tolerance


@click.command(short_help="Why two runs differ, by what their records show.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="NAME=abs:X,rel:Y…",
    help="Instead of the tolerance that A fixed; NAME may be a glob.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.option(
    "-o",
    "target",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Also write it: .md, .html or .json by the ending.",
)
def command(a: str, b: str, tolerances: tuple[str, ...], as_json: bool, target: Path | None) -> int:
    """Say what moved the result from A to B: the likeliest cause first, with the lines and rows that show it.

    A and B are bundles (.runbook folders or .runbook.zip), or runs by their id, its beginning, or `last`.
    Nothing is executed. Every cause has a weight:

    \b
      likely         decides results by itself, or is the only candidate that is left
      possible       can change results, mostly by rounding
      unlikely       is not known to change numbers
      cannot matter  the job never touched it, or only a comment changed

    Where nothing that is recorded can be the cause, it says so, and what to try next.

    \b
      runbook explain monday.runbook tuesday.runbook
      runbook explain monday.runbook last -o why.html
      runbook explain a.runbook b.runbook --json | jq -r '.causes[0].what'

    Exit codes: 0 done, 2 no such side, 5 a bundle is corrupt, 7 there is no metric to compare.
    """
    from runbook.cli.console import err, out
    from runbook.digest.atomic import write_atomic
    from runbook.errors import UsageError
    from runbook.flow.diff import diff
    from runbook.registry import members
    from runbook.report import why
    from runbook.report.terminal import write_why

    writers = {one.suffix: one for one in members("report").values() if one.suffix in (".md", ".html")}
    if target is not None and target.suffix not in (*writers, ".json"):
        raise UsageError("no such format", target, hint="-o PATH.md, PATH.html or PATH.json", id="explain-format")
    report = diff(a, b, overrides=[parse_tolerance(t) for t in tolerances]).report
    if as_json:
        click.echo(why.as_json(report, (a, b)).decode(), nl=False)
    else:
        write_why(report, out())
    if target is not None:
        text = why.as_json(report, (a, b)) if target.suffix == ".json" else writers[target.suffix].render(report)
        write_atomic(target, text)
        err().print(f"wrote {target}", markup=False, style="dim")
    metrics = report.comparison.metrics if report.comparison else ()
    return 0 if any(m.original is not None and m.replay is not None for m in metrics) else 7
