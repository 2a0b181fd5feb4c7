"""The terminal: data on stdout, everything else on stderr; NO_COLOR honoured; bars only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from runbook.model.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from runbook.flow.transfer import Moved


@cache
def out() -> Console:
    """stdout, for data."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@cache
def err() -> Console:
    """stderr, for everything else."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def show_json(value: Any) -> None:
    """Print a value as JSON on stdout, in ASCII: a text of a bundle must not steer the terminal that shows it."""
    import json

    import msgspec

    text = json.dumps(msgspec.to_builtins(value), indent=2, allow_nan=False)
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def show_moved(moved: Moved, as_json: bool) -> None:
    """Print what a push or a pull came to."""
    if as_json:
        show_json(moved)
        return
    there = moved.bytes - moved.moved
    lines = [
        f"bundle sha256:{moved.id}",
        f"{moved.path} = {moved.remote}",
        f"manifest {moved.manifest}",
        f"{moved.blobs} blobs, {moved.bytes:,} bytes: {moved.moved:,} moved, {there:,} were there",
    ]
    out().print(printable("\n".join(lines)), markup=False)


class TerminalProgress:
    """Progress on stderr: a bar on a terminal for anything over a second, quiet lines otherwise."""

    def say(self, text: str) -> None:
        """Print the step."""
        text = printable(text)
        if not sys.stderr.isatty():
            # The same text, without loading what styles it.
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
            return
        err().print(text, style="dim", markup=False)

    @contextmanager
    def bar(self, label: str, total: int | None, unit: str = "B") -> Iterator[Callable[[int], None]]:
        """A bar that appears after a second, and only on a terminal."""
        if not sys.stderr.isatty():
            yield lambda _n: None
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        column = DownloadColumn() if unit == "B" else MofNCompleteColumn()
        bar = Progress(
            TextColumn(label), BarColumn(), column, TimeRemainingColumn(), console=err(), transient=True
        )
        task = bar.add_task(label, total=total)
        begun, shown = time.monotonic(), False

        def advance(amount: int) -> None:
            nonlocal shown
            bar.advance(task, amount)
            if not shown and time.monotonic() - begun > 1:
                shown = True
                bar.start()

        try:
            yield advance
        finally:
            if shown:
                bar.stop()
