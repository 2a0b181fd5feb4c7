"""What a format of output files is: how it is known, and how two files of it are compared.

A new format is one new file beside this one with a module-level `MEMBER`. It runs in a process of its own, with
limits (`worker`): the files are a stranger's. It reads, in bounded memory, and executes nothing that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Protocol

from runbook.model.artifact import PARTS_CAP, Part, short

NO, FALLBACK, ENDING, CONTENT, SURE = range(5)
"""How sure a format is that a file is its own: the surest gets it."""

EXTRA: Final = "artifacts"
"""The optional dependencies that formats need."""


class Unreadable(ValueError):
    """The file is not what it seems, or too large or too odd to be read; the text says what, in a few words."""


@dataclass(frozen=True)
class Found:
    """What two files of one format have not in common."""

    parts: tuple[Part, ...]
    """Those that differ, in the first file's order, at most PARTS_CAP."""
    differing: int
    of: int
    unit: str
    remarks: tuple[str, ...] = ()
    """What differs and is no content: metadata, the order of keys; what was not compared."""


class Format(Protocol):
    """One format."""

    @property
    def name(self) -> str:
        """`numpy`, `pytorch`, `csv` …"""

    @property
    def modules(self) -> Sequence[str]:
        """Modules of the extra without which it can only compare bytes."""

    def claims(self, path: str, head: bytes) -> int:
        """How sure it is, by the file's name and its first 4096 bytes."""

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Compare two regular files, open without a buffer. Raises Unreadable, MemoryError and OSError."""


@dataclass
class Parts:
    """Collects what differs: the first are kept, all are counted."""

    unit: str
    kept: list[Part] = field(default_factory=list)
    differing: int = 0
    of: int = 0
    remarks: list[str] = field(default_factory=list)

    def add(self, part: Part) -> None:
        """One that differs."""
        self.differing += 1
        if len(self.kept) < PARTS_CAP:
            self.kept.append(part)

    def found(self) -> Found:
        """The outcome."""
        return Found(tuple(self.kept), self.differing, self.of, self.unit, tuple(self.remarks))


def one_sided(name: str, *, original: bool) -> Part:
    """A part that only one side has."""
    return Part(name=short(name), note=f"only in the {'original' if original else 'second'}")


def metadata(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """A remark on what differs in the metadata of two files, which is no content; none where nothing does."""
    changed = [key for key in dict.fromkeys([*a, *b]) if repr(a.get(key)) != repr(b.get(key))]
    if not changed:
        return []
    shown = [f"{short(key)} {short(str(a.get(key, '–')))} → {short(str(b.get(key, '–')))}" for key in changed[:3]]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return [f"metadata differs: {', '.join(shown)}{more}"]
