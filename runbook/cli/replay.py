"""`runbook replay`: verify, rebuild, rerun, compare, report."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from runbook.cli.console import TerminalProgress, out
from runbook.cli.options import data_places
from runbook.errors import Terminated


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
@click.option("--time-limit", type=float, metavar="SECONDS", help="Stop the job after so long.")
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
    time_limit: float | None,
    target: Path | None,
    as_json: bool,
) -> int:
    """Rebuild BUNDLE's environment, rerun its job in a sandbox, and say whether the result is reproduced.

    \b
      runbook replay train.runbook
      runbook replay train.runbook --plan
      runbook replay train.runbook --data corpus=/data/corpus --tolerance 'val_*=rel:1e-3'

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
        data=data_places(data),
        limits=Limits(
            memory_bytes=None if memory is None else config.parse_size(memory), cpus=cpus, time_s=time_limit
        ),
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
