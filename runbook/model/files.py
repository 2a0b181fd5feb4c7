"""What the job did with files, sorted: every path with its kind and the reason for it."""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Value

FileKind = Literal["code", "package", "input", "output", "cache", "noise"]


class SeenFile(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One path that the job touched, or many of one folder together."""

    path: str
    """Relative to the root when inside it, else absolute."""
    kind: FileKind
    why: str
    """One phrase: the reason for the kind."""
    files: int = 1
    """How many files stand behind this line; more than one: `path` is their folder, or a package's name."""
    read: bool = False
    written: bool = False
    first: Literal["read", "written"] = "read"
    readers: tuple[int, ...] = ()
    """Numbers of the processes that read it (see runbook.model.watch), the first few."""
    writers: tuple[int, ...] = ()
    source: str = ""
    """The URL that it was fetched from while the job ran."""


class ReadOrder(Value, frozen=True, kw_only=True, omit_defaults=True):
    """In which order one process first opened the inputs of one folder: as it was listed, sorted or shuffled."""

    path: str
    """The folder: relative to the root when inside it, else absolute."""
    files: int
    digest: str
    """sha256 of their names in that order, each with a line feed."""
    members: str
    """The same of their sorted names."""
    first: tuple[str, ...] = ()
    """The first few names."""

    @property
    def by_name(self) -> bool:
        """Whether it is the order of their names."""
        return self.digest == self.members
