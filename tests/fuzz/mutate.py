"""Broken and hostile versions of whole texts, as a Hypothesis strategy."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

NASTY_TEXTS = (
    "\x1b[31m\x1b]0;owned\x07",
    "\u202egnp.exe",
    "a\u2028b\u2029c\x85d",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "{{ 7*7 }}${jndi:x}",
    "../../../../etc/passwd",
    "/etc/passwd",
    "\0",
    "",
    "-x --privileged",
    "--index-url=http://host.example/",
    "a" * 5000,
    "\ud83d\ude00\u0301",
    "[red]rich[/red]",
    "=cmd|' /C calc'!A0",
)
NASTY_VALUES: tuple[Any, ...] = (
    *NASTY_TEXTS,
    None,
    True,
    0,
    -1,
    2**63,
    -(2**63) - 1,
    10**399,
    -(10**399),
    1e308,
    5e-324,
    -0.0,
    "NaN",
    "Infinity",
    [],
    {},
    [[]],
    {"": {}},
)
TOKENS = (
    *(text.encode("utf-8", "surrogatepass") for text in NASTY_TEXTS),
    b"\xff\xfe",
    b"\xc0\x80",
    b"\r\n",
    b"\n",
    b"\n\0",
    b"9" * 400,
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"[" * 200,
    b'{"a":' * 200,
    b"\\\n",
    b"&a *a !!python/object ",
    b"\xff" * 8,
    b"\0" * 8,
    b"PK\1\2",
    b"--hash=sha256:",
)


@st.composite
def _spliced(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed with pieces cut, doubled, put elsewhere, overwritten."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, min(64, len(data) - at)))
        match draw(st.integers(0, 4)):
            case 0:
                del data[at : at + size]
            case 1:
                data[at:at] = draw(st.sampled_from(TOKENS))
            case 2:
                data[at : at + size] = draw(st.binary(max_size=16))
            case 3:
                data[at:at] = data[at : at + size]
            case _:
                data[at : at + size] = draw(st.sampled_from(TOKENS))
    return bytes(data)


@st.composite
def _reshaped(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A JSON seed in which some leaves, lists or objects are others."""
    tree = json.loads(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(tree)))) if list(_places(tree)) else (None, None)
        if holder is None:
            return json.dumps(draw(st.sampled_from(NASTY_VALUES))).encode()
        value = copy.deepcopy(draw(st.sampled_from(NASTY_VALUES)))
        if isinstance(holder, dict) and draw(st.integers(0, 5)) == 0:
            holder[draw(st.sampled_from(NASTY_TEXTS))] = holder.pop(key)
        else:
            holder[key] = value
    return json.dumps(tree).encode()


def _places(tree: Any) -> Any:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _places(value)


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken versions of these; where they are JSON, also whole JSON with hostile values."""
    spliced = _spliced(seeds)
    try:
        for seed in seeds:
            json.loads(seed)
    except ValueError:
        return spliced
    return _reshaped(seeds) | spliced
