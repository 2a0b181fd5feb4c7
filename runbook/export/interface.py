"""What an exporter is: one standard document for other tools.

A new format is one new file beside this one with a module-level `MEMBER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runbook.model.manifest import Entry
from runbook.model.record import Record


@dataclass(frozen=True)
class Payload:
    """A record and the files that stand beside it in the bundle."""

    record: Record
    files: Sequence[Entry]
    """Paths relative to `data/`."""
    bundle_id: str = ""
    """sha256, hex, of the bundle's manifest; empty while it is not sealed: it cannot be in a file of its own."""


class Exporter(Protocol):
    """One format."""

    @property
    def name(self) -> str:
        """`ro-crate` …"""

    @property
    def suffix(self) -> str:
        """File name ending."""

    def export(self, payload: Payload) -> bytes:
        """The document."""
