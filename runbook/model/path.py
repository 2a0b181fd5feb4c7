"""Names that a bundle can hold: relative POSIX paths that mean the same on every file system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

MAX_BYTES: Final = 240
"""Longest name inside a bundle, in UTF-8 bytes."""

MAX_DEPTH: Final = 32
"""Most components of a name inside a bundle."""

_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Defect(NamedTuple):
    """What is wrong with a name: a stable id and a sentence's end."""

    id: str
    text: str


def text_defect(name: str) -> Defect | None:
    """What keeps a name out of any manifest, wherever the file is kept; None when nothing does."""
    if name.isascii() and name.isprintable() and "\\" not in name:
        return None
    for character in name:
        category = unicodedata.category(character)
        if category == "Cs":
            return Defect("bad-name", "is not UTF-8")
        if category in ("Cc", "Zl", "Zp"):
            return Defect("bad-name", "holds a control character")
        if character in _BIDI:
            return Defect("bad-name", "holds a bidirectional control character")
        if character == "\\":
            return Defect("bad-name", "holds a backslash")
    return None


def defect(name: str) -> Defect | None:
    """What keeps a name out of a bundle; None when it can be held."""
    parts = name.split("/")
    if name.startswith("/"):
        return Defect("path-escape", "is absolute")
    if ".." in parts:
        return Defect("path-escape", "climbs out with `..`")
    if "" in parts or "." in parts:
        return Defect("bad-name", "has an empty or `.` component")
    if wrong := text_defect(name):
        return wrong
    if "%" in name:
        # RFC 8493 wants %25 in a manifest, sha256sum and bagit.py the name itself: no bag pleases all three.
        return Defect("bad-name", "holds a percent sign")
    if name[-1].isspace():
        return Defect("bad-name", "ends with a space")
    if len(name.encode()) > MAX_BYTES:
        return Defect("name-too-long", f"is longer than {MAX_BYTES} bytes")
    if len(parts) > MAX_DEPTH:
        return Defect("too-deep", f"has more than {MAX_DEPTH} components")
    return None


def collision(names: Iterable[str]) -> tuple[str, str] | None:
    """Two paths that some file system takes for one (letter case, Unicode form, file and folder), or None."""
    spelt: dict[str, str] = {}
    folders: set[str] = set()
    for name in names:
        if (other := spelt.setdefault(_folded(name), name)) is not name:
            return other, name
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            if (other := spelt.setdefault(_folded(folder), folder)) is not folder:
                return other, folder
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return None


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
