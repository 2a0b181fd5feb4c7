"""`runbook bisect`: which of all that differs between two bundles moves a metric, found by replaying mixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runbook.cli.console import TerminalProgress, err, out
from runbook.cli.sandbox import choices_of, cleaning_up, sandboxing
from runbook.errors import UsageError


@click.command(short_help="Find by replays which difference moves a metric.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--metric", metavar="NAME", help="The metric to explain. [the one that differs most]")
@click.option(
    "--tolerance", "tolerances", multiple=True, metavar="NAME=abs:X,rel:Y…", help="Instead of the one A fixed."
)
@click.option(
    "--replays",
    type=click.IntRange(3),
    default=40,
    show_default=True,
    help="At most so many replays by this call.",
)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Begin no further replay after so long.")
@sandboxing
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="PATH", help="Also as .html, .md or .json.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def command(
    a: str,
    b: str,
    metric: str | None,
    tolerances: tuple[str, ...],
    replays: int,
    minutes: float | None,
    target: Path | None,
    as_json: bool,
    **sandbox: Any,
) -> int:
    """Find what of bundle B moves a metric from A's value to B's, by experiment.

    Both are replayed as they are. Then parts of B (code, packages, data, seeds, arguments, variables, base) are
    put into A and the mixture is replayed, half of the suspects at a time, until the smallest set is known that
    gives B's value. Two bundles prove it, one with only that set swapped and one with everything else swapped:
    anybody can replay them.

    \b
      runbook bisect good.runbook bad.runbook
      runbook bisect good.runbook bad.runbook --metric val_loss --tolerance 'val_loss=rel:1e-3'
      runbook bisect good.runbook bad.runbook --replays 10 -o why.html

    Every replay is kept: after Ctrl-C, or with a larger budget, the same command goes on where it was.

    Exit codes: 0 found, 2 no such bundle or metric, 3 A or B fails here, 4 its environment cannot be rebuilt,
    5 a bundle is corrupt or hostile, 6 something is missing here, 7 the budget ended before it was found, nothing
    that differs can be swapped, the metrics agree, or A or B does not reproduce here.
    """
    from dataclasses import replace

    from runbook.bounds import parse_tolerance
    from runbook.digest.atomic import write_atomic
    from runbook.flow.bisect import bisect
    from runbook.flow.trials import Budget
    from runbook.registry import members

    reporters = {one.suffix: one for one in members("report").values() if one.suffix in (".html", ".md", ".json")}
    if target is not None and target.suffix not in reporters:
        raise UsageError("no such format", target, hint=f"-o with an ending: {' '.join(sorted(reporters))}")
    choices = replace(choices_of(sandbox), tolerances=tuple(parse_tolerance(text) for text in tolerances))
    with cleaning_up():
        done = bisect(a, b, choices, Budget(replays, minutes), metric=metric or "", progress=TerminalProgress())
    if as_json:
        click.echo(members("report")["json"].render(done.report).decode(), nl=False)
    else:
        from runbook.report.terminal import write

        write(done.report, out())
    if target is not None:
        write_atomic(target, reporters[target.suffix].render(done.report))
        err().print(f"wrote {target}", markup=False, style="dim")
    return done.exit_code
