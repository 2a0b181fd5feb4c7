"""A release as package indexes list it: every file, with its hash. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class IndexFile:
    """One file of a release, for whatever platform and Python."""

    filename: str
    url: str
    """Without the hash fragment."""
    sha256: str | None
    """Hex; None where the index does not tell it."""
    local: bool
    """On this machine's disk (find-links, `file://` index): nobody else has it."""
    requires_python: str = ""
    yanked: bool = False
    size: int | None = None
    """Bytes, where the index tells it (PEP 700)."""
    metadata_sha256: str | None = None
    """sha256 of the wheel's METADATA where the index tells it (PEP 658/714)."""

    @property
    def wheel(self) -> bool:
        """True for a wheel, False for a source archive."""
        return self.filename.endswith(".whl")

    @property
    def path(self) -> Path | None:
        """Where a local file lies."""
        return Path(unquote(urlsplit(self.url).path)) if self.local else None


@dataclass(frozen=True)
class Release:
    """All files of `name==version` on all indexes, sorted by file name; or why they could not be had."""

    name: str
    version: str
    files: tuple[IndexFile, ...] = ()
    problem: str = ""
    """The first index that failed and how; empty when all answered."""
    offline: bool = False
    """No connection at all, as opposed to an index that answered with an error."""
    hashes: tuple[str, ...] = ()
    """sha256 of every remote file, sorted, as pip-tools gives them; empty where the index tells not all."""

    @property
    def remote(self) -> tuple[IndexFile, ...]:
        """The files that other machines can fetch too."""
        return tuple(file for file in self.files if not file.local)
