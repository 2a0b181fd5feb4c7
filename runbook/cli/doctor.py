"""`runbook doctor`: what this machine can capture and replay, what is missing, and what mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runbook.cli.machine import Check


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(as_json: bool) -> int:
    """Look at this machine: engines, git, GPU, package index, disk, memory, caches.

    \b
      runbook doctor                                   a table, with what mends what
      runbook doctor --json | jq '.checks[] | select(.state != "ok")'

    Exit code 0 when bundles can be captured and replayed here with some engine, 6 when not.
    """
    from runbook.cli.console import show_json
    from runbook.cli.machine import look

    checks = list(look())
    can_replay = any(check.name.startswith("engine ") and check.state != "missing" for check in checks)
    # Capturing needs nothing but what is installed with runbook: git and an index only make more of it observed.
    if as_json:
        document = {"capture": True, "replay": can_replay, "checks": [asdict(check) for check in checks]}
        show_json(document)
    else:
        _print(checks, can_replay)
    return 0 if can_replay else 6


def _print(checks: list[Check], can_replay: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from runbook.cli.console import out
    from runbook.model.text import printable

    colours = {"ok": "green", "warning": "yellow", "missing": "red"}
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "for", "found"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        found = Text(printable(check.found))
        if check.mend:
            found.append(f"\n-> {printable(check.mend)}", style="bold")
        table.add_row(Text(check.state, style=colours[check.state]), check.name, check.serves, found)
    if out().is_terminal:
        out().print(table)
    else:  # In a pipe nothing is folded or padded: a line is a finding.
        out().width = 100_000
        with out().capture() as text:
            out().print(table)
        click.echo("\n".join(line.rstrip() for line in text.get().splitlines()))
    can = "can capture and replay" if can_replay else "can capture, but it cannot replay"
    out().print(f"\nThis machine {can} bundles.", markup=False)
