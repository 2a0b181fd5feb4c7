"""`runbook calibrate`: replay a bundle several times and write it anew with what each metric gave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook.cli.console import TerminalProgress, err, out
from runbook.cli.sandbox import choices_of, cleaning_up, sandboxing, seeding, seeds_of

if TYPE_CHECKING:
    from runbook.flow.calibrate import Calibrated


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--repeats", type=click.IntRange(2, 1000), default=5, show_default=True, help="How many replays.")
@seeding
@sandboxing
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="PATH", help="[NAME-calibrated.runbook]")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print id, path and figures as JSON.")
def command(
    bundle: Path,
    repeats: int,
    chosen: str | None,
    draw_seeds: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
    **sandbox: Any,
) -> None:
    """Learn how far BUNDLE's metrics spread by themselves: replay it several times, and seal what came of it.

    A bundle never changes, so this writes a new one, with an id of its own, that names the one it came from.
    Later replays of the new one are judged by that spread: a single one is at best consistent with it, several
    (`runbook replay --repeats 5`) can be equivalent, within the margin that a tolerance declares.

    \b
      runbook calibrate train.runbook --repeats 5                 its own seeds: the machine's noise
      runbook calibrate train.runbook --repeats 5 --draw-seeds    other seeds: the training's noise too
      runbook calibrate train.runbook --seeds 1,2,3 --repeats 3 -o train-3.runbook

    Seeds are set only where the job declares them: in a flag such as --seed, or in SEED and its like.
    """
    from runbook.bundle.layout import SUFFIX, ZIP_SUFFIX
    from runbook.flow.calibrate import calibrate
    from runbook.flow.seeding import plan

    archive = (output or bundle).name.endswith(".zip")
    stem = bundle.name.removesuffix(".zip").removesuffix(SUFFIX)
    target = output or Path(f"{stem}-calibrated{ZIP_SUFFIX if archive else SUFFIX}")
    with cleaning_up():
        done = calibrate(
            bundle,
            choices_of(sandbox),
            plan(repeats, seeds_of(chosen), draw_seeds),
            target.absolute(),
            archive=archive,
            force=force,
            progress=TerminalProgress(),
        )
    if as_json:
        import msgspec

        value = {"bundle": str(done.path), "id": done.id, "calibration": done.calibration}
        click.echo(msgspec.json.encode(value).decode())
    else:
        _tell(done)
    err().print(f"next: runbook replay {done.path} --repeats 3", markup=False, style="dim")


def _tell(done: Calibrated) -> None:
    """The spread of each metric, as a table."""
    from runbook.report.terminal import calibrated

    console = out()
    console.print(f"calibrated {done.path}", markup=False, style="bold")
    console.print(f"  bundle id  {done.id}", markup=False)
    console.print(f"  made from  {done.calibration.of}", markup=False)
    console.print(calibrated(done.record))
