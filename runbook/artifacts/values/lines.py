"""Lines of text of a stranger, one at a time, and the numbers in them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from runbook.artifacts.interface import Unreadable

LINE_CAP: Final = 1 << 20
"""Bytes of one line."""
_BLOCK: Final = 1 << 20
NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\b(?:nan|NaN|inf|Infinity)\b")


def lines(file: BinaryIO) -> Iterator[str]:
    """The lines without their ends (LF or CRLF); a byte order mark is left out. Raises Unreadable: not UTF-8."""
    file.seek(0)
    rest, first = b"", True
    while block := file.read(_BLOCK):
        whole = (rest + block).split(b"\n")
        rest = whole.pop()
        for line in whole:
            yield _decoded(line, first=first)
            first = False
        if len(rest) > LINE_CAP:
            raise Unreadable(f"a line of more than {LINE_CAP:,} bytes")
    if rest:
        yield _decoded(rest, first=first)


def _decoded(line: bytes, *, first: bool) -> str:
    if first:
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise Unreadable("is no text in UTF-8") from None


def number_of(text: str) -> float | None:
    """The number that a text is; None for another text, also for one that Python alone takes for a number."""
    text = text.strip()
    if not text or "_" in text or len(text) > 400:
        return None
    try:
        return float(text)
    except ValueError:
        return None
