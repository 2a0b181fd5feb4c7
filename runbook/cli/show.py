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
@click.option("--files", is_flag=True, help="What the job touched instead: what it is taken for, and why.")
@click.option("--contents", is_flag=True, help="What the bundle or run folder holds instead: size and path.")
def command(what: str, as_json: bool, files: bool, contents: bool) -> None:
    """Print what a bundle or a recorded run says: job, outcome, code, environment, data, metrics, findings.

    RUN is a run's id, the beginning of one, or `last`.

    \b
      runbook show train.runbook
      runbook show last
      runbook show --files
      runbook show train.runbook --json | jq .metrics
    """
    from runbook.cli.console import out, show_json
    from runbook.cli.record import blocks, line

    record, names, title = _open(what)
    if as_json:
        value: Any = {"contents": dict(names())} if contents else {"files": record.files} if files else record
        show_json(value)
    elif contents:
        for path, size in names():
            click.echo(f"{size:>14}  {line(path)}")
    elif files:
        _list_files(record)
    else:
        if not out().is_terminal:
            out().width = 100_000  # In a pipe nothing is folded: a line is a fact.
        for block in blocks(record, title):
            out().print(block)


def _list_files(record: Record) -> None:
    """What the job touched, by kind: the inputs and outputs first."""
    from rich.table import Table
    from rich.text import Text

    from runbook.cli.console import out
    from runbook.cli.record import line

    if record.watch.value is None:
        raise UsageError(
            "nothing is known of this run's files", record.watch.reason, hint="runbook run -- CMD watches"
        )
    table = Table(box=None, show_header=True, header_style="bold", pad_edge=False)
    for name, style in (("kind", ""), ("path", ""), ("files", ""), ("why", "dim")):
        table.add_column(name, style=style, overflow="fold")
    order = ("input", "output", "code", "package", "cache", "noise")
    styles = {"input": "cyan", "output": "green", "noise": "dim"}
    for one in sorted(record.files, key=lambda f: (order.index(f.kind), f.path)):
        count = str(one.files) if one.files > 1 else ""
        cells = (one.kind, one.path, count, one.why + (f" ({one.source})" if one.source else ""))
        table.add_row(*(Text(line(cell)) for cell in cells), style=styles.get(one.kind, ""))
    if not out().is_terminal:
        out().width = 100_000
    out().print(table)
    for text in record.watch.value.lost:
        out().print(Text(f"not seen: {line(text)}", style="yellow"))


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
