"""`runbook replay`: verify, rebuild, rerun, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook.cli.console import TerminalProgress, out
from runbook.cli.sandbox import choices_of, cleaning_up, sandboxing, seeding, seeds_of
from runbook.errors import UsageError

if TYPE_CHECKING:
    from runbook.flow.repeat import Wanted
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
@click.option("--twice", is_flag=True, help="Replay twice: does the job give the same here at all, bit for bit?")
@click.option(
    "--vary", "varied", metavar="LIST", help="Then change one thing at a time: threads,hashseed,… or all."
)
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
    twice: bool,
    varied: str | None,
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
      runbook replay train.runbook --twice                       is it deterministic here at all?
      runbook replay train.runbook --vary threads,hashseed,order,time

    A spot check (--until, --time-limit) compares how far the series got and says how far that was: `partial` where
    it agrees (0), different (1), nothing reached (7). It never says that the whole is reproduced.

    --vary replays twice as it is, then once for each of threads, hashseed, order (of folder listings), time (the
    clock), timezone, locale, user, environment (a variable more) and path, and names what the job is sensitive to.
    Sensitivity is no failure: the exit code is that of the unchanged replays.

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
    wanted = _wanted(repeats, twice, varied, seeds_of(chosen), draw_seeds)
    with cleaning_up():
        done = _replay(bundle, choices, wanted, progress)
    if as_json:
        click.echo(members("report")["json"].render(done.report).decode(), nl=False)
    else:
        from runbook.report.terminal import write

        write(done.report, out())
    progress.say(f"report: {done.folder / 'report.html'}")
    return done.exit_code


def _wanted(
    repeats: int | None, twice: bool, varied: str | None, seeds: tuple[int, ...], draw: bool
) -> Wanted | None:
    """How often to replay; None for once. Raises UsageError for options that ask for different things."""
    from runbook.flow.repeat import Wanted
    from runbook.flow.variations import chosen

    if not twice and varied is None:
        return Wanted(repeats or len(seeds) or 1, seeds, draw) if repeats is not None or seeds or draw else None
    given = "--twice" if varied is None else "--vary"
    if seeds or draw:
        hint = "leave out --seeds and --draw-seeds: whether a job repeats itself is asked with its own seeds"
        raise UsageError(f"{given} with other seeds", hint=hint, id="twice")
    if repeats is not None and (twice or repeats < 2):
        hint = "give one of them" if twice else "--repeats 2 or more: one run shows no difference"
        raise UsageError(f"{given} with --repeats", repeats, hint=hint, id="twice")
    return Wanted(repeats or 2, own=True, vary=chosen(varied) if varied is not None else ())


def _replay(bundle: Path, choices: Choices, wanted: Wanted | None, progress: Progress) -> Replayed:
    """Once, or as often as asked for. A time limit makes a spot check of one replay; of several it fails those."""
    from dataclasses import replace

    from runbook.flow.replay import replay

    if wanted is None:
        limits = replace(choices.limits, time_s=None)
        return replay(bundle, replace(choices, limits=limits, time_limit_s=choices.limits.time_s), progress)
    from runbook.flow.repeat import replay_repeatedly

    if choices.until is not None:
        hint = "leave out --repeats, --twice, --vary and seeds"
        raise UsageError("a spot check is one replay", "--until", hint=hint, id="until")

    return replay_repeatedly(bundle, choices, wanted, progress)
