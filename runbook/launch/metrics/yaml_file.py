"""Metrics from a YAML file, read as plain data (see runbook.yamltext)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import BinaryIO

from runbook import yamltext
from runbook.launch.metrics.interface import Reading, Source
from runbook.launch.metrics.numbers import from_tree


class _Yaml:
    name = "yaml"
    cap = 4 * 1024 * 1024

    def recognises(self, source: Source) -> bool:
        return source.suffix in (".yaml", ".yml")

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        tree, _ = yamltext.load(data.read())
        return from_tree(tree, PurePosixPath(source.path).stem)


MEMBER = _Yaml()
