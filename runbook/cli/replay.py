"""`runbook replay`: verify, rebuild, rerun, compare, report."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from runbook.cli.console import TerminalProgress, out
from runbook.errors import Terminated, UsageError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--engine", default="auto", help="docker, local … [auto: a sandbox where there is one, else local]")
@click.option("--plan", is_flag=True, help="Print what would happen, and whether it can, and stop.")
@click.option(
    "--tolerance", "tolerances", multiple=True, metavar="NAME=abs:X,rel:Y", help="Instead of the bundle's."
)
@click.option(
    "--data", multiple=True, metavar="NAME=PATH", help="Where a referenced input lies: a path here, or a URL."
)
@click.option("--allow-network", is_flag=True, help="A visible weakening: the job may reach the network.")
@click.option(
    "--offline", is_flag=True, help="Ask no index, registry or place of data; use the bundle and the caches."
)
@click.option("--despite", multiple=True, metavar="CHECK", help="Replay although this check of --plan fails.")
@click.option("--memory", metavar="SIZE", help="Memory limit of the job.")
@click.option("--cpus", type=float, help="CPU limit of the job.")
@click.option("--until", type=int, metavar="STEP", help="Spot check: stop there, and compare what was reached.")
@click.option("--time-limit", type=float, metavar="SECONDS", help="Spot check: stop the job after so long.")
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="DIR", help="Where reports and outputs go.")
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON on stdout.")
def command(
    bundle: Path,
    engine: str,
    plan: bool,
    tolerances: tuple[str, ...],
    data: tuple[str, ...],
    allow_network: bool,
    offline: bool,
    despite: tuple[str, ...],
    memory: str | None,
    cpus: float | None,
    until: int | None,
    time_limit: float | None,
    target: Path | None,
    as_json: bool,
) -> int:
    """Rebuild BUNDLE's environment, rerun its job in a sandbox, and say whether the result is reproduced.

    \b
      runbook replay train.runbook
      runbook replay train.runbook --plan
      runbook replay train.runbook --until 500
      runbook replay train.runbook --data corpus=/data/corpus --tolerance 'val_*=rel:1e-3'

    A spot check (--until, --time-limit) compares how far the series got and says how far that was: `partial` where
    it agrees (0), different (1), nothing reached (7). It never says that the whole is reproduced.

    Exit codes: 0 reproduced, 1 different, 3 the job failed, 4 the environment could not be rebuilt,
    5 the bundle is corrupt or hostile, 6 something is missing here, 7 not comparable.
    """
    from runbook import config
    from runbook.engine.interface import Limits
    from runbook.flow import replay as flow
    from runbook.registry import members

    choices = flow.Choices(
        engine=engine,
        tolerances=tuple(config.parse_tolerance(text) for text in tolerances),
        data=dict(_data(text) for text in data),
        limits=Limits(memory_bytes=None if memory is None else config.parse_size(memory), cpus=cpus),
        until=until,
        time_limit_s=time_limit,
        network=allow_network,
        offline=offline,
        despite=despite,
        target=target.absolute() if target else None,
    )
    progress = TerminalProgress()
    if plan:
        from runbook.cli.plan import show

        return show(flow.plan(bundle, choices, progress), despite, as_json)
    with _cleaning_up():
        done = flow.replay(bundle, choices, progress)
    if as_json:
        click.echo(members("report")["json"].render(done.report).decode(), nl=False)
    else:
        from runbook.report.terminal import write

        write(done.report, out())
    progress.say(f"report: {done.folder / 'report.html'}")
    return done.exit_code


@contextmanager
def _cleaning_up() -> Iterator[None]:
    """Let SIGTERM end a replay as Ctrl-C does, so that no container stays behind; an ignored one stays ignored."""
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _data(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise UsageError("not a place for data", text, hint="--data NAME=PATH", id="data-option")
    return name, path
