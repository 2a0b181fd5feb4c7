"""`runbook capture`: freeze a recorded or declared run into a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runbook.cli.console import TerminalProgress, err, out
from runbook.cli.options import declaration, declaring
from runbook.cli.sandbox import cleaning_up, seeding, seeds_of
from runbook.config import Declaration
from runbook.errors import UsageError

if TYPE_CHECKING:
    from runbook.catalog.store import RunFolder
    from runbook.flow.capture import Captured, Choices
    from runbook.flow.seeding import Plan
    from runbook.model.carrying import Carry
    from runbook.progress import Progress

_OF_A_RUN = {
    "--name": "name",
    "--experiment": "experiment",
    "--input": "inputs",
    "--output": "outputs",
    "--metrics": "metrics",
    "--metric": "patterns",
    "--no-metric": "drops",
    "--seed": "seeds",
    "--env": "env",
    "--code": "code",
    "--python": "python",
}
"""Options that say what a run is, not how it is frozen."""

F = TypeVar("F", bound=Callable[..., Any])

FREEZING = ("target", "archive", "force", "carry", "offline", "repeats", "chosen", "draw_seeds")
"""Parameters that `freezing` adds."""

_FREEZING = (
    click.option("-o", "target", type=click.Path(path_type=Path), metavar="PATH", help="The bundle to write."),
    click.option("--zip", "archive", is_flag=True, help="One file NAME.runbook.zip instead of a folder."),
    click.option("--force", is_flag=True, help="Replace a bundle that is there."),
    click.option(
        "--self-contained",
        "carry",
        flag_value="all",
        help="Carry all wheels, the base and all inputs: it replays with no network and no registry.",
    ),
    click.option(
        "--thin", "carry", flag_value="none", help="Carry no wheel, base or input: only digests and sources."
    ),
    click.option("--offline", is_flag=True, help="Ask no index and no registry; carry what they would give."),
    click.option(
        "--repeats", type=click.IntRange(2, 1000), help="Calibrate: replay it so often and seal the spread."
    ),
)


def freezing(command: F) -> F:
    """Add the options that say how a bundle is written."""
    command = seeding(command)
    for option in reversed(_FREEZING):
        command = option(command)
    return command


def choices_of(said: Declaration, options: dict[str, Any]) -> Choices:
    """How to freeze, from the declaration and the options."""
    from runbook.config import EMBED_LIMIT
    from runbook.flow.capture import Choices

    target: Path | None = options["target"]
    carry: Carry = options["carry"] or "needed"
    limit = 0 if carry == "none" else EMBED_LIMIT
    return Choices(
        target=target.absolute() if target else None,
        archive=options["archive"] or bool(target and target.name.endswith(".zip")),
        force=options["force"],
        offline=options["offline"],
        image=said.image,
        redact=bool(said.redact),
        carry=carry,
        embed_limit=limit if said.embed_limit is None else said.embed_limit,
        tolerances=said.tolerances,
        sources=dict(_source(text) for text in options.get("sources", ())),
    )


@click.command()
@click.argument("run", default="last")
@click.option("--command", "line", metavar="'CMD…'", help="Freeze a run of this command that was not observed.")
@click.option("--log", type=click.Path(path_type=Path), help="With --command: its saved standard output.")
@click.option(
    "--source", "sources", multiple=True, metavar="NAME=URL", help="Where others can have an input from."
)
@declaring
@freezing
@click.option("--json", "as_json", is_flag=True, help="Print id, path and sizes as JSON.")
def command(
    run: str,
    line: str | None,
    log: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Freeze RUN, the last recorded run by default, into a bundle. Never executes the job, unless --repeats
    asks for replays in the sandbox (see `runbook calibrate`).

    \b
      runbook capture                                    the last run
      runbook capture -o result.runbook --image python:3.11-slim
      runbook capture --embed-limit 0 --source train.csv=https://data.example/train.csv
      runbook capture --self-contained                   for a machine with no network, or in ten years
      runbook capture --command "python train.py" --log train.log --metric 'rmse=RMSE: ([0-9.]+)'
    """
    from runbook.catalog.store import find_store
    from runbook.flow.codebase import find_root
    from runbook.flow.run import Request, declare_and_record

    cwd = Path.cwd()
    root = find_root(cwd)
    choices = {name: options.pop(name) for name in (*FREEZING, "sources")}
    late = [name for name, option in _OF_A_RUN.items() if options[option]] + (["--log"] if log else [])
    said = declaration(root, cwd, options)
    progress = TerminalProgress()
    if line is not None or ((said.command or said.stages) and not find_store(cwd).list()):
        import msgspec

        from runbook.config import parse_command
        from runbook.flow import stages

        if line is not None:
            said = msgspec.structs.replace(said, command=parse_command(line), stages=())
        job_folder = stages.folder(said, root, cwd)
        request = Request(argv=stages.command(said), declaration=said, root=root, cwd=job_folder, log=log)
        folder = declare_and_record(request, progress).folder
    elif late:
        hint = "give it to `runbook run`, or declare an unobserved run with --command"
        raise UsageError("a recorded run cannot be declared afterwards", ", ".join(late), hint=hint, id="late")
    else:
        folder = find_store(cwd).last_original() if run == "last" else find_store(cwd).load(run)
    captured = frozen(folder, choices_of(said, choices), repeats_of(choices), progress)
    tell(captured)
    if as_json:
        import msgspec

        out().print(msgspec.json.encode(captured.summary()).decode(), markup=False)


def _source(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not name or not equals or "://" not in url:
        raise UsageError("not the source of an input", text, hint="--source NAME=URL", id="source-option")
    return name, url


def repeats_of(options: dict[str, Any]) -> Plan | None:
    """The repeats that are asked for, and their seeds. Raises UsageError, which is best before a job is run."""
    from runbook.flow.seeding import plan

    if options["repeats"] is not None:
        return plan(options["repeats"], seeds_of(options["chosen"]), options["draw_seeds"])
    if options["chosen"] or options["draw_seeds"]:
        hint = "--repeats 5 replays five times"
        raise UsageError("seeds without repeats", "--repeats", hint=hint, id="seeds")
    return None


def frozen(folder: RunFolder, how: Choices, repeats: Plan | None, progress: Progress) -> Captured:
    """Freeze a run; with repeats, calibrate it by the default engine before anything is sealed for good."""
    from runbook.flow.capture import freeze

    if repeats is None:
        return freeze(folder, how, progress)
    from runbook.flow import replay
    from runbook.flow.calibrate import freeze_calibrated

    with cleaning_up():
        return freeze_calibrated(folder, how, repeats, replay.Choices(offline=how.offline), progress)


def tell_carried(sizes: Mapping[str, int], lacks: Sequence[str]) -> None:
    """Say on stderr what a bundle's parts weigh, and what a replay has to find elsewhere."""
    from rich.filesize import decimal

    for label, size in sizes.items():
        err().print(f"  {label:<12} {decimal(size)}", markup=False)
    for text in lacks:
        err().print(f"  not carried  {text}", markup=False)
    if not lacks:
        err().print("  not carried  nothing: it is self-contained", markup=False)


def tell(captured: Captured) -> None:
    """Say on stderr what was frozen and what a reader should know."""
    console = err()
    console.print(f"captured {captured.path}", markup=False, style="bold")
    console.print(f"  bundle id    {captured.id}", markup=False)
    console.print(f"  base         {captured.base}", markup=False)
    console.print(f"  lock         {captured.lock}", markup=False)
    tell_carried(captured.sizes, captured.lacks)
    for finding in captured.findings:
        console.print(f"  {finding.level}: {finding.text}", markup=False, style="dim")
    console.print(f"next: runbook replay {captured.path}", markup=False, style="dim")
