"""Metrics from MLflow's file store: `mlruns/EXPERIMENT/RUN/metrics/NAME`, a line `time value step` a point."""

from __future__ import annotations

import re
from typing import BinaryIO

from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import Points, parse_number

# The store is called `mlruns` unless somebody chose another name; the ids tell: a number, then 32 hex digits.
_PATH = re.compile(r"(?P<run>(?:(?P<store>.*)/)?[0-9]+/[0-9a-f]{32})/metrics/(?P<name>.+)", re.DOTALL)


class _MlflowFiles:
    name = "mlflow"
    cap = 64 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        if "/metrics/" not in path:
            return None
        match = _PATH.fullmatch(path)
        return Claim(store=match["store"] or "", run=match["run"], named=False) if match else None

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        match, points = _PATH.fullmatch(source.path), Points()
        name = match["name"] if match else ""
        for number, line in enumerate(iter(lambda: data.readline(4096), b""), 1):
            fields = line.decode("ascii", "replace").split()
            time, value, step = (*map(parse_number, fields), 0)[:3] if len(fields) in (2, 3) else (None,) * 3
            if not isinstance(time, int) or value is None or not isinstance(step, int):
                raise ValueError(f"line {number} is not a time, a value and a step")
            if source.since is None or time >= int(source.since) * 1000:
                points.add_or_note(name, step, value)
        return points.reading()


MEMBER = _MlflowFiles()
