"""The files of a run's trees, where they are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runbook.model.manifest import Entry

Read = Callable[[str, Entry], bytes | None]
"""The content of a small file: of the code for an empty name, else of the input of this name; None where it is not
at hand."""


def unread(_input: str, _entry: Entry) -> bytes | None:
    """No content is at hand."""
    return None


@dataclass(frozen=True)
class Manifests:
    """The files of a run's trees."""

    code: Sequence[Entry] | None = None
    inputs: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    """Input name → its files."""
    read: Read = unread
