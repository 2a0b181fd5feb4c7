"""Pickles, and joblib's files, which are pickles: only bytes are compared, as reading one means executing it."""

from __future__ import annotations

from typing import BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Unreadable


class PickleFormat:
    """A program that makes objects; it is never run here."""

    name = "pickle"
    modules = ()

    def claims(self, path: str, head: bytes) -> int:
        """By its ending, or the two bytes with which a pickle since Python 2.3 begins."""
        if path.endswith((".pkl", ".pickle", ".joblib", ".dill")):
            return interface.CONTENT
        return interface.ENDING if head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and head[1:2] else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Always refuses."""
        raise Unreadable("a pickle is a program, and is not run to be read")


MEMBER = PickleFormat()
