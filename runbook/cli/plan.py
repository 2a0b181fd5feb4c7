"""What `replay --plan` prints: what would happen, what was looked at, and the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook.cli.console import out, show_json
from runbook.errors import RunbookError, UsageError

if TYPE_CHECKING:
    from runbook.model.preflight import Preflight


def show(preflight: Preflight, despite: tuple[str, ...], as_json: bool) -> int:
    """Print a plan; 0 when the replay can be done, else the exit code it would end with."""
    from runbook.flow.preflight import refuse

    stopped: RunbookError | None = None
    try:
        refuse(preflight, despite)
    except UsageError:
        raise
    except RunbookError as error:
        stopped = error
    if as_json:
        show_json(preflight)
    else:
        _print(preflight, stopped)
    return stopped.exit_code if stopped else 0


def _print(preflight: Preflight, stopped: RunbookError | None) -> None:
    """What would happen, then each check with what mends it, then the answer."""
    from runbook.model.text import printable

    console = out()
    console.print("What would happen", style="bold")
    for step in preflight.steps:
        console.print(f"  {printable(step)}", markup=False)
    console.print("\nWhat was looked at", style="bold")
    colours = {"ok": "green", "warning": "yellow"}
    for one in preflight.checks:
        needed = f" (needed: {printable(one.needed)})" if one.needed else ""
        console.print(f"  {one.state:<15}", style=colours.get(one.state, "red"), end="")
        console.print(f" {printable(one.what)}: {printable(one.found)}{needed}", markup=False)
        if one.hint and one.state != "ok":
            console.print(f"  {'':<15} -> {printable(one.hint)}", markup=False)
    answer = (
        f"it would end with exit code {stopped.exit_code}: {printable(str(stopped))}" if stopped else "it can run"
    )
    console.print(f"\nA replay here: {answer}", markup=False)
