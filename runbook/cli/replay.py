"""`runbook replay`: verify, rebuild, rerun, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook.cli.console import TerminalProgress, out
from runbook.cli.sandbox import choices_of, cleaning_up, sandboxing, seeding, seeds_of
from runbook.errors import UsageError

if TYPE_CHECKING:
    from runbook.flow.replay import Choices, Replayed
    from runbook.progress import Progress


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--plan", is_flag=True, help="Print what would happen, and whether it can, and stop.")
@click.option(
    "--tolerance", "tolerances", multiple=True, metavar="NAME=abs:X,rel:Y…", help="Instead of the bundle's."
)
@click.option("--until", type=int, metavar="STEP", help="Spot check: stop there, and compare what was reached.")
@click.option("--repeats", type=click.IntRange(1, 1000), help="Replay so often, and judge all by statistics.")
@seeding
@sandboxing
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="DIR", help="Where reports and outputs go.")
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON on stdout.")
def command(
    bundle: Path,
    plan: bool,
    tolerances: tuple[str, ...],
    until: int | None,
    repeats: int | None,
    chosen: str | None,
    draw_seeds: bool,
    target: Path | None,
    as_json: bool,
    **sandbox: Any,
) -> int:
    """Rebuild BUNDLE's environment, rerun its job in a sandbox, and say whether the result is reproduced.

    \b
      runbook replay train.runbook
      runbook replay train.runbook --plan
      runbook replay train.runbook --until 500
      runbook replay train.runbook --data corpus=/data/corpus --tolerance 'val_*=rel:1e-3'
      runbook replay train.runbook --repeats 5 --draw-seeds      for a job that varies, after `runbook calibrate`

    A spot check (--until, --time-limit) compares how far the series got and says how far that was: `partial` where
    it agrees (0), different (1), nothing reached (7). It never says that the whole is reproduced.

    Exit codes: 0 reproduced, 1 different, 3 the job failed, 4 the environment could not be rebuilt,
    5 the bundle is corrupt or hostile, 6 something is missing here, 7 not comparable or inconclusive.
    """
    from dataclasses import replace

    from runbook.bounds import parse_tolerance
    from runbook.flow import replay as flow
    from runbook.registry import members

    choices = replace(
        choices_of(sandbox),
        tolerances=tuple(parse_tolerance(text) for text in tolerances),
        until=until,
        target=target.absolute() if target else None,
    )
    progress = TerminalProgress()
    if plan:
        from runbook.cli.plan import show

        return show(flow.plan(bundle, choices, progress), choices.despite, as_json)
    with cleaning_up():
        done = _replay(bundle, choices, repeats, seeds_of(chosen), draw_seeds, progress)
    if as_json:
        click.echo(members("report")["json"].render(done.report).decode(), nl=False)
    else:
        from runbook.report.terminal import write

        write(done.report, out())
    progress.say(f"report: {done.folder / 'report.html'}")
    return done.exit_code


def _replay(
    bundle: Path, choices: Choices, repeats: int | None, seeds: tuple[int, ...], draw: bool, progress: Progress
) -> Replayed:
    """Once, or as often as asked for. A time limit makes a spot check of one replay; of several it fails those."""
    from dataclasses import replace

    from runbook.flow.replay import replay

    if repeats is None and not seeds and not draw:
        limits = replace(choices.limits, time_s=None)
        return replay(bundle, replace(choices, limits=limits, time_limit_s=choices.limits.time_s), progress)
    from runbook.flow.repeat import replay_repeatedly

    if choices.until is not None:
        raise UsageError("a spot check is one replay", "--until", hint="leave out --repeats and seeds", id="until")

    return replay_repeatedly(bundle, choices, repeats or len(seeds) or 1, seeds, draw, progress)
