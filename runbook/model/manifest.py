"""The text of a tree manifest: one line `SHA256 SIZE PATH` a file, sorted by path, LF.

A tree's digest is the sha256 of these bytes, so `sha256sum` alone can check it.
Paths are relative POSIX paths in UTF-8 without control characters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """One regular file of a tree: its relative POSIX path, size in bytes and sha256 in hex."""

    path: str
    size: int
    sha256: str


_LINE = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]{0,18}) ([^\x00-\x1f\x7f]+)")


def render(entries: Iterable[Entry]) -> bytes:
    """The manifest of these files. Order of the argument does not matter."""
    ordered = sorted(entries, key=lambda e: e.path.encode())
    return "".join([f"{e.sha256} {e.size} {e.path}\n" for e in ordered]).encode()


def parse(text: bytes) -> list[Entry]:
    """The files of a manifest. Raises ValueError naming the first line that is not one."""
    entries = []
    for number, line in enumerate(text.decode().split("\n")[:-1] if text else [], 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not `SHA256 SIZE PATH`")
        entries.append(Entry(match[3], int(match[2]), match[1]))
    if text and not text.endswith(b"\n"):
        raise ValueError("the last line is not ended")
    return entries


def digest(manifest: bytes) -> str:
    """The tree digest: sha256, hex, of the manifest's bytes."""
    return hashlib.sha256(manifest).hexdigest()
