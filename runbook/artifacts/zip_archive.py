"""Zip files that are nobody else's format: members by name; times, modes and compression are metadata."""

from __future__ import annotations

from typing import BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable, one_sided
from runbook.artifacts.values.streams import first_difference
from runbook.artifacts.values.zips import BROKEN, open_zip
from runbook.model.artifact import Part, short


class ZipFormat:
    """Members are compared by their bytes."""

    name = "zip"
    modules = ()

    def claims(self, path: str, head: bytes) -> int:
        """By its magic bytes, behind the formats that are zip files too."""
        return interface.ENDING if head.startswith(b"PK\3\4") else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Member by member."""
        parts = Parts("member")
        (one, left), (other, right) = open_zip(a), open_zip(b)
        with one, other:
            for name in dict.fromkeys([*left, *right]):
                parts.of += 1
                if name not in left or name not in right:
                    parts.add(one_sided(name, original=name in left))
                    continue
                try:
                    with one.open(left[name]) as x, other.open(right[name]) as y:
                        at = first_difference(x, y)
                except BROKEN as error:
                    raise Unreadable(f"a broken zip member ({short(str(error))})") from None
                if at is not None:
                    sizes = left[name].file_size, right[name].file_size
                    grown = f", {sizes[0]:,} bytes became {sizes[1]:,}" if sizes[0] != sizes[1] else ""
                    parts.add(Part(name=short(name), note=f"differs from byte {at:,} on{grown}"))
            if not parts.differing:
                parts.remarks.append("times, order or compression of its members differ")
        return parts.found()


MEMBER = ZipFormat()
