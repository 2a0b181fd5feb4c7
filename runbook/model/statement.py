"""The names by which a signed Statement is made and checked; writer and reader have them from here. Pure."""

from __future__ import annotations

from typing import Final

STATEMENT: Final = "https://in-toto.io/Statement/v1"
MANIFEST: Final = "manifest-sha256.txt"
"""The subject whose sha256 is the bundle's id."""
