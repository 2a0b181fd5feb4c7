"""`runbook show`: a record in the terminal, every fact with its evidence or the reason why it is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook.errors import UsageError

if TYPE_CHECKING:
    from runbook.model.record import Record


@click.command()
@click.argument("what", metavar="BUNDLE|RUN", default="last")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@click.option("--files", is_flag=True, help="List the files instead: size and path.")
def command(what: str, as_json: bool, files: bool) -> None:
    """Print what a bundle or a recorded run says: job, outcome, code, environment, data, metrics, findings.

    RUN is a run's id, the beginning of one, or `last`.

    \b
      runbook show train.runbook
      runbook show last
      runbook show train.runbook --json | jq .metrics
    """
    import msgspec

    from runbook.cli.console import out
    from runbook.cli.record import blocks, line

    record, names, title = _open(what)
    if as_json:
        value: Any = {"files": dict(names())} if files else record
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
    elif files:
        for path, size in names():
            click.echo(f"{size:>14}  {line(path)}")
    else:
        if not out().is_terminal:
            out().width = 100_000  # In a pipe nothing is folded: a line is a fact.
        for block in blocks(record, title):
            out().print(block)


def _open(what: str) -> tuple[Record, Callable[[], list[tuple[str, int]]], str]:
    """The record, a function that lists the files as (path, size), and a line that says what it is."""
    path = Path(what)
    if path.exists():
        from runbook.bundle.read import open_bundle

        bundle = open_bundle(path)
        return bundle.record, lambda: sorted(bundle.files.items()), f"bundle sha256:{bundle.id}"
    if "/" in what or what.endswith((".runbook", ".zip")):
        raise UsageError("no such bundle", what, hint="runbook show last", id="no-such-bundle")
    from runbook.catalog.store import find_store

    run = find_store(Path.cwd()).load(what)
    found = (p for p in sorted(run.path.rglob("*")) if p.is_file() and not p.is_symlink())
    names = lambda: [(p.relative_to(run.path).as_posix(), p.stat().st_size) for p in found]  # noqa: E731
    return run.read(), names, f"run {run.id}, not frozen"
