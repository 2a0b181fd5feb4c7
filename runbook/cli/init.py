"""`runbook init`: write a commented runbook.yaml from what was seen."""

from __future__ import annotations

from pathlib import Path

import click

from runbook.cli.console import err
from runbook.config import FILE_NAME
from runbook.errors import UsageError


@click.command()
@click.argument("run", required=False)
@click.option(
    "-o", "target", type=click.Path(path_type=Path), metavar="PATH", help="The file to write, - for stdout."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(run: str | None, target: Path | None, force: bool) -> None:
    """Write a runbook.yaml from what was seen in RUN, the last recorded run by default.

    \b
      runbook run -- python train.py
      runbook init
      runbook run

    It holds the command, inputs, outputs, metrics and seeds, each with a comment, and is valid as it stands.
    With no run recorded, every line is an example to uncomment.
    """
    from runbook.catalog.store import find_store
    from runbook.digest.atomic import write_atomic
    from runbook.flow.described import text

    store = find_store(Path.cwd())
    folder = store.load(run) if run else store.last_original() if store.list() else None
    record = folder.read() if folder else None
    here = store.root / record.job.cwd if record else Path.cwd()
    place = here / FILE_NAME if target is None else target
    if place == Path("-"):
        click.echo(text(record, Path.cwd()), nl=False)
        return
    if place.exists() and not force:
        raise UsageError(
            "it is there already", place, hint="--force replaces it, -o PATH writes another", id="exists"
        )
    if not place.parent.is_dir():
        raise UsageError("no such folder", place.parent, hint=f"mkdir -p {place.parent}", id="no-such-folder")
    write_atomic(place, text(record, place.parent).encode())
    what = f"what was seen of {record.run}" if record else "examples only: no run is recorded here"
    err().print(f"wrote {place}: {what}", markup=False)
