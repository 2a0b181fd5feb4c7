"""The text of a tree manifest: one line `SHA256 SIZE PATH` a file, sorted by path, LF.

A tree's digest is the sha256 of these bytes, so `sha256sum` alone can check it.
Paths are relative POSIX paths in UTF-8 without control characters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple


class Entry(NamedTuple):
    """One regular file of a tree: its relative POSIX path, size in bytes and sha256 in hex."""

    path: str
    size: int
    sha256: str


_LINE = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]{0,18}) ([^\x00-\x1f\x7f]+)")


def render(entries: Iterable[Entry]) -> bytes:
    """The manifest of these files. Order of the argument does not matter."""
    return b"".join(_blocks(entries))


def tree_digest(entries: Iterable[Entry]) -> str:
    """The digest of the manifest of these files, without holding its text."""
    digest = hashlib.sha256()
    for block in _blocks(entries):
        digest.update(block)
    return digest.hexdigest()


def _blocks(entries: Iterable[Entry]) -> Iterator[bytes]:
    # Strings sort by code point, which is how their UTF-8 bytes sort.
    ordered = sorted(entries, key=itemgetter(0))
    for start in range(0, len(ordered), 4096):
        lines = [f"{sha256} {size} {path}\n" for path, size, sha256 in ordered[start : start + 4096]]
        yield "".join(lines).encode()


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
