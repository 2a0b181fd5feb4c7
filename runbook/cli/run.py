"""`runbook run`: run a job under observation and record it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook.cli.capture import freezing
from runbook.cli.console import TerminalProgress, err
from runbook.cli.options import declaration, declaring
from runbook.cli.summary import tell_recorded

if TYPE_CHECKING:
    from runbook.flow.run import Trace


@click.command(context_settings={"ignore_unknown_options": False})
@declaring
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop the job after so long; the record says so.")
@click.option(
    "--trace",
    type=click.Choice(["python", "native", "none"]),
    default="python",
    show_default=True,
    help="How the job is watched: inside its Python, by strace as well, or not.",
)
@click.option("--capture", is_flag=True, help="Freeze the run at once when the job has ended.")
@freezing
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD…")
def command(argv: tuple[str, ...], timeout: float | None, trace: Trace, capture: bool, **options: Any) -> int:
    """Run CMD as it is, with its output passed through, and record what decided its result.

    \b
      runbook run -- python train.py --lr 0.1
      runbook run --metric 'rmse=RMSE: ([0-9.]+)' --input data.csv -- python train.py
      runbook run --capture -o result.runbook -- python train.py

    The record lies in .runbook/ of the project; `runbook show` prints it, `runbook capture` freezes it.
    The exit code is the job's own.
    """
    from runbook.flow.codebase import find_root
    from runbook.flow.run import Request, run_and_record

    cwd = Path.cwd()
    root = find_root(cwd)
    choices = {name: options.pop(name) for name in ("target", "archive", "force", "offline")}
    said = declaration(root, cwd, options)
    request = Request(
        argv=argv or said.command, declaration=said, root=root, cwd=cwd, timeout=timeout, trace=trace
    )
    if capture and request.argv:
        from runbook.cli.capture import choices_of, tell
        from runbook.flow.capture import freeze, place
        from runbook.flow.codebase import default_name

        freezing_choices = choices_of(said, choices)
        place(said.name or default_name(request.argv), freezing_choices)  # Before the job is spent on it.
    ran = run_and_record(request)
    tell_recorded(ran.folder.id, ran.record)
    if capture:
        tell(freeze(ran.folder, freezing_choices, TerminalProgress()))
    elif ran.exit_code == 0:
        err().print(f"next: runbook capture {ran.folder.id}", markup=False, style="dim")
    return ran.exit_code
