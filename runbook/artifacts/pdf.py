"""PDF: by bytes, but for the times and the id that every writing of the same document gives it anew."""

from __future__ import annotations

import re
from typing import BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable
from runbook.artifacts.values.streams import parting
from runbook.model.artifact import Part

_CAP = 64 << 20
_STAMPS = re.compile(
    rb"/(?:CreationDate|ModDate) ?\((?:[^()\\]|\\.){0,64}\)"
    rb"|/ID ?\[ ?<[0-9A-Fa-f]{0,64}> ?<[0-9A-Fa-f]{0,64}> ?\]"
)


class PdfFormat:
    """No more is said of a difference than where it begins: what is drawn is compressed."""

    name = "pdf"
    modules = ()

    def claims(self, path: str, head: bytes) -> int:
        """By its magic bytes."""
        return interface.SURE if head.startswith(b"%PDF-") else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """The bytes without stamps."""
        parts = Parts("document")
        parts.of = 1
        x, y = (_STAMPS.sub(b"", _whole(file)) for file in (a, b))
        if x == y:
            parts.remarks.append("only its times and id differ")
        else:
            parts.add(
                Part(name="document", note=f"differs from byte {parting(x, y):,} on, not counting times and id")
            )
        return parts.found()


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    data = file.read(_CAP + 1)
    if len(data) > _CAP:
        raise Unreadable(f"a document of more than {_CAP >> 20} MiB")
    return data


MEMBER = PdfFormat()
