"""`runbook run`: run a job under observation and record it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook.cli.capture import FREEZING, freezing
from runbook.cli.console import TerminalProgress, err
from runbook.cli.options import declaration, declaring, rebased
from runbook.cli.summary import tell_recorded
from runbook.config import Declaration
from runbook.errors import UsageError

if TYPE_CHECKING:
    from runbook.flow.run import Trace

_OPTIONS = {
    "target": "-o",
    "archive": "--zip",
    "carry": "--self-contained or --thin",
    "chosen": "--seeds",
    "draw_seeds": "--draw-seeds",
}
"""Options of a bundle whose parameter is called otherwise."""


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
@click.option(
    "--stages", "dvc", type=click.Path(path_type=Path), metavar="DVC.YAML", help="Run the stages of a dvc.yaml."
)
@click.option("--capture", is_flag=True, help="Freeze the run at once when the job has ended.")
@freezing
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD…")
def command(
    argv: tuple[str, ...], timeout: float | None, trace: Trace, dvc: Path | None, capture: bool, **options: Any
) -> int:
    """Run CMD as it is, with its output passed through, and record what decided its result.

    \b
      runbook run -- python train.py --lr 0.1
      runbook run --metric 'rmse=RMSE: ([0-9.]+)' --input data.csv -- python train.py
      runbook run --capture -o result.runbook -- python train.py
      runbook run --capture --repeats 5 -- python train.py      and seal how far it varies

    Without CMD it runs the `command` or the `stages` of runbook.yaml; --stages those of a dvc.yaml.
    The record lies in .runbook/ of the project; `runbook show` prints it, `runbook capture` freezes it.
    The exit code is the job's own.
    """
    from runbook.flow import stages
    from runbook.flow.codebase import find_root
    from runbook.flow.run import Request, run_and_record

    cwd = Path.cwd()
    root = find_root(cwd)
    choices = {name: options.pop(name) for name in FREEZING}
    said = _job(declaration(root, cwd, options), argv, dvc, root)
    request = Request(
        argv=stages.command(said),
        declaration=said,
        root=root,
        cwd=stages.folder(said, root, cwd),
        timeout=timeout,
        trace=trace,
    )
    if not capture and any(choices.values()):
        given = ", ".join(_OPTIONS.get(name, f"--{name}") for name, value in choices.items() if value)
        raise UsageError("an option of a bundle, and none is made", given, hint="add --capture", id="no-capture")
    if capture and request.argv:
        from runbook.cli.capture import choices_of, frozen, repeats_of, tell
        from runbook.flow.capture import place
        from runbook.flow.codebase import default_name

        freezing_choices, repeats = choices_of(said, choices), repeats_of(choices)
        place(said.name or default_name(request.argv), freezing_choices)  # Before the job is spent on it.
    ran = run_and_record(request)
    tell_recorded(ran.folder.id, ran.record)
    if capture:
        if repeats and ran.exit_code:
            err().print("the job failed: it is frozen as it is, without repeats", style="dim")
            repeats = None
        tell(frozen(ran.folder, freezing_choices, repeats, TerminalProgress()))
    elif ran.exit_code == 0:
        err().print(f"next: runbook capture {ran.folder.id}", markup=False, style="dim")
    return ran.exit_code


def _job(said: Declaration, argv: tuple[str, ...], dvc: Path | None, root: Path) -> Declaration:
    """The declaration with the one job that is meant: CMD, else --stages, else what runbook.yaml says."""
    import msgspec

    if argv and dvc:
        raise UsageError("a command and --stages", dvc, hint="give one of them", id="stages")
    if argv:
        return msgspec.structs.replace(said, command=argv, stages=())
    if dvc:
        from runbook.dvc import read

        stages = rebased(Declaration(stages=read(dvc)), root, dvc.absolute().parent).stages
        if stages[0].folder.startswith("/"):
            raise UsageError("a dvc.yaml outside of the project", dvc, hint=f"cd {dvc.parent}", id="stages")
        return msgspec.structs.replace(said, command=(), stages=stages)
    if not said.command and not said.stages and Path("dvc.yaml").is_file():
        hint = "runbook run --stages dvc.yaml, or: runbook run -- dvc repro"
        raise UsageError("no command to run", hint=hint, id="no-command")
    return said
