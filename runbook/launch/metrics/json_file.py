"""Metrics from a JSON file. NaN and Infinity are read, as Python writes them; duplicate keys are refused."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from runbook.launch.metrics.filenames import claim_file
from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import from_tree


class _Json:
    name = "json"
    cap = 64 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        return claim_file(path, (".json",))

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name or (source.kind == "file" and source.suffix == ".json")

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        return from_tree(parse_json(data.read()), PurePosixPath(source.path).stem)


def parse_json(text: bytes) -> Any:
    """The document, duplicate keys refused. Raises ValueError with a short reason."""
    try:
        return json.loads(text.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at line {error.lineno}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"holds the key {twice} twice")
    return result


MEMBER = _Json()
