"""JSON from a bundle, read as hostile: depth capped, no doubled keys, no constants or numbers that JSON lacks."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from runbook.errors import BundleRejected

MAX_DEPTH: Final = 64
_MAX_DIGITS: Final = 400
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]+|[\]}]+', re.DOTALL)


def loads(data: bytes, name: str) -> Any:
    """The value of a JSON document. Raises BundleRejected naming the file; never RecursionError."""
    depth = deepest = 0
    for match in _TOKENS.finditer(data):
        first = match[0][:1]
        if first in b"[{":
            depth += len(match[0])
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= len(match[0])
    if deepest > MAX_DEPTH:
        raise BundleRejected(f"JSON nested deeper than {MAX_DEPTH}", name, id="json-too-deep")
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        if _SURROGATE.search(data):
            # Half of a pair is no character: whatever writes it later would fail.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except _Refused as refused:
        raise BundleRejected(str(refused), name, id=refused.id) from None
    except (ValueError, RecursionError) as error:
        what = "not UTF-8" if isinstance(error, UnicodeError) else "not JSON"
        raise BundleRejected(what, name, id="json-malformed") from None


class _Refused(Exception):
    def __init__(self, id: str, text: str) -> None:
        super().__init__(text)
        self.id = id


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Refused("json-duplicate-key", "JSON with the same key twice")
    return value


def _constant(text: str) -> float:
    raise _Refused("json-constant", f"JSON with {text}, which JSON does not have")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _Refused("json-huge-number", "JSON with a huge number")
    return int(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= _MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise _Refused("json-huge-number", "JSON with a huge number")
    return value
