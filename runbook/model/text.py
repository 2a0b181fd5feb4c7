"""Text from bundles and jobs made safe to print: no terminal escapes, no bidi controls, no hidden line breaks."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The same text with every control, format, separator and surrogate character as an escape; LF and tab stay.

    Separators are U+2028 and U+2029: some readers end a line there, so what follows would look like ours.
    """
    return "".join(
        c
        if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )
