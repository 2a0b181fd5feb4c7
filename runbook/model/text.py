"""Text from bundles and jobs made safe to print: no terminal escapes, no bidi controls."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The same text with every control, format and surrogate character shown as an escape; LF and tab stay."""
    return "".join(
        c
        if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co")
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )
