"""One field of a report: a text, and how it is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A text and how it is known; the evidence is empty for what was simply asked."""

    text: str
    evidence: str = ""
    verbatim: bool = False
    """A command, path or digest: shown in a fixed-width font."""
