"""Metrics from a YAML file, read as plain data (see runbook.yamltext)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import BinaryIO

from runbook import yamltext
from runbook.launch.metrics.filenames import claim_file
from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import from_tree


class _Yaml:
    name = "yaml"
    cap = 4 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        return claim_file(path, (".yaml", ".yml"))

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name or (source.kind == "file" and source.suffix in (".yaml", ".yml"))

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        tree, _ = yamltext.load(data.read())
        return from_tree(tree, PurePosixPath(source.path).stem)


MEMBER = _Yaml()
