"""How long work reports progress, without knowing who shows it.

The steps take a `Progress`; the command line plugs in a terminal one. `SILENT` is the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Receives what a long step is doing."""

    def say(self, text: str) -> None:
        """Announce the start of a step, in a few words."""

    def bar(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Callable[[int], None]]:
        """Open a bar of `total` units (None: unknown); the callable advances it by so many."""


class Silent:
    """A progress that shows nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def bar(self, label: str, total: int | None, unit: str = "B") -> Iterator[Callable[[int], None]]:
        """Show nothing; the callable takes what it is given."""
        yield lambda _n: None


SILENT: Progress = Silent()
