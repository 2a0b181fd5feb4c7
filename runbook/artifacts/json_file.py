"""JSON, JSON lines and YAML: values by their path, numbers as numbers. The order of keys is no content."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable

_CAP = 32 << 20
"""Bytes of a document that is read as a whole."""


class JsonFormat:
    """One document: JSON, or YAML as plain data."""

    name = "json"
    modules = ()

    def claims(self, path: str, head: bytes) -> int:
        """By its ending."""
        return interface.CONTENT if path.endswith((".json", ".yaml", ".yml", ".ipynb")) else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Value by value."""
        from runbook.artifacts.values.tree import compare_values

        parts = Parts("value")
        compare_values(_document(a), _document(b), parts)
        return parts.found()


def _document(file: BinaryIO) -> Any:
    file.seek(0)
    data = file.read(_CAP + 1)
    if len(data) > _CAP:
        raise Unreadable(f"a document of more than {_CAP >> 20} MiB")
    try:
        return json.loads(data)
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError:
        return _yaml(data)


def _yaml(data: bytes) -> Any:
    from runbook import yamltext

    try:
        return yamltext.load(data)
    except (yamltext.YamlError, ValueError, RecursionError):
        raise Unreadable("neither JSON nor YAML") from None


MEMBER = JsonFormat()
